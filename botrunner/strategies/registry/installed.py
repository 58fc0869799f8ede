"""Names → strategies and mixins: the built-in ones and those of installed packages.

A package offers its own by entry points in the groups `botfleet.strategies`, `botfleet.entry_mixins` and
`botfleet.exit_mixins`; the entry point's name is the name in the configuration. What can't be loaded, isn't
of the right class, takes a built-in name or one that another package offers too is left out with a warning; a bot
that uses it is told the reason (`broken`). A bot imports the packages that its config names and no others, so one
that hangs, ends the process or takes a gigabyte stops no bot that doesn't use it. Entry points are read once per
process.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from botrunner.strategies.base import BaseStrategy
from botrunner.strategies.entry import ENTRY_MIXINS
from botrunner.strategies.exit import EXIT_MIXINS
from botrunner.strategies.isolation import untrusted_code
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


def entry_mixins(only: Collection[str] | None = None) -> Mapping[str, type[EntryMixin[Any]]]:
    """Every entry mixin by name; from packages `only` these, by default all."""
    return {**ENTRY_MIXINS, **plugins(ENTRIES, only)}


def exit_mixins(only: Collection[str] | None = None) -> Mapping[str, type[ExitMixin[Any]]]:
    """Every exit mixin by name; from packages `only` these, by default all."""
    return {**EXIT_MIXINS, **plugins(EXITS, only)}


def entry_mixin(name: str) -> type[EntryMixin[Any]]:
    """One of them, without importing the others. Raises KeyError."""
    return {**ENTRY_MIXINS, **plugins(ENTRIES, {name})}[name]


def exit_mixin(name: str) -> type[ExitMixin[Any]]:
    """One of them, without importing the others. Raises KeyError."""
    return {**EXIT_MIXINS, **plugins(EXITS, {name})}[name]


def plugins(group: str, only: Collection[str] | None = None) -> Mapping[str, type[Any]]:
    """What installed packages offer in one of the three groups, by name; `only` these are imported, by default all."""
    found = {name: _found(group, name) for name in _asked(group, only)}
    return {name: usable for name, usable in found.items() if not isinstance(usable, str)}


def broken(group: str, only: Collection[str] | None = None) -> Mapping[str, str]:
    """What they offer there and nobody can use: name → package and reason; as far as `only` is asked for."""
    return {name: why for name, why in left_out(group, only).items() if name not in _BUILT_IN[group]}


def left_out(group: str, only: Collection[str] | None = None) -> Mapping[str, str]:
    """The same with those that take a built-in name, which stays the built-in one's."""
    found = {name: _found(group, name) for name in _asked(group, only)}
    return {name: why for name, why in found.items() if isinstance(why, str)}


def unseen(group: str, only: Collection[str] | None) -> frozenset[str]:
    """Names offered there beside the ones asked for: known, and not imported."""
    return frozenset() if only is None else frozenset(_offers(group)) - _BUILT_IN[group] - frozenset(only)


def forget() -> None:
    """Read the entry points again when next asked; for tests."""
    _offers.cache_clear()
    _found.cache_clear()


def _asked(group: str, only: Collection[str] | None) -> list[str]:
    return sorted(name for name in _offers(group) if only is None or name in only)


@cache
def _offers(group: str) -> Mapping[str, Sequence[EntryPoint]]:
    offers: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=group):
        offers.setdefault(point.name, []).append(point)
    return MappingProxyType(offers)


@cache
def _found(group: str, name: str) -> type[Any] | str:
    """The class, or the package and the reason why nobody can use it."""
    points = _offers(group)[name]
    try:
        with untrusted_code():
            return _loaded(points, group)
    except BaseException as error:  # a package's own code runs here and may do anything
        reason = f"{type(error).__name__}: {safe_text(error, 300, lines=False)}"
        log.warning("plugin_left_out", group=group, name=name, offered_by=_origin(points), error=reason)
        return f"{_origin(points)}: {reason}"


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
