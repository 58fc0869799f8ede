"""Watches the heartbeats of all runs with one query, so that no bot needs a timer of its own.

Finds runs that are overdue and has them handled, and reports to the Observer how far silence may be believed: only as
long as heartbeats can be written; and a mass death keeps every fence down until heartbeats return, the deaths are
reported otherwise, or their nodes are known to be lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime
from uuid import uuid4

from controller.decide.death import suspect_observer
from controller.decide.facts import PodFacts, Policy
from controller.metrics import Metrics
from controller.observe import notifications
from controller.observe.observer import Observer
from controller.shards import LeaseLost
from controller.store import Store
from fleet.errors import TransientError
from fleet.foreign import clean_text
from fleet.log import get_logger
from fleet.trading_service.bots import Notification
from fleet.trading_service.runs import QuietRun, Watch, WatchLimits

log = get_logger("runs")

REPEAT_S = 5.0
"""A run that stays due is looked at again so often."""

FAILURE_TOLD_S = 60.0
"""Looks that fail for so long are told: nobody who falls silent is fenced meanwhile, so nobody starts again either."""


@dataclass(slots=True)
class HeartbeatWatch:
    """The watch on heartbeats.

    Attributes:
        observer: gets to know how far silence may be believed.
        pods: of a bot; a lost node explains a silence.
        enqueue: called with the id of a bot whose run needs a decision.
        clock: monotonic seconds.
    """

    store: Store
    observer: Observer
    pods: Callable[[int], Collection[PodFacts]]
    policy: Policy
    metrics: Metrics
    interval_s: float
    enqueue: Callable[[int], None]
    clock: Callable[[], float]
    looked_at: float = field(default=0.0, init=False)
    """When the last look ended, with or without an answer."""
    _enqueued_at: dict[int, float] = field(default_factory=dict, init=False)
    _failing_since: float | None = field(default=None, init=False)
    _failure_told: bool = field(default=False, init=False)
    _episode: str = field(default="", init=False)

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            await self.attempt()
            self.looked_at = self.clock()
            await asyncio.sleep(self.interval_s)

    async def attempt(self) -> None:
        """One look; a failure is logged, and told when it lasts."""
        try:
            await self.look()
        except LeaseLost as error:
            self._failing_since = None  # to look is another controller's task
            log.warning("runs_watch_failed", error=clean_text(error, 300))
        except TransientError as error:
            log.warning("runs_watch_failed", error=clean_text(error, 300))
            await self._failed(str(error))
        except Exception as error:
            # what one row makes of a look must not end the watch on all the others
            log.error("runs_watch_failed", error=clean_text(repr(error), 300))
            await self._failed(repr(error))
        else:
            await self._succeeded()

    async def look(self) -> None:
        """One look.

        Raises:
            TransientError: no answer, or heartbeats can't be written: nothing was concluded.
            Whatever else: nothing was concluded either. T_dead of all runs counts anew from the next look that
                succeeds.
        """
        try:
            proved_at = await self.store.prove_heartbeats()
            if proved_at is None:
                raise LeaseLost("this controller doesn't hold its shard")
            watch = await self._watch()
            if any(run.claimed for run in watch.quiet):
                # this controller's own connections may have been there before all slots were taken
                await self.store.prove_connection()
        except Exception:
            self.observer.contact.lost()
            raise
        self.observer.contact.proved(proved_at)
        await self._judge(watch)
        await self._find_locks(watch)
        self._enqueue_late(watch)

    async def _failed(self, why: str) -> None:
        """Tell what keeps silence from being judged, once it lasts; a database that is away can't be told it."""
        if self._failing_since is None:
            self._failing_since, self._episode = self.clock(), self._episode if self._failure_told else uuid4().hex
        failing_s = self.clock() - self._failing_since
        self.metrics.watch_blind_seconds.set(failing_s)
        if failing_s >= FAILURE_TOLD_S and not self._failure_told:
            self._failure_told = await self._told(notifications.watch_fails(why, failing_s, self._episode))

    async def _succeeded(self) -> None:
        self._failing_since = None
        self.metrics.watch_blind_seconds.set(0)
        if self._failure_told:
            self._failure_told = not await self._told(notifications.watch_works_again(self._episode))

    async def _told(self, notification: Notification) -> bool:
        try:
            await self.store.notify(notification)
        except Exception as error:
            log.warning("not_told", title=notification.title, error=clean_text(repr(error), 300))
            return False
        return True

    async def _watch(self) -> Watch:
        policy = self.policy
        return await self.store.watch(
            WatchLimits(
                quiet_s=policy.t_stop_s,
                dead_s=policy.t_dead_s,
                stalled_s=policy.hung_after_s,
                asked_s=policy.grace_s + policy.stop_slack_s,
                claim_s=policy.claim_deadline_s,
                start_s=policy.start_deadline_s,
            )
        )

    async def _find_locks(self, watch: Watch) -> None:
        """Who holds a run's row (a person's `SELECT ... FOR UPDATE`) keeps its heartbeats from being written."""
        late = [run.bot_id for run in watch.quiet]
        locked = await self.store.locked_runs(late)
        self.observer.saw_locks(locked, late, watch.now)
        self.metrics.runs_locked.set(len(locked))

    async def _judge(self, watch: Watch) -> None:
        quiet = [run for run in watch.quiet if run.claimed and self._age(run, watch.now) >= self.policy.t_stop_s]
        unexplained = [run for run in quiet if not any(pod.node_lost for pod in self.pods(run.bot_id))]
        suspicious = suspect_observer(
            claimed=watch.claimed - (len(quiet) - len(unexplained)),
            quiet_since=[run.beat_at for run in unexplained],
            now=watch.now,
            policy=self.policy,
        )
        self.metrics.runs_quiet.set(len(quiet))
        self.metrics.observer_suspicious.set(suspicious)
        if suspicious == self.observer.suspicious:
            return
        self.observer.suspicious = suspicious
        if not suspicious:
            log.warning("observer_trusted_again", claimed=watch.claimed, quiet=len(quiet))
            await self.store.notify(notifications.silence_believed_again(watch, len(quiet)))
            return
        log.error(
            "observer_suspicious",
            claimed=watch.claimed,
            quiet=len(quiet),
            explained_by_nodes=len(quiet) - len(unexplained),
        )
        await self.store.notify(notifications.mass_silence(watch, unexplained))

    def _enqueue_late(self, watch: Watch) -> None:
        now = self.clock()
        late = {run.bot_id for run in watch.quiet if run.due and not self._undecidable(run, watch.now)}
        for bot_id in self._enqueued_at.keys() - late:
            self.enqueue(bot_id)  # its row may still say that it is late
        self._enqueued_at = {bot_id: at for bot_id, at in self._enqueued_at.items() if bot_id in late}
        for bot_id in late:
            if now - self._enqueued_at.get(bot_id, -REPEAT_S) >= REPEAT_S:
                self._enqueued_at[bot_id] = now
                self.enqueue(bot_id)

    def _undecidable(self, run: QuietRun, now: datetime) -> bool:
        """While the observer is suspect nothing is decided about silent runs."""
        return self.observer.suspicious and run.claimed and self._age(run, now) >= self.policy.t_stop_s

    @staticmethod
    def _age(run: QuietRun, now: datetime) -> float:
        return (now - run.beat_at).total_seconds()
