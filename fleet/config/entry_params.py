"""Parameters of the built-in entry mixins: defaults, ranges, meaning. Pure: no I/O.

Groups of parameters are put together by inheritance; each adds the bars that it looks back.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from fleet.config.params import (
    EaseOfMovement,
    MixinParams,
    Multiplier,
    NearLevel,
    Oscillator,
    Period,
    SwingLevels,
    Threshold,
    faster,
    macd_bars,
)
from fleet.config.values import Whole


class Oversold(MixinParams):
    """An RSI that is low."""

    rsi_period: Period = Field(14, description="Bars of Wilder's RSI of the close.")
    rsi_oversold: Oscillator = Field(30.0, description="The RSI condition is RSI ≤ this level.")

    @property
    def bars_needed(self) -> int:
        """RSI needs one bar more than its period."""
        return max(self.rsi_period + 1, super().bars_needed)


class LowerBand(MixinParams):
    """A close at the lower Bollinger band."""

    bb_period: Period = Field(20, description="Bars of the Bollinger bands' mean and deviation.")
    bb_dev: Annotated[float, Field(gt=0, le=10)] = Field(
        2.0, description="Half width of the bands in population standard deviations."
    )
    use_bb_touch: bool = Field(
        True, description="The band condition is close ≤ lower band; when false, close < lower band."
    )

    @property
    def bars_needed(self) -> int:
        """As many as the bands look back."""
        return max(self.bb_period, super().bars_needed)


class BusyVolume(MixinParams):
    """A volume above its mean."""

    vol_ma_period: Period = Field(20, description="Bars of the mean volume, the current one included.")
    min_volume_ratio: Multiplier = Field(1.1, description="The volume condition is volume > mean volume × this ratio.")

    @property
    def bars_needed(self) -> int:
        """As many as the mean looks back."""
        return max(self.vol_ma_period, super().bars_needed)


class Uptrend(MixinParams):
    """A SuperTrend that points up."""

    st_period: Period = Field(10, description="Bars of the SuperTrend's mean true range.")
    st_multiplier: Multiplier = Field(3.0, description="Distance of its bands in mean true ranges.")

    @property
    def bars_needed(self) -> int:
        """True range needs the close before."""
        return max(self.st_period + 1, super().bars_needed)


class Crossings(Oversold, LowerBand):
    """RSI and band, either of them optionally on the way back, and a pause after exits."""

    rsi_cross: bool = Field(False, description="The RSI condition is that RSI crosses up through the level instead.")
    cooldown_bars: Annotated[Whole, Field(ge=0, le=10_000)] = Field(
        0, description="No entry at closes up to so many bars after an exit; missing candles count."
    )

    @property
    def bars_needed(self) -> int:
        """A crossing compares two bars."""
        return max(self.rsi_period + 1 + self.rsi_cross, super().bars_needed)


class RSIBBEntryParams(Crossings):
    """Parameters of RSIBBEntryMixin."""

    bb_reentry: bool = Field(False, description="The band condition is close > lower band instead.")


class RSIOrBBEntryParams(Crossings):
    """Parameters of RSIOrBBEntryMixin."""

    bb_reentry: bool = Field(
        False, description="The band condition is that close crosses up through the lower band instead."
    )

    @property
    def bars_needed(self) -> int:
        """A crossing compares two bars."""
        return max(self.bb_period + self.bb_reentry, super().bars_needed)


class RSIBBVolumeEntryParams(Oversold, LowerBand, BusyVolume):
    """Parameters of RSIBBVolumeEntryMixin."""


class BBVolumeSuperTrendEntryParams(LowerBand, BusyVolume, Uptrend):
    """Parameters of BBVolumeSuperTrendEntryMixin."""


class RSIVolumeSupertrendEntryParams(Oversold, BusyVolume, Uptrend):
    """Parameters of RSIVolumeSupertrendEntryMixin."""

    min_volume_ratio: Multiplier = Field(1.5, description="The volume condition is volume > mean volume × this ratio.")


class RSIIchimokuEntryParams(Oversold):
    """Parameters of RSIIchimokuEntryMixin."""

    tenkan_period: Period = Field(9, description="Bars of the conversion line.")
    kijun_period: Period = Field(26, description="Bars of the base line, and by how many the cloud is led.")
    senkou_period: Period = Field(52, description="Bars of the cloud's slow side.")

    @property
    def bars_needed(self) -> int:
        """The cloud of this bar was drawn kijun_period bars ago."""
        longest = max(self.tenkan_period, self.kijun_period, self.senkou_period)
        return max(longest + self.kijun_period, self.tenkan_period + 1, super().bars_needed)


class EOMBreakoutEntryParams(EaseOfMovement, SwingLevels):
    """Parameters of EOMBreakoutEntryMixin."""

    breakout_threshold: Threshold = Field(
        0.002, description="The breakout condition is close > the previous bar's resistance × (1 + this fraction)."
    )
    use_atr_filter: bool = Field(True, description="Whether ATR > mean ATR is a condition.")
    rsi_overbought: Oscillator = Field(70.0, description="The RSI condition is RSI < this level.")
    volume_sma_period: Period = Field(20, description="Bars of the mean volume that volume must exceed.")
    atr_period: Period = Field(14, description="Bars of Wilder's average true range, with use_atr_filter.")
    atr_sma_period: Period = Field(100, description="Bars of the mean ATR, with use_atr_filter.")
    rsi_period: Period = Field(14, description="Bars of Wilder's RSI of the close.")

    @property
    def bars_needed(self) -> int:
        """The mean ATR looks back furthest."""
        volatility = self.atr_period + self.atr_sma_period if self.use_atr_filter else 0
        return max(volatility, self.volume_sma_period, self.rsi_period + 1, super().bars_needed)


class EOMMAcdBreakoutEntryParams(EaseOfMovement, SwingLevels):
    """Parameters of EOMMAcdBreakoutEntryMixin."""

    resistance_range_low: NearLevel = Field(
        0.995, description="Lowest close near resistance, as a multiple of the previous bar's resistance."
    )
    resistance_range_high: NearLevel = Field(
        1.002, description="Highest close near resistance; more than resistance_range_low."
    )
    volume_threshold: Multiplier = Field(0.8, description="The volume condition is volume ≥ mean volume × this ratio.")
    macd_fast: Period = Field(12, description="Bars of MACD's fast exponential mean; fewer than macd_slow.")
    macd_slow: Period = Field(26, description="Bars of MACD's slow exponential mean.")
    macd_signal: Period = Field(9, description="Bars of MACD's signal.")
    vol_sma_period: Period = Field(20, description="Bars of the mean volume, the current one included.")

    @property
    def bars_needed(self) -> int:
        """MACD looks back furthest."""
        macd = macd_bars(slow=self.macd_slow, signal=self.macd_signal)
        return max(macd, self.vol_sma_period, super().bars_needed)

    @model_validator(mode="after")
    def _in_order(self) -> EOMMAcdBreakoutEntryParams:
        faster(fast=self.macd_fast, slow=self.macd_slow, names=("macd_fast", "macd_slow"))
        low, high = self.resistance_range_low, self.resistance_range_high
        if low >= high:
            raise PydanticCustomError(
                "range", f"resistance_range_low {low} must be less than resistance_range_high {high}"
            )
        return self


class EOMPullbackEntryParams(EaseOfMovement, SwingLevels):
    """Parameters of EOMPullbackEntryMixin."""

    support_threshold: Threshold = Field(
        0.005, description="The pullback condition is low ≤ support × (1 + this fraction)."
    )
    rsi_oversold: Oscillator = Field(40.0, description="The RSI condition is RSI < this level, and rising.")
    atr_floor_multiplier: Multiplier = Field(
        0.9, description="The volatility condition is ATR > mean ATR × this ratio."
    )
    rsi_period: Period = Field(14, description="Bars of Wilder's RSI of the close.")
    atr_period: Period = Field(14, description="Bars of Wilder's average true range.")
    atr_sma_period: Period = Field(100, description="Bars of the mean ATR.")

    @property
    def bars_needed(self) -> int:
        """RSI is compared with that of the bar before."""
        return max(self.atr_period + self.atr_sma_period, self.rsi_period + 2, super().bars_needed)
