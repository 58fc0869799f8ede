"""Writes the generated pages of docs/ from the code: `python -m cli.reference`, or `make docs`.

`--check` writes nothing and ends with 1 when a page is out of date. Names from installed packages are left out.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from botrunner.strategies.registry import GROUPS, plugins
from botrunner.strategies.strategy_handler import Offer, StrategyHandler
from cli.parameters import default_of, example, kind_of, range_of
from controller.metrics import Metrics as ControllerMetrics
from controller.settings import Settings as ControllerSettings
from fleet.config.document import ConfigDocument, CustomSection, LogicSection
from fleet.config.hot import HOT_FIELDS
from fleet.config.rules import SAME_VALUE
from fleet.config.schema import parameter_table
from fleet.config.strategy_params import FEATURES
from fleet.settings import PREFIX
from worker.metrics import Metrics as WorkerMetrics
from worker.settings import Settings as WorkerSettings

REPOSITORY = Path(__file__).resolve().parents[1]
DOCS = REPOSITORY / "docs"
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")
MADE = "<!-- made by `make docs`; change the code it is made from instead -->"
MADE_OF_README = "<!-- made of README.md by `make docs`; change that instead -->"
FILES = """## Files

The command line reads JSON and YAML, in UTF-8. A file whose name ends in `.json` is JSON; any other is JSON if it can
be, else YAML. Errors name file, line and column. In both, a key that is twice in an object is an error, and so are
`NaN` and numbers out of range. Comments (`#`) are possible in YAML alone.

YAML is that of version 1.2 (core schema): only `true` and `false` are truth values; `yes`, `no`, `on` and `off` are
texts. `1e-3` is a number; `1_000`, `1:30` and dates are texts. A number that begins with 0 (`010`) is refused, because
some programs read it as octal. Anchors and `<<` work. A file has one document.
([Why](../decisions/0017-documents-of-people.md).)"""

SETTINGS = """Programs are set by environment variables. With the chart they come from its values
(`charts/botfleet/values.yaml`, each with a comment); `controller.extraEnv` and `worker.extraEnv` take any other. Lists
and objects are written as JSON. A wrong or missing setting ends the program at its start with a line that names it.

## Exit codes

| program | code | meaning |
| --- | --- | --- |
| bot | 0 | released: it was asked to stop |
| | 1 | failed |
| | 2 | its config can't be run |
| | 3 | it couldn't get its run, or lost it |
| `botfleet` | 0 | done |
| | 1 | failed; the message is on stderr |
| | 2 | wrong usage |
| | 4 | a backtest is done, but its strategy failed at one bar at least |
| | 130 | interrupted by Ctrl-C |
| controller, worker | 0 | asked to stop, and everything ended in time |
| | 1 | a part failed, or hung when it was asked to stop; the log says which |
| | 2 | a setting is wrong |
| | 128 + n | ended by a second signal n |

[What a bot's exit code is worth](../architecture/end-of-a-program.md)."""
BOT_SETTINGS = """## Bots

A bot gets everything from the controller: the database from the Secret `BOTFLEET_BOT_DATABASE_SECRET` (or
`BOTFLEET_BOT_DATABASE_URL`), times and limits as the controller has them. Bots that run keep what they were started
with."""

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


def front_page() -> str:
    """README.md as the site's first page: links into docs/ are relative to it, other files aren't part of the site."""

    def moved(link: re.Match[str]) -> str:
        text, target = link.groups()
        if "://" in target:
            return link[0]
        return f"[{text}]({target.removeprefix('docs/')})" if target.startswith("docs/") else f"{text} (`{target}`)"

    title, text = (REPOSITORY / "README.md").read_text().split("\n", 1)
    return f"{title}\n\n{MADE_OF_README}\n{LINK.sub(moved, text)}"


def strategies_page() -> str:
    """Every built-in strategy and mixin."""
    foreign = {name for group in GROUPS for name in plugins(group)}
    offers = [offer for offer in StrategyHandler().catalogue() if offer.name not in foreign]
    parts = [
        "# Strategies and mixins: reference",
        MADE,
        (
            "[How strategies work](../user/strategies.md). The same on the command line: `botfleet "
            "strategies show NAME`. Periods count closed candles; ratios are fractions: 0.02 is 2 %. A *deviation* is "
            "where a rule differs from the design that these strategies were first written from."
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
    hot = " or ".join(f"`{name}`" for name in HOT_FIELDS)
    parts = [
        "# Configuration: reference",
        MADE,
        (
            "The keys of `trading_bots.config`. Unknown keys are errors that name the nearest known one. "
            "`botfleet config validate FILE` reports every error at once, each with its path; `botfleet config schema` "
            "prints the JSON Schema for editors and forms."
        ),
        (
            "Types are those of JSON. A whole number may be written as 14.0; a number in quotes is an error. Times are "
            f"seconds unless the name says otherwise. A changed {hot} reaches the running bot; any other change ends "
            "the run and starts the next one."
        ),
        "Some values have two places. Use one of them; two different values are an error:\n\n" + same,
        FILES,
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


def settings_page() -> str:
    """Every setting of the controller and the worker."""
    parts = [
        "# Settings and exit codes",
        MADE,
        SETTINGS,
        "## Controller",
        _settings(ControllerSettings.model_fields),
        "## Worker",
        _settings(WorkerSettings.model_fields),
        BOT_SETTINGS,
    ]
    return "\n\n".join(parts) + "\n"


def metrics_page() -> str:
    """Every metric of the controller and the worker."""
    parts = [
        "# Metrics",
        MADE,
        (
            "The controller and the worker serve Prometheus metrics at `/metrics`, port 8080. A histogram has the "
            "usual `_bucket`, `_sum` and `_count`. What to alert on: [watching](../operator/index.md#watch-it)."
        ),
        "## Controller",
        _metrics(ControllerMetrics().registry),
        "## Worker",
        _metrics(WorkerMetrics().registry),
    ]
    return "\n\n".join(parts) + "\n"


PAGES: Mapping[str, Callable[[], str]] = {
    "index.md": front_page,
    "reference/strategies.md": strategies_page,
    "reference/configuration.md": configuration_page,
    "reference/settings.md": settings_page,
    "reference/metrics.md": metrics_page,
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
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from _sections(f"{path}.{name}" if path else name, part)


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


def _settings(fields: Mapping[str, FieldInfo]) -> str:
    lines = ["| setting | default | meaning |", "| --- | --- | --- |"]
    for name, info in fields.items():
        cells = (f"`{PREFIX}{name.upper()}`", _preset(info), info.description or "")
        lines.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
    return "\n".join(lines)


def _metrics(registry: CollectorRegistry) -> str:
    lines = ["| metric | type | labels | meaning |", "| --- | --- | --- | --- |"]
    for metric in registry._collector_to_names:
        assert isinstance(metric, MetricWrapperBase)
        name = f"{metric._name}_total" if metric._type == "counter" else metric._name
        labels = ", ".join(f"`{label}`" for label in metric._labelnames)
        lines.append(f"| `{name}` | {metric._type} | {labels} | {_cell(metric._documentation)} |")
    return "\n".join(lines)


def _preset(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True)
    if isinstance(value, SecretStr) or value in (None, "", [], {}) or isinstance(value, BaseModel):
        return ""
    return f"`{value}`" if isinstance(value, str | Path) else json.dumps(value)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
