"""A broker behind a circuit breaker and its address's rate limit: no request leaves that the exchange doesn't want.

What the breaker allows is decided in `circuit_breaker`. No request leaves either while another bot's pause holds for
the address (`shared_rate_limit`), or when an answer told that the address has used up most of what it may: a bot that
waits for the next minute is told nothing worse. Refusals are answers, not failures.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Protocol, TypeVar

from botrunner.exchange.broker import Broker, Metered
from botrunner.exchange.circuit_breaker import Circuit, CircuitState
from botrunner.exchange.errors import CircuitOpen, ExchangeAway, ExchangePaused, ExchangeRefused, MarketHalted
from botrunner.exchange.outage import Outage
from botrunner.exchange.shared_rate_limit import UnsharedRateLimit
from botrunner.exchange.stream import Streaming, StreamSpec
from botrunner.market.candle import Candle
from botrunner.market.rules import Market
from fleet.clock import Clock
from fleet.events import Event
from fleet.log import get_logger

log = get_logger("breaker")

T = TypeVar("T")

RESTRAINED_FROM = 0.8
"""Share of an address's requests from which on a bot waits for the next minute: the rest is for those under way, and
for whatever else asks from the same address."""

LOOK_AGAIN_S = 30.0
"""A long pause is looked at again so often: a person may have removed it."""


class RateLimit(Protocol):
    """The pauses that a bot shares (`exchange.shared_rate_limit.SharedRateLimit`)."""

    def left_s(self) -> float:
        """Seconds until this bot may ask."""

    def return_s(self) -> float:
        """How long after a common pause's end it is this bot's turn, seconds."""

    def pause(self, seconds: float, reason: str) -> None:
        """The exchange wants no request for so long."""


class GuardedBroker:
    """The same questions, through the breaker.

    Args:
        broker: the real one.
        outage: told of every failure and answer.
        report: given what people should be told.
        rate_limit: of the address, whose pauses hold for this bot too.
        draw: a number in [0, 1), for the jitter of how long the circuit stays open.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        clock: Clock,
        outage: Outage,
        report: Callable[[Event], None],
        rate_limit: RateLimit | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.name = broker.name
        self._broker = broker
        self._clock = clock
        self._outage = outage
        self._report = report
        self._circuit = Circuit()
        self._draw = draw
        self._rate_limit = rate_limit or UnsharedRateLimit()
        self._restrained_until = clock.monotonic()

    @property
    def state(self) -> CircuitState:
        """Of the circuit."""
        return self._circuit.state

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
        self._refuse_while_paused()
        self._refuse_while_open()
        self._change(self._circuit.asking())
        try:
            answer = question()
        except (ExchangeRefused, MarketHalted):
            self._answered()
            raise
        except ExchangeAway as error:
            self._failed(error)
            raise
        self._answered()
        return answer

    def _refuse_while_open(self) -> None:
        """Raises: CircuitOpen."""
        left_s = self._circuit.left_s(self._clock.monotonic())
        if left_s > 0:
            refused = CircuitOpen(
                f"{self.name} isn't asked for another {left_s:.0f} s: its circuit breaker is open", retry_after_s=left_s
            )
            self._told(self._outage.failed(self._clock.monotonic(), at=self._clock.now(), error=refused))
            raise refused

    def _refuse_while_paused(self) -> None:
        """Raises: ExchangePaused: the address is paused, or has used up its requests."""
        left_s = self._rate_limit.left_s()
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
        now = self._clock.monotonic()
        self._change(self._circuit.failed(now, asked_s=error.retry_after_s, draw=self._draw()))
        if error.retry_after_s:
            self._rate_limit.pause(error.retry_after_s, str(error))
        if self.state is CircuitState.OPEN:
            log.warning("circuit_open", broker=self.name, seconds=round(self._circuit.left_s(now), 1), error=str(error))
        self._told(self._outage.failed(self._clock.monotonic(), at=self._clock.now(), error=error))

    def _answered(self) -> None:
        self._change(self._circuit.answered())
        usage = self._broker.usage() if isinstance(self._broker, Metered) else None
        if usage is not None and usage.share >= RESTRAINED_FROM:
            wait_s = usage.turns_s + self._rate_limit.return_s()
            self._restrained_until = self._clock.monotonic() + wait_s
            log.warning("requests_used_up", broker=self.name, share=round(usage.share, 2), seconds=round(wait_s, 1))
        self._told(self._outage.answered(self._clock.monotonic()))

    def _told(self, event: Event | None) -> None:
        if event is not None:
            self._report(event)

    def _change(self, circuit: Circuit) -> None:
        if circuit.state is not self.state:
            log.info("circuit", broker=self.name, was=self.state.value, state=circuit.state.value)
        self._circuit = circuit
