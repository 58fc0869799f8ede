from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox_exchange.candles import DAY_MS, INTERVAL_MS, Candle, aggregate, is_multiple, merge, partial
from tests.unit.sandbox_exchange.worlds import FIVE_MINUTES, START, candle, candle_lists

COARSER = sorted(length for length in INTERVAL_MS.values() if is_multiple(length, FIVE_MINUTES))


def test_every_interval_divides_the_day() -> None:
    assert all(DAY_MS % length == 0 for length in INTERVAL_MS.values())


@given(candles=candle_lists(), length=st.sampled_from(COARSER))
def test_aggregation_keeps_prices_and_sums(candles: list[Candle], length: int) -> None:
    coarse = aggregate(candles, interval_ms=length)

    assert [bar.open_time for bar in coarse] == sorted({c.open_time - c.open_time % length for c in candles})
    assert sum(bar.volume for bar in coarse) == sum(c.volume for c in candles)
    assert sum(bar.quote_volume for bar in coarse) == sum(c.quote_volume for c in candles)
    assert sum(bar.trades for bar in coarse) == sum(c.trades for c in candles)
    for bar in coarse:
        members = [c for c in candles if bar.open_time <= c.open_time < bar.open_time + length]
        assert (bar.open, bar.close) == (members[0].open, members[-1].close)
        assert (bar.high, bar.low) == (max(c.high for c in members), min(c.low for c in members))
        assert bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high


@given(candles=candle_lists(), length=st.sampled_from(COARSER), further=st.sampled_from(COARSER))
def test_aggregating_in_two_steps_changes_nothing(candles: list[Candle], length: int, further: int) -> None:
    if not is_multiple(further, length):
        length, further = further, length
    if is_multiple(further, length):
        steps = aggregate(aggregate(candles, interval_ms=length), interval_ms=further)
        assert steps == aggregate(candles, interval_ms=further)


@given(
    bar=candle_lists(longest=1).map(lambda candles: candles[0]),
    times=st.tuples(st.integers(0, FIVE_MINUTES), st.integers(0, FIVE_MINUTES)).map(sorted),
)
def test_a_running_candle_only_grows_towards_the_finished_one(bar: Candle, times: list[int]) -> None:
    early, late = (partial(bar, elapsed_ms=time, interval_ms=FIVE_MINUTES) for time in times)

    assert bar.low <= late.low <= early.low <= early.open == bar.open <= early.high <= late.high <= bar.high
    assert early.volume <= late.volume <= bar.volume
    assert early.trades <= late.trades <= bar.trades
    for running in (early, late):
        assert running.low <= running.close <= running.high


def test_a_running_candle_starts_as_its_open_and_ends_as_itself() -> None:
    bar = candle(START)

    fresh = partial(bar, elapsed_ms=0, interval_ms=FIVE_MINUTES)

    assert (fresh.open, fresh.high, fresh.low, fresh.close) == (bar.open,) * 4
    assert not any((fresh.volume, fresh.quote_volume, fresh.trades))
    assert partial(bar, elapsed_ms=FIVE_MINUTES, interval_ms=FIVE_MINUTES) == bar


def test_the_first_extreme_does_not_tell_the_close() -> None:
    """The order depends on the bar's time alone: mirrored closes give the same order, and both orders occur."""
    orders = set()
    for number in range(64):
        rising = candle(START + number * FIVE_MINUTES)
        falling = rising._replace(open=rising.close, close=rising.open)
        third = FIVE_MINUTES // 3
        first_is_high = [
            partial(bar, elapsed_ms=third, interval_ms=FIVE_MINUTES).high == bar.high for bar in (rising, falling)
        ]
        assert first_is_high[0] == first_is_high[1]
        orders.add(first_is_high[0])
    assert orders == {True, False}


def test_a_running_candle_has_no_more_digits_than_its_source() -> None:
    bar = Candle(START, Decimal("1.5"), Decimal("1.75"), Decimal("1.25"), Decimal("1.5"), Decimal("3"), Decimal("4"), 9)

    running = partial(bar, elapsed_ms=77_777, interval_ms=FIVE_MINUTES)

    assert running.close == running.close.quantize(Decimal("0.01"))
    assert running.volume == running.volume.quantize(Decimal(1))


def test_merging_takes_the_given_open_time() -> None:
    assert merge([candle(START + FIVE_MINUTES)], open_time=START).open_time == START


@pytest.mark.parametrize(
    ("fine", "coarse", "possible"), [("5m", "1h", True), ("1h", "5m", False), ("5m", "5m", True), ("3m", "5m", False)]
)
def test_which_intervals_can_be_built(fine: str, coarse: str, possible: bool) -> None:
    assert is_multiple(INTERVAL_MS[coarse], INTERVAL_MS[fine]) is possible
