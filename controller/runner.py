"""TradingRunner: the controller's process life.

Start order: health endpoint, own lease (a second controller waits here), what already runs, and only then rows.
Any part that ends ends the process with an error, so that whoever supervises it restarts it. On SIGTERM it stops
deciding, then its parts end, then its lease is released, and every pod goes on running. Each of these has its own
limit, and all together BOUND_S, less than the grace period of its pod.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from controller.act.runtime import RunningRuntime, RuntimeAway
from controller.act.starts import Starts
from controller.decide.liveness import LivenessFacts, Loop, why_unhealthy
from controller.metrics import Metrics
from controller.observe.bot_rows import RowWatch
from controller.observe.heartbeats import HeartbeatWatch
from controller.shards import ShardKeeper
from controller.store import Store
from controller.workqueue import WorkQueue
from fleet.errors import DatabaseAway, TransientError
from fleet.events import EventKind, Severity
from fleet.foreign import clean_text
from fleet.log import get_logger
from fleet.probes import Probes
from fleet.shutdown import Shutdown, Step, Tasks, bound_of, run_until_asked
from fleet.trading_service.bots import Notification

log = get_logger("runner")

LAG_INTERVAL_S = 0.5
ADMIT_INTERVAL_S = 1.0
"""Should no event tell that a slot is free; costs nothing while nobody waits."""
START_ATTEMPT_PAUSE_S = 2.0
RELIST_UNWATCHED_S = 2.0
"""Between two lists of pods while the watch on them is down."""
RELIST_TICK_S = 0.5

BOUND_S = bound_of(30.0)
"""From SIGTERM to the end; the chart's grace period is 30 s."""
CANCEL_S = 8.0
"""For what is under way: a statement's own time-out is 5 s."""
RUNTIME_CLOSE_S = 6.0
RELEASE_S = 4.0
"""For the lease; one that can't be released runs out by itself."""
STORE_CLOSE_S = 3.0
PROBES_STOP_S = 2.0


@dataclass(slots=True)
class Intervals:
    """Seconds between repeated looks."""

    poll_s: float
    watch_s: float
    relist_s: float


@dataclass(slots=True)
class _Health:
    """What the probes tell."""

    polled: bool = False
    managing: bool = False
    polled_at: float = 0.0
    handled: int = 0
    progress_at: float = field(default_factory=time.monotonic)


class TradingRunner:
    """Runs all parts of the controller until it is told to stop.

    Args:
        url: of the database, for LISTEN.
        prepare: awaited before the lease is taken, e.g. the lock of the state folder.
        queue: created by the caller, since the runtime reports to it.
    """

    def __init__(
        self,
        *,
        url: str,
        store: Store,
        runtime: RunningRuntime,
        queue: WorkQueue,
        heartbeats: HeartbeatWatch,
        keeper: ShardKeeper,
        starts: Starts,
        intervals: Intervals,
        metrics: Metrics,
        http: tuple[str, int],
        prepare: Coroutine[Any, Any, None],
        life: Shutdown,
    ) -> None:
        self._life = life
        self._parts = Tasks()
        self._store = store
        self._runtime = runtime
        self._queue = queue
        self._heartbeats = heartbeats
        self._keeper = keeper
        self._starts = starts
        self._slot_freed = asyncio.Event()
        starts.freed = self._slot_freed.set
        self._intervals = intervals
        self._metrics = metrics
        self._prepare = prepare
        self._health = _Health()
        self._probes = Probes(
            host=http[0],
            port=http[1],
            alive=self._why_unhealthy,
            ready=self._why_not_ready,
            exposition=metrics.exposition,
        )
        self._rows = RowWatch(url=url, poll_interval_s=intervals.poll_s, changed=self._changed, poll=self._poll)

    async def run(self) -> int:
        """Run until SIGTERM or SIGINT; returns the exit code."""
        self._parts.start("start", self._start(), lasting=False)
        return await run_until_asked(
            self._life,
            self._parts,
            stop=self._stop,
            cancel_s=CANCEL_S,
            steps=[
                Step("runtime", self._runtime.close, RUNTIME_CLOSE_S),
                # last of what acts: until here nobody else may decide, from here on this process doesn't
                Step("lease", self._keeper.release, RELEASE_S),
                Step("store", self._store.close, STORE_CLOSE_S),
                Step("probes", self._probes.stop, PROBES_STOP_S),
            ],
        )

    async def _start(self) -> None:
        await self._store.open()
        port = await self._probes.start()
        log.info("listening", port=port)
        await self._prepare
        await self._keeper.acquire()
        self._metrics.leading.set(1)
        await self._compare_settings()
        self._parts.start("lease", self._keeper.keep())
        self._parts.start("lag", self._measure_lag())
        await self._start_runtime()
        for number, work in enumerate(self._queue.work()):
            self._parts.start(f"worker {number}", work)
        for name, watch in self._rows.work().items():
            self._parts.start(name, watch)
        self._parts.start("runs", self._heartbeats.run())
        self._parts.start("relist", self._relist_regularly())
        self._parts.start("starts", self._admit_regularly())
        now = time.monotonic()
        self._health.polled_at = self._heartbeats.looked_at = now
        self._health.managing = True

    def _stop(self) -> None:
        """From now on no sync is tried."""
        self._queue.close()
        self._metrics.leading.set(0)

    async def _compare_settings(self) -> None:
        """Say once per start how many bots run with settings of before; what is shown may fail, and come later."""
        try:
            await self._store.show_settings()
            outdated = await self._store.outdated_runs()
            self._metrics.runs_outdated.set(outdated)
            if outdated:
                log.warning("runs_outdated", runs=outdated, settings_hash=self._store.settings_hash)
                await self._store.notify(_outdated(outdated, self._store.settings_hash))
        except DatabaseAway as error:
            log.warning("settings_not_shown", error=str(error)[:300])

    async def _start_runtime(self) -> None:
        while True:
            try:
                await self._runtime.start()
            except TransientError as error:
                log.warning("runtime_not_started", error=str(error)[:500])
                await self._show_trouble(str(error))
                await asyncio.sleep(START_ATTEMPT_PAUSE_S)
            else:
                return

    async def _show_trouble(self, words: str) -> None:
        """Nothing is planned before the pods are known: the rows say what that waits for."""
        try:
            await self._store.show_trouble(f"the controller doesn't know yet which pods exist: {words}"[:2000])
        except DatabaseAway as error:
            log.warning("trouble_not_shown", error=str(error)[:300])

    def _changed(self, bot_id: int) -> None:
        self._metrics.changed(bot_id, time.monotonic())
        self._queue.add(bot_id)

    async def _poll(self) -> None:
        """Queue every bot that isn't at first sight what its row wants."""
        try:
            await self._look_at_all()
        finally:
            self._health.polled_at = time.monotonic()

    async def _look_at_all(self) -> None:
        for bot_id in await self._store.unsettled():
            self._queue.add(bot_id)
        counts = await self._store.count_statuses()
        self._metrics.bots.clear()
        for count in counts:
            self._metrics.bots.labels(count.status).set(count.bots)
        self._metrics.runs_outdated.set(await self._store.outdated_runs())
        if not self._health.polled:
            await self._compare_pods()
            self._health.polled = True

    async def _relist_regularly(self) -> None:
        took_s = 0.0
        while True:
            await self._until_relist(took_s)
            begun = time.monotonic()
            try:
                await self._runtime.relist()
                await self._compare_pods()
            except (RuntimeAway, DatabaseAway) as error:
                log.warning("relist_failed", error=str(error)[:500])
            took_s = time.monotonic() - begun

    async def _until_relist(self, took_s: float) -> None:
        """Seldom while changes are told; often while a list is the only way to hear of them.

        Args:
            took_s: the last list; a large one isn't asked for without a break.
        """
        begun = time.monotonic()
        while (waited_s := time.monotonic() - begun) < self._intervals.relist_s:
            if self._runtime.watch_trouble() is not None and waited_s >= max(RELIST_UNWATCHED_S, 3 * took_s):
                return
            await asyncio.sleep(min(RELIST_TICK_S, self._intervals.relist_s - waited_s))

    async def _admit_regularly(self) -> None:
        """Wake the next in the queue of starts as soon as a slot is free."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(ADMIT_INTERVAL_S):
                    await self._slot_freed.wait()
            self._slot_freed.clear()
            try:
                await self._starts.wake_admitted()
            except DatabaseAway as error:
                log.warning("starts_unread", error=clean_text(error, 300))
            except Exception as error:
                # what one row makes of the look must not end it for all the others
                log.error("starts_unread", error=clean_text(repr(error), 300))

    async def _compare_pods(self) -> None:
        """Queue every bot whose pods don't match its current run, one way or the other."""
        pods = {(pod.bot_id, pod.epoch) for pod in self._runtime.existing()}
        runs = set((await self._store.current_runs()).items())
        for bot_id, _ in pods ^ runs:
            self._queue.add(bot_id)

    async def _measure_lag(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_INTERVAL_S
            await asyncio.sleep(LAG_INTERVAL_S)
            self._metrics.loop_lag_seconds.set(max(0.0, loop.time() - due))
            self._metrics.queue_depth.set(self._queue.depth)
            if self._queue.handled != self._health.handled or not self._queue.active:
                self._health.handled, self._health.progress_at = self._queue.handled, loop.time()
            fault = self._runtime.fault()
            if fault is not None:
                raise RuntimeError(fault)

    def _why_unhealthy(self) -> str | None:
        now = time.monotonic()
        until = self._keeper.valid_until
        loops = {"lease": Loop(ago_s=now - self._keeper.asked_at, every_s=self._keeper.ttl_s)} if self._asks else {}
        if self._health.managing:
            loops["rows poll"] = Loop(ago_s=now - self._health.polled_at, every_s=self._intervals.poll_s)
            loops["runs"] = Loop(ago_s=now - self._heartbeats.looked_at, every_s=self._intervals.watch_s)
        return why_unhealthy(
            LivenessFacts(
                ending_s=self._life.ending_s,
                bound_s=self._life.bound_s,
                fault=self._runtime.fault(),
                standby=self._keeper.waiting,
                leaseless_s=None if until is None else max(0.0, now - until),
                answering_s=self._store.answering_s,
                active=self._queue.active,
                unhandled_s=now - self._health.progress_at,
                loops=loops,
            )
        )

    @property
    def _asks(self) -> bool:
        """Whether the lease has been asked for: before, the state folder may be waited for."""
        return math.isfinite(self._keeper.asked_at)

    def _why_not_ready(self) -> str | None:
        if self._life.ending_s is not None:
            return "stopping"
        if self._keeper.waiting:
            return None  # a standby is all it should be; a rollout waits for readiness
        if not self._health.polled:
            return "the rows have not been read yet"
        if not self._keeper.held:
            return "the database does not answer"
        return None


def _outdated(runs: int, settings_hash: str) -> Notification:
    bots = "1 bot runs" if runs == 1 else f"{runs} bots run"
    return Notification(
        bot_id=None,
        kind=EventKind.HEALTH,
        severity=Severity.INFO,
        title=f"{bots} with older settings",
        body=(
            "The settings that bots get from this installation (image, resources, variables) have changed. Running "
            "bots keep theirs until they are restarted: `botfleet bots list -o wide` shows which, `botfleet bots "
            "restart NAME` restarts one"
        ),
        key=f"runs_outdated/{settings_hash}/{runs}",
    )
