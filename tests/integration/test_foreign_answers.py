"""Answers of a server that isn't quite Binance: the broker's door for foreign documents, words and sizes."""

from __future__ import annotations

import gzip
import json
import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from botrunner.exchange.binance import BinanceBroker, pause_s
from botrunner.exchange.errors import ExchangeAway, ExchangeRefused

ROW = [1_600_000_000_000, "1.5", "2.0", "1.0", "1.7", "10"]
DAY_S = 86_400.0


@contextmanager
def answering(body: bytes, *, status: int = 200, **headers: str) -> Iterator[BinanceBroker]:
    """A broker whose server gives this answer to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", headers.get("Content_Length", str(len(body))))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield BinanceBroker(base_url=f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


QUESTIONS: list[Callable[[BinanceBroker], object]] = [
    lambda broker: broker.market("BTCUSDT"),
    lambda broker: broker.server_time_ms(),
    lambda broker: broker.candles("BTCUSDT", "1m", since_ms=0, limit=5),
]

BODIES = {
    "nothing": b"",
    "html": b"<html>" + b"<p>" * 1000,
    "nul": b'{"code": -1, "msg": "\\u0000\\ud800 \\u001b[31mred"}',
    "nul bytes": b"\0" * 100,
    "no utf-8": b"\xff\xfe" * 100,
    "5,000 digits": b'{"serverTime": ' + b"9" * 5000 + b"}",
    "1e400": b'{"serverTime": 1e400, "symbols": [{"symbol": "BTCUSDT", "filters": 1e400}]}',
    "a time of the year 30,000,000": b'{"serverTime": 999999999999999999}',
    "a time as a text": b'{"serverTime": "soon"}',
    "NaN": b"[[NaN, NaN, NaN, NaN, NaN, NaN]]",
    "100,000 brackets": b"[" * 100_000,
    "closed brackets": b"[" * 50_000 + b"]" * 50_000,
    "null": b"null",
    "a number": b"17",
    "lists of the wrong shape": b'[[], null, {"0": 1}, "x", [1, 2]]',
    "symbols of the wrong shape": b'{"symbols": [null, 7, {"symbol": ["BTCUSDT"]}], "serverTime": {}}',
    "filters of nothing": json.dumps(
        {"serverTime": None, "symbols": [{"symbol": "BTCUSDT", "status": "TRADING", "filters": [{"filterType": 7}]}]}
    ).encode(),
}


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize("name", BODIES)
def test_no_answer_is_the_end_of_a_bot(name: str, status: int) -> None:
    with answering(BODIES[name], status=status) as broker:
        for question in QUESTIONS:
            with pytest.raises((ExchangeAway, ExchangeRefused)) as told:
                question(broker)
            words = str(told.value)
            assert len(words) < 500
            assert not any(ord(character) < 32 or 0xD800 <= ord(character) <= 0xDFFF for character in words)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
def test_an_answer_of_any_size_costs_little_memory(packed: bool) -> None:
    body = b'{"serverTime": "' + b"x" * 300_000_000 + b'"}' if packed else b"[" + b"1," * 20_000_000
    headers = {"Content_Encoding": "gzip"} if packed else {}
    with answering(gzip.compress(body, 1) if packed else body, **headers) as broker:
        del body
        before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(ExchangeAway, match="longer than 1048576 bytes"):
            broker.server_time_ms()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 50_000


def test_an_answer_that_breaks_off_means_try_again() -> None:
    cut = answering(b'{"serverTime"', Content_Length="1000", Connection="close")
    with cut as broker, pytest.raises(ExchangeAway):
        broker.server_time_ms()


def test_an_unreadable_candle_costs_itself_alone() -> None:
    rows = [ROW, [*ROW[:4], "1e400", "10"], [ROW[0] + 60_000, *ROW[1:]], None]
    with answering(json.dumps(rows).encode()) as broker:
        found = broker.candles("BTCUSDT", "1m", since_ms=0, limit=5)
    assert [one.open_ms for one in found] == [ROW[0], ROW[0] + 60_000]


def test_secrets_in_an_answer_are_not_repeated() -> None:
    page = answering(b"<html>/order?signature=deadbeef&apiKey=k0</html>", status=503)
    with page as broker, pytest.raises(ExchangeAway) as told:
        broker.server_time_ms()
    assert "deadbeef" not in str(told.value)
    assert "k0" not in str(told.value)


def test_the_use_of_the_address_is_read_from_the_answer() -> None:
    with answering(b'{"serverTime": 1600000000000}', X_MBX_USED_WEIGHT_1M="4800") as broker:
        broker.server_time_ms()
        usage = broker.usage()
    assert usage is not None
    assert usage.share == 0.8
    assert 0 < usage.turns_s <= 60
    for nonsense in ("", "many", "-1", "9" * 50, "٤"):
        with answering(
            b'{"serverTime": 1600000000000}', X_MBX_USED_WEIGHT_1M=nonsense.encode().decode("latin-1")
        ) as broker:
            broker.server_time_ms()
            assert broker.usage() is None


@pytest.mark.parametrize(
    ("headers", "text", "seconds"),
    [
        ({"retry-after": "7"}, "", 7),
        ({"retry-after": "0"}, "", 60),
        ({"retry-after": "-5"}, "", 60),
        ({"retry-after": "1e9"}, "", 60),
        ({"retry-after": "9" * 400}, "", 60),
        ({"retry-after": "99999999"}, "", 3 * DAY_S),
        ({"retry-after": "soon"}, "", 60),
        ({"retry-after": "1600000000"}, "", 60),
        ({"retry-after": "Sun, 13 Sep 2020 12:26:47 GMT"}, "", 60),
        ({"retry-after": "Sun, 13 Sep 2020 12:26:47 GMT", "date": "Sun, 13 Sep 2020 12:26:40 GMT"}, "", 7),
        ({}, "", 60),
        ({"date": "Sun, 13 Sep 2020 12:26:40 GMT"}, "IP banned until 1600000120000. ", 120),
        ({"date": "Sun, 13 Sep 2020 12:26:40 GMT"}, "IP banned until 1500000000000. ", 1),
        ({"date": "Sun, 13 Sep 2020 12:26:40 GMT"}, "IP banned until 9999999999999. ", 3 * DAY_S),
        ({"date": "yesterday"}, "IP banned until 1600000120000. ", 60),
        ({"retry-after": "5", "date": "Sun, 13 Sep 2020 12:26:40 GMT"}, "banned until 1600000120000", 5),
    ],
    ids=str,
)
def test_how_long_an_exchange_wants_to_be_left_alone(headers: dict[str, str], text: str, seconds: float) -> None:
    assert pause_s(headers, text) == seconds
