"""Parameters of the built-in entry and exit mixins of CustomStrategy: defaults, ranges, meaning.

The one place for them: the bot's mixins take these models, the validation, the JSON Schema and the
documentation are made from them. A model is registered here only together with its implementation in
botrunner/strategies/. Ratios are fractions (0.02 is 2 %) unless a name ends in `_pct` of a whole percentage;
periods count closed bars. Pure: no I/O, no Backtrader.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from fleet.config.values import Whole

Period = Annotated[Whole, Field(ge=2, le=500)]
Oscillator = Annotated[float, Field(gt=0, lt=100)]
"""A level of an oscillator between 0 and 100."""
Multiplier = Annotated[float, Field(gt=0, le=20)]


class MixinParams(BaseModel):
    """Base of all parameter models: frozen, strict, no unknown keys, no NaN."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)

    @property
    def bars_needed(self) -> int:
        """Closed bars until the mixin can judge for the first time."""
        return 1


class RSIBand(MixinParams):
    """What mixins with an RSI level and a lower Bollinger band share."""

    rsi_period: Period = Field(14, description="Bars of Wilder's RSI of the close.")
    rsi_oversold: Oscillator = Field(30.0, description="The RSI condition is RSI ≤ this level.")
    bb_period: Period = Field(20, description="Bars of the Bollinger bands' mean and deviation.")
    bb_dev: Annotated[float, Field(gt=0, le=10)] = Field(
        2.0, description="Half width of the bands in population standard deviations."
    )
    use_bb_touch: bool = Field(
        True, description="The band condition is close ≤ lower band; when false, close < lower band."
    )

    @property
    def bars_needed(self) -> int:
        """RSI needs one bar more than its period."""
        return max(self.rsi_period + 1, self.bb_period)


class RSIOrBBEntryParams(RSIBand):
    """Parameters of RSIOrBBEntryMixin."""

    rsi_cross: bool = Field(False, description="The RSI condition is that RSI crosses up through the level instead.")
    bb_reentry: bool = Field(
        False, description="The band condition is that close crosses up through the lower band instead."
    )
    cooldown_bars: Annotated[Whole, Field(ge=0, le=10_000)] = Field(
        0, description="Closed bars after an exit without a new entry."
    )

    @property
    def bars_needed(self) -> int:
        """A crossing compares two bars."""
        rsi = self.rsi_period + 1 + self.rsi_cross
        return max(rsi, self.bb_period + self.bb_reentry)


class RSIBBVolumeEntryParams(RSIBand):
    """Parameters of RSIBBVolumeEntryMixin."""

    vol_ma_period: Period = Field(20, description="Bars of the mean volume, the current one included.")
    min_volume_ratio: Multiplier = Field(1.1, description="The volume condition is volume > mean volume × this ratio.")

    @property
    def bars_needed(self) -> int:
        """The longest of the three indicators."""
        return max(super().bars_needed, self.vol_ma_period)


class ATRExitParams(MixinParams):
    """Parameters of ATRExitMixin."""

    atr_period: Period = Field(14, description="Bars of Wilder's average true range.")
    sl_multiplier: Multiplier = Field(
        2.0, description="Distance of the stop from the best price, in ATR as of the entry."
    )

    @property
    def bars_needed(self) -> int:
        """True range needs the close before."""
        return self.atr_period + 1


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
        60, description="Exit after so many minutes between the entry's bar and this one, with use_time."
    )


ENTRY_PARAMS: Mapping[str, type[MixinParams]] = MappingProxyType(
    {
        "RSIBBVolumeEntryMixin": RSIBBVolumeEntryParams,
        "RSIOrBBEntryMixin": RSIOrBBEntryParams,
    }
)
"""Built-in entry mixins and their parameters."""

EXIT_PARAMS: Mapping[str, type[MixinParams]] = MappingProxyType(
    {
        "ATRExitMixin": ATRExitParams,
        "FixedRatioExitMixin": FixedRatioExitParams,
        "TrailingStopExitMixin": TrailingStopExitParams,
        "TimeBasedExitMixin": TimeBasedExitParams,
    }
)
"""Built-in exit mixins and their parameters."""
