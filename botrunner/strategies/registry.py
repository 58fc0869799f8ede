"""Names → strategies and mixins: the built-in ones and those of installed packages.

A package offers its own by entry points in the groups `botfleet.strategies`, `botfleet.entry_mixins` and
`botfleet.exit_mixins`; the entry point's name is the name in the configuration. What can't be loaded, isn't
of the right class or takes a built-in name is left out with a warning, so one broken package stops no bot
that doesn't use it. Entry points are read once per process.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any

from botrunner.strategies.base import BaseStrategy
from botrunner.strategies.entry import ENTRY_MIXINS
from botrunner.strategies.exit import EXIT_MIXINS
from botrunner.strategies.mixins import EntryMixin, ExitMixin
from fleet.log import get_logger

CUSTOM_STRATEGY = "CustomStrategy"
_BASES: Mapping[str, type[Any]] = {
    "botfleet.strategies": BaseStrategy,
    "botfleet.entry_mixins": EntryMixin,
    "botfleet.exit_mixins": ExitMixin,
}
_BUILT_IN: Mapping[str, frozenset[str]] = {
    "botfleet.strategies": frozenset({CUSTOM_STRATEGY}),
    "botfleet.entry_mixins": frozenset(ENTRY_MIXINS),
    "botfleet.exit_mixins": frozenset(EXIT_MIXINS),
}

log = get_logger(__name__)


def entry_mixins() -> Mapping[str, type[EntryMixin[Any]]]:
    """Every entry mixin by name."""
    return {**ENTRY_MIXINS, **plugins("botfleet.entry_mixins")}


def exit_mixins() -> Mapping[str, type[ExitMixin[Any]]]:
    """Every exit mixin by name."""
    return {**EXIT_MIXINS, **plugins("botfleet.exit_mixins")}


@cache
def plugins(group: str) -> Mapping[str, type[Any]]:
    """What installed packages offer in one of the three groups, by name."""
    found: dict[str, type[Any]] = {}
    for point in entry_points(group=group):
        try:
            found[point.name] = _loaded(point, group)
        except Exception as error:  # a package's own code runs here and may raise anything
            log.warning("plugin_left_out", group=group, name=point.name, target=point.value, error=str(error)[:500])
    return MappingProxyType(found)


def _loaded(point: EntryPoint, group: str) -> type[Any]:
    if point.name in _BUILT_IN[group]:
        raise ValueError("the name belongs to a built-in one")
    loaded = point.load()
    base = _BASES[group]
    if not (isinstance(loaded, type) and issubclass(loaded, base)):
        raise TypeError(f"must be a subclass of {base.__module__}.{base.__name__}")
    return loaded
