"""TradingRunner: the controller's process life.

Start order: health endpoint, own lease (a second controller waits here), what already runs, and only then rows.
Any part that ends ends the process with an error, so that whoever supervises it restarts it. On SIGTERM it stops
deciding, releases its lease and leaves every pod running.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from controller.facts import Policy
from controller.manager import StrategyManager
from controller.metrics import Metrics
from controller.observe.rows import RowWatch
from controller.observe.runs import RunWatch
from controller.runtime import RunningRuntime, RuntimeAway
from controller.shards import LeaseLost, ShardKeeper
from controller.starts import Starts
from controller.store import PostgresStore
from controller.workqueue import WorkQueue
from fleet.errors import DatabaseAway, TransientError
from fleet.log import get_logger
from fleet.probes import Probes

log = get_logger("runner")

LAG_INTERVAL_S = 0.5
ADMIT_INTERVAL_S = 1.0
"""Should no event tell that a slot is free; costs nothing while nobody waits."""
STUCK_AFTER_S = 120.0
"""Workers that are busy for so long without finishing one bot are stuck: every call they make ends sooner."""
READY_CONTACT_S = 20.0
START_ATTEMPT_PAUSE_S = 2.0


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
    contact_at: float = 0.0
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
        store: PostgresStore,
        runtime: RunningRuntime,
        manager: StrategyManager,
        queue: WorkQueue,
        keeper: ShardKeeper,
        starts: Starts,
        policy: Policy,
        intervals: Intervals,
        metrics: Metrics,
        http: tuple[str, int],
        prepare: Coroutine[Any, Any, None],
    ) -> None:
        self._store = store
        self._runtime = runtime
        self._queue = queue
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
            alive=self._why_dead,
            ready=self._why_not_ready,
            exposition=metrics.exposition,
        )
        self._rows = RowWatch(url=url, poll_interval_s=intervals.poll_s, changed=self._changed, poll=self._poll)
        self._runs = RunWatch(
            store=store,
            manager=manager,
            pods=runtime.pods,
            policy=policy,
            metrics=metrics,
            interval_s=intervals.watch_s,
            due=queue.add,
            clock=time.monotonic,
        )
        self._stopping = asyncio.Event()

    async def run(self) -> int:
        """Run until SIGTERM or SIGINT; returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        work = asyncio.create_task(self._work(), name="work")
        stop = asyncio.create_task(self._stopping.wait(), name="stop")
        try:
            await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return self._ended(work)
            log.info("stopping")
            return 0
        finally:
            for task in (work, stop):
                task.cancel()
            await asyncio.gather(work, stop, return_exceptions=True)
            await self._close()

    async def _work(self) -> None:
        await self._store.open()
        port = await self._probes.start()
        log.info("listening", port=port)
        await self._prepare
        await self._keeper.acquire()
        self._metrics.leading.set(1)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keeper.keep(), name="lease")
            group.create_task(self._measure_lag(), name="lag")
            await self._start_runtime()
            group.create_task(self._queue.run(), name="queue")
            group.create_task(self._rows.run(), name="rows")
            group.create_task(self._runs.run(), name="runs")
            group.create_task(self._relist_regularly(), name="relist")
            group.create_task(self._admit_regularly(), name="starts")

    async def _start_runtime(self) -> None:
        while True:
            try:
                await self._runtime.start()
            except TransientError as error:
                log.warning("runtime_not_started", error=str(error)[:500])
                await asyncio.sleep(START_ATTEMPT_PAUSE_S)
            else:
                return

    def _ended(self, work: asyncio.Task[None]) -> int:
        error = work.exception()
        causes = error.exceptions if isinstance(error, BaseExceptionGroup) else (error,)
        for cause in causes:
            log.error("ended", error=repr(cause), lost_lease=isinstance(cause, LeaseLost))
        return 1

    async def _close(self) -> None:
        self._metrics.leading.set(0)
        await self._runtime.close()
        await self._keeper.release()
        await self._store.close()
        await self._probes.stop()

    def _changed(self, bot_id: int) -> None:
        self._metrics.changed(bot_id, time.monotonic())
        self._queue.add(bot_id)

    async def _poll(self) -> None:
        """Queue every bot that isn't at first sight what its row wants."""
        for bot_id in await self._store.unsettled():
            self._queue.add(bot_id)
        counts = await self._store.count_statuses()
        self._metrics.bots.clear()
        for count in counts:
            self._metrics.bots.labels(count.status).set(count.bots)
        if not self._health.polled:
            await self._compare_pods()
            self._health.polled = True

    async def _relist_regularly(self) -> None:
        while True:
            await asyncio.sleep(self._intervals.relist_s)
            try:
                await self._runtime.relist()
                await self._compare_pods()
            except (RuntimeAway, DatabaseAway) as error:
                log.warning("relist_failed", error=str(error)[:500])

    async def _admit_regularly(self) -> None:
        """Wake the next in the queue of starts as soon as a slot is free."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(ADMIT_INTERVAL_S):
                    await self._slot_freed.wait()
            self._slot_freed.clear()
            try:
                await self._starts.look()
            except DatabaseAway as error:
                log.warning("starts_unread", error=str(error)[:300])

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

    def _why_dead(self) -> str | None:
        fault = self._runtime.fault()
        if fault is not None:
            return fault
        stuck_s = time.monotonic() - self._health.progress_at
        if self._queue.active and stuck_s > STUCK_AFTER_S:
            return f"no bot was finished for {stuck_s:.0f} s"
        return None

    def _why_not_ready(self) -> str | None:
        if self._keeper.waiting:
            return None  # a standby is all it should be; a rollout waits for readiness
        if not self._health.polled:
            return "the rows have not been read yet"
        if not self._keeper.held:
            return "the database does not answer"
        return None
