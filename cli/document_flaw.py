"""A place in a text that people wrote, and what is wrong there. Pure."""

from __future__ import annotations

from collections.abc import Iterable


class Flaw(ValueError):
    """Why a document can't be read.

    Attributes:
        reason: for people: what is wrong, and what to do. line, column: where, both from 1; None where no place fits.
    """

    def __init__(self, reason: str, *, line: int | None = None, column: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line
        self.column = column


def flaw_at(text: str, index: int, reason: str) -> Flaw:
    """A flaw at a character of the text."""
    begin = text.rfind("\n", 0, index) + 1
    return Flaw(reason, line=text.count("\n", 0, index) + 1, column=index - begin + 1)


def path_of(parts: Iterable[str | int]) -> str:
    """A path into a document, as errors of a config name it: `data.interval`, `orders.2`."""
    return ".".join(str(part)[:100] for part in parts)
