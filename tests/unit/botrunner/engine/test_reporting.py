"""What a bar leaves in the log: one line for the decision with all its inputs, one for each fill."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import structlog

from botrunner.engine.reporting import gave_up_event, log_outcome
from botrunner.market.side import Side
from botrunner.trading.order_ids import Leg
from botrunner.trading.orders import Order, OrderType
from botrunner.trading.risk import Denial
from botrunner.trading.signal import Signal, SignalKind
from botrunner.trading.state import BarOutcome
from tests.unit.botrunner.bars import BAR, CANDLE, CLOSED, FILL, outcome

ENTER = Signal(SignalKind.ENTER, "crossed")
ORDER = Order(
    client_order_id=FILL.client_order_id,
    signal_at=BAR,
    leg=Leg.ENTRY,
    attempt=0,
    side=Side.BUY,
    type=OrderType.MARKET,
    quantity=FILL.quantity,
    price=None,
    reason="crossed",
)


def logged(made: BarOutcome, *, ready: bool = True) -> list[dict[str, Any]]:
    with structlog.testing.capture_logs() as logs:
        log_outcome(made, ready=ready)
    return [dict(log) for log in logs]


@pytest.mark.parametrize(("signal", "level"), [(None, "debug"), (ENTER, "info")])
def test_a_decision_is_one_line_with_all_its_inputs(signal: Signal | None, level: str) -> None:
    (line,) = logged(outcome(candle=CANDLE, signal=signal, close=CANDLE.close), ready=False)
    assert (line["event"], line["log_level"], line["ready"]) == ("decided", level, False)
    assert [line[name] for name in ("open", "high", "low", "close", "volume")] == [
        "0.10",
        "0.12",
        "0.09",
        "0.11",
        "7.5",
    ]
    assert (line["signal"], line["reason"]) == ((signal.kind, "crossed") if signal else (None, None))
    assert (line["position"], line["balance"], line["pnl_today"]) == ("0", "10.00000000", "0")


def test_each_fill_names_its_order_and_a_denied_entry_says_why() -> None:
    made = outcome(candle=CANDLE, signal=ENTER, orders=(ORDER,), fills=(FILL, replace(FILL, exchange_trade_id="t2")))
    lines = logged(replace(made, denial=Denial.STOPPING))
    assert [line["event"] for line in lines] == ["decided", "filled", "filled", "entry_denied"]
    assert lines[1]["client_order_id"] == lines[0]["client_order_ids"][0] == ORDER.client_order_id
    assert (lines[1]["leg"], lines[1]["side"], lines[1]["quantity"], lines[1]["price"]) == (
        Leg.ENTRY,
        Side.BUY,
        "1.5",
        "0.1",
    )


def test_between_bars_nothing_was_decided() -> None:
    assert [line["event"] for line in logged(outcome(orders=(ORDER,), fills=(FILL,)))] == ["filled"]


def test_who_gave_up_and_closed_says_what_it_got() -> None:
    event = gave_up_event(7, "ETHBTC", CLOSED, "it failed")
    assert event.title == "Gave up and closed 1.5 ETHBTC @ 0.12"
    assert event.body.startswith("it failed. Its long position was closed")
    assert (event.urgency, event.dedupe_key) == ("critical", f"gave_up:7:{CLOSED.entry_order_id}")
