"""Candles: one that is closed, read from a row, and found sound. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation

from fleet.foreign import clean_text
from fleet.times import from_ms

FIRST_MS, LAST_MS = 0, 4_102_444_800_000
"""1970 to 2100: an open outside is a slip of units, or a lie."""

MOST = Decimal(10) ** 18
"""Of a price or volume: what the database's NUMERIC(38, 18) holds, with room for their product's sums."""

LEAST_PRICE = Decimal(10) ** -18
"""Its last digit; a smaller price would be stored, and divided by, as zero."""

DIGITS_MOST = 40
"""Of a number's text; exchanges send at most twenty."""


class CandleUnreadable(ValueError):
    """A row of an exchange's answer is no candle; the text says which field, fit for a log."""


@dataclass(frozen=True, slots=True)
class Candle:
    """One closed candle.

    Attributes:
        open_ms: Unix time of its open, milliseconds.
        open, high, low, close: quote per base.
        volume: base currency.
    """

    open_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal

    @property
    def open_at(self) -> datetime:
        """Aware UTC of its open; what is called a signal bar's time."""
        return from_ms(self.open_ms)


def is_time_ms(value: object) -> bool:
    """Whether it is a whole number that can be a Unix time in ms."""
    return isinstance(value, int) and not isinstance(value, bool) and FIRST_MS <= value <= LAST_MS


def read_candle(row: object) -> Candle:
    """The candle of a row `[open_ms, open, high, low, close, volume, ...]` of whatever JSON holds.

    Numbers may be texts or JSON numbers; whether they make a candle is for `is_sound`.

    Raises:
        CandleUnreadable: a field is missing, of another type, or no number of a sensible size.
    """
    if not isinstance(row, list) or len(row) < 6:
        raise CandleUnreadable(f"expected open_ms, open, high, low, close, volume, found {clean_text(row, 80)!r}")
    if not is_time_ms(row[0]):
        raise CandleUnreadable(f"its time {clean_text(row[0], 40)!r} is no Unix time in ms")
    fields = ("open", "high", "low", "close", "volume")
    return Candle(row[0], *(_number(name, cell) for name, cell in zip(fields, row[1:6], strict=True)))


def _number(name: str, cell: object) -> Decimal:
    if isinstance(cell, bool) or not isinstance(cell, str | int | float):
        raise CandleUnreadable(f"{name} is {type(cell).__name__}, not a number")
    # a float's shortest text is what was on the wire
    text = cell if isinstance(cell, str) else repr(cell)
    try:
        number = Decimal(text) if len(text) <= DIGITS_MOST else None
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite() or abs(number) >= MOST:
        raise CandleUnreadable(f"{name} {clean_text(text, 40)!r} is no number below {MOST:.0e}")
    return number


def is_sound(candle: Candle) -> bool:
    """Whether prices are positive and low ≤ open, close ≤ high, all within what can be stored; anything else is
    garbage from the wire."""
    prices = (candle.open, candle.high, candle.low, candle.close)
    return (
        is_time_ms(candle.open_ms)
        and all(price.is_finite() and LEAST_PRICE <= price < MOST for price in prices)
        and candle.volume.is_finite()
        and 0 <= candle.volume < MOST
        and candle.low <= min(candle.open, candle.close)
        and candle.high >= max(candle.open, candle.close)
    )
