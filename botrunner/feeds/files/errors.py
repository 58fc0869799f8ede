"""What is wrong with a candle file. Pure."""

from __future__ import annotations

from fleet.errors import ConfigUnusable
from fleet.foreign import clean_text

SHOWN = 60
"""Characters of a cell that a message shows."""


class CandleFileInvalid(ConfigUnusable):
    """The candle file can't be used; the message names the file, where it is wrong, and what to do.

    Attributes:
        line: of a text, from 1; None where no line fits.
    """

    def __init__(self, message: str, *, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


class Unclear(ValueError):
    """A part of a file has no one meaning; the text says what and what to do, without the place."""


class CellUnclear(Unclear):
    """A cell of row `index` (from 0) has no one meaning."""

    def __init__(self, index: int, why: str) -> None:
        super().__init__(why)
        self.index = index


def shown(cell: object) -> str:
    """A cell as a message shows it."""
    return repr(clean_text(cell, SHOWN, lines=False))
