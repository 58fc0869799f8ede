"""ccxt.pro in a process of its own: watches candles at URL, steps the clock, prints what it saw as JSON.

A process of its own, since bots in the tests' process load one exchange of ccxt in a way of their own.
"""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.request
from typing import Any

import ccxt.pro

from botrunner.exchange.binance import _moved

_PRIVATE_LOOKUPS = {"fetchMargins": False, "fetchCurrencies": False, "fetchMarkets": {"types": ["spot"]}}


def watcher(url: str) -> Any:
    exchange = ccxt.pro.binance({"options": dict(_PRIVATE_LOOKUPS)})
    exchange.options |= {"crossMarginPairsData": [], "isolatedMarginPairsData": []}
    streams = exchange.urls["api"].pop("ws")
    exchange.urls["api"] = _moved(exchange.urls["api"], url)
    exchange.urls["api"]["ws"] = {**streams, "spot": f"{url.replace('http', 'ws')}/ws"}
    return exchange


def step(url: str, ms: int) -> None:
    body = json.dumps({"action": "step", "ms": ms}).encode()
    request = urllib.request.Request(
        f"{url}/_sandbox/clock", data=body, headers={"Content-Type": "application/json"}, method="POST"
    )
    urllib.request.urlopen(request, timeout=10).close()


async def watch(url: str) -> dict[str, Any]:
    exchange = watcher(url)
    try:
        seen = [await asyncio.wait_for(exchange.watch_ohlcv("BTC/USDT", "1m"), 30)]
        await asyncio.to_thread(step, url, 60_000)
        while seen[-1][-1][0] == seen[0][-1][0]:
            try:
                seen.append(await asyncio.wait_for(exchange.watch_ohlcv("BTC/USDT", "1m"), 2))
            except TimeoutError:
                # ccxt drops an update that comes between two calls, and a stepped clock sends none by itself
                await asyncio.to_thread(step, url, 1_000)
        rows = await exchange.fetch_ohlcv("BTC/USDT", "1m", since=seen[0][-1][0], limit=2)
    finally:
        await exchange.close()
    return {"seen": seen, "rows": rows}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(watch(sys.argv[1]))))
