"""A server of the sandbox exchange in the test's own event loop, its clocks moved by hand."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from sandbox_exchange.clock import SimulatedClock
from sandbox_exchange.csv_source import load_file
from sandbox_exchange.main import build_app
from sandbox_exchange.market import AtEnd, open_market
from tests.support import FakeClock
from tests.unit.sandbox_exchange.worlds import write_csv


@dataclass
class Sandbox:
    """The server, its client and its clocks. It lists ETHBTC (5m, two days) and the synthetic symbols."""

    client: TestClient[Any, Any]
    clock: SimulatedClock
    real: FakeClock

    async def get(self, path: str, **params: str | int) -> Any:
        """The JSON of a good answer."""
        async with self.client.get(path, params=params) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def refused(self, path: str, **params: str | int) -> tuple[int, str]:
        """Code and text of an answer with status 400."""
        async with self.client.get(path, params=params) as answer:
            assert answer.status == 400
            body = await answer.json()
            return body["code"], body["msg"]

    async def post(self, path: str, fields: dict[str, Any], *, expect: int = 200) -> Any:
        """The JSON answered to a JSON body."""
        async with self.client.post(path, data=json.dumps(fields)) as answer:
            assert answer.status == expect, await answer.text()
            return await answer.json()

    async def fault(self, **fields: Any) -> Any:
        """Put a fault into force."""
        return await self.post("/_sandbox/faults", fields, expect=201)


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    """The clock stands after 300 bars of ETHBTC (25 h) and moves 60 s a fake second."""
    source = load_file(write_csv(tmp_path / "ETH_BTC-5m.csv", bars=2 * 288))
    market = open_market(recorded=[source], seed=7, history=300, at_end=AtEnd.STOP)
    real = FakeClock()
    real.time = 6000.0  # the start of a minute of the weight limiter
    clock = SimulatedClock(start_ms=market.start_ms, speed=60, monotonic=real.monotonic, end_ms=market.end_ms)
    app = build_app(market=market, clock=clock, weight_limit=1000, monotonic=real.monotonic, real_s=real.monotonic)
    async with TestClient(TestServer(app)) as client:
        yield Sandbox(client=client, clock=clock, real=real)
