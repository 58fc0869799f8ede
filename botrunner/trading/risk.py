"""Limits enforced outside the strategy: how much may be entered, when not at all, and protective exits. Pure.

Every denial has a stable code, so that logs, events and docs speak of the same thing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from enum import StrEnum

from botrunner.market.rules import FEE_STEP, Market
from botrunner.market.side import Side
from botrunner.trading.pauses import pausing
from fleet.config.bot import RiskLimits
from fleet.exit_kinds import ExitKind
from fleet.trading_day import utc_day


class Denial(StrEnum):
    """Why an entry wasn't made."""

    BELOW_MIN_QUANTITY = "below_min_quantity"
    """The affordable quantity, or what its fee leaves of it, rounds to less than the exchange's smallest order."""
    BELOW_MIN_NOTIONAL = "below_min_notional"
    """The order's value is under the exchange's minimum, counting what fee and stop take off the exit's."""
    MAX_DAILY_TRADES = "max_daily_trades"
    """risk_management.max_daily_trades entries were made this UTC day."""
    MAX_DAILY_LOSS = "max_daily_loss"
    """risk_management.max_daily_loss (quote) was lost this UTC day."""
    MAX_DRAWDOWN = "max_drawdown"
    """Equity is further below its peak than the drawdown limit allows."""
    STOP_LOSS_GUARD = "stop_loss_guard"
    """Too many losing stops within the guard's window: a pause follows the last one."""
    COOLDOWN = "cooldown"
    """The cooldown's bars haven't passed since the last exit (`botrunner.trading.pauses`)."""
    TENANT_MAX_OPEN_POSITIONS = "tenant_max_open_positions"
    """The owner's bots hold as many positions as tenant_limits.max_open_positions allows."""
    TENANT_MAX_EXPOSURE = "tenant_max_exposure"
    """With this entry the owner's open positions would be worth more than tenant_limits.max_exposure (quote)."""
    TENANT_MAX_DAILY_LOSS = "tenant_max_daily_loss"
    """The owner's bots lost tenant_limits.max_daily_loss (quote) this UTC day."""
    SHORT_NOT_ALLOWED = "short_not_allowed"
    """The strategy wants to sell short, trading.allow_short is off or the broker can't."""
    LATE_CANDLE = "late_candle"
    """Live only: the candle's successor has closed already, so the decision would be one on old news."""
    STOPPING = "stopping"
    """The bot was asked to stop."""


BREACHES = (Denial.MAX_DAILY_TRADES, Denial.MAX_DAILY_LOSS, Denial.MAX_DRAWDOWN, Denial.STOP_LOSS_GUARD)
"""Limits of the bot that stay in force for a while once reached, in the order in which they are named to people."""

TENANT_LIMITS = (Denial.TENANT_MAX_OPEN_POSITIONS, Denial.TENANT_MAX_EXPOSURE, Denial.TENANT_MAX_DAILY_LOSS)
"""Limits of the bot's owner, over all bots."""

_DAILY = (Denial.MAX_DAILY_TRADES, Denial.MAX_DAILY_LOSS)


STOPS_KEPT = 50
"""Newest losing stops that the counters remember; a guard can't ask for more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """What the limits count; part of the checkpoint, so restarts don't forget.

    Attributes:
        day: UTC day that the next two belong to: of the newest fill or decision (`fleet.trading_day.utc_day`).
        trades_today: entries. pnl_today: realised, net, quote currency.
        peak_equity: highest so far, at closes.
        last_exit_at: when the last position was closed; None before the first exit.
        stops: when the newest positions were closed with a loss by a stop, oldest first.
        breached: limits in force at the last bar, so that each breach is told once.
    """

    day: date | None = None
    trades_today: int = 0
    pnl_today: Decimal = Decimal(0)
    peak_equity: Decimal = Decimal(0)
    last_exit_at: datetime | None = None
    stops: tuple[datetime, ...] = ()
    breached: tuple[Denial, ...] = ()


def counters_at(counters: Counters, *, now: datetime, equity: Decimal) -> Counters:
    """The counters at a bar's close: its UTC day starts from zero unless it has begun, the peak follows equity.

    A day before the counters' begins anew too: the bot has moved to a market with older candles.
    """
    counters = replace(counters, peak_equity=max(counters.peak_equity, equity))
    return counters if counters.day == utc_day(now) else _begun(counters, utc_day(now))


def counted_entry(counters: Counters, *, at: datetime) -> Counters:
    """The counters after a position was opened. `at`: the fill's time, which may begin a new day."""
    counters, counts = _on_day_of(counters, at)
    return replace(counters, trades_today=counters.trades_today + counts)


def counted_exit(counters: Counters, *, net_pnl: Decimal, kind: ExitKind, at: datetime) -> Counters:
    """The counters after a position was closed.

    Args:
        counters: before.
        net_pnl: of the whole trade, quote currency.
        kind: of the closing order; a losing stop counts for the stop-loss guard, whether it was the risk
            management's or the exit mixin's.
        at: when it was closed, which may begin a new day.
    """
    counters, counts = _on_day_of(counters, at)
    stopped_out = net_pnl < 0 and kind is ExitKind.STOP
    return replace(
        counters,
        pnl_today=counters.pnl_today + net_pnl * counts,
        last_exit_at=at,
        stops=(*counters.stops, at)[-STOPS_KEPT:] if stopped_out else counters.stops,
    )


def _on_day_of(counters: Counters, at: datetime) -> tuple[Counters, bool]:
    """The counters of a fill's day, and whether they are: a fill before their day is no longer counted."""
    day = utc_day(at)
    if counters.day is None or counters.day < day:
        counters = _begun(counters, day)
    return counters, counters.day == day


def _begun(counters: Counters, day: date) -> Counters:
    lasting = tuple(denial for denial in counters.breached if denial not in _DAILY)
    return replace(counters, day=day, trades_today=0, pnl_today=Decimal(0), breached=lasting)


def in_force(
    limits: RiskLimits, counters: Counters, *, equity: Decimal, now: datetime, interval: timedelta
) -> tuple[Denial, ...]:
    """The limits that have been reached and forbid new positions for the time being.

    Args:
        limits: of the config, as they are now.
        counters: at this bar's close.
        equity: at this bar's close, quote currency.
        now: the bar's close. interval: a bar's length, the unit of the guard's window and pause.
    """
    reached = {
        Denial.MAX_DAILY_TRADES: limits.max_daily_trades is not None
        and counters.trades_today >= limits.max_daily_trades,
        Denial.MAX_DAILY_LOSS: limits.max_daily_loss is not None and -counters.pnl_today >= limits.max_daily_loss,
        Denial.MAX_DRAWDOWN: _drawdown_reached(limits, counters, equity),
        Denial.STOP_LOSS_GUARD: _guarded(limits, counters, now, interval),
    }
    return tuple(denial for denial in BREACHES if reached[denial])


def _drawdown_reached(limits: RiskLimits, counters: Counters, equity: Decimal) -> bool:
    if limits.max_drawdown_pct is None or counters.peak_equity <= 0:
        return False
    return (counters.peak_equity - equity) / counters.peak_equity * 100 >= limits.max_drawdown_pct


def _guarded(limits: RiskLimits, counters: Counters, now: datetime, interval: timedelta) -> bool:
    """Whether the newest `max_stops` stops lie within the window, and the pause after the last isn't over."""
    guard = limits.stop_loss_guard
    if guard is None or len(counters.stops) < guard.max_stops:
        return False
    first, last = counters.stops[-guard.max_stops], counters.stops[-1]
    within = last - first <= guard.within_bars * interval
    return within and pausing(last, now=now, bars=guard.pause_bars, interval=interval)


def entry_denial(
    limits: RiskLimits, counters: Counters, *, reached: Sequence[Denial], now: datetime, interval: timedelta
) -> Denial | None:
    """The first reason that forbids a new position at this bar, or None.

    Args:
        limits: of the config, as they are now.
        counters: at this bar's close.
        reached: what is `in_force`.
        now: the bar's close. interval: a bar's length, the unit of the cooldown.
    """
    if reached:
        return reached[0]
    cooling = pausing(counters.last_exit_at, now=now, bars=limits.cooldown_bars, interval=interval)
    return Denial.COOLDOWN if cooling else None


def fee_in_quote(price: Decimal, quantity: Decimal, rate: Decimal) -> Decimal:
    """Fee of an execution, rounded as the exchange rounds it."""
    return (price * quantity * rate).quantize(FEE_STEP, ROUND_HALF_EVEN)


def payable(quantity: Decimal, *, cash: Decimal, price: Decimal, fee_rate: Decimal, market: Market) -> Decimal:
    """A quantity, or what is less, for which the cash pays at a price together with the rounded fee; on the step.

    The fee is rounded by less than a FEE_STEP, so what costs so much less before rounding is always paid for.
    """
    if price * quantity + fee_in_quote(price, quantity, fee_rate) <= cash:
        return quantity
    return min(quantity, market.round_quantity(max(cash - FEE_STEP, Decimal(0)) / (1 + fee_rate) / price))


def entry_quantity(
    *,
    market: Market,
    limits: RiskLimits,
    side: Side,
    price: Decimal,
    stop_fill: Decimal | None,
    equity: Decimal,
    cash: Decimal,
    fraction: Decimal,
    fee_rate: Decimal,
    fee_from_cash: bool,
) -> Decimal:
    """How much to enter with, in base currency, on the step; 0 for nothing. See `entry_too_small`.

    Args:
        market: rounding.
        limits: caps of the position's value: max_position_size, max_exposure (a fraction of the equity), and
            max_portfolio_risk_pct (what may be lost at the stop loss, in percent of the equity).
        side: of the entry.
        price: what a unit is counted for: the expected fill price, slippage included; of a sale no less than the quote.
        stop_fill: expected fill price of its stop loss, slippage included; None without one.
        equity: of the account, quote. cash: free quote currency, which must also pay the fee.
        fraction: of equity to put in, 0 to 1.
        fee_rate: the most that is taken of a fill's value, e.g. 0.001.
        fee_from_cash: whether the entry itself spends the cash, and its fee too: a purchase with fees in quote.
    """
    budget = min(equity * fraction, cash / (1 + fee_rate))
    if limits.max_position_size is not None:
        budget = min(budget, limits.max_position_size)
    if limits.max_exposure is not None:
        budget = min(budget, equity * limits.max_exposure)
    if limits.max_portfolio_risk_pct is not None and stop_fill is not None:
        # what each unit loses at its stop, both fees included
        loss = side.sign * (price - stop_fill) + fee_rate * (price + stop_fill)
        if loss > 0:  # no price is below a tick, so that from there nothing is lost
            budget = min(budget, equity * limits.max_portfolio_risk_pct / 100 / loss * price)
    quantity = market.round_quantity(max(budget, Decimal(0)) / price)
    if fee_from_cash:
        quantity = payable(quantity, cash=cash, price=price, fee_rate=fee_rate, market=market)
    return quantity


def entry_too_small(
    quantity: Decimal, *, market: Market, price: Decimal, kept: Decimal, stop: Decimal | None
) -> Denial | None:
    """Why an entry's order, or the one that closes it after the worst loss, is less than the exchange accepts; or None.

    Args:
        quantity: of the entry. price: that it is counted for.
        kept: what its fee leaves of it, to be traded back.
        stop: price at which the position's stop begins; None without one. Of a short position it is above the price, so
            that closing it is never worth less than the entry.
    """
    closing = market.round_quantity(kept)
    if quantity <= 0 or min(quantity, closing) < market.min_quantity:
        return Denial.BELOW_MIN_QUANTITY
    worst = price if stop is None else min(price, stop)
    return Denial.BELOW_MIN_NOTIONAL if min(quantity, closing) * worst < market.min_notional else None


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
    fixed = stop_loss(limits, market=market, side=side, entry_price=entry_price)
    trailing = _beyond(best_price, limits.trailing_stop_pct, against=side, market=market)
    stops = [stop for stop in (fixed, trailing) if stop is not None]
    target = entry_price * (1 + sign * limits.take_profit_pct / 100) if limits.take_profit_pct is not None else None
    return Protection(
        stop=(max(stops) if sign > 0 else min(stops)) if stops else None,
        target=market.round_price(target, up=sign > 0) if target is not None else None,
    )


def stop_loss(limits: RiskLimits, *, market: Market, side: Side, entry_price: Decimal) -> Decimal | None:
    """The stop of `stop_loss_pct` of a position entered at a price, on the tick; None without one."""
    return _beyond(entry_price, limits.stop_loss_pct, against=side, market=market)


def _beyond(price: Decimal, percent: Decimal | None, *, against: Side, market: Market) -> Decimal | None:
    """So many percent against a position from a price, rounded away from it."""
    if percent is None:
        return None
    return market.round_price(price * (1 - against.sign * percent / 100), up=against.sign < 0)
