from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botrunner.execution.live.snapshots import executions_of, fault_in, fault_of, misses_executions, reports_of
from botrunner.execution.live.transport import Execution, OrderSnapshot, OrderStatus
from botrunner.trading.account import Account
from botrunner.trading.book import Book
from botrunner.trading.order_ids import Leg
from botrunner.trading.orders import Fill, Order, OrderType
from botrunner.trading.reports import Accepted, Amended, Canceled, Executed, Expired, Filled, Rejected, Sent, Working
from fleet.states import OrderState
from tests.unit.botrunner.exchange_orders import D, after, execution, order, snapshot
from tests.unit.botrunner.paper_world import MARKET

OPEN, FILLED, CANCELED, EXPIRED = OrderStatus.OPEN, OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.EXPIRED


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({}, None),
        ({"price": D("0.01")}, None),
        ({"price": D(0)}, "the price 0"),
        ({"price": D(-1)}, "the price -1"),
        ({"price": D("NaN")}, "the price NaN"),
        ({"quantity": D(0)}, "the quantity 0"),
        ({"quantity": D(-1)}, "the quantity -1"),
        ({"quantity": D("Infinity")}, "the quantity Infinity"),
        ({"executed_quantity": D(-1)}, "-1 of it executed"),
        ({"executed_quantity": D("NaN")}, "NaN of it executed"),
        ({"executions": (execution(1, 1), execution(2, -1))}, "execution t2 is of -1 at 100"),
        ({"exchange_order_id": "x" * 100}, None),
        ({"exchange_order_id": "x" * 101}, "no name of 1 to 100"),
        ({"exchange_order_id": ""}, "no name"),
        ({"exchange_order_id": "x\0"}, "no name"),
    ],
)
def test_what_no_order_can_be_is_a_fault(changed: dict[str, object], fault: str | None) -> None:
    found = fault_of(snapshot(order(), **changed))
    assert found is None if fault is None else fault in str(found)


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"fee": D(0)}, None),
        ({"fee": D("-0.001")}, "the fee -0.001 BTC"),
        ({"fee": D("NaN")}, "the fee NaN"),
        ({"price": D(0)}, "of 10 at 0"),
        ({"price": D(-100)}, "of 10 at -100"),
        ({"price": D("sNaN")}, "at sNaN"),
        ({"quantity": D(0)}, "of 0 at 100"),
        ({"exchange_trade_id": ""}, "an id or a currency"),
        ({"exchange_trade_id": "t\x1b[2J"}, "an id or a currency"),
        ({"exchange_order_id": "x" * 101}, "an id or a currency"),
        ({"fee_currency": "B\nTC"}, "an id or a currency"),
    ],
)
def test_what_no_execution_can_be_is_a_fault(changed: dict[str, object], fault: str | None) -> None:
    found = fault_in([execution(1, 10), replace(execution(2, 10), **changed)])
    assert found is None if fault is None else fault in str(found)


@pytest.mark.parametrize(
    ("state", "said", "expected"),
    [
        (OrderState.INTENT, snapshot(order()), [Sent, Accepted, Working]),
        (OrderState.SENT, snapshot(order()), [Accepted, Working]),
        (OrderState.UNKNOWN, snapshot(order(), FILLED, executed=10, executions=(execution(1, 10),)), [Accepted, Executed]),
        (OrderState.SENT, snapshot(order(), OrderStatus.REJECTED), [Rejected]),
        (OrderState.SENT, snapshot(order(), CANCELED, executed=4), [Accepted, Canceled]),
        (OrderState.SENT, snapshot(order(), EXPIRED), [Accepted, Expired]),
    ],
)  # fmt: skip
def test_a_snapshot_is_said_in_the_order_in_which_the_book_takes_it(
    state: OrderState, said: OrderSnapshot, expected: list[type]
) -> None:
    assert [type(report) for report in reports_of(order(state=state), said, current=True)] == expected


def test_what_the_book_knows_already_isnt_said_again() -> None:
    known = order(state=OrderState.ACKED, exchange_order_id="x1", working=True)
    assert reports_of(known, snapshot(known), current=True) == ()


@pytest.mark.parametrize(
    "known",
    [
        order(state=OrderState.ACKED, exchange_order_id=None, working=True),
        order(state=OrderState.UNKNOWN, exchange_order_id="x1", working=True),
    ],
)
def test_an_acceptance_is_news_where_it_proves_something_or_brings_the_exchanges_id(known: Order) -> None:
    assert [type(report) for report in reports_of(known, snapshot(known), current=True)] == [Accepted]


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("", "the exchange rejected it"),
        ("no funds", "no funds"),
        ("no\0 funds\n<html>", "no\N{REPLACEMENT CHARACTER} funds <html>"),
        ("refused: https://x.test/order?signature=0123456789abcdef", "refused: https://x.test/order?signature=***"),
    ],
)
def test_a_rejection_has_a_reason(reason: str, told: str) -> None:
    made = order(state=OrderState.SENT)
    (rejected,) = reports_of(made, snapshot(made, OrderStatus.REJECTED, reason=reason), current=True)
    assert isinstance(rejected, Rejected)
    assert rejected.reason == told


def test_an_order_with_another_price_works_anew() -> None:
    known = order(
        type=OrderType.LIMIT, price=D(90), state=OrderState.ACKED, exchange_order_id="x1", working=True
    )  # fmt: skip
    found = reports_of(known, snapshot(known, price=D(91)), current=True)
    assert [type(report) for report in found] == [Amended, Working]


def test_every_report_carries_the_exchanges_id() -> None:
    made = order()
    said = snapshot(made, CANCELED, executed=4, quantity=D(8), executions=(execution(1, 4),))
    assert {report.exchange_order_id for report in reports_of(made, said, current=True)} == {"x1"}


def test_price_and_quantity_count_only_in_an_answer_of_now() -> None:
    known = order(Leg.STOP_LOSS, OrderState.ACKED, exchange_order_id="x1")
    moved = snapshot(known, price=D(95), quantity=D(8))
    assert [type(report) for report in reports_of(known, moved, current=True)] == [Amended]
    assert reports_of(known, moved, current=False) == ()


def test_an_order_of_which_more_was_executed_than_it_asked_for_has_been_amended() -> None:
    known = order(Leg.STOP_LOSS, OrderState.ACKED, exchange_order_id="x1", quantity=D(3))
    late = snapshot(known, FILLED, executed=5, quantity=D(5), executions=(execution(1, 5),))
    assert [type(report) for report in reports_of(known, late, current=False)] == [Amended, Executed]
    exact = snapshot(known, FILLED, executed=3, price=D(95), executions=(execution(1, 3),))
    assert [type(report) for report in reports_of(known, exact, current=False)] == [Executed]


def applied(known: Order, said: OrderSnapshot) -> Order:
    """What the book makes of an order by a snapshot."""
    book = Book(Account(cash=D(1000), orders=(known,)), bar_at=known.signal_at, market=MARKET)
    for report in reports_of(known, said, current=True):
        book.apply(report)
    return book.orders[known.client_order_id]


def test_an_order_that_an_amendment_left_with_nothing_to_do_is_filled() -> None:
    """Some exchanges end it so; no execution says it."""
    known = order(state=OrderState.PARTIAL, exchange_order_id="x1", filled_quantity=D(6), working=True)
    said = snapshot(known, FILLED, executed=6, quantity=D(6))
    assert [type(report) for report in reports_of(known, said, current=True)] == [Amended, Filled]
    after_it = applied(known, said)
    assert (after_it.state, after_it.quantity, after_it.filled_quantity) == (OrderState.FILLED, D(6), D(6))


def test_an_amendment_below_what_was_executed_meanwhile_asks_for_what_was_executed() -> None:
    known = order(state=OrderState.ACKED, exchange_order_id="x1", working=True)
    after_it = applied(known, snapshot(known, FILLED, executed=8, quantity=D(7), executions=(execution(1, 8),)))
    assert (after_it.state, after_it.quantity, after_it.filled_quantity) == (OrderState.FILLED, D(8), D(8))


@pytest.mark.parametrize(("wanted", "expected"), [(False, Expired), (True, Canceled)])
def test_an_order_cancelled_for_its_time_has_expired_unless_it_was_to_be_cancelled(
    wanted: bool, expected: type
) -> None:
    timed = order(
        type=OrderType.LIMIT, price=D(90), state=OrderState.ACKED, exchange_order_id="x1", expires_at=after(60),
        cancel_wanted=wanted,
    )  # fmt: skip
    assert [type(report) for report in reports_of(timed, snapshot(timed, CANCELED), current=True)] == [expected]
    for status in (OPEN, FILLED):
        assert Expired not in [type(report) for report in reports_of(timed, snapshot(timed, status), current=True)]
    early = snapshot(timed, CANCELED, at=after(59))
    assert [type(report) for report in reports_of(timed, early, current=True)] == [Canceled]


def test_executions_are_an_orders_own_once_and_the_oldest_first() -> None:
    mine, later, other = execution(1, 4), execution(2, 6), execution(3, 9, of="x2")
    named = replace(execution(4, 1, of="x9"), client_order_id=order().client_order_id)
    assert executions_of(order(), [later, other, mine, mine], exchange_order_id="x1") == (mine, later)
    assert executions_of(order(), [mine, named], exchange_order_id=None) == (named,)


@pytest.mark.parametrize(
    ("knows", "executed", "brought", "misses"),
    [(0, 0, (), False), (0, "0.5", (), True), (0, 4, (), True), (4, 4, (), False), (4, 10, (execution(2, 6),), True), (0, 4, (execution(1, 4),), False)],
)  # fmt: skip
def test_executions_are_missing_when_there_are_more_than_the_book_knows(
    knows: int, executed: int, brought: tuple[Execution, ...], misses: bool
) -> None:
    known = order(state=OrderState.PARTIAL, filled_quantity=D(knows))
    assert misses_executions(known, snapshot(known, executed=executed, executions=brought)) is misses


# --- any order of arrival gives the same end -----------------------------------------------------------------------


@dataclass(frozen=True)
class History:
    """What happened to an order, and what of it the stream said in which order."""

    executions: tuple[Execution, ...]
    final: OrderSnapshot
    heard: tuple[OrderSnapshot, ...]


@st.composite
def histories(draw: st.DrawFn) -> History:
    made, total = order(), D(0)
    parts = draw(st.lists(st.sampled_from([D(1), D(2), D("3.5")]), max_size=6))
    executions: list[Execution] = []
    said = [snapshot(made)]
    for part in parts:
        if total + part > made.quantity:
            break
        total += part
        executions.append(execution(len(executions) + 1, part, price=100 + len(executions), fee="0.01"))
        said.append(snapshot(made, executed=total, executions=(executions[-1],), at=executions[-1].at))
    status = FILLED if total == made.quantity else draw(st.sampled_from([CANCELED, EXPIRED]))
    final = snapshot(made, status, executed=total, at=after(120))
    said.append(final)
    heard = draw(st.lists(st.sampled_from(said), max_size=12))
    return History(tuple(executions), final, tuple(heard))


def told(history: History) -> tuple[Order, list[Fill], Decimal]:
    """The order, its fills and the cash after everything that was heard, and a look-up at last."""
    book = Book(Account(cash=D(2000)), bar_at=after(0), market=MARKET)
    book.place(order())
    for update in history.heard:
        known = book.open_order(Leg.ENTRY)
        if known is None:
            break
        for report in reports_of(known, update, current=False):
            book.apply(report)
    known = book.open_order(Leg.ENTRY)
    if known is not None:
        for report in reports_of(known, replace(history.final, executions=history.executions), current=True):
            book.apply(report)
    fills = sorted(book.fills, key=lambda fill: fill.exchange_trade_id)
    return book.orders[order().client_order_id], fills, book.cash


@given(histories())
def test_lost_repeated_and_mixed_up_news_with_a_look_up_at_last_give_the_same_end(history: History) -> None:
    ended, fills, cash = told(history)
    plain, plain_fills, plain_cash = told(replace(history, heard=()))
    assert (ended.state, ended.filled_quantity) == (plain.state, plain.filled_quantity)
    assert ended.exchange_order_id == "x1"
    assert fills == plain_fills
    assert [fill.exchange_trade_id for fill in fills] == [each.exchange_trade_id for each in history.executions]
    assert cash == plain_cash == D(2000) - sum((f.price * f.quantity + f.fee for f in fills), D(0))
    assert ended.state.value == history.final.status.value
