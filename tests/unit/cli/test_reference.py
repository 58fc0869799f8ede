from __future__ import annotations

import inspect
import json
from typing import Any

import pytest

from botrunner.strategies.mixins import EntryMixin
from botrunner.strategies.registry.strategy_handler import Offer, StrategyHandler
from cli import reference
from cli.parameters import default_of, example, kind_of, range_of

CATALOGUE = StrategyHandler().catalogue()


@pytest.mark.parametrize("name", reference.PAGES)
def test_the_committed_page_is_what_the_code_says(name: str) -> None:
    assert (reference.DOCS / name).read_text() == reference.PAGES[name](), "run `make docs`"


def test_a_page_out_of_date_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(reference, "PAGES", {"reference/configuration.md": lambda: "other"})
    assert reference.main(["--check"]) == 1
    assert "docs/reference/configuration.md is out of date: run `make docs`" in capsys.readouterr().err


@pytest.mark.parametrize("offer", CATALOGUE, ids=lambda offer: offer.name)
def test_every_offer_has_an_example_that_is_valid(offer: Offer) -> None:
    section = example(offer.name, offer.kind, offer.parameters)
    assert StrategyHandler().validate_strategy_config(section) == ()
    assert offer.name in str(section)


@pytest.mark.parametrize(
    ("entry", "kind", "span", "default"),
    [
        ({"type": "integer", "minimum": 2, "maximum": 500, "default": 14}, "integer", "2 … 500", "14"),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 20, "default": 2.0}, "number", "above 0, up to 20", "2"),
        ({"type": "boolean", "default": True}, "boolean", "", "true"),
        ({"enum": ["SMA", "EMA"], "type": "string", "default": "SMA"}, '"SMA" or "EMA"', "", '"SMA"'),
        ({"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 4}, "list of strings", "1 … 4 items", "required"),
        ({"anyOf": [{"type": "string"}, {"type": "number"}], "default": None}, "string or number", "", "null"),
    ],
)  # fmt: skip
def test_words(entry: dict[str, object], kind: str, span: str, default: str) -> None:
    assert (kind_of(entry), range_of(entry), default_of(entry)) == (kind, span, default)


def test_the_documented_mixin_is_one() -> None:
    code = (reference.DOCS / "user/plugins.md").read_text().split("```python\n")[1].split("```")[0]
    namespace: dict[str, Any] = {}
    exec(code, namespace)
    assert issubclass(namespace["GapEntryMixin"], EntryMixin)
    assert namespace["GapEntryMixin"].params_model().gap == 0.01
    assert not inspect.isabstract(namespace["GapEntryMixin"])


@pytest.mark.parametrize("page", ["user/strategies.md", "user/models.md", "reference/strategies.md"])
def test_the_documented_section_is_valid(page: str) -> None:
    text = (reference.DOCS / page).read_text().split("```json\n")[1].split("```")[0]
    section = json.loads(f"{{{text}}}")["strategy"]
    assert StrategyHandler().validate_strategy_config(section) == ()
