"""Binance's kline stream: its address, and which frames close a candle. Pure."""

from __future__ import annotations

import json

PUBLIC_STREAMS = "wss://stream.binance.com:9443/ws"


def stream_url(base_url: str | None, symbol: str, interval: str) -> str:
    """Address of a market's raw stream.

    Args:
        base_url: http(s):// of a server that speaks Binance's API; None for the public one.
    """
    base = PUBLIC_STREAMS if base_url is None else f"ws{base_url.rstrip('/').removeprefix('http')}/ws"
    return f"{base}/{symbol.lower()}@kline_{interval}"


def closed_candle_ms(frame: str | bytes, *, symbol: str, interval: str) -> int | None:
    """Open time of the candle that this frame closes; None for any other frame, however malformed."""
    try:
        event = json.loads(frame)
        kline = event["k"]
        if event["e"] != "kline" or (kline["s"], kline["i"], kline["x"]) != (symbol, interval, True):
            return None
        opened = kline["t"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return opened if isinstance(opened, int) and not isinstance(opened, bool) and opened >= 0 else None
