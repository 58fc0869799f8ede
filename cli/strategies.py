"""`botfleet strategies`: what can be configured."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.output import Output, show

app = typer.Typer(help="List strategies and mixins.", no_args_is_help=True)


@app.command("list")
def list_(output: Annotated[Output, typer.Option("-o", "--output", help="How to print.")] = Output.TABLE) -> None:
    """Strategies, entry mixins and exit mixins with their parameters."""
    from botrunner.strategy_handler import StrategyHandler

    columns = {
        "NAME": lambda row: row["name"],
        "KIND": lambda row: row["kind"],
        "PARAMETERS": lambda row: ", ".join(f"{n}={p['default']}" for n, p in row["parameters"].items()),
    }
    show(StrategyHandler().list(), output=output, columns=columns)
