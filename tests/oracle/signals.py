"""When to enter and to leave, by docs/reference/strategies.md, computed without the engine's indicators.

Entries answer (reason, side) or None while flat, exits a reason or None while a position is held. Side is +1 for long, -1
for short. Indicators are floats, as there; prices and ratios are compared in decimals.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from tests.oracle.hashing import chance

D = Decimal


class Bar(Protocol):
    """What signals look at."""

    open_ms: int
    close: Decimal
    volume: Decimal


@dataclass
class Held:
    """A position as an exit sees it."""

    side: int
    price: Decimal
    """Average of the entry's fills."""
    since_ms: int
    """Time of the first fill."""
    bars: int
    """Closed bars since the entry's bar."""


class RsiOrBand:
    """RSIOrBBEntryMixin without `rsi_cross` and `bb_reentry`."""

    def __init__(self, params: Mapping[str, Any], bars: Sequence[Bar], *, interval_ms: int, lookback: int) -> None:
        period, bb = int(params["rsi_period"]), int(params["bb_period"])
        self.cooldown = int(params.get("cooldown_bars", 0))
        self.interval_ms = interval_ms
        self._fires = [False] * len(bars)
        block_ms = lookback * interval_ms
        closes = [float(bar.close) for bar in bars]
        first = 0
        begin = -1
        gain = loss = 0.0
        for i, bar in enumerate(bars):
            anchor = (bar.open_ms // block_ms - 1) * block_ms
            if anchor != begin:
                # the indicators of a block are computed from the start of the block before
                begin = anchor
                while bars[first].open_ms < anchor:
                    first += 1
                gain = loss = 0.0
                for j in range(first + 1, i):
                    gain, loss = self._step(j - first, period, closes[j] - closes[j - 1], gain, loss)
            if i > first:
                gain, loss = self._step(i - first, period, closes[i] - closes[i - 1], gain, loss)
            have = i - first + 1
            if have < max(period + 1, bb):
                continue
            rsi = 100.0 if loss == 0 else 100.0 - 100.0 / (1.0 + gain / loss)
            window = closes[i - bb + 1 : i + 1]
            mean = math.fsum(window) / bb
            deviation = math.sqrt(math.fsum((x - mean) ** 2 for x in window) / bb)
            band = mean - float(params["bb_dev"]) * deviation
            touched = closes[i] <= band if params.get("use_bb_touch", True) else closes[i] < band
            self._fires[i] = rsi <= float(params["rsi_oversold"]) or touched

    @staticmethod
    def _step(n: int, period: int, change: float, gain: float, loss: float) -> tuple[float, float]:
        up, down = max(change, 0.0), max(-change, 0.0)
        if n <= period:
            return gain + up / period, loss + down / period
        return (gain * (period - 1) + up) / period, (loss * (period - 1) + down) / period

    def entry(self, i: int, close_ms: int, exited_ms: int | None) -> tuple[str, int] | None:
        if exited_ms is not None and self.cooldown and close_ms - exited_ms <= self.cooldown * self.interval_ms:
            return None
        return ("rsi_or_bb", 1) if self._fires[i] else None


class ScriptedEntry:
    """tests/oracle/scripted.py."""

    def __init__(self, params: Mapping[str, Any], bars: Sequence[Bar]) -> None:
        self._drawn = [chance(params["salt"], float(b.close), float(b.volume)) for b in bars]
        self._long, self._short = params["long"], params["short"]

    def entry(self, i: int, close_ms: int, exited_ms: int | None) -> tuple[str, int] | None:
        if self._drawn[i] < self._long:
            return ("scripted", 1)
        return ("scripted", -1) if self._drawn[i] >= 1 - self._short else None


class ScriptedExit:
    def __init__(self, params: Mapping[str, Any], bars: Sequence[Bar]) -> None:
        self._drawn = [chance(params["salt"], float(b.close), float(b.volume)) for b in bars]
        self._share = params["share"]

    def begins(self, held: Held) -> None:
        pass

    def exit(self, i: int, close_ms: int, close: Decimal, held: Held) -> str | None:
        return "scripted_exit" if self._drawn[i] < self._share else None


class TimeExit:
    def __init__(self, params: Mapping[str, Any]) -> None:
        self._bars, self._minutes = params.get("max_bars", 20), params.get("max_minutes", 60)
        self._use_time = params.get("use_time", False)

    def begins(self, held: Held) -> None:
        pass

    def exit(self, i: int, close_ms: int, close: Decimal, held: Held) -> str | None:
        if self._use_time:
            return "time" if close_ms - held.since_ms >= self._minutes * 60_000 else None
        return "time" if held.bars >= self._bars else None


class RatioExit:
    def __init__(self, params: Mapping[str, Any]) -> None:
        self._gain, self._loss = D(str(params["take_profit"])), D(str(params["stop_loss"]))

    def begins(self, held: Held) -> None:
        pass

    def exit(self, i: int, close_ms: int, close: Decimal, held: Held) -> str | None:
        if held.side * close >= held.side * held.price * (1 + held.side * self._gain):
            return "take_profit"
        if held.side * close <= held.side * held.price * (1 - held.side * self._loss):
            return "stop_loss"
        return None


class TrailExit:
    def __init__(self, params: Mapping[str, Any]) -> None:
        self._trail, self._active_at = D(str(params["trail_pct"])), D(str(params.get("activation_pct", 0)))
        self._best = D(0)

    def begins(self, held: Held) -> None:
        self._best = held.price

    def exit(self, i: int, close_ms: int, close: Decimal, held: Held) -> str | None:
        better = max if held.side > 0 else min
        self._best = better(self._best, close)
        active = held.side * self._best >= held.side * held.price * (1 + held.side * self._active_at)
        stop = self._best * (1 - held.side * self._trail)
        return "trailing_stop" if active and held.side * close < held.side * stop else None


def signals_of(config: Mapping[str, Any], bars: Sequence[Bar], interval_ms: int) -> tuple[Any, Any]:
    """Entry and exit of a config."""
    parameters = config["strategy"]["parameters"]
    one, other = parameters["entry_logic"], parameters["exit_logic"]
    entry: Any
    if one["name"] == "RSIOrBBEntryMixin":
        entry = RsiOrBand(one["params"], bars, interval_ms=interval_ms, lookback=config["data"]["lookback_bars"])
    else:
        entry = ScriptedEntry(one["params"], bars)
    leave: Any = {
        "TimeBasedExitMixin": TimeExit,
        "FixedRatioExitMixin": RatioExit,
        "TrailingStopExitMixin": TrailExit,
    }.get(other["name"], lambda params: ScriptedExit(params, bars))(other["params"])
    return entry, leave
