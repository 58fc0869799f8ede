"""Mixins made of rules, and the trades that they make."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

Entry = Callable[[int], bool]


Exit = Callable[[int, int], str | None]
"""A rule over (bar, bar of the entry): the reason to exit, or None."""


def trades(count: int, first: int, entry: Entry, exit_: Exit) -> list[tuple[int, str, str]]:
    """The signals of two rules, one position at a time, judged from bar `first` on."""
    found: list[tuple[int, str, str]] = []
    entered: int | None = None
    for bar in range(first, count):
        if entered is None:
            if entry(bar):
                found.append((bar, "enter", ""))
                entered = bar
        elif reason := exit_(bar, entered):
            found.append((bar, "exit", reason))
            entered = None
    return found


def without_entry_reason(signals: list[tuple[int, str, str]]) -> list[tuple[int, str, str]]:
    return [(bar, kind, "" if kind == "enter" else reason) for bar, kind, reason in signals]


def typed(value: float) -> Fraction:
    """The number that a float was typed as: ratios of prices are exact."""
    return Fraction(str(float(value)))


def bars_exit(limit: int) -> Exit:
    return lambda bar, entered: "time" if bar - entered >= limit else None
