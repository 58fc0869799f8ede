"""An exchange's rules for one symbol: steps, minimums, fees, rounding. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, Decimal

SPOT_FEE = Decimal("0.001")
"""0.1 %, Binance's for makers and takers without a discount: the default where a broker names none."""


FEE_STEP = Decimal("1e-8")
"""Fees are kept to eight decimals, as Binance's balances are."""

EIGHT_DECIMALS = Decimal("1e-8")
"""Price and quantity step where nothing says another."""

_QUOTES = ("USDT", "USDC", "BTC", "ETH", "EUR")


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """An exchange's rules for one symbol.

    Attributes:
        tick: price step (quote). step: quantity step (base). min_quantity: base. min_notional: quote.
        maker_fee, taker_fee: the exchange's own, as fractions of a fill's value.
        can_short: whether a position may be opened by selling.
    """

    symbol: str
    base: str
    quote: str
    tick: Decimal
    step: Decimal
    min_quantity: Decimal
    min_notional: Decimal
    maker_fee: Decimal = SPOT_FEE
    taker_fee: Decimal = SPOT_FEE
    can_short: bool = False

    def round_quantity(self, quantity: Decimal) -> Decimal:
        """Down to the step: never more than asked."""
        return (quantity / self.step).to_integral_value(ROUND_DOWN) * self.step

    def round_price(self, price: Decimal, *, up: bool) -> Decimal:
        """To the tick, upwards or downwards."""
        return (price / self.tick).to_integral_value(ROUND_CEILING if up else ROUND_FLOOR) * self.tick


def currencies(symbol: str) -> tuple[str, str]:
    """Base and quote of a symbol; `QUOTE` where the quote isn't known."""
    quote = next((quote for quote in _QUOTES if symbol.endswith(quote) and symbol != quote), "QUOTE")
    return symbol.removesuffix(quote), quote


def file_market(symbol: str, *, tick: Decimal = EIGHT_DECIMALS, step: Decimal = EIGHT_DECIMALS) -> Market:
    """Rules for candles without an exchange: no minimums, short positions simulated."""
    base, quote = currencies(symbol)
    return Market(
        symbol=symbol,
        base=base,
        quote=quote,
        tick=tick,
        step=step,
        min_quantity=step,
        min_notional=Decimal(0),
        can_short=True,
    )
