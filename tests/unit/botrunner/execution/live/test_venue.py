"""The exchange venue against a scripted exchange; what the bot's book would hold is given by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from random import Random

import pytest
from structlog.testing import capture_logs

from botrunner.exchange.errors import CircuitOpen
from botrunner.execution.live.lookups import Timing
from botrunner.execution.live.transport import OrderSnapshot, OrderStatus, Stamp
from botrunner.execution.live.venue import ExchangeVenue
from botrunner.market.side import Side
from botrunner.trading.costs import costs_of
from botrunner.trading.order_ids import Leg
from botrunner.trading.orders import Order, OrderType
from botrunner.trading.reports import (
    Accepted,
    Amended,
    Canceled,
    Executed,
    Expired,
    OutcomeUnknown,
    Rejected,
    Report,
    Sent,
    Working,
)
from fleet.errors import ConfigUnusable
from fleet.states import OrderState
from tests.scripted_exchange.clock import VirtualClock
from tests.scripted_exchange.exchange import PLAIN, Habits, ScriptedExchange, snapshot_of
from tests.scripted_exchange.kill_points import KillSwitch
from tests.scripted_exchange.transport import NO_FAULTS, Faults, Left, ScriptedTransport
from tests.unit.botrunner.exchange_orders import order
from tests.unit.botrunner.paper_world import MARKET, config

D = Decimal
TIMING = Timing()
PROOF_S = (TIMING.valid_for + TIMING.visible_within + TIMING.clocks_within).total_seconds()
"""From a request's stamp until "not found" proves that it never arrived: 16 s."""


class Setting:
    """A venue at an exchange whose price is 100 for ten minutes."""

    def __init__(self, *, habits: Habits = PLAIN, faults: Faults = NO_FAULTS, timing: Timing = TIMING) -> None:
        self.clock = VirtualClock()
        self.exchange = ScriptedExchange(
            self.clock, market=MARKET, prices=[D(100)] * 120, tick_ms=5000, habits=habits, random=Random(1)
        )
        self.right = True
        self.left: list[Left] = []
        self.before_send: Callable[[], None] = lambda: None
        self.transport = ScriptedTransport(
            self.exchange, epoch=1, may_send=lambda: self.right, faults=faults, random=Random(2), left=self.left,
            kills=KillSwitch(),
        )  # fmt: skip
        self.venue = ExchangeVenue(
            self.transport,
            may_send=self.may_send,
            monotonic=self.clock.monotonic,
            costs=costs_of(config(), MARKET),
            timing=timing,
        )

    def may_send(self) -> bool:
        right = self.right
        self.before_send()
        return right

    def carry_out(self, *orders: Order, seconds: float = 0) -> list[Report]:
        """What comes of it until something does, or for so many seconds."""
        until = self.clock.ms + seconds * 1000
        while True:
            reports = list(self.venue.carry_out(orders))
            if reports or self.clock.ms >= until:
                return reports
            self.clock.advance(100)


def kinds(reports: list[Report]) -> list[type[Report]]:
    return [type(report) for report in reports]


def resting(**changed: object) -> Order:
    """A purchase at 90, which the price doesn't reach."""
    return order(type=OrderType.LIMIT, price=D(90), **changed)


def acked(made: Order) -> Order:
    return replace(made, state=OrderState.ACKED, exchange_order_id="x1", working=made.type is not OrderType.STOP)


def test_nothing_leaves_while_a_step_is_decided_nor_for_an_order_that_isnt_committed() -> None:
    setting, made = Setting(), order()
    setting.venue.submit(made)
    assert setting.carry_out(seconds=5) == []
    assert setting.left == []


def test_an_order_leaves_once_and_says_what_became_of_it() -> None:
    setting, made = Setting(), order()
    setting.venue.submit(made)
    assert kinds(setting.carry_out(made)) == [Sent, Accepted, Executed]
    assert setting.carry_out(made, seconds=60) is not None
    assert [listed.status for listed in setting.exchange.ledger.orders] == [OrderStatus.FILLED]


def test_without_the_right_to_trade_nothing_leaves_and_the_order_waits_for_it() -> None:
    setting, made = Setting(), order(Leg.EXIT)
    setting.right = False
    setting.venue.submit(made)
    assert setting.carry_out(made, seconds=300) == []
    assert setting.left == []
    assert not setting.venue.unresolved([made])
    setting.right = True
    assert kinds(setting.carry_out(made)) == [Sent, Accepted, Executed]


def test_an_entry_doesnt_wait_longer_than_its_signal_is_worth() -> None:
    setting, made = Setting(), order()
    setting.right = False
    setting.venue.submit(made)
    began_ms = setting.clock.ms
    assert kinds(setting.carry_out(made, seconds=300)) == [Expired]
    assert TIMING.entry_waits.total_seconds() * 1000 < setting.clock.ms - began_ms < 31_000
    assert setting.left == []


def test_the_right_is_asked_for_before_each_request() -> None:
    setting = Setting()
    entry, stop = resting(), acked(order(Leg.STOP_LOSS))
    setting.carry_out(stop)
    setting.venue.submit(entry)
    setting.venue.cancel(stop)

    def ends() -> None:
        setting.right = False

    setting.before_send = ends
    setting.carry_out(stop, entry)
    assert [left.what for left in setting.left] == ["cancel"]


def test_a_process_that_was_stopped_between_check_and_send_sends_something_that_is_refused() -> None:
    setting, made = Setting(), order()
    setting.venue.submit(made)
    setting.before_send = lambda: setting.clock.advance(60_000)
    assert setting.carry_out(made) == []
    assert len(setting.left) == 1
    assert setting.exchange.ledger.orders == []


@pytest.mark.parametrize("faults", [Faults(not_sent=1.0), Faults(paused=1.0)])
def test_what_was_certainly_not_sent_is_sent_again_under_the_same_id(faults: Faults) -> None:
    setting, made = Setting(faults=faults), order(Leg.EXIT)
    setting.venue.submit(made)
    assert setting.carry_out(made, seconds=25) == []
    setting.transport.faults = NO_FAULTS
    assert kinds(setting.carry_out(made, seconds=25)) == [Sent, Accepted, Executed]
    assert [listed.client_order_id for listed in setting.exchange.ledger.orders] == [made.client_order_id]


def test_a_pause_of_the_address_is_kept() -> None:
    setting, made = Setting(), order()
    setting.venue.submit(made)
    asked: list[float] = []

    def place(of: Order, stamp: Stamp) -> OrderSnapshot:
        asked.append(setting.clock.monotonic())
        raise CircuitOpen("the circuit is open", retry_after_s=7.0)

    setting.transport.place = place
    assert setting.carry_out(made, seconds=10) == []
    assert len(asked) == 2
    assert 7.0 <= asked[1] - asked[0] < 7.2


def test_a_refused_order_is_rejected_and_no_fault_of_the_config() -> None:
    setting, made = Setting(habits=Habits(refuses=1.0)), order()
    setting.venue.submit(made)
    reports = setting.carry_out(made)
    assert kinds(reports) == [Sent, Rejected]
    assert isinstance(reports[1], Rejected)
    assert "filter failure" in reports[1].reason
    with pytest.raises(Exception, match="filter failure") as refused:
        setting.transport.place(made, Stamp(setting.clock.exchange_time(), timedelta(seconds=5)))
    assert not isinstance(refused.value, ConfigUnusable)


@pytest.mark.parametrize("error", [ValueError("no JSON"), KeyError("orderId"), TimeoutError(), OSError("reset")])
def test_whatever_isnt_known_to_be_harmless_is_an_unknown_outcome(error: Exception) -> None:
    setting, made = Setting(), order()
    setting.venue.submit(made)

    def place(of: Order, stamp: Stamp) -> OrderSnapshot:
        raise error

    setting.transport.place = place
    assert kinds(setting.carry_out(made)) == [Sent, OutcomeUnknown]


def test_an_answer_about_another_order_is_an_unknown_outcome() -> None:
    setting, made = Setting(), order()
    setting.venue.submit(made)
    place = setting.transport.place
    setting.transport.place = lambda of, stamp: replace(place(of, stamp), client_order_id="f" * 32)
    assert kinds(setting.carry_out(made)) == [Sent, OutcomeUnknown]


WRONG = [{"price": D(-100)}, {"price": D(0)}, {"quantity": D(-10)}, {"fee": D("-0.1")}]
"""Numbers that no execution has."""


@pytest.mark.parametrize("wrong", WRONG)
def test_an_answer_with_a_number_that_cant_be_is_an_unknown_outcome_and_looked_up(wrong: dict[str, Decimal]) -> None:
    setting, made = Setting(faults=Faults(dropped=1.0)), order()
    setting.venue.submit(made)
    place = setting.transport.place

    def misread(of: Order, stamp: Stamp) -> OrderSnapshot:
        answer = place(of, stamp)
        return replace(answer, executions=tuple(replace(each, **wrong) for each in answer.executions))

    setting.transport.place = misread
    found = setting.carry_out(made)
    assert kinds(found) == [Sent, OutcomeUnknown]
    assert isinstance(found[1], OutcomeUnknown)
    assert "execution t1" in found[1].reason
    there = replace(made, state=OrderState.UNKNOWN)
    assert kinds(setting.carry_out(there, seconds=5)) == [Accepted, Executed]
    assert len(setting.exchange.ledger.orders) == 1


@pytest.mark.parametrize("wrong", WRONG)
def test_a_look_up_with_a_number_that_cant_be_is_put_again(wrong: dict[str, Decimal]) -> None:
    setting, made = Setting(faults=Faults(dropped=1.0, answer_lost=1.0)), order()
    setting.venue.submit(made)
    setting.carry_out(made)
    there, trades = replace(made, state=OrderState.UNKNOWN), setting.transport.trades
    setting.transport.trades = lambda **asked: [replace(each, **wrong) for each in trades(**asked)]
    with capture_logs() as logs:
        assert setting.carry_out(there, seconds=5) == []
    unreadable = [line for line in logs if line["event"] == "answer_unreadable"]
    assert 3 <= len(unreadable) <= 6
    assert "execution t1" in unreadable[0]["error"]
    setting.transport.trades = trades
    assert kinds(setting.carry_out(there, seconds=5)) == [Accepted, Executed]


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_said_unasked_with_a_number_that_cant_be_is_looked_up(wrong: dict[str, Decimal]) -> None:
    setting, made = Setting(faults=Faults(dropped=1.0)), order()
    setting.venue.submit(made)
    setting.carry_out(made)
    there = replace(made, state=OrderState.ACKED, exchange_order_id="x1")
    [listed], [execution] = setting.exchange.ledger.orders, setting.exchange.ledger.executions
    update = snapshot_of(listed, executions=(replace(execution, **wrong),))
    setting.transport.updates = lambda: [update]
    with capture_logs() as logs:
        [found] = setting.carry_out(there)
    assert isinstance(found, Executed)
    assert (found.price, found.quantity, found.fee) == (execution.price, execution.quantity, execution.fee)
    assert "answer_unreadable" in [line["event"] for line in logs]


@pytest.mark.parametrize("faults", [Faults(answer_lost=1.0), Faults(late=1.0, late_ms=1000)])
def test_an_unknown_outcome_is_looked_up_and_never_sent_again(faults: Faults) -> None:
    setting, made = Setting(faults=replace(faults, dropped=1.0)), resting()
    setting.venue.submit(made)
    assert kinds(setting.carry_out(made)) == [Sent, OutcomeUnknown]
    unknown = replace(made, state=OrderState.UNKNOWN)
    assert setting.venue.unresolved([unknown])
    assert kinds(setting.carry_out(unknown, seconds=30)) == [Accepted, Working]
    assert len(setting.left) == len(setting.exchange.ledger.orders) == 1


def test_an_order_that_never_arrived_is_given_up_when_it_cant_arrive_or_hide_any_more() -> None:
    setting, made = Setting(faults=Faults(lost=1.0)), order()
    setting.venue.submit(made)
    began_s = setting.clock.ms / 1000
    setting.carry_out(made)
    unknown = replace(made, state=OrderState.UNKNOWN)
    reports = setting.carry_out(unknown, seconds=60)
    assert kinds(reports) == [Expired]
    assert PROOF_S <= setting.clock.ms / 1000 - began_s < PROOF_S + 2
    assert isinstance(reports[0], Expired)
    assert reports[0].executed_quantity == D(0)


@pytest.mark.parametrize("state", [OrderState.INTENT, OrderState.SENT, OrderState.UNKNOWN])
@pytest.mark.parametrize("leg", [Leg.ENTRY, Leg.EXIT, Leg.STOP_LOSS])
def test_what_an_earlier_process_may_have_sent_is_looked_up_before_anything_leaves(leg: Leg, state: OrderState) -> None:
    setting, made = Setting(), order(leg, state)
    assert setting.venue.unresolved([made])
    began_s = setting.clock.ms / 1000
    assert kinds(setting.carry_out(made, seconds=60)) == [Expired]
    assert PROOF_S <= setting.clock.ms / 1000 - began_s < PROOF_S + 2
    assert setting.left == []


def test_what_an_earlier_process_sent_is_found_however_late_it_shows() -> None:
    setting = Setting(habits=Habits(hides_ms=10_000))
    made = resting()
    arrives_at = setting.clock.ms + 4900
    stamp = Stamp(setting.clock.exchange_time(), TIMING.valid_for)
    setting.clock.at(arrives_at, lambda: setting.exchange.accept(made, stamp, epoch=0) and None)
    assert kinds(setting.carry_out(made, seconds=60)) == [Sent, Accepted, Working]


def test_no_answer_to_the_look_ups_proves_nothing() -> None:
    setting, made = Setting(), order(state=OrderState.UNKNOWN)
    setting.carry_out()
    setting.transport.faults = Faults(away=1.0)
    assert setting.carry_out(made, seconds=300) == []
    assert setting.venue.unresolved([made])


def test_executions_that_an_answer_doesnt_bring_along_are_fetched_from_the_trades() -> None:
    setting, made = Setting(), order(state=OrderState.UNKNOWN)
    setting.transport.updates = list
    setting.exchange.accept(made, Stamp(setting.clock.exchange_time(), timedelta(seconds=5)), epoch=0)
    reports = setting.carry_out(made)
    assert kinds(reports)[:2] == [Accepted, Executed]
    assert next(report.exchange_trade_id for report in reports if isinstance(report, Executed)) == "t1"


def test_a_hidden_order_is_found_in_the_lists_when_its_id_finds_nothing() -> None:
    setting, made = Setting(), resting(state=OrderState.UNKNOWN)
    setting.exchange.accept(made, Stamp(setting.clock.exchange_time(), timedelta(seconds=5)), epoch=0)
    setting.transport.updates = list
    setting.transport.find = lambda client_order_id: None
    assert kinds(setting.carry_out(made, seconds=60)) == [Accepted, Working]


def test_the_lists_are_asked_only_when_their_answer_can_prove_something() -> None:
    setting, made = Setting(), order(state=OrderState.UNKNOWN)
    asked: list[float] = []
    open_orders = setting.transport.open_orders
    setting.transport.open_orders = lambda: (asked.append(setting.clock.ms / 1000), open_orders())[1]
    assert kinds(setting.carry_out(made, seconds=60)) == [Expired]
    assert len(asked) == 1
    assert asked[0] > PROOF_S


def test_a_cancelled_order_says_how_much_of_it_was_executed() -> None:
    setting, made = Setting(), resting()
    setting.venue.submit(made)
    setting.carry_out(made)
    setting.carry_out(acked(made), seconds=1)
    setting.venue.cancel(made)
    reports = setting.carry_out(acked(made))
    assert kinds(reports) == [Canceled]
    assert isinstance(reports[0], Canceled)
    assert reports[0].executed_quantity == D(0)


def test_a_cancellation_that_comes_too_late_finds_the_fill() -> None:
    setting, made = Setting(faults=Faults(dropped=1.0)), order()
    setting.exchange.accept(made, Stamp(setting.clock.exchange_time(), timedelta(seconds=5)), epoch=0)
    setting.transport.updates = list
    placed = replace(acked(made), working=True)
    setting.venue.cancel(placed)
    reports = setting.carry_out(placed, seconds=5)
    assert kinds(reports) == [Executed]


def test_a_cancellation_whose_answer_gets_lost_is_repeated_until_the_order_has_ended() -> None:
    setting, made = Setting(), resting()
    setting.venue.submit(made)
    setting.carry_out(made)
    setting.carry_out(acked(made), seconds=1)
    setting.transport.faults = Faults(lost=1.0, dropped=1.0)
    setting.venue.cancel(acked(made))
    assert setting.carry_out(acked(made), seconds=10) == []
    setting.transport.faults = NO_FAULTS
    assert kinds(setting.carry_out(acked(made), seconds=10)) == [Canceled]


def test_an_amended_stop_has_its_new_price_and_one_that_the_exchange_refuses_stays() -> None:
    setting, stop = Setting(), order(Leg.STOP_LOSS)
    setting.venue.submit(stop)
    setting.carry_out(stop)
    setting.carry_out(acked(stop), seconds=1)
    setting.venue.amend(stop, price=D(95), quantity=D(8))
    reports = setting.carry_out(acked(stop))
    assert kinds(reports) == [Amended]
    assert isinstance(reports[0], Amended)
    assert (reports[0].price, reports[0].quantity) == (D(95), D(8))
    amended = replace(acked(stop), price=D(95), quantity=D(8))
    setting.venue.amend(amended, price=D(95), quantity=D(0))
    assert setting.carry_out(amended, seconds=5) == []
    assert [(listed.is_open, listed.quantity) for listed in setting.exchange.ledger.orders] == [(True, D(8))]


def test_an_order_that_never_left_is_amended_and_taken_back_without_the_exchange() -> None:
    setting, made = Setting(), order(Leg.EXIT)
    setting.right = False
    setting.venue.submit(made)
    setting.venue.amend(made, price=None, quantity=D(7))
    assert kinds(setting.carry_out(made)) == [Amended]
    setting.venue.cancel(made)
    assert kinds(setting.carry_out(replace(made, quantity=D(7)))) == [Expired]
    assert setting.left == []


def test_an_exit_leaves_after_the_end_of_the_stop_is_committed() -> None:
    setting, stop, leave = Setting(), order(Leg.STOP_LOSS), order(Leg.EXIT)
    setting.exchange.ledger.position = D(10)
    setting.venue.submit(stop)
    setting.carry_out(stop)
    setting.venue.submit(leave)
    setting.carry_out(acked(stop), leave, seconds=1)
    assert [left.what for left in setting.left] == ["place", "cancel"]
    assert setting.carry_out(leave, seconds=1) != []
    assert [left.what for left in setting.left] == ["place", "cancel", "place"]
    assert setting.exchange.ledger.oversold == []


def test_a_limit_whose_time_is_over_expires() -> None:
    setting = Setting()
    made = resting(expires_at=setting.clock.exchange_time() + timedelta(seconds=20))
    setting.venue.submit(made)
    setting.carry_out(made)
    setting.carry_out(acked(made), seconds=1)
    assert kinds(setting.carry_out(acked(made), seconds=60)) == [Expired]
    assert (
        timedelta(seconds=20) <= timedelta(milliseconds=setting.clock.ms) - TIMING.clocks_within < timedelta(seconds=21)
    )


def test_a_limit_whose_time_is_over_expires_also_by_a_clock_that_is_slow() -> None:
    """Cancelled before its time by the stamp of its end, an exit wouldn't be followed by one at market."""
    setting = Setting(habits=Habits(stamps_late_ms=900))
    made = resting(expires_at=setting.clock.exchange_time() + timedelta(seconds=20))
    setting.venue.submit(made)
    setting.carry_out(made)
    setting.carry_out(acked(made), seconds=1)
    assert kinds(setting.carry_out(acked(made), seconds=60)) == [Expired]


def test_an_order_that_the_stream_forgot_is_looked_up_now_and_then() -> None:
    setting, made = Setting(faults=Faults(dropped=1.0)), resting()
    setting.venue.submit(made)
    setting.carry_out(made)
    listed = setting.exchange.ledger.orders[0]
    listed.price = D(101)
    setting.clock.advance(5000)
    assert not listed.is_open
    reports = setting.carry_out(acked(made), seconds=TIMING.look_open.total_seconds())
    assert Executed in kinds(reports)


def test_the_exchange_is_asked_for_its_time_until_it_says_it() -> None:
    setting, made = Setting(faults=Faults(away=1.0)), order()
    setting.venue.submit(made)
    assert setting.carry_out(made, seconds=10) == []
    assert setting.left == []
    setting.transport.faults = NO_FAULTS
    assert kinds(setting.carry_out(made, seconds=2)) == [Sent, Accepted, Executed]


def test_a_sale_is_a_sale() -> None:
    setting, made = Setting(), order(side=Side.SELL)
    setting.venue.submit(made)
    setting.carry_out(made)
    assert setting.exchange.ledger.position == D(-10)


def test_a_stop_that_the_price_has_passed_leaves_as_the_market_order_that_it_would_become() -> None:
    setting = Setting(habits=Habits(refuses_passed_stops=True))
    passed = order(Leg.STOP_LOSS, price=D(101))
    setting.exchange.ledger.position = D(10)
    setting.venue.submit(passed)
    assert kinds(setting.carry_out(passed, seconds=5)) == [Sent, Accepted, Executed]
    assert setting.exchange.ledger.position == 0


def test_a_stop_that_cant_be_moved_beyond_the_price_is_taken_back_so_that_its_next_attempt_sells() -> None:
    setting, stop = Setting(habits=Habits(refuses_passed_stops=True)), order(Leg.STOP_LOSS)
    setting.exchange.ledger.position = D(10)
    setting.venue.submit(stop)
    setting.carry_out(stop)
    setting.carry_out(acked(stop), seconds=1)
    setting.venue.amend(stop, price=D(101), quantity=D(10))
    assert kinds(setting.carry_out(acked(stop), seconds=5)) == [Canceled]


def test_what_was_submitted_in_a_step_that_wasnt_committed_is_looked_up_when_it_turns_up_later() -> None:
    setting, made = Setting(), order()
    setting.venue.submit(made)
    setting.carry_out()
    assert setting.venue.unresolved([made])
    assert kinds(setting.carry_out(made, seconds=60)) == [Expired]
    assert setting.left == []


def test_reading_the_clock_again_doesnt_put_the_proof_off() -> None:
    setting, made = Setting(timing=replace(TIMING, read_clock=timedelta(seconds=1))), order()
    assert kinds(setting.carry_out(made, seconds=60)) == [Expired]
    assert PROOF_S <= setting.clock.ms / 1000 < PROOF_S + 2


@pytest.mark.parametrize(("state", "most", "least"), [(OrderState.UNKNOWN, 17, 14), (OrderState.ACKED, 1, 1)])
def test_an_unknown_order_is_looked_up_each_second_and_an_open_one_seldom(
    state: OrderState, most: int, least: int
) -> None:
    setting, made = Setting(), resting(state=state, exchange_order_id="x1", working=True)
    asked: list[int] = []
    find = setting.transport.find
    setting.transport.find = lambda about: (asked.append(setting.clock.ms), find(about))[1]
    setting.carry_out(made, seconds=15)
    assert least <= len(asked) <= most


def test_the_log_says_once_that_there_is_no_right_to_trade() -> None:
    setting, made = Setting(), order(Leg.EXIT)
    setting.venue.submit(made)
    with capture_logs() as logs:
        for _ in range(2):
            setting.right = False
            setting.carry_out(made, seconds=5)
            setting.right = True
            setting.transport.faults = Faults(not_sent=1.0)
            setting.carry_out(made, seconds=3)
    assert [line["event"] for line in logs].count("no_right_to_trade") == 2
