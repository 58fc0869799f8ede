"""Binance's kline stream: its address, and which frames close a candle. Pure."""

from __future__ import annotations

from botrunner.market.candle import is_time_ms
from fleet.foreign import load_json, object_of

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
    event = object_of(load_json(frame))
    kline = object_of(event.get("k"))
    opened = kline.get("t")
    if event.get("e") != "kline" or (kline.get("s"), kline.get("i")) != (symbol, interval):
        return None
    return opened if kline.get("x") is True and isinstance(opened, int) and is_time_ms(opened) else None
