"""Which market rules a backtest goes by, and where they come from.

A paper bot rounds quantities and prices to its exchange's steps, so a backtest must know the same steps to give the
same trades. `auto` takes what the bot would: a file's rules for candles from a file, else the exchange's; when the
exchange can't be asked, eight decimals without minimums, and says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from botrunner.assembly import file_market
from botrunner.brokers.errors import ExchangeAway
from botrunner.brokers.manager import BrokerManager
from botrunner.risk import Market
from fleet.config import BotConfig
from fleet.errors import PermanentError

AUTO, EXCHANGE, NONE = "auto", "exchange", "none"

_STEPS = ("tick", "step", "min_quantity", "min_notional")


class MarketUnknown(PermanentError):
    """The rules can't be had; the message says why and what to give instead."""


@dataclass(frozen=True, slots=True)
class KnownMarket:
    """Rules with their origin, and what a person should know about them (or empty)."""

    rules: Market
    origin: str
    notice: str = ""


def market_for(config: BotConfig, choice: str, *, exchange_urls: Mapping[str, str]) -> KnownMarket:
    """The rules of the config's symbol.

    Args:
        config: names symbol, broker and data source.
        choice: `auto`, `exchange`, `none` (eight decimals, no minimums) or the path of a JSON file.
        exchange_urls: exchange id → base URL in place of the public one.

    Raises:
        MarketUnknown: the exchange didn't answer, or the file is wrong. UnknownSymbol: the exchange hasn't the market.
    """
    plain = KnownMarket(file_market(config.symbol), "none: eight decimals, no minimums")
    if choice == NONE or (choice == AUTO and config.data_source == "file"):
        return plain
    if choice not in (AUTO, EXCHANGE):
        return KnownMarket(read_market(Path(choice), config.symbol), choice)
    broker = BrokerManager(exchange_urls).get(config.broker_type)
    origin = f"{broker.name} at {exchange_urls[broker.name]}" if broker.name in exchange_urls else broker.name
    try:
        return KnownMarket(broker.market(config.symbol), origin)
    except ExchangeAway as error:
        if choice == EXCHANGE:
            raise MarketUnknown(f"{origin} doesn't tell the rules of {config.symbol}: {error}") from error
        notice = (
            f"{origin} can't be asked for the rules of {config.symbol}, so quantities and prices are rounded to eight "
            "decimals; a bot rounds to the exchange's steps. Give them with --market FILE, or --market none"
        )
        return replace(plain, notice=notice)


def read_market(path: Path, symbol: str) -> Market:
    """The rules of a JSON file: an object with tick, step, and maybe min_quantity and min_notional, as texts.

    Raises:
        MarketUnknown: unreadable, unknown keys, or steps that aren't numbers above 0.
    """
    try:
        document = json.loads(path.read_text(), parse_float=Decimal, parse_int=Decimal)
    except (OSError, ValueError, RecursionError) as error:
        raise MarketUnknown(f"--market {path} can't be read: {error}") from error
    if not isinstance(document, dict) or not {"tick", "step"} <= set(document) <= {*_STEPS, "symbol"}:
        raise MarketUnknown(
            f"--market {path}: an object with tick and step is expected, min_quantity and min_notional are optional: "
            '{"tick": "0.000001", "step": "0.0001", "min_notional": "0.0001"}'
        )
    if document.get("symbol", symbol) != symbol:
        raise MarketUnknown(f"--market {path}: the rules are of {document['symbol']}, the config's symbol is {symbol}")
    steps = {key: _number(path, key, document[key]) for key in _STEPS if key in document}
    if not (steps["tick"] > 0 and steps["step"] > 0):
        raise MarketUnknown(f"--market {path}: tick and step must be above 0")
    return replace(
        file_market(symbol),
        tick=steps["tick"],
        step=steps["step"],
        min_quantity=steps.get("min_quantity", steps["step"]),
        min_notional=steps.get("min_notional", Decimal(0)),
    )


def _number(path: Path, key: str, value: Any) -> Decimal:
    try:
        number = Decimal(value)
    except (InvalidOperation, TypeError, ValueError):
        number = Decimal("NaN")
    if isinstance(value, bool) or not number.is_finite() or number < 0:
        raise MarketUnknown(f"--market {path}: {key} must be a number, not {str(value)[:50]!r}")
    return number
