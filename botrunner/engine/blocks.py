"""Blocks of candles: how long one Backtrader engine lives, and which candles warm it up. Pure.

Time is cut into blocks of `lookback` intervals since 1970; at the start of each the engine is built anew
(docs/decisions/0003-indicators-have-an-anchor.md).
"""

from __future__ import annotations


def anchor_ms(open_ms: int, *, interval_ms: int, lookback: int) -> int:
    """Where the warm-up of a bar begins: a function of the bar alone, not of when a process started.

    A bar is warmed up from the start of the block before its own, so by `lookback` to 2 × `lookback` - 1 bars. A bot
    that was restarted (at any bar) and one that never was (it rebuilds its indicators at each block) thereby see the
    same indicator values to the last bit, also of indicators with an endless memory.
    """
    block = interval_ms * lookback
    return (open_ms // block - 1) * block


def block_end_ms(open_ms: int, *, interval_ms: int, lookback: int) -> int:
    """Open time of the first bar after the block of the given bar: there the anchor moves."""
    block = interval_ms * lookback
    return (open_ms // block + 1) * block
