"""Pairs and their trading rules (exchangeInfo's filters), with steps as Binance has them for the pairs we know."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from sandbox_exchange.wire import JsonObject, number

# Longest first, so that FDUSD is not taken for a base ending in F with quote USD.
_QUOTES = ("FDUSD", "USDT", "USDC", "TUSD", "BTC", "ETH", "BNB", "EUR", "GBP", "TRY", "BRL", "USD")

# Binance's NOTIONAL minimum by quote asset, July 2026; an unknown quote asset gets 1.
_MIN_NOTIONAL = {
    "USDT": Decimal(5),
    "USDC": Decimal(5),
    "FDUSD": Decimal(5),
    "TUSD": Decimal(5),
    "EUR": Decimal(5),
    "BTC": Decimal("0.0001"),
    "ETH": Decimal("0.001"),
    "BNB": Decimal("0.01"),
}

# Binance's LOT_SIZE step.
_LOT_STEP = {
    "BTCUSDT": Decimal("0.00001"),
    "ETHUSDT": Decimal("0.0001"),
    "SOLUSDT": Decimal("0.001"),
    "ETHBTC": Decimal("0.0001"),
    "LTCBTC": Decimal("0.001"),
    "XRPETH": Decimal("0.1"),
}

_ORDER_TYPES = (
    "LIMIT",
    "LIMIT_MAKER",
    "MARKET",
    "STOP_LOSS",
    "STOP_LOSS_LIMIT",
    "TAKE_PROFIT",
    "TAKE_PROFIT_LIMIT",
)


class UnknownPair(ValueError):
    """A name that cannot be split into base and quote."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Base and quote asset."""

    base: str
    quote: str

    @property
    def symbol(self) -> str:
        """As Binance writes it."""
        return self.base + self.quote


def pair_from_name(name: str) -> Pair:
    """`ETH_BTC` or, where the quote asset is a well-known one, `ETHBTC`.

    Raises:
        UnknownPair: no separator and no known quote asset.
    """
    base, separator, quote = name.partition("_")
    if separator:
        return Pair(base=base, quote=quote)
    for known in _QUOTES:
        if name.endswith(known) and name != known:
            return Pair(base=name.removesuffix(known), quote=known)
    raise UnknownPair(f"{name}: cannot tell base from quote; write BASE_QUOTE, such as ETH_BTC")


@dataclass(frozen=True, slots=True)
class SymbolRules:
    """What an order for this pair must fulfil.

    `tick` is the price step in quote, `lot_step` the amount step in base, `min_notional` in quote.
    """

    pair: Pair
    tick: Decimal
    lot_step: Decimal
    min_notional: Decimal

    def filters(self) -> list[JsonObject]:
        """The `filters` of exchangeInfo."""
        lot: JsonObject = {
            "minQty": number(self.lot_step),
            "maxQty": number(Decimal(9_000_000)),
            "stepSize": number(self.lot_step),
        }
        return [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": number(self.tick),
                "maxPrice": number(Decimal(1_000_000)),
                "tickSize": number(self.tick),
            },
            {"filterType": "LOT_SIZE", **lot},
            {"filterType": "MARKET_LOT_SIZE", **lot, "minQty": "0.00000000", "stepSize": "0.00000000"},
            {
                "filterType": "NOTIONAL",
                "minNotional": number(self.min_notional),
                "applyMinToMarket": True,
                "maxNotional": number(Decimal(9_000_000)),
                "applyMaxToMarket": False,
                "avgPriceMins": 5,
            },
        ]

    def info(self) -> JsonObject:
        """This pair's entry in exchangeInfo."""
        return {
            "symbol": self.pair.symbol,
            "status": "TRADING",
            "baseAsset": self.pair.base,
            "baseAssetPrecision": 8,
            "quoteAsset": self.pair.quote,
            "quotePrecision": 8,
            "quoteAssetPrecision": 8,
            "baseCommissionPrecision": 8,
            "quoteCommissionPrecision": 8,
            "orderTypes": list(_ORDER_TYPES),
            "icebergAllowed": True,
            "ocoAllowed": False,
            "otoAllowed": False,
            "quoteOrderQtyMarketAllowed": True,
            "allowTrailingStop": False,
            "cancelReplaceAllowed": False,
            "isSpotTradingAllowed": True,
            "isMarginTradingAllowed": False,
            "filters": list(self.filters()),
            "permissions": ["SPOT"],
            "permissionSets": [["SPOT"]],
            "defaultSelfTradePreventionMode": "NONE",
            "allowedSelfTradePreventionModes": ["NONE"],
        }


def rules_for(pair: Pair, *, tick: Decimal, price: Decimal) -> SymbolRules:
    """The rules of a pair.

    Args:
        pair: base and quote.
        tick: the finest price step seen in its candles: every price served must pass the PRICE_FILTER.
        price: a typical price; it sizes the lot step of pairs we do not know.
    """
    min_notional = _MIN_NOTIONAL.get(pair.quote, Decimal(1))
    lot_step = _LOT_STEP.get(pair.symbol) or _plausible_lot_step(min_notional=min_notional, price=price)
    return SymbolRules(pair=pair, tick=tick, lot_step=lot_step, min_notional=min_notional)


def _plausible_lot_step(*, min_notional: Decimal, price: Decimal) -> Decimal:
    """A power of ten worth at most a tenth of the minimum notional, between 0.00000001 and 1."""
    exponent = (min_notional / 10 / price).adjusted()
    return Decimal(1).scaleb(max(-8, min(0, exponent)))
