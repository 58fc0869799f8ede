"""What is wrong with a configuration: where, what, and what to do.

All errors of one configuration are reported together. Texts are fit for `trading_bots.error_message`:
one line per error, foreign text capped, never a value that could be a secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fleet.errors import PermanentError

MAX_REPORTED = 50
"""More errors than this are counted, not listed: a hostile document must not fill the database."""


@dataclass(frozen=True, slots=True)
class ConfigError:
    """One thing that is wrong."""

    path: str
    """Where, in the spelling of the document: `strategy.parameters.entry_logic.params.rsi_period`.
    Empty for the document itself."""
    message: str
    """What is wrong, without the path."""
    hint: str = ""
    """What to do about it, or empty."""

    def __str__(self) -> str:
        text = f"{self.path or 'config'}: {self.message}"
        return f"{text} ({self.hint})" if self.hint else text


class ConfigInvalid(PermanentError):
    """The configuration can't be run; `errors` has every reason, at least one."""

    def __init__(self, errors: Sequence[ConfigError]) -> None:
        self.errors = tuple(errors)
        super().__init__(self.errors)

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)
