"""When an exchange that fails isn't asked: a circuit breaker as a value. Pure: time and chance are arguments.

Closed, every request may leave. After FAILURES in a row, or at once when the exchange says how long it wants to be
left alone (429, 418), the circuit opens: no request may leave. When its time is over one request may try; it closes
the circuit, or opens it for longer. All times are of one monotonic clock: a wall clock that is set does nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from botrunner.process.backoff import Backoff

FAILURES = 5
"""In a row until the circuit opens: a lost packet or a restarted proxy costs one or two."""

OPEN = Backoff(first_s=10.0, most_s=60.0)
"""How long it stays open, growing with each trial that failed. A minute is what a candle can wait."""


class CircuitState(StrEnum):
    """Of a circuit breaker."""

    CLOSED = "closed"
    """Requests leave."""
    OPEN = "open"
    """None leaves until `open_until`; then one may try."""
    HALF_OPEN = "half-open"
    """The one that tries is under way; the next answer or failure decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Circuit:
    """A circuit breaker's state.

    Attributes:
        failures: in a row while closed.
        opened: how often in a row it was opened, without an answer in between.
        open_until: while open: when a request may try again, monotonic seconds.
    """

    state: CircuitState = CircuitState.CLOSED
    failures: int = 0
    opened: int = 0
    open_until: float = 0.0

    def left_s(self, now: float) -> float:
        """Seconds for which no request may leave; 0 when one may."""
        return max(self.open_until - now, 0.0) if self.state is CircuitState.OPEN else 0.0

    def asking(self) -> Circuit:
        """After a request has left, which is allowed when nothing is left of `left_s`."""
        return replace(self, state=CircuitState.HALF_OPEN) if self.state is CircuitState.OPEN else self

    def answered(self) -> Circuit:
        """After an answer; a refusal is one."""
        return Circuit()

    def failed(self, now: float, *, asked_s: float = 0.0, draw: float) -> Circuit:
        """After a request got no usable answer.

        Args:
            asked_s: for how long the exchange wants to be left alone; 0 when it said nothing.
            draw: at random in [0, 1).
        """
        failures = self.failures + 1
        if self.state is CircuitState.CLOSED and failures < FAILURES and not asked_s:
            return replace(self, failures=failures)
        opened = self.opened + 1
        open_s = asked_s or OPEN.wait_s(opened, draw=draw)
        return Circuit(state=CircuitState.OPEN, opened=opened, open_until=now + open_s)
