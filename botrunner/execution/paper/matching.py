"""How paper orders fill against closed candles: prices, quantities, fees, latency. Pure.

docs/user/paper-trading.md has the formulas with units and examples. In short:
- market orders and triggered stops pay slippage against the order, limits never do. Prices are rounded to the tick
  against the order, fees to the eighth decimal;
- a fill may lie outside its candle's range: slippage is the effect of an order that the candle's trades didn't have;
- a candle doesn't tell in which order prices came. Where it matters the answer is the one that is worse for the bot.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import ROUND_HALF_EVEN, Decimal

from botrunner.execution.paper.draws import What, between, draw, happens, part_of
from botrunner.market.candle import Candle
from botrunner.market.rules import FEE_STEP, Market
from botrunner.market.side import Side
from botrunner.trading.orders import Order, OrderType
from botrunner.trading.risk import fee_in_quote
from fleet.config.bot import BotConfig
from fleet.config.document import FillPrice, SlippageModel

MAINTENANCE_MARGIN = Decimal("0.05")
"""A short position is liquidated when the equity falls to this fraction of the position's value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperRules:
    """How real paper trading is.

    Attributes:
        maker_fee, taker_fee: fractions of a fill's value. fee_in_base: a buy pays in what it bought.
        slippage: fraction of the price (percentage), quote units (fixed), price impact (volume_share).
        max_volume_share: fraction of a candle's volume that an order may take; None for all it wants.
        partial_fill, reject: probabilities.
        min_latency_ms, max_latency_ms: between sending and arriving.
    """

    fill_price: FillPrice
    maker_fee: Decimal
    taker_fee: Decimal
    fee_in_base: bool
    slippage_model: SlippageModel
    slippage: Decimal
    max_volume_share: Decimal | None
    partial_fill: Decimal
    reject: Decimal
    min_latency_ms: int
    max_latency_ms: int
    seed: int

    @property
    def highest_fee(self) -> Decimal:
        """The most that an order may have to pay."""
        return max(self.maker_fee, self.taker_fee)


def paper_rules(config: BotConfig, market: Market) -> PaperRules:
    """The rules of a config; fees that it doesn't name are the exchange's own."""
    paper = config.document.broker.paper_trading_config
    model, slippage = config.slippage_model, config.slippage
    if model is SlippageModel.FIXED:
        slippage = paper.fixed_slippage or market.tick * (paper.slippage_ticks or 0)
    elif model is SlippageModel.VOLUME_SHARE:
        slippage = paper.price_impact
    low = paper.min_latency_ms or Decimal(0)
    high = paper.max_latency_ms if paper.max_latency_ms is not None else low
    maker, taker = config.maker_rate, config.taker_rate
    return PaperRules(
        fill_price=config.fill_price,
        maker_fee=market.maker_fee if maker is None else maker,
        taker_fee=market.taker_fee if taker is None else taker,
        fee_in_base=paper.fee_currency == "base",
        slippage_model=model,
        slippage=slippage,
        max_volume_share=paper.max_volume_share,
        partial_fill=paper.partial_fill_probability or Decimal(0),
        reject=paper.reject_probability or Decimal(0),
        min_latency_ms=int(low),
        max_latency_ms=int(high),
        seed=paper.seed,
    )


# --- prices --------------------------------------------------------------------------------------------------------


def market_price(
    quote: Decimal, *, side: Side, quantity: Decimal, volume: Decimal, rules: PaperRules, market: Market
) -> Decimal:
    """A market order's fill price around a quoted one: slippage and rounding both against the order.

    Args:
        quote: quote per base. quantity: of the fill, base. volume: of the candle, base.
    """
    match rules.slippage_model:
        case SlippageModel.PERCENTAGE:
            slipped = quote * (1 + side.sign * rules.slippage)
        case SlippageModel.FIXED:
            slipped = quote + side.sign * rules.slippage
        case SlippageModel.VOLUME_SHARE:
            share = _share(quantity, volume, rules)
            slipped = quote * (1 + side.sign * rules.slippage * share * share)
        case _:
            slipped = quote
    return max(market.round_price(slipped, up=side is Side.BUY), market.tick)


def _share(quantity: Decimal, volume: Decimal, rules: PaperRules) -> Decimal:
    """The order's share of the candle's volume, at most what one order may take."""
    most = rules.max_volume_share or Decimal(1)
    return min(quantity / volume, most) if volume > 0 else most


def limit_price(close: Decimal, *, side: Side, offset_pct: Decimal, market: Market) -> Decimal:
    """A limit on the better side of a close, rounded away from it: a buy's below, a sell's above."""
    price = close * (1 - side.sign * offset_pct / 100)
    return max(market.round_price(price, up=side is Side.SELL), market.tick)


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


# --- quantities, fees, time ----------------------------------------------------------------------------------------


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


def fee(*, price: Decimal, quantity: Decimal, maker: bool, rules: PaperRules) -> Decimal:
    """Fee of an execution in quote currency."""
    rate = rules.maker_fee if maker else rules.taker_fee
    return fee_in_quote(price, quantity, rate)


def base_fee(*, quantity: Decimal, maker: bool, rules: PaperRules) -> Decimal:
    """Fee of a buy in the base currency."""
    rate = rules.maker_fee if maker else rules.taker_fee
    return (quantity * rate).quantize(FEE_STEP, ROUND_HALF_EVEN)


def sellable(quantity: Decimal, *, price: Decimal, market: Market) -> Decimal:
    """What of a holding the exchange takes in an order at about this price; 0 when it is too little."""
    rounded = market.round_quantity(quantity)
    if rounded < market.min_quantity or rounded * price < market.min_notional:
        return Decimal(0)
    return rounded


def latency(order: Order, rules: PaperRules) -> timedelta:
    """From sending to arriving."""
    if not rules.max_latency_ms:
        return timedelta(0)
    drawn = draw(rules.seed, order, What.LATENCY)
    return timedelta(milliseconds=between(drawn, rules.min_latency_ms, rules.max_latency_ms))


def rejected(order: Order, rules: PaperRules) -> bool:
    """Whether the paper exchange refuses an order."""
    return bool(rules.reject) and happens(draw(rules.seed, order, What.REJECT), rules.reject)
