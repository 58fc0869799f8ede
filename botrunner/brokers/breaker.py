"""A broker behind a circuit breaker (pybreaker): an exchange that fails isn't asked again and again.

Closed, every request leaves. After FAILURES in a row, or at once when the exchange says how long it wants to be left
alone (429, 418), the circuit opens: no request leaves, callers get `CircuitOpen`. When its time is over one request
may try; it closes the circuit, or opens it for longer. All times are of the monotonic clock: a local clock that is
set does nothing. Refusals are answers, not failures.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pybreaker

from botrunner.brokers.errors import CircuitOpen, ExchangeAway, ExchangeRefused, MarketHalted
from botrunner.brokers.manager import Broker
from botrunner.brokers.outage import Outage
from botrunner.feeds.candles import Candle
from botrunner.feeds.stream import Streaming, StreamSpec
from botrunner.retry import Backoff
from botrunner.risk import Market
from fleet.clock import Clock
from fleet.events import Event
from fleet.log import get_logger

log = get_logger("breaker")

T = TypeVar("T")

FAILURES = 5
"""In a row until the circuit opens: a lost packet or a restarted proxy costs one or two."""

OPEN = Backoff(first_s=10.0, most_s=60.0)
"""How long it stays open, growing with each trial that failed. A minute is what a candle can wait."""


class _Storage(pybreaker.CircuitMemoryStorage):
    """The breaker's state, its deadline kept on the monotonic clock (pybreaker itself reads the wall clock)."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(pybreaker.STATE_CLOSED)
        self._clock = clock
        self.open_until = clock.monotonic()

    @property
    def opened_at(self) -> datetime | None:
        """With a reset time-out of zero this is the moment of the next trial, told in pybreaker's clock."""
        return datetime.now(UTC) + timedelta(seconds=self.open_until - self._clock.monotonic())

    @opened_at.setter
    def opened_at(self, moment: datetime) -> None:
        """`open_until` is what counts."""


class _Listener(pybreaker.CircuitBreakerListener):
    """Tells the log about each change."""

    def state_change(self, cb: pybreaker.CircuitBreaker, old_state: Any, new_state: Any) -> None:
        """Called by the breaker."""
        log.info("circuit", broker=cb.name, was=old_state.name if old_state else None, state=new_state.name)


class GuardedBroker:
    """The same questions, through the breaker.

    Args:
        broker: the real one.
        outage: told of every failure and answer.
        report: given what people should be told.
    """

    def __init__(self, broker: Broker, *, clock: Clock, outage: Outage, report: Callable[[Event], None]) -> None:
        self.name = broker.name
        self._broker = broker
        self._clock = clock
        self._outage = outage
        self._report = report
        self._storage = _Storage(clock)
        self._opened = 0
        self._breaker = pybreaker.CircuitBreaker(
            fail_max=FAILURES,
            reset_timeout=0,
            exclude=[ExchangeRefused, MarketHalted],
            listeners=[_Listener()],
            state_storage=self._storage,
            name=broker.name,
            throw_new_error_on_trip=False,
        )

    @property
    def state(self) -> str:
        """`closed`, `open` or `half-open`."""
        return self._breaker.current_state

    def market(self, symbol: str) -> Market:
        """See `Broker.market`."""
        return self._ask(lambda: self._broker.market(symbol))

    def server_time_ms(self) -> int:
        """See `Broker.server_time_ms`."""
        return self._ask(self._broker.server_time_ms)

    def candles(self, symbol: str, interval: str, *, since_ms: int, limit: int) -> list[Candle]:
        """See `Broker.candles`."""
        return self._ask(lambda: self._broker.candles(symbol, interval, since_ms=since_ms, limit=limit))

    def candle_stream(self, symbol: str, interval: str) -> StreamSpec | None:
        """The broker's stream of closed candles; None when it has none. No request leaves."""
        return self._broker.candle_stream(symbol, interval) if isinstance(self._broker, Streaming) else None

    def _ask(self, question: Callable[[], T]) -> T:
        try:
            answer = self._breaker.call(question)
        except pybreaker.CircuitBreakerError:
            left_s = max(self._storage.open_until - self._clock.monotonic(), 0.0)
            refused = CircuitOpen(
                f"{self.name} isn't asked for another {left_s:.0f} s: its circuit breaker is open", retry_after_s=left_s
            )
            self._told(self._outage.failed(self._clock.monotonic(), at=self._clock.now(), error=refused))
            raise refused from None
        except (ExchangeRefused, MarketHalted):
            self._answered()
            raise
        except ExchangeAway as error:
            self._failed(error)
            raise
        self._answered()
        return answer

    def _failed(self, error: ExchangeAway) -> None:
        if error.retry_after_s and self.state != pybreaker.STATE_OPEN:
            self._breaker.open()
        if self.state == pybreaker.STATE_OPEN:
            self._opened += 1
            pause_s = error.retry_after_s or OPEN.wait_s(self._opened)
            self._storage.open_until = self._clock.monotonic() + pause_s
            log.warning("circuit_open", broker=self.name, seconds=round(pause_s, 1), error=str(error))
        self._told(self._outage.failed(self._clock.monotonic(), at=self._clock.now(), error=error))

    def _answered(self) -> None:
        self._opened = 0
        self._told(self._outage.answered(self._clock.monotonic()))

    def _told(self, event: Event | None) -> None:
        if event is not None:
            self._report(event)
