"""What the exchange venue needs of an exchange, and what an exchange says of orders.

Whoever implements `Transport` (ccxt for the real ones) reads answers strictly: what can't be read whole is an
`UnknownOutcome` of a request that changes something, and an `ExchangeAway` of a question. An answer with a number that
can't be (a price or a quantity of nothing, a negative fee) or a name that can't (empty, endless, control characters)
counts as one that can't be read: the venue looks for those itself (`snapshots.fault_of`). Times are the exchange's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

from botrunner.trading.orders import Order


class OrderStatus(StrEnum):
    """What an exchange calls an order."""

    OPEN = "open"
    """It may still be executed, or more of it."""
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """One execution as the exchange lists it.

    Attributes:
        exchange_trade_id: unique per exchange and account.
        client_order_id: None where an exchange names only its own id of the order, as Binance does.
        price: quote per base. quantity: base currency. fee: in `fee_currency`, not negative. at: aware UTC.
    """

    exchange_trade_id: str
    exchange_order_id: str
    client_order_id: str | None
    price: Decimal
    quantity: Decimal
    fee: Decimal
    fee_currency: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderSnapshot:
    """An order as it stood at the exchange at some moment.

    Attributes:
        price: quote per base; None for a market order, also for one that a stop has become. quantity: base currency.
        executed_quantity: of all executions until then, base currency.
        working: it may be executed now: a stop only once it was triggered.
        executions: those that came along with the answer, not always all.
        reason: why it was rejected, for people.
        at: when it became what it is, aware UTC.
    """

    client_order_id: str
    exchange_order_id: str
    status: OrderStatus
    price: Decimal | None
    quantity: Decimal
    executed_quantity: Decimal
    at: datetime
    working: bool = True
    executions: tuple[Execution, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Stamp:
    """Until when a request may be accepted: the exchange refuses it after `at` + `valid_for`, by its own clock.

    Made before the right to trade is checked. So a process that was stopped between check and send sends something
    that is refused, however long it slept.
    """

    at: datetime
    valid_for: timedelta

    @property
    def ends_at(self) -> datetime:
        """The last moment at which the exchange accepts it."""
        return self.at + self.valid_for


class Transport(Protocol):
    """Requests to one exchange, for one account and one market.

    `place`, `amend` and `cancel` raise OrderRefused, NotSent, or (everything else) UnknownOutcome (`errors`); none of
    them ever sends twice. All others are questions and raise ExchangeAway.
    """

    def server_time(self) -> datetime:
        """The exchange's clock."""

    def place(self, order: Order, stamp: Stamp) -> OrderSnapshot:
        """Send an order under its client order id. A duplicate id is an UnknownOutcome: an order of ours is there."""

    def amend(self, order: Order, stamp: Stamp, *, price: Decimal | None, quantity: Decimal) -> OrderSnapshot:
        """Change price and quantity (base currency, what was executed included) of an open order."""

    def cancel(self, order: Order, stamp: Stamp) -> OrderSnapshot:
        """Cancel what is left of an open order."""

    def find(self, client_order_id: str) -> OrderSnapshot | None:
        """The order of this id; None: the exchange says that there is none, which isn't proof (see `lookups`)."""

    def open_orders(self) -> Sequence[OrderSnapshot]:
        """All that are open."""

    def closed_orders(self, *, since: datetime) -> Sequence[OrderSnapshot]:
        """Those that were sent since then and aren't open any more."""

    def trades(self, *, since: datetime, exchange_order_id: str | None = None) -> Sequence[Execution]:
        """Executions since then, of one order or of all."""

    def updates(self) -> Sequence[OrderSnapshot]:
        """What the exchange said unasked since the last call, each with the execution that caused it: late, twice, in
        another order, or not at all."""
