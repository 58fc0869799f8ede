"""What leaves for the exchange now: a function of the committed orders and of what is wanted. Pure.

Only orders that stand in the committed book are looked at, so that nothing leaves before its intent is durable. For an
order of which nobody knows whether it is there, nothing leaves at all.

Orders that close a position take turns: on a spot market the first of them locks what the second would sell. At most
one of them is at the exchange. One that matters more has the other cancelled first and leaves when that end is in the
book, so that its quantity fits what the other left.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from botrunner.trading.order_ids import Leg
from botrunner.trading.orders import Order
from fleet.states import OrderState

TURNS = (Leg.FLATTEN, Leg.EXIT, Leg.STOP_LOSS, Leg.TAKE_PROFIT)
"""Legs that close a position, the one that matters most first."""

ACKNOWLEDGED = frozenset({OrderState.ACKED, OrderState.PARTIAL})
"""States in which the exchange is known to have the order open."""


class Act(StrEnum):
    """What is done for an order."""

    PLACE = "place"
    AMEND = "amend"
    CANCEL = "cancel"
    GIVE_UP = "give_up"
    """Never sent, and not wanted any more: it ends here."""
    REVISE = "revise"
    """Never sent, and wanted otherwise: it leaves once that is committed."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do. `price`, `quantity`: what an order is amended or revised to."""

    act: Act
    order: Order
    price: Decimal | None = None
    quantity: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the bot wants, by client order id.

    Attributes:
        unsent: orders that certainly never left, and how long they have been waiting.
        cancels: to be taken back. amends: to have this price and quantity.
    """

    unsent: Mapping[str, timedelta] = field(default_factory=dict)
    cancels: frozenset[str] = frozenset()
    amends: Mapping[str, tuple[Decimal | None, Decimal]] = field(default_factory=dict)


def steps(
    orders: Sequence[Order],
    wishes: Wishes,
    *,
    now: datetime,
    entry_waits: timedelta,
    clocks_within: timedelta = timedelta(0),
) -> tuple[Step, ...]:
    """What to do now, in order: what needs no request, then what ends or changes an order, then what places one.

    Args:
        orders: open ones, as committed.
        wishes: as they are now.
        now: by the exchange's clock: an order whose time is over is taken back.
        entry_waits: how long an entry may wait before its signal is old.
        clocks_within: by how much the exchange's clocks differ. What rests there is taken back when its time is over by
            each of them: by the stamp of its end it then counts as expired, not as cancelled.
    """
    over = (
        order.client_order_id
        for order in orders
        if _is_over(order, now if order.client_order_id in wishes.unsent else now - clocks_within)
    )
    wanted = {*wishes.cancels, *over}
    settled: list[Step] = []
    placed: list[Step] = []
    ahead: list[Order] = [order for order in orders if order.client_order_id not in wishes.unsent]
    for order in sorted(orders, key=_turn):
        if order.client_order_id not in wishes.unsent:
            continue
        if step := _settled(order, wishes, wanted, entry_waits):
            settled.append(step)
        elif blockers := _blockers(order, ahead):
            wanted.update(other.client_order_id for other in blockers if _turn(other) > _turn(order))
        else:
            placed.append(Step(Act.PLACE, order))
        if step is None or step.act is Act.REVISE:
            ahead.append(order)
    there = [order for order in orders if order.state in ACKNOWLEDGED]
    cancels = [Step(Act.CANCEL, order) for order in there if order.client_order_id in wanted]
    amends = [step for order in there if order.client_order_id not in wanted for step in _amended(order, wishes)]
    return (*settled, *cancels, *amends, *placed)


def _turn(order: Order) -> int:
    return TURNS.index(order.leg) if order.leg in TURNS else -1


def _is_over(order: Order, now: datetime) -> bool:
    return order.expires_at is not None and order.expires_at <= now


def _settled(order: Order, wishes: Wishes, wanted: Set[str], entry_waits: timedelta) -> Step | None:
    """What needs no request, of an order that never left; None: it may leave."""
    about = order.client_order_id
    if about in wanted or (order.leg is Leg.ENTRY and wishes.unsent[about] > entry_waits):
        return Step(Act.GIVE_UP, order)
    return next((replace(step, act=Act.REVISE) for step in _amended(order, wishes)), None)


def _amended(order: Order, wishes: Wishes) -> Iterator[Step]:
    price, quantity = wishes.amends.get(order.client_order_id, (order.price, order.quantity))
    if (price, quantity) != (order.price, order.quantity):
        yield Step(Act.AMEND, order, price, quantity)


def _blockers(order: Order, ahead: Sequence[Order]) -> list[Order]:
    """The orders that this one has to wait for: of those that close a position any other that is or may be at the
    exchange, or that matters more."""
    return [other for other in ahead if other.leg in TURNS] if order.leg in TURNS else []
