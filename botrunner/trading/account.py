"""The account of one bot: a frozen value that goes into the checkpoint whole.

A restarted bot thereby has the same cash, position and open orders to the last digit. Only the book (`trading.book`)
changes it, by what the venue reports; what decides and what executes sees it as an `AccountView`.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from botrunner.trading.lost_entries import LostEntries
from botrunner.trading.order_ids import Leg
from botrunner.trading.orders import Order
from botrunner.trading.risk import Counters
from botrunner.trading.trades import Trade, WriteOffWanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Everything an account remembers.

    Attributes:
        cash: quote currency, the proceeds of a short sale included.
        trade: the open round trip; None while flat.
        best_price: most favourable price since the entry, of closed bars; for trailing stops.
        bars_held: closed bars since the entry's bar.
        orders: open ones, at most one per leg; and of the exit and the protective legs a rejected one, which is sent
            again at the next bar.
        stops_sent, targets_sent: protective orders of this trade so far; the next one's attempt.
        flattens_sent: orders that were to close this trade because its bot ends; the next one's attempt.
        counters: of the risk limits. total_pnl: realised by closed trades, net of fees.
        dust: held but too little to be sold, base currency; worth nothing here.
        filled_at: stamp of the open trade's newest fill; no later one is stamped before it.
        lost: entries in a row that came to nothing; None since a position was opened.
        write_off_wanted: the open trade is too small to be sold, and waits for the end of the orders that would close
            it; None while it isn't to be written off.
    """

    cash: Decimal
    trade: Trade | None = None
    best_price: Decimal | None = None
    bars_held: int = 0
    orders: tuple[Order, ...] = ()
    stops_sent: int = 0
    targets_sent: int = 0
    flattens_sent: int = 0
    counters: Counters = field(default_factory=Counters)
    total_pnl: Decimal = Decimal(0)
    dust: Decimal = Decimal(0)
    filled_at: datetime | None = None
    lost: LostEntries | None = None
    write_off_wanted: WriteOffWanted | None = None

    def equity(self, price: Decimal) -> Decimal:
        """Cash plus the position at a price, quote currency."""
        if self.trade is None:
            return self.cash
        return self.cash + self.trade.side.sign * self.trade.size_open * price

    @property
    def is_busy(self) -> bool:
        """Whether a position is open, or an order that would open or close one."""
        return self.trade is not None or bool(self.orders)


class AccountView(Protocol):
    """What may be seen of an account while a step is worked on: it is read, and changes between two looks."""

    @property
    def cash(self) -> Decimal:
        """As in `Account`."""

    @property
    def trade(self) -> Trade | None:
        """As in `Account`."""

    @property
    def best_price(self) -> Decimal | None:
        """As in `Account`."""

    @property
    def counters(self) -> Counters:
        """As in `Account`."""

    @property
    def filled_at(self) -> datetime | None:
        """As in `Account`."""

    @property
    def write_off_wanted(self) -> WriteOffWanted | None:
        """As in `Account`."""

    @property
    def by_leg(self) -> Mapping[Leg, Order]:
        """The orders of `Account.orders`."""

    @property
    def sent(self) -> Mapping[Leg, int]:
        """Orders of this trade so far, of the legs that `Account` counts."""

    @property
    def tried(self) -> Set[Leg]:
        """Legs of protective orders that were sent in this step."""

    def open_order(self, leg: Leg) -> Order | None:
        """The leg's order, when anything can still happen to it."""

    def equity(self, price: Decimal) -> Decimal:
        """Cash plus the position at a price, quote currency."""
