"""No sound candle makes a mixin fail, keep a value that isn't a number, or judge by one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from botrunner.strategies.base import StrategyHost
from botrunner.strategies.indicators import EaseOfMovement
from fleet.config.mixins import ENTRY_PARAMS, EXIT_PARAMS
from tests.unit.botrunner.strategies.eager_pairs import ALL_PAIRS, EAGER

PRICES = [1e-12, 3e-8, 0.1, 1.0, 54_321.987, 1e12]
VOLUMES = [0.0, 5e-324, 1e-18, 1.0, 1e15]
"""5e-324 is the smallest number above zero: divided by it, everything is infinite."""


@st.composite
def candles(draw: st.DrawFn) -> list[tuple[int, float, float, float, float, float]]:
    """Sound ones: low ≤ open, close ≤ high, in runs that stand still, jump by orders of magnitude or leave out time."""
    rows: list[tuple[int, float, float, float, float, float]] = []
    opened, price = draw(st.integers(0, 10_000)), draw(st.sampled_from(PRICES))
    while len(rows) < 120:
        kind, length = draw(st.sampled_from(["still", "walk", "jump", "gap"])), draw(st.integers(1, 30))
        volume = draw(st.sampled_from(VOLUMES))
        if kind == "gap":
            opened += length
            continue
        if kind == "jump":
            price = draw(st.sampled_from(PRICES))
        for _ in range(length):
            step = draw(st.floats(0.9, 1.1)) if kind == "walk" else 1.0
            close = price * step
            wick = 1.0 if kind == "still" else draw(st.sampled_from([1.0, 1.0000001, 1.5]))
            rows.append((opened, price, max(price, close) * wick, min(price, close) / wick, close, volume))
            opened, price = opened + 1, close
    return rows


class Listening(StrategyHost):
    """Asks both mixins at every bar, holds a position half of the time, and looks at what they would save."""

    def __init__(self, account: Any) -> None:
        self.account = account

    def on_bar(self, strategy: Any) -> None:
        self.account.on_bar(strategy)
        json.dumps(strategy.export_state(), allow_nan=False)


@settings(max_examples=40)
@given(pair=st.sampled_from(ALL_PAIRS), rows=candles(), eager=st.booleans())
def test_nothing_fails(engine: Any, pair: tuple[str, str], rows: Any, eager: bool) -> None:
    bars = [engine.bar(*row) for row in rows]
    chosen = engine.custom(*pair, *((EAGER[name] for name in pair) if eager else ()))
    engine.run(bars, chosen, Listening(engine.account()))


@pytest.mark.parametrize("name", [*ENTRY_PARAMS, *EXIT_PARAMS])
@pytest.mark.parametrize("volume", [0.0, 1.0])
@pytest.mark.parametrize("price", [1e-12, 0.1, 1e12])
def test_prices_that_never_move(engine: Any, name: str, volume: float, price: float) -> None:
    """An entry by momentum never fires; an exit either never does or, its distance being no price at all, at once."""
    entry = name if name in ENTRY_PARAMS else "RSIOrBBEntryMixin"
    exit_ = name if name in EXIT_PARAMS else "TimeBasedExitMixin"
    account = engine.account()
    host = Listening(account)
    chosen = engine.custom(entry, exit_, EAGER.get(entry), EAGER.get(exit_))
    engine.run(engine.closes([price] * 120, volume), chosen, host)
    if name.startswith("EOM") and name in ENTRY_PARAMS:
        assert account.signals == []
    if name.startswith("EOM") and name in EXIT_PARAMS:
        assert [kind for _, kind, _ in account.signals] == ["enter"]


def test_next_to_no_volume_leaves_ease_of_movement_a_number(engine: Any) -> None:
    """Up and down with the smallest volume there is: +∞ and -∞ would have no mean."""
    bars = [engine.bar(n, 100.0, 101.0 + n % 2, 99.0 + n % 2, 100.0, 5e-324) for n in range(12)]
    found = engine.lines(bars, lambda data: EaseOfMovement(data, period=4), ["eom"])["eom"]
    assert set(found.values()) == {0.0}
