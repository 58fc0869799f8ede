"""What the parameter models of mixins have in common: strictness, kinds of values, bars needed.

Ratios are fractions (0.02 is 2 %); periods count closed bars. Pure: no I/O.
"""

from __future__ import annotations

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
