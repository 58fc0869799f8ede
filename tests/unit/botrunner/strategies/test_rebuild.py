"""A strategy's answers don't depend on when its engine was rebuilt."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.config.mixins import ENTRY_PARAMS, EXIT_PARAMS
from tests.unit.botrunner.strategies.eager_pairs import ALL_PAIRS, EAGER

PAIRS = list(zip(itertools.cycle(ENTRY_PARAMS), EXIT_PARAMS, strict=False))
"""Every mixin at least once."""


def parameters(engine: Any, entry: str, exit_: str) -> Any:
    return engine.custom(entry, exit_, EAGER.get(entry), EAGER.get(exit_))


@pytest.mark.parametrize(("entry", "exit_"), PAIRS)
def test_a_rebuild_at_every_fourth_bar_changes_nothing(engine: Any, entry: str, exit_: str) -> None:
    bars = engine.random_bars(11, 130)
    chosen = parameters(engine, entry, exit_)
    whole = engine.run(bars, chosen)
    rebuilt = engine.run_in_pieces(bars, chosen, range(30, 110, 4))
    assert rebuilt.signals == whole.signals
    assert rebuilt.state == whole.state


@settings(max_examples=20, deadline=None)
@given(
    pair=st.sampled_from(ALL_PAIRS),
    seed=st.integers(0, 10_000),
    splits=st.sets(st.integers(1, 299), max_size=5),
    volatility=st.sampled_from([0.0005, 0.01, 0.05]),
)
def test_rebuilds_anywhere_change_nothing(
    engine: Any, pair: tuple[str, str], seed: int, splits: set[int], volatility: float
) -> None:
    bars = engine.random_bars(seed, 300, volatility=volatility)
    chosen = parameters(engine, *pair)
    whole = engine.run(bars, chosen)
    rebuilt = engine.run_in_pieces(bars, chosen, splits)
    assert rebuilt.signals == whole.signals
    assert rebuilt.state == whole.state


@pytest.mark.parametrize(("entry", "exit_"), PAIRS)
def test_the_eager_parameters_do_trade(engine: Any, entry: str, exit_: str) -> None:
    signals = engine.run(engine.random_bars(11, 500), parameters(engine, entry, exit_)).signals
    assert len([signal for signal in signals if signal[1] == "exit"]) >= 3


@pytest.mark.parametrize("name", [*ENTRY_PARAMS, *EXIT_PARAMS])
def test_bars_needed_is_what_the_indicators_need(engine: Any, name: str) -> None:
    """The other half needs one bar only (a time-based exit), or less than the exit under test."""
    if name in ENTRY_PARAMS:
        chosen = engine.custom(name, "TimeBasedExitMixin")
        expected = chosen.entry.params.bars_needed
    else:
        chosen = engine.custom("RSIOrBBEntryMixin", name, {"rsi_period": 2, "bb_period": 2})
        expected = max(chosen.exit.params.bars_needed, 3)
    account = engine.run(engine.random_bars(5, 400), chosen)
    assert account.ready_at is not None
    assert account.ready_at + 1 <= expected
