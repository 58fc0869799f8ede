"""Whether and why a bot should stop, and how long it may take to leave.

A request comes from a signal (urgent) or from a heartbeat's reply; whoever hears it only sets the switch, and the main
loop stops where a bar is complete.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from fleet.states import ExitReason

LEAVE_ON_SIGNAL_S = 0.5
"""How long the main loop may take to leave after SIGTERM, before its run is released without it: enough for a bar's
work. A successor waits for it, and the kubelet kills without mercy."""

FLATTEN_S = 20.0
"""The same for a bot that closes its position first; two thirds of the usual grace period."""


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

    A request that isn't urgent may have to wait until the position is closed (`wait_while`): from then on
    `asked` forbids new positions, and `requested` follows when the bot is flat.

    Attributes:
        leave_within_s: how long the main loop may take to leave after a signal, seconds.
    """

    def __init__(self) -> None:
        self.leave_within_s = LEAVE_ON_SIGNAL_S
        self._now = threading.Event()
        self._alarm = threading.Event()
        self._request: StopRequest | None = None
        self._waits: Callable[[], bool] | None = None

    def wait_while(self, holds: Callable[[], bool]) -> None:
        """Let requests that aren't urgent wait while this holds; the main loop, which knows, calls `settle`."""
        self._waits = holds

    def request(self, request: StopRequest) -> None:
        """Ask to stop; the first reason stays."""
        self._request = self._request or request
        if request.urgent or self._waits is None:
            self._now.set()
        self._alarm.set()

    def settle(self) -> None:
        """Stop now if that was asked for and nothing is waited for any more."""
        if self.asked and not (self._waits and self._waits()):
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


def stop_reason(text: str | None) -> ExitReason:
    """What a stop request's reason makes of the end; one that isn't the user's doing is a plain release."""
    return ExitReason(text) if text in (ExitReason.STOPPED, ExitReason.SUPERSEDED) else ExitReason.RELEASED
