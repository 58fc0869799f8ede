"""Parameters of the built-in exit mixins: defaults, ranges, meaning. Pure: no I/O."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from fleet.config.params import MixinParams, Multiplier, Oscillator, Period
from fleet.config.values import Whole


class AverageRange(MixinParams):
    """An average true range."""

    atr_period: Period = Field(14, description="Bars of Wilder's average true range.")

    @property
    def bars_needed(self) -> int:
        """True range needs the close before."""
        return self.atr_period + 1


class ATRExitParams(AverageRange):
    """Parameters of ATRExitMixin."""

    sl_multiplier: Multiplier = Field(
        2.0, description="Distance of the stop from the best price, in ATR as of the entry."
    )


class SimpleATRExitParams(AverageRange):
    """Parameters of SimpleATRExitMixin."""

    atr_multiplier: Multiplier = Field(2.0, description="Distance of the stop from the close, in current ATR.")
    breakeven_atr: Multiplier = Field(1.0, description="Gain in current ATR that moves the stop to the entry price.")
    use_breakeven: bool = Field(True, description="Whether the stop is ever moved to the entry price.")


class FixedRatioExitParams(MixinParams):
    """Parameters of FixedRatioExitMixin."""

    take_profit: Annotated[float, Field(gt=0, le=100)] = Field(
        0.10, description="Exit when close ≥ entry price × (1 + this fraction)."
    )
    stop_loss: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.05, description="Exit when close ≤ entry price × (1 - this fraction)."
    )


class TrailingStopExitParams(MixinParams):
    """Parameters of TrailingStopExitMixin."""

    trail_pct: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.02, description="Distance of the stop below the highest close, as a fraction of it."
    )
    activation_pct: Annotated[float, Field(ge=0, le=100)] = Field(
        0.0, description="The stop is active once close has reached entry price × (1 + this fraction)."
    )
    use_atr: bool = Field(False, description="Measure the distance in current ATR instead of trail_pct.")
    atr_multiplier: Multiplier = Field(2.0, description="Distance in ATR, with use_atr.")
    atr_period: Period = Field(14, description="Bars of Wilder's average true range, with use_atr.")

    @property
    def bars_needed(self) -> int:
        """Only the ATR looks back."""
        return self.atr_period + 1 if self.use_atr else 1


class TimeBasedExitParams(MixinParams):
    """Parameters of TimeBasedExitMixin."""

    max_bars: Annotated[Whole, Field(ge=1, le=100_000)] = Field(
        20, description="Exit after so many closed bars since the entry's bar."
    )
    use_time: bool = Field(False, description="Count minutes instead of bars.")
    max_minutes: Annotated[Whole, Field(ge=1, le=5_256_000)] = Field(
        60, description="Exit after so many minutes between the fill and a bar's close, with use_time."
    )


class MACrossoverExitParams(MixinParams):
    """Parameters of MACrossoverExitMixin."""

    fast_period: Period = Field(10, description="Bars of the fast moving average; fewer than the slow one's.")
    slow_period: Period = Field(20, description="Bars of the slow moving average.")
    ma_type: Literal["SMA", "EMA"] = Field("SMA", description="Simple or exponential average of the close.")

    @property
    def bars_needed(self) -> int:
        """A crossing compares two bars."""
        return self.slow_period + 1

    @model_validator(mode="after")
    def _fast_is_faster(self) -> MACrossoverExitParams:
        if self.fast_period >= self.slow_period:
            raise PydanticCustomError(
                "periods", f"fast_period {self.fast_period} must be less than slow_period {self.slow_period}"
            )
        return self


class Overbought(MixinParams):
    """Parameters of RSIBBExitMixin and RSIOrBBExitMixin."""

    rsi_period: Period = Field(14, description="Bars of Wilder's RSI of the close.")
    rsi_overbought: Oscillator = Field(70.0, description="The RSI condition is that RSI falls back under this level.")
    bb_period: Period = Field(20, description="Bars of the Bollinger bands' mean and deviation.")
    bb_dev: Annotated[float, Field(gt=0, le=10)] = Field(
        2.0, description="Half width of the bands in population standard deviations."
    )

    @property
    def bars_needed(self) -> int:
        """A crossing compares two bars, and RSI needs one bar more than its period."""
        return max(self.rsi_period + 2, self.bb_period + 1)


class RSIBBExitParams(Overbought):
    """Parameters of RSIBBExitMixin."""


class RSIOrBBExitParams(Overbought):
    """Parameters of RSIOrBBExitMixin."""
