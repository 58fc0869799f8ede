from __future__ import annotations

import asyncio
import json
import time

import aiohttp
import pytest

from tests.unit.sandbox_exchange.conftest import Sandbox
from tests.unit.sandbox_exchange.worlds import FIVE_MINUTES, START

FAULTS = "/_sandbox/faults"
NOW = START + 300 * FIVE_MINUTES
NEWEST: dict[str, str | int] = {"symbol": "ETHBTC", "interval": "5m", "limit": 3}


async def _bars(sandbox: Sandbox) -> list[int]:
    rows = await sandbox.get("/api/v3/klines", **NEWEST)
    return [(row[0] - START) // FIVE_MINUTES for row in rows]


@pytest.mark.parametrize(
    ("path", "weight"),
    [
        ("ping", 1),
        ("exchangeInfo", 20),
        ("klines?symbol=ETHBTC&interval=5m", 2),
        ("depth?symbol=ETHBTC", 5),
        ("depth?symbol=ETHBTC&limit=500", 25),
        ("depth?symbol=ETHBTC&limit=9999", 250),
        ("ticker/24hr?symbol=ETHBTC", 2),
        ('ticker/24hr?symbols=["ETHBTC"]', 2),
        ("ticker/24hr", 80),
        ("ticker/price", 4),
        ("depth?symbol=ETHBTC&limit=x", 1),  # refused anyway
    ],
)
async def test_each_request_weighs_as_at_binance(sandbox: Sandbox, path: str, weight: int) -> None:
    async with sandbox.client.get(f"/api/v3/{path}") as answer:
        assert answer.headers["X-MBX-USED-WEIGHT-1M"] == str(weight)
        assert answer.headers["X-MBX-USED-WEIGHT"] == str(weight)


async def test_too_many_requests_are_refused_with_retry_after(sandbox: Sandbox) -> None:
    for _ in range(50):
        await sandbox.get("/api/v3/exchangeInfo")
    await sandbox.post("/_sandbox/clock", {"action": "speed", "speed": 2})
    sandbox.real.sleep(10)

    # 40 s of the exchange's minute are left, 20 s of a client's
    async with sandbox.client.get("/api/v3/ping") as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (429, "20")
        body = await answer.json()
    assert body["code"] == -1003
    assert "current limit is 1000 request weight per 1 MINUTE" in body["msg"]
    for _ in range(10):
        async with sandbox.client.get("/api/v3/ping") as answer:
            status, body = answer.status, await answer.json()
        retry_after_s, now_ms = int(answer.headers["Retry-After"]), sandbox.clock.now_ms()
    assert status == 418
    # what the text says, on the exchange's clock, is what the header says, on the client's
    assert body["msg"].startswith(f"Way too much request weight used; IP banned until {now_ms + 120_000}.")
    assert retry_after_s == 60
    told = await sandbox.get("/_sandbox/status")
    assert (told["requests"], told["requests_by_route"]) == (61, {"exchangeInfo": 50, "ping": 11})
    assert told["requests_by_verdict"] == {"200": 50, "429": 10, "418": 1}
    assert told["weight"] == {"limit": 1000, "minutes": {"127.0.0.1": [1000]}}
    asked = await sandbox.get("/_sandbox/requests")
    assert [(one["route"], one["weight"], one["verdict"]) for one in asked[49:52]] == [
        ("exchangeInfo", 20, 200),
        ("ping", 1, 429),
        ("ping", 1, 429),
    ]


async def test_a_minute_of_the_limits_is_one_of_the_simulation(sandbox: Sandbox) -> None:
    """At 60 times the speed a fleet asks 60 times as often; who is within the limits at speed 1 is so here."""
    for _ in range(10):
        for _ in range(50):
            await sandbox.get("/api/v3/exchangeInfo")
        sandbox.real.sleep(1)
    async with sandbox.client.get("/api/v3/ping") as answer:
        assert (answer.status, answer.headers["X-MBX-USED-WEIGHT-1M"]) == (200, "1")
    await sandbox.post("/_sandbox/clock", {"action": "pause"})
    for _ in range(50):
        async with sandbox.client.get("/api/v3/exchangeInfo") as answer:
            status = answer.status
    assert status == 429
    # a paused clock doesn't hold the minute: real time passes
    sandbox.real.sleep(60)
    assert await sandbox.get("/api/v3/ping") == {}


async def test_a_delayed_answer_waits_in_real_time(sandbox: Sandbox) -> None:
    await sandbox.fault(kind="delay", ms=60, route="ping", count=1)
    started = time.monotonic()
    await sandbox.get("/api/v3/ping")
    assert time.monotonic() - started >= 0.06


async def test_an_error_answer_has_its_status_and_no_json(sandbox: Sandbox) -> None:
    await sandbox.fault(kind="error", count=1)
    async with sandbox.client.get("/api/v3/ping") as answer:
        assert answer.status == 503
        assert "503 Service Unavailable" in await answer.text()
    assert await sandbox.get("/api/v3/ping") == {}


async def test_a_dropped_connection_gives_no_answer(sandbox: Sandbox) -> None:
    # aiohttp's client asks twice on its own when a kept-alive connection is cut, hence two drops
    await sandbox.fault(kind="drop", count=2)
    with pytest.raises(aiohttp.ClientConnectionError):
        await sandbox.get("/api/v3/ping")
    await sandbox.client.delete(FAULTS)
    assert await sandbox.get("/api/v3/ping") == {}


@pytest.mark.parametrize(("kind", "start"), [("html", "<html>"), ("empty", "")])
async def test_a_hollow_answer_says_200(sandbox: Sandbox, kind: str, start: str) -> None:
    await sandbox.fault(kind=kind)
    async with sandbox.client.get("/api/v3/time") as answer:
        text = await answer.text()
        assert answer.status == 200
    assert text.startswith(start)
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)


@pytest.mark.parametrize("status", [429, 418])
async def test_an_injected_rate_limit_looks_like_a_real_one(sandbox: Sandbox, status: int) -> None:
    await sandbox.fault(kind="rate_limit", status=status, retry_after_s=7, count=1)
    async with sandbox.client.get("/api/v3/ping") as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (status, "7")
        assert (await answer.json())["code"] == -1003


async def test_a_late_candle_is_missing_until_its_time(sandbox: Sandbox) -> None:
    await sandbox.fault(kind="late_candle", ms=2000)
    sandbox.clock.pause()

    assert await _bars(sandbox) == [297, 298, 300]
    sandbox.clock.step(1999)
    assert await _bars(sandbox) == [297, 298, 300]
    sandbox.clock.step(1)
    assert await _bars(sandbox) == [298, 299, 300]


async def test_a_late_candle_is_missing_from_a_range_too(sandbox: Sandbox) -> None:
    await sandbox.fault(kind="late_candle", ms=2000)

    rows = await sandbox.get("/api/v3/klines", symbol="ETHBTC", interval="5m", startTime=START + 298 * FIVE_MINUTES)

    assert [(row[0] - START) // FIVE_MINUTES for row in rows] == [298, 300]


async def test_a_duplicate_candle_is_the_newest_closed_one(sandbox: Sandbox) -> None:
    await sandbox.fault(kind="duplicate_candle", count=1)

    assert await _bars(sandbox) == [298, 299, 299, 300]
    assert await _bars(sandbox) == [298, 299, 300]


async def test_a_skewed_clock_shows_in_time_alone(sandbox: Sandbox) -> None:
    await sandbox.fault(kind="clock_skew", ms=-1500)

    assert await sandbox.get("/api/v3/time") == {"serverTime": NOW - 1500}
    assert (await sandbox.get("/api/v3/exchangeInfo"))["serverTime"] == NOW


async def test_a_delay_holds_up_nobody_else(sandbox: Sandbox) -> None:
    await sandbox.fault(kind="delay", ms=150, route="time")
    slow = asyncio.create_task(sandbox.get("/api/v3/time"))
    await asyncio.sleep(0.01)
    await sandbox.get("/api/v3/ping")
    assert not slow.done()
    await slow
