"""Bars made by hand, and ways to change them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Change = tuple[int, dict[str, float]]
"""A bar's number and what is different about it."""


def changed(bars: Sequence[Any], *changes: Change) -> list[Any]:
    result = list(bars)
    for number, values in changes:
        result[number] = result[number]._replace(**values)
    return result


def upside_down(bars: Sequence[Any]) -> list[Any]:
    """Prices mirrored at 100: a rise of 1 becomes a fall of 1."""
    return [
        bar._replace(open=200 - bar.open, high=200 - bar.low, low=200 - bar.high, close=200 - bar.close) for bar in bars
    ]


def bars_of(engine: Any, *rows: Sequence[float]) -> list[Any]:
    """Rows of open, high, low, close and, if it isn't 1, volume."""
    return [engine.bar(number, *row) for number, row in enumerate(rows)]


BREAKOUT = (
    (100.0, 101.0, 99.0, 100.0, 10.0),
    (100.0, 105.0, 99.0, 101.0, 10.0),  # the swing high: 105 is resistance from the next bar on
    (101.0, 103.0, 100.0, 102.0, 10.0),
    (102.0, 104.0, 99.0, 100.0, 10.0),
    (100.0, 107.0, 100.0, 106.0, 20.0),  # beyond 105 + 0.2 %; its middle is 2 above the one before
)
"""Ease of movement -7.5 M, then +35 M; mean volume 15; ATR 4.75, then 5.875; RSI 86.7."""


TWO_BARS: Mapping[str, Any] = {"resistance_lookback": 1, "eom_period": 2}


TURN = (
    (100.0, 100.5, 99.0, 100.0, 10.0),
    (100.0, 101.0, 98.5, 99.0, 10.0),  # the swing high: 101 is resistance from the next bar on
    (99.0, 100.0, 98.0, 98.0, 10.0),
    (98.0, 98.0, 96.0, 97.0, 10.0),
    (97.0, 101.5, 97.0, 101.1, 10.0),
)
"""MACD 2/3 is -0.5, -0.5, 0.35 with a signal of -0.5, then 0.07; ease of movement +31 M."""


PULLBACK = (
    (104.0, 105.0, 103.0, 104.0, 10.0),
    (103.0, 104.0, 100.0, 102.0, 10.0),  # the swing low: 100 is support
    (102.0, 104.0, 101.0, 103.0, 10.0),
    (103.0, 103.0, 100.3, 100.5, 10.0),
    (100.5, 104.0, 100.3, 101.5, 2.0),
)
"""Ease of movement -4 M, then +35 M; RSI 12.5, then 41.7; ATR 3.4 over a mean of 3.25."""
