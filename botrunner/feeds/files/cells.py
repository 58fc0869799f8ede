"""What a cell of a candle file means: a time, or a number. Pure.

Guarantees: a time's unit is proved, by its size or by the distance to the next one, never assumed; a number is what
was written, or, where a float's noise was written (0.00009298000000000001), what was meant.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Context, Decimal, InvalidOperation
from itertools import pairwise, repeat
from operator import itemgetter

from botrunner.feeds.files.errors import CellUnclear, shown
from botrunner.market.candle import DIGITS_MOST, LAST_MS
from fleet.times import to_ms

UNITS: Mapping[str, tuple[int, int]] = {"s": (1000, 1), "ms": (1, 1), "µs": (1, 1000), "ns": (1, 1_000_000)}
"""Unit of a Unix time → what a number is multiplied with and then divided by to be milliseconds."""

FROM_S, TO_S = 1_000_000_000, LAST_MS // 1000
"""2001-09-09 to 2100: times between are told apart by their size alone, whatever the unit."""

_RANGES = tuple((unit, FROM_S * 1000 * d // m, TO_S * 1000 * d // m) for unit, (m, d) in UNITS.items())
_MS_FROM, _MS_TO = FROM_S * 1000, TO_S * 1000

_ISO = re.compile(r"(\d{4})([-/.])(\d{2})\2(\d{2})(?:[T ]+(.+?))?(?: ?(UTC|GMT))?", re.ASCII)
_CLOCK = re.compile(r"(\d{1,2})(:?)(\d{2})(?:\2(\d{2}))?(.*)", re.ASCII)
_COMPACT = re.compile(r"(?:19|20)\d{6}", re.ASCII)
_DAY_FIRST = re.compile(r"\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}.*", re.ASCII)

ISO = "ISO 8601"


@dataclass(slots=True)
class Times:
    """Times of rows.

    Attributes:
        ms: Unix ms of each row's open, in the rows' order.
        units: how they are written → first row (from 0).
        naive: whether dates came without an offset and were taken for UTC.
    """

    ms: list[int] = field(default_factory=list)
    units: dict[str, int] = field(default_factory=dict)
    naive: bool = False


def read_times(texts: Sequence[str], *, interval_ms: int | None) -> Times:
    """The times of a column.

    Args:
        texts: cells.
        interval_ms: of the candles; tells the unit of small numbers (before 2001-09-09), whose size doesn't.

    Raises:
        CellUnclear: one is no time, or a small number whose unit can't be told.
    """
    times = Times()
    small: dict[int, int] = {}
    for index, text in enumerate(texts):
        number = _whole(text)
        if number is not None and _MS_FROM <= number <= _MS_TO:
            if "ms" not in times.units:
                times.units["ms"] = index
            times.ms.append(number)
        elif number is None or _COMPACT.fullmatch(text.strip()):
            times.ms.append(_iso(text, index, times))
        elif 0 <= number < FROM_S:
            small[index] = number
            times.ms.append(number)
        else:
            times.ms.append(_sized(number, text, index, times))
    if small:
        _scale_small(small, times, interval_ms)
    return times


def is_time(text: str) -> bool:
    """Whether a cell is a date, or a number that is a Unix time by its size."""
    try:
        read_times([text], interval_ms=None)
    except CellUnclear:
        return False
    return True


def _whole(text: str) -> int | None:
    """The whole number of a text, however it is written (+1515, 1515.0, 1.515E3); None: it is none."""
    if text.isdigit() and text.isascii():
        return int(text) if len(text) <= DIGITS_MOST else -1
    number = _decimal(text)
    if number is None:
        return None
    # a fraction is no Unix time of any unit that has a whole ms; -1 is refused
    return int(number) if number == number.to_integral_value() else -1


def _sized(number: int, text: str, index: int, times: Times) -> int:
    for unit, first, last in _RANGES:
        if first <= number <= last:
            times.units.setdefault(unit, index)
            multiple, divisor = UNITS[unit]
            ms, rest = divmod(number * multiple, divisor)
            if rest:
                raise CellUnclear(index, f"time {number} {unit} is no whole millisecond")
            return ms
    raise CellUnclear(
        index,
        f"time {shown(text)} is no Unix time from 2001 to 2100 in s, ms, µs or ns, and no date as 2018-01-10 05:00",
    )


def _scale_small(found: Mapping[int, int], times: Times, interval_ms: int | None) -> None:
    """Before 2001-09-09 1000 s and 1,000,000 ms look alike; the distance between candles tells them apart."""
    index, small = next(iter(found)), list(found.values())
    distances = Counter(abs(after - before) for before, after in pairwise(small))
    distance = distances.most_common(1)[0][0] if distances else 0
    fits = [unit for unit, (m, d) in UNITS.items() if interval_ms and distance * m == interval_ms * d]
    if len(small) < len(times.ms) or len(fits) != 1:
        raise CellUnclear(
            index,
            f"time {small[0]} is before 2001 or of no known unit: s, ms, µs and ns can't be told apart; write dates "
            "(2018-01-10 05:00:00) or Unix ms",
        )
    multiple, divisor = UNITS[fits[0]]
    if any(number * multiple % divisor for number in small):
        raise CellUnclear(index, f"times in {fits[0]} that are no whole milliseconds")
    times.ms = [number * multiple // divisor for number in small]
    times.units = {fits[0]: 0}


def _iso(text: str, index: int, times: Times) -> int:
    stripped = text.strip()
    matched = _ISO.fullmatch(stripped)
    compact = _COMPACT.match(stripped)
    try:
        if matched:
            year, _, month, day, clock, utc = matched.groups()
            moment = datetime.fromisoformat(f"{year}-{month}-{day}" + (f"T{_clock(clock)}" if clock else ""))
            if utc and moment.tzinfo is None:
                moment = moment.replace(tzinfo=UTC)
        elif compact:
            date, rest = stripped[:8], stripped[8:].lstrip("T ")
            moment = datetime.fromisoformat(date + (f"T{_clock(rest)}" if rest else ""))
        else:
            raise ValueError
    except ValueError:
        if _DAY_FIRST.fullmatch(stripped):
            why = "may be day or month first: write it as 2018-01-10 05:00"
        elif not stripped:
            why = "is empty"
        else:
            why = "is no Unix time in s, ms, µs or ns, and no date as 2018-01-10 05:00"
        raise CellUnclear(index, f"time {shown(text)} {why}") from None
    times.units.setdefault(ISO, index)
    if moment.tzinfo is None:
        times.naive = True
        moment = moment.replace(tzinfo=UTC)
    ms = to_ms(moment)
    if not 0 <= ms <= LAST_MS or moment.microsecond % 1000:
        raise CellUnclear(index, f"time {shown(text)} is before 1970, after 2100, or no whole millisecond")
    return ms


def _clock(text: str) -> str:
    """A time of day as `fromisoformat` reads it, with its offset: 5:00 is 05:00."""
    matched = _CLOCK.fullmatch(text.strip())
    if matched is None:
        return text.strip()
    hour, _, minute, second, rest = matched.groups()
    return f"{int(hour):02}:{minute}:{second or '00'}{rest.replace(' ', '')}"


# --- numbers -------------------------------------------------------------------------------------------------------

NOISY = 17
"""Characters from which on a number can be a float's shortest text with noise: sixteen digits and a point."""

_ROUNDINGS = ((Context(prec=15), 13), (Context(prec=13), 9))
"""Of what has more digits than a float holds for sure: to so many; noise where at most so many are left without the
zeros at the end. A number that was meant so changes in its fifteenth or fourteenth digit at most."""


def _decimal(text: str) -> Decimal | None:
    if len(text) > DIGITS_MOST or not text.isascii() or "_" in text:
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() and -50 < number.adjusted() < 50 else None


@dataclass(frozen=True, slots=True)
class Numbers:
    """Of a column, in the rows' order.

    Attributes:
        decimals: the most that one has, zeros at the end not counted. noisy: how many had a float's noise.
    """

    values: list[Decimal]
    decimals: int
    noisy: int


def read_numbers(texts: Sequence[str]) -> Numbers:
    """The numbers of a column, without a float's noise.

    Raises:
        CellUnclear: one is none, or may be two.
    """
    joined = "\n".join(texts)
    if max(map(len, texts), default=0) < NOISY and not joined.translate(_PLAIN):
        try:
            values = list(map(Decimal, texts))
        except InvalidOperation:
            pass
        else:
            return Numbers(values, _most_decimals(texts, joined), 0)
    return _read_carefully(texts)


_PLAIN = str.maketrans("", "", "0123456789.\n")
"""What most columns are made of; they are read three times quicker."""


def _most_decimals(texts: Sequence[str], joined: str) -> int:
    fractions = map(itemgetter(2), map(str.partition, texts, repeat(".")))
    most = max(map(len, fractions), default=0)
    while most and not re.search(rf"\.\d{{{most - 1}}}[1-9]", joined):
        most -= 1
    return most


def _read_carefully(texts: Sequence[str]) -> Numbers:
    values: list[Decimal] = []
    decimals = noisy = 0
    for index, text in enumerate(texts):
        number = _decimal(text)
        if number is None:
            raise CellUnclear(index, _no_number(text))
        if len(text) >= NOISY:
            meant = without_noise(number)
            noisy += meant != number
            number = meant
        decimals = max(decimals, decimals_of(number))
        values.append(number)
    return Numbers(values, decimals, noisy)


def without_noise(number: Decimal) -> Decimal:
    """0.00009298000000000001 is 0.00009298: a computation in floats leaves digits from the sixteenth on, mostly."""
    if len(number.as_tuple().digits) < 16:
        return number
    for context, most in _ROUNDINGS:
        meant = context.create_decimal(number).normalize(context)
        if len(meant.as_tuple().digits) <= most:
            return meant
    return number


def _no_number(text: str) -> str:
    if not text.strip():
        return "is empty: delete the row if there was no candle"
    if "," in text:
        return (
            f"{shown(text)} has a comma: is it for decimals or for thousands? Write numbers with a point for decimals "
            "and nothing for thousands"
        )
    if text.strip().lower() in ("nan", "null", "none", "na", "n/a", "-nan", "inf", "-inf", "infinity"):
        return f"{shown(text)} is no number: delete the row if there was no candle"
    return f"{shown(text)} is no number"


def decimals_of(number: Decimal) -> int:
    """Digits behind the point, zeros at the end not counted."""
    return max(0, -int(number.normalize().as_tuple().exponent)) if number else 0
