"""How paper orders fill against closed candles. Pure.

Rules, in the order in which a bar is worked through:
1. market orders that wait for the next open fill at the bar's open;
2. a protective stop fills when the bar reaches it: at the stop, or at the open when the bar opens beyond it;
3. a target fills when the bar reaches it, at the target or the better open. When a bar reaches stop and target, the
   stop is taken to have come first: a candle doesn't tell, and the cautious answer costs only optimism;
4. after the strategy's decision: market orders that fill at the signal bar's close.
Market orders and stops pay slippage (a fraction of the price, against the order), targets don't. Prices are rounded
to the tick against the order, fees to the eighth decimal.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from botrunner.feeds.candles import Candle
from botrunner.orders.ids import Leg
from botrunner.orders.machine import Side
from botrunner.risk import Market, Protection
from fleet.config.document import FillPrice

FEE_STEP = Decimal("1e-8")
"""Fees are kept to eight decimals, as Binance's balances are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperRules:
    """Costs of paper trading: fractions of the value (`fee_rate`) and of the price (`slippage`)."""

    fee_rate: Decimal
    slippage: Decimal
    fill_price: FillPrice


def market_price(price: Decimal, *, side: Side, rules: PaperRules, market: Market) -> Decimal:
    """A market order's fill price around a quoted one: slippage and rounding both against the order."""
    slipped = price * (1 + side.sign * rules.slippage)
    return market.round_price(slipped, up=side is Side.BUY)


def fee(*, price: Decimal, quantity: Decimal, rules: PaperRules) -> Decimal:
    """Fee of an execution in quote currency."""
    return (price * quantity * rules.fee_rate).quantize(FEE_STEP, ROUND_HALF_EVEN)


@dataclass(frozen=True, slots=True)
class Triggered:
    """A protective exit that a bar reached: which leg, and the price it fills at."""

    leg: Leg
    trigger: Decimal
    price: Decimal


def triggered(
    guard: Protection, candle: Candle, *, entry_side: Side, rules: PaperRules, market: Market
) -> Triggered | None:
    """The protective exit that this bar sets off, if any."""
    long = entry_side is Side.BUY
    exit_side = Side.SELL if long else Side.BUY
    if guard.stop is not None and (candle.low <= guard.stop if long else candle.high >= guard.stop):
        quoted = min(candle.open, guard.stop) if long else max(candle.open, guard.stop)
        price = market_price(quoted, side=exit_side, rules=rules, market=market)
        return Triggered(Leg.STOP_LOSS, guard.stop, price)
    if guard.target is not None and (candle.high >= guard.target if long else candle.low <= guard.target):
        price = max(candle.open, guard.target) if long else min(candle.open, guard.target)
        return Triggered(Leg.TAKE_PROFIT, guard.target, price)
    return None
