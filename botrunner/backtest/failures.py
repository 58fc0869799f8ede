"""What went wrong in a strategy over many bars, added up: each kind of failure once. Pure.

The guard around the strategy tells of each failure (`botrunner.strategy_guard`); a result without them would look like
that of a strategy that wanted nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from botrunner.trading_bot import BarOutcome
from fleet.events import EventKind

KINDS_LIMIT: Final = 50
"""Kinds that are told apart; a strategy that puts a price into its messages has one per bar."""

OTHERS: Final = "others"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One way in which the strategy failed.

    Attributes:
        where: what was asked of it: `decide`, `on_entered`, `on_exited`. type: the exception's class; `others` for all
            kinds after the first KINDS_LIMIT.
        message: of the first time, cleaned and masked.
        count: how often. first_at, last_at: open times of the bars.
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


class FailureBook:
    """Adds them up, in the order in which each kind came first."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, str], Failure] = {}

    @property
    def failures(self) -> tuple[Failure, ...]:
        """So far."""
        return tuple(self._found.values())

    def note(self, outcome: BarOutcome) -> None:
        """Take in what a bar tells of."""
        assert outcome.bar_at is not None
        for where, kind, message in _told(outcome):
            key = (where, kind, message)
            if key not in self._found and len(self._found) >= KINDS_LIMIT:
                key = (OTHERS, OTHERS, "")
            known = self._found.get(key)
            if known is None:
                at = outcome.bar_at
                self._found[key] = Failure(where=key[0], type=key[1], message=message, count=1, first_at=at, last_at=at)
            else:
                self._found[key] = replace(known, count=known.count + 1, last_at=outcome.bar_at)


def _told(outcome: BarOutcome) -> Iterator[tuple[str, str, str]]:
    for event in outcome.events:
        if event.kind is EventKind.BOT_ERROR and "where" in event.facts:
            facts = event.facts
            yield str(facts["where"]), str(facts.get("type", "")), str(facts.get("error", ""))
