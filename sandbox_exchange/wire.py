"""How values look on the wire: JSON types, decimals as text, Binance's error bodies."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TypeAlias

JsonValue: TypeAlias = "str | int | float | bool | list[JsonValue] | dict[str, JsonValue] | None"
JsonObject: TypeAlias = dict[str, JsonValue]

_MIN_DECIMALS = Decimal("0.00000001")


class ApiError(Exception):
    """An answer with Binance's `{code, msg}` body. The client's request is wrong unless `status` is 418, 429 or 5xx."""

    def __init__(self, *, code: int, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status

    def body(self) -> JsonObject:
        """The answer's JSON."""
        return {"code": self.code, "msg": self.message}


def exact(value: Decimal) -> str:
    """All digits of the value as they came, never in exponent form."""
    return format(value, "f")


def number(value: Decimal) -> str:
    """The value with the eight decimals Binance writes (it must need no more)."""
    return format(value.quantize(_MIN_DECIMALS), "f")


def dumps(value: JsonValue) -> bytes:
    """Compact JSON, byte-equal for equal values."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
