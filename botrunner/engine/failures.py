"""What went wrong in a strategy over many bars, added up: each kind of failure once. Pure.

The guard around the strategy notes each failure (`botrunner.engine.strategy_guard`); a result without them would look
like that of a strategy that wanted nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from fleet.times import from_ms

KINDS_LIMIT: Final = 50
"""Kinds that are told apart; a strategy that puts a price into its messages has one per bar."""

OTHERS: Final = "others"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One way in which the strategy failed.

    Attributes:
        where: what was asked of it: `decide`, `on_entered`, `on_exited`, `export_state`, `import_state`, `indicators`,
            `build`, `engine`; `others` for all kinds after the first KINDS_LIMIT.
        type: the exception's class.
        message: of the first time, cleaned and masked.
        count: how often. first_at, last_at: open times of the bars, UTC.
    """

    where: str
    type: str
    message: str
    count: int
    first_at: datetime
    last_at: datetime

    def as_json(self) -> dict[str, Any]:
        """As documents have it."""
        return {
            "where": self.where,
            "type": self.type,
            "message": self.message,
            "count": self.count,
            "first_at": self.first_at,
            "last_at": self.last_at,
        }


class FailureCounts:
    """The failures of one run, backtest or replay, in the order in which each kind came first."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, str], Failure] = {}

    @property
    def failures(self) -> tuple[Failure, ...]:
        """So far."""
        return tuple(self._found.values())

    def note(self, where: str, kind: str, message: str, *, bar_ms: int) -> None:
        """Count one, at the bar that opens then."""
        key, at = (where, kind, message), from_ms(bar_ms)
        if key not in self._found and len(self._found) >= KINDS_LIMIT:
            key = (OTHERS, OTHERS, "")
        known = self._found.get(key)
        if known is None:
            self._found[key] = Failure(where=key[0], type=key[1], message=key[2], count=1, first_at=at, last_at=at)
        else:
            self._found[key] = replace(known, count=known.count + 1, last_at=at)
