"""The real, unmodified ccxt `binance` class against a server of the sandbox exchange in its own process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import ccxt
import psutil
import pytest

from tests.integration.sandbox_server import Server, running

FIVE_MINUTES = 300_000
DAY = 86_400_000
FIRST_OPEN = 1_599_955_200_000  # 2020-09-13T00:00:00Z
BARS = 4 * 288


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ETH_BTC at 5m; a rising price that tells the bar's number."""
    path: Path = tmp_path_factory.mktemp("candles")
    rows = ["timestamp,open,high,low,close,volume"]
    for number in range(BARS):
        price = f"0.1{number:05d}"
        rows.append(f"{FIRST_OPEN + number * FIVE_MINUTES},{price},{price}9,0.1,{price}5,{number}.25")
    (path / "ETH_BTC-5m.csv").write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with running("--candles", str(folder), "--candles", "synthetic:7", "--history", "500") as started:
        yield started


@pytest.fixture(autouse=True)
def _no_faults(server: Server) -> Iterator[None]:
    yield
    server.call("/_sandbox/faults", method="DELETE")


@pytest.fixture
def exchange(server: Server) -> Any:
    """Options and URLs as the bots set them; nothing of ccxt is replaced."""
    client = ccxt.binance(
        {
            "enableRateLimit": False,
            "timeout": 5000,
            "options": {
                "fetchMargins": False,
                "fetchCurrencies": False,
                "fetchMarkets": {"types": ["spot"]},
                "maxRetriesOnFailure": 0,
            },
        }
    )
    client.urls["api"] = _redirected(client.urls["api"], server.url)
    yield client
    client.close()


def _redirected(url: Any, base: str) -> Any:
    """Every URL of ccxt's table with its scheme and host replaced."""
    if isinstance(url, dict):
        return {name: _redirected(value, base) for name, value in url.items()}
    scheme, _, rest = cast("str", url).partition("://")
    _, _, path = rest.partition("/")
    return f"{base if scheme.startswith('http') else base.replace('http', 'ws')}/{path}"


def test_markets_carry_steps_and_limits(exchange: Any) -> None:
    markets = exchange.load_markets()

    assert set(markets) == {"ETH/BTC", "BTC/USDT", "ETH/USDT", "SOL/USDT"}
    assert all(market["spot"] and market["active"] for market in markets.values())
    market = markets["BTC/USDT"]
    assert (market["precision"]["price"], market["precision"]["amount"]) == (0.01, 0.00001)
    assert market["limits"]["cost"]["min"] == 5
    assert exchange.amount_to_precision("BTC/USDT", 0.123456789) == "0.12345"


def test_time_is_the_candles_time(exchange: Any, server: Server) -> None:
    expected = FIRST_OPEN + 500 * FIVE_MINUTES

    assert server.started["time_ms"] == expected
    assert exchange.fetch_time() == expected


def test_candles_are_the_files_candles(exchange: Any) -> None:
    rows = exchange.fetch_ohlcv("ETH/BTC", "5m", limit=3)

    assert [row[0] for row in rows] == [FIRST_OPEN + number * FIVE_MINUTES for number in (498, 499, 500)]
    assert rows[1][1:] == [0.100499, 0.1004999, 0.1, 0.1004995, 499.25]
    assert rows[2][1:] == [0.1005, 0.1005, 0.1005, 0.1005, 0.0]  # has just opened


def test_a_bot_pages_through_the_whole_history(exchange: Any) -> None:
    since, seen = FIRST_OPEN, []
    while page := exchange.fetch_ohlcv("ETH/BTC", "5m", since=since, limit=200):
        seen += [row[0] for row in page]
        since = page[-1][0] + 1

    assert seen == [FIRST_OPEN + number * FIVE_MINUTES for number in range(501)]


def test_coarser_candles_and_the_range_arguments(exchange: Any) -> None:
    rows = exchange.fetch_ohlcv("ETH/BTC", "1h", since=FIRST_OPEN, limit=2, params={"until": FIRST_OPEN + DAY})

    assert [row[0] for row in rows] == [FIRST_OPEN, FIRST_OPEN + 3_600_000]
    assert rows[0][5] == sum(number + 0.25 for number in range(12))
    with pytest.raises(ccxt.BadRequest, match="-1120"):
        exchange.fetch_ohlcv("ETH/BTC", "1m")


def test_tickers_and_order_book_agree(exchange: Any) -> None:
    ticker = exchange.fetch_ticker("ETH/BTC")
    book = exchange.fetch_order_book("ETH/BTC", limit=10)

    assert ticker["bid"] == book["bids"][0][0] < ticker["last"] < ticker["ask"] == book["asks"][0][0]
    assert ticker["last"] == 0.1005
    assert len(book["bids"]) == len(book["asks"]) == 10
    assert set(exchange.fetch_tickers()) == {"ETH/BTC", "BTC/USDT", "ETH/USDT", "SOL/USDT"}
    assert exchange.fetch_bids_asks(["ETH/BTC"])["ETH/BTC"]["bid"] == ticker["bid"]


def test_synthetic_symbols_have_deep_history(exchange: Any) -> None:
    rows = exchange.fetch_ohlcv("SOL/USDT", "1h", limit=500)

    assert len(rows) == 500
    assert {later[0] - earlier[0] for earlier, later in pairwise(rows)} == {3_600_000}


def test_an_unknown_symbol_is_ccxts_bad_symbol(exchange: Any) -> None:
    with pytest.raises(ccxt.BadSymbol, match="Invalid symbol"):
        exchange.public_get_klines({"symbol": "NOPE", "interval": "5m"})


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"kind": "error", "status": 503}, ccxt.ExchangeNotAvailable),
        ({"kind": "rate_limit", "status": 429}, ccxt.DDoSProtection),
        ({"kind": "rate_limit", "status": 418}, ccxt.DDoSProtection),
        ({"kind": "drop"}, ccxt.NetworkError),
    ],
)
def test_faults_reach_a_bot_as_ccxts_errors(
    exchange: Any, server: Server, fault: dict[str, Any], error: type[Exception]
) -> None:
    exchange.load_markets()
    server.call("/_sandbox/faults", method="POST", body={**fault, "route": "klines", "count": 1})

    with pytest.raises(error):
        exchange.fetch_ohlcv("ETH/BTC", "5m", limit=2)
    assert len(exchange.fetch_ohlcv("ETH/BTC", "5m", limit=2)) == 2


def test_two_servers_give_equal_bytes(folder: Path) -> None:
    arguments = ("--candles", str(folder), "--candles", "synthetic:42")
    paths = [
        f"/api/v3/klines?symbol={symbol}&interval={interval}&limit=100"
        for symbol in ("ETHBTC", "BTCUSDT")
        for interval in ("5m", "1h", "1d")
    ]
    with running(*arguments) as one, running(*arguments) as other:
        for step_ms in (0, 77_777, FIVE_MINUTES, DAY):
            for started in (one, other):
                started.call("/_sandbox/clock", method="POST", body={"action": "step", "ms": step_ms})
            assert [one.text(path) for path in paths] == [other.text(path) for path in reversed(paths)][::-1]


def test_it_is_small_and_ends_on_sigterm(folder: Path) -> None:
    with running("--candles", str(folder), "--candles", "synthetic:7") as started:
        for interval in ("1m", "5m", "15m", "1h"):
            for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT"):
                started.text(f"/api/v3/klines?symbol={symbol}&interval={interval}&limit=1000")
        assert psutil.Process(started.process.pid).memory_info().rss < 80_000_000
        started.process.send_signal(signal.SIGTERM)
        assert started.process.wait(timeout=10) == 0


def test_a_taken_port_is_named(server: Server) -> None:
    port = server.url.rpartition(":")[2]
    command = [sys.executable, "-m", "sandbox_exchange", "--candles", "synthetic:1", "--port", port]

    ended = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)

    assert ended.returncode == 1
    assert json.loads(ended.stderr)["event"] == "sandbox_cannot_listen"


def test_real_candles_with_gaps_are_served_gap_by_gap(candle_folder: Path) -> None:
    if not (candle_folder / "XRP_ETH-1m.csv").exists():
        pytest.skip(f"XRP_ETH-1m.csv is not in {candle_folder}")
    lines = (candle_folder / "XRP_ETH-1m.csv").read_text().splitlines()[1:]
    rows = [line.split(",") for line in lines]
    with running("--candles", str(candle_folder), "--at-end", "stop") as started:
        status = started.call("/_sandbox/status")
        (shift_ms,) = (entry["shift_ms"] for entry in status["symbols"] if entry["symbol"] == "XRPETH")
        start = int(rows[0][0]) + shift_ms
        served = started.call(f"/api/v3/klines?symbol=XRPETH&interval=1m&startTime={start}&limit=1000")

    assert served[-1][0] - served[0][0] > (len(served) - 1) * 60_000  # there are gaps
    assert [[row[0] - shift_ms, *row[1:6]] for row in served] == [
        [int(row[0]), *row[1:]] for row in rows[: len(served)]
    ]
