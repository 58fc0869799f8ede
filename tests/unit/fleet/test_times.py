from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.times import from_ms, to_ms
from fleet.trading_day import day_bounds, utc_day

MIDNIGHT = datetime(2018, 1, 11, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)


@given(st.integers(min_value=-(10**12), max_value=4 * 10**12))
def test_milliseconds_survive_the_round_trip(unix_ms: int) -> None:
    assert to_ms(from_ms(unix_ms)) == unix_ms


def test_known_moment() -> None:
    assert from_ms(1_515_560_100_001) == datetime(2018, 1, 10, 4, 55, 0, 1000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("moment", "day"),
    [
        (MIDNIGHT - MOMENT, date(2018, 1, 10)),
        (MIDNIGHT, date(2018, 1, 11)),
        (MIDNIGHT + MOMENT, date(2018, 1, 11)),
        (MIDNIGHT.astimezone(timezone(timedelta(hours=-5))), date(2018, 1, 11)),
        (MIDNIGHT.astimezone(timezone(timedelta(hours=14))), date(2018, 1, 11)),
    ],
)
def test_midnight_belongs_to_the_day_that_it_begins(moment: datetime, day: date) -> None:
    assert utc_day(moment) == day


@given(
    st.integers(0, 7 * 10**15).map(lambda us: datetime(1971, 1, 1, tzinfo=UTC) + us * MOMENT),
    st.integers(-14, 14),
)
def test_a_moment_lies_within_the_bounds_of_its_day_and_of_no_other(moment: datetime, hours: int) -> None:
    there = moment.astimezone(timezone(timedelta(hours=hours)))
    begins, ends = day_bounds(utc_day(there))
    assert begins <= there < ends
    assert (utc_day(begins), utc_day(ends - MOMENT), utc_day(ends)) == (
        utc_day(there),
        utc_day(there),
        utc_day(there) + timedelta(days=1),
    )
