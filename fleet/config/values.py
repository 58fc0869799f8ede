"""Kinds of values in a configuration: exact decimals, whole numbers, intervals, short texts.

JSON has one kind of number. Here a number becomes a Decimal through its shortest decimal spelling, so
0.1 stays 0.1, or an int when it is whole (14.0 is 14). Booleans and texts are never numbers.
Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

Interval = Literal["1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w"]
"""Candle intervals of Binance's spot market. Its 1M isn't here: a month has no fixed length."""

INTERVAL_SECONDS: Mapping[str, int] = MappingProxyType(
    {
        "1s": 1,
        "1m": 60,
        "3m": 180,
        "5m": 300,
        "15m": 900,
        "30m": 1_800,
        "1h": 3_600,
        "2h": 7_200,
        "4h": 14_400,
        "6h": 21_600,
        "8h": 28_800,
        "12h": 43_200,
        "1d": 86_400,
        "3d": 259_200,
        "1w": 604_800,
    }
)
"""Length of each interval in seconds."""


def _decimal(value: object) -> Decimal:
    if isinstance(value, float):
        return Decimal(repr(value))
    if isinstance(value, Decimal):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    raise PydanticCustomError("number", "must be a number")


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _text(value: object) -> object:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Number = Annotated[Decimal, BeforeValidator(_decimal)]
Whole = Annotated[int, BeforeValidator(_whole)]

Amount = Annotated[Number, Field(gt=0, le=10**12)]
"""An amount of quote currency."""
Fraction = Annotated[Number, Field(gt=0, le=1)]
Rate = Annotated[Number, Field(ge=0, le=0.1)]
"""A fraction of a price or value: 0.001 is 0.1 %. More than a tenth is taken for a mistaken percentage."""
Probability = Annotated[Number, Field(ge=0, le=1)]
LossPercent = Annotated[Number, Field(gt=0, lt=100)]
"""Percent as written: 3.0 is 3 %."""
GainPercent = Annotated[Number, Field(gt=0, le=10_000)]
Seconds = Annotated[Number, Field(gt=0, le=86_400)]
Milliseconds = Annotated[Number, Field(ge=0, le=60_000)]

Symbol = Annotated[str, StringConstraints(pattern=r"^[A-Z0-9]{3,20}$")]
Word = Annotated[str, StringConstraints(min_length=1, max_length=100)]
Line = Annotated[str, StringConstraints(max_length=500)]
Label = Annotated[
    str,
    BeforeValidator(_text),
    StringConstraints(max_length=100),
    WithJsonSchema({"anyOf": [{"type": "string", "maxLength": 100}, {"type": "number"}]}),
]
"""A short text that people also write as a number: an id, a version, a chat id."""
Email = Annotated[str, StringConstraints(max_length=254, pattern=r"^[^@\s,;:<>\"()\[\]\\]+@[^@\s,;:<>\"()\[\]\\]+$")]
"""One bare address: nothing that could become a second one, or a header."""
_CHAT = r"^(-?[0-9]{1,32}|@[A-Za-z][A-Za-z0-9_]{2,63})$"
ChatId = Annotated[
    str,
    BeforeValidator(_text),
    StringConstraints(max_length=100, pattern=_CHAT),
    WithJsonSchema({"anyOf": [{"type": "string", "maxLength": 100, "pattern": _CHAT}, {"type": "integer"}]}),
]
"""A Telegram chat: its number, or the @name of a public channel."""
WebUrl = Annotated[str, StringConstraints(max_length=2_000, pattern=r"^https?://[^\s@/\\?#]+([/?][^\s#]*)?$")]
"""An http(s) URL without user, password or fragment."""
