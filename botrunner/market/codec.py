"""A market's rules and candles as JSON, as `trading_inputs` keeps them, and what is wrong with a document. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from decimal import Decimal
from functools import cache

from pydantic import JsonValue, TypeAdapter, ValidationError

from botrunner.market.candle import Candle
from botrunner.market.rules import Market
from fleet.foreign import clean_text

FAULT_LIMIT = 300
"""Characters of `fault_of`."""

_Row = tuple[int, Decimal, Decimal, Decimal, Decimal, Decimal]


class DocumentDamaged(ValueError):
    """A document isn't what `dump_market` or `dump_candles` write; the text says where."""


def dump_market(market: Market) -> dict[str, JsonValue]:
    """The rules as JSON: numbers as texts."""
    return {name: f"{value:f}" if isinstance(value, Decimal) else value for name, value in asdict(market).items()}


def load_market(document: object) -> Market:
    """The rules of `dump_market`, of an earlier or later version too.

    Raises:
        DocumentDamaged: the message names the field.
    """
    try:
        return _market().validate_python(document)
    except ValidationError as error:
        raise DocumentDamaged(fault_of(error, "market")) from error


def dump_candles(candles: Iterable[Candle]) -> list[JsonValue]:
    """Candles as JSON: open time in ms, then the numbers as texts."""
    return [[c.open_ms, *(str(n) for n in (c.open, c.high, c.low, c.close, c.volume))] for c in candles]


def load_candles(document: object) -> list[Candle]:
    """The candles of `dump_candles`.

    Raises:
        DocumentDamaged: the message names row and cell, from 0.
    """
    try:
        return [Candle(*row) for row in _rows().validate_python(document)]
    except ValidationError as error:
        raise DocumentDamaged(fault_of(error, "candles")) from error


def fault_of(error: ValidationError, place: str) -> str:
    """The first fault that pydantic found: the path to it from `place`, and what is wrong there."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join((place, *(str(step) for step in first["loc"])))
    return clean_text(f"{where}: {first['msg']}", FAULT_LIMIT, lines=False)


@cache
def _market() -> TypeAdapter[Market]:
    """Made when it is needed: only a replay reads."""
    return TypeAdapter(Market)


@cache
def _rows() -> TypeAdapter[list[_Row]]:
    return TypeAdapter(list[_Row])
