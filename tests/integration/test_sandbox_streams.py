"""The real, unmodified ccxt.pro `binance` class watches candles at a server of the sandbox exchange."""

from __future__ import annotations

import asyncio
from typing import Any

import ccxt.pro

from botrunner.brokers.binance import _moved
from tests.integration.test_sandbox_ccxt import running

_PRIVATE_LOOKUPS = {"fetchMargins": False, "fetchCurrencies": False, "fetchMarkets": {"types": ["spot"]}}


def watcher(url: str) -> Any:
    exchange = ccxt.pro.binance({"options": dict(_PRIVATE_LOOKUPS)})
    exchange.options |= {"crossMarginPairsData": [], "isolatedMarginPairsData": []}
    streams = exchange.urls["api"].pop("ws")
    exchange.urls["api"] = _moved(exchange.urls["api"], url)
    exchange.urls["api"]["ws"] = {**streams, "spot": f"{url.replace('http', 'ws')}/ws"}
    return exchange


async def test_ccxt_pro_watches_candles() -> None:
    with running("--candles", "synthetic:7") as server:
        exchange = watcher(server.url)
        try:
            first = await asyncio.wait_for(exchange.watch_ohlcv("BTC/USDT", "1m"), 30)
            server.call("/_sandbox/clock", method="POST", body={"action": "step", "ms": 60_000})
            seen = [first]
            while seen[-1][-1][0] == first[-1][0]:
                seen.append(await asyncio.wait_for(exchange.watch_ohlcv("BTC/USDT", "1m"), 30))
            rows = await exchange.fetch_ohlcv("BTC/USDT", "1m", since=first[-1][0], limit=2)
        finally:
            await exchange.close()
    closed = [update[0] for update in seen if update[0][0] == first[-1][0]]
    assert closed[-1] == rows[0]
    assert seen[-1][-1] == rows[1]
