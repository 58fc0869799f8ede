"""The bot's own deadline: stop sending, then exit, when the right to trade can't be renewed.

`Fence` is the decision (pure but for its lock, the time is an argument); `Lease` runs it: one thread renews, another
watches, so that neither a hung database call nor a hung main loop can keep a dead run alive. Deadlines count from the
time an acknowledged heartbeat was *sent*, on the monotonic clock.
"""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Callable, Mapping
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

import psycopg

from fleet.clock import Clock
from fleet.errors import DatabaseAway, FencedError
from fleet.exit_codes import EXIT_FENCED
from fleet.foreign import Unreadable
from fleet.log import get_logger
from fleet.states import ExitReason
from fleet.trading_service.db import connect
from fleet.trading_service.lease import HeartbeatReply, RunId, heartbeat

log = get_logger("fence")

LEAVE_S = 5.0
"""How long the main loop may take to leave by itself after the fence fell, before the process is ended."""

LEAVE_ON_SIGNAL_S = 0.5
"""The same after SIGTERM: enough for a bar's work. A successor waits for it, and the kubelet kills without mercy."""

FLATTEN_S = 20.0
"""The same for a bot that closes its position first; two thirds of the usual grace period."""

LAST_BEAT_S = 0.5
"""How long a release waits for a heartbeat under way, which might wait for the database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """Seconds; `controller.settings` holds the counterpart T_dead and checks the order of them all.

    Attributes:
        heartbeat_s: between heartbeats.
        stop_s: T_stop, after which no order leaves. exit_s: T_exit, after which the process ends.
    """

    heartbeat_s: float = 5.0
    stop_s: float = 15.0
    exit_s: float = 600.0


class Fence:
    """Whether this process still has the right to trade."""

    def __init__(self, deadlines: Deadlines, *, claimed_at: float) -> None:
        self._deadlines = deadlines
        self._lock = threading.Lock()
        self._renewed_at = claimed_at
        self._lost = False

    def acknowledged(self, *, sent_at: float) -> None:
        """A heartbeat sent at this monotonic time was acknowledged; older ones change nothing."""
        with self._lock:
            self._renewed_at = max(self._renewed_at, sent_at)

    def lose(self) -> None:
        """The database said that the run is no longer current. Final."""
        with self._lock:
            self._lost = True

    @property
    def lost(self) -> bool:
        """Whether the run is lost for good."""
        return self._lost

    def may_send(self, now: float) -> bool:
        """Whether an order may leave at this monotonic time."""
        with self._lock:
            return not self._lost and now - self._renewed_at < self._deadlines.stop_s

    def must_exit(self, now: float) -> bool:
        """Whether the database has been away for longer than T_exit."""
        with self._lock:
            return now - self._renewed_at >= self._deadlines.exit_s


WAIT_BELIEVED_S = 60.0
"""A main loop that waits for an exchange shows itself every few seconds, a request that hangs included; one that
says nothing for longer doesn't wait, it is stuck."""


class Progress:
    """When the main loop last got anywhere, and what its start is at; written by it, read by the heartbeat."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at = clock.monotonic()
        self._state: tuple[str | None, bool] = (None, False)

    def made(self) -> None:
        """The main loop is alive."""
        self._at = self._clock.monotonic()

    def enter(self, phase: str) -> None:
        """The start has come so far, in a few words for the bot's row."""
        self._state = (phase, False)
        self.made()

    def waits(self, why: str) -> None:
        """The start can't go on for a reason that isn't its own: the exchange doesn't answer."""
        self._state = (why, True)
        self.made()

    def live(self) -> None:
        """The start is over."""
        self._state = (None, False)
        self.made()

    @property
    def phase(self) -> str | None:
        """What the start is at; None before it begins and once the bot is live."""
        return self._state[0]

    @property
    def waiting(self) -> bool:
        """Whether it waits for somebody else, and shows that it still does."""
        return self._state[1] and self.age_s() < WAIT_BELIEVED_S

    def age_s(self) -> float:
        """Seconds since."""
        return self._clock.monotonic() - self._at


@dataclass(frozen=True, slots=True)
class StopRequest:
    """Why the bot is asked to stop.

    Attributes:
        urgent: now, whatever the config says about an open position (SIGTERM).
    """

    reason: ExitReason
    urgent: bool = False


class StopSwitch:
    """Whether and why the bot should stop; set from the threads that hear signals and heartbeats' replies.

    Never from a signal handler, which could interrupt a wait inside its lock.

    A request that isn't urgent may have to wait until the position is closed (`be_patient_while`): from then on
    `asked` forbids new positions, and `requested` follows when the bot is flat.

    Attributes:
        leave_within_s: how long the main loop may take to leave after a signal, seconds.
    """

    def __init__(self) -> None:
        self.leave_within_s = LEAVE_ON_SIGNAL_S
        self._now = threading.Event()
        self._alarm = threading.Event()
        self._request: StopRequest | None = None
        self._patient: Callable[[], bool] | None = None

    def be_patient_while(self, patient: Callable[[], bool]) -> None:
        """Let requests that aren't urgent wait while this holds; the main loop, which knows, calls `settle`."""
        self._patient = patient

    def request(self, request: StopRequest) -> None:
        """Ask to stop; the first reason stays."""
        self._request = self._request or request
        if request.urgent or self._patient is None:
            self._now.set()
        self._alarm.set()

    def settle(self) -> None:
        """Stop now if that was asked for and nothing is waited for any more."""
        if self.asked and not (self._patient and self._patient()):
            self._now.set()

    @property
    def asked(self) -> bool:
        """Whether a stop was asked for, now or as soon as the position is closed."""
        return self._request is not None

    @property
    def requested(self) -> bool:
        """Whether to stop now."""
        return self._now.is_set()

    @property
    def reason(self) -> ExitReason:
        """Why; RELEASED when nobody gave a reason."""
        return self._request.reason if self._request else ExitReason.RELEASED

    def wait(self, seconds: float) -> bool:
        """Wait at most so long for the moment to stop."""
        return self._now.wait(seconds)

    def wake(self) -> None:
        """End the main loop's rest: there is something to do. May be called from any thread."""
        self._alarm.set()

    def rest(self, seconds: float) -> None:
        """Wait at most so long for a stop request or something to do."""
        if not self.requested and self._alarm.wait(seconds):
            self._alarm.clear()


class Lease:
    """Renews the run in the background.

    Args:
        url: of the database. run: the claimed run.
        fence, progress: shared with the main loop.
        on_stop: called once, from the heartbeat's thread, when the controller asks to stop.
        on_limits: called with changed limits, from the heartbeat's thread.
        beside: called with the connection after an acknowledged heartbeat, from its thread; what it raises as
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
        beside: Callable[[psycopg.Connection[Any]], None] = lambda _: None,
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
        self._beside = beside
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

    def hurry(self) -> None:
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
        self._beside(self._connection)

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


def stop_reason(text: str | None) -> ExitReason:
    """What a stop request's reason makes of the end; one that isn't the user's doing is a plain release."""
    return ExitReason(text) if text in (ExitReason.STOPPED, ExitReason.SUPERSEDED) else ExitReason.RELEASED
