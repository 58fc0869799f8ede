"""The stream server with a client of the `websockets` package; clocks are moved by hand."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from sandbox_exchange.ws import LIFE_S, MESSAGES_PER_S
from tests.unit.sandbox_exchange.conftest import Sandbox
from tests.unit.sandbox_exchange.worlds import FIVE_MINUTES

NAME = "ethbtc@kline_5m"


def url(sandbox: Sandbox, path: str) -> str:
    return str(sandbox.client.make_url(path)).replace("http://", "ws://")


async def event(socket: ClientConnection) -> Any:
    return json.loads(await asyncio.wait_for(socket.recv(), 10))


async def closing(socket: ClientConnection) -> Any:
    while True:
        told = await event(socket)
        if told.get("k", {}).get("x"):
            return told


async def subscribed(sandbox: Sandbox, socket: ClientConnection) -> None:
    """The first event of the running candle shows that the server follows the stream."""
    assert (await event(socket))["k"]["x"] is False
    sandbox.clock.pause()


async def test_a_running_candle_is_told_and_then_closed(sandbox: Sandbox) -> None:
    async with connect(url(sandbox, f"/ws/{NAME}")) as socket:
        await subscribed(sandbox, socket)
        before = sandbox.clock.now_ms()
        sandbox.clock.step(FIVE_MINUTES)
        told = await closing(socket)
    rows = await sandbox.get("/api/v3/klines", symbol="ETHBTC", interval="5m", startTime=told["k"]["t"], limit=1)
    assert before < told["k"]["T"] + 1 <= sandbox.clock.now_ms()
    assert [told["k"][key] for key in ("t", "o", "h", "l", "c", "v", "T", "q", "n")] == rows[0][:9]


async def test_combined_streams_and_subscribing_later(sandbox: Sandbox) -> None:
    async with connect(url(sandbox, f"/stream?streams={NAME}/btcusdt@kline_1m")) as socket:
        names = {(await event(socket))["stream"] for _ in range(2)}
        assert names == {NAME, "btcusdt@kline_1m"}
    async with connect(url(sandbox, "/ws")) as socket:
        await socket.send(json.dumps({"method": "SUBSCRIBE", "params": [NAME], "id": 1}))
        assert await event(socket) == {"result": None, "id": 1}
        assert (await event(socket))["s"] == "ETHBTC"
        await socket.send(b"\x00\x01")
        assert (await event(socket))["error"]["code"] == 3
        await socket.send(json.dumps({"method": "UNSUBSCRIBE", "params": [NAME], "id": 2}))
        assert await event(socket) == {"result": None, "id": 2}
        sandbox.clock.step(FIVE_MINUTES)
        await socket.send(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": 3}))
        assert await event(socket) == {"result": [], "id": 3}


async def test_too_many_frames_end_the_connection(sandbox: Sandbox) -> None:
    async with connect(url(sandbox, "/ws")) as socket:
        for number in range(MESSAGES_PER_S + 1):
            await socket.send(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": number}))
        for number in range(MESSAGES_PER_S):
            assert (await event(socket))["id"] == number
        with pytest.raises(ConnectionClosed) as closed:
            await event(socket)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


async def test_a_connection_lasts_a_day(sandbox: Sandbox) -> None:
    async with connect(url(sandbox, f"/ws/{NAME}")) as socket:
        await subscribed(sandbox, socket)
        sandbox.real.time += LIFE_S
        sandbox.clock.step(0)
        with pytest.raises(ConnectionClosed) as closed:
            await closing(socket)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.reason == "24 hours are over"


@pytest.mark.parametrize(
    ("fault", "closes"),
    [
        pytest.param({"kind": "duplicate_candle", "route": "stream/closed", "count": 1}, [0, 0, 1], id="twice"),
        pytest.param({"kind": "stall", "route": "stream/closed", "count": 1}, [1], id="not told"),
        pytest.param(
            {"kind": "late_candle", "route": "stream/closed", "ms": FIVE_MINUTES, "count": 1}, [0, 1], id="late"
        ),
    ],
)
async def test_faults_of_closing_events(sandbox: Sandbox, fault: dict[str, Any], closes: list[int]) -> None:
    async with connect(url(sandbox, f"/ws/{NAME}")) as socket:
        await subscribed(sandbox, socket)
        await sandbox.fault(**fault)
        first = sandbox.clock.now_ms() // FIVE_MINUTES
        for _ in range(2):
            sandbox.clock.step(FIVE_MINUTES)
            # a question whose answer comes after what the step caused
            await socket.send(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": 9}))
            await asyncio.sleep(0.05)
        told = [(await closing(socket))["k"]["t"] // FIVE_MINUTES - first for _ in closes]
    assert sorted(told) == closes


async def test_a_revised_candle_is_told_after_the_first_word(sandbox: Sandbox) -> None:
    async with connect(url(sandbox, f"/ws/{NAME}")) as socket:
        await subscribed(sandbox, socket)
        await sandbox.fault(kind="revised_candle", route="stream/closed", ms=1, count=1)
        sandbox.clock.step(FIVE_MINUTES)
        first, second = await closing(socket), await closing(socket)
    assert first["k"]["t"] == second["k"]["t"]
    assert first["k"]["c"] != second["k"]["c"] == second["k"]["h"]


async def test_rest_serves_revised_candles_too(sandbox: Sandbox) -> None:
    async def closes() -> list[str]:
        rows = await sandbox.get("/api/v3/klines", symbol="ETHBTC", interval="5m", limit=4)
        return [row[4] for row in rows]

    before = await closes()
    await sandbox.fault(kind="revised_candle", ms=FIVE_MINUTES)
    after = await closes()
    # the running one and the one that closed less than five minutes ago stay
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, False, True, True]


async def test_a_dropped_stream_comes_back(sandbox: Sandbox) -> None:
    async with connect(url(sandbox, f"/ws/{NAME}")) as socket:
        await subscribed(sandbox, socket)
        await sandbox.fault(kind="drop", route="stream", count=2)
        sandbox.clock.step(FIVE_MINUTES)
        with pytest.raises(ConnectionClosed):
            await closing(socket)
    with pytest.raises((InvalidHandshake, ConnectionError, EOFError)):
        await connect(url(sandbox, f"/ws/{NAME}"))
    async with connect(url(sandbox, f"/ws/{NAME}")) as socket:
        assert (await event(socket))["s"] == "ETHBTC"
    assert (await sandbox.get("/_sandbox/status"))["streams"]["events"] >= 2


@pytest.mark.parametrize(
    ("fault", "status"), [({"kind": "error", "status": 502}, 502), ({"kind": "rate_limit", "status": 429}, 429)]
)
async def test_a_refused_handshake(sandbox: Sandbox, fault: dict[str, Any], status: int) -> None:
    await sandbox.fault(**fault, route="stream/connect")
    with pytest.raises(InvalidHandshake, match=str(status)):
        await connect(url(sandbox, f"/ws/{NAME}"))


async def test_a_plain_request_is_told_so(sandbox: Sandbox) -> None:
    async with sandbox.client.get("/ws") as answer:
        assert answer.status == 400


@pytest.mark.parametrize("fields", [{"kind": "html", "route": "stream/closed"}, {"kind": "stall", "route": "klines"}])
async def test_faults_that_make_no_sense(sandbox: Sandbox, fields: dict[str, Any]) -> None:
    assert "route" in (await sandbox.post("/_sandbox/faults", fields, expect=400))["error"]
