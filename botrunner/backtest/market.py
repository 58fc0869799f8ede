"""Which market rules a backtest goes by, and where they come from.

A paper bot rounds quantities and prices to its exchange's steps, so a backtest must know the same steps to give the
same trades. `auto` takes what the bot would: a file's rules for candles from a file, else the exchange's; when the
exchange can't be asked, a file's as well, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Any

from botrunner.exchange.broker import BrokerManager
from botrunner.exchange.errors import ExchangeAway
from botrunner.feeds.files.market import rules_of_file
from botrunner.feeds.files.reader import CandleFile
from botrunner.market.rules import EIGHT_DECIMALS, Market, file_market
from fleet.config import BotConfig
from fleet.errors import PermanentError

AUTO, EXCHANGE, NONE = "auto", "exchange", "none"

_NUMBERS = ("tick", "step", "min_quantity", "min_notional", "maker_fee", "taker_fee")
MOST = Decimal("1e18")
"""No step, minimum or fee of a market is larger."""

_OTHERS = ("symbol", "base", "quote", "can_short", "origin")


class MarketUnknown(PermanentError):
    """The rules can't be had; the message says why and what to give instead."""


@dataclass(frozen=True, slots=True)
class KnownMarket:
    """Rules with their origin, and what a person should know about them (or empty)."""

    rules: Market
    origin: str
    notice: str = ""


def market_for(
    config: BotConfig, choice: str, *, candles: CandleFile, exchange_urls: Mapping[str, str], given: object = None
) -> KnownMarket:
    """The rules of the config's symbol.

    Args:
        config: names symbol, broker and data source.
        choice: `auto`, `exchange`, `none` (eight decimals or the file's, if it has more; no minimums) or the name of a
            file.
        candles: whose decimals count where no exchange is asked.
        exchange_urls: exchange id → base URL in place of the public one.
        given: what that file says.

    Raises:
        MarketUnknown: the exchange didn't answer, or the file is wrong. UnknownSymbol: the exchange hasn't the market.
    """
    if choice == NONE:
        return _none(candles, config.symbol)
    of_file = KnownMarket(rules_of_file(candles, config.symbol), f"{candles.path.name}: its own decimals, no minimums")
    if choice == AUTO and config.data_source == "file":
        return of_file
    if choice not in (AUTO, EXCHANGE):
        return KnownMarket(market_of(given, config.symbol, file=choice), choice)
    broker = BrokerManager(exchange_urls).get(config.broker_type)
    origin = f"{broker.name} at {exchange_urls[broker.name]}" if broker.name in exchange_urls else broker.name
    try:
        return KnownMarket(broker.market(config.symbol), origin)
    except ExchangeAway as error:
        if choice == EXCHANGE:
            raise MarketUnknown(f"{origin} doesn't tell the rules of {config.symbol}: {error}") from error
        notice = (
            f"{origin} can't be asked for the rules of {config.symbol}, so quantities and prices are rounded to the "
            f"decimals of {candles.path.name}; a bot rounds to the exchange's steps. Give them with --market FILE, or "
            "--market none"
        )
        return replace(of_file, notice=notice)


def _none(candles: CandleFile, symbol: str) -> KnownMarket:
    """Eight decimals; more where the file has more: a price of 0.0000000123 would lose all but its first digit."""
    tick, step = min(candles.tick, EIGHT_DECIMALS), min(candles.step, EIGHT_DECIMALS)
    origin = "none: eight decimals, no minimums"
    if tick < EIGHT_DECIMALS:
        origin = f"none: {-tick.adjusted()} decimals of a price, as the file has, no minimums"
    return KnownMarket(file_market(symbol, tick=tick, step=step), origin)


def market_of(document: object, symbol: str, *, file: str) -> Market:
    """The rules of a document: an object with tick and step, and maybe more of what `-o json` prints as `market`.

    Raises:
        MarketUnknown: unknown keys, of another symbol, or with values that make no sense; names the file.
    """
    if not isinstance(document, dict) or not {"tick", "step"} <= set(document) <= {*_NUMBERS, *_OTHERS}:
        raise MarketUnknown(
            f"--market {file}: an object with tick and step is expected, {', '.join(_NUMBERS[2:])} and can_short are "
            'optional: {"tick": "0.000001", "step": "0.0001", "min_notional": "0.0001"}'
        )
    if document.get("symbol", symbol) != symbol:
        raise MarketUnknown(f"--market {file}: the rules are of {document['symbol']}, the config's symbol is {symbol}")
    numbers = {key: _number(file, key, document[key]) for key in _NUMBERS if key in document}
    if not (numbers["tick"] > 0 and numbers["step"] > 0):
        raise MarketUnknown(f"--market {file}: tick and step must be above 0")
    can_short = document.get("can_short", True)
    if not isinstance(can_short, bool):
        raise MarketUnknown(f"--market {file}: can_short must be true or false")
    plain = file_market(symbol)
    return replace(
        plain,
        tick=numbers["tick"],
        step=numbers["step"],
        min_quantity=numbers.get("min_quantity", numbers["step"]),
        min_notional=numbers.get("min_notional", plain.min_notional),
        maker_fee=numbers.get("maker_fee", plain.maker_fee),
        taker_fee=numbers.get("taker_fee", plain.taker_fee),
        can_short=can_short,
    )


def _number(file: str, key: str, value: Any) -> Decimal:
    try:
        # a float by its shortest text: what the file said
        number = Decimal(str(value) if isinstance(value, float) else value)
    except (InvalidOperation, TypeError, ValueError):
        number = Decimal("NaN")
    named = isinstance(value, str | int | float) and not isinstance(value, bool)
    if not (named and number.is_finite() and 0 <= number < MOST):
        raise MarketUnknown(f"--market {file}: {key} must be a number, not {str(value)[:50]!r}")
    return number
