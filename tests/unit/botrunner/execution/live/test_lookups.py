from __future__ import annotations

from datetime import timedelta

import pytest

from botrunner.execution.live.lookups import LookUp, Timing, Wait, conclude
from botrunner.execution.live.transport import OrderStatus
from botrunner.trading.orders import Order
from botrunner.trading.reports import Accepted, Canceled, Executed, Expired, OutcomeUnknown, Report, Sent
from fleet.states import TERMINAL_ORDER_STATES, OrderState
from tests.unit.botrunner.exchange_orders import D, after, execution, order, snapshot

ARRIVES_BY = after(5)
TIMING = Timing(visible_within=timedelta(seconds=10), clocks_within=timedelta(seconds=1))
PROVES_FROM = after(16)
"""5 s until the request is refused, 10 s until what was accepted shows, 1 s of clocks."""

UNACKNOWLEDGED = (OrderState.INTENT, OrderState.SENT, OrderState.UNKNOWN)
ACKNOWLEDGED = (OrderState.ACKED, OrderState.PARTIAL)


def kinds(found: tuple[Report, ...] | Wait) -> list[type[Report]] | Wait:
    return found if isinstance(found, Wait) else [type(report) for report in found]


def concluded(of: Order, answer: LookUp | None) -> tuple[Report, ...] | Wait:
    return conclude(of, answer, arrives_by=ARRIVES_BY, timing=TIMING)


def state_of(state: OrderState) -> Order:
    known = state in ACKNOWLEDGED
    return order(state=state, exchange_order_id="x1" if known else None, working=known)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (OrderState.INTENT, [Sent, Accepted]),
        (OrderState.SENT, [Accepted]),
        (OrderState.UNKNOWN, [Accepted]),
        (OrderState.ACKED, []),
        (OrderState.PARTIAL, []),
        *((state, []) for state in sorted(TERMINAL_ORDER_STATES)),
    ],
)
def test_what_is_found_is_reported_as_far_as_it_is_news(state: OrderState, expected: list[type[Report]]) -> None:
    made = state_of(state)
    resting = snapshot(made, working=made.working)
    assert kinds(concluded(made, LookUp(asked_at=after(6), snapshot=resting))) == expected


@pytest.mark.parametrize("state", UNACKNOWLEDGED)
@pytest.mark.parametrize("asked_at", [after(-3600), after(0), ARRIVES_BY, after(15.9), PROVES_FROM])
def test_not_found_is_no_proof_while_the_request_may_arrive_or_the_order_hide(
    state: OrderState, asked_at: object
) -> None:
    assert concluded(order(state=state), LookUp(asked_at=asked_at)) == Wait(until=PROVES_FROM)


@pytest.mark.parametrize("state", UNACKNOWLEDGED)
def test_not_found_after_that_ends_the_order_with_nothing_executed(state: OrderState) -> None:
    made = order(state=state)
    found = concluded(made, LookUp(asked_at=PROVES_FROM + timedelta(milliseconds=1)))
    assert found == (Expired(client_order_id=made.client_order_id, at=after(16.001), executed_quantity=D(0)),)


@pytest.mark.parametrize("state", ACKNOWLEDGED)
def test_what_the_exchange_had_acknowledged_is_never_given_up_because_it_isnt_found(state: OrderState) -> None:
    assert concluded(state_of(state), LookUp(asked_at=after(86_400))) == Wait()


@pytest.mark.parametrize("state", [*UNACKNOWLEDGED, *ACKNOWLEDGED])
def test_no_answer_proves_nothing_however_late(state: OrderState) -> None:
    assert concluded(state_of(state), None) == Wait()


@pytest.mark.parametrize("state", sorted(TERMINAL_ORDER_STATES))
def test_an_order_that_has_ended_isnt_moved(state: OrderState) -> None:
    assert concluded(state_of(state), LookUp(asked_at=after(86_400))) == ()


def test_an_order_that_shows_in_the_trades_alone_is_there() -> None:
    seen = LookUp(asked_at=after(86_400), executions=(execution(1, 4),))
    assert kinds(concluded(order(), seen)) == [Sent, Accepted, Executed]
    assert kinds(concluded(order(state=OrderState.UNKNOWN), seen)) == [Accepted, Executed]
    assert OutcomeUnknown not in kinds(concluded(order(), seen))


def test_an_order_that_ended_at_the_exchange_says_how_much_of_it_was_executed() -> None:
    made = order(state=OrderState.UNKNOWN)
    ended = snapshot(made, OrderStatus.CANCELED, executed=4, executions=(execution(1, 4),))
    found = concluded(made, LookUp(asked_at=after(1), snapshot=ended))
    assert kinds(found) == [Accepted, Executed, Canceled]
    assert isinstance(found, tuple)
    assert isinstance(found[-1], Canceled)
    assert found[-1].executed_quantity == D(4)
