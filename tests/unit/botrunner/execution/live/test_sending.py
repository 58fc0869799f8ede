from __future__ import annotations

from datetime import timedelta
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botrunner.execution.live.sending import ACKNOWLEDGED, TURNS, Act, Step, Wishes, steps
from botrunner.trading.order_ids import Leg
from botrunner.trading.orders import Order
from fleet.states import OrderState
from tests.unit.botrunner.exchange_orders import D, after, order

WAITS = timedelta(seconds=30)
NOW = after(60)
ENTRY, EXIT, STOP, TARGET = Leg.ENTRY, Leg.EXIT, Leg.STOP_LOSS, Leg.TAKE_PROFIT
OPEN = [OrderState.INTENT, OrderState.SENT, OrderState.ACKED, OrderState.PARTIAL, OrderState.UNKNOWN]


def fresh(*orders: Order, waited: timedelta = timedelta(0), **wishes: object) -> Wishes:
    """The wishes of a process that submitted these orders and hasn't sent them."""
    return Wishes(unsent={made.client_order_id: waited for made in orders}, **wishes)


def acts(found: tuple[Step, ...]) -> list[tuple[Act, Leg]]:
    return [(step.act, step.order.leg) for step in found]


@pytest.mark.parametrize("leg", [ENTRY, EXIT, STOP, TARGET, Leg.FLATTEN])
def test_an_intent_that_never_left_is_placed(leg: Leg) -> None:
    assert acts(steps([order(leg)], fresh(order(leg)), now=NOW, entry_waits=WAITS)) == [(Act.PLACE, leg)]


@pytest.mark.parametrize("leg", [ENTRY, EXIT, STOP])
@pytest.mark.parametrize("state", OPEN)
def test_what_may_have_left_is_never_placed(leg: Leg, state: OrderState) -> None:
    assert steps([order(leg, state)], Wishes(), now=NOW, entry_waits=WAITS) == ()


@pytest.mark.parametrize("state", [OrderState.INTENT, OrderState.SENT, OrderState.UNKNOWN])
def test_of_an_order_whose_fate_isnt_known_nothing_leaves(state: OrderState) -> None:
    made = order(STOP, state)
    wanted = Wishes(cancels=frozenset({made.client_order_id}), amends={made.client_order_id: (D(95), D(10))})
    assert steps([made], wanted, now=NOW, entry_waits=WAITS) == ()


@pytest.mark.parametrize("state", sorted(ACKNOWLEDGED))
def test_an_open_order_is_amended_or_cancelled_and_not_both(state: OrderState) -> None:
    made = order(STOP, state)
    about = made.client_order_id
    amended = Wishes(amends={about: (D(95), D(10))})
    assert steps([made], amended, now=NOW, entry_waits=WAITS) == (Step(Act.AMEND, made, D(95), D(10)),)
    assert steps([made], Wishes(amends={about: (made.price, made.quantity)}), now=NOW, entry_waits=WAITS) == ()
    both = Wishes(cancels=frozenset({about}), amends={about: (D(95), D(10))})
    assert acts(steps([made], both, now=NOW, entry_waits=WAITS)) == [(Act.CANCEL, STOP)]


def test_what_never_left_is_revised_before_it_leaves_and_given_up_when_it_isnt_wanted() -> None:
    made = order(EXIT)
    about = made.client_order_id
    assert acts(steps([made], fresh(made, amends={about: (None, D(7))}), now=NOW, entry_waits=WAITS)) == [
        (Act.REVISE, EXIT)
    ]
    assert acts(steps([made], fresh(made, cancels=frozenset({about})), now=NOW, entry_waits=WAITS)) == [
        (Act.GIVE_UP, EXIT)
    ]


def test_an_entry_waits_for_the_right_to_trade_only_so_long_and_an_exit_for_ever() -> None:
    old = timedelta(seconds=31)
    assert acts(steps([order(ENTRY)], fresh(order(ENTRY), waited=WAITS), now=NOW, entry_waits=WAITS)) == [
        (Act.PLACE, ENTRY)
    ]
    assert acts(steps([order(ENTRY)], fresh(order(ENTRY), waited=old), now=NOW, entry_waits=WAITS)) == [
        (Act.GIVE_UP, ENTRY)
    ]
    assert acts(steps([order(EXIT)], fresh(order(EXIT), waited=old), now=NOW, entry_waits=WAITS)) == [(Act.PLACE, EXIT)]


@pytest.mark.parametrize(("state", "act"), [(OrderState.INTENT, Act.GIVE_UP), (OrderState.ACKED, Act.CANCEL)])
def test_an_order_whose_time_is_over_is_taken_back(state: OrderState, act: Act) -> None:
    over, later = order(EXIT, state, expires_at=NOW), order(EXIT, state, expires_at=after(60.001))
    mine = fresh(over) if state is OrderState.INTENT else Wishes()
    assert acts(steps([over], mine, now=NOW, entry_waits=WAITS)) == [(act, EXIT)]
    assert act not in {step.act for step in steps([later], mine, now=NOW, entry_waits=WAITS)}


def test_what_rests_is_taken_back_when_its_time_is_over_by_each_clock_of_the_exchange() -> None:
    def at(seconds: float, made: Order, wishes: Wishes) -> list[tuple[Act, Leg]]:
        second = timedelta(seconds=1)
        return acts(steps([made], wishes, now=after(seconds), entry_waits=WAITS, clocks_within=second))

    rests, waits = order(EXIT, OrderState.ACKED, expires_at=NOW), order(EXIT, expires_at=NOW)
    assert [at(60.999, rests, Wishes()), at(61, rests, Wishes())] == [[], [(Act.CANCEL, EXIT)]]
    assert at(60, waits, fresh(waits)) == [(Act.GIVE_UP, EXIT)], "nothing of it is there"


@pytest.mark.parametrize("orders", list(permutations([order(EXIT), order(STOP), order(TARGET)])))
def test_of_several_closing_orders_the_one_that_matters_most_is_placed(orders: tuple[Order, ...]) -> None:
    assert acts(steps(orders, fresh(*orders), now=NOW, entry_waits=WAITS)) == [(Act.PLACE, EXIT)]


@pytest.mark.parametrize("state", sorted(ACKNOWLEDGED))
def test_a_resting_stop_gives_way_to_an_exit_which_leaves_only_afterwards(state: OrderState) -> None:
    stop, leave = order(STOP, state), order(EXIT)
    assert acts(steps([stop, leave], fresh(leave), now=NOW, entry_waits=WAITS)) == [(Act.CANCEL, STOP)]
    assert acts(steps([leave], fresh(leave), now=NOW, entry_waits=WAITS)) == [(Act.PLACE, EXIT)]


def test_a_target_waits_behind_a_resting_stop() -> None:
    stop, target = order(STOP, OrderState.ACKED), order(TARGET)
    assert steps([stop, target], fresh(target), now=NOW, entry_waits=WAITS) == ()


@pytest.mark.parametrize("state", [OrderState.INTENT, OrderState.SENT, OrderState.UNKNOWN])
def test_an_exit_waits_until_the_fate_of_the_stop_is_known(state: OrderState) -> None:
    stop, leave = order(STOP, state), order(EXIT)
    assert steps([stop, leave], fresh(leave), now=NOW, entry_waits=WAITS) == ()


def test_a_stop_waits_for_an_exit_that_is_revised_and_what_needs_no_request_comes_first() -> None:
    leave, stop, entry = order(EXIT), order(STOP), order(ENTRY, OrderState.ACKED)
    wanted = fresh(
        leave, stop, amends={leave.client_order_id: (None, D(7))}, cancels=frozenset({entry.client_order_id})
    )
    found = steps([entry, stop, leave], wanted, now=NOW, entry_waits=WAITS)
    assert acts(found) == [(Act.REVISE, EXIT), (Act.CANCEL, ENTRY)]


def test_an_exit_doesnt_wait_for_an_entry() -> None:
    for state in OPEN:
        leave = order(EXIT)
        assert (Act.PLACE, EXIT) in acts(steps([order(ENTRY, state), leave], fresh(leave), now=NOW, entry_waits=WAITS))


def test_an_entry_waits_for_nobody() -> None:
    made = [order(STOP, OrderState.UNKNOWN), order(ENTRY)]
    assert acts(steps(made, fresh(made[1]), now=NOW, entry_waits=WAITS)) == [(Act.PLACE, ENTRY)]


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[Order], Wishes]:
    legs = draw(st.lists(st.sampled_from([ENTRY, *TURNS]), unique=True))
    orders = [order(leg, draw(st.sampled_from(OPEN))) for leg in draw(st.permutations(legs))]
    names = [made.client_order_id for made in orders]
    some = st.frozensets(st.sampled_from(names)) if names else st.just(frozenset())
    unsent = [made for made in orders if made.state is OrderState.INTENT and draw(st.booleans())]
    amends = {name: (D(draw(st.sampled_from([90, 95]))), D(draw(st.sampled_from([7, 10])))) for name in draw(some)}
    return orders, fresh(
        *unsent, waited=timedelta(seconds=draw(st.sampled_from([0, 60]))), cancels=draw(some), amends=amends
    )


@given(situations())
def test_whatever_the_situation_at_most_one_closing_order_is_out_and_nothing_leaves_twice(
    situation: tuple[list[Order], Wishes],
) -> None:
    orders, wishes = situation
    found = steps(orders, wishes, now=NOW, entry_waits=WAITS)
    assert len({step.order.client_order_id for step in found}) == len(found)
    may_be_there = [made for made in orders if made.leg in TURNS and made.client_order_id not in wishes.unsent]
    placed = [step.order for step in found if step.act is Act.PLACE]
    closing = [made for made in placed if made.leg in TURNS]
    assert len(closing) <= (0 if may_be_there else 1)
    assert all(made.client_order_id in wishes.unsent for made in placed)
    assert all(step.order.state in ACKNOWLEDGED for step in found if step.act in {Act.AMEND, Act.CANCEL})
