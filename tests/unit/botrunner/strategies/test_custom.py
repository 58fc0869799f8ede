"""Single rules of the mixins on hand-made bars, where each price has its reason."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from botrunner.strategies.base import Direction, SignalKind, StrategyHost
from botrunner.strategies.custom import CustomStrategy
from tests.unit.botrunner.strategies.scripted_host import SHORT_RSI, Scripted, entries, exits, held

FALLING = [100.0 - number for number in range(12)]
NEVER_BAND = {"bb_period": 2, "bb_dev": 5.0, "use_bb_touch": False}
"""With two bars the band is 5 half differences below the mean: close is never under it."""


class TestEntries:
    def test_rsi_at_the_level_counts(self, engine: Any) -> None:
        """+1 and -1: RSI is 50 exactly, on every second bar of a zigzag with period 2's first value."""
        bars = engine.closes([10.0, 11.0, 10.0])
        params = {**NEVER_BAND, "rsi_period": 2, "rsi_oversold": 50.0}
        assert entries(engine, "RSIOrBBEntryMixin", params, bars) == ["rsi_or_bb"]
        params["rsi_oversold"] = 49.9
        assert entries(engine, "RSIOrBBEntryMixin", params, bars) == [None]

    def test_touch(self, engine: Any) -> None:
        """With period 2 and deviation 1 a falling close lies on the lower band exactly."""
        bars = engine.closes([8.0, 6.0, 4.0, 2.0])
        params = {"rsi_period": 2, "rsi_oversold": 1.0, "bb_period": 2, "bb_dev": 1.0, "vol_ma_period": 2}
        params |= {"min_volume_ratio": 0.5}
        touch = entries(engine, "RSIBBVolumeEntryMixin", params, bars)
        assert touch == ["rsi_bb_volume", "rsi_bb_volume"]
        below = entries(engine, "RSIBBVolumeEntryMixin", {**params, "use_bb_touch": False}, bars)
        assert below == [None, None]

    def test_volume_must_exceed_its_mean(self, engine: Any) -> None:
        """Mean of 1 and 3 is 2: the last bar's volume is 1.5 × the mean, not more."""
        bars = engine.closes([8.0, 6.0, 4.0], volume=1.0)
        bars[-1] = bars[-1]._replace(volume=3.0)
        params = {"rsi_period": 2, "bb_period": 2, "bb_dev": 1.0, "vol_ma_period": 2, "min_volume_ratio": 1.5}
        assert entries(engine, "RSIBBVolumeEntryMixin", params, bars) == [None]
        params["min_volume_ratio"] = 1.49
        assert entries(engine, "RSIBBVolumeEntryMixin", params, bars) == ["rsi_bb_volume"]

    def test_rsi_cross_fires_once_on_the_way_up(self, engine: Any) -> None:
        bars = engine.closes([*FALLING, 89.0, 92.0, 96.0, 101.0])
        params = {**NEVER_BAND, "rsi_period": 3, "rsi_oversold": 30.0, "rsi_cross": True}
        said = entries(engine, "RSIOrBBEntryMixin", params, bars)
        assert [reason for reason in said if reason] == ["rsi_or_bb"]

    def test_reentry_into_the_band_fires_once_not_on_every_bar_above_it(self, engine: Any) -> None:
        """Flat, one plunge under the band, back: only the bar of the return counts. The first rise keeps RSI > 0."""
        bars = engine.closes([99.0, *[100.0] * 29, 90.0, 100.0, 100.5, 101.0])
        params = {"rsi_oversold": 0.001, "bb_period": 20, "bb_dev": 2.0, "bb_reentry": True}
        said = entries(engine, "RSIOrBBEntryMixin", params | {"use_bb_touch": False}, bars)
        fired = [position for position, reason in enumerate(said, start=len(bars) - len(said)) if reason]
        assert fired == [31]

    @pytest.mark.parametrize("cooldown", [0, 1, 3])
    def test_cooldown_counts_closed_bars_after_the_exit(self, engine: Any, cooldown: int) -> None:
        params = {**SHORT_RSI, "rsi_oversold": 99.0, "cooldown_bars": cooldown}
        chosen = engine.custom("RSIOrBBEntryMixin", "TimeBasedExitMixin", params, {"max_bars": 2})
        signals = engine.run(engine.closes([float(100 - n) for n in range(20)]), chosen).signals
        exited, entered = signals[1][0], signals[2][0]
        assert (signals[1][1], signals[2][1]) == ("exit", "enter")
        assert entered - exited == cooldown + 1


class TestFixedRatio:
    PARAMS: ClassVar = {"take_profit": 0.10, "stop_loss": 0.05}

    @pytest.mark.parametrize(
        ("direction", "close", "said"),
        [
            (Direction.LONG, 110.1, "take_profit"),
            (Direction.LONG, 109.9, None),
            (Direction.LONG, 95.1, None),
            (Direction.LONG, 95.0, "stop_loss"),
            (Direction.SHORT, 89.9, "take_profit"),
            (Direction.SHORT, 90.1, None),
            (Direction.SHORT, 104.9, None),
            (Direction.SHORT, 105.0, "stop_loss"),
        ],
    )
    def test_ratios(self, engine: Any, direction: Direction, close: float, said: str | None) -> None:
        bars = engine.closes([100.0, 100.0, 100.0, close])
        host = exits(engine, "FixedRatioExitMixin", self.PARAMS, bars, held(100.0, direction))
        assert host.said == [None, said]

    def test_only_the_close_counts(self, engine: Any) -> None:
        bars = engine.closes([100.0] * 4)
        bars[-1] = bars[-1]._replace(high=150.0, low=50.0)
        assert exits(engine, "FixedRatioExitMixin", self.PARAMS, bars, held(100.0)).said == [None, None]


class TestATR:
    PARAMS: ClassVar = {"atr_period": 2, "sl_multiplier": 1.0}

    def bars(self, engine: Any, *tail: tuple[float, float, float]) -> Any:
        """Three bars with a range of 2 (ATR 2), then bars of (high, low, close)."""
        start = [engine.bar(n, 100.0, 101.0, 99.0, 100.0) for n in range(3)]
        return start + [engine.bar(n, close, high, low, close) for n, (high, low, close) in enumerate(tail, start=3)]

    def test_the_stop_follows_the_highest_high_and_never_falls(self, engine: Any) -> None:
        bars = self.bars(engine, (110.0, 100.0, 109.0), (109.0, 108.0, 108.1), (108.2, 107.0, 108.0))
        host = exits(engine, "ATRExitMixin", self.PARAMS, bars, held(100.0))
        assert host.said == [None, None, None, "atr_stop"]  # 110 - 2: at 108 close reaches it

    def test_the_atr_is_that_of_the_entry(self, engine: Any) -> None:
        """A wide bar doubles the ATR; the stop stays 2 under the highest high."""
        bars = self.bars(engine, (104.0, 90.0, 102.5), (103.0, 101.9, 101.9))
        host = exits(engine, "ATRExitMixin", self.PARAMS, bars, held(100.0))
        assert host.said == [None, None, "atr_stop"]
        assert host.states[0]["exit"]["state"] == {"best": 100.0, "atr": 2.0}

    def test_highs_before_the_entry_do_not_count(self, engine: Any) -> None:
        bars = self.bars(engine, (100.0, 98.5, 98.5))
        host = exits(engine, "ATRExitMixin", self.PARAMS, bars, held(100.0))
        assert host.said == [None, None]  # stop 98; from the signal bar's high of 101 it would be 99

    def test_short(self, engine: Any) -> None:
        bars = self.bars(engine, (100.0, 90.0, 91.0), (92.0, 91.0, 92.0))
        host = exits(engine, "ATRExitMixin", self.PARAMS, bars, held(100.0, Direction.SHORT))
        assert host.said == [None, None, "atr_stop"]

    def test_a_position_taken_over_from_another_mixin_is_followed_from_its_entry_price(self, engine: Any) -> None:
        bars = self.bars(engine, (100.0, 97.0, 97.0))
        host = exits(engine, "ATRExitMixin", self.PARAMS, bars, held(100.0), tell=False)
        assert host.said == [None, "atr_stop"]

    def test_an_entry_before_the_first_atr_freezes_the_first_one(self, engine: Any) -> None:
        """As after a change of configuration with too little history: the bot tells of fills at any bar."""
        states: list[Any] = []

        class Early(CustomStrategy):
            def prenext(self) -> None:
                self.on_entered(held(100.0))
                states.append(self._exit.export_state())

        host = Scripted(held(100.0), tell=False)
        bars = self.bars(engine, (101.0, 99.0, 100.0))
        chosen = engine.custom("RSIOrBBEntryMixin", "ATRExitMixin", SHORT_RSI, {"atr_period": 3})
        engine.run(bars, chosen, host, strategy=Early)
        assert states[-1] == {"best": 100.0, "atr": None}
        assert host.states[0]["exit"]["state"] == {"best": 101.0, "atr": 2.0}


class TestTrailingStop:
    def test_the_peak_belongs_to_one_trade(self, engine: Any) -> None:
        """The first trade's peak of 200 must not close the second trade at 100 at once."""
        chosen = engine.custom(
            "RSIOrBBEntryMixin",
            "TrailingStopExitMixin",
            {**SHORT_RSI, "rsi_oversold": 99.0},
            {"trail_pct": 0.05},
        )
        prices = [100.0, 99.0, 98.0, 150.0, 200.0, 100.0, 99.0, 98.0, 97.5, 97.0]
        signals = engine.run(engine.closes(prices), chosen).signals
        assert [(bar, kind) for bar, kind, _ in signals] == [(2, "enter"), (5, "exit"), (6, "enter")]

    @pytest.mark.parametrize(
        ("closes", "said"),
        [
            ([100.0, 90.0], [None, None]),  # never up 5 %: not active, however deep it falls
            ([105.0, 103.0], [None, None]),  # active; 105 - 2 % is 102.9
            ([105.0, 102.8], [None, "trailing_stop"]),
            ([105.0, 104.0, 102.8], [None, None, "trailing_stop"]),
        ],
    )
    def test_activation(self, engine: Any, closes: list[float], said: list[str | None]) -> None:
        bars = engine.closes([100.0, 100.0, 100.0, *closes])
        params = {"trail_pct": 0.02, "activation_pct": 0.05}
        assert exits(engine, "TrailingStopExitMixin", params, bars, held(100.0)).said[1:] == said

    def test_short(self, engine: Any) -> None:
        bars = engine.closes([100.0, 100.0, 100.0, 90.0, 91.7, 91.9])
        host = exits(engine, "TrailingStopExitMixin", {"trail_pct": 0.02}, bars, held(100.0, Direction.SHORT))
        assert host.said == [None, None, None, "trailing_stop"]  # 90 + 2 % is 91.8

    def test_distance_in_current_atr(self, engine: Any) -> None:
        """Flat bars with a range of 2: ATR 2, so close 3 under the peak is beyond one ATR, 2 is not."""
        bars = [engine.bar(n, 100.0, 101.0, 99.0, 100.0) for n in range(4)]
        bars += [engine.bar(4, 100.0, 100.0, 98.0, 98.0), engine.bar(5, 98.0, 98.0, 96.9, 96.9)]
        params = {"use_atr": True, "atr_multiplier": 1.0, "atr_period": 2}
        host = exits(engine, "TrailingStopExitMixin", params, bars, held(100.0))
        assert host.said == [None, None, None, "trailing_stop"]


class TestTimeBased:
    @pytest.mark.parametrize(
        ("params", "bars_held"),
        [
            ({"max_bars": 1}, 1),
            ({"max_bars": 3}, 3),
            ({"use_time": True, "max_minutes": 10, "max_bars": 1}, 2),
            ({"use_time": True, "max_minutes": 11}, 3),
        ],
    )
    def test_bars_and_minutes(self, engine: Any, params: dict[str, Any], bars_held: int) -> None:
        bars = engine.closes([100.0] * 10)
        host = exits(engine, "TimeBasedExitMixin", params, bars, held(100.0, bar=3))  # entered at bar 2's close
        assert host.said.index("time") == bars_held

    def test_missing_candles_count_as_time(self, engine: Any) -> None:
        bars = engine.closes([100.0] * 4)
        bars[-1] = bars[-1]._replace(opened=300 * 30)
        host = exits(engine, "TimeBasedExitMixin", {"use_time": True}, bars, held(100.0, bar=3))
        assert host.said == [None, "time"]


class TestState:
    def test_state_of_another_mixin_is_not_taken(self, engine: Any) -> None:
        taken: list[Any] = []

        class Importer(StrategyHost):
            def on_bar(self, strategy: Any) -> None:
                other = {"mixin": "TrailingStopExitMixin", "state": {"best": 5.0, "atr": 1.0}}
                strategy.import_state({"exit": other})
                taken.append(strategy.export_state())

        chosen = engine.custom("RSIOrBBEntryMixin", "ATRExitMixin", SHORT_RSI, {"atr_period": 2})
        engine.run(engine.closes([1.0] * 4), chosen, Importer())
        assert taken[0]["exit"] == {"mixin": "ATRExitMixin", "state": {"best": None, "atr": None}}

    @pytest.mark.parametrize("broken", ["5.0", float("nan"), True, [1]])
    def test_damaged_state_is_refused(self, engine: Any, broken: object) -> None:
        class Importer(StrategyHost):
            def on_bar(self, strategy: Any) -> None:
                strategy.import_state({"exit": {"mixin": "ATRExitMixin", "state": {"best": broken}}})

        chosen = engine.custom("RSIOrBBEntryMixin", "ATRExitMixin", SHORT_RSI, {"atr_period": 2})
        with pytest.raises(ValueError, match="best must be a finite number or null"):
            engine.run(engine.closes([1.0] * 4), chosen, Importer())


def test_signals_say_what_they_want(engine: Any) -> None:
    kinds = []

    class Host(Scripted):
        def on_bar(self, strategy: Any) -> None:
            kinds.append(strategy.decide(None))

    params = {**SHORT_RSI, "rsi_oversold": 99.0}
    engine.run(engine.closes(FALLING), engine.custom("RSIOrBBEntryMixin", "TimeBasedExitMixin", params), Host(None))
    assert {(signal.kind, signal.direction) for signal in kinds} == {(SignalKind.ENTER, Direction.LONG)}
