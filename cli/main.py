"""The `botfleet` command. Groups are imported when used, so that `--help` is quick.

Data goes to stdout, everything else to stderr. Exit codes: 0 ok, 1 failed, 2 usage, 3 fenced, 4 a backtest whose
strategy failed, 130 interrupted. With `-o json` or `-o yaml` stdout holds one document whatever the exit
code is: without a result, `{"error": {"kind": ..., "message": ..., "exit_code": ...}}`.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Final

import typer
import typer.main

from cli import backtest, bots, config, db_commands, limits, notify, parity, strategies
from cli.files import FileUnreadable
from cli.output import (
    Output,
    begin_output,
    ensure_document,
    forgive_characters,
    leave_quietly,
    open_streams,
    own_stdout,
    say,
    tell,
    wanted_form,
)
from fleet import __version__
from fleet.errors import BotfleetError
from fleet.exit_codes import EXIT_FAILED, EXIT_OK, EXIT_USAGE
from fleet.log import configure_logging, get_logger
from fleet.redaction import guard_environment, safe_text

MISUSE: Final[type[Exception]] = typer.BadParameter.__mro__[1]
"""Base of all that typer has to say against the words of a command line."""

INTERRUPTED: Final = 130
"""What typer makes of Ctrl-C."""

MESSAGE_LIMIT: Final = 10_000

app = typer.Typer(
    name="botfleet",
    help="Run trading bots on Kubernetes: one pod per enabled row of trading_bots.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(bots.app, name="bots")
app.add_typer(config.app, name="config")
app.add_typer(db_commands.app, name="db")
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
    """Entry point; turns expected errors into one line and exit code 1, and with `-o json` into a document as well."""
    open_streams()
    guard_environment(os.environ)
    forgive_characters()
    sys.argv[1:] = [_as_typed(argument) for argument in sys.argv[1:]]
    configure_logging(level="WARNING", form="console")
    begin_output()
    form = wanted_form(sys.argv[1:])
    try:
        code, error = _run(for_programs=form in (Output.JSON, Output.YAML))
        if error is not None and ensure_document(form, {**error, "exit_code": code or EXIT_FAILED}):
            code = code or EXIT_FAILED
    except BrokenPipeError:
        leave_quietly()
    sys.exit(code)


def _run(*, for_programs: bool) -> tuple[int, dict[str, Any] | None]:
    """Run the command; its exit code, and what to say instead of a document if it printed none."""
    try:
        # typer's own way of ending draws a frame around what is wrong and keeps it to itself
        returned = _keeping_stdout(typer.main.get_command(app)).main(standalone_mode=not for_programs)
    except BotfleetError as error:
        say(f"botfleet: {error}")
        return EXIT_FAILED, _error(type(error).__name__, str(error), **_place(error))
    except MISUSE as error:
        misuse: Any = error
        misuse.show()
        return EXIT_USAGE, _error("Usage", misuse.format_message())
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else EXIT_OK if end.code is None else EXIT_FAILED
        return code, _error("Ended", "the command ended without an answer")
    except BrokenPipeError:
        raise
    except (Exception, KeyboardInterrupt, GeneratorExit) as error:
        # typer would print it as it is
        get_logger("cli").critical("crashed", exc_info=True)
        return EXIT_FAILED, _error("Crash", f"{type(error).__name__}: {safe_text(error, 500)}")
    code = returned if isinstance(returned, int) else EXIT_OK
    if code == INTERRUPTED:
        return code, _error("Interrupted", "the command was interrupted")
    return code, _error("Ended", "the command ended without an answer")


def _error(kind: str, message: str, **place: Any) -> dict[str, Any]:
    return {"kind": kind, "message": safe_text(message, MESSAGE_LIMIT), **place}


def _place(error: BotfleetError) -> dict[str, Any]:
    if not isinstance(error, FileUnreadable):
        return {}
    return {"file": error.file, "line": error.line, "column": error.column}


def _keeping_stdout(command: Any) -> Any:
    """The command and those below it, each with stdout for its data alone from where it begins: help comes before."""
    for one in getattr(command, "commands", {}).values():
        _keeping_stdout(one)
    if not hasattr(command, "commands") and command.callback is not None:
        command.callback = own_stdout()(command.callback)
    return command
