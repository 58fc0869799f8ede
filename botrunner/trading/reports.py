"""What the place where orders execute says of them: reports, the only thing that the book learns from.

A repetition is harmless because every report names what it is about: an order by its client order id, an execution by
the venue's trade id. A report that ends an order says how much of it was executed in all, so that the book knows
whether an execution is still missing (docs/decisions/0020-one-engine-two-venues.md). Pure values.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from botrunner.trading.lost_entries import Loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What every report says.

    Attributes:
        client_order_id: which order it is about.
        at: when it happened, aware UTC, by the venue's clock.
        exchange_order_id: the venue's own name of the order; None where it doesn't say.
    """

    client_order_id: str
    at: datetime
    exchange_order_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent(Report):
    """The order is on its way.

    Attributes:
        arrives_at: when it will reach the venue; None where that isn't known or is at once.
    """

    arrives_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted(Report):
    """The venue has the order, and says its own name for it."""

    exchange_order_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Working(Report):
    """An accepted order may be executed from now on: it rests in the book, or its stop was triggered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected(Report):
    """The venue understood the order and refused it; nothing of it was or will be executed. `reason`: for people."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Amended(Report):
    """An open order has another price or quantity now. With another price it is placed anew: `Working` follows.

    Attributes:
        price: quote per base; None for a market order. quantity: base currency, what was executed included.
        revision: 1, 2, … counts the amendments of an order, so that a stale one is seen; 0 where they come in order.
    """

    price: Decimal | None
    quantity: Decimal
    revision: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed(Report):
    """Some of an order was executed.

    Attributes:
        exchange_trade_id: the venue's id of the execution, unique per venue and account: applied once.
        price: quote per base. quantity: base currency, positive.
        fee: in `fee_currency`, not negative.
    """

    exchange_trade_id: str
    price: Decimal
    quantity: Decimal
    fee: Decimal
    fee_currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled(Report):
    """All that the order asks for was executed. The executions say so themselves, except where an amendment left it
    asking for no more than was executed already.

    Attributes:
        executed_quantity: base currency, all there ever was of it.
    """

    executed_quantity: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Canceled(Report):
    """The order was cancelled: nothing more of it will be executed.

    Attributes:
        executed_quantity: base currency, all there ever was of it; None where the venue executes and reports in one.
    """

    executed_quantity: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Expired(Report):
    """The order's time is over, or it never arrived and can't any more: nothing more of it will be executed.

    Attributes:
        executed_quantity: as in `Canceled`.
        loss: what an entry of which nothing was executed was lost by.
    """

    executed_quantity: Decimal | None = None
    loss: Loss = Loss.NOT_FILLED


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeUnknown(Report):
    """The venue's answer got lost: the order may be there or not. Only a look-up moves it on; its leg is blocked
    meanwhile. `reason`: for people."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Liquidated(Report):
    """The venue takes a position away, by an order of its own for which this report is the intent.

    Attributes:
        signal_at: open time of the bar at which. quantity: base currency; 0 when less than a step is held, which is
            gone without an order.
    """

    signal_at: datetime
    quantity: Decimal
