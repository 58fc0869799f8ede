"""The book: an account while one step of its bot is worked on. Only reports change what it says of orders and money.

Guarantees: one piece of code for every venue, and for reports between bars as within one. A report that says nothing
new (an execution that was applied, a state that the order has left, an order that is gone) changes nothing. An order
that ended stays open until all that was executed of it is known, so that the order of arrival doesn't matter. At most
one open order per leg. Whatever happened is recorded once, as rows to write. Pure: no venue, no database, no decisions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from enum import Enum
from types import MappingProxyType
from typing import Any

from botrunner.market.rules import Market
from botrunner.market.side import Side
from botrunner.trading.account import Account
from botrunner.trading.lost_entries import Loss, LostEntries, after_loss
from botrunner.trading.order_ids import Leg
from botrunner.trading.orders import UNACKNOWLEDGED, Fill, IllegalTransition, Order, OrderType, filled, moved
from botrunner.trading.reports import (
    Accepted,
    Amended,
    Canceled,
    Executed,
    Expired,
    Filled,
    Liquidated,
    OutcomeUnknown,
    Rejected,
    Report,
    Sent,
    Working,
)
from botrunner.trading.risk import Denial, counted_entry, counted_exit, counters_at
from botrunner.trading.trades import BookError, Trade, WriteOffWanted, apply_fill, cash_flow, written_off
from fleet.exit_kinds import ExitKind
from fleet.states import OrderState

REPEATED = frozenset({Leg.EXIT, Leg.STOP_LOSS, Leg.TAKE_PROFIT})
"""Legs of which a rejected order is sent again: without them a position would be left alone."""

EXITS = frozenset({Leg.EXIT, Leg.FLATTEN})
"""Legs that close the position because somebody wants it closed."""


class Effect(Enum):
    """What a report did to the account."""

    NOTHING = "nothing"
    CHANGED = "changed"
    """An order, or the size of a position that is being bought."""
    OPENED = "opened"
    """There is a position now."""
    REDUCED = "reduced"
    """Some of the position was sold; it isn't over."""
    CLOSED = "closed"
    """The position is over."""


class Book:
    """One step's working copy of an account.

    Args:
        account: before the step.
        bar_at: open time of the step's bar, to say when an entry was lost.
        market: the exchange's rules for the symbol.

    Attributes:
        market: as given.
        cash, trade, best_price, bars_held, counters, total_pnl, dust, filled_at, lost, write_off_wanted: as in the
            account.
        by_leg: open orders, and rejected ones that will be sent again.
        orders, fills, trades: what changed, to be written.
        rejections: orders refused in this step.
        expired_exit: an exit that was given up in this step with something left, for which another one is due; not one
            that was to be taken back.
        told: lost entries that a person hears of.
        sent: orders of this trade so far, of legs that the account counts. tried: those that were sent in this step.
    """

    __slots__ = (
        "_bar_at",
        "bars_held",
        "best_price",
        "by_leg",
        "cash",
        "counters",
        "dust",
        "expired_exit",
        "filled_at",
        "fills",
        "lost",
        "market",
        "orders",
        "rejections",
        "sent",
        "told",
        "total_pnl",
        "trade",
        "trades",
        "tried",
        "write_off_wanted",
    )

    def __init__(self, account: Account, *, bar_at: datetime, market: Market) -> None:
        self._bar_at = bar_at
        self.market = market
        self.cash = account.cash
        self.trade = account.trade
        self.best_price = account.best_price
        self.bars_held = account.bars_held
        self.counters = account.counters
        self.total_pnl = account.total_pnl
        self.dust = account.dust
        self.lost = account.lost
        self.write_off_wanted = account.write_off_wanted
        self.by_leg: dict[Leg, Order] = {order.leg: order for order in account.orders} if account.orders else {}
        self.sent: dict[Leg, int] = {
            Leg.STOP_LOSS: account.stops_sent,
            Leg.TAKE_PROFIT: account.targets_sent,
            Leg.FLATTEN: account.flattens_sent,
        }
        self.orders: dict[str, Order] = {}
        self.fills: list[Fill] = []
        self.trades: dict[str, Trade] = {}
        self.rejections: list[Order] = []
        self.expired_exit: Order | None = None
        self.told: list[LostEntries] = []
        self.tried: set[Leg] = set()
        self.filled_at = account.filled_at
        if account.filled_at is None and account.trade is not None:  # of a checkpoint that didn't keep it yet
            self.filled_at = account.trade.exit_at or account.trade.entry_at

    # --- what there is ---------------------------------------------------------------------------------------------

    @property
    def is_busy(self) -> bool:
        """Whether there is a position or an order."""
        return self.trade is not None or bool(self.by_leg)

    def open_order(self, leg: Leg) -> Order | None:
        """The leg's order, when anything can still happen to it."""
        order = self.by_leg.get(leg)
        return order if order is not None and order.state is not OrderState.REJECTED else None

    @property
    def closed_trades(self) -> tuple[Trade, ...]:
        """What this step has closed so far, oldest first."""
        return tuple(trade for trade in self.trades.values() if not trade.is_open)

    def equity(self, price: Decimal) -> Decimal:
        """Cash plus the position at a price, quote currency."""
        if self.trade is None:
            return self.cash
        return self.cash + self.trade.side.sign * self.trade.size_open * price

    def account(self) -> Account:
        """The account after the step."""
        return Account(
            cash=self.cash,
            trade=self.trade,
            best_price=self.best_price,
            bars_held=self.bars_held,
            orders=tuple(self.by_leg.values()),
            stops_sent=self.sent[Leg.STOP_LOSS],
            targets_sent=self.sent[Leg.TAKE_PROFIT],
            flattens_sent=self.sent[Leg.FLATTEN],
            counters=self.counters,
            total_pnl=self.total_pnl,
            dust=self.dust,
            filled_at=self.filled_at,
            lost=self.lost,
            write_off_wanted=self.write_off_wanted,
        )

    # --- what the bot decides --------------------------------------------------------------------------------------

    def place(self, order: Order) -> None:
        """Note an intent, before the venue has it."""
        if order.leg in self.sent:
            self.sent[order.leg] += 1
            self.tried.add(order.leg)
        if order.leg in EXITS:
            self.write_off_wanted = None  # it can be sold after all
        self._note(order)

    def want_cancel(self, order: Order) -> None:
        """Note that an open order is to be cancelled, so that it is asked for until it is confirmed."""
        if not order.cancel_wanted:
            self._note(replace(order, cancel_wanted=True))

    def forget(self, order: Order) -> None:
        """Don't send a rejected order again."""
        if self.by_leg.get(order.leg) == order:
            del self.by_leg[order.leg]

    def want_write_off(self, *, reason: str | None = None, kind: ExitKind | None = None) -> None:
        """Note that what is left of the position is to be written off once no order can execute any more; arguments as
        for `write_off`. An exit that is placed takes it back."""
        self.write_off_wanted = WriteOffWanted(reason, kind)

    def write_off(self, *, at: datetime, reason: str | None = None, kind: ExitKind | None = None) -> None:
        """The position is over: what is left of it is too little to sell.

        Args:
            at: when, or the newest fill's time if that is later.
            reason, kind: why, if no exit has sold any of it; those of one that did stay.
        """
        trade = self.trade
        assert trade is not None
        if self.filled_at is not None:
            at = max(at, self.filled_at)
        self.trade = written_off(trade, reason=reason, kind=kind, at=at)
        self.dust += self.trade.dust
        self._end_trade(self.trade, at=at)

    def lose_entry(self, reason: Loss | Denial) -> None:
        """Count an entry that came to nothing: of what it wanted, nothing was filled."""
        before, self.lost = self.lost, after_loss(self.lost, reason, at=self._bar_at)
        if self.lost is not None and self.lost is not before and self.lost.is_news:
            self.told.append(self.lost)

    # --- time ------------------------------------------------------------------------------------------------------

    def age(self, *, high: Decimal, low: Decimal, close: Decimal, at: datetime) -> None:
        """A bar has closed: the position is a bar older, its best price and the counters are up to date.

        Args:
            high, low: the prices reached while the position was there. close: of the bar. at: when it closed.
        """
        self.counters = counters_at(self.counters, now=at, equity=self.equity(close))
        if self.trade is None or self.best_price is None:
            return
        self.bars_held += 1
        self.best_price = max(self.best_price, high) if self.trade.side is Side.BUY else min(self.best_price, low)

    def note_breaches(self, reached: tuple[Denial, ...]) -> tuple[Denial, ...]:
        """The limits in force that weren't at the bar before; a limit is told about when it is reached, not when it
        first gets in the way."""
        before = self.counters.breached
        if reached != before:
            self.counters = replace(self.counters, breached=reached)
        return tuple(denial for denial in reached if denial not in before)

    # --- reports ---------------------------------------------------------------------------------------------------

    def apply(self, report: Report) -> Effect:
        """Apply one report; what says nothing new changes nothing.

        Raises:
            IllegalTransition: it contradicts what is known of its order.
            BookError: it doesn't fit the position.
        """
        order = self._known(report.client_order_id)
        if order is None and isinstance(report, Liquidated):
            return self._liquidated(report)
        if order is None or not order.is_open or isinstance(report, Liquidated):
            return Effect.NOTHING
        if isinstance(report, Executed):
            return self._executed(order, report)
        after = _AFTER[type(report)](order, report)
        if after.exchange_order_id is None and report.exchange_order_id is not None:
            after = replace(after, exchange_order_id=report.exchange_order_id)
        if after is order:
            return Effect.NOTHING
        self._note(after)
        if after.is_open:
            return Effect.CHANGED
        return self._ended(after, report)

    def _known(self, client_order_id: str) -> Order | None:
        order = self.orders.get(client_order_id)
        if order is not None:
            return order
        for waiting in self.by_leg.values():
            if waiting.client_order_id == client_order_id:
                return waiting
        return None

    def _ended(self, order: Order, report: Report) -> Effect:
        """What follows from the end of an order that isn't filled."""
        if order.state is OrderState.REJECTED:
            self.rejections.append(order)
        if order.leg is Leg.ENTRY:
            if isinstance(report, Rejected):
                self.lose_entry(Loss.REJECTED)
            elif isinstance(report, Expired) and not order.fill_count:
                self.lose_entry(report.loss)
            return self._close_if_sold_out()
        self._note_expired_exit(order)
        return Effect.CHANGED

    def _note_expired_exit(self, order: Order) -> None:
        if order.state is OrderState.EXPIRED and order.leg in EXITS and not order.cancel_wanted:
            self.expired_exit = order

    def _liquidated(self, report: Liquidated) -> Effect:
        trade = self.trade
        if trade is None:
            return Effect.NOTHING
        reason = Leg.LIQUIDATION.value
        if report.quantity <= 0:
            self.write_off(at=report.at, reason=reason, kind=ExitKind.LIQUIDATION)
            return Effect.CLOSED
        self._note(
            Order(
                client_order_id=report.client_order_id,
                signal_at=report.signal_at,
                leg=Leg.LIQUIDATION,
                attempt=0,
                side=trade.side.other,
                type=OrderType.MARKET,
                quantity=report.quantity,
                price=None,
                reason=reason,
                exit_kind=ExitKind.LIQUIDATION,
            )
        )
        return Effect.CHANGED

    def _executed(self, order: Order, report: Executed) -> Effect:
        """One execution: order, cash, position, counters."""
        trade_id, before = report.exchange_trade_id, self.trade
        if _is_applied(order, trade_id):
            return Effect.NOTHING
        if not (report.price.is_finite() and report.quantity.is_finite() and report.fee.is_finite()):
            raise BookError(f"fill {trade_id} of {report.quantity} at {report.price}, fee {report.fee}: no such number")
        if before is None and order.leg is not Leg.ENTRY:
            raise BookError(f"fill {trade_id} of {report.quantity} reduces a position that doesn't exist")
        fill = Fill(
            client_order_id=order.client_order_id,
            exchange_trade_id=trade_id,
            side=order.side,
            price=report.price,
            quantity=report.quantity,
            fee=report.fee,
            fee_currency=report.fee_currency,
            filled_at=report.at,
        )
        in_base = report.fee_currency == self.market.base
        in_quote = report.fee if report.fee_currency == self.market.quote else Decimal(0)
        self.trade = trade = apply_fill(
            before,
            fill,
            signal_at=order.signal_at,
            reason=order.reason,
            kind=order.exit_kind,
            fee_quote=report.fee * report.price if in_base else in_quote,
            fee_base=report.fee if in_base else Decimal(0),
        )
        self.cash += cash_flow(fill, fee_quote=in_quote)
        self.fills.append(fill)
        self.filled_at = fill.filled_at if self.filled_at is None else max(self.filled_at, fill.filled_at)
        is_first = before is None or _is_first(order, fill, before)
        after = _executed(order, fill, report, is_first=is_first)
        self._note(after)
        self._note_expired_exit(after)
        if trade.is_open:
            self.trades[trade.entry_order_id] = trade
        if before is None:
            self.best_price, self.bars_held, self.lost = fill.price, 0, None
            self.counters = counted_entry(self.counters, at=fill.filled_at)
            return Effect.OPENED
        if order.leg is Leg.ENTRY:
            if is_first and not self.bars_held:
                self.best_price = fill.price
            return self._close_if_sold_out()
        return Effect.CLOSED if self._close_if_sold_out() is Effect.CLOSED else Effect.REDUCED

    def _close_if_sold_out(self) -> Effect:
        """A position is over when all of it is sold, and the entry that could still add to it has ended."""
        trade = self.trade
        if trade is None or trade.is_open or Leg.ENTRY in self.by_leg:
            return Effect.CHANGED
        assert trade.exit_at is not None
        self._end_trade(trade, at=trade.exit_at)
        return Effect.CLOSED

    def _end_trade(self, trade: Trade, *, at: datetime) -> None:
        assert trade.exit_kind is not None
        self.trades[trade.entry_order_id] = trade
        self.total_pnl += trade.net_pnl
        self.counters = counted_exit(self.counters, net_pnl=trade.net_pnl, kind=trade.exit_kind, at=at)
        self.trade, self.best_price, self.bars_held, self.filled_at = None, None, 0, None
        self.write_off_wanted = None
        # a position opened in this very step has protective orders of its own
        self.sent = dict.fromkeys(self.sent, 0)
        self.tried.clear()

    def _note(self, order: Order) -> None:
        """Record what an order is now."""
        self.orders[order.client_order_id] = order
        kept = order.is_open or (order.state is OrderState.REJECTED and order.leg in REPEATED)
        if kept:
            self.by_leg[order.leg] = order
        else:
            self.by_leg.pop(order.leg, None)


# --- what a report does to its order -------------------------------------------------------------------------------


def _sent(order: Order) -> Order:
    """An order of which something was reported has been sent, whether anybody said so or not."""
    return moved(order, OrderState.SENT) if order.state is OrderState.INTENT else order


def _accepted(order: Order) -> Order:
    return moved(_sent(order), OrderState.ACKED) if order.state in UNACKNOWLEDGED else order


def _on_sent(order: Order, report: Sent) -> Order:
    if order.state is not OrderState.INTENT:
        return order
    return replace(order, state=OrderState.SENT, arrives_at=report.arrives_at)


def _on_working(order: Order) -> Order:
    order = _accepted(order)
    return order if order.working else replace(order, working=True)


def _on_unknown(order: Order) -> Order:
    """What was accepted is known to be there, whatever answer got lost."""
    unanswered = order.state in (OrderState.INTENT, OrderState.SENT)
    return moved(_sent(order), OrderState.UNKNOWN) if unanswered else order


def _on_amended(order: Order, report: Amended) -> Order:
    if report.revision and report.revision <= order.revision:
        return order
    quantity = max(report.quantity, order.filled_quantity)
    if (order.price, order.quantity) == (report.price, quantity) and not report.revision:
        return order
    working = order.working and order.price == report.price
    return replace(
        order, price=report.price, quantity=quantity, working=working, revision=max(report.revision, order.revision)
    )


def _ending(order: Order, state: OrderState, executed: Decimal | None) -> Order:
    """The order ended; when some of what was executed isn't known yet, it stays open until it is."""
    if executed is None or executed <= order.filled_quantity:
        return moved(order if state is OrderState.EXPIRED else _sent(order), state)
    if executed > order.quantity:
        raise IllegalTransition(
            f"order {order.client_order_id} of {order.quantity} can't have ended with {executed} executed"
        )
    if order.ending_quantity is not None and executed <= order.ending_quantity:
        return order
    return replace(_accepted(order), ending=state, ending_quantity=executed)


_AFTER: Mapping[type[Report], Callable[[Order, Any], Order]] = MappingProxyType(
    {
        Sent: _on_sent,
        Accepted: lambda order, _: _accepted(order),
        Working: lambda order, _: _on_working(order),
        Rejected: lambda order, report: replace(moved(order, OrderState.REJECTED), rejection=report.reason),
        Amended: _on_amended,
        Filled: lambda order, report: _ending(order, OrderState.FILLED, report.executed_quantity),
        Canceled: lambda order, report: _ending(order, OrderState.CANCELED, report.executed_quantity),
        Expired: lambda order, report: _ending(order, OrderState.EXPIRED, report.executed_quantity),
        OutcomeUnknown: lambda order, _: _on_unknown(order),
    }
)
"""What a report but an execution makes of its open order; the same object when it says nothing new. They raise
IllegalTransition for what contradicts what is known of the order."""


def _is_applied(order: Order, trade_id: str) -> bool:
    """Whether an execution is known. A venue that numbers the executions of an order needs no memory of them."""
    if trade_id in order.trade_ids:
        return True
    name, _, number = trade_id.rpartition("-")
    return name == order.client_order_id and number.isdecimal() and int(number) <= order.fill_count


def _is_first(order: Order, fill: Fill, trade: Trade) -> bool:
    """Whether an execution is older than all that are known of a trade's entry."""
    if order.leg is not Leg.ENTRY or not order.trade_ids:
        return False
    return (fill.filled_at, fill.exchange_trade_id) < (trade.entry_at, order.trade_ids[0])


def _executed(order: Order, fill: Fill, report: Executed, *, is_first: bool) -> Order:
    after = filled(_sent(order), fill)
    numbered = fill.exchange_trade_id == f"{order.client_order_id}-{after.fill_count}"
    if not numbered:
        known = order.trade_ids
        ids = (fill.exchange_trade_id, *known) if is_first else (*known, fill.exchange_trade_id)
        after = replace(after, trade_ids=ids)
    if not after.working or (after.exchange_order_id is None and report.exchange_order_id is not None):
        after = replace(after, working=True, exchange_order_id=after.exchange_order_id or report.exchange_order_id)
    if after.ending_quantity is not None and after.filled_quantity >= after.ending_quantity:
        assert after.ending is not None
        ended = moved(after, after.ending) if after.is_open else after
        after = replace(ended, ending=None, ending_quantity=None)
    return after
