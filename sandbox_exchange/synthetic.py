"""Endless candles of one minute, made from a seed: for clusters and laptops without recorded data.

The logarithm of the price is a random walk from day to day, pulled weakly back to its base so that it stays
plausible for years; within a day a random walk with hourly volatility clusters, plus swings: quick pushes on high
volume and a slow one a day, which decay again. The swings are what makes RSI and Bollinger entries occur, the quick
ones on candles of minutes, the slow ones on hours.

A day is made on its own from (seed, symbol, day number), starting and ending at that day's anchors, so deep history
costs only the days that are asked for: about 10 ms a day.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random

from sandbox_exchange.candles import DAY_MS, MINUTE_MS, Candle, make_candle
from sandbox_exchange.symbols import Pair

_MINUTES = DAY_MS // MINUTE_MS
_DAY_SIGMA = 0.02  # of log price from one day's start to the next
_DAY_PULL = 0.02  # share of the distance to the base that a day takes back
_MINUTE_SIGMA = 0.00045
_CLUSTER_MEMORY = 0.8  # of log volatility from hour to hour
_CLUSTER_SIGMA = 0.35


@dataclass(frozen=True, slots=True)
class _Swings:
    """Pushes of the log price, up or down, that decay by `decay` a minute."""

    per_day: int
    size: tuple[float, float]
    minutes: tuple[int, int]
    decay: float


_SWINGS = (
    _Swings(per_day=7, size=(0.01, 0.03), minutes=(15, 40), decay=0.992),  # half is lost after 86 minutes
    _Swings(per_day=1, size=(0.03, 0.08), minutes=(240, 540), decay=0.999),  # after 11.5 hours
)
_PUSHED_VOLUME = 3.0


@dataclass(frozen=True, slots=True)
class SyntheticSpec:
    """A market to invent: where its price starts and what its steps are.

    `volume` is the usual volume of a minute, in base.
    """

    pair: Pair
    base_price: float
    price_decimals: int
    volume: float
    volume_decimals: int


SPECS = (
    SyntheticSpec(pair=Pair("BTC", "USDT"), base_price=60_000, price_decimals=2, volume=12, volume_decimals=5),
    SyntheticSpec(pair=Pair("ETH", "USDT"), base_price=3_000, price_decimals=2, volume=160, volume_decimals=4),
    SyntheticSpec(pair=Pair("SOL", "USDT"), base_price=150, price_decimals=2, volume=2_400, volume_decimals=3),
)


@dataclass(slots=True)
class SyntheticSource:
    """An endless series. `first_open` must be the start of a UTC day; day numbers count from there."""

    spec: SyntheticSpec
    seed: int
    first_open: int
    interval_ms: int = MINUTE_MS
    end: int | None = None
    _anchors: list[float] = field(default_factory=list)  # log price at the start of day i

    @property
    def symbol(self) -> str:
        """As Binance writes it."""
        return self.spec.pair.symbol

    @property
    def pair(self) -> Pair:
        """Base and quote."""
        return self.spec.pair

    @property
    def tick(self) -> Decimal:
        """Price step."""
        return Decimal(1).scaleb(-self.spec.price_decimals)

    def between(self, start: int, end: int) -> list[Candle]:
        """The bars with start <= open time < end."""
        first = max(0, (start - self.first_open) // DAY_MS)
        last = (end - 1 - self.first_open) // DAY_MS
        return [
            candle for day in range(first, last + 1) for candle in self._day(day) if start <= candle.open_time < end
        ]

    def _random(self, *parts: object) -> Random:
        name = "/".join(str(part) for part in (self.seed, self.symbol, *parts))
        return Random(name)

    def _anchor(self, day: int) -> float:
        base = math.log(self.spec.base_price)
        if not self._anchors:
            self._anchors.append(base)
        while len(self._anchors) <= day:
            here = self._anchors[-1]
            shock = self._random("anchor", len(self._anchors)).gauss(0, _DAY_SIGMA)
            self._anchors.append(here + shock - _DAY_PULL * (here - base))
        return self._anchors[day]

    def _day(self, day: int) -> list[Candle]:
        random = self._random("day", day)
        volatility = _hourly_volatility(random)
        pushes = [_pushes(random, swings) for swings in _SWINGS]
        closes = self._closes(day, random=random, volatility=volatility, pushes=pushes)
        activity = [_PUSHED_VOLUME if quick else 1.0 for quick in pushes[0]]
        start = self.first_open + day * DAY_MS
        tick = self.tick
        candles: list[Candle] = []
        open_ticks = self._ticks(self._anchor(day))
        open_ = open_ticks * tick
        for minute, close_ticks in enumerate(closes):
            level = volatility[minute // 60]
            top, bottom = max(open_ticks, close_ticks), min(open_ticks, close_ticks)
            reach = top * _MINUTE_SIGMA * level
            close = close_ticks * tick
            candle = make_candle(
                open_time=start + minute * MINUTE_MS,
                open_=open_,
                high=(top + int(reach * random.random())) * tick,
                low=max(1, bottom - int(reach * random.random())) * tick,
                close=close,
                volume=self._volume(level * activity[minute], (top - bottom) / top, random),
            )
            candles.append(candle)
            open_ticks, open_ = close_ticks, close
        return candles

    def _closes(self, day: int, *, random: Random, volatility: list[float], pushes: list[list[float]]) -> list[int]:
        """Closing prices in ticks; the last is the next day's first open."""
        walk = 0.0
        path: list[float] = []
        for minute in range(_MINUTES):
            walk += random.gauss(0, _MINUTE_SIGMA * volatility[minute // 60])
            path.append(walk)
        for swings, pushed in zip(_SWINGS, pushes, strict=True):
            swing = 0.0
            for minute, push in enumerate(pushed):
                swing = swing * swings.decay + push
                path[minute] += swing
        start, finish = self._anchor(day), self._anchor(day + 1)
        drift = (finish - start - path[-1]) / _MINUTES  # a bridge: the walk's end is bent to the next anchor
        return [self._ticks(start + value + drift * (minute + 1)) for minute, value in enumerate(path)]

    def _volume(self, activity: float, moved: float, random: Random) -> Decimal:
        """A minute's volume: lively hours and large moves (a share of the price) trade more."""
        usual = self.spec.volume * activity * (0.4 + 1.2 * random.random())
        lots = int(usual * (1 + 0.3 * moved / _MINUTE_SIGMA) * 10.0**self.spec.volume_decimals)
        return Decimal(lots).scaleb(-self.spec.volume_decimals)

    def _ticks(self, log_price: float) -> int:
        return max(1, round(math.exp(log_price) * 10.0**self.spec.price_decimals))


def _hourly_volatility(random: Random) -> list[float]:
    """Multipliers of the usual volatility: an AR(1) of their logarithm, started from its stationary spread."""
    level = random.gauss(0, _CLUSTER_SIGMA / math.sqrt(1 - _CLUSTER_MEMORY**2))
    multipliers = []
    for _ in range(24):
        level = _CLUSTER_MEMORY * level + random.gauss(0, _CLUSTER_SIGMA)
        multipliers.append(math.exp(level))
    return multipliers


def _pushes(random: Random, swings: _Swings) -> list[float]:
    """What each minute of a day adds to the swing; zero outside a push."""
    added = [0.0] * _MINUTES
    for _ in range(swings.per_day):
        length = random.randint(*swings.minutes)
        size = random.uniform(*swings.size) * random.choice((-1, 1))
        start = random.randrange(_MINUTES - length)
        for minute in range(start, start + length):
            added[minute] += size / length
    return added
