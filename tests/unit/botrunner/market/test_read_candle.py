"""What an exchange calls a candle: anything at all. Read whole, or refused in words; never the end of the bot."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botrunner.feeds.source import ExchangeCandles
from botrunner.market.candle import MOST, Candle, CandleUnreadable, is_sound, read_candle
from tests.support import FakeClock
from tests.unit.botrunner.feeds.scripted_broker import M, ScriptedBroker, candle, opens

D = Decimal
ROW: list[Any] = [1_600_000_000_000, "1.5", "2.0", "1.0", "1.7", "10", 1_600_000_059_999, "x", None]


def changed(index: int, value: object) -> list[Any]:
    return [*ROW[:index], value, *ROW[index + 1 :]]


def test_a_row_as_binance_sends_it() -> None:
    expected = Candle(1_600_000_000_000, D("1.5"), D("2.0"), D("1.0"), D("1.7"), D(10))
    assert read_candle(ROW) == expected
    # numbers instead of texts keep the wire's digits
    assert read_candle([ROW[0], 0.1, 0.3, 0.1, 0.2, 7]) == Candle(ROW[0], D("0.1"), D("0.3"), D("0.1"), D("0.2"), D(7))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (None, "expected open_ms"),
        ({}, "expected open_ms"),
        ("1,2,3,4,5,6", "expected open_ms"),
        ([], "expected open_ms"),
        (ROW[:5], "expected open_ms"),
        (changed(0, "1600000000000"), "no Unix time"),
        (changed(0, True), "no Unix time"),
        (changed(0, -1), "no Unix time"),
        (changed(0, 10**300), "no Unix time"),
        (changed(0, 1.6e12), "no Unix time"),
        (changed(1, None), "open is NoneType"),
        (changed(2, []), "high is list"),
        (changed(3, {"a": 1}), "low is dict"),
        (changed(4, True), "close is bool"),
        (changed(4, "abc\0\x1b[31m"), "close 'abc\ufffd'"),
        (changed(4, ""), "close ''"),
        (changed(4, "NaN"), "is no number"),
        (changed(4, "sNaN"), "is no number"),
        (changed(4, math.nan), "is no number"),
        (changed(5, "Infinity"), "is no number"),
        (changed(5, -math.inf), "is no number"),
        (changed(5, "1e400"), "is no number below 1e+18"),
        (changed(1, "9" * 5000), "is no number"),
        (changed(1, "0." + "1" * 5000), "is no number"),
        (changed(1, 10**100), "is no number"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_refused_and_why(row: object, words: str) -> None:
    with pytest.raises(CandleUnreadable) as refused:
        read_candle(row)
    assert words in str(refused.value)
    assert len(str(refused.value)) < 250
    assert "\0" not in str(refused.value)


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.decimals().map(str)
    | st.sampled_from(["1e400", "-1e-400", "9" * 5000, "NaN", "sNaN123", "0x1", "1_000", "１２"]),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(
    ANYTHING
    | st.lists(ANYTHING, min_size=6, max_size=12)
    | st.tuples(st.integers(0, 12), ANYTHING).map(lambda x: changed(*x))
)
def test_nothing_gets_through_that_could_harm_later(row: object) -> None:
    try:
        read = read_candle(row)
    except CandleUnreadable:
        return
    if is_sound(read):
        numbers = (read.open, read.high, read.low, read.close, read.volume)
        assert all(number < MOST for number in numbers)
        assert all(math.isfinite(float(number)) for number in numbers)
        # a strategy divides by prices
        assert all(float(number) > 0 for number in numbers[:4])
        assert read.open_at.year <= 2100


@pytest.mark.parametrize(
    "broken",
    [
        Candle(4 * M, D("NaN"), D(1), D(1), D(1), D(1)),
        Candle(4 * M, D("sNaN"), D(1), D(1), D(1), D(1)),
        Candle(4 * M, D(1), D("Infinity"), D(1), D(1), D(1)),
        Candle(4 * M, D(1), D("1e400"), D(1), D(1), D(1)),
        Candle(4 * M, D("1e-400"), D(1), D("1e-400"), D(1), D(1)),
        Candle(4 * M, D(1), D(1), D(1), D(1), D(-1)),
        Candle(4 * M, D(1), D(1), D(1), D(1), D("1e30")),
        Candle(10**30, D(1), D(1), D(1), D(1), D(1)),
        Candle(-M, D(1), D(1), D(1), D(1), D(1)),
    ],
    ids=str,
)
def test_an_unsound_candle_of_any_broker_is_dropped(broken: Candle) -> None:
    broker = ScriptedBroker([candle(2), candle(3), candle(5)], now_ms=6 * M)
    served = broker.candles

    def with_broken(symbol: str, interval: str, *, since_ms: int, limit: int) -> list[Candle]:
        return [broken, *served(symbol, interval, since_ms=since_ms, limit=limit)]

    broker.candles = with_broken  # type: ignore[method-assign]
    source = ExchangeCandles(broker, symbol="X", interval="1m", interval_ms=M, clock=FakeClock())
    assert opens(source.poll(1 * M)) == [2, 3]
    assert opens(source.poll(3 * M)) == [5]
