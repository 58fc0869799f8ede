"""What a bot carries from bar to bar, and what one bar caused: the two values that a transaction holds. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from pydantic import JsonValue

from botrunner.market.candle import Candle
from botrunner.trading.account import Account
from botrunner.trading.orders import Fill, Order
from botrunner.trading.risk import Denial
from botrunner.trading.signal import Signal
from botrunner.trading.trades import Trade
from fleet.config import BotConfig
from fleet.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class BarOutcome:
    """Everything one bar caused, to be committed in one transaction.

    Attributes:
        follows: open time of the bar committed before; None for the first.
        bar_at: this bar's open time; equal to `follows` for what happens between bars (flatten on stop).
        trades: trades that changed, open or closed, oldest first.
        denial: why a wanted entry wasn't made.
        breaches: limits that came into force at this bar.
        candle: this bar's; None for what happens between bars.
        events: what a person may be told, beyond what follows from trades and denial.
        config: the one that decided, with the limits in force; None for what happens between bars.
        stopping: whether the bot had been asked to stop when the bar came, and opened nothing any more.
        volume: of the newest candle, base currency.
    """

    follows: datetime | None
    bar_at: datetime | None
    bars: int
    close: Decimal
    account: Account
    strategy_state: dict[str, JsonValue]
    orders: tuple[Order, ...] = ()
    fills: tuple[Fill, ...] = ()
    trades: tuple[Trade, ...] = ()
    signal: Signal | None = None
    denial: Denial | None = None
    breaches: tuple[Denial, ...] = ()
    candle: Candle | None = None
    events: tuple[Event, ...] = ()
    config: BotConfig | None = None
    stopping: bool = False
    volume: Decimal = Decimal(0)

    @property
    def balance(self) -> Decimal:
        """Equity at the bar's close, quote currency."""
        return self.account.equity(self.close)


@dataclass(frozen=True, slots=True, kw_only=True)
class BotState:
    """What a bot carries from bar to bar.

    Attributes:
        last_bar_at: open time of the last committed bar. bars: how many were.
        last_close: of that bar; None before the first. last_volume: of its candle, base currency: what an order
            between bars is a share of.
    """

    account: Account
    last_bar_at: datetime | None = None
    last_close: Decimal | None = None
    last_volume: Decimal = Decimal(0)
    bars: int = 0
