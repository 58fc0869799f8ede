"""Small markets for the sandbox exchange's tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from hypothesis import strategies as st

from sandbox_exchange.candles import DAY_MS, MINUTE_MS, Candle, make_candle

START = 1_600_000_200_000 // DAY_MS * DAY_MS  # 2020-09-13, the start of a day
FIVE_MINUTES = 5 * MINUTE_MS
HEADER = "timestamp,open,high,low,close,volume"


@dataclass(frozen=True)
class ListSource:
    """Candles from a list."""

    candles: Sequence[Candle]
    interval_ms: int = FIVE_MINUTES
    symbol: str = "ETHBTC"

    @property
    def first_open(self) -> int:
        return self.candles[0].open_time

    @property
    def end(self) -> int:
        return self.candles[-1].open_time + self.interval_ms

    def between(self, start: int, end: int) -> list[Candle]:
        return [candle for candle in self.candles if start <= candle.open_time < end]


def candle(open_time: int, *, price: str = "0.1", spread: str = "0.01", volume: str = "6") -> Candle:
    """A rising candle whose extremes lie `spread` outside of open and close."""
    middle, reach = Decimal(price), Decimal(spread)
    return make_candle(
        open_time=open_time,
        open_=middle - reach / 2,
        high=middle + reach,
        low=middle - reach,
        close=middle + reach / 2,
        volume=Decimal(volume),
    )


def write_csv(path: Path, *, bars: int, interval_ms: int = FIVE_MINUTES, first_open: int = START) -> Path:
    """A candle file whose prices tell the bar's number: open 1.<number>, a little above and below."""
    rows = [HEADER]
    for number in range(bars):
        price = f"1.{number:06d}"
        rows.append(f"{first_open + number * interval_ms},{price},{price}9,{price[:-1]},{price},{number}.5")
    path.write_text("\n".join(rows) + "\n")
    return path


@st.composite
def candle_lists(draw: st.DrawFn, *, interval_ms: int = FIVE_MINUTES, longest: int = 60) -> list[Candle]:
    """Valid candles of one interval with gaps, prices from 0.00000001 to 100000, over up to two days."""
    steps = draw(st.lists(st.integers(1, 9), min_size=1, max_size=longest))
    time = START + draw(st.integers(0, 287)) * interval_ms
    candles = []
    for step in steps:
        open_, close, extra_high, extra_low = draw(
            st.tuples(*(st.integers(1, 10**13) for _ in range(2)), *(st.integers(0, 10**10) for _ in range(2)))
        )
        low = max(1, min(open_, close) - extra_low)
        high = max(open_, close) + extra_high
        prices = [Decimal(value).scaleb(-8) for value in (open_, high, low, close)]
        volume = Decimal(draw(st.integers(0, 10**12))).scaleb(-8)
        candles.append(
            make_candle(open_time=time, open_=prices[0], high=prices[1], low=prices[2], close=prices[3], volume=volume)
        )
        time += step * interval_ms
    return candles
