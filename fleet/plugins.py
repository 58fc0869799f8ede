"""Which names installed packages offer by entry points, without importing any of them.

A package's own code is run by the bot alone (`botrunner.strategies.registry`). The controller and the CLI need the
names only: parameters of a strategy that they can't import are judged by the bot, which ends with the same message.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

from fleet.config.extras import ExtraNames

STRATEGIES = "botfleet.strategies"
ENTRY_MIXINS = "botfleet.entry_mixins"
EXIT_MIXINS = "botfleet.exit_mixins"
BROKERS = "botfleet.brokers"

Name = Annotated[str, StringConstraints(min_length=1, max_length=100)]


class PluginNames(BaseModel):
    """Names that the bots' image knows and this process can't look up: a setting of the controller."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    strategies: tuple[Name, ...] = ()
    entry_mixins: tuple[Name, ...] = ()
    exit_mixins: tuple[Name, ...] = ()
    brokers: tuple[Name, ...] = ()

    @property
    def extra_names(self) -> ExtraNames:
        """The names, each accepting any parameters."""
        return ExtraNames(
            strategies=dict.fromkeys(self.strategies),
            entries=dict.fromkeys(self.entry_mixins),
            exits=dict.fromkeys(self.exit_mixins),
            brokers=frozenset(self.brokers),
        )


def names(group: str) -> tuple[str, ...]:
    """The names that installed packages offer in a group, sorted."""
    return tuple(sorted({point.name for point in entry_points(group=group)}))


def installed() -> PluginNames:
    """What this process's environment offers in the four groups."""
    return PluginNames(
        strategies=names(STRATEGIES),
        entry_mixins=names(ENTRY_MIXINS),
        exit_mixins=names(EXIT_MIXINS),
        brokers=names(BROKERS),
    )
