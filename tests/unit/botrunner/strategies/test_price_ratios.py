"""A price at exactly a ratio of another one: every mixin that compares them decides by the decimal numbers.

In floats 100 × (1 + 0.1) is above 110. Each case brings a price exactly to its threshold, where the rule's words (≥ or >)
decide, and to the next smallest step on either side. The table must have every number among the parameters of every
mixin that isn't named as something else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from botrunner.strategies.base import Direction
from botrunner.strategies.entry import ENTRY_MIXINS
from botrunner.strategies.exact import exact
from botrunner.strategies.exit import EXIT_MIXINS
from tests.unit.botrunner.strategies.bars_by_hand import (
    BREAKOUT,
    PULLBACK,
    TURN,
    TWO_BARS,
    Change,
    bars_of,
    changed,
    upside_down,
)
from tests.unit.botrunner.strategies.scripted_host import entries, exits, held

LONG, SHORT = Direction.LONG, Direction.SHORT
D = Decimal
STEP = D("1e-6")

OTHERS = {
    *("rsi_oversold", "rsi_overbought"),  # levels of an oscillator
    *("min_volume_ratio", "volume_threshold"),  # of a volume
    *("bb_dev", "st_multiplier", "atr_floor_multiplier", "sl_multiplier", "atr_multiplier", "breakeven_atr"),
    *("k_init", "k_run", "k_phase2", "struct_buffer_atr", "arm_at_R", "phase2_at_R"),
    *("htf_sl_multiplier", "ltf_sl_multiplier", "be_activation_atr", "be_buffer_multiplier"),  # of an indicator
}
"""Numbers that are no ratio of a price."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """How a parameter's threshold is reached.

    Attributes:
        threshold: the price at which the rule turns, from the price that it is measured from, and the ratio.
        fires: whether the mixin fires at a price: (engine, measured from, ratio, price).
        above: whether it fires above the threshold (or below it). at: whether it fires at it.
        measured_from: prices; those of hand-made bars are given. ratios: in steps of 0.0001.
    """

    threshold: Callable[[Decimal, Decimal], Decimal]
    fires: Callable[[Any, Decimal, Decimal, Decimal], bool]
    above: bool
    at: bool
    measured_from: Decimal | None = None
    ratios: tuple[int, int] = (1, 90)


def lone(mixin: str, params: Mapping[str, Any], direction: Direction, prices: list[Decimal], entry: Decimal) -> bool:
    """Whether an exit without indicators fires at the last of some closes."""
    cls = EXIT_MIXINS[mixin]
    data = SimpleNamespace(close=[0.0])
    made = cls(SimpleNamespace(data=data), cls.params_model.model_validate(params))
    said = None
    for price in prices:
        data.close[0] = float(price)
        said = made.signal(replace(held(1.0, direction), entry_price=entry))
    return said is not None


def fixed(key: str, direction: Direction, *, gain: bool) -> Case:
    side = 1 if direction is LONG else -1
    up = side if gain else -side
    params = {"take_profit": 50.0, "stop_loss": 0.999}

    def fires(_: Any, entry: Decimal, ratio: Decimal, price: Decimal) -> bool:
        return lone("FixedRatioExitMixin", {**params, key: float(ratio)}, direction, [price], entry)

    return Case(
        threshold=lambda entry, ratio: entry * (1 + up * ratio), fires=fires, above=up > 0, at=True, ratios=(1, 9000)
    )


def trail(direction: Direction) -> Case:
    side = 1 if direction is LONG else -1

    def fires(_: Any, best: Decimal, ratio: Decimal, price: Decimal) -> bool:
        return lone("TrailingStopExitMixin", {"trail_pct": float(ratio)}, direction, [best, price], best)

    return Case(
        threshold=lambda best, ratio: best * (1 - side * ratio),
        fires=fires,
        above=side < 0,
        at=False,
        ratios=(1, 9000),
    )


def activation(direction: Direction) -> Case:
    """Once a close has reached it, the next one, far against the position, exits."""
    side = 1 if direction is LONG else -1

    def fires(_: Any, entry: Decimal, ratio: Decimal, price: Decimal) -> bool:
        params = {"trail_pct": 0.01, "activation_pct": float(ratio)}
        against = price * (D("0.5") if side > 0 else 2)
        return lone("TrailingStopExitMixin", params, direction, [price, against], entry)

    return Case(
        threshold=lambda entry, ratio: entry * (1 + side * ratio),
        fires=fires,
        above=side > 0,
        at=True,
        ratios=(1, 9000),
    )


def bars(
    engine: Any, rows: Any, at: Decimal, level: Decimal, *changes: Change, direction: Direction = LONG
) -> list[Any]:
    """Hand-made bars, moved from one level to another; upside down for the other direction.

    Those whose MACD must be exactly at its signal aren't moved: only the level itself is.
    """
    shift = float(level - at)
    made = changed(bars_of(engine, *rows), *changes)
    made = made if direction is LONG else upside_down(made)
    return [
        bar._replace(open=bar.open + shift, high=bar.high + shift, low=bar.low + shift, close=bar.close + shift)
        for bar in made
    ]


def with_level(found: list[Any], number: int, field: str, level: Decimal, last: str, price: Decimal) -> list[Any]:
    """The level and the judged price as they are meant, to the last digit."""
    found[number] = found[number]._replace(**{field: float(level)})
    found[-1] = found[-1]._replace(**{last: float(price)})
    return found


def breakout(engine: Any, level: Decimal, ratio: Decimal, price: Decimal) -> bool:
    params = {
        **TWO_BARS, "volume_sma_period": 2, "use_atr_filter": False, "rsi_period": 2, "rsi_overbought": 99.9,
        "breakout_threshold": float(ratio),
    }  # fmt: skip
    made = with_level(bars(engine, BREAKOUT, D(105), level), 1, "high", level, "close", price)
    return entries(engine, "EOMBreakoutEntryMixin", params, made)[-1] is not None


def near(key: str) -> Callable[[Any, Decimal, Decimal, Decimal], bool]:
    def fires(engine: Any, level: Decimal, ratio: Decimal, price: Decimal) -> bool:
        params = {
            **TWO_BARS, "macd_fast": 2, "macd_slow": 3, "macd_signal": 2, "vol_sma_period": 2,
            "resistance_range_low": 0.5, "resistance_range_high": 1.9, key: float(ratio),
        }  # fmt: skip
        made = with_level(bars(engine, TURN, level, level), 1, "high", level, "close", price)
        return entries(engine, "EOMMAcdBreakoutEntryMixin", params, made)[-1] is not None

    return fires


def pullback(engine: Any, level: Decimal, ratio: Decimal, price: Decimal) -> bool:
    params = {
        **TWO_BARS, "rsi_period": 2, "atr_period": 2, "atr_sma_period": 2, "rsi_oversold": 99.0,
        "atr_floor_multiplier": 0.01, "support_threshold": float(ratio),
    }  # fmt: skip
    made = with_level(bars(engine, PULLBACK, D(100), level), 1, "low", level, "low", price)
    return entries(engine, "EOMPullbackEntryMixin", params, made)[-1] is not None


def breakdown(direction: Direction) -> Callable[[Any, Decimal, Decimal, Decimal], bool]:
    down = direction is LONG

    def fires(engine: Any, level: Decimal, ratio: Decimal, price: Decimal) -> bool:
        params = {**TWO_BARS, "vol_ma_period": 2, "atr_period": 2, "breakdown_threshold": float(ratio)}
        made = bars(engine, BREAKOUT, D(95 if down else 105), level, direction=SHORT if down else LONG)
        made = with_level(made, 1, "low" if down else "high", level, "close", price)
        return exits(engine, "EOMBreakdownExitMixin", params, made, held(100.0, direction)).said[-1] is not None

    return fires


def macd_breakdown(direction: Direction) -> Callable[[Any, Decimal, Decimal, Decimal], bool]:
    down = direction is LONG

    def fires(engine: Any, level: Decimal, ratio: Decimal, price: Decimal) -> bool:
        params = {
            **TWO_BARS, "macd_fast_period": 2, "macd_slow_period": 3, "macd_signal_period": 2, "vol_ma_period": 2,
            "support_threshold": float(ratio),
        }  # fmt: skip
        busy: Change = (4, {"volume": 20.0})
        made = bars(engine, TURN, level, level, busy, direction=SHORT if down else LONG)
        made = with_level(made, 1, "low" if down else "high", level, "close", price)
        return exits(engine, "EOMMAcdBreakdownExitMixin", params, made, held(100.0, direction)).said[-1] is not None

    return fires


def rejection(direction: Direction) -> Callable[[Any, Decimal, Decimal, Decimal], bool]:
    up = direction is LONG

    def fires(engine: Any, level: Decimal, ratio: Decimal, price: Decimal) -> bool:
        params = {**TWO_BARS, "rsi_period": 2, "rsi_overbought": 1.0, "resistance_threshold": float(ratio)}
        made = bars(engine, PULLBACK, D(100), level, direction=SHORT if up else LONG)
        field = "high" if up else "low"
        made = with_level(made, 1, field, level, field, price)
        return exits(engine, "EOMRejectionExitMixin", params, made, held(100.0, direction)).said[-1] is not None

    return fires


def times(level: Decimal, ratio: Decimal) -> Decimal:
    return level * ratio


def over(level: Decimal, ratio: Decimal) -> Decimal:
    return level * (1 + ratio)


def under(level: Decimal, ratio: Decimal) -> Decimal:
    return level * (1 - ratio)


CASES: Mapping[tuple[str, str], list[Case]] = {
    ("FixedRatioExitMixin", "take_profit"): [fixed("take_profit", side, gain=True) for side in Direction],
    ("FixedRatioExitMixin", "stop_loss"): [fixed("stop_loss", side, gain=False) for side in Direction],
    ("TrailingStopExitMixin", "trail_pct"): [trail(side) for side in Direction],
    ("TrailingStopExitMixin", "activation_pct"): [activation(side) for side in Direction],
    ("EOMBreakoutEntryMixin", "breakout_threshold"): [
        Case(threshold=over, fires=breakout, above=True, at=False, measured_from=D(105))
    ],
    ("EOMMAcdBreakoutEntryMixin", "resistance_range_low"): [
        Case(threshold=times, fires=near("resistance_range_low"), above=True, at=True, measured_from=D(101),
             ratios=(9950, 10050))
    ],
    ("EOMMAcdBreakoutEntryMixin", "resistance_range_high"): [
        Case(threshold=times, fires=near("resistance_range_high"), above=False, at=True, measured_from=D(101),
             ratios=(9950, 10050))
    ],
    ("EOMPullbackEntryMixin", "support_threshold"): [
        Case(threshold=over, fires=pullback, above=False, at=True, measured_from=D(100), ratios=(1, 28))
    ],
    ("EOMBreakdownExitMixin", "breakdown_threshold"): [
        Case(threshold=under, fires=breakdown(LONG), above=False, at=False, measured_from=D(95)),
        Case(threshold=over, fires=breakdown(SHORT), above=True, at=False, measured_from=D(105)),
    ],
    ("EOMMAcdBreakdownExitMixin", "support_threshold"): [
        Case(threshold=under, fires=macd_breakdown(LONG), above=False, at=False, measured_from=D(99), ratios=(1, 20)),
        Case(threshold=over, fires=macd_breakdown(SHORT), above=True, at=False, measured_from=D(101), ratios=(1, 20)),
    ],
    ("EOMRejectionExitMixin", "resistance_threshold"): [
        Case(threshold=times, fires=rejection(LONG), above=True, at=True, measured_from=D(100), ratios=(9972, 9999)),
        Case(threshold=lambda level, ratio: level * (2 - ratio), fires=rejection(SHORT), above=False, at=True,
             measured_from=D(100), ratios=(9972, 9999)),
    ],
}  # fmt: skip


def test_every_number_of_every_mixin_is_tried_or_no_ratio_of_a_price() -> None:
    numbers = {
        (name, key)
        for name, mixin in {**ENTRY_MIXINS, **EXIT_MIXINS}.items()
        for key, field in mixin.params_model.model_fields.items()
        if field.annotation is not None and "float" in str(field.annotation) and key not in OTHERS
    }
    assert numbers == set(CASES)


@pytest.mark.parametrize(
    ("name", "number"),
    [(name, number) for name, cases in CASES.items() for number in range(len(cases))],
    ids=lambda value: ".".join(value) if isinstance(value, tuple) else str(value),
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much])
@given(data=st.data())
def test_a_price_at_its_threshold(engine: Any, name: tuple[str, str], number: int, data: st.DataObject) -> None:
    case = CASES[name][number]
    ratio = data.draw(st.integers(*case.ratios)) * D("0.0001")
    if case.measured_from is None:
        start = data.draw(st.integers(1, 10**8)) * data.draw(st.sampled_from([D("1e-8"), D("0.0001"), D("0.01")]))
        step = start * STEP
    else:
        start = case.measured_from + data.draw(st.integers(-200, 200)) * D("0.001")
        step = D("1e-7")
    threshold = case.threshold(start, ratio)
    assume(exact(float(threshold)) == threshold)
    assert case.fires(engine, start, ratio, threshold) is case.at
    assert case.fires(engine, start, ratio, threshold + step) is case.above
    assert case.fires(engine, start, ratio, threshold - step) is not case.above


def test_a_target_of_a_tenth_is_reached_at_110() -> None:
    assert 110.0 < 100.0 * (1 + 0.1), "floats would say no"
    assert lone("FixedRatioExitMixin", {"take_profit": 0.1, "stop_loss": 0.9}, LONG, [D(110)], D(100))
    assert not lone("FixedRatioExitMixin", {"take_profit": 0.1, "stop_loss": 0.9}, LONG, [D("109.99999999")], D(100))


def test_an_average_entry_price_keeps_all_of_its_digits() -> None:
    """Bought at 0.1 and 0.2 in three parts: the average has more digits than a float, and the first stop is from it."""
    entry = D("0.4") / 3
    at = entry * D("0.98")
    below, above = float(at) * (1 - 1e-15), float(at) * (1 + 1e-15)
    for price, exits_ in ((below, exact(below) < at), (above, exact(above) < at)):
        assert lone("TrailingStopExitMixin", {"trail_pct": 0.02}, LONG, [exact(price)], entry) is exits_
