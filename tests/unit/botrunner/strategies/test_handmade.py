"""Every mixin on a handful of hand-made bars: where it must fire, and what must keep it from firing.

Periods are 2 or 3, so that each value can be checked by hand. A case replaces parts of single bars, or
parameters, and by that breaks one condition alone. Exits are judged for long positions and, on bars turned upside
down around 100, for short ones. What test_custom.py shows by hand isn't repeated here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from botrunner.strategies.base import Direction
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
from tests.unit.botrunner.strategies.scripted_host import SHORT_RSI, Scripted, entries, exits, held

LONG, SHORT = Direction.LONG, Direction.SHORT


class TestRSIBB:
    PARAMS: Mapping[str, Any] = {"rsi_period": 2, "bb_period": 2, "bb_dev": 1.0}

    def judged(self, engine: Any, closes: list[float], **params: Any) -> str | None:
        return entries(engine, "RSIBBEntryMixin", {**self.PARAMS, **params}, engine.closes(closes))[-1]

    def test_fires_on_a_falling_close(self, engine: Any) -> None:
        """RSI 0; the lower band of 6 and 4 is 5 - 1."""
        assert self.judged(engine, [8.0, 6.0, 4.0]) == "rsi_bb"

    @pytest.mark.parametrize(
        ("closes", "params"),
        [
            ([8.0, 6.0, 4.0], {"bb_dev": 1.1}),  # the band is at 3.9
            ([2.0, 6.0, 4.0], {}),  # RSI 66.7
        ],
    )
    def test_needs_both(self, engine: Any, closes: list[float], params: Any) -> None:
        assert self.judged(engine, closes, **params) is None


class TestTrendEntries:
    """SuperTrend starts up at bar 2, whose close is above its middle of 100, and bands 10 ranges wide keep it."""

    ROWS = (
        (100.0, 101.0, 99.0, 100.0, 10.0),
        (100.0, 101.0, 99.0, 100.0, 10.0),
        (100.0, 101.0, 99.0, 100.5, 10.0),
        (100.5, 101.0, 97.0, 99.0, 20.0),
    )
    DOWN: tuple[Change, ...] = ((2, {"close": 99.5}), (3, {"close": 98.0}))
    TREND: Mapping[str, Any] = {"st_period": 2, "st_multiplier": 10.0, "vol_ma_period": 2}

    @pytest.mark.parametrize(
        ("changes", "params", "said"),
        [
            ((), {}, "bb_volume_supertrend"),  # 99 is the lower band of 100.5 and 99; 20 > 1.1 × 15
            (DOWN, {}, None),  # at its lower band too, but the trend started down
            ((), {"min_volume_ratio": 1.34}, None),  # 20.1
            (((3, {"close": 100.0}),), {"bb_dev": 1.1}, None),  # the band is at 99.975
        ],
    )
    def test_bb_volume_supertrend(self, engine: Any, changes: Any, params: Any, said: str | None) -> None:
        bars = changed(bars_of(engine, *self.ROWS), *changes)
        chosen = {**self.TREND, "bb_period": 2, "bb_dev": 1.0, **params}
        assert entries(engine, "BBVolumeSuperTrendEntryMixin", chosen, bars)[-1] == said

    @pytest.mark.parametrize(
        ("changes", "params", "said"),
        [
            ((), {}, "rsi_volume_supertrend"),  # gain 0.125, loss 0.75: RSI 14.3
            (DOWN, {}, None),
            ((), {"min_volume_ratio": 1.34}, None),
            ((), {"rsi_oversold": 14.0}, None),
        ],
    )
    def test_rsi_volume_supertrend(self, engine: Any, changes: Any, params: Any, said: str | None) -> None:
        bars = changed(bars_of(engine, *self.ROWS), *changes)
        chosen = {**self.TREND, "rsi_period": 2, "min_volume_ratio": 1.3, **params}
        assert entries(engine, "RSIVolumeSupertrendEntryMixin", chosen, bars)[-1] == said


class TestIchimoku:
    """The cloud at the last bar was drawn two bars before, at 75; the conversion line goes from 90 to 86."""

    ROWS = (
        *[(50.0, 51.0, 49.0, 50.0)] * 3,
        (50.0, 101.0, 49.0, 100.0),
        (100.0, 100.0, 80.0, 81.0),
        (81.0, 90.0, 80.0, 81.0),
        (81.0, 92.0, 82.0, 91.0),
    )

    @pytest.mark.parametrize(
        ("changes", "params", "said"),
        [
            ((), {}, "rsi_ichimoku"),
            (((6, {"close": 86.0}),), {}, None),  # on the conversion line
            (((5, {"high": 95.0, "close": 94.0}), (6, {"high": 97.0, "close": 96.0})), {}, None),  # was above it
            (((3, {"high": 200.0}),), {}, None),  # a cloud at 124.5
            ((), {"rsi_oversold": 50.0}, None),
        ],
    )
    def test_rule(self, engine: Any, changes: Any, params: Any, said: str | None) -> None:
        bars = changed(bars_of(engine, *self.ROWS), *changes)
        chosen = {"rsi_period": 2, "rsi_oversold": 90.0, "tenkan_period": 2, "kijun_period": 2, "senkou_period": 3}
        assert entries(engine, "RSIIchimokuEntryMixin", {**chosen, **params}, bars)[-1] == said


BREAKOUT_BROKEN: Mapping[str, tuple[Change, ...]] = {
    "close within the threshold": ((4, {"close": 105.1}),),
    "volume not above its mean": ((4, {"volume": 10.0}),),
    "ease of movement below zero": ((4, {"low": 90.0}),),
    "ease of movement not growing": ((1, {"low": 97.0}), (2, {"volume": 0.01})),  # the bar before had 7.5 G
    "no swing": ((1, {"high": 101.0}),),
    "ATR falling": ((3, {"high": 113.0, "low": 90.0}),),  # 13.75, then 10.375
}


class TestEOMBreakout:
    PARAMS: Mapping[str, Any] = {
        **TWO_BARS,
        "volume_sma_period": 2,
        "atr_period": 2,
        "atr_sma_period": 2,
        "rsi_period": 2,
        "rsi_overbought": 87.0,
    }

    def judged(self, engine: Any, *changes: Change, **params: Any) -> str | None:
        bars = changed(bars_of(engine, *BREAKOUT), *changes)
        return entries(engine, "EOMBreakoutEntryMixin", {**self.PARAMS, **params}, bars)[-1]

    def test_fires(self, engine: Any) -> None:
        assert self.judged(engine) == "eom_breakout"

    @pytest.mark.parametrize("case", BREAKOUT_BROKEN)
    def test_needs_each_condition(self, engine: Any, case: str) -> None:
        assert self.judged(engine, *BREAKOUT_BROKEN[case]) is None

    def test_overbought(self, engine: Any) -> None:
        assert self.judged(engine, rsi_overbought=86.0) is None

    def test_without_the_filter_volatility_does_not_matter(self, engine: Any) -> None:
        assert self.judged(engine, *BREAKOUT_BROKEN["ATR falling"], use_atr_filter=False) == "eom_breakout"


@pytest.mark.parametrize("direction", [LONG, SHORT])
class TestEOMBreakdown:
    PARAMS: Mapping[str, Any] = {**TWO_BARS, "vol_ma_period": 2, "atr_period": 2}

    def judged(self, engine: Any, direction: Direction, *changes: Change) -> str | None:
        bars = changed(bars_of(engine, *BREAKOUT), *changes)
        bars = upside_down(bars) if direction is LONG else bars
        return exits(engine, "EOMBreakdownExitMixin", dict(self.PARAMS), bars, held(100.0, direction)).said[-1]

    def test_fires(self, engine: Any, direction: Direction) -> None:
        assert self.judged(engine, direction) == "eom_breakdown"

    @pytest.mark.parametrize("case", BREAKOUT_BROKEN)
    def test_needs_each_condition(self, engine: Any, direction: Direction, case: str) -> None:
        assert self.judged(engine, direction, *BREAKOUT_BROKEN[case]) is None


TURN_BROKEN: Mapping[str, tuple[Change, ...]] = {
    "ease of movement below zero": ((4, {"volume": 100.0}),),
    "MACD was above its signal": ((3, {"high": 99.6, "low": 97.0, "close": 99.5}),),
    "no swing": ((1, {"high": 100.2}),),
}


class TestEOMMAcdBreakout:
    PARAMS: Mapping[str, Any] = {**TWO_BARS, "macd_fast": 2, "macd_slow": 3, "macd_signal": 2, "vol_sma_period": 2}

    def judged(self, engine: Any, *changes: Change) -> str | None:
        bars = changed(bars_of(engine, *TURN), *changes)
        return entries(engine, "EOMMAcdBreakoutEntryMixin", dict(self.PARAMS), bars)[-1]

    @pytest.mark.parametrize("close", [100.5, 101.1, 101.2])  # 99.5 % is 100.495, 100.2 % is 101.202
    def test_fires_below_and_above_resistance(self, engine: Any, close: float) -> None:
        assert self.judged(engine, (4, {"close": close})) == "eom_macd_breakout"

    @pytest.mark.parametrize("close", [100.4, 101.3])
    def test_out_of_range(self, engine: Any, close: float) -> None:
        assert self.judged(engine, (4, {"close": close})) is None

    @pytest.mark.parametrize(("volume", "said"), [(6.7, "eom_macd_breakout"), (6.6, None)])
    def test_volume(self, engine: Any, volume: float, said: str | None) -> None:
        """0.8 × the mean of 10 and 6.7 is 6.68, with 6.6 it is 6.64."""
        assert self.judged(engine, (4, {"volume": volume})) == said

    @pytest.mark.parametrize("case", TURN_BROKEN)
    def test_needs_each_condition(self, engine: Any, case: str) -> None:
        assert self.judged(engine, *TURN_BROKEN[case]) is None


@pytest.mark.parametrize("direction", [LONG, SHORT])
class TestEOMMAcdBreakdown:
    PARAMS: Mapping[str, Any] = {
        **TWO_BARS,
        "macd_fast_period": 2,
        "macd_slow_period": 3,
        "macd_signal_period": 2,
        "vol_ma_period": 2,
    }
    THROUGH: Change = (4, {"close": 101.3, "volume": 20.0})

    def judged(self, engine: Any, direction: Direction, *changes: Change) -> str | None:
        bars = changed(bars_of(engine, *TURN), self.THROUGH, *changes)
        bars = upside_down(bars) if direction is LONG else bars
        return exits(engine, "EOMMAcdBreakdownExitMixin", dict(self.PARAMS), bars, held(100.0, direction)).said[-1]

    def test_fires(self, engine: Any, direction: Direction) -> None:
        assert self.judged(engine, direction) == "eom_macd_breakdown"

    @pytest.mark.parametrize(
        "changes",
        [*TURN_BROKEN.values(), ((4, {"close": 101.1}),), ((4, {"volume": 10.0}),)],
        ids=[*TURN_BROKEN, "close within the threshold", "volume not above its mean"],
    )
    def test_needs_each_condition(self, engine: Any, direction: Direction, changes: tuple[Change, ...]) -> None:
        assert self.judged(engine, direction, *changes) is None


PULLBACK_BROKEN: Mapping[str, tuple[Change, ...]] = {
    "not near support": ((4, {"low": 100.9}),),  # bar 3's low of 100.3 is a swing then: 0.5 % above is 100.8
    "no swing": ((1, {"low": 102.0}), (3, {"low": 100.4})),
    "against the direction": ((4, {"open": 102.0}),),
    "ease of movement stays": ((4, {"volume": 20.0}),),
    "ease of movement was there": ((2, {"volume": 1.0}),),
    "RSI goes on": ((4, {"open": 100.35, "close": 100.4}),),  # 11.9
}


class TestEOMPullback:
    PARAMS: Mapping[str, Any] = {
        **TWO_BARS,
        "rsi_period": 2,
        "atr_period": 2,
        "atr_sma_period": 2,
        "rsi_oversold": 45.0,
    }

    def judged(self, engine: Any, *changes: Change, **params: Any) -> str | None:
        bars = changed(bars_of(engine, *PULLBACK), *changes)
        return entries(engine, "EOMPullbackEntryMixin", {**self.PARAMS, **params}, bars)[-1]

    def test_fires(self, engine: Any) -> None:
        assert self.judged(engine) == "eom_pullback"

    @pytest.mark.parametrize("case", PULLBACK_BROKEN)
    def test_needs_each_condition(self, engine: Any, case: str) -> None:
        assert self.judged(engine, *PULLBACK_BROKEN[case]) is None

    @pytest.mark.parametrize("params", [{"rsi_oversold": 41.0}, {"atr_floor_multiplier": 1.05}])
    def test_levels(self, engine: Any, params: dict[str, float]) -> None:
        assert self.judged(engine, **params) is None


@pytest.mark.parametrize("direction", [LONG, SHORT])
class TestEOMRejection:
    PARAMS: Mapping[str, Any] = {**TWO_BARS, "rsi_period": 2, "rsi_overbought": 55.0}

    def judged(self, engine: Any, direction: Direction, *changes: Change, **params: Any) -> str | None:
        bars = changed(bars_of(engine, *PULLBACK), *changes)
        bars = upside_down(bars) if direction is LONG else bars
        chosen = {**self.PARAMS, **params}
        return exits(engine, "EOMRejectionExitMixin", chosen, bars, held(100.0, direction)).said[-1]

    def test_fires(self, engine: Any, direction: Direction) -> None:
        assert self.judged(engine, direction) == "eom_rejection"

    @pytest.mark.parametrize("case", PULLBACK_BROKEN)
    def test_needs_each_condition(self, engine: Any, direction: Direction, case: str) -> None:
        assert self.judged(engine, direction, *PULLBACK_BROKEN[case]) is None

    def test_level(self, engine: Any, direction: Direction) -> None:
        assert self.judged(engine, direction, rsi_overbought=59.0) is None


STILL = (100.0, 101.0, 99.0, 100.0)
"""A range of 2: so is ATR."""


def path(engine: Any, still: int, *tail: tuple[float, float, float], direction: Direction = LONG) -> list[Any]:
    """`still` bars, then bars of (high, low, close); for short positions upside down."""
    rows = [*[STILL] * still, *((close, high, low, close) for high, low, close in tail)]
    bars = bars_of(engine, *rows)
    return bars if direction is LONG else upside_down(bars)


@pytest.mark.parametrize("direction", [LONG, SHORT])
class TestSimpleATR:
    @pytest.mark.parametrize(
        ("tail", "params", "said"),
        [
            ([(100.0, 98.0, 98.0)], {}, [None, "atr_stop"]),  # 100 - 2
            ([(100.1, 98.1, 98.1)], {}, [None, None]),
            ([(102.0, 100.0, 102.0), (102.0, 100.0, 100.0)], {}, [None, None, "atr_stop"]),  # 102 - 2
            ([(102.0, 100.0, 102.0), (102.0, 100.0, 100.0)], {"atr_multiplier": 2.0}, [None, None, "atr_stop"]),
            (
                [(102.0, 100.0, 102.0), (102.0, 100.0, 100.0)],
                {"atr_multiplier": 2.0, "use_breakeven": False},
                [None, None, None],  # 98
            ),
        ],
    )
    def test_stop(self, engine: Any, direction: Direction, tail: Any, params: Any, said: list[str | None]) -> None:
        bars = path(engine, 3, *tail, direction=direction)
        chosen = {"atr_period": 2, "atr_multiplier": 1.0, **params}
        assert exits(engine, "SimpleATRExitMixin", chosen, bars, held(100.0, direction)).said == said


@pytest.mark.parametrize("direction", [LONG, SHORT])
class TestMACrossover:
    def test_fires_once_when_the_fast_one_crosses(self, engine: Any, direction: Direction) -> None:
        """Fast 102.5 over slow 102, both 102 (not below), 100.5 under 101.3, then it stays under."""
        bars = engine.closes([101.0, 102.0, 103.0, 101.0, 100.0, 99.0])
        bars = bars if direction is LONG else upside_down(bars)
        chosen = {"fast_period": 2, "slow_period": 3}
        host = exits(engine, "MACrossoverExitMixin", chosen, bars, held(100.0, direction))
        assert host.said == [None, None, "ma_crossover", None]


@pytest.mark.parametrize("direction", [LONG, SHORT])
@pytest.mark.parametrize(
    ("closes", "params", "both", "either"),
    [
        ([100.0, 101.0, 102.0, 103.0, 101.0], {}, "rsi_bb", "rsi_or_bb"),  # RSI 100, then 33; from band to band
        ([100.0, 101.0, 102.0, 103.0, 101.0], {"rsi_overbought": 30.0}, None, "rsi_or_bb"),  # only the band
        ([100.0, 101.0, 102.0, 103.0, 101.0], {"bb_dev": 5.0}, None, "rsi_or_bb"),  # only RSI
        ([100.0, 101.0, 102.0, 103.0, 104.0], {}, None, None),
    ],
)
def test_overbought_exits(
    engine: Any, direction: Direction, closes: list[float], params: Any, both: str | None, either: str | None
) -> None:
    bars = engine.closes(closes) if direction is LONG else upside_down(engine.closes(closes))
    chosen = {"rsi_period": 2, "bb_period": 2, "bb_dev": 1.0, **params}
    for mixin, said in (("RSIBBExitMixin", both), ("RSIOrBBExitMixin", either)):
        assert exits(engine, mixin, chosen, bars, held(100.0, direction)).said[-1] == said


@pytest.mark.parametrize("direction", [LONG, SHORT])
class TestMultiLevel:
    """Entered at bar 5's close at 100, ATR of bars and of long candles (2 bars) being 2."""

    PARAMS: Mapping[str, Any] = {
        "htf_atr_period": 2,
        "htf_compression": 2,
        "ltf_atr_period": 2,
        "micro_atr_period": 2,
        "vol_sma_period": 2,
    }
    FALL = ((100.0, 98.0, 98.0), (98.0, 96.0, 96.0), (96.0, 94.0, 94.9))
    RISE = ((102.0, 100.0, 102.0), (102.0, 100.0, 100.5))
    WIDE = ((103.0, 94.0, 94.5),)

    @pytest.mark.parametrize(
        ("tail", "params", "said"),
        [
            # the tactical stop is 100 - 4: a close on it is not below it
            (FALL, {}, [None, None, "atr_stop"]),
            # the strategic one was 95; it stays there when the long candle of bars 6 and 7 makes their ATR 3
            (FALL, {"ltf_sl_multiplier": 20.0}, [None, None, "atr_stop"]),
            (FALL, {"ltf_sl_multiplier": 20.0, "htf_sl_multiplier": 2.6}, [None, None, None]),  # 94.8
            # a gain of one ATR sets the break-even stop to 100.6
            (RISE, {"ltf_sl_multiplier": 20.0, "htf_sl_multiplier": 20.0}, [None, "atr_stop"]),
            (
                RISE,
                {"ltf_sl_multiplier": 20.0, "htf_sl_multiplier": 20.0, "be_buffer_multiplier": 0.2},
                [None, None],  # 100.4
            ),
            (
                RISE,
                {"ltf_sl_multiplier": 20.0, "htf_sl_multiplier": 20.0, "be_activation_atr": 1.1},
                [None, None],
            ),
            # ATR 5.5 is 1.47 × its mean of 3.75: the strategic stop is at 92.7 instead of 95
            (WIDE, {}, ["atr_stop"]),
            (WIDE, {"use_dynamic_k": True}, [None]),
        ],
    )
    def test_stops(self, engine: Any, direction: Direction, tail: Any, params: Any, said: list[str | None]) -> None:
        bars = path(engine, 6, *tail, direction=direction)
        host = exits(engine, "MultiLevelAtrExitMixin", {**self.PARAMS, **params}, bars, held(100.0, direction))
        assert host.said == [None, *said]


@pytest.mark.parametrize("direction", [LONG, SHORT])
class TestAdvancedATR:
    """Entered at bar 3's close at 100 with an ATR of 2: R is 4, the first stop at 96."""

    PARAMS: Mapping[str, Any] = {
        "k_init": 2.0,
        "k_run": 1.0,
        "k_phase2": 0.5,
        "p_fast": 2,
        "p_slow": 3,
        "use_htf_atr": False,
        "swing_lookback": 2,
        "struct_buffer_atr": 20.0,
    }
    UP = ((102.0, 100.0, 102.0), (104.0, 102.0, 104.0))
    """To 1 R."""
    UP2 = (*UP, (106.0, 104.0, 106.0), (108.0, 106.0, 108.0))
    """To 2 R."""

    @pytest.mark.parametrize(
        ("tail", "params", "fires"),
        [
            ([(100.0, 96.0, 99.0)], {}, True),  # low reaches it, close doesn't
            ([(100.0, 96.1, 96.1)], {}, False),
            ([*UP, (104.0, 102.0, 103.0)], {}, True),  # after 1 R the stop is 104 - 2
            ([*UP, (104.0, 102.0, 103.0)], {"arm_at_R": 1.1}, False),  # 104 - 4
            ([*UP, (104.0, 100.0, 103.0)], {"k_run": 20.0}, True),  # the entry price
            ([*UP, (104.0, 100.1, 103.0)], {"k_run": 20.0}, False),
            ([*UP2, (108.0, 107.0, 108.0)], {}, True),  # after 2 R it is 108 - 1
            ([*UP2, (108.0, 107.0, 108.0)], {"phase2_at_R": 2.1}, False),  # 108 - 2
            ([(108.0, 100.0, 108.0), (108.0, 105.5, 108.0)], {}, True),  # 2 R at once, ATR 5: 108 - 2.5
            ([(108.0, 100.0, 108.0), (108.0, 105.6, 108.0)], {}, False),
        ],
    )
    def test_stop(self, engine: Any, direction: Direction, tail: Any, params: Any, fires: bool) -> None:
        bars = path(engine, 4, *tail, direction=direction)
        host = exits(engine, "AdvancedATRExitMixin", {**self.PARAMS, **params}, bars, held(100.0, direction))
        assert host.said == [None] * len(tail) + ["atr_stop" if fires else None]

    @pytest.mark.parametrize(("low", "said"), [(98.5, "atr_stop"), (98.6, None)])
    def test_lowest_low_of_a_trade_that_is_old_enough(
        self, engine: Any, direction: Direction, low: float, said: str | None
    ) -> None:
        """Two bars with a low of 99, a quarter of ATR below: 98.5; every other stop is far away."""
        bars = path(engine, 4, (101.0, 99.0, 100.0), (101.0, 99.0, 100.0), (100.5, low, 100.0), direction=direction)
        chosen = {**self.PARAMS, "k_init": 20.0, "struct_buffer_atr": 0.25}
        assert exits(engine, "AdvancedATRExitMixin", chosen, bars, held(100.0, direction)).said[-1] == said

    def test_lows_before_the_entry_do_not_count(self, engine: Any, direction: Direction) -> None:
        bars = path(engine, 4, (101.0, 99.0, 100.0), (100.5, 98.5, 100.0), direction=direction)
        chosen = {**self.PARAMS, "k_init": 20.0, "struct_buffer_atr": 0.25}
        host = exits(engine, "AdvancedATRExitMixin", chosen, bars, held(100.0, direction))
        assert host.said == [None, None, None]

    def test_long_candles_count_with_their_atr(self, engine: Any, direction: Direction) -> None:
        """Bars of range 2 whose pairs reach from 99 to 102: ATR 2 and 3, so R is 6 instead of 4."""
        rows = [(101.0, 102.0, 100.0, 101.0), (100.0, 101.0, 99.0, 100.0)] * 4
        bars = bars_of(engine, *rows) if direction is LONG else upside_down(bars_of(engine, *rows))
        for use, risk in ((False, 4.0), (True, 6.0)):
            chosen = {**self.PARAMS, "use_htf_atr": use, "htf_compression": 2}
            host = exits(engine, "AdvancedATRExitMixin", chosen, bars, held(100.0, direction))
            assert host.states[0]["exit"]["state"]["risk"] == risk


@pytest.mark.parametrize(
    ("mixin", "params"),
    [
        ("MultiLevelAtrExitMixin", TestMultiLevel.PARAMS),
        ("AdvancedATRExitMixin", {**TestAdvancedATR.PARAMS, "struct_buffer_atr": 0.25}),
    ],
)
def test_stops_and_peaks_belong_to_one_trade(engine: Any, mixin: str, params: Mapping[str, Any]) -> None:
    """The first trade's peak of 200 must not close the second one at 100."""
    always = {"rsi_period": 2, "bb_period": 2, "rsi_oversold": 99.0}
    prices = [100.0, 101.0] * 5 + [102.0, 99.0, 140.0, 200.0, 110.0, 109.0, 108.9, 108.8, 108.7, 108.6]
    bars = [bar._replace(high=bar.high + 1, low=bar.low - 1) for bar in engine.closes(prices)]
    account = engine.run(bars, engine.custom("RSIOrBBEntryMixin", mixin, always, dict(params)))
    (peaked,) = [bar for bar, kind, _ in account.signals if kind == "exit" and bar in (14, 15)]
    later = [(bar, kind) for bar, kind, _ in account.signals if bar > peaked]
    assert later == [(peaked + 1, "enter")]
    assert account.state["exit"]["state"]["best"] < 115.0
    after_exit = engine.run(bars[: peaked + 1], engine.custom("RSIOrBBEntryMixin", mixin, always, dict(params)))
    assert set(after_exit.state["exit"]["state"].values()) == {None}


class Resumed(Scripted):
    """A host whose engine is built anew at a bar: warm-up without questions, then the state of the engine before."""

    def __init__(self, before: Scripted, first: int) -> None:
        super().__init__(before.position, tell=False)
        self.state, self.first = json.loads(json.dumps(before.states[-1])), first

    def on_bar(self, strategy: Any) -> None:
        if len(strategy) == self.first + 1:
            strategy.import_state(self.state)
        if len(strategy) > self.first:
            super().on_bar(strategy)


@pytest.mark.parametrize("direction", [LONG, SHORT])
@pytest.mark.parametrize(
    ("mixin", "params", "still", "tail", "saved"),
    [
        # the strategic stop of bar 6; at bar 8 it would be 92.5
        (
            "MultiLevelAtrExitMixin",
            {**TestMultiLevel.PARAMS, "ltf_sl_multiplier": 20.0},
            6,
            TestMultiLevel.FALL,
            {"best": 100.0, "stop": 95.0},
        ),
        # one R at bar 5, whose close is below its high: 106 - ATR of 3
        (
            "AdvancedATRExitMixin",
            TestAdvancedATR.PARAMS,
            4,
            ((102.0, 100.0, 102.0), (106.0, 104.0, 105.0), (105.0, 102.5, 103.0)),
            {"stop": 103.0, "risk": 4.0, "best": 106.0, "best_close": 105.0},
        ),
    ],
    ids=["multi-level", "advanced"],
)
def test_a_rebuild_keeps_the_stop(
    engine: Any, direction: Direction, mixin: str, params: Any, still: int, tail: Any, saved: Any
) -> None:
    bars = path(engine, still, *tail, direction=direction)
    before = exits(engine, mixin, dict(params), bars[:-1], held(100.0, direction))
    state = before.states[-1]["exit"]["state"]
    prices = {key: 200 - value if direction is SHORT and key != "risk" else value for key, value in state.items()}
    assert prices == pytest.approx(saved, abs=1e-3)
    resumed = Resumed(before, len(bars) - 1)
    engine.run(bars, engine.custom("RSIOrBBEntryMixin", mixin, SHORT_RSI, dict(params)), resumed)
    assert resumed.said == ["atr_stop"]


class TestAtDefaults:
    """Two entries ask for a low RSI within an uptrend and are silent on the real files: they can fire nevertheless."""

    def test_rsi_volume_supertrend(self, engine: Any) -> None:
        """Closes creep down, so RSI is 0, in bars so wide that SuperTrend's band is 30 away; the volume doubles."""
        rows = [(100.0 - n / 10, 105.0 - n / 10, 95.0 - n / 10, 100.1 - n / 10, 10.0) for n in range(30)]
        bars = changed(bars_of(engine, *rows), (29, {"volume": 20.0}))
        said = entries(engine, "RSIVolumeSupertrendEntryMixin", {}, bars)
        assert [reason for reason in said if reason] == ["rsi_volume_supertrend"]
        assert said[-1] == "rsi_volume_supertrend"

    def test_ichimoku(self, engine: Any) -> None:
        """A cloud at 60, drawn from wicks; closes creep down to 91.1 with RSI 0, then rise half a point through
        the conversion line at 91.5: RSI is 26."""
        closes = [100.0 - n / 10 for n in range(90)]
        rows = [(close, close, 20.0 if n < 70 else close, close) for n, close in enumerate(closes)]
        bars = bars_of(engine, *rows, (91.6, 91.6, 91.6, 91.6))
        said = entries(engine, "RSIIchimokuEntryMixin", {}, bars)
        assert [reason for reason in said if reason] == ["rsi_ichimoku"]
        assert said[-1] == "rsi_ichimoku"
