"""The built-in mixins: all of the design, each with its parameters, under its own name."""

from __future__ import annotations

from botrunner.strategies.entry import ENTRY_MIXINS
from botrunner.strategies.exit import EXIT_MIXINS
from fleet.config.mixins import ENTRY_PARAMS, EXIT_PARAMS


def test_nine_entries_and_thirteen_exits() -> None:
    assert (len(ENTRY_MIXINS), len(EXIT_MIXINS)) == (9, 13)


def test_each_takes_the_parameters_that_a_configuration_is_validated_with() -> None:
    for mixins, models in ((ENTRY_MIXINS, ENTRY_PARAMS), (EXIT_MIXINS, EXIT_PARAMS)):
        assert {name: mixin.params_model for name, mixin in mixins.items()} == dict(models)


def test_each_says_where_it_deviates_from_the_original_design() -> None:
    for name, mixin in (ENTRY_MIXINS | EXIT_MIXINS).items():
        text = mixin.__doc__ or ""
        assert "eviation" in text, name
