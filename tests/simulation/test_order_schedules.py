"""Random schedules of one bot at a scripted exchange: after kills, lost answers and outages ledger and tables agree.

`python benchmarks/order_schedules.py` runs as many as are wanted. The second half breaks the code on purpose, in each
of the ways that the guarantees are about, and sees that the checks notice.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import structlog

from botrunner.engine import trading_bot
from botrunner.execution.live import lookups, sending
from botrunner.execution.live.errors import UnknownOutcome
from botrunner.execution.live.transport import OrderSnapshot, Stamp
from botrunner.trading import book
from botrunner.trading.orders import Order
from botrunner.trading.policy import protection
from botrunner.trading.risk import Protection
from tests.scripted_exchange.exchange import Answer
from tests.scripted_exchange.invariants import Kind
from tests.scripted_exchange.kill_points import KillPoint
from tests.scripted_exchange.schedules import Summary
from tests.scripted_exchange.world import Broken

SAMPLE = 150
BATCHES = 3
"""So that they run side by side."""

TRIES = 60
"""Schedules within which a broken guarantee has to be noticed."""


@pytest.fixture(autouse=True)
def _silent() -> Iterator[None]:
    """The venue's warnings would be most of what there is to do."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)


@pytest.mark.parametrize("batch", range(BATCHES))
def test_nothing_is_lost_and_nothing_doubled(batch: int) -> None:
    summary = Summary()
    for seed in range(batch, SAMPLE, BATCHES):
        summary.add(seed)
    assert summary.violations == []
    # the schedules are worth something: every point killed, and there was trade
    assert set(summary.kills) == set(KillPoint)
    assert set(summary.turned_away) == set(Answer) - {Answer.DUPLICATE}
    assert summary.fenced > 0
    assert summary.executions > 5 * summary.schedules


def test_the_same_schedule_gives_the_same_world() -> None:
    first, second = Summary(), Summary()
    first.add(7)
    second.add(7)
    assert str(first) == str(second)
    assert first.kills.total() > 0


# --- broken on purpose ---------------------------------------------------------------------------------------------


class Resending:
    """What a client that retries does: an unanswered order is sent again under the same id."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def place(self, order: Order, stamp: Stamp) -> OrderSnapshot:
        try:
            return self._transport.place(order, stamp)
        except UnknownOutcome:
            return self._transport.place(order, stamp)


def noticed(broken: Broken | None = None) -> Iterator[Kind]:
    """The kinds of violations, one schedule after the other."""
    summary = Summary()
    for seed in range(TRIES):
        yield from {violation.kind for violation in summary.add(seed, broken)}


@pytest.mark.parametrize(
    ("broken", "kind"),
    [
        pytest.param(Broken(wrap=Resending), Kind.DOUBLED, id="blind resend"),
        pytest.param(Broken(resends_intents=True), Kind.DOUBLED, id="no look-up at a start"),
        pytest.param(Broken(sends_first=True), Kind.LOST, id="send before commit"),
        pytest.param(Broken(ignores_right=True), Kind.NO_RIGHT, id="no check of the right"),
    ],
)
def test_a_broken_process_is_noticed(broken: Broken, kind: Kind) -> None:
    assert kind in noticed(broken)


def test_an_execution_that_is_applied_twice_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "_is_applied", lambda _order, _trade_id: False)
    assert any(kind in {Kind.LOST, Kind.CRASHED} for kind in noticed())


def test_a_proof_of_absence_before_the_requests_time_is_over_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def at_once(arrives_by: datetime, _timing: lookups.Timing) -> datetime:
        return arrives_by - timedelta(hours=1)

    monkeypatch.setattr(lookups, "proves_absence_from", at_once)
    assert Kind.LOST in noticed()


def test_a_proof_of_absence_while_an_order_may_hide_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups, "proves_absence_from", lambda arrives_by, _timing: arrives_by)
    assert Kind.LOST in noticed()


def test_closing_orders_that_dont_take_turns_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "_blockers", lambda *_: [])
    assert Kind.OVERSOLD in noticed()


def test_a_write_off_that_doesnt_wait_for_a_stop_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trading_bot, "may_execute", lambda _account: False)
    assert Kind.OVERSOLD in noticed()


def test_a_position_without_its_stop_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protection, "protection", lambda *_, **__: Protection())
    assert Kind.UNPROTECTED in noticed()
