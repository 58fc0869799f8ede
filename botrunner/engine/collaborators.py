"""What a run needs from outside, and what it expects of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

from botrunner.engine.backtrader_adapter import Moved
from botrunner.engine.budget import BudgetLimits
from botrunner.engine.failures import FailureCounts
from botrunner.engine.starting_point import Resumed
from botrunner.exchange.stream import CandleStream
from botrunner.execution.port import Venue
from botrunner.feeds.health import FeedWatch
from botrunner.feeds.source import CandleSource, LocalTurn
from botrunner.market.candle import Candle
from botrunner.market.rules import Market
from botrunner.process.fence import Fence
from botrunner.process.progress import Progress
from botrunner.process.stop import StopSwitch
from botrunner.trading.orders import Order
from botrunner.trading.reports import Report
from botrunner.trading.risk import Denial
from botrunner.trading.state import BarOutcome, BotState
from botrunner.trading.trades import Trade
from fleet.clock import Clock
from fleet.events import Event


class BarLedger(Protocol):
    """What makes bars durable (`botrunner.ledger.ledger.Ledger`)."""

    def resume(self) -> Resumed | None:
        """State and strategy state of the last checkpoint."""

    def begin(self, state: BotState, strategy_state: dict[str, Any]) -> Resumed:
        """Store the first checkpoint."""

    def commit(self, outcome: BarOutcome) -> None:
        """Make a bar durable."""

    def reserve(self, value: Decimal, at: datetime, closed: Sequence[Trade]) -> Denial | None:
        """Take room in the owner's limits for an entry, or say which one forbids it."""


class ReportSource(Protocol):
    """What an exchange says of a bot's orders between bars (`botrunner.execution.live`)."""

    def carry_out(self, orders: Sequence[Order], /) -> Sequence[Report]:
        """Send what is to be sent of these open orders, which are committed, and tell what became of others; empty
        when there is nothing new."""

    def unresolved(self, orders: Sequence[Order], /) -> object:
        """Whether the fate of one of these orders, sent by an earlier run or not, isn't known yet."""


class BarObserver(Protocol):
    """Is shown each bar before it is worked through, and decides nothing."""

    def __call__(self, candle: Candle, moved: Moved, /) -> None:
        """The lines stand at this candle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collaborators:
    """Everything a run needs from outside.

    Attributes:
        strategy: a Backtrader strategy class that decides (`strategies.base.BaseStrategy`).
        venue: where its orders execute.
        on_live: called once, when warm-up is over.
        exchange: its name, for people.
        note: puts what happened between bars into the outbox. Raises FencedError.
        exchange_ms: what the exchange's clock shows; None where there is none, e.g. for files.
        turn: when to ask for the candle of this open, among the bots that share the exchange.
        watch: tells when candles stay away; None where they can't.
        stream: makes a stream that calls back, from its thread, with each candle that closed; None without streams.
        config_version: whose failures of the strategy count together. budget: how many are too many.
        failures: where they are counted, for whoever runs this.
        close_out: why this run only closes what is open, without the strategy, and gives up; None: it trades.
        between_bars: an exchange's reports; None where orders execute within the bar (paper).
        may_enter: whether a position may be opened at the bar of this candle; None: until a stop is asked for.
        on_bar: is shown each bar; None: nobody looks.
    """

    strategy: type[Any]
    source: CandleSource
    ledger: BarLedger
    market: Market
    venue: Venue
    fence: Fence
    progress: Progress
    stop: StopSwitch
    clock: Clock
    on_live: Callable[[], None]
    exchange: str = ""
    note: Callable[[Iterable[Event]], None] = lambda _: None
    exchange_ms: Callable[[], int | None] = lambda: None
    turn: Callable[[int], LocalTurn] = lambda _: LocalTurn()
    watch: FeedWatch | None = None
    stream: Callable[[Callable[[int], None]], CandleStream] | None = None
    config_version: int = 0
    budget: BudgetLimits = field(default_factory=BudgetLimits)
    failures: FailureCounts = field(default_factory=FailureCounts)
    close_out: str | None = None
    between_bars: ReportSource | None = None
    may_enter: Callable[[Candle], bool] | None = None
    on_bar: BarObserver | None = None
