"""Candles from CSV files: validated at start, kept as text, decoded when asked for.

A file is named SYMBOL-INTERVAL.csv (`ETH_BTC-5m.csv`) with the header
`timestamp,open,high,low,close,volume`; timestamp is the Unix ms of the bar's open. A missing bar is a gap, as on a
pair that did not trade, and stays one. Everything else that is odd (another order of the columns or unit of time, bars
of another interval than the name's, prices with a float's noise) is an error naming file and line: a bad candle that
slips in here would look like a fault of the bot under test.

The rows stay in memory as the file's bytes (about 60 a bar, ten times less than decoded candles).
"""

from __future__ import annotations

import io
import re
from array import array
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from decimal import Context, Decimal, InvalidOperation
from itertools import pairwise
from pathlib import Path

from sandbox_exchange.candles import INTERVAL_MS, MINUTE_MS, Candle, make_candle
from sandbox_exchange.clock import LATEST_MS
from sandbox_exchange.symbols import Pair, UnknownPair, pair_from_name

HEADER = b"timestamp,open,high,low,close,volume"
_MAX_DECIMALS = 8
_EARLIEST_MS = 1_000_000_000_000  # 2001-09-09: a smaller number is of seconds
_FLOAT = Context(prec=15)  # digits that a float holds for sure
_LARGEST = 10**15  # of prices, volumes and their products, so that sums stay exact in 28 digits
_FILE_NAME = re.compile(r"(?P<pair>[A-Z0-9]+(?:_[A-Z0-9]+)?)-(?P<interval>[0-9]+[a-zA-Z])\.csv")


class CandleFileError(ValueError):
    """A candle file cannot be used; the text names file, line and what to correct. Fix the file and start again."""


@dataclass(frozen=True, slots=True)
class CsvSource:
    """One validated file.

    `tick` is the finest price step in it, `rows` its text, `offsets[i]` where bar i's row starts.
    """

    path: Path
    pair: Pair
    interval_ms: int
    tick: Decimal
    times: array[int]
    rows: bytes
    offsets: array[int]

    @property
    def symbol(self) -> str:
        """As Binance writes it."""
        return self.pair.symbol

    @property
    def first_open(self) -> int:
        """Open time of the first row."""
        return self.times[0]

    @property
    def end(self) -> int:
        """End of the last row's bar."""
        return self.times[-1] + self.interval_ms

    def between(self, start: int, end: int) -> list[Candle]:
        """The bars with start <= open time < end."""
        first, last = bisect_left(self.times, start), bisect_left(self.times, end)
        return [self._decode(index) for index in range(first, last)]

    def _decode(self, index: int) -> Candle:
        start = self.offsets[index]
        stop = self.rows.find(b"\n", start)
        line = self.rows[start : stop if stop >= 0 else None]
        return _parse_row(line)


def load_directory(directory: Path) -> list[CsvSource]:
    """Every candle file of a directory, by name.

    Raises:
        CandleFileError: no directory, no candle file in it, two files for one symbol, or a file that is malformed.
    """
    if not directory.is_dir():
        raise CandleFileError(f"{directory}: not a directory; --candles takes a directory or synthetic:SEED")
    sources: dict[str, CsvSource] = {}
    for path in sorted(directory.glob("*.csv")):
        source = load_file(path)
        earlier = sources.setdefault(source.symbol, source)
        if earlier is not source:
            raise CandleFileError(
                f"{path}: {source.symbol} is already given by {earlier.path.name}; keep the file with the finest "
                "interval, coarser candles are aggregated from it"
            )
    if not sources:
        raise CandleFileError(f"{directory}: no file named SYMBOL-INTERVAL.csv (such as ETH_BTC-5m.csv)")
    return list(sources.values())


def load_file(path: Path) -> CsvSource:
    """Read and validate one file.

    Raises:
        CandleFileError: its name, header or a row is malformed; rows must ascend without duplicates.
    """
    pair, interval_ms = _parse_name(path)
    rows = path.read_bytes()
    times, offsets = array("q"), array("Q")
    position, decimals = 0, 0
    for number, raw in enumerate(io.BytesIO(rows), start=1):
        line = raw.rstrip(b"\r\n")
        if number == 1:
            _check_header(path, line)
        elif line.strip():
            try:
                candle = _parse_row(line)
                _check_prices(candle)
                _check_time(candle.open_time, times=times, interval_ms=interval_ms)
            except ValueError as error:
                raise CandleFileError(f"{path}:{number}: {error}") from error
            times.append(candle.open_time)
            offsets.append(position)
            decimals = max(decimals, _decimals(candle))
        position += len(raw)
    if not times:
        raise CandleFileError(f"{path}:1: no candles below the header")
    _check_spacing(path, times, interval_ms=interval_ms)
    tick = Decimal(1).scaleb(-decimals)
    return CsvSource(path=path, pair=pair, interval_ms=interval_ms, tick=tick, times=times, rows=rows, offsets=offsets)


def _parse_name(path: Path) -> tuple[Pair, int]:
    match = _FILE_NAME.fullmatch(path.name)
    if match is None:
        raise CandleFileError(f"{path}: rename it to SYMBOL-INTERVAL.csv, such as ETH_BTC-5m.csv")
    interval_ms = INTERVAL_MS.get(match["interval"])
    if interval_ms is None:
        raise CandleFileError(f"{path}: interval {match['interval']!r} is not one of {', '.join(INTERVAL_MS)}")
    try:
        return pair_from_name(match["pair"]), interval_ms
    except UnknownPair as error:
        raise CandleFileError(f"{path}: {error}") from error


def _check_header(path: Path, line: bytes) -> None:
    written = line.removeprefix(b"\xef\xbb\xbf")
    if written == HEADER:
        return
    wrong = f"{path}:1: the header must be {HEADER.decode()!r}, not {written[:80].decode(errors='replace')!r}"
    if sorted(name.strip() for name in written.split(b",")) == sorted(HEADER.split(b",")):
        raise CandleFileError(f"{wrong}; the columns are in another order: reorder every row, not the header alone")
    if written[:1].isdigit():
        raise CandleFileError(f"{wrong}; write the header above the first row, if its columns are these")
    raise CandleFileError(wrong)


def _check_prices(candle: Candle) -> None:
    prices = (candle.open, candle.high, candle.low, candle.close)
    if candle.high < max(prices) or candle.low > min(prices):
        raise ValueError(f"open and close must lie between low {candle.low} and high {candle.high}")
    long = next((price for price in prices if _places(price) > _MAX_DECIMALS), None)
    if long is not None:
        meant = _FLOAT.create_decimal(long).normalize(_FLOAT)
        noise = f": {long:f} is {meant:f} with a float's noise" if _places(meant) <= _MAX_DECIMALS else ""
        raise ValueError(f"a price has more than the {_MAX_DECIMALS} decimals an exchange has; round the file{noise}")


def _check_time(open_time: int, *, times: array[int], interval_ms: int) -> None:
    if open_time > LATEST_MS:
        unit = "microseconds" if open_time <= LATEST_MS * 1000 else "nanoseconds"
        raise ValueError(f"timestamp {open_time} is after the year 2100; write Unix milliseconds, not {unit}")
    if open_time < _EARLIEST_MS:
        raise ValueError(f"timestamp {open_time} is before the year 2001; write Unix milliseconds, not seconds")
    if open_time % interval_ms:
        raise ValueError(f"timestamp {open_time} is not the open of a bar of {interval_ms // MINUTE_MS} min")
    if times and open_time <= times[-1]:
        problem = "repeats" if open_time == times[-1] else "is earlier than"
        raise ValueError(f"timestamp {open_time} {problem} that of the row before; sort and deduplicate")


def _check_spacing(path: Path, times: array[int], *, interval_ms: int) -> None:
    """Bars of 1h open at multiples of 5m too; gaps are fine, but bars that are always further apart aren't gaps."""
    distances = Counter(after - before for before, after in pairwise(times))
    usual, count = min(distances.items(), key=lambda item: (-item[1], item[0]), default=(interval_ms, 0))
    name = next((name for name, length in INTERVAL_MS.items() if length == usual), None)
    if usual != interval_ms and name is not None and 2 * count >= len(times) - 1:
        raise CandleFileError(
            f"{path}:2: {count} of {len(times) - 1} rows are followed by one {name} later: the file has bars of "
            f"{name}, its name says another interval; rename it"
        )


def _places(price: Decimal) -> int:
    return max(0, -int(price.normalize().as_tuple().exponent))


def _decimals(candle: Candle) -> int:
    """Decimals of the candle's finest price, trailing zeros not counted."""
    return max(_places(price) for price in (candle.open, candle.high, candle.low, candle.close))


def _parse_row(line: bytes) -> Candle:
    fields = line.decode("ascii", errors="replace").strip().split(",")
    if len(fields) != 6:
        raise ValueError(f"{len(fields)} fields instead of the 6 of {HEADER.decode()}")
    time_text, *number_texts = fields
    if not time_text.isascii() or not time_text.isdigit():
        raise ValueError(f"timestamp {time_text[:40]!r} is not a Unix time in whole ms")
    try:
        open_, high, low, close, volume = (Decimal(text) for text in number_texts)
    except InvalidOperation as error:
        raise ValueError(f"not a number among {','.join(number_texts)[:120]!r}") from error
    if not all(value.is_finite() for value in (open_, high, low, close, volume)):
        raise ValueError(f"not a finite number among {','.join(number_texts)[:120]!r}")
    if min(open_, high, low, close) <= 0 or volume < 0:
        raise ValueError("prices must be above zero and volume not below")
    if max(high, volume, high * volume) > _LARGEST:
        raise ValueError(f"a price, the volume or their product is above {_LARGEST}")
    return make_candle(open_time=int(time_text), open_=open_, high=high, low=low, close=close, volume=volume)
