from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox_exchange.candles import DAY_MS, HOUR_MS, INTERVAL_MS, Candle, is_multiple
from sandbox_exchange.series import CandleCache, Series
from tests.unit.sandbox_exchange.worlds import FIVE_MINUTES, START, ListSource, candle, candle_lists

LENGTHS = st.sampled_from(sorted(length for length in INTERVAL_MS.values() if is_multiple(length, FIVE_MINUTES)))
MOMENTS = st.integers(0, 4 * DAY_MS).map(lambda offset: START + offset)


def _series(candles: list[Candle], *, shift_ms: int = 0, repeat: bool = False) -> Series:
    return Series(source=ListSource(candles), shift_ms=shift_ms, repeat=repeat, cache=CandleCache())


def _bars(count: int) -> list[Candle]:
    return [candle(START + number * FIVE_MINUTES, price=f"1.{number:04d}") for number in range(count)]


@given(candles=candle_lists(), length=LENGTHS, now=MOMENTS, noise=st.integers(2, 9))
def test_the_future_changes_nothing(candles: list[Candle], length: int, now: int, noise: int) -> None:
    """Candles that open after now, and the running one's extremes not yet reached, have no influence."""
    past = [bar for bar in candles if bar.open_time <= now]
    future = [
        bar._replace(high=bar.high * noise, close=bar.high * noise, volume=bar.volume * noise)
        for bar in candles
        if bar.open_time > now
    ]
    seen = _series(candles).klines(interval_ms=length, now=now)

    assert seen == _series([*past, *future]).klines(interval_ms=length, now=now)
    assert all(bar.open_time <= now for bar in seen)
    if past:
        reached = past[-1].open_time + FIVE_MINUTES <= now
        ended = sum(bar.volume for bar in past[: None if reached else -1])
        assert ended <= sum(bar.volume for bar in seen) <= sum(bar.volume for bar in past)
        assert max(bar.high for bar in seen) <= max(bar.high for bar in past)


@given(candles=candle_lists(), length=LENGTHS, moments=st.tuples(MOMENTS, MOMENTS).map(sorted))
def test_closed_candles_never_change(candles: list[Candle], length: int, moments: list[int]) -> None:
    early, late = moments
    series = _series(candles)
    closed = [bar for bar in series.klines(interval_ms=length, now=early) if bar.open_time + length <= early]

    assert series.klines(interval_ms=length, now=late)[: len(closed)] == closed


@given(
    candles=candle_lists(),
    length=LENGTHS,
    now=MOMENTS,
    span=st.tuples(MOMENTS, MOMENTS),
    limit=st.integers(1, 20),
)
def test_selection_equals_filtering_everything(
    candles: list[Candle], length: int, now: int, span: tuple[int, int], limit: int
) -> None:
    series = _series(candles)
    everything = series.klines(interval_ms=length, now=now)
    start, end = span

    assert series.klines(interval_ms=length, now=now, limit=limit) == everything[-limit:]
    assert (
        series.klines(interval_ms=length, now=now, start=start, limit=limit)
        == [bar for bar in everything if bar.open_time >= start][:limit]
    )
    assert (
        series.klines(interval_ms=length, now=now, end=end, limit=limit)
        == [bar for bar in everything if bar.open_time <= end][-limit:]
    )
    assert (
        series.klines(interval_ms=length, now=now, start=start, end=end, limit=limit)
        == [bar for bar in everything if start <= bar.open_time <= end][:limit]
    )


@given(candles=candle_lists(), now=MOMENTS)
def test_a_coarse_running_candle_agrees_with_the_fine_ones(candles: list[Candle], now: int) -> None:
    series = _series(candles)
    fine = series.klines(interval_ms=FIVE_MINUTES, now=now)
    coarse = series.klines(interval_ms=HOUR_MS, now=now)

    assert sum(bar.volume for bar in coarse) == sum(bar.volume for bar in fine)
    assert [bar.close for bar in coarse[-1:]] == [bar.close for bar in fine[-1:]]


def test_at_its_boundary_a_candle_is_closed_and_the_next_one_opens() -> None:
    bars = _bars(3)

    closed, fresh = _series(bars).klines(interval_ms=FIVE_MINUTES, now=START + FIVE_MINUTES, limit=2)

    assert closed == bars[0]
    assert fresh.high == fresh.low == fresh.close == bars[1].open
    assert fresh.volume == 0


def test_one_millisecond_before_its_end_a_candle_still_runs() -> None:
    (running,) = _series(_bars(3)).klines(interval_ms=FIVE_MINUTES, now=START + FIVE_MINUTES - 1)

    assert running.volume < _bars(1)[0].volume


def test_in_a_gap_the_newest_candle_is_the_last_one_that_traded() -> None:
    bars = [candle(START), candle(START + 10 * FIVE_MINUTES)]
    series = _series(bars)

    assert series.klines(interval_ms=FIVE_MINUTES, now=START + 7 * FIVE_MINUTES) == bars[:1]
    assert series.last_price(START + 7 * FIVE_MINUTES) == bars[0].close


def test_before_the_first_candle_there_is_none_but_a_price() -> None:
    series = _series([candle(START + HOUR_MS)])

    assert series.klines(interval_ms=FIVE_MINUTES, now=START) == []
    assert series.last_price(START) == candle(START).open


def test_a_shifted_series_keeps_its_time_of_day() -> None:
    series = _series(_bars(4), shift_ms=-3 * DAY_MS)

    assert [bar.open_time for bar in series.klines(interval_ms=FIVE_MINUTES, now=START)] == [
        START - 3 * DAY_MS + number * FIVE_MINUTES for number in range(4)
    ]
    with pytest.raises(ValueError, match="not a whole number of days"):
        _series(_bars(1), shift_ms=HOUR_MS)


@pytest.mark.parametrize(
    ("bars", "days"),
    [(1, 1), (288, 1), (289, 2)],  # 288 five-minute bars are exactly a day: the seam is then no gap
)
def test_a_repeated_series_comes_again_after_whole_days(bars: int, days: int) -> None:
    series = _series(_bars(bars), repeat=True)
    once = [bar[1:] for bar in _bars(bars)]

    again = series.klines(
        interval_ms=FIVE_MINUTES, now=START + 3 * days * DAY_MS, start=START + days * DAY_MS, limit=bars
    )

    assert series.end is None
    assert series.repeats_every_ms == days * DAY_MS
    assert [bar[1:] for bar in again] == once
    assert again[0].open_time == START + days * DAY_MS


def test_a_repeat_in_the_middle_of_a_day_joins_both_rounds_in_one_coarse_candle() -> None:
    late_start = [bar._replace(open_time=bar.open_time + 30 * 60_000) for bar in _bars(288)]
    series = _series(late_start, repeat=True)

    (seam,) = series.klines(interval_ms=HOUR_MS, now=START + 2 * DAY_MS, start=START + DAY_MS, limit=1)

    assert seam.open == late_start[-6].open  # six bars of the first round, six of the second
    assert seam.close == late_start[5].close


def test_the_cache_forgets_the_least_recently_used_day() -> None:
    cache = CandleCache(max_candles=5)
    day = (candle(START), candle(START + FIVE_MINUTES))

    cache.put(("A", 1, 0), day)
    cache.put(("A", 1, 1), ())
    assert cache.get(("A", 1, 0)) == day
    cache.put(("A", 1, 2), day)  # 3 + 1 + 3 exceed 5: day 1 goes, then day 0

    assert cache.get(("A", 1, 1)) is None
    assert cache.get(("A", 1, 2)) == day


def test_a_cache_too_small_for_anything_changes_no_answer() -> None:
    bars = _bars(900)
    now = START + 900 * FIVE_MINUTES
    small = Series(source=ListSource(bars), shift_ms=0, repeat=False, cache=CandleCache(max_candles=1))

    assert small.klines(interval_ms=HOUR_MS, now=now) == _series(bars).klines(interval_ms=HOUR_MS, now=now)
    assert small.last_price(now) == Decimal("1.0899") + Decimal("0.005")
