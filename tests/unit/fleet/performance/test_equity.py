"""A curve summarised by day says exactly what all its points say, in however many parts it comes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.performance import ClosedTrade, EquityPoint, Performance, Period, extended, measure, opening, start_of
from fleet.performance.equity import deepest_fall, last_peak
from fleet.performance.refresh import performances, summarised_to, unrecorded_start, with_newest_balance

D = Decimal
START = datetime(2018, 1, 10, 5, tzinfo=UTC)
STEP = timedelta(hours=5)
levels = st.lists(st.integers(1, 40), min_size=1, max_size=40)


def points(equity: list[int], *, factor: int = 1) -> list[EquityPoint]:
    return [EquityPoint(START + STEP * (n + 1), D(value * factor), value % 3 == 0) for n, value in enumerate(equity)]


def begin(equity: int = 20) -> list[object]:
    return [opening(D(equity), at=START, day=START.date())]


@given(levels, st.data())
def test_continued_in_parts_is_all_at_once(equity: list[int], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(equity)))
    whole = extended(begin(), points(equity))
    first = extended(begin(), points(equity)[:cut])
    assert extended(first, points(equity)[cut:]) == whole


@given(levels)
def test_the_deepest_fall_is_that_of_all_points(equity: list[int]) -> None:
    days = extended(begin(), points(equity))
    peaks = list(accumulate([20, *equity], max))
    deepest = max(D(peak - value) / peak for peak, value in zip(peaks, [20, *equity], strict=True))
    fall = deepest_fall(days)
    assert (fall.fraction if fall else 0) == deepest
    peak = last_peak(days)
    assert peak is not None
    assert peak[0] == peaks[-1]
    if fall:
        by_time = {START: 20, **{point.at: point.equity for point in points(equity)}}
        assert (by_time[fall.peak_at], by_time[fall.trough_at]) == (fall.peak, fall.trough)
        assert fall.peak_at < fall.trough_at


def measured(equity: list[int], *, factor: int = 1) -> Performance:
    return measure(trades=(), equity=points(equity, factor=factor), start_equity=D(20 * factor), interval_s=18_000)


@given(levels, st.integers(2, 1000))
def test_twice_the_money_has_the_same_ratios(equity: list[int], factor: int) -> None:
    one, many = measured(equity).as_json(), measured(equity, factor=factor).as_json()
    for name, value in one.items():
        if name.endswith(("_value", "_balance")) or name == "equity_change":
            assert D(str(many[name])) == factor * D(str(value))
        elif isinstance(value, float):
            assert many[name] == pytest.approx(value, rel=1e-12)
        else:
            assert many[name] == value


@given(levels)
def test_drawdowns_and_exposure_are_between_nothing_and_all(equity: list[int]) -> None:
    done = measured(equity)
    assert done.max_drawdown is not None
    assert done.current_drawdown is not None
    assert 0 <= done.current_drawdown <= done.max_drawdown < 1
    assert 0 <= (done.exposure or 0) <= 1
    assert done.peak_balance >= max(done.current_balance, done.start_balance)


def trades_at(hours: list[int]) -> list[ClosedTrade]:
    return [
        ClosedTrade(
            entry_at=START + timedelta(hours=hour - 1),
            exit_at=START + timedelta(hours=hour),
            direction="long",
            entry_value=D(10),
            gross_pnl=D(hour % 7 - 3),
            net_pnl=D(hour % 7 - 3) - D("0.1"),
            commission=D("0.1"),
        )
        for hour in hours
    ]


@given(levels, st.lists(st.integers(1, 2_000), max_size=30))
def test_the_parts_of_a_history_add_up(equity: list[int], hours: list[int]) -> None:
    days = extended(begin(), points(equity))
    rows = performances(days=days, trades=trades_at(hours), start_equity=D(20), since=None)
    whole = rows[-1].performance
    assert rows[-1].period is Period.ALL
    for period in (Period.DAY, Period.WEEK, Period.MONTH):
        parts = [row.performance for row in rows if row.period is period]
        for name in ("total_trades", "winning_trades", "net_pnl", "gross_pnl", "fees", "gross_profit", "bars"):
            assert sum(getattr(part, name) for part in parts) == getattr(whole, name), name
        assert sum(part.equity_change for part in parts) == whole.equity_change
        assert max(part.max_drawdown or 0 for part in parts) <= (whole.max_drawdown or 0)


def test_only_periods_that_are_not_over_are_calculated_again() -> None:
    days = extended(begin(), points([20] * 100))
    since = datetime(2018, 1, 30, 12, tzinfo=UTC)
    rows = performances(days=days, trades=(), start_equity=D(20), since=since)
    last = days[-1].day
    assert [(row.period, row.start) for row in rows if row.period is not Period.DAY] == [
        (Period.WEEK, date(2018, 1, 29)),
        (Period.MONTH, date(2018, 1, 1)),
        (Period.ALL, date(1970, 1, 1)),
    ]
    assert {row.start for row in rows if row.period is Period.DAY} == {date(2018, 1, 30), last}


@pytest.mark.parametrize(
    ("period", "day", "start"),
    [
        (Period.DAY, date(2020, 2, 29), date(2020, 2, 29)),
        (Period.WEEK, date(2021, 1, 3), date(2020, 12, 28)),
        (Period.WEEK, date(2020, 12, 28), date(2020, 12, 28)),
        (Period.MONTH, date(2020, 2, 29), date(2020, 2, 1)),
        (Period.ALL, date(2020, 2, 29), date(1970, 1, 1)),
    ],
)
def test_where_periods_start(period: Period, day: date, start: date) -> None:
    assert start_of(period, day) == start


def test_a_history_of_before_bars_begins_with_what_trades_realised() -> None:
    trades = trades_at([1, 2, 30])
    first = EquityPoint(START + timedelta(hours=10), D(25), True)
    days = unrecorded_start(trades, first=first, interval=timedelta(hours=1), start_equity=D(20))
    assert [(day.open, day.close, day.bars) for day in days] == [(20, D("16.8"), 0)]
    assert summarised_to(days) is None
    assert summarised_to(extended(days, [first])) == first.at
    assert unrecorded_start(trades, first=None, interval=STEP, start_equity=D(20))[-1].close == D("15.7")
    assert unrecorded_start((), first=None, interval=STEP, start_equity=D(20)) == ()


def test_what_happens_after_the_last_bar_settles_its_close() -> None:
    days = extended(begin(), points([30, 25]))
    after = with_newest_balance(days, balance=D(24))
    assert (after[-1].close, after[-1].low, after[-1].bars) == (24, 20, 2)
    assert with_newest_balance(after, balance=D(24)) == after


def test_what_was_earned_on_another_market_is_no_return_of_this_one() -> None:
    back = START + timedelta(days=3)
    left = extended(begin(), points([20, 22]))
    again = [*left, opening(D(44), at=back, day=back.date())]
    days = extended(again, [EquityPoint(back + STEP, D(44), False)])
    assert summarised_to(again) == points([20, 22])[-1].at
    [whole] = [row.performance for row in performances(days=days, trades=(), start_equity=D(20), since=None)][-1:]
    assert (whole.return_pct, whole.equity_change, whole.current_balance) == (pytest.approx(10), 2, 44)


def test_a_curve_whose_last_stored_day_has_the_bar_that_closed_at_midnight_goes_on_without_a_gap() -> None:
    """As versions before stored it; a bar that closes at midnight is the new day's now."""
    midnight, day = datetime(2018, 1, 11, tzinfo=UTC), date(2018, 1, 10)
    [begun_day] = extended([opening(D(100), at=START, day=day)], [EquityPoint(START + STEP, D(90), True)])
    old = replace(begun_day, close=D(80), close_at=midnight, low=D(80), low_at=midnight, bars=2, bars_in_position=2)
    assert summarised_to([old]) == midnight
    kept, new = extended([old], [EquityPoint(midnight + STEP, D(95), False)])
    assert kept == old
    assert (new.day, new.open, new.open_at, new.bars) == (date(2018, 1, 11), 80, midnight, 1)
    # flattened after that bar, before another
    kept, new = with_newest_balance([old], balance=D(85))
    assert (kept, new.day, new.open, new.close, new.bars) == (old, date(2018, 1, 11), 80, 85, 0)
    assert with_newest_balance([kept, new], balance=D(85)) == (kept, new)
    again = extended([kept, new], [EquityPoint(midnight + STEP, D(95), False)])
    assert [each.bars for each in again] == [2, 1]
