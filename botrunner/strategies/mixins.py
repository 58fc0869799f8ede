"""The two halves of CustomStrategy: an EntryMixin says when to open, an ExitMixin when to close a position.

They are composed, not inherited: made inside the strategy's constructor, where they create their indicators
from `self.data`. The rules of `base` hold for them too: answers depend on lines and exported state alone.
Rules are evaluated on closed bars. Indicators are floats; a price is compared with a ratio of a price in decimals
(`botrunner.strategies.exact`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, JsonValue

from botrunner.strategies.base import Direction, OpenPosition, Signal, SignalKind, State
from fleet.exit_kinds import ExitKind

P = TypeVar("P", bound=BaseModel)


class _Mixin(ABC, Generic[P]):
    """What both halves share.

    Class attributes:
        params_model: model of the parameters; the configuration is validated against it.
    """

    params_model: ClassVar[type[BaseModel]]

    def __init__(self, strategy: Any, params: P) -> None:
        """Create the indicators here, after `super().__init__`, on `self.data`."""
        self.data = strategy.data
        self.params = params

    def on_entered(self, position: OpenPosition) -> None:
        """A position was opened; see `BaseStrategy.on_entered`."""

    def on_exited(self) -> None:
        """The position was closed."""

    def export_state(self) -> State:
        """Everything that isn't an indicator line, as JSON."""
        return {}

    def import_state(self, state: Mapping[str, JsonValue]) -> None:
        """Go on from an earlier `export_state` of the same mixin."""


class EntryMixin(_Mixin[P]):
    """When to open a position."""

    @abstractmethod
    def signal(self) -> Signal | None:
        """Whether to enter at the close of this bar; called once per closed bar while flat."""


class ExitMixin(_Mixin[P]):
    """When to close a position."""

    @abstractmethod
    def signal(self, position: OpenPosition) -> Signal | None:
        """Whether to exit at the close of this bar; called once per closed bar while in a position."""


class TrackingExitMixin(ExitMixin[P]):
    """An exit that follows the price from the entry on: keeps the best price of this trade.

    A position that it wasn't told of (the configuration has just changed to this mixin) is followed from the
    first bar it sees, starting at the entry price.
    """

    def __init__(self, strategy: Any, params: P) -> None:
        super().__init__(strategy, params)
        self._best: float | None = None

    def on_entered(self, position: OpenPosition) -> None:
        """Start from the entry price: what came before the entry isn't this trade's."""
        self._best = float(position.entry_price)

    def on_exited(self) -> None:
        """Forget this trade's best price."""
        self._best = None

    def followed(self, position: OpenPosition, price: float) -> float:
        """The best price since the entry, `price` of this bar included."""
        if self._best is None:
            self.on_entered(position)
        assert self._best is not None
        better = max if position.direction is Direction.LONG else min
        self._best = better(self._best, price)
        return self._best

    def export_state(self) -> State:
        """The best price."""
        return {"best": self._best}

    def import_state(self, state: Mapping[str, JsonValue]) -> None:
        """The best price."""
        self._best = optional_float(state, "best")


def enter(reason: str, direction: Direction = Direction.LONG) -> Signal:
    """A signal to open a position."""
    return Signal(SignalKind.ENTER, reason, direction)


def leave(reason: str, position: OpenPosition, kind: ExitKind = ExitKind.SIGNAL) -> Signal:
    """A signal to close `position`. `kind`: what the exit is to the stop-loss guard and to messages."""
    return Signal(SignalKind.EXIT, reason, position.direction, kind)


def sign(position: OpenPosition) -> int:
    """+1 for long, -1 for short: a price times this is better the higher it is."""
    return 1 if position.direction is Direction.LONG else -1


def optional_float(state: Mapping[str, JsonValue], key: str) -> float | None:
    """A number of an exported state; None where it was None or isn't there.

    Raises:
        ValueError: it is anything else.
    """
    value = state.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"state of the strategy: {key} must be a finite number or null, not {value!r}")
    return float(value)
