"""The worker's process life: the outbox's loop, periodic jobs, health, a graceful stop.

NOTIFY wakes the loop at once, the poll is the truth. On SIGTERM nothing new is claimed and what is on its way may
arrive; what doesn't within STOP_S is sent again by the next worker, with the same key. All of it ends within BOUND_S.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import psycopg

from fleet.errors import DatabaseAway
from fleet.foreign import clean_text
from fleet.log import get_logger
from fleet.probes import Probes
from fleet.shutdown import Shutdown, Step, Tasks, bound_of, run_until_asked
from fleet.trading_service import outbox
from fleet.trading_service.db import Pool, listen
from worker.channels.outcome import Senders
from worker.dispatch import Dispatcher
from worker.health import HealthWatch
from worker.metrics import Metrics
from worker.router import Router

log = get_logger("runner")

BOUND_S = bound_of(30.0)
"""From SIGTERM to the end; the chart's grace period is 30 s."""
CANCEL_S = 4.0
"""For the loops."""
STOP_S = 12.0
"""For messages on their way at a stop."""
CLOSE_S = 3.0
"""For connections to receivers, and for those to the database."""
PROBES_STOP_S = 1.0
READY_S = 20.0
"""Not ready after so long without an answer of the database."""
STUCK_S = 120.0
"""The loop turns at least every few seconds: after so long it hangs."""
SHORTEST_WAIT_S = 0.05
RECONNECT_S = 2.0


@dataclass(frozen=True, slots=True)
class Job:
    """Something that is done again and again: `turn` gets aware UTC and may raise DatabaseAway."""

    name: str
    every_s: float
    turn: Callable[[datetime], Awaitable[object]]


@dataclass(slots=True, kw_only=True)
class WorkerRunner:
    """Runs all parts until it is told to stop."""

    url: str
    pool: Pool
    router: Router
    dispatcher: Dispatcher
    senders: Senders
    health: HealthWatch
    jobs: Sequence[Job]
    metrics: Metrics
    poll_interval_s: float
    http: tuple[str, int]
    shutdown: Shutdown
    _wake: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _answered_at: float = field(default=-READY_S, init=False)
    _turned_at: float = field(default_factory=time.monotonic, init=False)

    async def run(self) -> int:
        """Run until SIGTERM or SIGINT; returns the exit code."""
        probes = Probes(
            host=self.http[0],
            port=self.http[1],
            alive=self._why_dead,
            ready=self._why_not_ready,
            exposition=self.metrics.exposition,
        )
        port = await probes.start()
        log.info("listening", port=port, channels=sorted(self.senders))
        await self.pool.open()
        tasks = Tasks()
        tasks.start("deliver", self._deliver())
        tasks.start("listen", self._listen())
        for job in self.jobs:
            tasks.start(job.name, self._repeat(job))
        return await run_until_asked(
            self.shutdown,
            tasks,
            stop=self.dispatcher.close,
            cancel_s=CANCEL_S,
            steps=[
                Step("messages", self._drain, STOP_S + 1),
                Step("receivers", self._close_senders, CLOSE_S),
                Step("pool", self.pool.close, CLOSE_S),
                Step("probes", probes.stop, PROBES_STOP_S),
            ],
        )

    async def _deliver(self) -> None:
        """The outbox: route what is new, send what is due, sleep until something is."""
        while True:
            self._wake.clear()
            self._turned_at = time.monotonic()
            try:
                await self._route()
                started = await self.dispatcher.send_due()
                async with self.pool.connection() as connection:
                    waits = await outbox.waiting(connection)
                await self._answered(waits)
            except DatabaseAway as error:
                self.health.missed()
                log.warning("outbox_not_read", error=str(error)[:300])
                await self._sleep(min(self.poll_interval_s, RECONNECT_S))
                continue
            except psycopg.ProgrammingError as error:
                # the migrations run beside the controller, maybe later than this; until then it isn't ready
                log.error("schema_not_ready", error=str(error)[:300], fix="botfleet db migrate")
                await self._sleep(RECONNECT_S)
                continue
            except Exception as error:
                # whatever a row made of it: the loop goes on, and the process isn't ready as long as nothing works
                log.error("outbox_failed", error=clean_text(repr(error), 300))
                await self._sleep(min(self.poll_interval_s, RECONNECT_S))
                continue
            if not started:
                due_s = self.poll_interval_s if waits.next_s is None else max(waits.next_s, SHORTEST_WAIT_S)
                # what is due and wasn't started waits for a receiver or for room, and a poll finds it
                await self._sleep(min(self.poll_interval_s, due_s if due_s > SHORTEST_WAIT_S else 0.5))

    async def _route(self) -> None:
        """Messages that have their route go out even when new ones can't get theirs."""
        try:
            await self.router.route_all()
        except (DatabaseAway, psycopg.ProgrammingError):
            raise
        except Exception as error:
            log.error("routing_failed", error=clean_text(repr(error), 300))

    async def _answered(self, waits: outbox.Waiting) -> None:
        self._answered_at = time.monotonic()
        self.metrics.note(waits)
        await self.health.answered(datetime.now(UTC))
        await self.health.look(waits)

    async def _sleep(self, seconds: float) -> None:
        """Until then, or until something new or the end of a message is reported."""
        woken = asyncio.create_task(self._wake.wait())
        done = asyncio.create_task(self.dispatcher.any_done())
        try:
            await asyncio.wait({woken, done}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (woken, done):
                task.cancel()

    async def _listen(self) -> None:
        async def connected() -> None:
            self._wake.set()

        await listen(
            self.url,
            outbox.CHANNEL,
            application="worker listen",
            connected=connected,
            heard=lambda _: self._wake.set(),
        )

    async def _repeat(self, job: Job) -> None:
        while True:
            try:
                with self.metrics.job_seconds.labels(job.name).time():
                    await job.turn(datetime.now(UTC))
            except DatabaseAway as error:
                self.metrics.job_failures.labels(job.name).inc()
                log.warning("job_without_database", job=job.name, error=str(error)[:300])
            except Exception:
                # a job that can't be done must not keep messages from going out
                self.metrics.job_failures.labels(job.name).inc()
                log.exception("job_failed", job=job.name)
            await asyncio.sleep(job.every_s)

    async def _drain(self) -> None:
        """Let messages arrive; those that don't are ended, and sent again by the next worker."""
        if left := await self.dispatcher.drain(within_s=STOP_S):
            log.warning("messages_left", messages=left, reason=f"still on their way after {STOP_S:g} s")

    async def _close_senders(self) -> None:
        for sender in self.senders.values():
            await sender.close()

    def _why_dead(self) -> str | None:
        ending_s = self.shutdown.ending_s
        if ending_s is not None:
            return "it should have ended" if ending_s > self.shutdown.bound_s else None
        stuck_s = time.monotonic() - self._turned_at
        return f"the outbox was not looked at for {stuck_s:.0f} s" if stuck_s > STUCK_S else None

    def _why_not_ready(self) -> str | None:
        if self.shutdown.ending_s is not None:
            return "stopping"
        return "the database does not answer" if time.monotonic() - self._answered_at > READY_S else None
