"""The book: what each report does to order, position, cash and counters, whatever order the reports come in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botrunner.market.side import Side
from botrunner.trading.account import Account
from botrunner.trading.book import Book, Effect
from botrunner.trading.lost_entries import Loss
from botrunner.trading.order_ids import Leg
from botrunner.trading.orders import Fill, IllegalTransition, Order, OrderType
from botrunner.trading.reports import (
    Accepted,
    Amended,
    Canceled,
    Executed,
    Expired,
    Liquidated,
    OutcomeUnknown,
    Rejected,
    Report,
    Sent,
    Working,
)
from botrunner.trading.trades import BookError, Trade
from fleet.exit_kinds import ExitKind
from fleet.states import OrderState
from tests.unit.botrunner.paper_world import MARKET

D = Decimal
AT = datetime(2018, 1, 10, 12, tzinfo=UTC)
BAR = timedelta(minutes=5)
SECOND = timedelta(seconds=1)
TRADE = Trade(
    side=Side.BUY, entry_order_id="e" * 32, signal_at=AT - BAR, entry_at=AT, size=D(5), size_open=D("0.005"),
    entry_value=D(500), commission=D(0),
)  # fmt: skip
PARTLY_LEFT = replace(TRADE, exit_reason="mine", exit_kind=ExitKind.TARGET)
HELD = replace(TRADE, size_open=D(5))


def book_of(account: Account) -> Book:
    return Book(account, bar_at=AT, market=MARKET)


def order(leg: Leg = Leg.ENTRY, quantity: int | str = 10, **changes: Any) -> Order:
    made = Order(
        client_order_id=leg.value[:2] * 16, signal_at=AT, leg=leg, attempt=0,
        side=Side.BUY if leg is Leg.ENTRY else Side.SELL, type=OrderType.MARKET, quantity=D(quantity), price=None,
        reason="why", exit_kind=None if leg is Leg.ENTRY else ExitKind.TIME,
    )  # fmt: skip
    return replace(made, **changes)


def said(kind: type[Report], of: Order, after_s: float = 0, **fields: Any) -> Report:
    return kind(client_order_id=of.client_order_id, at=AT + after_s * SECOND, **fields)


def accepted(of: Order, after_s: float = 0) -> Report:
    return said(Accepted, of, after_s, exchange_order_id="x-" + of.leg)


def executed(
    of: Order, name: str, quantity: Any, price: Any = 100, *, after_s: float = 0, fee: Any = 0, currency: str = "BTC"
) -> Report:
    return said(
        Executed, of, after_s, exchange_trade_id=name, quantity=D(quantity), price=D(price), fee=D(fee),
        fee_currency=currency,
    )  # fmt: skip


def having(of: Order, *reports: Report, cash: int = 10_000, trade: Trade | None = None) -> Book:
    """A book with an order of which this was reported."""
    book = book_of(Account(cash=D(cash), trade=trade, best_price=D(100) if trade else None))
    book.place(of)
    for report in reports:
        book.apply(report)
    return book


# --- the end of a trade --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exit_at", "filled_at", "ended_at", "expected"),
    [
        pytest.param(None, AT + 2 * SECOND, AT + 3 * SECOND, AT + 3 * SECOND, id="after everything"),
        pytest.param(None, AT + 2 * SECOND, AT + SECOND, AT + 2 * SECOND, id="not before the entry's last part"),
        pytest.param(AT + SECOND, AT + 2 * SECOND, AT, AT + 2 * SECOND, id="nor before the last fill of all"),
        # a checkpoint that didn't keep the newest fill
        pytest.param(None, None, AT - SECOND, AT, id="nor before the entry"),
        pytest.param(AT + SECOND, None, AT, AT + SECOND, id="nor before an exit's first part"),
    ],
)
def test_a_trade_ends_no_earlier_than_its_newest_fill(
    exit_at: datetime | None, filled_at: datetime | None, ended_at: datetime, expected: datetime
) -> None:
    held = TRADE if exit_at is None else replace(PARTLY_LEFT, exit_at=exit_at)
    book = book_of(Account(cash=D(500), trade=held, filled_at=filled_at))
    book.write_off(at=ended_at, reason="rest", kind=ExitKind.DUST)
    [trade] = book.closed_trades
    assert (trade.exit_at, book.counters.last_exit_at) == (expected, expected)
    assert (trade.exit_reason, trade.exit_kind) == (("rest", ExitKind.DUST) if exit_at is None else ("mine", "target"))
    assert (trade.dust, book.dust) == (D("0.005"), D("0.005"))


def test_nor_before_a_fill_of_this_very_step() -> None:
    leave = order(Leg.EXIT, 5)
    book = having(leave, executed(leave, "a", 2, after_s=2), trade=HELD)
    book.write_off(at=AT + SECOND)
    [trade] = book.closed_trades
    assert (trade.exit_at, trade.exit_reason, trade.exit_kind) == (AT + 2 * SECOND, "why", ExitKind.TIME)


@pytest.mark.parametrize(("side", "equity"), [(None, "500"), (Side.BUY, "1100"), (Side.SELL, "-100")])
def test_equity_is_the_cash_and_what_the_position_would_bring(side: Side | None, equity: str) -> None:
    account = Account(cash=D(500), trade=replace(HELD, side=side) if side else None)
    assert book_of(account).equity(D(120)) == account.equity(D(120)) == D(equity)


def test_what_is_still_held_is_no_closed_trade() -> None:
    book = book_of(Account(cash=D(500)))
    book.trades = {"a": TRADE, "b": replace(TRADE, size_open=D(0)), "c": TRADE}
    assert book.closed_trades == (book.trades["b"],)


def test_a_position_is_over_when_all_of_it_is_sold() -> None:
    leave = order(Leg.EXIT, 5)
    book = having(leave, trade=HELD, cash=500)
    assert book.apply(executed(leave, "a", 2, 110, after_s=1)) is Effect.REDUCED
    assert book.apply(executed(leave, "b", 3, 110, after_s=2)) is Effect.CLOSED
    assert (book.trade, book.best_price, book.filled_at, book.by_leg) == (None, None, None, {})
    assert (book.cash, book.total_pnl, book.counters.pnl_today) == (1050, 50, 50)
    assert book.account() == Account(cash=D(1050), counters=book.counters, total_pnl=D(50))


def test_an_entry_may_be_executed_after_its_position_was_sold() -> None:
    """Its cancellation is on its way; what is executed meanwhile belongs to the same trade."""
    enter, leave = order(Leg.ENTRY, 5), order(Leg.EXIT, 2)
    book = having(enter, executed(enter, "a", 2))
    book.place(leave)
    assert book.apply(executed(leave, "b", 2, 110, after_s=1)) is Effect.REDUCED
    assert book.trade is not None
    assert [trade.is_open for trade in book.trades.values()] == [True], "no row of an end that may not be one"
    assert book.apply(executed(enter, "c", 1, after_s=2)) is Effect.CHANGED
    assert (book.trade.size, book.trade.size_open) == (3, 1)
    again = order(Leg.FLATTEN, 1)
    book.place(again)
    assert book.apply(executed(again, "d", 1, 120, after_s=3)) is Effect.REDUCED
    assert book.apply(said(Canceled, enter, 4, executed_quantity=D(3))) is Effect.CLOSED
    [trade] = book.trades.values()
    assert (trade.size, trade.net_pnl, trade.exit_at) == (3, 40, AT + 3 * SECOND)
    assert book.counters.trades_today == 1


# --- money ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("currency", "cash", "held", "commission"),
    [
        pytest.param("BTC", 999, 10, 1, id="quote currency"),
        pytest.param("ETH", 1000, 9, 100, id="base currency: less is held"),
        pytest.param("BNB", 1000, 10, 0, id="another one: no part of this account"),
    ],
)
def test_a_fee_is_paid_in_its_currency(currency: str, cash: int, held: int, commission: int) -> None:
    enter = order()
    book = having(enter, executed(enter, "a", 10, fee=1, currency=currency), cash=2000)
    assert book.trade is not None
    assert (book.cash, book.trade.size_open, book.trade.commission) == (cash, held, commission)
    assert [(fill.fee, fill.fee_currency) for fill in book.fills] == [(1, currency)]


# --- states of an order --------------------------------------------------------------------------------------------

ENTRY = order()


@pytest.mark.parametrize(
    ("reports", "state"),
    [
        ([], OrderState.INTENT),
        ([said(Sent, ENTRY)], OrderState.SENT),
        ([accepted(ENTRY)], OrderState.ACKED),
        ([said(Working, ENTRY)], OrderState.ACKED),
        ([executed(ENTRY, "a", 4)], OrderState.PARTIAL),
        ([executed(ENTRY, "a", 10)], OrderState.FILLED),
        ([said(OutcomeUnknown, ENTRY, reason="r")], OrderState.UNKNOWN),
        ([said(OutcomeUnknown, ENTRY, reason="r"), accepted(ENTRY)], OrderState.ACKED),
        ([said(OutcomeUnknown, ENTRY, reason="r"), executed(ENTRY, "a", 4)], OrderState.PARTIAL),
        ([said(OutcomeUnknown, ENTRY, reason="r"), said(Expired, ENTRY, executed_quantity=D(0))], OrderState.EXPIRED),
        ([said(Rejected, ENTRY, reason="r")], OrderState.REJECTED),
        ([said(Canceled, ENTRY)], OrderState.CANCELED),
        ([said(Expired, ENTRY)], OrderState.EXPIRED),
        ([executed(ENTRY, "a", 4), said(Canceled, ENTRY, executed_quantity=D(4))], OrderState.CANCELED),
        # more was executed than is known here
        ([accepted(ENTRY), said(Canceled, ENTRY, executed_quantity=D(4))], OrderState.ACKED),
        ([said(Canceled, ENTRY, executed_quantity=D(4))], OrderState.ACKED),
        ([said(Canceled, ENTRY, executed_quantity=D(4)), executed(ENTRY, "a", 3)], OrderState.PARTIAL),
        (
            [said(Canceled, ENTRY, executed_quantity=D(4)), executed(ENTRY, "a", 3), executed(ENTRY, "b", 1)],
            OrderState.CANCELED,
        ),
        ([said(Expired, ENTRY, executed_quantity=D(4)), executed(ENTRY, "a", 4)], OrderState.EXPIRED),
        ([said(Expired, ENTRY, executed_quantity=D(10)), executed(ENTRY, "a", 10)], OrderState.FILLED),
    ],
)
def test_what_an_order_is_after_reports(reports: Sequence[Report], state: OrderState) -> None:
    book = having(ENTRY, *reports)
    found = book.orders[ENTRY.client_order_id]
    assert found.state is state
    assert (found.leg in book.by_leg) is found.is_open


@pytest.mark.parametrize(
    ("reports", "again"),
    [
        ([said(Sent, ENTRY)], said(Sent, ENTRY)),
        ([accepted(ENTRY)], said(Sent, ENTRY)),
        ([accepted(ENTRY)], accepted(ENTRY)),
        ([accepted(ENTRY)], said(OutcomeUnknown, ENTRY, reason="r")),
        ([accepted(ENTRY), executed(ENTRY, "a", 4)], accepted(ENTRY)),
        ([executed(ENTRY, "a", 4)], executed(ENTRY, "a", 4)),
        ([executed(ENTRY, "a", 4)], said(Working, ENTRY)),
        ([executed(ENTRY, "a", 4)], said(OutcomeUnknown, ENTRY, reason="r")),
        ([executed(ENTRY, "a", 4), executed(ENTRY, "b", 4)], executed(ENTRY, "a", 4)),
        ([executed(ENTRY, "a", 10)], executed(ENTRY, "a", 10)),
        ([executed(ENTRY, "a", 10)], said(Canceled, ENTRY)),
        ([said(OutcomeUnknown, ENTRY, reason="r")], said(Sent, ENTRY)),
        ([said(Canceled, ENTRY, executed_quantity=D(4))], said(Canceled, ENTRY, executed_quantity=D(4))),
        ([said(Canceled, ENTRY, executed_quantity=D(4))], said(Expired, ENTRY, executed_quantity=D(3))),
        ([said(Canceled, ENTRY)], accepted(ENTRY)),
        ([said(Rejected, ENTRY, reason="r")], said(Rejected, ENTRY, reason="r")),
        # paper numbers its executions
        ([executed(ENTRY, f"{ENTRY.client_order_id}-1", 4)], executed(ENTRY, f"{ENTRY.client_order_id}-1", 4)),
        ([], accepted(order(Leg.EXIT))),
        ([], executed(order(Leg.EXIT), "z", 1)),
    ],
)
def test_what_says_nothing_new_changes_nothing(reports: Sequence[Report], again: Report) -> None:
    book = having(ENTRY, *reports)
    account, orders, fills, trades = book.account(), dict(book.orders), list(book.fills), dict(book.trades)
    assert book.apply(again) is Effect.NOTHING
    assert (book.account(), book.orders, book.fills, book.trades) == (account, orders, fills, trades)


def test_paper_needs_no_memory_of_its_executions() -> None:
    name = ENTRY.client_order_id
    book = having(ENTRY, executed(ENTRY, f"{name}-1", 4), executed(ENTRY, f"{name}-2", 4))
    assert book.orders[name].trade_ids == ()
    assert having(ENTRY, executed(ENTRY, "a", 4)).orders[name].trade_ids == ("a",)


@pytest.mark.parametrize(
    ("reports", "contradiction", "error"),
    [
        ([executed(ENTRY, "a", 8)], executed(ENTRY, "b", 3), IllegalTransition),
        ([accepted(ENTRY)], said(Rejected, ENTRY, reason="r"), IllegalTransition),
        ([accepted(ENTRY)], said(Canceled, ENTRY, executed_quantity=D(11)), IllegalTransition),
        ([accepted(ENTRY)], executed(ENTRY, "a", 0), IllegalTransition),
    ],
)
def test_what_contradicts_the_order_is_an_error(
    reports: Sequence[Report], contradiction: Report, error: type[Exception]
) -> None:
    with pytest.raises(error):
        having(ENTRY, *reports).apply(contradiction)


def test_what_contradicts_the_position_is_an_error() -> None:
    leave = order(Leg.EXIT)
    with pytest.raises(BookError, match="doesn't exist"):
        having(leave).apply(executed(leave, "a", 1))
    with pytest.raises(BookError, match="larger than the position of 5"):
        having(leave, trade=HELD).apply(executed(leave, "a", 6))


@pytest.mark.parametrize(
    ("before", "report", "expected"),
    [
        pytest.param({}, {"price": D(9)}, (9, 10, False), id="another price is placed anew"),
        pytest.param({}, {"quantity": D(8)}, (7, 8, True), id="another quantity isn't"),
        pytest.param({"filled_quantity": D(6)}, {"quantity": D(4)}, (7, 6, True), id="no less than was executed"),
        pytest.param({"revision": 2}, {"price": D(9), "revision": 3}, (9, 10, False), id="the next one"),
        pytest.param({"revision": 2}, {"price": D(9), "revision": 2}, (7, 10, True), id="one that was applied"),
        pytest.param({"revision": 2}, {"price": D(9), "revision": 1}, (7, 10, True), id="a stale one"),
    ],
)
def test_an_amendment(before: Any, report: Any, expected: tuple[Any, ...]) -> None:
    target = order(Leg.TAKE_PROFIT, price=D(7), state=OrderState.PARTIAL, working=True, **before)
    book = book_of(Account(cash=D(0), trade=HELD, orders=(target,)))
    effect = book.apply(said(Amended, target, **{"price": D(7), "quantity": D(10), **report}))
    after = book.by_leg[Leg.TAKE_PROFIT]
    assert (after.price, after.quantity, after.working) == expected
    assert (effect is Effect.NOTHING) is (after == target)


def test_any_report_may_bring_the_exchanges_name_of_the_order() -> None:
    book = having(ENTRY, said(Working, ENTRY, exchange_order_id="x"))
    assert book.by_leg[Leg.ENTRY].exchange_order_id == "x"
    assert book.apply(said(Working, ENTRY, exchange_order_id="x")) is Effect.NOTHING
    book = having(ENTRY, executed(ENTRY, "a", 4))
    assert book.apply(accepted(ENTRY)) is Effect.CHANGED
    assert book.by_leg[Leg.ENTRY].exchange_order_id == "x-entry"


# --- what follows from an end --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reports", "lost"),
    [
        ([said(Rejected, ENTRY, reason="r")], Loss.REJECTED),
        ([said(Expired, ENTRY)], Loss.NOT_FILLED),
        ([said(Expired, ENTRY, loss=Loss.UNAFFORDABLE)], Loss.UNAFFORDABLE),
        ([said(Canceled, ENTRY)], None),
        ([executed(ENTRY, "a", 1), said(Expired, ENTRY)], None),
    ],
)
def test_an_entry_of_which_nothing_was_executed_is_lost(reports: Sequence[Report], lost: Loss | None) -> None:
    found = having(ENTRY, *reports).lost
    assert (None if found is None else found.reason) == lost


@pytest.mark.parametrize(
    ("leg", "report", "due"),
    [
        (Leg.EXIT, Expired, True),
        (Leg.FLATTEN, Expired, True),
        (Leg.STOP_LOSS, Expired, False),
        (Leg.EXIT, Canceled, False),
    ],
)
def test_an_exit_that_was_given_up_is_due_again(leg: Leg, report: type[Report], due: bool) -> None:
    leave = order(leg, 5)
    assert (having(leave, said(report, leave), trade=HELD).expired_exit is not None) is due
    # what was executed of it is heard of later
    book = having(leave, said(report, leave, executed_quantity=D(2)), trade=HELD)
    assert book.expired_exit is None
    book.apply(executed(leave, "a", 2))
    assert (book.expired_exit is not None) is due


@pytest.mark.parametrize("leg", [Leg.ENTRY, Leg.EXIT, Leg.STOP_LOSS, Leg.TAKE_PROFIT, Leg.FLATTEN])
def test_a_rejected_order_waits_to_be_sent_again_unless_it_is_an_entry(leg: Leg) -> None:
    refused = order(leg)
    book = having(refused, said(Rejected, refused, reason="no"), trade=None if leg is Leg.ENTRY else HELD)
    kept = leg in (Leg.EXIT, Leg.STOP_LOSS, Leg.TAKE_PROFIT)
    assert [found.rejection for found in book.rejections] == ["no"]
    assert (leg in book.by_leg, book.open_order(leg)) == (kept, None)
    if kept:
        book.forget(book.by_leg[leg])
        assert leg not in book.by_leg


def test_a_wanted_cancellation_is_remembered() -> None:
    book = having(ENTRY, accepted(ENTRY))
    book.want_cancel(book.by_leg[Leg.ENTRY])
    assert [found.cancel_wanted for found in book.account().orders] == [True]


@pytest.mark.parametrize(("quantity", "effect"), [("5", Effect.CHANGED), ("0", Effect.CLOSED)])
def test_the_venue_may_take_a_position_away(quantity: str, effect: Effect) -> None:
    book = book_of(Account(cash=D(0), trade=replace(HELD, side=Side.SELL)))
    report = Liquidated(client_order_id="l", at=AT, signal_at=AT, quantity=D(quantity))
    assert book.apply(report) is effect
    if effect is Effect.CHANGED:
        made = book.by_leg[Leg.LIQUIDATION]
        assert (made.side, made.quantity, made.reason, made.exit_kind) == (Side.BUY, 5, "liquidation", "liquidation")
    else:
        assert [trade.exit_kind for trade in book.closed_trades] == [ExitKind.LIQUIDATION]
    assert book.apply(report) is Effect.NOTHING


# --- any order of arrival ------------------------------------------------------------------------------------------

PARTS = st.lists(
    st.tuples(st.integers(1, 4), st.integers(90, 110), st.integers(0, 5), st.sampled_from(["BTC", "ETH"])),
    min_size=1, max_size=5,
)  # fmt: skip


def history(of: Order, parts: Sequence[tuple[int, int, int, str]], end: type[Report] | None) -> list[Report]:
    """What an exchange says of an order, in the order in which it happens."""
    done, name = D(0), "x-" + of.leg
    found: list[Report] = [said(Sent, of), accepted(of), said(Working, of, exchange_order_id=name)]
    for number, (quantity, price, second, currency) in enumerate(sorted(parts, key=lambda part: part[2])):
        taken = min(D(quantity), of.quantity - done)
        if taken <= 0:
            break
        done += taken
        fee = D("0.25") if of.leg is Leg.ENTRY or currency == "BTC" else D(0)
        report = executed(of, f"{of.leg}{number}", taken, price, after_s=second, fee=fee, currency=currency)
        found.append(replace(report, exchange_order_id=name))
    if end is not None:
        found.append(said(end, of, 9, executed_quantity=done, exchange_order_id=name))
    return found


def plain(of: Order) -> Order:
    """What is the same whatever came first: a mean of means differs in its last digits, the ids are a set."""
    mean = None if of.average_price is None else round(of.average_price, 18)
    return replace(of, average_price=mean, trade_ids=tuple(sorted(of.trade_ids)), working=False)


def by_name(fill: Fill) -> str:
    return fill.exchange_trade_id


def end_of(book: Book) -> tuple[Any, ...]:
    account = book.account()
    ending = account.trade is not None and not account.trade.is_open  # its row waits for the entry's end
    return (
        replace(account, orders=tuple(plain(each) for each in account.orders)),
        {name: plain(each) for name, each in book.orders.items()},
        sorted(book.fills, key=by_name),
        {} if ending else book.trades,
    )


@given(st.data(), PARTS, PARTS, st.sampled_from([Canceled, Expired, None]), st.sampled_from([Canceled, Expired, None]))
def test_any_order_and_any_repetition_of_reports_gives_the_same_end(
    data: st.DataObject, bought: Any, sold: Any, entry_end: type[Report] | None, exit_end: type[Report] | None
) -> None:
    enter = order(Leg.ENTRY, 12)
    first = history(enter, bought, entry_end)
    straight = having(enter, *first)
    shuffled = having(enter, *data.draw(st.permutations([*first, *data.draw(st.lists(st.sampled_from(first)))])))
    assert end_of(shuffled) == end_of(straight)
    assert straight.trade is not None
    leave = order(Leg.EXIT, MARKET.round_quantity(straight.trade.size_open))
    second = history(leave, sold, exit_end)
    late = data.draw(st.lists(st.sampled_from([*first, *second])))
    for book, reports in ((straight, second), (shuffled, data.draw(st.permutations([*second, *late])))):
        book.place(leave)
        for report in reports:
            book.apply(report)
    assert end_of(shuffled) == end_of(straight)


@given(st.data(), PARTS, st.sampled_from([Canceled, Expired, None]))
def test_a_restart_in_between_forgets_nothing(data: st.DataObject, parts: Any, end: type[Report] | None) -> None:
    """Reports that come again after it say nothing new, of open orders and of those that are gone."""
    enter = order(Leg.ENTRY, 12)
    reports = data.draw(st.permutations(history(enter, parts, end)))
    straight = having(enter, *reports)
    died_after = data.draw(st.integers(0, len(reports)))
    again = book_of(having(enter, *reports[:died_after]).account())
    for report in data.draw(st.permutations([*reports[:died_after], *reports[died_after:]])):
        again.apply(report)
    assert end_of(again)[0] == end_of(straight)[0]
