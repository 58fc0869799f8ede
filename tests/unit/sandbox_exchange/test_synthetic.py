from __future__ import annotations

import statistics
from itertools import pairwise

import pytest

from sandbox_exchange.candles import DAY_MS, INTERVAL_MS, MINUTE_MS, Candle, aggregate
from sandbox_exchange.synthetic import SPECS, SyntheticSource, SyntheticSpec
from tests.unit.sandbox_exchange.worlds import START

specs = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.pair.symbol)


def _source(spec: SyntheticSpec = SPECS[0], *, seed: int = 7) -> SyntheticSource:
    return SyntheticSource(spec=spec, seed=seed, first_open=START)


def _days(source: SyntheticSource, first: int, last: int) -> list[Candle]:
    return source.between(START + first * DAY_MS, START + last * DAY_MS)


@specs
def test_every_minute_has_a_valid_candle_that_follows_the_one_before(spec: SyntheticSpec) -> None:
    candles = _days(_source(spec), 0, 3)

    assert [c.open_time for c in candles] == [START + number * MINUTE_MS for number in range(3 * 1440)]
    assert all(before.close == after.open for before, after in pairwise(candles))
    assert all(0 < c.low <= min(c.open, c.close) <= max(c.open, c.close) <= c.high for c in candles)
    assert all(c.volume > 0 for c in candles)
    assert all(-int(c.high.as_tuple().exponent) == spec.price_decimals for c in candles)


def test_a_day_is_the_same_from_whichever_side_it_is_reached() -> None:
    alone = _days(_source(), 40, 41)

    assert alone == _days(_source(), 39, 42)[1440:2880]
    assert alone[5:9] == _source().between(alone[5].open_time, alone[9].open_time)


def test_seeds_and_symbols_differ() -> None:
    closes = {tuple(c.close for c in _days(_source(spec, seed=seed), 0, 1)) for spec in SPECS for seed in (7, 8)}

    assert len(closes) == 2 * len(SPECS)


def test_there_is_nothing_before_the_first_day_and_no_end() -> None:
    assert _days(_source(), -5, 0) == []
    assert _source().end is None


@specs
def test_prices_stay_near_their_base_for_years(spec: SyntheticSpec) -> None:
    """The daily pull keeps the anchors within e^±0.6 (six standard deviations) of the base price."""
    source = _source(spec)
    for day in range(0, 3650, 365):
        (opening,) = source.between(START + day * DAY_MS, START + day * DAY_MS + MINUTE_MS)
        assert spec.base_price * 0.5 < opening.open < spec.base_price * 2


@specs
def test_oversold_candles_below_the_lower_band_occur(spec: SyntheticSpec) -> None:
    """What the built-in entries wait for: RSI(14) under 30 and a close below the Bollinger band (20, 2)."""
    minutes = _days(_source(spec), 0, 20)
    for interval, fewest in (("5m", 20), ("15m", 8), ("1h", 1)):
        closes = [float(c.close) for c in aggregate(minutes, interval_ms=INTERVAL_MS[interval])]
        assert sum(_is_oversold(closes, index) for index in range(60, len(closes))) >= fewest, interval


def _is_oversold(closes: list[float], index: int) -> bool:
    window = closes[index - 19 : index + 1]
    if closes[index] >= statistics.fmean(window) - 2 * statistics.pstdev(window):
        return False
    gain = loss = 0.0  # Wilder's averages, started 60 bars back
    for before, after in pairwise(closes[index - 60 : index + 1]):
        gain = (13 * gain + max(0.0, after - before)) / 14
        loss = (13 * loss + max(0.0, before - after)) / 14
    return gain < loss * 30 / 70
