"""The order state machine: what a report of the broker does to an order. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from botrunner.market.side import Side
from botrunner.trading.order_ids import Leg
from fleet.errors import PermanentError
from fleet.exit_kinds import ExitKind
from fleet.states import ORDER_TRANSITIONS, OrderState

UNACKNOWLEDGED = frozenset({OrderState.INTENT, OrderState.SENT, OrderState.UNKNOWN})
"""States in which nothing has proved yet that the venue has the order."""


class OrderType(StrEnum):
    """How an order executes."""

    MARKET = "market"
    STOP = "stop"
    """Rests until the price reaches `price` against the position, then executes at market."""
    LIMIT = "limit"
    """Rests until the price reaches `price`, executes there or better."""


class IllegalTransition(PermanentError):
    """A report doesn't fit the order's state; the message names order, state and report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One order as committed to `trading_orders`.

    Attributes:
        signal_at: open time of the candle that caused it; for a protective order the one that caused the entry.
        quantity: in the base currency.
        price: the stop's or limit's price, quote per base; None for market orders.
        reason: the strategy's or the risk rule's word for why, for people. exit_kind: why, for programs; None for
            an entry.
        average_price: of what is filled so far. fill_count: executions so far.
        arrives_at: when it reaches the exchange; None for at once.
        expires_at: when what is left of it is given up; None for never.
        working: it reached the exchange, and may be executed: a market order that arrived, a limit that rests in
            the book, a stop that was triggered.
        rejection: why the exchange refused it.
        cancel_wanted: it is to be cancelled, and nobody has confirmed that yet.
        trade_ids: of executions that were applied, the earliest first; without those that the order's own id and
            `fill_count` name, as on paper.
        ending, ending_quantity: it has ended as this, with so much executed in all (base currency), of which some isn't
            known yet; None while nothing is known of an end.
        revision: number of the newest amendment.
    """

    client_order_id: str
    signal_at: datetime
    leg: Leg
    attempt: int
    side: Side
    type: OrderType
    quantity: Decimal
    price: Decimal | None
    reason: str
    exit_kind: ExitKind | None = None
    state: OrderState = OrderState.INTENT
    exchange_order_id: str | None = None
    filled_quantity: Decimal = Decimal(0)
    average_price: Decimal | None = None
    fill_count: int = 0
    arrives_at: datetime | None = None
    expires_at: datetime | None = None
    working: bool = False
    rejection: str | None = None
    cancel_wanted: bool = False
    trade_ids: tuple[str, ...] = ()
    ending: OrderState | None = None
    ending_quantity: Decimal | None = None
    revision: int = 0

    @property
    def leaves_quantity(self) -> Decimal:
        """What may still be filled."""
        return self.quantity - self.filled_quantity

    @property
    def is_open(self) -> bool:
        """Whether anything can still happen to it."""
        return bool(ORDER_TRANSITIONS[self.state])


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """One execution.

    Attributes:
        exchange_trade_id: the exchange's id of the execution, unique per exchange and account.
        quantity: base currency. price: quote per base. fee: in `fee_currency`, not negative.
        filled_at: aware UTC by the exchange's clock.
    """

    client_order_id: str
    exchange_trade_id: str
    side: Side
    price: Decimal
    quantity: Decimal
    fee: Decimal
    fee_currency: str
    filled_at: datetime


def moved(order: Order, state: OrderState, *, exchange_order_id: str | None = None) -> Order:
    """The order after a report without a fill.

    Raises:
        IllegalTransition: the table of `fleet.states` doesn't list the move.
    """
    if state not in ORDER_TRANSITIONS[order.state]:
        raise IllegalTransition(f"order {order.client_order_id} can't go from {order.state} to {state}")
    return replace(order, state=state, exchange_order_id=exchange_order_id or order.exchange_order_id)


def filled(order: Order, fill: Fill) -> Order:
    """The order after one more execution.

    Raises:
        IllegalTransition: the order is closed, or the fill exceeds what it leaves.
    """
    total = order.filled_quantity + fill.quantity
    if fill.quantity <= 0 or total > order.quantity:
        raise IllegalTransition(
            f"fill {fill.exchange_trade_id} of {fill.quantity} doesn't fit order {order.client_order_id}, "
            f"which leaves {order.leaves_quantity}"
        )
    paid = (order.average_price or Decimal(0)) * order.filled_quantity + fill.price * fill.quantity
    state = OrderState.FILLED if total == order.quantity else OrderState.PARTIAL
    return replace(
        moved(order, state), filled_quantity=total, average_price=paid / total, fill_count=order.fill_count + 1
    )
