"""From what an exchange says of an order to reports. Pure.

The same input twice, or in another order, gives reports that change nothing more: executions carry the exchange's trade
ids, and an end says how much was executed in all, so that the book waits for what is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal

from botrunner.exchange.errors import said
from botrunner.execution.live.transport import Execution, OrderSnapshot, OrderStatus
from botrunner.trading.orders import UNACKNOWLEDGED, Order
from botrunner.trading.reports import (
    Accepted,
    Amended,
    Canceled,
    Executed,
    Expired,
    Filled,
    Rejected,
    Report,
    Sent,
    Working,
)
from fleet.states import OrderState

NAME_MOST = 100
"""Characters of an exchange's name for an order, an execution or a currency; the longest known have 36."""


def fault_of(snapshot: OrderSnapshot) -> str | None:
    """What no order can be, in what an exchange says of one: then nothing of the answer is believed. None: nothing."""
    price, quantity, done = snapshot.price, snapshot.quantity, snapshot.executed_quantity
    about = f"order {said(snapshot.exchange_order_id)}"
    if not _is_name(snapshot.exchange_order_id):
        return f"{about} has no name of 1 to {NAME_MOST} printable characters"
    if price is not None and not _is_positive(price):
        return f"{about} has the price {price}, which is none"
    if not _is_positive(quantity) or not (done.is_finite() and done >= 0):
        return f"{about} has the quantity {quantity} and {done} of it executed, which can't be"
    return fault_in(snapshot.executions)


def fault_in(executions: Iterable[Execution]) -> str | None:
    """What no execution can be, in the first of which it is so; None where each can."""
    for each in executions:
        about = f"execution {said(each.exchange_trade_id)}"
        if not all(map(_is_name, (each.exchange_trade_id, each.exchange_order_id, each.fee_currency))):
            return f"{about} has an id or a currency that isn't 1 to {NAME_MOST} printable characters"
        if not _is_positive(each.price) or not _is_positive(each.quantity):
            return f"{about} is of {each.quantity} at {each.price}, which can't be"
        if not (each.fee.is_finite() and each.fee >= 0):
            return f"{about} has the fee {each.fee} {said(each.fee_currency)}, which can't be"
    return None


def _is_name(text: str) -> bool:
    """Whether it can be stored and shown as it is: names go into rows, and executions are told apart by them."""
    return 0 < len(text) <= NAME_MOST and text.isprintable()


def _is_positive(number: Decimal) -> bool:
    return number.is_finite() and number > 0


def misses_executions(order: Order, snapshot: OrderSnapshot) -> bool:
    """Whether there were executions that neither the book knows nor the answer brought along."""
    brought = sum((execution.quantity for execution in snapshot.executions), Decimal(0))
    return snapshot.executed_quantity > max(order.filled_quantity, brought)


def executions_of(
    order: Order, executions: Iterable[Execution], *, exchange_order_id: str | None
) -> tuple[Execution, ...]:
    """An order's own among all executions, each once, oldest first.

    Args:
        order: whose.
        executions: of the account.
        exchange_order_id: the exchange's id of the order, where it is known.
    """
    own = {
        execution.exchange_trade_id: execution
        for execution in executions
        if execution.client_order_id == order.client_order_id or execution.exchange_order_id == exchange_order_id
    }
    return tuple(sorted(own.values(), key=lambda execution: (execution.at, execution.exchange_trade_id)))


def reports_of(order: Order, snapshot: OrderSnapshot, *, current: bool) -> tuple[Report, ...]:
    """What a snapshot says that the book doesn't know yet.

    Args:
        order: as it stands in the book, open.
        snapshot: with whatever executions are known of it.
        current: whether it is an answer to a question of now. One that came unasked may be older than what the book
            knows, and its price and quantity count only where more was executed than the book's order asks for.
    """
    return tuple(_reports(order, snapshot, current=current))


def _reports(order: Order, snapshot: OrderSnapshot, *, current: bool) -> Iterator[Report]:
    about, at, there = order.client_order_id, snapshot.at, snapshot.exchange_order_id
    if order.state is OrderState.INTENT:
        yield Sent(client_order_id=about, at=at, exchange_order_id=there)
    if snapshot.status is OrderStatus.REJECTED:
        reason = said(snapshot.reason) or "the exchange rejected it"
        yield Rejected(client_order_id=about, at=at, exchange_order_id=there, reason=reason)
        return
    if order.state in UNACKNOWLEDGED or order.exchange_order_id is None:
        yield Accepted(client_order_id=about, at=at, exchange_order_id=there)
    is_amended = _is_amended(order, snapshot, current=current)
    if is_amended:
        yield Amended(
            client_order_id=about,
            at=at,
            exchange_order_id=there,
            price=order.price if snapshot.price is None else snapshot.price,
            # less than was executed, where an amendment came too late to keep it from being filled
            quantity=max(snapshot.quantity, snapshot.executed_quantity),
        )
    if snapshot.status is OrderStatus.OPEN and snapshot.working and (is_amended or not order.working):
        yield Working(client_order_id=about, at=at, exchange_order_id=there)
    yield from executed(order, snapshot.executions)
    total = snapshot.executed_quantity
    if snapshot.status is OrderStatus.EXPIRED or _is_over(order, snapshot):
        yield Expired(client_order_id=about, at=at, exchange_order_id=there, executed_quantity=total)
    elif snapshot.status is OrderStatus.FILLED and 0 < total <= order.filled_quantity:
        yield Filled(client_order_id=about, at=at, exchange_order_id=there, executed_quantity=total)
    elif snapshot.status is OrderStatus.CANCELED:
        yield Canceled(client_order_id=about, at=at, exchange_order_id=there, executed_quantity=total)


def _is_over(order: Order, snapshot: OrderSnapshot) -> bool:
    """Whether it was cancelled because its time was over, and for nothing else."""
    if snapshot.status is not OrderStatus.CANCELED or order.expires_at is None or order.cancel_wanted:
        return False
    return order.expires_at <= snapshot.at


def _is_amended(order: Order, snapshot: OrderSnapshot, *, current: bool) -> bool:
    """Whether it has another price or quantity now; said first, as more may be executed than it had asked for."""
    is_newer = current or snapshot.executed_quantity > order.quantity
    price = order.price if snapshot.price is None else snapshot.price
    return is_newer and (price, snapshot.quantity) != (order.price, order.quantity)


def executed(order: Order, executions: Iterable[Execution]) -> Iterator[Executed]:
    """Reports of executions; the book drops those it knows."""
    for execution in executions:
        yield Executed(
            client_order_id=order.client_order_id,
            at=execution.at,
            exchange_order_id=execution.exchange_order_id,
            exchange_trade_id=execution.exchange_trade_id,
            price=execution.price,
            quantity=execution.quantity,
            fee=execution.fee,
            fee_currency=execution.fee_currency,
        )
