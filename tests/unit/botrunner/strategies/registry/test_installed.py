"""The built-in mixins: all of the design, each with its parameters, under its own name."""

from __future__ import annotations

from pathlib import Path

from botrunner.strategies.entry import ENTRY_MIXINS
from botrunner.strategies.exit import EXIT_MIXINS
from fleet.config.mixins import ENTRY_PARAMS, EXIT_PARAMS

GUIDE = Path(__file__).parents[5] / "docs" / "user" / "index.md"


def test_the_guide_says_how_many_there_are() -> None:
    assert f"one of {len(ENTRY_MIXINS)} entries with one of {len(EXIT_MIXINS)} exits" in GUIDE.read_text()


def test_each_takes_the_parameters_that_a_configuration_is_validated_with() -> None:
    for mixins, models in ((ENTRY_MIXINS, ENTRY_PARAMS), (EXIT_MIXINS, EXIT_PARAMS)):
        assert {name: mixin.params_model for name, mixin in mixins.items()} == dict(models)
