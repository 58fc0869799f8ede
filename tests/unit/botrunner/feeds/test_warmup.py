"""What an engine is warmed up with: remembered candles where they reach back far enough."""

from __future__ import annotations

from botrunner.feeds.warmup import WarmupCandles
from botrunner.market.candle import Candle
from tests.unit.botrunner.feeds.scripted_broker import M, candle, opens


class Source:
    def __init__(self, first: int = 0) -> None:
        self.first = first
        self.asked: list[tuple[int, int]] = []

    def history(self, start_ms: int, end_ms: int) -> list[Candle]:
        self.asked.append((start_ms // M, end_ms // M))
        return [candle(minute) for minute in range(max(start_ms // M, self.first), end_ms // M)]


def test_the_source_is_asked_once_and_then_what_is_remembered_is_enough() -> None:
    source = Source()
    warmup = WarmupCandles(source.history, most=20)
    assert opens([*warmup.between(10 * M, 25 * M)]) == [*range(10, 25)]
    for minute in range(25, 30):
        warmup.committed(candle(minute))
    assert opens([*warmup.between(20 * M, 30 * M)]) == [*range(20, 30)]
    assert source.asked == [(10, 25)]


def test_what_is_remembered_but_does_not_reach_back_is_fetched_anew() -> None:
    source = Source()
    warmup = WarmupCandles(source.history, most=20)
    for minute in range(25, 30):
        warmup.committed(candle(minute))
    assert opens([*warmup.between(20 * M, 30 * M)]) == [*range(20, 30)]
    assert source.asked == [(20, 30)]
    # without the candles that were remembered before: none comes twice
    warmup.committed(candle(30))
    assert opens([*warmup.between(20 * M, 31 * M)]) == [*range(20, 31)]
    assert source.asked == [(20, 30)]


def test_no_more_are_remembered_than_a_warm_up_needs() -> None:
    source = Source()
    warmup = WarmupCandles(source.history, most=4)
    for minute in range(10):
        warmup.committed(candle(minute))
    assert opens([*warmup.between(6 * M, 10 * M)]) == [6, 7, 8, 9]
    assert source.asked == []
    warmup.between(5 * M, 10 * M)
    assert source.asked == [(5, 10)]


def test_a_market_that_began_later_gives_what_it_has() -> None:
    assert opens([*WarmupCandles(Source(first=8).history, most=20).between(0, 10 * M)]) == [8, 9]
