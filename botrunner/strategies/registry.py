"""Names → strategies and mixins: the built-in ones and those of installed packages.

A package offers its own by entry points in the groups `botfleet.strategies`, `botfleet.entry_mixins` and
`botfleet.exit_mixins`; the entry point's name is the name in the configuration. What can't be loaded, isn't
of the right class, takes a built-in name or one that another package offers too is left out with a warning, so
one broken package stops no bot that doesn't use it; a bot that does is told the reason (`broken`). Entry points
are read once per process.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from botrunner.strategies.base import BaseStrategy
from botrunner.strategies.entry import ENTRY_MIXINS
from botrunner.strategies.exit import EXIT_MIXINS
from botrunner.strategies.mixins import EntryMixin, ExitMixin
from fleet.config.parse import CUSTOM_STRATEGY
from fleet.config.schema import parameter_table
from fleet.config.strategy_params import STRATEGY_PARAMS
from fleet.log import get_logger
from fleet.plugins import ENTRY_MIXINS as ENTRIES
from fleet.plugins import EXIT_MIXINS as EXITS
from fleet.plugins import STRATEGIES
from fleet.redaction import safe_text

GROUPS = (STRATEGIES, ENTRIES, EXITS)
_BASES: Mapping[str, type[Any]] = {STRATEGIES: BaseStrategy, ENTRIES: EntryMixin, EXITS: ExitMixin}
_BUILT_IN: Mapping[str, frozenset[str]] = {
    STRATEGIES: frozenset({CUSTOM_STRATEGY, *STRATEGY_PARAMS}),
    ENTRIES: frozenset(ENTRY_MIXINS),
    EXITS: frozenset(EXIT_MIXINS),
}

log = get_logger(__name__)


def entry_mixins() -> Mapping[str, type[EntryMixin[Any]]]:
    """Every entry mixin by name."""
    return {**ENTRY_MIXINS, **plugins("botfleet.entry_mixins")}


def exit_mixins() -> Mapping[str, type[ExitMixin[Any]]]:
    """Every exit mixin by name."""
    return {**EXIT_MIXINS, **plugins("botfleet.exit_mixins")}


def plugins(group: str) -> Mapping[str, type[Any]]:
    """What installed packages offer in one of the three groups, by name."""
    return _found(group)[0]


def broken(group: str) -> Mapping[str, str]:
    """What they offer there and nobody can use: name → package and reason."""
    return _found(group)[1]


def forget() -> None:
    """Read the entry points again when next asked; for tests."""
    _found.cache_clear()


@cache
def _found(group: str) -> tuple[Mapping[str, type[Any]], Mapping[str, str]]:
    usable: dict[str, type[Any]] = {}
    unusable: dict[str, str] = {}
    offers: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=group):
        offers.setdefault(point.name, []).append(point)
    for name, points in sorted(offers.items()):
        try:
            usable[name] = _loaded(points, group)
        except (Exception, SystemExit) as error:  # a package's own code runs here and may do anything
            reason = f"{type(error).__name__}: {safe_text(error, 300, lines=False)}"
            log.warning("plugin_left_out", group=group, name=name, offered_by=_origin(points), error=reason)
            if name not in _BUILT_IN[group]:
                unusable[name] = f"{_origin(points)}: {reason}"
    return MappingProxyType(usable), MappingProxyType(unusable)


def _loaded(points: Sequence[EntryPoint], group: str) -> type[Any]:
    first = points[0]
    if first.name in _BUILT_IN[group]:
        raise ValueError("the name belongs to a built-in one")
    if len({point.value for point in points}) > 1:
        # which of them came first on the path must not decide what trades
        raise ValueError("several packages offer this name: uninstall all but one")
    loaded = first.load()
    base = _BASES[group]
    if not (isinstance(loaded, type) and issubclass(loaded, base)):
        raise TypeError(f"must be a subclass of {base.__module__}.{base.__name__}")
    if inspect.isabstract(loaded):
        raise TypeError(f"lacks {', '.join(sorted(getattr(loaded, '__abstractmethods__', ())))}")
    model = getattr(loaded, "params_model", None)
    if model is not None:
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            raise TypeError("params_model must be a subclass of pydantic.BaseModel")
        parameter_table(model)  # raises where a parameter is of a kind that JSON doesn't know
    return loaded


def _origin(points: Sequence[EntryPoint]) -> str:
    """Package and object of each offer."""
    return ", ".join(f"{point.dist.name if point.dist else 'a package'} ({point.value})" for point in points)
