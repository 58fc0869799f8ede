from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from sandbox_exchange.candles import DAY_MS, HOUR_MS
from sandbox_exchange.wire import dumps
from tests.unit.sandbox_exchange.conftest import Sandbox
from tests.unit.sandbox_exchange.worlds import FIVE_MINUTES, START

NOW = START + 300 * FIVE_MINUTES
KLINES = "/api/v3/klines"


def _opens(rows: list[list[Any]]) -> list[int]:
    """Bar numbers of 5m rows."""
    return [(row[0] - START) // FIVE_MINUTES for row in rows]


async def test_ping_and_time(sandbox: Sandbox) -> None:
    assert await sandbox.get("/api/v3/ping") == {}
    assert await sandbox.get("/api/v3/time") == {"serverTime": NOW}
    sandbox.real.sleep(1.5)
    assert await sandbox.get("/api/v3/time") == {"serverTime": NOW + 90_000}


async def test_klines_are_binances_rows(sandbox: Sandbox) -> None:
    closed, running = await sandbox.get(KLINES, symbol="ETHBTC", interval="5m", limit=2)

    # bar 299 as written: open and close 1.000299, high 1.0002999, low 1.00029, volume 299.5
    assert closed[:7] == [
        START + 299 * FIVE_MINUTES,
        "1.000299",
        "1.0002999",
        "1.00029",
        "1.000299",
        "299.5",
        NOW - 1,
    ]
    assert Decimal(closed[7]) == pytest.approx(Decimal("299.5") * Decimal("1.000297"), rel=Decimal("1e-5"))
    assert 2 * Decimal(closed[9]) == Decimal("299.5")
    assert closed[11] == "0"
    assert running[0] == NOW
    assert [Decimal(text) for text in running[1:6]] == [Decimal("1.0003")] * 4 + [0]


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ({}, range(301)),
        ({"limit": 3}, [298, 299, 300]),
        ({"start": 10, "limit": 3}, [10, 11, 12]),
        ({"start": 298}, [298, 299, 300]),
        ({"end": 12, "limit": 3}, [10, 11, 12]),
        ({"start": 10, "end": 12}, [10, 11, 12]),
        ({"start": 10, "end": 12, "limit": 2}, [10, 11]),
        ({"start": 12, "end": 10}, []),
        ({"start": 301}, []),
        ({"start": -5, "limit": 2}, [0, 1]),
        ({"end": 5000, "limit": 1}, [300]),
        ({"end": -1}, []),
    ],
)
async def test_klines_select_as_binance_does(sandbox: Sandbox, selection: dict[str, int], expected: Any) -> None:
    """`start` and `end` are given as bar numbers; bar 300 is the running one."""
    names = {"start": "startTime", "end": "endTime"}
    times = {names[key]: START + selection[key] * FIVE_MINUTES for key in names.keys() & selection.keys()}
    limit = {"limit": selection["limit"]} if "limit" in selection else {}

    rows = await sandbox.get(KLINES, symbol="ETHBTC", interval="5m", **times, **limit)

    assert _opens(rows) == list(expected)


async def test_klines_default_to_500_and_cap_at_1000(sandbox: Sandbox) -> None:
    assert len(await sandbox.get(KLINES, symbol="BTCUSDT", interval="1m")) == 500
    assert len(await sandbox.get(KLINES, symbol="BTCUSDT", interval="1m", limit=5000)) == 1000


async def test_a_start_between_two_opens_begins_at_the_next(sandbox: Sandbox) -> None:
    rows = await sandbox.get(KLINES, symbol="ETHBTC", interval="5m", startTime=START + 1, limit=1)
    assert _opens(rows) == [1]


async def test_coarser_intervals_are_aggregated_and_finer_ones_refused(sandbox: Sandbox) -> None:
    (hour,) = await sandbox.get(KLINES, symbol="ETHBTC", interval="1h", startTime=START, limit=1)

    assert hour[:2] == [START, "1.000000"]
    assert hour[4:7] == ["1.000011", "72.0", START + HOUR_MS - 1]  # 0.5 + 1.5 + ... + 11.5
    assert await sandbox.refused(KLINES, symbol="ETHBTC", interval="1m") == (-1120, "Invalid interval.")
    assert await sandbox.refused(KLINES, symbol="ETHBTC", interval="3m") == (-1120, "Invalid interval.")


@pytest.mark.parametrize(
    ("params", "code", "text"),
    [
        ({"interval": "5m"}, -1102, "Mandatory parameter 'symbol' was not sent"),
        ({"symbol": "ETHBTC"}, -1102, "Mandatory parameter 'interval' was not sent"),
        ({"symbol": "", "interval": "5m"}, -1105, "Parameter 'symbol' was empty."),
        ({"symbol": "NOPE", "interval": "5m"}, -1121, "Invalid symbol."),
        ({"symbol": "eth/btc", "interval": "5m"}, -1100, "Illegal characters found in parameter 'symbol'"),
        ({"symbol": "ETHBTC", "interval": "7m"}, -1120, "Invalid interval."),
        ({"symbol": "ETHBTC", "interval": "5m", "limit": "x"}, -1100, "'limit'; legal range is '^[0-9]{1,20}$'"),
        ({"symbol": "ETHBTC", "interval": "5m", "limit": "-1"}, -1100, "'limit'"),
        ({"symbol": "ETHBTC", "interval": "5m", "limit": "0"}, -1130, "'limit' is not valid"),
        ({"symbol": "ETHBTC", "interval": "5m", "startTime": "1.5"}, -1100, "'startTime'"),
        ({"symbol": "ETHBTC", "interval": "5m", "timeZone": "5:45"}, -1130, "'timeZone' is not valid"),
    ],
)
async def test_wrong_parameters_have_binances_codes(
    sandbox: Sandbox, params: dict[str, str], code: int, text: str
) -> None:
    refused_code, message = await sandbox.refused(KLINES, **params)
    assert refused_code == code
    assert text in message


async def test_a_parameter_sent_twice_is_refused_and_an_unknown_one_ignored(sandbox: Sandbox) -> None:
    code, message = await sandbox.refused(KLINES + "?symbol=ETHBTC&symbol=ETHBTC&interval=5m")
    assert (code, message) == (-1101, "Duplicate values for parameter 'symbol'.")
    assert await sandbox.get(KLINES, symbol="ETHBTC", interval="5m", limit=1, timeZone="0", extra="1")


async def test_exchange_info_lists_symbols_with_filters(sandbox: Sandbox) -> None:
    info = await sandbox.get("/api/v3/exchangeInfo")

    assert [entry["symbol"] for entry in info["symbols"]] == ["ETHBTC", "BTCUSDT", "ETHUSDT", "SOLUSDT"]
    assert info["rateLimits"][0]["limit"] == 1000
    assert {entry["filterType"] for entry in info["symbols"][0]["filters"]} == {
        "PRICE_FILTER",
        "LOT_SIZE",
        "MARKET_LOT_SIZE",
        "NOTIONAL",
    }
    one = await sandbox.get("/api/v3/exchangeInfo", symbol="ETHBTC")
    two = await sandbox.get("/api/v3/exchangeInfo", symbols='["BTCUSDT","ETHBTC"]')
    assert [entry["symbol"] for entry in one["symbols"]] == ["ETHBTC"]
    assert [entry["symbol"] for entry in two["symbols"]] == ["BTCUSDT", "ETHBTC"]


@pytest.mark.parametrize("path", ["exchangeInfo", "ticker/24hr", "ticker/price", "ticker/bookTicker"])
async def test_symbol_selection_is_checked_alike_everywhere(sandbox: Sandbox, path: str) -> None:
    url = f"/api/v3/{path}"

    assert (await sandbox.refused(url, symbol="NOPE"))[0] == -1121
    assert (await sandbox.refused(url, symbols='["NOPE"]'))[0] == -1121
    assert (await sandbox.refused(url, symbols="ETHBTC"))[0] == -1100
    assert (await sandbox.refused(url, symbol="ETHBTC", symbols='["ETHBTC"]'))[0] == -1128


@pytest.mark.parametrize("path", ["ticker/24hr", "ticker/price", "ticker/bookTicker"])
async def test_tickers_come_as_object_for_one_symbol_and_as_list_otherwise(sandbox: Sandbox, path: str) -> None:
    one = await sandbox.get(f"/api/v3/{path}", symbol="ETHBTC")

    assert one["symbol"] == "ETHBTC"
    assert await sandbox.get(f"/api/v3/{path}", symbols='["ETHBTC"]') == [one]
    assert len(await sandbox.get(f"/api/v3/{path}")) == 4


async def test_the_day_ticker_covers_24_hours(sandbox: Sandbox) -> None:
    ticker = await sandbox.get("/api/v3/ticker/24hr", symbol="ETHBTC")

    # now is bar 300's open: the day holds bars 13 to 299 and the fresh bar 300
    assert (ticker["openPrice"], ticker["lastPrice"]) == ("1.00001300", "1.00030000")
    assert Decimal(ticker["volume"]) == sum(number + Decimal("0.5") for number in range(13, 300))
    assert (ticker["openTime"], ticker["closeTime"]) == (NOW - DAY_MS, NOW)
    assert Decimal(ticker["bidPrice"]) < Decimal(ticker["lastPrice"]) < Decimal(ticker["askPrice"])
    mini = await sandbox.get("/api/v3/ticker/24hr", symbol="ETHBTC", type="MINI")
    assert mini.keys() < ticker.keys()
    assert (await sandbox.refused("/api/v3/ticker/24hr", symbol="ETHBTC", type="TINY"))[0] == -1130


async def test_depth_surrounds_the_last_price(sandbox: Sandbox) -> None:
    book = await sandbox.get("/api/v3/depth", symbol="ETHBTC", limit=5)
    last = Decimal((await sandbox.get("/api/v3/ticker/price", symbol="ETHBTC"))["price"])
    best = await sandbox.get("/api/v3/ticker/bookTicker", symbol="ETHBTC")

    assert (len(book["bids"]), len(book["asks"])) == (5, 5)
    assert Decimal(book["bids"][0][0]) < last < Decimal(book["asks"][0][0])
    assert [best["bidPrice"], best["bidQty"]] == book["bids"][0]
    assert (await sandbox.refused("/api/v3/depth", symbol="ETHBTC", limit="many"))[0] == -1100


async def test_the_average_price_lies_within_the_last_candles(sandbox: Sandbox) -> None:
    sandbox.clock.step(2 * 60_000)
    average = await sandbox.get("/api/v3/avgPrice", symbol="ETHBTC")

    assert average["mins"] == 5
    assert Decimal("1.00029") <= Decimal(average["price"]) <= Decimal("1.0003009")


async def test_equal_times_give_equal_bytes(sandbox: Sandbox) -> None:
    """Two readings at one simulated time, with much else asked in between."""
    sandbox.clock.pause()
    sandbox.clock.step(123_456)
    params: dict[str, str | int] = {"symbol": "SOLUSDT", "interval": "4h", "limit": 20}
    first = await sandbox.get(KLINES, **params)
    for interval in ("1m", "1h", "1d"):
        await sandbox.get(KLINES, symbol="SOLUSDT", interval=interval)

    assert dumps(await sandbox.get(KLINES, **params)) == dumps(first)
