"""Closed candles from a broker whose answers are scripted: order, gaps, garbage, lateness."""

from decimal import Decimal
from pathlib import Path

import pytest

from botrunner.exchange.poll_turns import ALONE, Turn
from botrunner.feeds.source import (
    POLL_MAX_S,
    POLL_MIN_S,
    ExchangeCandles,
    ExchangeClock,
    FileCandles,
    LocalTurn,
    read_candles,
)
from botrunner.market.candle import Candle
from tests.support import FakeClock
from tests.unit.botrunner.feeds.scripted_broker import M, ScriptedBroker, candle, opens, source


def test_the_running_candle_is_never_handed_out() -> None:
    broker = ScriptedBroker([candle(n) for n in range(10)], now_ms=5 * M - 1)
    assert opens(source(broker).poll(2 * M)) == [3]
    broker.now_ms = 5 * M
    assert opens(source(broker).poll(2 * M)) == [3, 4]


def test_nothing_is_asked_before_a_candle_can_have_closed() -> None:
    broker = ScriptedBroker([candle(n) for n in range(10)], now_ms=4 * M - 1)
    assert source(broker).poll(2 * M) == []
    assert broker.asked == []


def test_duplicates_disorder_and_garbage_are_dropped() -> None:
    broken = Candle(4 * M, Decimal(1), Decimal("0.5"), Decimal(1), Decimal(1), Decimal(1))
    broker = ScriptedBroker([candle(3), candle(2), candle(3, "9"), broken, candle(5)], now_ms=6 * M)
    found = source(broker)
    assert opens(found.poll(1 * M)) == [2, 3]
    assert opens(found.poll(3 * M)) == [5]


def test_a_gap_is_accepted_only_when_it_is_still_there_at_the_second_look() -> None:
    broker = ScriptedBroker([candle(1), candle(2), candle(5)], now_ms=6 * M)
    found = source(broker)
    assert opens(found.poll(0)) == [1, 2]
    broker.minutes.insert(2, candle(3))  # a late candle turns up
    assert opens(found.poll(2 * M)) == [3]
    assert opens(found.poll(3 * M)) == [5]


def test_a_revised_candle_is_not_handed_out_again() -> None:
    broker = ScriptedBroker([candle(n) for n in range(5)], now_ms=5 * M)
    found = source(broker)
    assert opens(found.poll(0)) == [1, 2, 3, 4]
    broker.minutes[2] = candle(2, "7")
    assert found.poll(4 * M) == []


def test_history_reads_page_by_page() -> None:
    broker = ScriptedBroker([candle(n) for n in range(2500) if n != 1700], now_ms=2600 * M)
    found = source(broker).history(100 * M, 2400 * M)
    assert opens(found) == [n for n in range(100, 2400) if n != 1700]
    assert len(broker.asked) == 3


def test_a_new_bot_begins_at_the_newest_closed_candle_even_after_a_gap() -> None:
    broker = ScriptedBroker([candle(n) for n in range(5)], now_ms=9 * M)
    assert source(broker).latest_closed_ms() == 4 * M


@pytest.mark.parametrize(
    ("speed", "ahead_s", "wait"),
    [(1, 30, 30.0), (60, 30, 0.5), (300, 60, 0.2), (1, 0, 0.0)],
)
def test_the_exchanges_clock_has_a_rate(speed: int, ahead_s: int, wait: float) -> None:
    clock = ExchangeClock()
    for second in range(3):
        clock.sampled(monotonic=100.0 + second, server_ms=second * 1000 * speed)
    assert clock.seconds_until(2000 * speed + ahead_s * 1000, monotonic=102.0) == pytest.approx(wait)


def test_jitter_of_a_real_clock_is_not_taken_for_speed() -> None:
    clock = ExchangeClock()
    for second, jitter in enumerate((0, 300, -200, 400)):
        clock.sampled(monotonic=float(second), server_ms=second * 1000 + jitter)
    assert clock.seconds_until(3400 + 10_000, monotonic=3.0) == pytest.approx(10.0)


def test_waits_are_bounded() -> None:
    broker = ScriptedBroker([candle(n) for n in range(5)], now_ms=5 * M)
    found = source(broker)
    found.poll(4 * M)
    assert found.wait_s(4 * M) == POLL_MAX_S
    assert found.wait_s(0) == POLL_MIN_S


HEADER = "timestamp,open,high,low,close,volume\n"


def test_file_candles_are_exact(tmp_path: Path) -> None:
    path = tmp_path / "X-1m.csv"
    path.write_text(HEADER + "60000,0.00141342,0.00141557,0.00141266,0.00141418,1482\n120000,1,2,1,2,0\n")
    found = FileCandles(read_candles(path, interval_ms=M))
    assert found.poll(None)[0].open == Decimal("0.00141342")
    assert opens(found.poll(60_000)) == [2]
    assert opens(found.history(60_000, 120_000)) == [1]


def test_a_file_in_real_time_gives_one_candle_an_interval() -> None:
    clock = FakeClock()
    found = FileCandles([candle(n) for n in range(5)], pace_s=60, clock=clock)
    assert opens(found.poll(None)) == [0]
    assert found.poll(0) == []
    assert found.wait_s(0) == POLL_MAX_S
    clock.time += 59.9
    assert found.poll(0) == []
    assert found.wait_s(0) == POLL_MIN_S
    clock.time += 10  # the bot was busy; the next one keeps its time
    assert opens(found.poll(0)) == [1]
    clock.time += 50.1
    assert opens(found.poll(1 * M)) == [2]
    # after a restart it goes on at once, where it was
    again = FileCandles([candle(n) for n in range(5)], pace_s=60, clock=clock)
    assert opens(again.poll(2 * M)) == [3]
    assert again.poll(4 * M) == []


def taking_turns(turn: Turn, *, speed: float = 1.0) -> tuple[ExchangeCandles, ScriptedBroker, FakeClock]:
    clock = FakeClock()
    broker = ScriptedBroker([candle(n) for n in range(10)], now_ms=3 * M)
    found = ExchangeCandles(broker, symbol="X", interval="1m", interval_ms=M, clock=clock, turn=lambda: turn)
    for _ in range(2):
        found.poll(2 * M)
        clock.time += 2
        broker.now_ms += int(2000 * speed)
    found.poll(2 * M)
    return found, broker, clock


def test_a_bot_waits_for_its_turn_after_the_close() -> None:
    found, _, clock = taking_turns(Turn(after_ms=4_000, least_ms=6_000))
    clock.time += 53  # 3 s before the close
    assert found.wait_s(2 * M) == pytest.approx(3 + 4)
    assert found.turn(3 * M) == LocalTurn(pytest.approx(4.0), pytest.approx(6.0))
    clock.time += 5  # 2 s after it
    assert found.wait_s(2 * M) == pytest.approx(2)
    assert found.turn(3 * M).after_s == pytest.approx(2)
    clock.time += 3  # its turn was a second ago, and REST had nothing
    assert found.wait_s(2 * M) == pytest.approx(6)
    assert found.turn(3 * M).after_s == 0


def test_turns_are_of_the_exchanges_time() -> None:
    found, _, clock = taking_turns(Turn(after_ms=4_000, least_ms=6_000), speed=60)
    # a minute lasts a second: a turn of four seconds is a fifteenth of one
    assert found.turn(3 * M).after_s <= 4 / 60
    clock.time += 30
    assert found.wait_s(2 * M) == POLL_MIN_S


def test_alone_nothing_waits() -> None:
    found, _, clock = taking_turns(ALONE)
    clock.time += 53
    assert found.wait_s(2 * M) == pytest.approx(3)
    clock.time += 5
    assert found.wait_s(2 * M) == POLL_MIN_S
    assert found.turn(3 * M) == LocalTurn(0.0, 0.0)
