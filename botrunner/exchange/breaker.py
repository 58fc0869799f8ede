"""A broker behind a circuit breaker (pybreaker): an exchange that fails isn't asked again and again.

Closed, every request leaves. After FAILURES in a row, or at once when the exchange says how long it wants to be left
alone (429, 418), the circuit opens: no request leaves, callers get `CircuitOpen`. When its time is over one request
may try; it closes the circuit, or opens it for longer. All times are of the monotonic clock: a local clock that is
set does nothing. Refusals are answers, not failures.

No request leaves either while another bot's pause holds for the address (`exchange.address`), or when an answer told
that the address has used up most of what it may: a bot that waits for the minute's turn is told nothing worse.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar, runtime_checkable

import pybreaker

from botrunner.exchange.address import Alone
from botrunner.exchange.broker import Broker
from botrunner.exchange.errors import CircuitOpen, ExchangeAway, ExchangePaused, ExchangeRefused, MarketHalted
from botrunner.exchange.outage import Outage
from botrunner.exchange.stream import Streaming, StreamSpec
from botrunner.market.candle import Candle
from botrunner.market.rules import Market
from botrunner.process.retry import Backoff
from fleet.clock import Clock
from fleet.events import Event
from fleet.log import get_logger

log = get_logger("breaker")

T = TypeVar("T")

FAILURES = 5
"""In a row until the circuit opens: a lost packet or a restarted proxy costs one or two."""

OPEN = Backoff(first_s=10.0, most_s=60.0)
"""How long it stays open, growing with each trial that failed. A minute is what a candle can wait."""

RESTRAINED_FROM = 0.8
"""Share of an address's requests from which on a bot waits for the next minute: the rest is for those under way, and
for whatever else asks from the same address."""

LOOK_AGAIN_S = 30.0
"""A long pause is looked at again so often: a person may have removed it."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What an exchange said of the address's requests.

    Attributes:
        share: used, of what it may in this minute. turns_s: seconds until the count begins anew.
    """

    share: float
    turns_s: float


@runtime_checkable
class Metered(Protocol):
    """What a broker has besides `Broker` whose exchange counts requests in its answers."""

    def usage(self) -> Usage | None:
        """As of the last answer; None when it didn't say."""


class PausedAddress(Protocol):
    """The pauses that a bot shares (`exchange.address.SharedAddress`)."""

    def left_s(self) -> float:
        """Seconds until this bot may ask."""

    def return_s(self) -> float:
        """How long after a common pause's end it is this bot's turn, seconds."""

    def told(self, seconds: float, reason: str) -> None:
        """The exchange wants no request for so long."""


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
        address: whose pauses hold for this bot too.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        clock: Clock,
        outage: Outage,
        report: Callable[[Event], None],
        address: PausedAddress | None = None,
    ) -> None:
        self.name = broker.name
        self._broker = broker
        self._clock = clock
        self._outage = outage
        self._report = report
        self._storage = _Storage(clock)
        self._address = address or Alone()
        self._restrained_until = clock.monotonic()
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
        self._hold_still()
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

    def _hold_still(self) -> None:
        """Raises: ExchangePaused: the address is paused, or has used up its requests."""
        left_s = self._address.left_s()
        if left_s > 0:
            paused = ExchangePaused(
                f"{self.name} isn't asked for another {left_s:.0f} s: it wants no request from this address",
                retry_after_s=min(left_s, LOOK_AGAIN_S),
            )
            self._told(self._outage.failed(self._clock.monotonic(), at=self._clock.now(), error=paused))
            raise paused
        left_s = self._restrained_until - self._clock.monotonic()
        if left_s > 0:
            # no outage: the exchange answers, and would go on to
            raise ExchangePaused(
                f"{self.name} isn't asked for another {left_s:.0f} s: the address has used up most of its requests",
                retry_after_s=left_s,
            )

    def _failed(self, error: ExchangeAway) -> None:
        if error.retry_after_s and self.state != pybreaker.STATE_OPEN:
            self._breaker.open()
        if error.retry_after_s:
            self._address.told(error.retry_after_s, str(error))
        if self.state == pybreaker.STATE_OPEN:
            self._opened += 1
            pause_s = error.retry_after_s or OPEN.wait_s(self._opened)
            self._storage.open_until = self._clock.monotonic() + pause_s
            log.warning("circuit_open", broker=self.name, seconds=round(pause_s, 1), error=str(error))
        self._told(self._outage.failed(self._clock.monotonic(), at=self._clock.now(), error=error))

    def _answered(self) -> None:
        self._opened = 0
        usage = self._broker.usage() if isinstance(self._broker, Metered) else None
        if usage is not None and usage.share >= RESTRAINED_FROM:
            wait_s = usage.turns_s + self._address.return_s()
            self._restrained_until = self._clock.monotonic() + wait_s
            log.warning("requests_used_up", broker=self.name, share=round(usage.share, 2), seconds=round(wait_s, 1))
        self._told(self._outage.answered(self._clock.monotonic()))

    def _told(self, event: Event | None) -> None:
        if event is not None:
            self._report(event)
