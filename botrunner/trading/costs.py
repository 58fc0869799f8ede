"""What an execution costs besides its price: fees, and the slippage of what executes at market. Pure.

The policy sizes entries by it, the paper venue fills by it: what executes at its expected price can always be paid for.
docs/user/paper-trading.md has the formulas with units and examples.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from botrunner.market.rules import FEE_STEP, Market
from botrunner.market.side import Side
from botrunner.trading.risk import fee_in_quote
from fleet.config.bot import BotConfig
from fleet.config.document import SlippageModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Fees and slippage of a bot's orders.

    Attributes:
        maker_fee, taker_fee: fractions of a fill's value. fee_in_base: a buy pays in what it bought.
        slippage: fraction of the price (percentage), quote units (fixed), price impact (volume_share).
        max_volume_share: fraction of a candle's volume that an order may take; None for all it wants.
    """

    maker_fee: Decimal
    taker_fee: Decimal
    fee_in_base: bool
    slippage_model: SlippageModel
    slippage: Decimal
    max_volume_share: Decimal | None

    @property
    def highest_fee(self) -> Decimal:
        """The most that an order may have to pay."""
        return max(self.maker_fee, self.taker_fee)


def costs_of(config: BotConfig, market: Market) -> Costs:
    """The costs of a config; fees that it doesn't name are the exchange's own."""
    paper = config.document.broker.paper_trading_config
    model, slippage = config.slippage_model, config.slippage
    if model is SlippageModel.FIXED:
        slippage = paper.fixed_slippage or market.tick * (paper.slippage_ticks or 0)
    elif model is SlippageModel.VOLUME_SHARE:
        slippage = paper.price_impact
    maker, taker = config.maker_rate, config.taker_rate
    return Costs(
        maker_fee=market.maker_fee if maker is None else maker,
        taker_fee=market.taker_fee if taker is None else taker,
        fee_in_base=paper.fee_currency == "base",
        slippage_model=model,
        slippage=slippage,
        max_volume_share=paper.max_volume_share,
    )


def market_price(
    quote: Decimal, *, side: Side, quantity: Decimal, volume: Decimal, costs: Costs, market: Market
) -> Decimal:
    """A market order's fill price around a quoted one: slippage and rounding both against the order.

    Args:
        quote: quote per base. quantity: of the fill, base. volume: of the candle, base.
    """
    match costs.slippage_model:
        case SlippageModel.PERCENTAGE:
            slipped = quote * (1 + side.sign * costs.slippage)
        case SlippageModel.FIXED:
            slipped = quote + side.sign * costs.slippage
        case SlippageModel.VOLUME_SHARE:
            share = _share(quantity, volume, costs)
            slipped = quote * (1 + side.sign * costs.slippage * share * share)
        case _:
            slipped = quote
    return max(market.round_price(slipped, up=side is Side.BUY), market.tick)


def _share(quantity: Decimal, volume: Decimal, costs: Costs) -> Decimal:
    """The order's share of the candle's volume, at most what one order may take."""
    most = costs.max_volume_share or Decimal(1)
    return min(quantity / volume, most) if volume > 0 else most


def fee(*, price: Decimal, quantity: Decimal, maker: bool, costs: Costs) -> Decimal:
    """Fee of an execution in quote currency."""
    rate = costs.maker_fee if maker else costs.taker_fee
    return fee_in_quote(price, quantity, rate)


def base_fee(*, quantity: Decimal, maker: bool, costs: Costs) -> Decimal:
    """Fee of a buy in the base currency."""
    rate = costs.maker_fee if maker else costs.taker_fee
    return (quantity * rate).quantize(FEE_STEP, ROUND_HALF_EVEN)
