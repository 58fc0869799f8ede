from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from botrunner.execution.live.exchange_clock import DRIFT, ExchangeClock

READ = datetime(2026, 1, 5, tzinfo=UTC)
delays = st.floats(0, 30)


@given(there=delays, back=delays, later=st.floats(0, 86_400), drift=st.floats(-DRIFT / 2, DRIFT / 2))
def test_the_exchanges_time_lies_between_the_bounds(there: float, back: float, later: float, drift: float) -> None:
    clock = ExchangeClock(READ, asked_s=100.0, heard_s=100.0 + there + back)
    passed = later + back
    really = READ + timedelta(seconds=passed * (1 + drift))
    now_s = 100.0 + there + back + later
    rounding = timedelta(microseconds=5)
    assert clock.earliest(now_s) - rounding <= really <= clock.latest(now_s) + rounding


def test_the_bounds_are_as_far_apart_as_the_answer_took_and_the_clocks_drift() -> None:
    clock = ExchangeClock(READ, asked_s=100.0, heard_s=100.5)
    assert clock.latest(100.5) - clock.earliest(100.5) == timedelta(seconds=0.5 * (1 + DRIFT))
    hour_s = 3600.0
    apart = clock.latest(100.5 + hour_s) - clock.earliest(100.5 + hour_s)
    assert timedelta(seconds=0.5) < apart < timedelta(seconds=0.6 + 2 * hour_s * DRIFT)


def test_a_quick_answer_says_more_than_a_slow_one_and_an_old_one_less_than_a_new_one() -> None:
    quick, slow = ExchangeClock(READ, 0.0, 0.1), ExchangeClock(READ, 0.0, 3.0)
    assert quick.better(slow, now_s=10.0) is quick
    assert slow.better(quick, now_s=10.0) is quick
    new = ExchangeClock(READ + timedelta(days=1), 86_400.0, 86_400.2)
    assert quick.better(new, now_s=86_401.0) is new
