"""Each indicator against a second implementation from its textbook definition, and against Backtrader's own."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from statistics import fmean, pstdev
from typing import Any

import backtrader as bt
import pytest

from botrunner.strategies.indicators import BollingerBands, MeanVolume, WilderATR, WilderRSI

RELATIVE = 1e-9


def wilder(values: Sequence[Fraction], period: int) -> list[Fraction]:
    """Wilder's smoothing in exact arithmetic, from the `period`-th value on."""
    smoothed = [sum(values[:period], Fraction(0)) / period]
    for value in values[period:]:
        # rounded to 20 digits: exact fractions would grow without bound
        smoothed.append(round((smoothed[-1] * (period - 1) + value) / period, 25))
    return smoothed


def textbook_rsi(closes: Sequence[float], period: int) -> dict[int, float]:
    exact = [Fraction(close) for close in closes]
    changes = [new - old for old, new in pairwise(exact)]
    gains = wilder([max(change, Fraction(0)) for change in changes], period)
    losses = wilder([max(-change, Fraction(0)) for change in changes], period)
    values = {}
    for position, (gain, loss) in enumerate(zip(gains, losses, strict=True)):
        if loss == 0:
            values[position + period] = 50.0 if gain == 0 else 100.0
        else:
            values[position + period] = float(100 - 100 / (1 + gain / loss))
    return values


def textbook_atr(bars: Sequence[Any], period: int) -> dict[int, float]:
    ranges = [
        max(
            Fraction(bar.high) - Fraction(bar.low),
            abs(Fraction(bar.high) - Fraction(before.close)),
            abs(Fraction(bar.low) - Fraction(before.close)),
        )
        for before, bar in pairwise(bars)
    ]
    return {position + period: float(value) for position, value in enumerate(wilder(ranges, period))}


def close_to(expected: dict[int, float]) -> Any:
    return pytest.approx(expected, rel=RELATIVE, abs=1e-12)


@pytest.mark.parametrize("period", [2, 7, 14])
def test_rsi(engine: Any, period: int) -> None:
    bars = engine.random_bars(1, 400)
    found = engine.lines(bars, lambda data: WilderRSI(data, period=period), ["rsi"])["rsi"]
    assert found == close_to(textbook_rsi([bar.close for bar in bars], period))
    native = engine.lines(bars, lambda data: bt.ind.RSI(data, period=period, safediv=True), ["rsi"])["rsi"]
    assert found == close_to(native)


@pytest.mark.parametrize(("closes", "value"), [([5.0] * 20, 50.0), (range(1, 21), 100.0), (range(21, 1, -1), 0.0)])
def test_rsi_of_prices_that_only_stand_rise_or_fall(engine: Any, closes: Any, value: float) -> None:
    found = engine.lines(engine.closes(closes), lambda data: WilderRSI(data, period=14), ["rsi"])["rsi"]
    assert set(found.values()) == {value}
    assert min(found) == 14


def test_rsi_neither_rises_nor_falls_while_the_close_stands(engine: Any) -> None:
    """To the last bit: averages that shrink alike would otherwise differ by rounding."""
    bars = engine.closes([0.01 + (n * n % 7) * 1e-5 for n in range(30)] + [0.0101] * 200)
    found = engine.lines(bars, lambda data: WilderRSI(data, period=14), ["rsi"])["rsi"]
    assert len({found[bar] for bar in range(30, 230)}) == 1


@pytest.mark.parametrize("period", [2, 14])
def test_atr(engine: Any, period: int) -> None:
    bars = engine.random_bars(2, 400)
    found = engine.lines(bars, lambda data: WilderATR(data, period=period), ["atr"])["atr"]
    assert found == close_to(textbook_atr(bars, period))
    assert found == close_to(engine.lines(bars, lambda data: bt.ind.ATR(data, period=period), ["atr"])["atr"])


@pytest.mark.parametrize("period", [2, 20])
def test_bollinger_bands(engine: Any, period: int) -> None:
    bars = engine.random_bars(3, 200)
    found = engine.lines(bars, lambda data: BollingerBands(data, period=period, devfactor=2.5), ["mid", "top", "bot"])
    windows = {end: [bar.close for bar in bars[end - period + 1 : end + 1]] for end in range(period - 1, 200)}
    mids = {end: fmean(window) for end, window in windows.items()}
    widths = {end: 2.5 * pstdev(window) for end, window in windows.items()}
    assert found["mid"] == close_to(mids)
    assert found["top"] == close_to({end: mids[end] + widths[end] for end in mids})
    assert found["bot"] == close_to({end: mids[end] - widths[end] for end in mids})


@pytest.mark.parametrize("price", [0.1, 1e-8, 54_321.987])
def test_bollinger_bands_of_flat_prices_have_no_width(engine: Any, price: float) -> None:
    """Where the root of a difference of means would be taken of a negative number."""
    bars = engine.closes([price] * 40)
    found = engine.lines(bars, lambda data: BollingerBands(data, period=20), ["top", "bot"])
    for line in ("top", "bot"):
        assert found[line] == pytest.approx(dict.fromkeys(range(19, 40), price), rel=1e-15)


def test_mean_volume_includes_the_current_bar(engine: Any) -> None:
    bars = [bar._replace(volume=float(number)) for number, bar in enumerate(engine.closes([1.0] * 10))]
    found = engine.lines(bars, lambda data: MeanVolume(data, period=4), ["mean"])["mean"]
    assert found == {end: end - 1.5 for end in range(3, 10)}


def test_real_candles(engine: Any, real_bars: dict[str, list[Any]]) -> None:
    for bars in real_bars.values():
        part = bars[:600]
        found = engine.lines(part, lambda data: WilderRSI(data, period=14), ["rsi"])["rsi"]
        assert found == close_to(textbook_rsi([bar.close for bar in part], 14))
        found = engine.lines(part, lambda data: WilderATR(data, period=14), ["atr"])["atr"]
        assert found == close_to(textbook_atr(part, 14))
