"""The one place where starts are admitted: facts from the database, together with what is under way in this process.

`admit` decides for one bot and takes its slot in the same step, without an await in between, so sixteen syncs at once
can't take the same slot. A slot taken here counts until a read that began after the start was committed shows it, or
shows that it isn't there. Nothing is kept that a restarted controller would miss: who waits asks again, the rest is in
the rows. `wake_admitted` wakes those whose turn has come; it reads nothing while nobody waits.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from statistics import median

from controller.decide.admission import (
    ENOUGH,
    Candidate,
    Place,
    Queue,
    Span,
    Start,
    decide,
    limit_of,
    place_of,
    priority,
)
from controller.decide.condition import waits_for_node
from controller.decide.facts import PodFacts, Policy
from controller.metrics import Metrics
from controller.store import Store
from fleet.log import get_logger
from fleet.trading_service.starts import StartFacts, StartingRun

log = get_logger("starts")

FRESH_S = 1.0
"""Facts so old are read again before anybody is admitted by them."""

WAIT_BELIEVED_S = 20.0
"""Heartbeats come every 5 s; a start that said longer ago that it waits for the exchange goes on by now."""

UNSEEN_S = 10.0
"""A pod without a node and without a reason is only new; the scheduler answers sooner than this."""

EXPECT_S = 15.0
"""So long a slot is kept for a bot with an open position that hasn't asked yet, or for one that was woken."""

MANY = 500
"""Up to so many waiting bots the queue is sorted for each that asks; beyond, once a second."""

_NEVER = -1e18


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """Where starts take place.

    Attributes:
        first: starts at a time to begin with.
        target_s: how long a start may be slowed down.
        where: for people: `on this machine`, `in this cluster`.
    """

    first: int
    target_s: float
    where: str


@dataclass(slots=True)
class _Slot:
    """A slot taken in this process; `since_read` is set when the attempt to start is over."""

    candidate: Candidate
    since_read: int | None = None


@dataclass(slots=True)
class Starts:
    """Admission.

    Attributes:
        store: the database.
        pods: of a bot: one that waits for a node takes no slot.
        policy: how long a start may take.
        capacity: asked with each read, since nodes come and go.
        metrics: shows the queue.
        clock: monotonic seconds.
        wake: called with the id of a bot whose turn has come.
        freed: called when a slot may have become free, so that `wake_admitted` needn't wait.
    """

    store: Store
    pods: Callable[[int], Collection[PodFacts]]
    policy: Policy
    capacity: Callable[[], Capacity]
    metrics: Metrics
    clock: Callable[[], float]
    wake: Callable[[int], None] = lambda _: None
    freed: Callable[[], None] = lambda: None
    _waiting: dict[int, Candidate] = field(default_factory=dict, init=False)
    _woken: dict[int, float] = field(default_factory=dict, init=False)
    _taken: dict[int, _Slot] = field(default_factory=dict, init=False)
    _holders: dict[int, float | None] = field(default_factory=dict, init=False)
    _facts: StartFacts | None = field(default=None, init=False)
    _at: Capacity | None = field(default=None, init=False)
    _limit: int = field(default=0, init=False)
    _typical_s: float | None = field(default=None, init=False)
    _queue: Queue | None = field(default=None, init=False)
    _read_at: float = field(default=_NEVER, init=False)
    _reads: int = field(default=0, init=False)
    _newest: int = field(default=0, init=False)

    async def admit(self, candidate: Candidate) -> Place | None:
        """May this bot start now? None: yes, and its slot is taken; `attempt_ended` must follow the attempt.

        Raises:
            DatabaseAway: unknown; ask again.
        """
        self._waiting[candidate.bot_id] = candidate
        self._woken.pop(candidate.bot_id, None)
        if self._facts is None or self.clock() - self._read_at > FRESH_S:
            await self._read()
        queue = self._decided(anew=candidate.holding)
        if candidate.bot_id in queue.admitted:
            self._taken[candidate.bot_id] = _Slot(candidate)
            self._waiting.pop(candidate.bot_id, None)
            self._queue = None
            return None
        assert self._at is not None
        return place_of(
            candidate.bot_id, queue, where=self._at.where, missing=self._missing() if queue.unplaced else ""
        )

    def attempt_ended(self, bot_id: int) -> None:
        """The attempt to start is over, with or without a run: the next read tells. Does nothing without a slot."""
        taken = self._taken.get(bot_id)
        if taken is not None and taken.since_read is None:
            taken.since_read = self._reads
            self._read_at = _NEVER

    def not_due(self, bot_id: int, *, starting: bool) -> None:
        """A bot was looked at and isn't due to start.

        Args:
            bot_id: whose row and runs were read.
            starting: it has a run that isn't live.
        """
        self._woken.pop(bot_id, None)
        if self._waiting.pop(bot_id, None) is not None:
            self._queue = None
        if bot_id in self._holders:
            self._holders[bot_id] = None
        if not starting and self._facts is not None and any(run.bot_id == bot_id for run in self._facts.starting):
            self._read_at = _NEVER
            self.freed()

    async def wake_admitted(self) -> None:
        """Wake everybody whose turn has come.

        Raises:
            DatabaseAway: no answer; nothing happened.
        """
        if not self._waiting:
            self._show(0)
            return
        await self._read()
        now = self.clock()
        for bot_id, at in list(self._woken.items()):
            if now - at > EXPECT_S:
                # something keeps it from asking: it may not keep a slot from others meanwhile
                self._waiting.pop(bot_id, None)
                del self._woken[bot_id]
                log.warning("start_not_asked_for", bot_id=bot_id)
        queue = self._decided(anew=True)
        self._show(queue.limit, queue.starting)
        for bot_id in queue.admitted:
            self._woken.setdefault(bot_id, now)
        for bot_id in (*self._expected(), *queue.admitted):
            self.wake(bot_id)

    async def _read(self) -> None:
        self._reads += 1
        number, begun_at = self._reads, self.clock()
        facts = await self.store.start_facts()
        if number < self._newest:
            return  # a later read was quicker
        self._facts, self._read_at, self._newest, self._queue = facts, begun_at, number, None
        for bot_id, taken in list(self._taken.items()):
            if taken.since_read is not None and taken.since_read < number:
                del self._taken[bot_id]
        self._measure(facts)
        self._holders = {bot_id: self._holders.get(bot_id, begun_at) for bot_id in facts.holders}

    def _measure(self, facts: StartFacts) -> None:
        self._at = self.capacity()
        spans = [Span(-begin_s, -live_s) for begin_s, live_s in facts.spans]
        under_way = [
            (run.created_at - facts.now).total_seconds() for run in facts.starting if not self._waits(run, facts)
        ]
        self._limit = limit_of(spans, under_way, first=self._at.first, target_s=self._at.target_s)
        newest = [span.live_s - span.begin_s for span in spans[: max(self._limit, ENOUGH)]]
        self._typical_s = median(newest) if newest else None

    def _expected(self) -> list[int]:
        """Bots with an open position and no run that haven't asked, and of which it isn't known that they won't."""
        now = self.clock()
        return [
            bot_id
            for bot_id, since in self._holders.items()
            if since is not None
            and now - since < EXPECT_S
            and bot_id not in self._waiting
            and bot_id not in self._taken
        ]

    def _decided(self, *, anew: bool) -> Queue:
        """The answer for everybody. While many wait and nothing is free, one more changes nothing for the others."""
        assert self._facts is not None
        assert self._at is not None
        if self._queue is not None and not anew and len(self._waiting) > MANY and not self._queue.admitted:
            return self._queue
        self._queue = decide(
            list(self._waiting.values()),
            [*self._begun(self._facts), *self._just_taken(self._facts)],
            limit=self._limit,
            target_s=self._at.target_s,
            typical_s=self._typical_s,
            expected=len(self._expected()),
        )
        return self._queue

    def _begun(self, facts: StartFacts) -> Iterable[Start]:
        for run in facts.starting:
            pod = self._unplaced(run, facts)
            yield Start(
                bot_id=run.bot_id,
                user_id=run.user_id,
                age_s=(facts.now - run.created_at).total_seconds(),
                holds_slot=pod is None and not self._waits(run, facts) and not self._overdue(run, facts),
                unplaced=pod is not None,
                priority=priority(holding=run.holding, live=run.live),
            )

    def _just_taken(self, facts: StartFacts) -> Iterable[Start]:
        known = {run.bot_id for run in facts.starting}
        for bot_id, taken in self._taken.items():
            if bot_id not in known:
                yield Start(bot_id=bot_id, user_id=taken.candidate.user_id)

    def _unplaced(self, run: StartingRun, facts: StartFacts) -> PodFacts | None:
        """Its pod, if that waits for a node and the scheduler has had time to find one."""
        if run.claimed_at is not None:
            return None
        new = (facts.now - run.created_at).total_seconds() < UNSEEN_S
        for pod in self.pods(run.bot_id):
            if pod.epoch == run.epoch and waits_for_node(pod) and (pod.waiting or not new):
                return pod
        return None

    @staticmethod
    def _waits(run: StartingRun, facts: StartFacts) -> bool:
        return run.waited_at is not None and (facts.now - run.waited_at).total_seconds() < WAIT_BELIEVED_S

    def _overdue(self, run: StartingRun, facts: StartFacts) -> bool:
        """Its time is over; whatever keeps it from ending, others needn't wait for it."""
        policy = self.policy
        longest_s = policy.claim_deadline_s + policy.start_deadline_s + policy.grace_s + policy.stop_slack_s
        moments = [moment for moment in (run.created_at, run.claimed_at, run.waited_at) if moment is not None]
        return (facts.now - max(moments)).total_seconds() > longest_s

    def _missing(self) -> str:
        """What one of the pods that wait for a node lacks."""
        assert self._facts is not None
        found = (self._unplaced(run, self._facts) for run in self._facts.starting)
        return next((pod.waiting for pod in found if pod is not None and pod.waiting), "")

    def _show(self, limit: int, under_way: int = 0) -> None:
        self.metrics.starts_waiting.set(len(self._waiting))
        self.metrics.starts_under_way.set(under_way)
        if limit:
            self.metrics.starts_limit.set(limit)
