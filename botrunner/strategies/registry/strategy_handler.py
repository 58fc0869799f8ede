"""StrategyHandler: which strategies and mixins there are, which class runs a type, whether a config fits.

A factory without state: the registry is the installed code (`strategies.registry.installed`). An unknown strategy type
runs CustomStrategy, as the original design has it; the caller is told, to warn about it.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from botrunner.strategies.base import BaseStrategy
from botrunner.strategies.ml import OnnxStrategy
from botrunner.strategies.registry.custom import CustomStrategy
from botrunner.strategies.registry.installed import GROUPS, broken, entry_mixins, exit_mixins, plugins, unseen
from fleet.config import ConfigError, ExtraNames, validate_strategy
from fleet.config.parse import CUSTOM_STRATEGY
from fleet.config.schema import parameter_table
from fleet.plugins import BROKERS, ENTRY_MIXINS, EXIT_MIXINS, STRATEGIES, names


@dataclass(frozen=True, slots=True)
class ResolvedStrategy:
    """The class that runs a strategy type."""

    cls: type[BaseStrategy]
    fell_back: bool
    """Nobody knows the type; CustomStrategy stands in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A strategy or mixin as people choose it."""

    name: str
    kind: str
    """`strategy`, `entry` or `exit`."""
    text: str
    """What it does: its docstring."""
    parameters: Mapping[str, Mapping[str, Any]]
    """See `fleet.config.schema.parameter_table`."""


class StrategyHandler:
    """Registry of strategies and mixins, built-in and from installed packages.

    Args:
        only: import packages for these names alone, others are known by name; None: import all.
    """

    def __init__(self, only: Collection[str] | None = None) -> None:
        self._only = only

    def get_strategy_class(self, strategy_type: str) -> ResolvedStrategy:
        """The class for a type; CustomStrategy for an unknown one."""
        known = _strategies(self._only).get(strategy_type)
        return ResolvedStrategy(known or CustomStrategy, fell_back=known is None)

    def validate_strategy_config(self, strategy_config: object) -> tuple[ConfigError, ...]:
        """Every error of a configuration's `strategy` section; empty when it can be run."""
        return validate_strategy(strategy_config, extra_names=self.extra_names())

    def extra_names(self) -> ExtraNames:
        """The names from packages with their parameters' models, for `fleet.config.parse_config`."""
        return ExtraNames(
            strategies=self._known(STRATEGIES),
            entries=self._known(ENTRY_MIXINS),
            exits=self._known(EXIT_MIXINS),
            brokers=frozenset(names(BROKERS)),
            broken={name: why for group in GROUPS for name, why in broken(group, self._only).items()},
        )

    def _known(self, group: str) -> dict[str, type[BaseModel] | None]:
        return {**dict.fromkeys(unseen(group, self._only)), **_models(plugins(group, self._only))}

    def list(self) -> list[dict[str, Any]]:
        """Strategies, entry and exit mixins in this order: `name`, `kind` (strategy, entry, exit), `parameters`.

        Each parameter has its `type`, `default`, `minimum` and `maximum`, as far as it has them.
        """
        return [{"name": entry.name, "kind": entry.kind, "parameters": entry.parameters} for entry in self.catalogue()]

    def catalogue(self) -> tuple[Offer, ...]:
        """Strategies, entry and exit mixins in this order, each kind by name; from packages those of `only`."""
        kinds = (
            ("strategy", _strategies(self._only)),
            ("entry", entry_mixins(self._only)),
            ("exit", exit_mixins(self._only)),
        )
        return tuple(
            Offer(name=name, kind=kind, text=inspect.getdoc(cls) or "", parameters=_parameters(cls))
            for kind, classes in kinds
            for name, cls in sorted(classes.items())
        )


def strings_in(document: object) -> frozenset[str]:
    """Every text in a document: whatever a config names is among them."""
    found: set[str] = set()
    left = [document]
    while left:
        part = left.pop()
        if isinstance(part, str):
            found.add(part)
        elif isinstance(part, Mapping):
            left.extend(part.values())
        elif isinstance(part, list | tuple):
            left.extend(part)
    return frozenset(found)


def _strategies(only: Collection[str] | None) -> Mapping[str, type[Any]]:
    return {CUSTOM_STRATEGY: CustomStrategy, "OnnxStrategy": OnnxStrategy, **plugins(STRATEGIES, only)}


def _models(classes: Mapping[str, type[Any]]) -> dict[str, type[BaseModel] | None]:
    return {name: _model(cls) for name, cls in classes.items()}


def _model(cls: type[Any]) -> type[BaseModel] | None:
    model = getattr(cls, "params_model", None)
    return model if isinstance(model, type) and issubclass(model, BaseModel) else None


def _parameters(cls: type[Any]) -> dict[str, dict[str, Any]]:
    model = _model(cls)
    return parameter_table(model) if model else {}
