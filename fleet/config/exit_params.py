"""Parameters of the built-in exit mixins: defaults, ranges, meaning. Pure: no I/O."""

from __future__ import annotations

from typing import Annotated, Literal

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
        faster(fast=self.fast_period, slow=self.slow_period, names=("fast_period", "slow_period"))
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


class MultiLevelAtrExitParams(MixinParams):
    """Parameters of MultiLevelAtrExitMixin."""

    htf_atr_period: Period = Field(14, description="Long candles of the strategic stop's ATR.")
    htf_sl_multiplier: Multiplier = Field(
        2.5, description="Distance of the strategic stop from the entry price, in ATR of the long candles."
    )
    ltf_atr_period: Period = Field(14, description="Bars of the tactical stop's ATR.")
    ltf_sl_multiplier: Multiplier = Field(
        2.0, description="Distance of the tactical stop from the best price since the entry, in current ATR."
    )
    micro_atr_period: Period = Field(14, description="Bars of the break-even stop's ATR.")
    be_activation_atr: Multiplier = Field(
        1.0, description="Gain of the close, in the tactical stop's ATR, that sets the break-even stop."
    )
    be_buffer_multiplier: Annotated[float, Field(ge=0, le=20)] = Field(
        0.3, description="Distance of the break-even stop beyond the entry price, in its ATR."
    )
    use_dynamic_k: bool = Field(
        False, description="Multiply both distances by ATR relative to its own mean, the mean being 1."
    )
    vol_sma_period: Period = Field(50, description="Bars of that mean ATR, with use_dynamic_k.")
    htf_compression: Period = Field(16, description="Bars of one long candle, aligned to 1970-01-01 UTC.")

    @property
    def bars_needed(self) -> int:
        """The long candles look back furthest; true range needs the close before."""
        mean = self.ltf_atr_period + self.vol_sma_period if self.use_dynamic_k else 0
        long = (self.htf_atr_period + 1) * self.htf_compression
        return max(long, mean, self.ltf_atr_period + 1, self.micro_atr_period + 1)


class AdvancedATRExitParams(MixinParams):
    """Parameters of AdvancedATRExitMixin."""

    k_init: Multiplier = Field(
        2.5, description="Distance of the first stop from the entry price, in ATR: one R. Also of the trailing stop."
    )
    k_run: Multiplier = Field(2.0, description="Distance of the trailing stop in ATR after a gain of arm_at_R.")
    k_phase2: Multiplier = Field(1.5, description="Distance of the trailing stop in ATR after a gain of phase2_at_R.")
    p_fast: Period = Field(7, description="Bars of the fast ATR; the largest of all ATRs counts.")
    p_slow: Period = Field(21, description="Bars of the slow ATR.")
    use_htf_atr: bool = Field(
        True, description="Whether the ATR of long candles counts too; its period is the longer of p_fast and p_slow."
    )
    htf_compression: Period = Field(
        16, description="Bars of one long candle, aligned to 1970-01-01 UTC, with use_htf_atr."
    )
    swing_lookback: Period = Field(
        10, description="Bars whose lowest low the stop stays below, once the trade is that old."
    )
    struct_buffer_atr: Annotated[float, Field(ge=0, le=20)] = Field(
        0.25, description="Distance of the stop from that low, in ATR."
    )
    arm_at_R: Multiplier = Field(  # noqa: N815 - R is the word for a trade's risk
        1.0, description="Gain in R that moves the stop to the entry price."
    )
    phase2_at_R: Multiplier = Field(  # noqa: N815
        2.0, description="Gain in R from which k_phase2 holds; at least arm_at_R."
    )

    @property
    def bars_needed(self) -> int:
        """True range needs the close before."""
        slowest = max(self.p_fast, self.p_slow)
        long = (slowest + 1) * self.htf_compression if self.use_htf_atr else 0
        return max(long, slowest + 1, self.swing_lookback)

    @model_validator(mode="after")
    def _in_order(self) -> AdvancedATRExitParams:
        if self.arm_at_R > self.phase2_at_R:
            raise PydanticCustomError(
                "phases", f"arm_at_R {self.arm_at_R} must be at most phase2_at_R {self.phase2_at_R}"
            )
        return self


class EOMBreakdownExitParams(EaseOfMovement, SwingLevels):
    """Parameters of EOMBreakdownExitMixin."""

    breakdown_threshold: Threshold = Field(
        0.002, description="The breakdown condition is close < the previous bar's support × (1 - this fraction)."
    )
    vol_ma_period: Period = Field(20, description="Bars of the mean volume that volume must exceed.")
    atr_period: Period = Field(14, description="Bars of Wilder's average true range, which must rise.")

    @property
    def bars_needed(self) -> int:
        """ATR is compared with that of the bar before."""
        return max(self.vol_ma_period, self.atr_period + 2, super().bars_needed)


class EOMMAcdBreakdownExitParams(EaseOfMovement, SwingLevels):
    """Parameters of EOMMAcdBreakdownExitMixin."""

    support_threshold: Threshold = Field(
        0.002, description="The breakdown condition is close < the previous bar's support × (1 - this fraction)."
    )
    macd_fast_period: Period = Field(
        12, description="Bars of MACD's fast exponential mean; fewer than macd_slow_period."
    )
    macd_slow_period: Period = Field(26, description="Bars of MACD's slow exponential mean.")
    macd_signal_period: Period = Field(9, description="Bars of MACD's signal.")
    vol_ma_period: Period = Field(20, description="Bars of the mean volume that volume must exceed.")

    @property
    def bars_needed(self) -> int:
        """MACD looks back furthest."""
        macd = macd_bars(slow=self.macd_slow_period, signal=self.macd_signal_period)
        return max(macd, self.vol_ma_period, super().bars_needed)

    @model_validator(mode="after")
    def _fast_is_faster(self) -> EOMMAcdBreakdownExitParams:
        names = ("macd_fast_period", "macd_slow_period")
        faster(fast=self.macd_fast_period, slow=self.macd_slow_period, names=names)
        return self


class EOMRejectionExitParams(EaseOfMovement, SwingLevels):
    """Parameters of EOMRejectionExitMixin."""

    resistance_threshold: NearLevel = Field(
        0.995, description="The rejection condition is high ≥ resistance × this multiple."
    )
    rsi_overbought: Oscillator = Field(60.0, description="The RSI condition is RSI > this level, and falling.")
    rsi_period: Period = Field(14, description="Bars of Wilder's RSI of the close.")

    @property
    def bars_needed(self) -> int:
        """RSI is compared with that of the bar before."""
        return max(self.rsi_period + 2, super().bars_needed)
