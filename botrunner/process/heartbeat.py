"""Renews the run's lease: one thread sends heartbeats, another watches.

Guarantees: neither a hung database call nor a hung main loop can keep a dead run alive. Once the fence is lost the main
loop has LEAVE_S to leave by itself; once the database has been away for T_exit the process ends at once. A heartbeat's
failure other than a fence costs its connection and nothing else. What a reply asks for is handed on once.
"""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Callable, Mapping
from contextvars import copy_context
from typing import Any

import psycopg

from botrunner.process.fence import Deadlines, Fence
from botrunner.process.progress import Progress
from botrunner.process.stop import StopRequest, stop_reason
from fleet.clock import Clock
from fleet.errors import DatabaseAway, FencedError
from fleet.exit_codes import EXIT_FENCED
from fleet.foreign import Unreadable
from fleet.log import get_logger
from fleet.trading_service.db import connect
from fleet.trading_service.lease import HeartbeatReply, RunId, heartbeat

log = get_logger("fence")

LEAVE_S = 5.0
"""How long the main loop may take to leave by itself after the fence fell, before the process is ended."""

LAST_BEAT_S = 0.5
"""How long a release waits for a heartbeat under way, which might wait for the database."""


class Lease:
    """Renews the run in the background.

    Args:
        url: of the database. run: the claimed run.
        fence, progress: shared with the main loop.
        on_stop: called once, from the heartbeat's thread, when the controller asks to stop.
        on_limits: called with changed limits, from the heartbeat's thread.
        after_beat: called with the connection after an acknowledged heartbeat, from its thread; what it raises as
            DatabaseAway costs the connection.
        end_process: os._exit, or a test's stand-in.
    """

    def __init__(
        self,
        *,
        url: str,
        run: RunId,
        deadlines: Deadlines,
        fence: Fence,
        progress: Progress,
        clock: Clock,
        on_stop: Callable[[StopRequest], None],
        on_limits: Callable[[Mapping[str, Any]], None],
        after_beat: Callable[[psycopg.Connection[Any]], None] = lambda _: None,
        end_process: Callable[[int], Any] = os._exit,
    ) -> None:
        self.fence = fence
        self.progress = progress
        self._url = url
        self._run = run
        self._deadlines = deadlines
        self._clock = clock
        self._on_stop = on_stop
        self._on_limits = on_limits
        self._after_beat = after_beat
        self._end_process = end_process
        self._limits: Mapping[str, Any] | None = None
        self._stop_seen = False
        self._done = threading.Event()
        self._beat_now = threading.Event()
        self._connection: psycopg.Connection[Any] | None = None
        self._threads = (
            # a thread begins without the log's fields (bot_id, epoch, run_id): hand it a copy
            threading.Thread(target=copy_context().run, args=(self._renew,), name="heartbeat", daemon=True),
            threading.Thread(target=copy_context().run, args=(self._watch,), name="watchdog", daemon=True),
        )

    def start(self) -> None:
        """Start renewing."""
        for thread in self._threads:
            thread.start()

    def send_now(self) -> None:
        """Send the next heartbeat at once: something changed that people should see."""
        self._beat_now.set()

    def stop(self) -> None:
        """Stop renewing, before the run is released."""
        self._done.set()
        self._beat_now.set()
        self._threads[0].join(timeout=LAST_BEAT_S)

    def _renew(self) -> None:
        while not self._done.is_set():
            self._beat_now.wait(self._deadlines.heartbeat_s)
            self._beat_now.clear()
            if self._done.is_set():
                break
            try:
                self.beat()
            except DatabaseAway as error:
                log.warning("heartbeat_unanswered", error=str(error))
                self._drop_connection()
            except FencedError as error:
                if not self._done.is_set():  # else it was released meanwhile
                    log.error("fenced", error=str(error))
                self.fence.lose()
                break
            except BaseException:
                # a thread that dies here would let the right to trade run out without a word; changed limits pass the
                # models of packages, which may raise anything
                log.exception("heartbeat_failed")
                self._drop_connection()
        self._drop_connection()

    def beat(self) -> None:
        """Send one heartbeat and obey its reply.

        Raises:
            DatabaseAway: no answer. FencedError: the run is no longer current.
        """
        if self._connection is None:
            name = f"bot-{self._run.bot_id}-e{self._run.epoch} heartbeat"
            self._connection = connect(self._url, application=name, synchronous_commit=False)
        sent_at = self._clock.monotonic()
        reply = heartbeat(
            self._connection,
            self._run,
            progress_age_s=self.progress.age_s(),
            peak_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            phase=self.progress.phase,
            waiting=self.progress.waiting,
        )
        self.fence.acknowledged(sent_at=sent_at)
        self._obey(reply)
        self._after_beat(self._connection)

    def _obey(self, reply: HeartbeatReply) -> None:
        limits = reply.limits
        if isinstance(limits, Unreadable):
            log.error("limits_unreadable", reason=limits.reason)
        elif limits is not None and limits != self._limits:
            self._limits = limits
            self._on_limits(limits)
        if reply.stop_requested and not self._stop_seen:
            self._stop_seen = True
            self._on_stop(StopRequest(stop_reason(reply.stop_reason)))

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _watch(self) -> None:
        while not self._done.wait(0.5):
            if self.fence.lost:
                # the main loop sees it too and leaves; a hung one is ended
                if not self._done.wait(LEAVE_S):
                    self._end_process(EXIT_FENCED)
                return
            if self.fence.must_exit(self._clock.monotonic()):
                log.critical("database_away_too_long", limit_s=self._deadlines.exit_s)
                self._end_process(EXIT_FENCED)
                return
