"""How paper orders fill against closed candles: prices, quantities, latency. Pure; `trading.costs` has the costs.

docs/user/paper-trading.md has the formulas with units and examples. In short:
- market orders and triggered stops pay slippage against the order, limits never do. Prices are rounded to the tick
  against the order, fees to the eighth decimal;
- a fill may lie outside its candle's range: slippage is the effect of an order that the candle's trades didn't have;
- a candle doesn't tell in which order prices came. Where it matters the answer is the one that is worse for the bot.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta
from decimal import Decimal

from botrunner.execution.paper.draws import What, between, draw, happens, part_of
from botrunner.market.candle import Candle
from botrunner.market.rules import FEE_STEP, Market
from botrunner.market.side import Side
from botrunner.trading.costs import Costs, costs_of
from botrunner.trading.orders import Order, OrderType
from fleet.config.bot import BotConfig
from fleet.config.document import FillPrice

MAINTENANCE_MARGIN = Decimal("0.05")
"""A short position is liquidated when the equity falls to this fraction of the position's value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperRules(Costs):
    """How real paper trading is: what executions cost, and what happens to orders by chance.

    Attributes:
        fill_price: at which market orders execute.
        partial_fill, reject: probabilities.
        min_latency_ms, max_latency_ms: between sending and arriving.
        seed: of chance.
    """

    fill_price: FillPrice
    partial_fill: Decimal
    reject: Decimal
    min_latency_ms: int
    max_latency_ms: int
    seed: int


def paper_rules(config: BotConfig, market: Market) -> PaperRules:
    """The rules of a config."""
    paper = config.document.broker.paper_trading_config
    low = paper.min_latency_ms or Decimal(0)
    high = paper.max_latency_ms if paper.max_latency_ms is not None else low
    return PaperRules(
        **asdict(costs_of(config, market)),
        fill_price=config.fill_price,
        partial_fill=paper.partial_fill_probability or Decimal(0),
        reject=paper.reject_probability or Decimal(0),
        min_latency_ms=int(low),
        max_latency_ms=int(high),
        seed=paper.seed,
    )


# --- prices --------------------------------------------------------------------------------------------------------


def marketable(order: Order, quote: Decimal) -> bool:
    """Whether a limit order executes at once at this quote, as a taker."""
    assert order.price is not None
    return order.price >= quote if order.side is Side.BUY else order.price <= quote


def touched(order: Order, candle: Candle) -> bool:
    """Whether the candle reached a resting limit's price."""
    assert order.price is not None
    return candle.low <= order.price if order.side is Side.BUY else candle.high >= order.price


def resting_price(order: Order, candle: Candle) -> Decimal:
    """What a touched resting limit gets: its price, or the better open."""
    assert order.price is not None
    return min(candle.open, order.price) if order.side is Side.BUY else max(candle.open, order.price)


def triggered(order: Order, candle: Candle) -> bool:
    """Whether the candle sets off a resting stop."""
    assert order.type is OrderType.STOP
    assert order.price is not None
    return candle.high >= order.price if order.side is Side.BUY else candle.low <= order.price


def stop_quote(order: Order, candle: Candle) -> Decimal:
    """The price at which a triggered stop becomes a market order: its own, or the worse open."""
    assert order.price is not None
    return max(candle.open, order.price) if order.side is Side.BUY else min(candle.open, order.price)


def liquidation_price(*, cash: Decimal, size: Decimal) -> Decimal:
    """Price at which a short position's equity, cash - size × price, is down to the maintenance margin."""
    return cash / (size * (1 + MAINTENANCE_MARGIN))


def bankruptcy_price(*, cash: Decimal, size: Decimal, rules: PaperRules, market: Market) -> Decimal:
    """The highest price, on the tick, at which a short position can be bought back with the account's cash."""
    return market.round_price((cash - FEE_STEP) / (size * (1 + rules.taker_fee)), up=False)


# --- quantities, time ----------------------------------------------------------------------------------------


def fillable(order: Order, candle: Candle, *, rules: PaperRules, market: Market) -> Decimal:
    """How much of what an order leaves this candle fills, on the step; 0 for nothing."""
    quantity = order.leaves_quantity
    if rules.max_volume_share is not None:
        quantity = min(quantity, market.round_quantity(candle.volume * rules.max_volume_share))
    if rules.partial_fill:
        bar_at = candle.open_at
        steps = int(quantity / market.step)
        if steps and happens(draw(rules.seed, order, What.PARTIAL, bar_at=bar_at), rules.partial_fill):
            quantity = part_of(draw(rules.seed, order, What.PART, bar_at=bar_at), steps) * market.step
    return quantity


def latency(order: Order, rules: PaperRules) -> timedelta:
    """From sending to arriving."""
    if not rules.max_latency_ms:
        return timedelta(0)
    drawn = draw(rules.seed, order, What.LATENCY)
    return timedelta(milliseconds=between(drawn, rules.min_latency_ms, rules.max_latency_ms))


def rejected(order: Order, rules: PaperRules) -> bool:
    """Whether the paper exchange refuses an order."""
    return bool(rules.reject) and happens(draw(rules.seed, order, What.REJECT), rules.reject)
