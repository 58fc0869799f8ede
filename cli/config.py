"""`botfleet config`: check a config before it reaches the database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.files import FileUnreadable, read_document
from cli.names import extra_names
from cli.output import Output, print_document, tell
from fleet.config import json_schema, validate_config
from fleet.exit_codes import EXIT_FAILED, EXIT_OK

app = typer.Typer(help="Validate configs.", no_args_is_help=True)


@app.command()
def validate(
    file: Annotated[Path, typer.Argument(help="JSON or YAML: a config, or an object with a key `config`; - is stdin.")],
    output: Annotated[Output, typer.Option("-o", "--output", help="How to print.")] = Output.TABLE,
) -> None:
    """Check a config; exit code 1 when it is invalid, or no document at all."""
    for_programs = output in (Output.JSON, Output.YAML)
    try:
        document = read_config(file)
    except FileUnreadable as error:
        if not for_programs:
            raise
        place = {"file": error.file, "line": error.line, "column": error.column}
        unreadable = {"path": "", "message": error.reason, "hint": "", **place}
        print_document({"valid": False, "errors": [unreadable]}, output=output)
        raise typer.Exit(EXIT_FAILED) from error
    errors = validate_config(document, extra_names=extra_names(document))
    if for_programs:
        facts = [{"path": e.path, "message": e.message, "hint": e.hint} for e in errors]
        print_document({"valid": not errors, "errors": facts}, output=output)
    elif errors:
        for found in errors:
            tell(f"{found.path}: {found.message}" + (f" ({found.hint})" if found.hint else ""))
    else:
        tell("valid")
    raise typer.Exit(EXIT_FAILED if errors else EXIT_OK)


def read_config(file: Path) -> Any:
    """The config of a JSON or YAML file, alone or under a key `config`; - is stdin.

    Raises:
        FileUnreadable.
    """
    document = read_document(file)
    if isinstance(document, dict) and "config" in document and "strategy" not in document:
        return document["config"]
    return document


@app.command()
def schema() -> None:
    """Print the JSON Schema of a bot's config."""
    print_document(json_schema())
