"""The `botfleet` command. Groups are imported when used, so that `--help` is quick.

Data goes to stdout, everything else to stderr. Exit codes: 0 ok, 1 failed, 2 usage, 3 fenced.
"""

from __future__ import annotations

import os
import sys

import typer

from cli import backtest, bots, config, db, limits, notify, parity, strategies
from cli.output import forgive_characters, leave_quietly, say, tell
from fleet import __version__
from fleet.errors import BotfleetError
from fleet.log import configure_logging, get_logger
from fleet.redaction import guard_environment

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
    tell(__version__)


def _as_typed(argument: str) -> str:
    """A locale such as C makes surrogates of what isn't ASCII, which no database takes; people type UTF-8."""
    try:
        return os.fsencode(argument).decode("utf-8")
    except UnicodeDecodeError:
        return argument


def main() -> None:
    """Entry point; turns expected errors into one line and exit code 1."""
    guard_environment(os.environ)
    forgive_characters()
    sys.argv[1:] = [_as_typed(argument) for argument in sys.argv[1:]]
    configure_logging(level="WARNING", form="console")
    try:
        app()
    except BotfleetError as error:
        say(f"botfleet: {error}")
        sys.exit(1)
    except BrokenPipeError:
        leave_quietly()
    except Exception:
        # typer would print it as it is
        get_logger("cli").critical("crashed", exc_info=True)
        sys.exit(1)
