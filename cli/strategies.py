"""`botfleet strategies`: what can be configured."""

from __future__ import annotations

import json
from collections.abc import Collection
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.output import Output, show, tell, write
from cli.parameters import default_of, example, kind_of, range_of
from fleet.config.translate import nearest
from fleet.errors import NotFound, PermanentError

if TYPE_CHECKING:
    from cli.catalogue import Catalogue

app = typer.Typer(help="List strategies and mixins, built-in and from installed packages.", no_args_is_help=True)


class Kind(StrEnum):
    """What `--kind` takes."""

    STRATEGY = "strategy"
    ENTRY = "entry"
    EXIT = "exit"


TimeoutOption = Annotated[
    float, typer.Option("--timeout", min=0.1, max=3600, help="Seconds that a package may take to be imported.")
]


@app.command("list")
def list_(
    kind: Annotated[Kind | None, typer.Option("--kind", help="Only these.")] = None,
    timeout: TimeoutOption = 20.0,
    output: Annotated[Output, typer.Option("-o", "--output", help="How to print.")] = Output.TABLE,
) -> None:
    """Strategies, entry mixins and exit mixins with their parameters; what can't be used with the reason.

    Each installed package is imported in a process of its own, so none can hold up or break the list.
    """
    columns = {
        "NAME": lambda row: row["name"],
        "KIND": lambda row: row["kind"],
        "PARAMETERS": lambda row: (
            f"can't be used: {row['error']}"
            if "error" in row
            else ", ".join(f"{n}={default_of(p)}" for n, p in row["parameters"].items())
        ),
    }
    found = _catalogue(None, timeout)
    rows: list[dict[str, Any]] = [
        {"name": offer.name, "kind": offer.kind, "parameters": dict(offer.parameters)} for offer in found.offers
    ]
    rows += [{"name": one.name, "kind": one.kind, "parameters": {}, "error": one.why} for one in found.left_out]
    show([row for row in rows if kind is None or row["kind"] == kind], output=output, columns=columns)


@app.command("show")
def show_(
    name: Annotated[str, typer.Argument(help="A name of `strategies list`, in any case.")],
    timeout: TimeoutOption = 20.0,
    output: Annotated[Output, typer.Option("-o", "--output", help="How to print.")] = Output.TABLE,
) -> None:
    """What a strategy or mixin does, its parameters, and a configuration to start from."""
    known = _catalogue((), timeout)
    from cli.catalogue import offered_names

    foreign = {one for one in offered_names() if one.lower() == name.lower()}
    catalogue = _catalogue(foreign, timeout) if foreign else known
    found = [offer for offer in catalogue.offers if offer.name.lower() == name.lower()]
    if not found and catalogue.left_out:
        raise PermanentError(f"{name} can't be used: {catalogue.left_out[0].why}")
    if not found:
        hint = nearest(name, [*(offer.name for offer in known.offers), *offered_names()])
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


def _catalogue(names: Collection[str] | None, timeout: float) -> Catalogue:
    try:
        from cli.catalogue import catalogue
    except ImportError as error:
        raise PermanentError(f"strategies need the package botfleet[botrunner]: {error}") from error
    return catalogue(names, import_s=timeout)
