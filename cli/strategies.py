"""`botfleet strategies`: what can be configured."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.output import Output, show, tell, write
from cli.parameters import default_of, example, kind_of, range_of
from fleet.config.translate import nearest
from fleet.errors import NotFound, PermanentError

if TYPE_CHECKING:
    from botrunner.strategy_handler import StrategyHandler

app = typer.Typer(help="List strategies and mixins, built-in and from installed packages.", no_args_is_help=True)


class Kind(StrEnum):
    """What `--kind` takes."""

    STRATEGY = "strategy"
    ENTRY = "entry"
    EXIT = "exit"


@app.command("list")
def list_(
    kind: Annotated[Kind | None, typer.Option("--kind", help="Only these.")] = None,
    output: Annotated[Output, typer.Option("-o", "--output", help="How to print.")] = Output.TABLE,
) -> None:
    """Strategies, entry mixins and exit mixins with their parameters."""
    columns = {
        "NAME": lambda row: row["name"],
        "KIND": lambda row: row["kind"],
        "PARAMETERS": lambda row: ", ".join(f"{n}={default_of(p)}" for n, p in row["parameters"].items()),
    }
    rows = [row for row in _handler().list() if kind is None or row["kind"] == kind]
    show(rows, output=output, columns=columns)


@app.command("show")
def show_(
    name: Annotated[str, typer.Argument(help="A name of `strategies list`, in any case.")],
    output: Annotated[Output, typer.Option("-o", "--output", help="How to print.")] = Output.TABLE,
) -> None:
    """What a strategy or mixin does, its parameters, and a configuration to start from."""
    catalogue = _handler().catalogue()
    found = [offer for offer in catalogue if offer.name.lower() == name.lower()]
    if not found:
        hint = nearest(name, [offer.name for offer in catalogue])
        raise NotFound(f"no strategy or mixin {name!r}" + (f"; {hint}" if hint else ""))
    rows = [
        {
            "name": offer.name,
            "kind": offer.kind,
            "text": offer.text,
            "parameters": dict(offer.parameters),
            "example": example(offer.name, offer.kind, offer.parameters),
        }
        for offer in found
    ]
    if output in (Output.JSON, Output.YAML):
        show(rows, output=output, columns={})
        return
    for row in rows:
        _describe(row)


def _describe(row: dict[str, Any]) -> None:
    tell(f"{row['name']} ({row['kind']})\n\n{row['text']}")
    write("\n")
    columns = {
        "PARAMETER": lambda entry: entry["name"],
        "TYPE": kind_of,
        "RANGE": range_of,
        "DEFAULT": default_of,
        "MEANING": lambda entry: entry.get("description", ""),
    }
    parameters = [{"name": name, **entry} for name, entry in row["parameters"].items()]
    show(parameters, output=Output.TABLE, columns=columns, empty="no parameters")
    write("\n")
    tell(f'"strategy": {json.dumps(row["example"], indent=2)}')


def _handler() -> StrategyHandler:
    try:
        from botrunner.strategy_handler import StrategyHandler
    except ImportError as error:
        raise PermanentError(f"strategies need the package botfleet[botrunner]: {error}") from error
    return StrategyHandler()
