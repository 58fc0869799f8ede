"""Which notifications a bar writes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from botrunner.ledger.notifications import milestones_of, notifications_of
from botrunner.trading.risk import Denial
from fleet.exit_kinds import ExitKind
from tests.unit.botrunner.bars import CLOSED, FILL, TRADE, config, outcome


def rows(made: Any, **changes: Any) -> list[dict[str, Any]]:
    return notifications_of(outcome(**changes), made, bot_id=7, owner=1)


@pytest.mark.parametrize(
    ("changes", "switches", "kinds"),
    [
        ({}, {}, []),
        ({"trades": (TRADE,)}, {}, ["position_opened"]),
        ({"trades": (TRADE,)}, {"position_opened": False}, []),
        ({"trades": (CLOSED,)}, {}, ["take_profit"]),
        ({"trades": (replace(CLOSED, exit_reason="atr_stop", exit_kind=ExitKind.STOP),)}, {}, ["stop_loss"]),
        ({"trades": (replace(CLOSED, exit_reason="stop_loss", exit_kind=ExitKind.SIGNAL),)}, {}, ["position_closed"]),
        ({"trades": (CLOSED,)}, {"position_closed": False}, []),
        ({"trades": (CLOSED, TRADE)}, {}, ["take_profit", "position_opened"]),
        # an entry that its own bar closed again
        ({"trades": (CLOSED,), "fills": (FILL,)}, {}, ["position_opened", "take_profit"]),
        ({"trades": (TRADE,), "fills": (FILL,)}, {"order_executions": True}, ["order_filled", "position_opened"]),
        ({"breaches": (Denial.MAX_DAILY_LOSS,)}, {}, ["risk_breach"]),
        ({"breaches": (Denial.MAX_DAILY_LOSS,)}, {"risk_alerts": False}, []),
        ({"denial": Denial.BELOW_MIN_NOTIONAL}, {}, []),
        ({"denial": Denial.TENANT_MAX_EXPOSURE}, {}, ["risk_breach"]),
    ],
)
def test_notifications(changes: dict[str, Any], switches: dict[str, bool], kinds: list[str]) -> None:
    assert [
        row["kind"] for row in rows(config(notifications=switches), **changes) if row["state"] == "pending"
    ] == kinds


def test_a_silenced_event_stays_in_the_history() -> None:
    [row] = rows(config(notifications={"position_opened": False}), trades=(TRADE,))
    assert (row["kind"], row["state"]) == ("position_opened", "suppressed")


@pytest.mark.parametrize(
    ("trades", "milestones"), [((), False), ((TRADE,), False), ((CLOSED,), True), ((TRADE, CLOSED), True)]
)
def test_milestones_come_with_a_closed_trade(trades: tuple[Any, ...], milestones: bool) -> None:
    found = milestones_of(outcome(trades=trades), config(), bot_id=7)
    assert bool(found) is milestones
    assert not found or found[10]["title"] == "10 trades"
