"""What the end of a bot's work makes of its run: exit code, reason and message. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from botrunner.engine.budget import GaveUp
from botrunner.exchange.errors import ExchangeAway
from fleet.errors import ConfigUnusable, DatabaseAway
from fleet.exit_codes import EXIT_CONFIG, EXIT_FAILED, EXIT_OK
from fleet.states import ENDED_BY_SIGNAL, ExitReason


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How a run is given back.

    Attributes:
        event: the log's word for an error; empty where there was none.
        message: for the row's error_message; None where nobody needs to be told.
    """

    exit_code: int
    reason: ExitReason
    message: str | None
    event: str = ""


def end_in_order(reason: ExitReason) -> RunEnd:
    """The end that was asked for: who asked needn't be told."""
    return RunEnd(EXIT_OK, reason, ENDED_BY_SIGNAL if reason is ExitReason.RELEASED else None)


def end_by_error(error: BaseException, *, asked: ExitReason) -> RunEnd:
    """The end that an error makes, other than one that takes the run away (FencedError, CheckpointConflict).

    Args:
        asked: why the bot was asked to stop, if it was.
    """
    if isinstance(error, GaveUp):
        return RunEnd(EXIT_FAILED, ExitReason.GAVE_UP, str(error), "gave_up")
    if isinstance(error, ConfigUnusable):
        return RunEnd(EXIT_CONFIG, ExitReason.CONFIG_ERROR, str(error), "config_error")
    if isinstance(error, ExchangeAway | DatabaseAway):
        # only after a stop request: an outage alone is waited out
        ordered = end_in_order(asked)
        return RunEnd(ordered.exit_code, ordered.reason, ordered.message, "stopped_while_waiting")
    if isinstance(error, Exception):
        return RunEnd(EXIT_FAILED, ExitReason.FAILED, f"{type(error).__name__}: {error}", "failed")
    # a SystemExit, KeyboardInterrupt or the like, which only code of others raises here
    words = f"the strategy or a package tried to end the bot: {error!r}; a decision that fails must raise an Exception"
    return RunEnd(EXIT_FAILED, ExitReason.FAILED, words, "failed")
