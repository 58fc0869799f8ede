"""Writes the generated pages of docs/ from the code: `python -m cli.reference`, or `make docs`.

`--check` writes nothing and ends with 1 when a page is out of date. Names from installed packages are left out.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from botrunner.strategies.registry import GROUPS, plugins
from botrunner.strategies.strategy_handler import Offer, StrategyHandler
from cli.parameters import default_of, example, kind_of, range_of
from fleet.config.document import ConfigDocument, CustomSection, LogicSection
from fleet.config.hot import HOT_FIELDS
from fleet.config.rules import SAME_VALUE
from fleet.config.schema import parameter_table
from fleet.config.strategy_params import FEATURES

DOCS = Path(__file__).resolve().parents[1] / "docs"
MADE = "<!-- made by `make docs`; change the code it is made from instead -->"
FILES = """## Files

The command line reads JSON and YAML, in UTF-8: a name that ends in `.json` is JSON; anything else is JSON if it can be,
else YAML. Errors name file, line and column. A key that stands twice in an object is an error in both, so are `NaN` and
numbers out of range. JSON has no comments; YAML has, with `#`.

YAML is that of version 1.2 (core schema): `true` and `false` alone are truth values, while `yes`, `no`, `on` and `off`
are texts; `1e-3` is a number; `1_000`, `1:30` and dates are texts; a number that begins with 0 (`010`) is refused, as
some read it as octal. Anchors and `<<` work. A file holds one document.
[Why so](../decisions/0017-documents-of-people.md)."""

KINDS = {"strategy": "Strategies", "entry": "Entry mixins", "exit": "Exit mixins"}


def main(arguments: list[str]) -> int:
    """Write or check every page."""
    stale = [name for name, page in PAGES.items() if _read(DOCS / name) != page()]
    if arguments == ["--check"]:
        for name in stale:
            print(f"docs/{name} is out of date: run `make docs`", file=sys.stderr)
        return 1 if stale else 0
    if arguments:
        print("usage: python -m cli.reference [--check]", file=sys.stderr)
        return 2
    for name in stale:
        (DOCS / name).write_text(PAGES[name]())
        print(f"wrote docs/{name}")
    return 0


def strategies_page() -> str:
    """Every built-in strategy and mixin."""
    foreign = {name for group in GROUPS for name in plugins(group)}
    offers = [offer for offer in StrategyHandler().catalogue() if offer.name not in foreign]
    parts = [
        "# Strategies and mixins: reference",
        MADE,
        (
            "[How strategies work](../user/strategies.md). The same on the command line: `botfleet "
            "strategies show NAME`. Periods count closed candles; ratios are fractions: 0.02 is 2 %."
        ),
    ]
    for kind, title in KINDS.items():
        parts.append(f"## {title}")
        for offer in offers:
            if offer.kind == kind:
                parts.extend(_offer(offer))
    return "\n\n".join(parts) + "\n"


def configuration_page() -> str:
    """Every key of a bot's configuration."""
    same = "\n".join(f"- `{first}` and `{second}`" for first, second in SAME_VALUE)
    hot = " and ".join(f"`{name}`" for name in HOT_FIELDS)
    parts = [
        "# Configuration: reference",
        MADE,
        (
            "The keys of `trading_bots.config`. Unknown keys are errors that name the nearest known one. "
            "`botfleet config validate FILE` reports every error at once, each with its path; `botfleet config schema` "
            "prints the JSON Schema for editors and forms."
        ),
        (
            "Types are JSON's; a whole number may be written with a point (14.0), a number never as a text. Times are "
            f"seconds unless the name says otherwise. Changes of {hot} reach a running bot, any other starts it anew."
        ),
        FILES,
        "Some values have two places. Either may be used; two different values are an error:\n\n" + same,
        *_sections("", ConfigDocument),
        "## `strategy.parameters` of CustomStrategy",
        _text(CustomSection),
        _table(CustomSection),
        "## `entry_logic`, `exit_logic`",
        _text(LogicSection),
        _table(LogicSection),
        "Parameters of each mixin and of other strategies: [the reference of strategies](strategies.md).",
    ]
    return "\n\n".join(parts) + "\n"


PAGES: Mapping[str, Callable[[], str]] = {
    "reference/strategies.md": strategies_page,
    "reference/configuration.md": configuration_page,
}


def _offer(offer: Offer) -> Iterator[str]:
    yield f"### {offer.name}"
    yield offer.text
    if offer.parameters:
        yield _rows(offer.parameters, "parameter")
    if offer.name == "OnnxStrategy":
        yield "Features, with the period that a name without one has:"
        lines = ["| feature | period | meaning |", "| --- | --- | --- |"]
        lines += [f"| `{name}` | {kind.default_period} | {kind.meaning} |" for name, kind in FEATURES.items()]
        yield "\n".join(lines)
        section = json.dumps(example(offer.name, offer.kind, offer.parameters), indent=2)
        yield f'```json\n"strategy": {section}\n```'


def _sections(path: str, model: type[BaseModel]) -> Iterator[str]:
    """A section and those below it."""
    yield f"## `{path}`" if path else "## The document"
    yield _text(model)
    yield _table(model)
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _sections(f"{path}.{name}" if path else name, field.annotation)


def _text(model: type[BaseModel]) -> str:
    return inspect.getdoc(model) or ""


def _table(model: type[BaseModel]) -> str:
    return _rows(parameter_table(model), "key")


def _rows(entries: Mapping[str, Mapping[str, Any]], first: str) -> str:
    lines = [f"| {first} | type | range | default | meaning |", "| --- | --- | --- | --- | --- |"]
    for name, entry in entries.items():
        section = entry.get("type") == "object" and "properties" in entry
        default = ("see below" if "default" in entry else "required") if section else default_of(entry)
        meaning = "" if section else entry.get("description", "")
        cells = (f"`{name}`", kind_of(entry), range_of(entry), default, meaning)
        lines.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
