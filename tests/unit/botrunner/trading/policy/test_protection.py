"""Where stop and target are placed, moved, taken away; and what holds for any position."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botrunner.market.side import Side
from botrunner.trading.book import Book
from botrunner.trading.order_ids import Leg, client_order_id
from botrunner.trading.orders import OrderType
from botrunner.trading.policy.intents import Amend, Cancel, Intent, Submit, WriteOff
from botrunner.trading.policy.protection import is_in_line, protect
from fleet.exit_kinds import ExitKind
from fleet.states import OrderState
from tests.unit.botrunner.paper_world import MARKET
from tests.unit.botrunner.trading.policy.policy_world import AT, BAR, account, order, terms, trade

D = Decimal
STOP, TARGET, ENTRY = Leg.STOP_LOSS, Leg.TAKE_PROFIT, Leg.ENTRY
BOTH = terms(risk_management={"stop_loss_pct": 3, "take_profit_pct": 6})
NONE = terms()
SHORT = trade(side=Side.SELL)


def brief(intents: tuple[Intent, ...] | None) -> Any:
    """Intents as tuples: leg, and what is wanted of it."""
    if intents is None:
        return None
    found: list[tuple[Any, ...]] = []
    for intent in intents:
        match intent:
            case Submit(made):
                found.append(("submit", made.leg, made.side, made.price, made.quantity, made.attempt))
            case Amend(made, price, quantity):
                found.append(("amend", made.leg, price, quantity))
            case Cancel(made):
                found.append(("cancel", made.leg))
            case WriteOff():
                found.append(("write off", intent.reason, intent.kind))
    return found


def placed(leg: Leg, price: Any, quantity: Any = 5, attempt: int = 0, side: Side = Side.SELL) -> tuple[Any, ...]:
    return ("submit", leg, side, D(price), D(str(quantity)), attempt)


@pytest.mark.parametrize(
    ("given_account", "on", "expected"),
    [
        pytest.param(account(), BOTH, None, id="flat"),
        pytest.param(account(held=trade()), BOTH, [placed(STOP, 97), placed(TARGET, 106)], id="a new position"),
        pytest.param(account(held=trade()), NONE, [], id="no limits"),
        pytest.param(
            account(held=SHORT), BOTH, [placed(STOP, 103, side=Side.BUY), placed(TARGET, 94, side=Side.BUY)], id="short"
        ),
        pytest.param(account(order(STOP), order(TARGET), held=trade()), BOTH, [], id="in line"),
        pytest.param(
            account(order(STOP), order(TARGET), held=trade()), NONE, [("cancel", STOP), ("cancel", TARGET)],
            id="limits were taken away",
        ),
        pytest.param(
            account(order(STOP, 2), order(TARGET, 2), held=trade()), BOTH,
            [("amend", STOP, D(97), D(5)), ("amend", TARGET, D(106), D(5))], id="the position grew",
        ),
        pytest.param(
            account(order(TARGET, 5, filled_quantity=D(2)), held=trade(held=3)),
            terms(risk_management={"take_profit_pct": 6}), [], id="what is left of a target is what is held",
        ),
        pytest.param(
            account(order(STOP), held=trade(), best_price=D(110)), terms(risk_management={"trailing_stop_pct": 10}),
            [("amend", STOP, D(99), D(5))], id="the best price moves the stop",
        ),
        pytest.param(
            account(order(STOP, working=True), held=trade(held=2)), BOTH, None, id="a triggered stop is left alone"
        ),
        pytest.param(
            account(order(STOP, state=OrderState.REJECTED), held=trade(), stops_sent=3), BOTH,
            [placed(STOP, 97, attempt=3), placed(TARGET, 106)], id="a refused one is sent again, as the next attempt",
        ),
        pytest.param(
            account(order(STOP, state=OrderState.REJECTED), held=trade()), NONE, [("cancel", STOP)],
            id="a refused one that isn't wanted any more",
        ),
        pytest.param(
            account(order(STOP, 2, cancel_wanted=True), held=trade()), terms(risk_management={"stop_loss_pct": 3}), [],
            id="one that is being cancelled isn't changed",
        ),
        pytest.param(
            account(held=trade(held="0.005")), BOTH, [("write off", "dust", ExitKind.DUST)], id="less than a step"
        ),
        pytest.param(account(order(ENTRY), held=trade(held="0.005")), BOTH, None, id="it may still grow"),
        pytest.param(
            account(order(ENTRY), order(STOP), order(TARGET, state=OrderState.REJECTED), held=trade(held=0)), BOTH,
            [("cancel", STOP), ("cancel", TARGET)], id="sold, though some of the entry may still come",
        ),
        pytest.param(account(held=trade("5.009")), BOTH, [placed(STOP, 97), placed(TARGET, 106)], id="on the step"),
    ],
)  # fmt: skip
def test_protection(given_account: Book, on: Any, expected: Any) -> None:
    assert brief(protect(given_account, on, at=AT)) == expected


def test_what_a_protective_order_is() -> None:
    stop, target = (
        intent.order for intent in protect(account(held=trade()), BOTH, at=AT) or () if isinstance(intent, Submit)
    )
    assert (stop.type, target.type) == (OrderType.STOP, OrderType.LIMIT)
    assert (stop.reason, target.reason) == ("stop_loss", "take_profit")
    assert (stop.exit_kind, target.exit_kind) == (ExitKind.STOP, ExitKind.TARGET)
    # named by the bar that caused the entry
    assert stop.client_order_id == client_order_id(bot_id=7, signal_at=AT - BAR, leg=STOP)


def test_a_leg_is_tried_once_a_step() -> None:
    book = account(order(STOP, state=OrderState.REJECTED), held=trade())
    first = protect(book, BOTH, at=AT)
    assert first is not None
    for intent in first:
        assert isinstance(intent, Submit)
        book.place(intent.order)
    book.forget(book.by_leg[STOP])  # gone, whatever became of it
    assert protect(book, BOTH, at=AT) == ()
    assert is_in_line(book, first) is False


@pytest.mark.parametrize(
    ("given_account", "in_line"),
    [
        (account(order(STOP), order(TARGET), held=trade()), True),
        (account(order(STOP, 4), order(TARGET), held=trade()), False),
        (account(order(STOP, state=OrderState.REJECTED), order(TARGET), held=trade()), False),
        (account(order(TARGET), held=trade()), False),
    ],
)
def test_in_line_is_what_the_venue_has_confirmed(given_account: Book, in_line: bool) -> None:
    assert is_in_line(given_account, (Amend(order(STOP, 4), D(97), D(5)),)) is in_line


def test_what_was_taken_back_may_be_due_again() -> None:
    assert is_in_line(account(held=trade()), (Cancel(order(STOP)),)) is False


PERCENT = st.none() | st.decimals("0.1", "50", places=1)


@given(
    st.sampled_from(Side), st.decimals("0.01", "100", places=3), st.integers(50, 200), PERCENT, PERCENT, PERCENT,
    st.booleans(), st.integers(0, 9),
)  # fmt: skip
def test_any_position_is_protected_as_the_limits_say_and_then_left_alone(
    side: Side, size: Decimal, best: int, stop: Any, trailing: Any, target: Any, had: bool, sent: int
) -> None:
    wanted = {"stop_loss_pct": stop, "trailing_stop_pct": trailing, "take_profit_pct": target}
    on = terms(risk_management={name: float(value) for name, value in wanted.items() if value is not None})
    before = (order(STOP, 1, side=side.other), order(TARGET, 1, side=side.other)) if had else ()
    book = account(*before, held=trade(size, side=side), best_price=D(best), stops_sent=sent)
    for intent in protect(book, on, at=AT) or ():
        match intent:
            case Submit(made):
                book.place(made)
            case Amend(made, price, quantity):
                book.by_leg[made.leg] = order(made.leg, quantity, side=made.side, price=price)
            case Cancel(made):
                del book.by_leg[made.leg]
            case WriteOff():
                raise AssertionError
    held = MARKET.round_quantity(size)
    assert (STOP in book.by_leg) is (stop is not None or trailing is not None)
    assert (TARGET in book.by_leg) is (target is not None)
    for made in book.by_leg.values():
        assert (made.side, made.leaves_quantity) == (side.other, held)
        assert made.price is not None
        assert made.price % MARKET.tick == 0
    assert protect(book, on, at=AT) == ()
