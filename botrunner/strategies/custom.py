"""CustomStrategy: an entry mixin while flat, an exit mixin while in a position."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from botrunner.strategies.base import BaseStrategy, OpenPosition, Signal, State
from botrunner.strategies.registry import entry_mixin, exit_mixin
from fleet.config import CustomParameters


class CustomStrategy(BaseStrategy):
    """One entry mixin and one exit mixin, named in `entry_logic` and `exit_logic`, each with its parameters."""

    def __init__(self) -> None:
        parameters: CustomParameters = self.p.parameters
        self._names = {"entry": parameters.entry.name, "exit": parameters.exit.name}
        self._entry = entry_mixin(parameters.entry.name)(self, parameters.entry.params)
        self._exit = exit_mixin(parameters.exit.name)(self, parameters.exit.params)

    def decide(self, position: OpenPosition | None) -> Signal | None:
        """The entry's answer while flat, otherwise the exit's."""
        return self._entry.signal() if position is None else self._exit.signal(position)

    def on_entered(self, position: OpenPosition) -> None:
        """Both mixins are told, also when one of them fails."""
        try:
            self._entry.on_entered(position)
        finally:
            self._exit.on_entered(position)

    def on_exited(self) -> None:
        """Both mixins are told, also when one of them fails."""
        try:
            self._entry.on_exited()
        finally:
            self._exit.on_exited()

    def export_state(self) -> State:
        """The mixins' states, each with the name of its mixin."""
        return {
            "entry": {"mixin": self._names["entry"], "state": self._entry.export_state()},
            "exit": {"mixin": self._names["exit"], "state": self._exit.export_state()},
        }

    def import_state(self, state: Mapping[str, JsonValue]) -> None:
        """Give each mixin its state; one that another mixin left behind isn't its and is dropped."""
        for key, mixin in (("entry", self._entry), ("exit", self._exit)):
            saved = state.get(key)
            if not isinstance(saved, dict) or saved.get("mixin") != self._names[key]:
                continue
            own = saved.get("state")
            if isinstance(own, dict):
                mixin.import_state(own)
