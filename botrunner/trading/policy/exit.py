"""How a position is left: by the strategy's wish, again after an exit that failed, at a stop of the bot; and what
becomes pointless once it is being left. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

from botrunner.market.rules import Market
from botrunner.market.side import Side
from botrunner.trading.account import AccountView
from botrunner.trading.order_ids import Leg
from botrunner.trading.orders import Order
from botrunner.trading.policy.entry import withdrawn
from botrunner.trading.policy.intents import LEG_KINDS, Amend, Cancel, Intent, Submit, WriteOff
from botrunner.trading.policy.terms import Close, Terms, limit_at, limited, new_order
from botrunner.trading.signal import Signal
from botrunner.trading.trades import Trade
from fleet.config import OrderKind
from fleet.states import OrderState


def leave(signal: Signal, account: AccountView, terms: Terms, close: Close) -> tuple[Intent, ...]:
    """What an exit signal leads to at a close: no entry any more, and an order for all that can be sold."""
    entry, trade, stop = withdrawn(account), account.trade, account.open_order(Leg.STOP_LOSS)
    if trade is None or Leg.EXIT in account.by_leg or (stop is not None and stop.working):
        return entry
    quantity = _sellable(trade, close.price, terms.market)
    if quantity <= 0:
        return (*entry, WriteOff(close.at, signal.reason, signal.exit_kind))
    side = trade.side.other
    order = new_order(terms, close.opens_at, Leg.EXIT, side, quantity, signal.reason, kind=signal.exit_kind)
    if terms.config.exit_order is OrderKind.LIMIT:
        order = limited(order, limit_at(close, side, terms), close, terms)
    return (*entry, Submit(order))


def rejected_exit(account: AccountView) -> Order | None:
    """An exit that was refused and waits to be sent again."""
    order = account.by_leg.get(Leg.EXIT)
    return order if order is not None and order.state is OrderState.REJECTED else None


def leave_again(
    failed: Order, account: AccountView, terms: Terms, *, price: Decimal, at: datetime
) -> tuple[Intent, ...]:
    """After an exit that was refused or given up: the next attempt, at market.

    Args:
        failed: the exit. price: now, by which what is left is worth an order. at: now.
    """
    trade = account.trade
    if trade is None:
        return (Cancel(failed),)
    quantity = _sellable(trade, price, terms.market)
    if quantity <= 0:
        return (WriteOff(at, failed.reason, failed.exit_kind),)
    again = new_order(
        terms,
        failed.signal_at,
        failed.leg,
        failed.side,
        quantity,
        failed.reason,
        attempt=failed.attempt + 1,
        kind=failed.exit_kind,
    )
    return (Submit(again),)


def flatten(account: AccountView, terms: Terms, close: Close, *, reason: str) -> tuple[Intent, ...]:
    """Close whatever is there at once, because the bot ends; an order that does so already stays the only one.

    Args:
        close: of the last bar. reason: for the record.
    """
    trade = account.trade
    closing = None if trade is None else account.open_order(Leg.FLATTEN)
    cancels = _cancelled(order for order in account.by_leg.values() if order is not closing)
    if trade is None or closing is not None:
        return cancels
    quantity = terms.market.round_quantity(trade.size_open)
    if quantity <= 0:
        return (*cancels, WriteOff(close.at, reason, LEG_KINDS[Leg.FLATTEN]))
    order = new_order(
        terms,
        close.opens_at,
        Leg.FLATTEN,
        trade.side.other,
        quantity,
        reason,
        attempt=account.sent[Leg.FLATTEN],
    )
    return (*cancels, Submit(order))


def written_off(account: AccountView, market: Market, *, at: datetime) -> tuple[Intent, ...]:
    """After an exit's execution at `at`: when what is left is too little to be sold, it is over."""
    trade = account.trade
    if trade is None or Leg.ENTRY in account.by_leg or market.round_quantity(trade.size_open) > 0:
        return ()
    return (WriteOff(at),)


def may_execute(account: AccountView) -> bool:
    """Whether an order is there that isn't known to have ended: the position may change whatever is wanted."""
    return any(order.is_open for order in account.by_leg.values())


def still_written_off(account: AccountView, *, at: datetime) -> tuple[Intent, ...]:
    """A write-off that waited for the end of other orders: it is wanted again, whatever the price is by now."""
    wanted = account.write_off_wanted
    return () if wanted is None else (WriteOff(at, wanted.reason, wanted.kind),)


def when_closed(account: AccountView) -> tuple[Intent, ...]:
    """Without a position its orders are pointless."""
    return _cancelled(account.by_leg.values())


def when_stopped(account: AccountView) -> tuple[Intent, ...]:
    """A stop that was triggered closes the position by itself: nothing else does, and a rejected order isn't sent
    again."""
    return _cancelled(account.by_leg[leg] for leg in (Leg.ENTRY, Leg.EXIT, Leg.TAKE_PROFIT) if leg in account.by_leg)


def fitted(account: AccountView, market: Market) -> tuple[Intent, ...]:
    """Exits that ask for more than is held any more, asking for what is held; taken back when that is nothing."""
    trade = account.trade
    if trade is None:
        return ()
    held = market.round_quantity(trade.size_open)
    orders = (account.open_order(leg) for leg in (Leg.EXIT, Leg.FLATTEN))
    return tuple(
        Amend(order, order.price, order.filled_quantity + held) if held > 0 else Cancel(order)
        for order in orders
        if order is not None and held < order.leaves_quantity
    )


def sellable(quantity: Decimal, *, price: Decimal, market: Market) -> Decimal:
    """What of a holding the exchange takes in an order at about this price; 0 when it is too little."""
    rounded = market.round_quantity(quantity)
    if rounded < market.min_quantity or rounded * price < market.min_notional:
        return Decimal(0)
    return rounded


def _sellable(trade: Trade, price: Decimal, market: Market) -> Decimal:
    """What the exchange would take; a debt has to be bought back whatever its size."""
    if trade.side is Side.SELL:
        return trade.size_open
    return sellable(trade.size_open, price=price, market=market)


def _cancelled(orders: Iterable[Order]) -> tuple[Intent, ...]:
    return tuple(Cancel(order) for order in orders)
