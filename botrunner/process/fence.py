"""The bot's own deadline: stop sending, then exit, when the right to trade can't be renewed.

Only the decision, and no clock of its own: the time is an argument, on the monotonic clock. Deadlines count from the
time at which an acknowledged heartbeat was *sent*, as the database's own count begins no earlier. `heartbeat.Lease`
renews, and acts on it.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass


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
    """Whether this process still has the right to trade. May be asked and told by any thread.

    Args:
        claimed_at: when the claim was sent, monotonic seconds.
    """

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
