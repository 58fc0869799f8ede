"""Frames on a stream's connection, and which events a moment of the clock owes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sandbox_exchange.market import AtEnd, Market, open_market
from sandbox_exchange.series import CandleCache, Series
from sandbox_exchange.streams import (
    MAX_STREAMS,
    KlineStream,
    Subscriptions,
    closed_between,
    kline_event,
    kline_stream,
    running_at,
)
from tests.unit.sandbox_exchange.worlds import FIVE_MINUTES, START, ListSource, candle

NAME = "btcusdt@kline_1m"


def ask(subscriptions: Subscriptions, **fields: Any) -> Any:
    return subscriptions.answer(json.dumps(fields))


def test_subscribing_listing_and_leaving() -> None:
    made = Subscriptions(["a@kline_1m"], combined=False)
    assert ask(made, method="SUBSCRIBE", params=[NAME, "b@trade", NAME], id=1) == {"result": None, "id": 1}
    assert ask(made, method="LIST_SUBSCRIPTIONS", id="x-2") == {"result": ["a@kline_1m", NAME, "b@trade"], "id": "x-2"}
    assert ask(made, method="UNSUBSCRIBE", params=["a@kline_1m", "never@there"], id=None) == {
        "result": None,
        "id": None,
    }
    assert [*made] == [NAME, "b@trade"]


def test_the_combined_property_changes_the_wrapping() -> None:
    made = Subscriptions([], combined=False)
    assert made.wrap(NAME, {"e": "kline"}) == {"e": "kline"}
    assert ask(made, method="SET_PROPERTY", params=["combined", True], id=5) == {"result": None, "id": 5}
    assert ask(made, method="GET_PROPERTY", params=["combined"], id=6) == {"result": True, "id": 6}
    assert made.wrap(NAME, {"e": "kline"}) == {"stream": NAME, "data": {"e": "kline"}}


@pytest.mark.parametrize(
    ("frame", "code", "message", "request_id"),
    [
        ("{", 3, "Invalid JSON", None),
        ("", 3, "Invalid JSON", None),
        ("[1]", 2, "expected an object", None),
        ('{"method":"SUBSCRIBE","params":["x"],"id":-1}', 2, "request ID", None),
        ('{"method":"SUBSCRIBE","params":["x"],"id":1.5}', 2, "request ID", None),
        ('{"method":"SUBSCRIBE","params":["x"],"id":true}', 2, "request ID", None),
        ('{"method":"SUBSCRIBE","params":[],"id":1}', 2, "stream names", 1),
        ('{"method":"SUBSCRIBE","params":[7],"id":1}', 2, "stream names", 1),
        ('{"method":"SUBSCRIBE","params":"x","id":1}', 2, "params must be a list", 1),
        ('{"params":["x"],"id":1}', 2, "missing field `method`", 1),
        ('{"method":"subscribe","params":["x"],"id":1}', 2, "unknown variant `subscribe`", 1),
        ('{"method":["SUBSCRIBE"],"params":["x"],"id":1}', 2, "unknown variant", 1),
        ('{"method":"SUBSCRIBE","params":["x"],"id":1,"extra":2}', 2, "unknown field `extra`", 1),
        ('{"method":"SET_PROPERTY","params":["combined","yes"],"id":1}', 1, "expected Boolean", 1),
        ('{"method":"SET_PROPERTY","params":["combined"],"id":1}', 2, "missing property value", 1),
        ('{"method":"GET_PROPERTY","params":["other"],"id":1}', 0, "Unknown property", 1),
        ('{"method":"GET_PROPERTY","params":["combined",true],"id":1}', 2, "too many parameters", 1),
        ('{"method":"GET_PROPERTY","params":[1],"id":1}', 2, "must be a string", 1),
    ],
)
def test_malformed_frames_are_answered_and_change_nothing(
    frame: str, code: int, message: str, request_id: int | None
) -> None:
    made = Subscriptions([NAME], combined=False)
    reply: Any = made.answer(frame)
    assert (reply["error"]["code"], reply["id"]) == (code, request_id)
    assert message in reply["error"]["msg"]
    assert ([*made], made.combined) == ([NAME], False)


def test_a_connection_has_so_many_streams() -> None:
    made = Subscriptions([f"x{number}@trade" for number in range(MAX_STREAMS)], combined=False)
    assert "more than" in str(ask(made, method="SUBSCRIBE", params=["one@more"], id=1))
    assert len([*made]) == MAX_STREAMS


@pytest.fixture(scope="module")
def market() -> Market:
    return open_market(recorded=[], seed=7, history=24, at_end=AtEnd.STOP)


@pytest.mark.parametrize(
    "name", ["btcusdt@kline_1s", "BTCUSDT@kline_1m", "nope@kline_1m", "btcusdt@trade", "0", NAME + "x"]
)
def test_other_names_stay_silent(market: Market, name: str) -> None:
    assert kline_stream(name, market) is None


def stream(*opens: int) -> KlineStream:
    """5-minute candles of ETHBTC at these multiples of five minutes."""
    source = ListSource([candle(START + number * FIVE_MINUTES) for number in opens])
    series = Series(source=source, shift_ms=0, repeat=False, cache=CandleCache())
    made = open_market(recorded=[], seed=1, history=1, at_end=AtEnd.STOP).listings["ETHUSDT"]
    return KlineStream("ethusdt@kline_5m", listing=type(made)(made.pair, made.origin, series, made.tick), interval="5m")


def test_each_candle_is_closed_once_however_the_clock_goes() -> None:
    made = stream(*range(12))
    told: list[int] = []
    since = START
    for now in (START + 1, START + FIVE_MINUTES - 1, START + FIVE_MINUTES, START + 4 * FIVE_MINUTES + 7, START + 10**9):
        told += [(m.candle.open_time - START) // FIVE_MINUTES for m in closed_between(made, since_ms=since, now_ms=now)]
        since = now
    assert told == list(range(12))


def test_a_gap_is_silent_and_a_running_candle_open() -> None:
    made = stream(0, 3)
    assert running_at(made, now_ms=START + FIVE_MINUTES + 1) is None
    moment = running_at(made, now_ms=START + 3 * FIVE_MINUTES + 1)
    assert moment is not None
    event: Any = kline_event(made, moment, now_ms=START + 3 * FIVE_MINUTES + 1)
    assert (event["e"], event["k"]["x"], event["k"]["i"]) == ("kline", False, "5m")
    assert (event["k"]["t"], event["k"]["T"]) == (START + 3 * FIVE_MINUTES, START + 4 * FIVE_MINUTES - 1)
