from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from fleet.times import from_ms, to_ms


@given(st.integers(min_value=-(10**12), max_value=4 * 10**12))
def test_milliseconds_survive_the_round_trip(unix_ms: int) -> None:
    assert to_ms(from_ms(unix_ms)) == unix_ms


def test_known_moment() -> None:
    assert from_ms(1_515_560_100_001) == datetime(2018, 1, 10, 4, 55, 0, 1000, tzinfo=UTC)
