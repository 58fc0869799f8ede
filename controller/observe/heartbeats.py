"""Watches the heartbeats of all runs with one query, so that no bot needs a timer of its own.

Finds runs that are overdue and hands them to the queue, and judges the observer: silence is believed only as long as
heartbeats can be written, and a mass death keeps every fence down until heartbeats return, the deaths are reported
otherwise, or their nodes are known to be lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime
from uuid import uuid4

from controller.decide.classify import suspect_observer
from controller.decide.facts import PodFacts, Policy
from controller.manager import StrategyManager
from controller.metrics import Metrics
from controller.shards import LeaseLost
from controller.store import Store
from fleet.errors import TransientError
from fleet.events import EventKind, Severity, severity_of
from fleet.foreign import clean_text
from fleet.log import get_logger
from fleet.redaction import safe_text
from fleet.trading_service.bots import Notification
from fleet.trading_service.runs import QuietRun, Watch, WatchLimits

log = get_logger("runs")

REPEAT_S = 5.0
"""A run that stays due is looked at again so often."""

BLIND_TOLD_S = 60.0
"""Looks that fail for so long are told: nobody who falls silent is fenced meanwhile, so nobody starts again either."""


@dataclass(slots=True)
class RunWatch:
    """The watch on heartbeats.

    Attributes:
        manager: gets to know whether the observer may be trusted.
        pods: of a bot; a lost node explains a silence.
        due: called with the id of a bot whose run needs a decision.
        clock: monotonic seconds.
    """

    store: Store
    manager: StrategyManager
    pods: Callable[[int], Collection[PodFacts]]
    policy: Policy
    metrics: Metrics
    interval_s: float
    due: Callable[[int], None]
    clock: Callable[[], float]
    looked_at: float = field(default=0.0, init=False)
    """When the last look ended, with or without an answer."""
    _handed: dict[int, float] = field(default_factory=dict, init=False)
    _blind_since: float | None = field(default=None, init=False)
    _blind_told: bool = field(default=False, init=False)
    _episode: str = field(default="", init=False)

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            await self.turn()
            self.looked_at = self.clock()
            await asyncio.sleep(self.interval_s)

    async def turn(self) -> None:
        """One look; a failure is logged, and told when it lasts."""
        try:
            await self.look()
        except LeaseLost as error:
            self._blind_since = None  # to see is another controller's task
            log.warning("runs_watch_failed", error=clean_text(error, 300))
        except TransientError as error:
            log.warning("runs_watch_failed", error=clean_text(error, 300))
            await self._blind(str(error))
        except Exception as error:
            # what one row makes of a look must not end the watch on all the others
            log.error("runs_watch_failed", error=clean_text(repr(error), 300))
            await self._blind(repr(error))
        else:
            await self._sees()

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
            self.manager.contact.lost()
            raise
        self.manager.contact.proved(proved_at)
        await self._judge(watch)
        await self._find_locks(watch)
        self._hand_over(watch)

    async def _blind(self, why: str) -> None:
        """Tell what keeps silence from being judged, once it lasts; a database that is away can't be told it."""
        if self._blind_since is None:
            self._blind_since, self._episode = self.clock(), self._episode if self._blind_told else uuid4().hex
        blind_s = self.clock() - self._blind_since
        self.metrics.watch_blind_seconds.set(blind_s)
        if blind_s >= BLIND_TOLD_S and not self._blind_told:
            self._blind_told = await self._told(_blind_note(why, blind_s, self._episode))

    async def _sees(self) -> None:
        self._blind_since = None
        self.metrics.watch_blind_seconds.set(0)
        if self._blind_told:
            self._blind_told = not await self._told(_sees_note(self._episode))

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
        before = self.manager.locked
        self.manager.locked = {
            bot_id: watch.now if bot_id in locked else before[bot_id]
            for bot_id in late
            if bot_id in locked or bot_id in before
        }
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
        if suspicious == self.manager.suspicious:
            return
        self.manager.suspicious = suspicious
        if not suspicious:
            log.warning("observer_trusted_again", claimed=watch.claimed, quiet=len(quiet))
            await self.store.notify(_trusted_again(watch, len(quiet)))
            return
        log.error(
            "observer_suspicious",
            claimed=watch.claimed,
            quiet=len(quiet),
            explained_by_nodes=len(quiet) - len(unexplained),
        )
        await self.store.notify(_mass_death(watch, unexplained))

    def _hand_over(self, watch: Watch) -> None:
        now = self.clock()
        late = {run.bot_id for run in watch.quiet if run.due and not self._useless(run, watch.now)}
        for bot_id in self._handed.keys() - late:
            self.due(bot_id)  # its row may still say that it is late
        self._handed = {bot_id: at for bot_id, at in self._handed.items() if bot_id in late}
        for bot_id in late:
            if now - self._handed.get(bot_id, -REPEAT_S) >= REPEAT_S:
                self._handed[bot_id] = now
                self.due(bot_id)

    def _useless(self, run: QuietRun, now: datetime) -> bool:
        """While the observer is suspect nothing is decided about silent runs."""
        return self.manager.suspicious and run.claimed and self._age(run, now) >= self.policy.t_stop_s

    @staticmethod
    def _age(run: QuietRun, now: datetime) -> float:
        return (now - run.beat_at).total_seconds()


def _blind_note(why: str, blind_s: float, episode: str) -> Notification:
    return Notification(
        bot_id=None,
        kind=EventKind.OBSERVER_SUSPICIOUS,
        severity=severity_of(EventKind.OBSERVER_SUSPICIOUS),
        title="Silent bots can't be told from dead ones",
        body=(
            f"For {blind_s:.0f} s the controller could not prove that heartbeats can be written: "
            f"{safe_text(why, 500)}. Bots that run go on; one that falls silent is neither fenced nor started again. "
            "Look for locks, a read-only database or a role that lacks rights; else restart the controller with the "
            "version it had before"
        ),
        key=f"watch_blind/{episode}",
    )


def _sees_note(episode: str) -> Notification:
    return Notification(
        bot_id=None,
        kind=EventKind.HEALTH,
        severity=Severity.INFO,
        title="Silent bots are found again",
        body="Heartbeats can be written, so silence is judged from now on",
        key=f"watch_sees/{episode}",
    )


def _trusted_again(watch: Watch, quiet: int) -> Notification:
    return Notification(
        bot_id=None,
        kind=EventKind.HEALTH,
        severity=Severity.INFO,
        title="Heartbeats are believed again",
        body=f"{quiet} of {watch.claimed} claimed runs are silent; those are decided about from now on",
        key=f"observer_trusted/{watch.now:%Y-%m-%dT%H:%M}",
    )


def _mass_death(watch: Watch, quiet: Collection[QuietRun]) -> Notification:
    last = max(run.beat_at for run in quiet)
    return Notification(
        bot_id=None,
        kind=EventKind.OBSERVER_SUSPICIOUS,
        severity=severity_of(EventKind.OBSERVER_SUSPICIOUS),
        title=f"{len(quiet)} of {watch.claimed} bots fell silent at once",
        body=(
            f"No heartbeat since {last:%H:%M:%SZ}. The cause may be the database, the network or the controller, so "
            "no bot is fenced or restarted for its silence until heartbeats return or the deaths are confirmed. "
            "Check the database, the nodes and the bots' logs"
        ),
        key=f"observer_suspicious/{last:%Y-%m-%dT%H:%M}",
    )
