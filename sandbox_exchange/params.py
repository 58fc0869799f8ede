"""Query parameters read as Binance reads them, with its error codes and texts.

Parameters no route asks for are ignored: ccxt and other clients send some of their own.
"""

from __future__ import annotations

import json
import re

from multidict import MultiMapping

from sandbox_exchange.candles import INTERVAL_MS
from sandbox_exchange.wire import ApiError

SYMBOL_PATTERN = "^[A-Z0-9-_.]{1,20}$"
SYMBOLS_PATTERN = '^\\[("[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}"){0,}){0,1}\\]$'
NUMBER_PATTERN = "^[0-9]{1,20}$"


def missing(name: str) -> ApiError:
    """A mandatory parameter is not there."""
    return ApiError(code=-1102, message=f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def empty(name: str) -> ApiError:
    """A parameter is there without a value."""
    return ApiError(code=-1105, message=f"Parameter '{name}' was empty.")


def illegal(name: str, pattern: str) -> ApiError:
    """A parameter holds characters it must not."""
    return ApiError(code=-1100, message=f"Illegal characters found in parameter '{name}'; legal range is '{pattern}'.")


def invalid(name: str) -> ApiError:
    """A parameter is well formed but out of range."""
    return ApiError(code=-1130, message=f"Data sent for parameter '{name}' is not valid.")


def unknown_symbol() -> ApiError:
    """Nothing of that name is listed."""
    return ApiError(code=-1121, message="Invalid symbol.")


def invalid_interval() -> ApiError:
    """No candle interval of ours, or finer than the symbol's candles."""
    return ApiError(code=-1120, message="Invalid interval.")


class Params:
    """The parameters of one request. All methods raise ApiError for what they cannot accept."""

    def __init__(self, query: MultiMapping[str]) -> None:
        self._query = query

    def text(self, name: str, *, pattern: str | None = None) -> str | None:
        """The value, checked against the pattern; None if it was not sent."""
        values = self._query.getall(name, [])
        if not values:
            return None
        if len(values) > 1:
            raise ApiError(code=-1101, message=f"Duplicate values for parameter '{name}'.")
        if not values[0]:
            raise empty(name)
        if pattern is not None and not re.fullmatch(pattern, values[0], re.ASCII):
            raise illegal(name, pattern)
        return values[0]

    def symbol(self) -> str:
        """The mandatory `symbol`."""
        symbol = self.text("symbol", pattern=SYMBOL_PATTERN)
        if symbol is None:
            raise missing("symbol")
        return symbol

    def symbol_selection(self) -> list[str] | None:
        """`symbol` as one, `symbols` as several; None if neither was sent."""
        one = self.text("symbol", pattern=SYMBOL_PATTERN)
        several = self.text("symbols", pattern=SYMBOLS_PATTERN)
        if one is not None and several is not None:
            raise ApiError(code=-1128, message="Combination of optional parameters invalid.")
        if one is not None:
            return [one]
        return None if several is None else list(json.loads(several))

    @property
    def asks_one_symbol(self) -> bool:
        """Whether the answer is an object instead of a list."""
        return "symbol" in self._query

    def integer(self, name: str) -> int | None:
        """A whole number of at least 0; None if it was not sent."""
        text = self.text(name, pattern=NUMBER_PATTERN)
        return None if text is None else int(text)

    def limit(self, *, default: int, maximum: int) -> int:
        """`limit`, capped at the maximum as Binance does."""
        limit = self.integer("limit")
        if limit is None:
            return default
        if limit == 0:
            raise invalid("limit")
        return min(limit, maximum)

    def interval_ms(self) -> int:
        """The mandatory `interval` of a candle."""
        text = self.text("interval")
        if text is None:
            raise missing("interval")
        if text not in INTERVAL_MS:
            raise invalid_interval()
        return INTERVAL_MS[text]

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        """One of the choices; the first one if it was not sent."""
        text = self.text(name)
        if text is None:
            return choices[0]
        if text not in choices:
            raise invalid(name)
        return text
