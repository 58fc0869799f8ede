from __future__ import annotations

import pytest

from sandbox_exchange.clock import LATEST_MS, ClockError, SimulatedClock
from tests.support import FakeClock

START = 1_000_000


def _clock(real: FakeClock, *, speed: float = 60, end_ms: int | None = None) -> SimulatedClock:
    return SimulatedClock(start_ms=START, speed=speed, monotonic=real.monotonic, end_ms=end_ms)


def test_it_runs_at_its_speed() -> None:
    real = FakeClock()
    clock = _clock(real)

    assert clock.now_ms() == START
    real.sleep(2.5)
    assert clock.now_ms() == START + 150_000


def test_a_pause_stands_still_and_resumes_where_it_was() -> None:
    real = FakeClock()
    clock = _clock(real)
    real.sleep(1)
    clock.pause()
    real.sleep(100)

    assert clock.now_ms() == START + 60_000
    assert clock.state().paused
    clock.resume()
    real.sleep(1)
    assert clock.now_ms() == START + 120_000


def test_a_changed_speed_counts_from_now_on() -> None:
    real = FakeClock()
    clock = _clock(real)
    real.sleep(1)
    clock.set_speed(1)
    real.sleep(1)

    assert clock.now_ms() == START + 61_000


def test_speed_zero_is_stepped_only() -> None:
    real = FakeClock()
    clock = _clock(real, speed=0)
    real.sleep(1000)
    clock.step(5)

    assert clock.now_ms() == START + 5
    with pytest.raises(ClockError, match="set a speed above zero"):
        clock.resume()
    clock.set_speed(2)
    real.sleep(1)
    assert clock.now_ms() == START + 2005


def test_a_step_while_running_adds_to_the_run() -> None:
    real = FakeClock()
    clock = _clock(real)
    real.sleep(1)
    clock.step(1000)
    real.sleep(1)

    assert clock.now_ms() == START + 121_000


def test_it_never_runs_backwards() -> None:
    clock = _clock(FakeClock(), speed=0)
    clock.set(START + 10)

    with pytest.raises(ClockError, match="cannot step back by 1 ms"):
        clock.set(START + 9)
    with pytest.raises(ClockError, match="cannot step back"):
        clock.step(-1)
    assert clock.now_ms() == START + 10


def test_it_stops_at_the_end_of_the_candles() -> None:
    real = FakeClock()
    clock = _clock(real, end_ms=START + 70_000)
    real.sleep(1)
    assert not clock.state().at_end
    real.sleep(1)

    assert clock.now_ms() == START + 70_000
    assert clock.state().at_end
    clock.step(1000)
    assert clock.now_ms() == START + 70_000


@pytest.mark.parametrize("speed", [-1, float("nan"), float("inf"), 1e9])
def test_an_impossible_speed_is_refused(speed: float) -> None:
    with pytest.raises(ClockError, match="is not between 0"):
        _clock(FakeClock(), speed=speed)
    clock = _clock(FakeClock())
    with pytest.raises(ClockError):
        clock.set_speed(speed)
    assert clock.state().speed == 60


def test_a_time_after_2100_is_a_slip_of_units() -> None:
    with pytest.raises(ClockError, match="milliseconds"):
        _clock(FakeClock()).set(LATEST_MS + 1)
