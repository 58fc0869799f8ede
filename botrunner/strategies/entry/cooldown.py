"""A pause after an exit, counted in closed bars."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from botrunner.strategies.base import State


class Cooldown:
    """No entry on the first `bars` closed bars after the bar of an exit."""

    def __init__(self, bars: int) -> None:
        self._bars = bars
        self._left = 0

    def start(self) -> None:
        """A position was closed at this bar."""
        self._left = self._bars

    def passed(self) -> bool:
        """Count this bar; whether an entry may be made on it. To be called once per closed bar while flat."""
        if self._left == 0:
            return True
        self._left -= 1
        return False

    def export_state(self) -> State:
        """The bars left."""
        return {"cooldown_left": self._left}

    def import_state(self, state: Mapping[str, JsonValue]) -> None:
        """The bars left, at most those of the configuration: it may have changed meanwhile."""
        left = state.get("cooldown_left", 0)
        if isinstance(left, bool) or not isinstance(left, int) or left < 0:
            raise ValueError(f"state of the strategy: cooldown_left must be a whole number, not {left!r}")
        self._left = min(left, self._bars)
