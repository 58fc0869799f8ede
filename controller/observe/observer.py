"""How far the controller may believe the silence of a bot: kept from what the watch on heartbeats finds out.

Data flows one way: `observe.heartbeats` reports here, and `facts` is what a plan is made from.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from controller.decide.facts import ObserverFacts


@dataclass(slots=True)
class Contact:
    """Since when heartbeats can be written, as far as is known.

    Only a write proves it: reads succeed while the database is read-only or a table is locked. A failed proof, and a
    gap between two by the database's own clock (an outage, a stopped controller, a machine that slept with everything
    on it), may have cost heartbeats: T_dead counts anew from the next proof.
    """

    gap_s: float
    _since: datetime | None = field(default=None, init=False)
    _last: datetime | None = field(default=None, init=False)

    def proved(self, at: datetime) -> None:
        """A heartbeat could be written at this moment."""
        if self._since is None or self._last is None or self._gap(self._last, at):
            self._since = self._last = at
        self._last = max(self._last, at)

    def lost(self) -> None:
        """A proof failed."""
        self._since = None

    def since(self, now: datetime) -> datetime:
        """The begin of the unbroken time up to now; now itself when there is none."""
        if self._since is None or self._last is None or self._gap(self._last, now):
            return now
        return self._since

    def _gap(self, last: datetime, now: datetime) -> bool:
        gap = timedelta(seconds=self.gap_s)
        return now - last > gap or last - now > gap


@dataclass(slots=True)
class Observer:
    """What the controller knows about its own view.

    Attributes:
        contact: since when heartbeats can be written.
        suspicious: whether so many bots fell silent at once that the observer itself may be at fault.
        locked_at: when a run's row was last seen locked by somebody, by bot.
    """

    contact: Contact
    suspicious: bool = field(default=False, init=False)
    locked_at: Mapping[int, datetime] = field(default_factory=dict, init=False)

    def saw_locks(self, locked: Collection[int], late: Collection[int], now: datetime) -> None:
        """Which of the late runs' rows are locked at this moment.

        A lock is remembered until the heartbeat is back: whoever held the row kept it from being written.
        """
        before = self.locked_at
        self.locked_at = {
            bot_id: now if bot_id in locked else before[bot_id]
            for bot_id in late
            if bot_id in locked or bot_id in before
        }

    def facts(self, bot_id: int, now: datetime) -> ObserverFacts:
        """For a plan of this bot: its heartbeats can be written since the contact began and its row was last locked."""
        since, locked_at = self.contact.since(now), self.locked_at.get(bot_id)
        return ObserverFacts(
            connected_since=since if locked_at is None else max(since, locked_at), suspicious=self.suspicious
        )
