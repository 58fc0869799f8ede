"""A pause after an exit, counted in closed bars."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue

from botrunner.strategies.base import Signal, State
from botrunner.strategies.mixins import EntryMixin, P


class PausingEntryMixin(EntryMixin[P]):
    """An entry that stays out on the first `cooldown_bars` closed bars after the bar of an exit."""

    def __init__(self, strategy: Any, params: P, *, cooldown_bars: int) -> None:
        super().__init__(strategy, params)
        self._cooldown_bars = cooldown_bars
        self._left = 0

    @abstractmethod
    def signal_after_pause(self) -> Signal | None:
        """Whether to enter at the close of this bar, the pause being over."""

    def signal(self) -> Signal | None:
        """Count this bar as one of the pause, or judge it."""
        if self._left:
            self._left -= 1
            return None
        return self.signal_after_pause()

    def on_exited(self) -> None:
        """The pause begins."""
        self._left = self._cooldown_bars

    def export_state(self) -> State:
        """The bars left of the pause."""
        return {"cooldown_left": self._left}

    def import_state(self, state: Mapping[str, JsonValue]) -> None:
        """The bars left, at most those of the configuration: it may have changed meanwhile."""
        left = state.get("cooldown_left", 0)
        if isinstance(left, bool) or not isinstance(left, int) or left < 0:
            raise ValueError(f"state of the strategy: cooldown_left must be a whole number, not {left!r}")
        self._left = min(left, self._cooldown_bars)
