"""`python -m botrunner`: arguments, environment, log, and the exit code of one run of one bot.

Exit codes (`fleet.exit_codes`): 0 released, 1 failed, 2 the config can't be run, 3 fenced or the run couldn't be
claimed. Only `bot_process` and this module end the process: a strategy or a package that tries to is a failure.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from uuid import uuid4

import structlog

from botrunner.bot_process import BotProcess
from botrunner.process import termination_message
from botrunner.process.error_counter import ErrorCounter
from botrunner.process.signals import listen
from botrunner.settings import SettingsInvalid, load_settings
from fleet.clock import SystemClock
from fleet.errors import DatabaseAway, FencedError
from fleet.exit_codes import EXIT_CONFIG, EXIT_FAILED, EXIT_FENCED
from fleet.log import configure_logging, get_logger, say_failure
from fleet.redaction import guard_environment
from fleet.trading_service.lease import RunId
from fleet.trading_service.ledger import CheckpointConflict

log = get_logger("main")


def main(argv: Sequence[str] | None = None, *, stop_signals: int | None = None) -> int:
    """Run the bot named on the command line; returns the exit code.

    Args:
        argv: without the program's name; by default those of the process.
        stop_signals: what `signals.listen` returned, if signals are listened to already.
    """
    stop_signals = listen() if stop_signals is None else stop_signals
    guard_environment(os.environ)
    arguments, clock = _arguments(argv), SystemClock()
    try:
        settings = load_settings()
        errors = ErrorCounter(clock)
        configure_logging(level=settings.log_level, form=settings.log_format, watch=errors.see)
    except (SettingsInvalid, ValueError) as error:
        say_failure("botrunner", error)
        return EXIT_CONFIG
    structlog.contextvars.bind_contextvars(
        bot_id=arguments.bot_id, epoch=arguments.epoch, run_id=f"{arguments.bot_id}-{arguments.epoch}-{uuid4().hex[:8]}"
    )
    run = RunId(arguments.bot_id, arguments.epoch, _token())
    try:
        return BotProcess(settings, run, clock, errors, stop_signals=stop_signals).run()
    except FencedError as error:
        log.error("fenced", error=str(error))
        termination_message.write(f"fenced: {error}")
        return EXIT_FENCED
    except CheckpointConflict as error:
        log.error("checkpoint_conflict", error=str(error))
        termination_message.write(f"checkpoint conflict: {error}")
        return EXIT_FENCED
    except DatabaseAway as error:
        log.error("database_away", error=str(error))
        termination_message.write(f"the database can't be reached: {error}")
        return EXIT_FAILED


def _token() -> str:
    """Who claims: the pod's uid, so that the controller knows whose end ends the run, and this process of it."""
    return f"{os.environ.get('BOTFLEET_POD_UID', '')}/{uuid4().hex}"


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="botrunner", description="Run one trading bot. The controller starts this; BOTFLEET_* configure it."
    )
    parser.add_argument("--bot-id", type=int, required=True, help="trading_bots.id")
    parser.add_argument("--epoch", type=int, required=True, help="trading_runs.epoch to claim")
    return parser.parse_args(argv)
