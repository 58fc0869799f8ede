"""When candles are asked for, and that each stays the next one until its bar is committed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog

from botrunner.exchange.errors import CircuitOpen, ExchangeAway
from botrunner.feeds.health import FeedWatch
from botrunner.feeds.poller import LEAST_WAIT_S, CandlePoller
from botrunner.feeds.source import LocalTurn
from botrunner.market.candle import Candle
from fleet.events import Event, EventKind
from tests.support import FakeClock
from tests.unit.botrunner.feeds.scripted_broker import M, candle

WAIT_S = 30.0


class Scripted:
    """Answers in turn: with candles, or with an error; with nothing at its end. Notes what it was asked, and when."""

    def __init__(self, clock: FakeClock, *answers: list[Candle] | Exception) -> None:
        self.clock = clock
        self.answers = [*answers]
        self.asked: list[tuple[float, int | None]] = []

    def latest_closed_ms(self) -> int | None:
        raise AssertionError("a poller begins where it is told")

    def history(self, start_ms: int, end_ms: int) -> list[Candle]:
        raise AssertionError("a poller looks ahead")

    def poll(self, after_ms: int | None) -> list[Candle]:
        self.asked.append((self.clock.time - 1000, None if after_ms is None else after_ms // M))
        answer = self.answers.pop(0) if self.answers else []
        if isinstance(answer, Exception):
            raise answer
        return answer

    def wait_s(self, after_ms: int | None) -> float:
        return WAIT_S


class Stream:
    """Calls back when the test says so."""

    def __init__(self, on_closed: Callable[[int], None]) -> None:
        self.says = on_closed
        self.running = False

    def start(self) -> None:
        self.running = True

    def stop(self) -> None:
        self.running = False


def poller(source: Scripted, **changes: Any) -> CandlePoller:
    parts: dict[str, Any] = {
        "clock": source.clock,
        "interval_ms": M,
        "exchange_ms": lambda: None,
        "turn": lambda _: LocalTurn(),
        "watch": None,
        "note": lambda _: None,
        "stream": None,
        "wake": lambda: None,
    }
    return CandlePoller(source, **{**parts, **changes})


def test_candles_come_in_order_and_stay_until_their_bar_is_committed() -> None:
    source = Scripted(FakeClock(), [candle(5), candle(6)], [candle(7)])
    polled = poller(source)
    polled.follow(4 * M)
    assert polled.next_open_ms() == 5 * M
    assert source.asked == [], "what the next candle will be needs no request"
    for minute in (5, 5, 5):
        assert polled.next_candle() == candle(minute)
    polled.committed(candle(5))
    assert (polled.next_open_ms(), polled.next_candle()) == (6 * M, candle(6))
    polled.committed(candle(6))
    assert polled.next_candle() is None, "the time for the next one hasn't come"
    source.clock.time += WAIT_S
    assert polled.next_candle() == candle(7)
    assert source.asked == [(0, 4), (WAIT_S, 6)]


def test_without_a_beginning_it_begins_with_the_first_there_is() -> None:
    source = Scripted(FakeClock(), [], [candle(3)])
    polled = poller(source)
    polled.follow(None)
    assert polled.next_open_ms() is None
    source.clock.time += WAIT_S
    assert polled.next_open_ms() == 3 * M
    assert source.asked == [(0, None), (WAIT_S, None)]


def test_behind_a_gap_the_next_candle_is_the_one_there_is() -> None:
    source = Scripted(FakeClock(), [candle(9)])
    polled = poller(source)
    polled.follow(4 * M)
    assert polled.next_open_ms() == 5 * M
    assert polled.next_candle() == candle(9)
    assert polled.next_open_ms() == 9 * M


def test_a_source_that_does_not_answer_is_asked_ever_more_slowly_and_loses_nothing() -> None:
    source = Scripted(FakeClock(), *[ExchangeAway("x")] * 8, [candle(5)])
    polled = poller(source)
    polled.follow(4 * M)
    with structlog.testing.capture_logs() as logs:
        for _ in range(10_000):
            if polled.next_candle() is not None:
                break
            source.clock.time += polled.wait_s(0.5)
    assert polled.next_candle() == candle(5)
    assert [log["failures"] for log in logs] == [*range(1, 9)]
    assert len(source.asked) == 9


def test_an_open_circuit_is_asked_again_when_it_says() -> None:
    source = Scripted(FakeClock(), *[ExchangeAway("x")] * 9, CircuitOpen("x", retry_after_s=0.25), [candle(5)])
    polled = poller(source)
    polled.follow(4 * M)
    while len(source.asked) < 10:
        polled.next_candle()
        source.clock.time += polled.wait_s(100)
    assert source.clock.time - 1000 - source.asked[-1][0] == 0.25


def test_a_rest_is_never_longer_than_asked_for_nor_none_at_all() -> None:
    source = Scripted(FakeClock(), [])
    polled = poller(source)
    polled.follow(4 * M)
    assert polled.wait_s(0.5) == LEAST_WAIT_S
    polled.next_candle()
    assert (polled.wait_s(0.5), polled.wait_s(100)) == (0.5, WAIT_S)


def test_a_streams_word_brings_the_question_forward_and_wakes_the_loop() -> None:
    streams: list[Stream] = []
    woken: list[bool] = []

    def made(on_closed: Callable[[int], None]) -> Stream:
        streams.append(Stream(on_closed))
        return streams[0]

    source = Scripted(FakeClock(), [candle(5)], [candle(6)])
    polled = poller(source, stream=made, wake=lambda: woken.append(True))
    polled.follow(4 * M)
    assert streams == [], "nobody listens before the warm-up is over"
    polled.listen()
    assert streams[0].running
    polled.next_candle()
    polled.committed(candle(5))
    source.clock.time += 7
    streams[0].says(5 * M)
    assert polled.next_candle() is None, "what it says was known"
    streams[0].says(6 * M)
    assert polled.next_candle() == candle(6)
    assert (source.asked, woken) == ([(0, 4), (7, 5)], [True, True])
    polled.close()
    assert not streams[0].running


def test_candles_that_stay_away_are_told_once_and_so_is_their_return() -> None:
    events: list[Event] = []
    source = Scripted(FakeClock(), *[[]] * 20, [candle(5)])
    polled = poller(
        source,
        exchange_ms=lambda: 6 * M + int((source.clock.time - 1000) * 1000),
        watch=FeedWatch(bot_id=7, symbol="X", interval="1m", interval_ms=M),
        note=events.extend,
    )
    polled.follow(4 * M)
    with structlog.testing.capture_logs() as logs:
        while polled.next_candle() is None:
            source.clock.time += polled.wait_s(100)
    assert [event.kind for event in events] == [EventKind.FEED_STALE, EventKind.BOT_RECOVERED]
    assert [log["event"] for log in logs] == ["feed_stale", "feed_recovered"]
