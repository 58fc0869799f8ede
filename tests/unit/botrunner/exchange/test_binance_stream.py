"""Which frames close a candle; the network may send anything."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botrunner.exchange.binance_stream import closed_candle_ms, stream_url


def frame(**changes: object) -> str:
    kline = {"t": 60_000, "T": 119_999, "s": "BTCUSDT", "i": "1m", "x": True, **changes}
    return json.dumps({"e": "kline", "E": 1, "s": "BTCUSDT", "k": kline})


def closed(text: str | bytes) -> int | None:
    return closed_candle_ms(text, symbol="BTCUSDT", interval="1m")


def test_only_the_markets_own_closing_event_counts() -> None:
    assert closed(frame()) == 60_000
    assert closed(frame().encode()) == 60_000
    for other in ({"x": False}, {"x": 1.5}, {"s": "ETHUSDT"}, {"i": "5m"}, {"t": "60000"}, {"t": True}, {"t": -1}):
        assert closed(frame(**other)) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"result":null,"id":1}', '{"e":"kline","k":[]}', "[" * 10**5])
def test_anything_else_is_nothing(text: str) -> None:
    assert closed(text) is None


@given(
    st.binary()
    | st.text()
    | st.recursive(st.none() | st.text() | st.floats(), lambda x: st.dictionaries(st.sampled_from("ektsix"), x)).map(
        json.dumps
    )
)
def test_no_frame_raises(text: str | bytes) -> None:
    assert closed(text) is None


@pytest.mark.parametrize(
    ("base", "url"),
    [
        (None, "wss://stream.binance.com:9443/ws/btcusdt@kline_1m"),
        ("http://sandbox:8080", "ws://sandbox:8080/ws/btcusdt@kline_1m"),
        ("https://sandbox/", "wss://sandbox/ws/btcusdt@kline_1m"),
    ],
)
def test_where_the_stream_is(base: str | None, url: str) -> None:
    assert stream_url(base, "BTCUSDT", "1m") == url
