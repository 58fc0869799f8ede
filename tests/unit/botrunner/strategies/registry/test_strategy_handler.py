from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field

from botrunner.strategies.base import BaseStrategy, OpenPosition, Signal
from botrunner.strategies.entry import ENTRY_MIXINS
from botrunner.strategies.exit import EXIT_MIXINS
from botrunner.strategies.mixins import EntryMixin, ExitMixin
from botrunner.strategies.registry import installed
from botrunner.strategies.registry.custom import CustomStrategy
from botrunner.strategies.registry.strategy_handler import StrategyHandler
from fleet.config.mixins import ENTRY_PARAMS, EXIT_PARAMS


class AlwaysParams(BaseModel):
    strength: int = Field(3, ge=1, le=9, description="How much.")


class AlwaysEntryMixin(EntryMixin[AlwaysParams]):
    params_model = AlwaysParams

    def signal(self) -> Signal | None:
        return None


class HalfAnEntryMixin(EntryMixin[AlwaysParams]):
    params_model = AlwaysParams


class OddParams(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    thing: BaseStrategy


class OddEntryMixin(AlwaysEntryMixin):
    params_model = OddParams


class ThirdPartyStrategy(BaseStrategy):
    def decide(self, position: OpenPosition | None) -> Signal | None:
        return None


HERE = __name__
POINTS = [
    ("botfleet.entry_mixins", "AlwaysEntryMixin", "AlwaysEntryMixin"),
    ("botfleet.entry_mixins", "NotThere", "NoSuchClass"),
    ("botfleet.entry_mixins", "NotAMixin", "AlwaysParams"),
    ("botfleet.entry_mixins", "RSIOrBBEntryMixin", "AlwaysEntryMixin"),
    ("botfleet.entry_mixins", "Half", "HalfAnEntryMixin"),
    ("botfleet.entry_mixins", "Odd", "OddEntryMixin"),
    ("botfleet.entry_mixins", "Leaves", "exits"),
    ("botfleet.entry_mixins", "Twice", "AlwaysEntryMixin"),
    ("botfleet.entry_mixins", "Twice", "HalfAnEntryMixin"),
    ("botfleet.strategies", "Broken", "NoSuchClass"),
    ("botfleet.strategies", "ThirdParty", "ThirdPartyStrategy"),
]


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Installed packages offering the entry points above, some of them broken."""

    def load(point: EntryPoint) -> Any:
        if point.attr == "exits":
            sys.exit("a package that ends the process")
        if point.attr not in globals():
            raise ImportError(f"cannot import name {point.attr}")
        return globals()[point.attr]

    monkeypatch.setattr(EntryPoint, "load", load)
    monkeypatch.setattr(
        installed,
        "entry_points",
        lambda group: [EntryPoint(name, f"{HERE}:{target}", group) for at, name, target in POINTS if at == group],
    )
    installed.forget()
    yield
    installed.forget()


def test_implementations_and_parameters_belong_together() -> None:
    assert {name: mixin.params_model for name, mixin in ENTRY_MIXINS.items()} == dict(ENTRY_PARAMS)
    assert {name: mixin.params_model for name, mixin in EXIT_MIXINS.items()} == dict(EXIT_PARAMS)


def test_every_mixin_says_what_it_does_and_where_it_deviates() -> None:
    for mixin in (*ENTRY_MIXINS.values(), *EXIT_MIXINS.values()):
        assert mixin.__doc__
        said = "original design" in " ".join(mixin.__doc__.split())
        assert said, (
            f"{mixin.__name__}: end its docstring with 'Not part of the original design.', or with what differs"
        )


def test_a_known_type_is_run_by_its_class() -> None:
    resolved = StrategyHandler().get_strategy_class("CustomStrategy")
    assert resolved.cls is CustomStrategy
    assert not resolved.fell_back


def test_an_unknown_type_falls_back_to_custom_strategy() -> None:
    resolved = StrategyHandler().get_strategy_class("NeuralNet")
    assert resolved.cls is CustomStrategy
    assert resolved.fell_back


def test_the_list_has_every_name_with_its_parameters() -> None:
    rows = StrategyHandler().list()
    names = {(row["kind"], row["name"]) for row in rows}
    expected = {("strategy", "CustomStrategy"), ("strategy", "OnnxStrategy")}
    expected |= {("entry", name) for name in ENTRY_PARAMS} | {("exit", name) for name in EXIT_PARAMS}
    assert names == expected
    (atr,) = [row for row in rows if row["name"] == "ATRExitMixin"]
    period = atr["parameters"]["atr_period"]
    assert {key: period[key] for key in ("type", "default", "minimum", "maximum")} == {
        "type": "integer",
        "default": 14,
        "minimum": 2,
        "maximum": 500,
    }


def test_validation_names_the_path() -> None:
    strategy = {
        "parameters": {
            "entry_logic": {"name": "RSIOrBBEntryMixin", "params": {"e_rsi_period": "x"}},
            "exit_logic": {"name": "ATRExitMixin"},
        }
    }
    (error,) = StrategyHandler().validate_strategy_config(strategy)
    assert error.path == "strategy.parameters.entry_logic.params.e_rsi_period"


@pytest.mark.usefixtures("packages")
def test_mixins_and_strategies_from_packages() -> None:
    handler = StrategyHandler()
    assert handler.get_strategy_class("ThirdParty").cls is ThirdPartyStrategy
    extra = handler.extra_names()
    assert dict(extra.entries) == {"AlwaysEntryMixin": AlwaysParams}
    assert dict(extra.strategies) == {"ThirdParty": None}
    assert extra.brokers == {"binance"}
    (row,) = [row for row in handler.list() if row["name"] == "AlwaysEntryMixin"]
    assert row["parameters"]["strength"]["maximum"] == 9
    strategy = {
        "parameters": {
            "entry_logic": {"name": "AlwaysEntryMixin", "params": {"strength": 10}},
            "exit_logic": {"name": "ATRExitMixin"},
        }
    }
    (error,) = handler.validate_strategy_config(strategy)
    assert error.message == "must be at most 9, not 10"


@pytest.mark.usefixtures("packages")
def test_broken_packages_and_built_in_names_are_left_out() -> None:
    mixins = installed.entry_mixins()
    assert set(mixins) == {*ENTRY_MIXINS, "AlwaysEntryMixin"}
    assert mixins["RSIOrBBEntryMixin"] is ENTRY_MIXINS["RSIOrBBEntryMixin"]


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("NotThere", "ImportError: cannot import name NoSuchClass"),
        ("NotAMixin", "TypeError: must be a subclass of botrunner.strategies.mixins.EntryMixin"),
        ("Half", "TypeError: lacks signal"),
        ("Odd", "PydanticInvalidForJsonSchema: "),
        ("Leaves", "SystemExit: a package that ends the process"),
        ("Twice", "ValueError: several packages offer this name: uninstall all but one"),
    ],
)
def test_who_uses_a_broken_package_is_told_why(name: str, words: str) -> None:
    strategy = {"parameters": {"entry_logic": {"name": name}, "exit_logic": {"name": "ATRExitMixin"}}}
    (error,) = StrategyHandler().validate_strategy_config(strategy)
    assert error.path == "strategy.parameters.entry_logic.name"
    assert error.message == f'entry mixin "{name}" can\'t be used'
    assert words in error.hint


@pytest.mark.usefixtures("packages")
def test_no_other_strategy_trades_in_a_broken_ones_place() -> None:
    mixins = {"entry_logic": {"name": "RSIOrBBEntryMixin"}, "exit_logic": {"name": "ATRExitMixin"}}
    (error,) = StrategyHandler().validate_strategy_config({"type": "Broken", "parameters": mixins})
    assert (error.path, error.message) == ("strategy.type", 'strategy "Broken" can\'t be used')
    assert "NoSuchClass" in error.hint


def test_half_a_mixin_cannot_be_made() -> None:
    class NoRule(ExitMixin[AlwaysParams]):
        params_model = AlwaysParams

    with pytest.raises(TypeError, match="signal"):
        NoRule(None, AlwaysParams())  # type: ignore[abstract]
