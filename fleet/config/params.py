"""What the parameter models of mixins have in common: strictness, kinds of values, bars needed.

Ratios are fractions (0.02 is 2 %); periods count closed bars. Pure: no I/O.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from fleet.config.values import Whole

Period = Annotated[Whole, Field(ge=2, le=500)]
Oscillator = Annotated[float, Field(gt=0, lt=100)]
"""A level of an oscillator between 0 and 100."""
Multiplier = Annotated[float, Field(gt=0, le=20)]
Threshold = Annotated[float, Field(ge=0, lt=1)]
"""A distance from a price, as a fraction of it."""
NearLevel = Annotated[float, Field(gt=0, lt=2)]
"""A price near a level, as a multiple of it."""
Lookback = Annotated[Whole, Field(ge=1, le=50)]


class MixinParams(BaseModel):
    """Base of all parameter models: frozen, strict, no unknown keys, no NaN."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)

    @property
    def bars_needed(self) -> int:
        """Closed bars until the mixin can judge for the first time."""
        return 1


class EaseOfMovement(MixinParams):
    """Ease of movement beside that of the bar before."""

    eom_period: Period = Field(14, description="Bars of the mean ease of movement.")

    @property
    def bars_needed(self) -> int:
        """It needs the bar before, and is compared with its value there."""
        return max(self.eom_period + 2, super().bars_needed)


class SwingLevels(MixinParams):
    """Support and resistance of this or the previous bar."""

    resistance_lookback: Lookback = Field(
        2, description="Bars on each side of a swing that confirm it as support or resistance."
    )

    @property
    def bars_needed(self) -> int:
        """A swing with its neighbours, and one bar more for the previous bar's levels."""
        return max(2 * self.resistance_lookback + 2, super().bars_needed)


def macd_bars(*, slow: int, signal: int) -> int:
    """Closed bars until MACD and its signal can have crossed: both at two bars."""
    return slow + signal


def faster(*, fast: int, slow: int, names: tuple[str, str]) -> None:
    """Check two periods.

    Raises:
        PydanticCustomError: the fast one isn't less than the slow one.
    """
    if fast >= slow:
        raise PydanticCustomError("periods", f"{names[0]} {fast} must be less than {names[1]} {slow}")
