"""The `botfleet` command. Groups are imported when used, so that `--help` is quick.

Data goes to stdout, everything else to stderr. Exit codes: 0 ok, 1 failed, 2 usage, 3 fenced.
"""

from __future__ import annotations

import sys

import typer

from cli import backtest, bots, config, db, limits, notify, parity, strategies
from fleet import __version__
from fleet.errors import BotfleetError
from fleet.log import configure_logging

app = typer.Typer(
    name="botfleet",
    help="Run trading bots on Kubernetes: one pod per enabled row of trading_bots.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(bots.app, name="bots")
app.add_typer(config.app, name="config")
app.add_typer(db.app, name="db")
app.add_typer(limits.app, name="limits")
app.add_typer(notify.app, name="notify")
app.add_typer(strategies.app, name="strategies")
app.command("backtest")(backtest.backtest)
app.command("parity")(parity.parity)


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


def main() -> None:
    """Entry point; turns expected errors into one line and exit code 1."""
    configure_logging(level="WARNING", form="console")
    try:
        app()
    except BotfleetError as error:
        print(f"botfleet: {error}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(0)
