"""What an exchange says between bars: committed before the next bar, and before the run ends; never without the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from botrunner.engine.budget import STATE_KEY, BudgetLimits, StrategyFailing
from botrunner.engine.strategy_guard import MISSED_FILL
from botrunner.market.candle import Candle
from botrunner.process.fence import Deadlines, Fence
from botrunner.process.stop import StopRequest, StopSwitch
from botrunner.strategies.base import OpenPosition
from botrunner.trading.order_ids import Leg
from botrunner.trading.orders import Order
from botrunner.trading.reports import Accepted, Executed, Expired, Report
from botrunner.trading.state import BarOutcome
from fleet.config import BotConfig
from fleet.errors import FencedError
from fleet.states import ExitReason, OrderState
from tests.unit.botrunner.asked_venue import AskedVenue
from tests.unit.botrunner.engine.runs import (
    ENTRY,
    MARKET,
    EventLedger,
    Honest,
    ListSource,
    Store,
    candles,
    config,
    run,
)

D = Decimal
MADE = config(risk_management={"stop_loss_pct": 5})


@dataclass
class Outcomes(EventLedger):
    """Remembers what was committed, in order."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.outcomes: list[BarOutcome] = []

    def commit(self, outcome: BarOutcome) -> None:
        super().commit(outcome)
        self.outcomes.append(outcome)

    @property
    def steps(self) -> list[str]:
        """From the bar of the entry on: each bar, and what was reported between two."""
        found = ["bar" if outcome.candle else _said(outcome) for outcome in self.outcomes]
        entered = next(n for n, outcome in enumerate(self.outcomes) if outcome.orders)
        return found[entered:]


def _said(outcome: BarOutcome) -> str:
    return "fill" if outcome.fills else ", ".join(f"{order.leg} {order.state}" for order in outcome.orders)


@dataclass
class Exchange:
    """Executes an entry and accepts a stop as soon as they are committed, from when `answers` says so."""

    ledger: Outcomes
    answers: Callable[[], bool] = lambda: True
    unknown: bool = False
    asked: list[tuple[Order, ...]] = field(default_factory=list)

    def carry_out(self, orders: Sequence[Order]) -> Sequence[Report]:
        if self.ledger.outcomes:
            assert tuple(orders) == self.ledger.outcomes[-1].account.orders, "not what is committed"
        self.asked.append(tuple(orders))
        if not self.answers():
            return ()
        return [self.report(order) for order in orders if order.state is OrderState.INTENT]

    def unresolved(self, orders: Sequence[Order]) -> bool:
        return self.unknown and any(order.state is OrderState.INTENT for order in orders)

    def report(self, order: Order) -> Report:
        at = order.signal_at + timedelta(seconds=70)
        if order.leg is not Leg.ENTRY:
            return Accepted(client_order_id=order.client_order_id, at=at, exchange_order_id="x")
        return Executed(
            client_order_id=order.client_order_id,
            at=at,
            exchange_trade_id="t1",
            price=D("0.1"),
            quantity=order.quantity,
            fee=D(0),
            fee_currency="BTC",
        )


def trade(ledger: Outcomes, bars: list[Candle], *, exchange: Any, made: BotConfig = MADE, **changes: Any) -> ExitReason:
    strategy = changes.pop("strategy", Honest)
    return run(ledger, bars, made, strategy, venue=AskedVenue(made, MARKET), between_bars=exchange, **changes)


def test_reports_are_committed_before_the_next_bar_is_looked_at() -> None:
    ledger = Outcomes(Store())
    trade(ledger, candles()[: ENTRY + 3], exchange=Exchange(ledger))
    assert ledger.steps == ["bar", "fill", "stop_loss acked", "bar", "bar"]
    fill = next(outcome for outcome in ledger.outcomes if outcome.fills)
    assert (fill.bar_at, fill.follows, fill.candle) == (candles()[ENTRY].open_at, candles()[ENTRY].open_at, None)


def test_the_strategy_hears_of_a_fill_between_bars() -> None:
    told: list[int] = []

    class Listens(Honest):
        def on_entered(self, position: OpenPosition) -> None:
            told.append(self.bar())

        def export_state(self) -> dict[str, Any]:
            return {"told": len(told)}

    ledger = Outcomes(Store())
    trade(ledger, candles()[: ENTRY + 3], exchange=Exchange(ledger), strategy=Listens)
    assert told == [ENTRY]
    assert next(outcome for outcome in ledger.outcomes if outcome.fills).strategy_state == {"told": 1}


def test_a_strategy_that_fails_at_a_report_is_counted_and_undoes_no_fill() -> None:
    class Fails(Honest):
        def on_entered(self, position: OpenPosition) -> None:
            raise SystemExit(0)

    ledger = Outcomes(Store())
    trade(ledger, candles()[: ENTRY + 3], exchange=Exchange(ledger), strategy=Fails)
    fill = next(outcome for outcome in ledger.outcomes if outcome.fills)
    assert STATE_KEY in fill.strategy_state
    assert [event.title for event in fill.events] == ["The strategy failed: SystemExit"]


def test_a_strategy_that_has_failed_too_often_ends_the_run_at_the_report() -> None:
    class Fails(Honest):
        def on_entered(self, position: OpenPosition) -> None:
            raise ZeroDivisionError

    ledger = Outcomes(Store())
    with pytest.raises(StrategyFailing):
        trade(ledger, candles(), exchange=Exchange(ledger), strategy=Fails, budget=BudgetLimits(in_a_row=1))
    assert ledger.steps == ["bar", "fill"]


def test_reports_are_taken_while_no_strategy_can_be_built_and_it_hears_of_them_later() -> None:
    class Keeps(Honest):
        def export_state(self) -> dict[str, Any]:
            return {"kept": 1}

    class Broken(Keeps):
        def __init__(self) -> None:
            raise ZeroDivisionError

    ledger = Outcomes(Store())
    trade(ledger, candles()[: ENTRY + 1], exchange=Exchange(ledger, answers=lambda: False), strategy=Keeps)

    trade(ledger, candles()[: ENTRY + 2], exchange=Exchange(ledger), strategy=Broken)
    assert ledger.steps == ["bar", "fill", "stop_loss acked", "bar"]
    assert ledger.outcomes[-1].strategy_state[MISSED_FILL] == "entered"


def test_reports_that_wait_when_a_stop_comes_are_committed_before_the_run_ends() -> None:
    stop, ledger = StopSwitch(), Outcomes(Store())
    bars = candles()[: ENTRY + 2]
    exchange = Exchange(ledger, answers=lambda: stop.requested)
    assert trade(ledger, bars, exchange=exchange, source=ListSource(bars, stop), stop=stop) is ExitReason.STOPPED
    assert ledger.steps == ["bar", "bar", "fill", "stop_loss acked"]


def test_what_a_stop_closes_is_handed_to_the_exchange_before_the_run_ends() -> None:
    ledger = Outcomes(Store())
    made = config(risk_management={"stop_loss_pct": 5}, trading={"on_stop": "flatten"})
    exchange = Exchange(ledger)
    trade(ledger, candles()[: ENTRY + 2], exchange=exchange, made=made)
    assert {order.leg for order in exchange.asked[-2]} >= {Leg.FLATTEN}
    assert ledger.steps[-1] == "flatten acked"


def test_a_run_that_is_lost_at_a_report_keeps_nothing_of_it() -> None:
    class Fenced(Outcomes):
        def commit(self, outcome: BarOutcome) -> None:
            if outcome.candle is None:
                raise FencedError("not current")
            super().commit(outcome)

    ledger = Fenced(Store())
    with pytest.raises(FencedError):
        trade(ledger, candles(), exchange=Exchange(ledger))
    assert (ledger.store.fills, ledger.steps) == ({}, ["bar"])


def test_a_lost_run_sends_nothing_any_more() -> None:
    fence = Fence(Deadlines(), claimed_at=1000.0)

    class Loses(Outcomes):
        def commit(self, outcome: BarOutcome) -> None:
            super().commit(outcome)
            if outcome.orders:
                fence.lose()

    ledger = Loses(Store())
    exchange = Exchange(ledger)
    with pytest.raises(FencedError):
        trade(ledger, candles(), exchange=exchange, fence=fence)
    assert ledger.steps == ["bar"]
    assert all(order.state is not OrderState.INTENT for orders in exchange.asked for order in orders)


class Unknown(Exchange):
    """Doesn't know for some looks what became of an order of the run before; then it never arrived."""

    looks = 5

    def carry_out(self, orders: Sequence[Order]) -> Sequence[Report]:
        super().carry_out(orders)
        self.looks -= 1
        known = self.looks <= 0
        return [
            Expired(
                client_order_id=order.client_order_id,
                at=order.signal_at + timedelta(seconds=90),
                executed_quantity=D(0),
            )
            for order in orders
            if known and order.leg is Leg.ENTRY
        ]


def test_no_bar_comes_before_the_fate_of_an_earlier_runs_order_is_known() -> None:
    ledger = Outcomes(Store())
    trade(ledger, candles()[: ENTRY + 1], exchange=Exchange(ledger, answers=lambda: False))
    exchange = Unknown(ledger, unknown=True)
    trade(ledger, candles()[: ENTRY + 2], exchange=exchange)
    assert ledger.steps == ["bar", "entry expired", "bar"]
    assert exchange.looks < 0


def test_a_stop_ends_a_run_that_waits_for_an_orders_fate() -> None:
    ledger = Outcomes(Store())
    trade(ledger, candles()[: ENTRY + 1], exchange=Exchange(ledger, answers=lambda: False))
    stop = StopSwitch()

    class Silent(Unknown):
        looks = 10**9

        def carry_out(self, orders: Sequence[Order]) -> Sequence[Report]:
            if len(self.asked) == 3:
                stop.request(StopRequest(ExitReason.STOPPED))
            return super().carry_out(orders)

    bars = candles()
    trade(ledger, bars, exchange=Silent(ledger, unknown=True), source=ListSource(bars, stop), stop=stop)
    assert ledger.steps == ["bar"]
