"""What each way to end makes of the run: exit code, reason, message."""

from __future__ import annotations

import pytest

from botrunner.engine.budget import GaveUp
from botrunner.exchange.errors import CircuitOpen, ExchangeAway, UnknownSymbol
from botrunner.run_end import RunEnd, end_by_error, end_in_order
from botrunner.trading.account_json import CheckpointDamaged
from fleet.errors import ConfigUnusable, DatabaseAway
from fleet.states import ENDED_BY_SIGNAL, ExitReason

WAITED = RunEnd(0, ExitReason.RELEASED, ENDED_BY_SIGNAL, "stopped_while_waiting")


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (GaveUp("5 failures"), RunEnd(1, ExitReason.GAVE_UP, "5 failures", "gave_up")),
        (ConfigUnusable("symbol: no"), RunEnd(2, ExitReason.CONFIG_ERROR, "symbol: no", "config_error")),
        (UnknownSymbol("symbol: X"), RunEnd(2, ExitReason.CONFIG_ERROR, "symbol: X", "config_error")),
        (CheckpointDamaged("restore it"), RunEnd(2, ExitReason.CONFIG_ERROR, "restore it", "config_error")),
        (ExchangeAway("503"), WAITED),
        (CircuitOpen("open"), WAITED),
        (DatabaseAway("gone"), WAITED),
        (ValueError("x"), RunEnd(1, ExitReason.FAILED, "ValueError: x", "failed")),
    ],
)
def test_what_an_error_makes_of_the_run(error: Exception, end: RunEnd) -> None:
    assert end_by_error(error, asked=ExitReason.RELEASED) == end


@pytest.mark.parametrize("error", [SystemExit(0), KeyboardInterrupt(), GeneratorExit()])
def test_code_of_others_that_ends_the_process_is_a_failure(error: BaseException) -> None:
    end = end_by_error(error, asked=ExitReason.STOPPED)
    assert (end.exit_code, end.reason, end.event) == (1, ExitReason.FAILED, "failed")
    assert repr(error) in (end.message or "")


@pytest.mark.parametrize(
    ("asked", "message"),
    [(ExitReason.RELEASED, ENDED_BY_SIGNAL), (ExitReason.STOPPED, None), (ExitReason.SUPERSEDED, None)],
)
def test_an_end_that_was_asked_for(asked: ExitReason, message: str | None) -> None:
    assert end_in_order(asked) == RunEnd(0, asked, message)
    waited = end_by_error(ExchangeAway("503"), asked=asked)
    assert (waited.exit_code, waited.reason, waited.message) == (0, asked, message)
