"""Parameters of the built-in strategies that aren't composed of mixins: defaults, ranges, meaning. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from fleet.config.params import MixinParams
from fleet.config.translate import nearest
from fleet.config.values import Line, Whole

MAX_FEATURE_PERIOD = 500


@dataclass(frozen=True, slots=True)
class FeatureKind:
    """One of the numbers that a model may be fed with."""

    meaning: str
    default_period: int
    least_period: int
    extra_bars: int
    """Closed bars that it needs beyond its period."""


FEATURES: Mapping[str, FeatureKind] = {
    "log_return": FeatureKind("ln(close / close of PERIOD bars ago)", 1, 1, 1),
    "rsi": FeatureKind("Wilder's RSI of the close over PERIOD bars, divided by 100: 0 … 1", 14, 2, 1),
    "band_position": FeatureKind(
        "(close − lower band) / (upper − lower) of Bollinger bands, PERIOD bars, two deviations wide; 0.5 when flat",
        20,
        2,
        0,
    ),
    "volume_ratio": FeatureKind("volume / mean volume of PERIOD bars, this one included; 1 without any", 20, 1, 0),
    "atr_ratio": FeatureKind("Wilder's ATR over PERIOD bars / close", 14, 2, 1),
    "mean_distance": FeatureKind("close / mean close of PERIOD bars − 1", 20, 2, 0),
    "body": FeatureKind(
        "(close − open) / (high − low), −1 … 1; 0 for a bar without range; PERIOD has no meaning", 1, 1, 0
    ),
}
"""What `features` of OnnxStrategy may name. None is ever NaN or infinite."""


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature with its period in closed bars."""

    name: str
    period: int

    @property
    def bars_needed(self) -> int:
        """Closed bars until its first value."""
        return self.period + FEATURES[self.name].extra_bars


def feature(text: str) -> Feature:
    """The feature that a text like `rsi:14` or `rsi` names.

    Raises:
        PydanticCustomError: it names none; the message says what would.
    """
    name, colon, digits = text.partition(":")
    kind = FEATURES.get(name)
    if kind is None:
        hint = nearest(name, list(FEATURES))
        raise PydanticCustomError("feature", "unknown feature {text}; {hint}", {"text": f'"{text[:40]}"', "hint": hint})
    if not colon:
        return Feature(name, kind.default_period)
    # isdecimal knows other alphabets' digits, and int() would take signs and underscores
    if not (digits.isascii() and digits.isdecimal() and kind.least_period <= int(digits[:9]) <= MAX_FEATURE_PERIOD):
        raise PydanticCustomError(
            "feature",
            "the period after {name}: must be a whole number from {least} to {most}",
            {"name": name, "least": kind.least_period, "most": MAX_FEATURE_PERIOD},
        )
    return Feature(name, int(digits))


def _feature_text(text: str) -> str:
    feature(text)
    return text


FeatureText = Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(_feature_text)]
Score = Annotated[float, Field(ge=-1e12, le=1e12)]


class OnnxStrategyParams(MixinParams):
    """Parameters of OnnxStrategy."""

    model_path: Annotated[Line, Field(min_length=1)] = Field(
        description="File of the ONNX model, as the bot's process sees it.", examples=["/models/model.onnx"]
    )
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = Field(
        None, description="SHA-256 of the file, 64 hex digits in lower case: any other file is refused."
    )
    features: Annotated[list[FeatureText], Field(min_length=1, max_length=64)] = Field(
        description="What the model is fed with per bar, in order: NAME or NAME:PERIOD.",
        examples=[["log_return:1", "rsi:14", "band_position:20", "volume_ratio:20"]],
    )
    window: Annotated[Whole, Field(ge=1, le=200)] = Field(
        1, description="Closed bars that the model sees at once, the oldest first."
    )
    output: Annotated[Line, Field(min_length=1)] | None = Field(
        None, description="The model's output to read; null is the first one of floating point numbers."
    )
    output_index: Annotated[Whole, Field(ge=-1_000, le=1_000)] = Field(
        -1, description="Which number of that output is the score; -1 is the last: of two classes the second's."
    )
    entry_above: Score = Field(0.6, description="Open a long position when score ≥ this.")
    exit_below: Score = Field(0.5, description="Close a long position when score ≤ this; less than entry_above.")
    short_entry_below: Score | None = Field(
        None, description="Open a short position when score ≤ this; null is never. Needs trading.allow_short."
    )
    short_exit_above: Score | None = Field(
        None, description="Close a short position when score ≥ this; more than short_entry_below."
    )

    @property
    def parsed_features(self) -> tuple[Feature, ...]:
        """The features with their periods."""
        return tuple(feature(text) for text in self.features)

    @property
    def bars_needed(self) -> int:
        """The slowest feature at the oldest bar of the window."""
        return max(item.bars_needed for item in self.parsed_features) + self.window - 1

    @model_validator(mode="after")
    def _thresholds_are_apart(self) -> OnnxStrategyParams:
        if self.exit_below >= self.entry_above:
            raise PydanticCustomError(
                "thresholds", f"exit_below {self.exit_below} must be less than entry_above {self.entry_above}"
            )
        below, above = self.short_entry_below, self.short_exit_above
        if (below is None) != (above is None):
            raise PydanticCustomError("thresholds", "short_entry_below and short_exit_above belong together")
        if below is None or above is None:
            return self
        if below >= above:
            raise PydanticCustomError(
                "thresholds", f"short_exit_above {above} must be more than short_entry_below {below}"
            )
        if below >= self.entry_above:
            raise PydanticCustomError(
                "thresholds", f"short_entry_below {below} must be less than entry_above {self.entry_above}"
            )
        return self


STRATEGY_PARAMS: Mapping[str, type[MixinParams]] = {"OnnxStrategy": OnnxStrategyParams}
"""Built-in strategies besides CustomStrategy and their parameters."""
