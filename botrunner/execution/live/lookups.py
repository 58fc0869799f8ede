"""What a look-up says of an order whose fate isn't known: reports, or wait until when. Pure.

"Not found" is no proof by itself: the request may still be on its way, and exchanges don't show an accepted order at
once (Binance: "Memory => Database"). It is proof when the question was put after

    the last moment at which the exchange accepts the request + the longest time that an accepted order stays invisible
    + the disagreement of the exchange's own clocks

Where an order was sent by an earlier process, or only may have been, no request of it is younger than this process:
its right to trade had ended before this one claimed the run.

| order | found | not found, before that | not found, after it | no answer |
| --- | --- | --- | --- | --- |
| intent that may have been sent, sent, unknown | reports | wait | expired, nothing executed | wait |
| acked, partial | reports | wait | wait: what an exchange once acknowledged doesn't vanish | wait |
| ended | nothing | nothing | nothing | nothing |
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from botrunner.execution.live.snapshots import executed, reports_of
from botrunner.execution.live.transport import Execution, OrderSnapshot
from botrunner.trading.orders import UNACKNOWLEDGED, Order
from botrunner.trading.reports import Expired, Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long things may take at an exchange.

    Attributes:
        valid_for: after which the exchange refuses a request (Binance's recvWindow). The right to trade ends T_stop
            after the last heartbeat, a new run begins no sooner than T_dead after it: T_stop + valid_for < T_dead.
        visible_within: after which an accepted order shows in every look-up.
        clocks_within: by how much the exchange's clocks differ among themselves.
        look_again: between look-ups of an order whose fate isn't known.
        look_open: between look-ups of an open order, since what the exchange says unasked may get lost.
        send_again: before a request is repeated that certainly wasn't taken.
        entry_waits: how long an entry may wait for the right to trade; its signal is old then.
        read_clock: between two readings of the exchange's clock.
    """

    valid_for: timedelta = timedelta(seconds=5)
    visible_within: timedelta = timedelta(seconds=10)
    clocks_within: timedelta = timedelta(seconds=1)
    look_again: timedelta = timedelta(seconds=1)
    look_open: timedelta = timedelta(seconds=30)
    send_again: timedelta = timedelta(seconds=1)
    entry_waits: timedelta = timedelta(seconds=30)
    read_clock: timedelta = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUp:
    """What was found out about one order.

    Attributes:
        asked_at: a time that the exchange's clock had reached before the first question.
        snapshot: the order, with its executions; None: neither by its id, nor among open, nor among closed orders.
        executions: those of the order that trades show, where there is no snapshot.
    """

    asked_at: datetime
    snapshot: OrderSnapshot | None = None
    executions: tuple[Execution, ...] = ()


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is known yet: ask again. `until`: the exchange's time from which the answer may prove more; None for the
    usual pause."""

    until: datetime | None = None


def proves_absence_from(arrives_by: datetime, timing: Timing) -> datetime:
    """The exchange's time after which "not found" is proof.

    Args:
        arrives_by: the last moment at which the exchange accepts the order's request.
        timing: of the exchange.
    """
    return arrives_by + timing.visible_within + timing.clocks_within


def may_be_absent(order: Order, asked_at: datetime, *, arrives_by: datetime, timing: Timing) -> bool:
    """Whether it would mean something if an order weren't found by a question put at this time."""
    return order.state not in UNACKNOWLEDGED or asked_at > proves_absence_from(arrives_by, timing)


def conclude(order: Order, answer: LookUp | None, *, arrives_by: datetime, timing: Timing) -> tuple[Report, ...] | Wait:
    """What follows from a look-up.

    Args:
        order: as it stands in the book; one that is INTENT may have been sent.
        answer: None: there was none.
        arrives_by: the last moment at which the exchange accepts the order's request.
        timing: of the exchange.
    """
    if not order.is_open:
        return ()
    if answer is None:
        return Wait()
    if answer.snapshot is not None:
        return reports_of(order, answer.snapshot, current=True)
    if answer.executions:
        return tuple(executed(order, answer.executions))  # it shows in the trades alone so far
    if order.state not in UNACKNOWLEDGED:
        return Wait()
    if not may_be_absent(order, answer.asked_at, arrives_by=arrives_by, timing=timing):
        return Wait(until=proves_absence_from(arrives_by, timing))
    return (
        Expired(client_order_id=order.client_order_id, at=answer.asked_at, executed_quantity=order.filled_quantity),
    )
