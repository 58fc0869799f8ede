"""Where stop and target are placed and moved: an open position has both in the book wherever the config asks for them.

They follow the position's size, its average price, the best price held and the limits. `trading.risk.protection` has
the prices. Pure.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from botrunner.trading.account import AccountView
from botrunner.trading.order_ids import Leg
from botrunner.trading.orders import OrderType
from botrunner.trading.policy.intents import DUST, Amend, Cancel, Intent, Submit, WriteOff
from botrunner.trading.policy.terms import Terms, new_order
from botrunner.trading.risk import protection
from botrunner.trading.trades import Trade
from fleet.exit_kinds import ExitKind
from fleet.states import OrderState

PROTECTIVE = (Leg.STOP_LOSS, Leg.TAKE_PROFIT)


def protect(account: AccountView, terms: Terms, *, at: datetime) -> tuple[Intent, ...] | None:
    """What brings the protective orders into line with position, best price and limits.

    A refused one is sent again once a step. While less than a step is held there is nothing to protect: orders for what
    was held before are taken back, and without an entry that could add to it the rest is written off.

    Args:
        at: now.

    Returns:
        None where there is nothing to protect or to take back: while flat, while a triggered stop is closing the
        position, while less than a step is held.
    """
    trade, best = account.trade, account.best_price
    if trade is None or best is None:
        return None
    stop = account.open_order(Leg.STOP_LOSS)
    if stop is not None and stop.working:
        return None
    held = terms.market.round_quantity(trade.size_open)
    if held <= 0:
        if account.open_order(Leg.ENTRY) is None:
            return (WriteOff(at, DUST, ExitKind.DUST),)
        return tuple(Cancel(account.by_leg[leg]) for leg in PROTECTIVE if leg in account.by_leg) or None
    wanted = protection(
        terms.config.risk, market=terms.market, side=trade.side, entry_price=trade.entry_price, best_price=best
    )
    found = (
        _due(Leg.STOP_LOSS, wanted.stop, held, trade, account, terms),
        _due(Leg.TAKE_PROFIT, wanted.target, held, trade, account, terms),
    )
    return tuple(intent for intent in found if intent is not None)


def is_in_line(account: AccountView, done: tuple[Intent, ...]) -> bool:
    """Whether the protective orders are as they were wanted, and need no look until something changes that they follow:
    none was taken back, refused or is gone, each change is made."""
    for leg in PROTECTIVE:
        order = account.by_leg.get(leg)
        if leg in account.tried if order is None else order.state is OrderState.REJECTED:
            return False
    for intent in done:
        if isinstance(intent, Cancel):
            return False
        if isinstance(intent, Amend):
            order = account.open_order(intent.order.leg)
            if order is None or (order.price, order.quantity) != (intent.price, intent.quantity):
                return False
    return True


def _due(
    leg: Leg, price: Decimal | None, held: Decimal, trade: Trade, account: AccountView, terms: Terms
) -> Intent | None:
    """What brings one protective order into line: placed, amended, cancelled, or nothing."""
    order = account.by_leg.get(leg)
    if order is not None and order.cancel_wanted:
        return None
    if price is None:
        return None if order is None else Cancel(order)
    if order is None or order.state is OrderState.REJECTED:
        if leg in account.tried:
            return None
        made = new_order(terms, trade.signal_at, leg, trade.side.other, held, leg.value, attempt=account.sent[leg])
        kind = OrderType.STOP if leg is Leg.STOP_LOSS else OrderType.LIMIT
        return Submit(replace(made, type=kind, price=price))
    quantity = order.filled_quantity + held
    return None if order.price == price and order.quantity == quantity else Amend(order, price, quantity)
