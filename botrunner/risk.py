"""Limits enforced outside the strategy: how much may be entered, when not at all, and protective exits. Pure.

Every denial has a stable code, so that logs, events and docs speak of the same thing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, Decimal
from enum import StrEnum

from botrunner.orders.machine import Side
from fleet.config.bot import RiskLimits


class Denial(StrEnum):
    """Why an entry wasn't made."""

    BELOW_MIN_QUANTITY = "below_min_quantity"
    """The affordable quantity rounds to less than the exchange's smallest order."""
    BELOW_MIN_NOTIONAL = "below_min_notional"
    """The order's value is under the exchange's minimum, counting what the exit may lose."""
    MAX_DAILY_TRADES = "max_daily_trades"
    """risk_management.max_daily_trades entries were made this UTC day."""
    MAX_DAILY_LOSS = "max_daily_loss"
    """risk_management.max_daily_loss (quote) was lost this UTC day."""
    MAX_DRAWDOWN = "max_drawdown"
    """Equity is further below its peak than the drawdown limit allows."""
    COOLDOWN = "cooldown"
    """Fewer than the cooldown's closed bars have passed since the last exit."""
    SHORT_NOT_ALLOWED = "short_not_allowed"
    """The strategy wants to sell short, trading.allow_short is off or the broker can't."""
    LATE_CANDLE = "late_candle"
    """Live only: the candle's successor has closed already, so the decision would be one on old news."""
    STOPPING = "stopping"
    """The bot was asked to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """An exchange's rules for one symbol.

    Attributes:
        tick: price step (quote). step: quantity step (base). min_quantity: base. min_notional: quote.
    """

    symbol: str
    base: str
    quote: str
    tick: Decimal
    step: Decimal
    min_quantity: Decimal
    min_notional: Decimal

    def round_quantity(self, quantity: Decimal) -> Decimal:
        """Down to the step: never more than asked."""
        return (quantity / self.step).to_integral_value(ROUND_DOWN) * self.step

    def round_price(self, price: Decimal, *, up: bool) -> Decimal:
        """To the tick, upwards or downwards."""
        return (price / self.tick).to_integral_value(ROUND_CEILING if up else ROUND_FLOOR) * self.tick


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """What the limits count; part of the checkpoint, so restarts don't forget.

    Attributes:
        day: UTC day that the next two belong to.
        trades_today: entries. pnl_today: realised, net, quote currency.
        peak_equity: highest so far, at closes.
        bars_since_exit: closed bars since the last exit's bar; None before the first exit.
    """

    day: date | None = None
    trades_today: int = 0
    pnl_today: Decimal = Decimal(0)
    peak_equity: Decimal = Decimal(0)
    bars_since_exit: int | None = None


def counters_at(counters: Counters, *, now: datetime, equity: Decimal) -> Counters:
    """The counters at a bar's close: a new UTC day starts from zero, the peak follows equity, the cooldown counts."""
    since_exit = None if counters.bars_since_exit is None else counters.bars_since_exit + 1
    counters = replace(counters, peak_equity=max(counters.peak_equity, equity), bars_since_exit=since_exit)
    if counters.day == now.date():
        return counters
    return replace(counters, day=now.date(), trades_today=0, pnl_today=Decimal(0))


def entry_denial(limits: RiskLimits, counters: Counters, *, equity: Decimal) -> Denial | None:
    """The first limit that forbids a new position, or None."""
    if limits.max_daily_trades is not None and counters.trades_today >= limits.max_daily_trades:
        return Denial.MAX_DAILY_TRADES
    if limits.max_daily_loss is not None and -counters.pnl_today >= limits.max_daily_loss:
        return Denial.MAX_DAILY_LOSS
    if limits.max_drawdown_pct is not None and counters.peak_equity > 0:
        drawdown_pct = (counters.peak_equity - equity) / counters.peak_equity * 100
        if drawdown_pct >= limits.max_drawdown_pct:
            return Denial.MAX_DRAWDOWN
    if counters.bars_since_exit is not None and counters.bars_since_exit <= limits.cooldown_bars:
        return Denial.COOLDOWN if limits.cooldown_bars else None
    return None


def entry_quantity(
    *,
    market: Market,
    limits: RiskLimits,
    price: Decimal,
    equity: Decimal,
    cash: Decimal,
    fraction: Decimal,
    fee_rate: Decimal,
) -> Decimal | Denial:
    """How much to enter with, in base currency.

    Args:
        market: rounding and minimums.
        limits: caps the position's value.
        price: expected fill price, slippage included.
        equity: of the account, quote. cash: free quote currency, which must also pay the fee.
        fraction: of equity to put in, 0 to 1.
        fee_rate: of the value, e.g. 0.001.
    """
    budget = min(equity * fraction, cash / (1 + fee_rate))
    if limits.max_position_size is not None:
        budget = min(budget, limits.max_position_size)
    quantity = market.round_quantity(max(budget, Decimal(0)) / price)
    if quantity <= 0 or quantity < market.min_quantity:
        return Denial.BELOW_MIN_QUANTITY
    # what can be bought must also be sellable after the worst loss that the stop allows
    worst = price * (1 - (limits.stop_loss_pct or Decimal(0)) / 100)
    if quantity * worst < market.min_notional:
        return Denial.BELOW_MIN_NOTIONAL
    return quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class Protection:
    """Prices at which an open position is closed whatever the strategy says; None where unlimited."""

    stop: Decimal | None = None
    target: Decimal | None = None


def protection(
    limits: RiskLimits, *, market: Market, side: Side, entry_price: Decimal, best_price: Decimal
) -> Protection:
    """Stop and target of a position, on ticks, the stop never looser than the fixed one.

    Args:
        limits: percentages.
        market: for the tick.
        side: of the entry.
        entry_price: average. best_price: highest high (long) or lowest low (short) since the entry, of closed bars.
    """
    sign = side.sign
    stops = [
        base * (1 - sign * pct / 100)
        for base, pct in ((entry_price, limits.stop_loss_pct), (best_price, limits.trailing_stop_pct))
        if pct is not None
    ]
    stop = (max(stops) if sign > 0 else min(stops)) if stops else None
    target = entry_price * (1 + sign * limits.take_profit_pct / 100) if limits.take_profit_pct is not None else None
    return Protection(
        stop=market.round_price(stop, up=sign < 0) if stop is not None else None,
        target=market.round_price(target, up=sign > 0) if target is not None else None,
    )
