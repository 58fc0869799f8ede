from __future__ import annotations

from typing import Any

import pytest

from tests.unit.sandbox_exchange.conftest import Sandbox
from tests.unit.sandbox_exchange.worlds import FIVE_MINUTES, START

CLOCK = "/_sandbox/clock"
FAULTS = "/_sandbox/faults"
NOW = START + 300 * FIVE_MINUTES


async def test_health(sandbox: Sandbox) -> None:
    assert await sandbox.get("/healthz") == {"status": "ok"}


async def test_status_says_where_candles_come_from(sandbox: Sandbox) -> None:
    status = await sandbox.get("/_sandbox/status")
    symbols = {entry["symbol"]: entry for entry in status["symbols"]}

    assert symbols["ETHBTC"] == {
        "symbol": "ETHBTC",
        "origin": "csv",
        "interval": "5m",
        "first_candle": "2020-09-13T00:00:00.000+00:00",
        "last_candle_ends": "2020-09-15T00:00:00.000+00:00",
        "shift_ms": 0,
        "shift_days": 0,
        "repeats_every_ms": None,
    }
    assert symbols["BTCUSDT"]["origin"] == "synthetic"
    assert status["clock"]["time_ms"] == NOW


async def test_the_clock_is_shown_and_moved(sandbox: Sandbox) -> None:
    assert await sandbox.get(CLOCK) == {
        "time_ms": NOW,
        "time": "2020-09-14T01:00:00.000+00:00",
        "speed": 60.0,
        "paused": False,
        "at_end": False,
        "end": "2020-09-15T00:00:00.000+00:00",
    }
    assert (await sandbox.post(CLOCK, {"action": "pause"}))["paused"] is True
    assert (await sandbox.post(CLOCK, {"action": "step", "ms": 250}))["time_ms"] == NOW + 250
    step = {"action": "step", "bars": 2, "interval": "5m"}
    assert (await sandbox.post(CLOCK, step))["time_ms"] == NOW + 250 + 2 * FIVE_MINUTES
    assert (await sandbox.post(CLOCK, {"action": "resume"}))["paused"] is False
    assert (await sandbox.post(CLOCK, {"action": "speed", "speed": 0.5}))["speed"] == 0.5
    noon = {"action": "set", "time": "2020-09-14T12:00:00Z"}
    assert (await sandbox.post(CLOCK, noon))["time"] == "2020-09-14T12:00:00.000+00:00"
    ended = await sandbox.post(CLOCK, {"action": "set", "time": NOW + 10 * 86_400_000})
    assert ended["at_end"] is True
    assert ended["time"] == ended["end"]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({}, "action None is not one of pause, resume"),
        ({"action": "rewind"}, "action 'rewind'"),
        ({"action": "pause", "ms": 5}, "'ms' is not a field of pause"),
        ({"action": "step"}, "step needs ms, or bars and an interval"),
        ({"action": "step", "ms": "5"}, "ms '5' is not a finite number"),
        ({"action": "step", "ms": float("inf")}, "not a finite number"),
        ({"action": "step", "interval": "5m"}, "bars None"),
        ({"action": "step", "ms": -1}, "cannot step back"),
        ({"action": "speed", "speed": -1}, "speed -1"),
        ({"action": "set", "time": "noon"}, "neither Unix ms nor ISO 8601"),
        ({"action": "set", "time": "2020-09-14T12:00:00"}, "has no offset"),
        ({"action": "set", "time": 5}, "cannot step back"),
    ],
)
async def test_a_wrong_clock_request_changes_nothing(sandbox: Sandbox, fields: dict[str, Any], problem: str) -> None:
    before = await sandbox.get(CLOCK)
    answer = await sandbox.post(CLOCK, fields, expect=400)
    assert problem in answer["error"]
    assert await sandbox.get(CLOCK) == before


@pytest.mark.parametrize("path", [CLOCK, FAULTS])
@pytest.mark.parametrize(("body", "problem"), [("{", "not JSON"), ("[]", "must be a JSON object")])
async def test_a_body_that_is_no_object_is_refused(sandbox: Sandbox, path: str, body: str, problem: str) -> None:
    async with sandbox.client.post(path, data=body) as answer:
        assert answer.status == 400
        assert problem in (await answer.json())["error"]


async def test_faults_are_listed_with_hits_and_cleared(sandbox: Sandbox) -> None:
    created = await sandbox.fault(kind="clock_skew", ms=5, count=3)
    await sandbox.get("/api/v3/time")

    assert await sandbox.get(FAULTS) == [{**created, "hits": 1, "remaining": 2}]
    async with sandbox.client.delete(FAULTS) as answer:
        assert await answer.json() == {"cleared": 1}
    assert await sandbox.get(FAULTS) == []


async def test_a_wrong_fault_is_refused(sandbox: Sandbox) -> None:
    answer = await sandbox.post(FAULTS, {"kind": "drop", "route": "order"}, expect=400)
    assert "route 'order' is neither" in answer["error"]
