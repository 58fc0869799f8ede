"""What decisions start from: an account, the terms, a close."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from botrunner.market.rules import Market
from botrunner.market.side import Side
from botrunner.trading.account import Account
from botrunner.trading.book import Book
from botrunner.trading.costs import costs_of
from botrunner.trading.order_ids import Leg
from botrunner.trading.orders import Order, OrderType
from botrunner.trading.policy.terms import Close, Terms
from botrunner.trading.trades import Trade
from fleet.exit_kinds import ExitKind
from fleet.states import OrderState
from tests.unit.botrunner.paper_world import MARKET, config

D = Decimal
AT = datetime(2018, 1, 10, 12, tzinfo=UTC)
BAR = timedelta(minutes=5)


def close(price: Any = 100, volume: Any = 1000) -> Close:
    return Close(opens_at=AT, at=AT + BAR, price=D(str(price)), volume=D(volume))


def terms(market: Market = MARKET, paper: Any = None, **sections: Any) -> Terms:
    made = config(paper, **sections)
    return Terms(bot_id=7, config=made, market=market, costs=costs_of(made, market), interval=BAR)


def trade(size: Any = 5, *, side: Side = Side.BUY, price: int = 100, held: Any = None) -> Trade:
    whole = D(str(size))
    return Trade(
        side=side, entry_order_id="e" * 32, signal_at=AT - BAR, entry_at=AT, size=whole,
        size_open=whole if held is None else D(str(held)), entry_value=whole * price, commission=D(0),
    )  # fmt: skip


def order(leg: Leg, quantity: Any = 5, *, side: Side | None = None, **changes: Any) -> Order:
    """An accepted one; protective ones with the prices of a stop of 3 % and a target of 6 %."""
    made = Order(
        client_order_id=leg.value[:2] * 16, signal_at=AT - BAR, leg=leg, attempt=0,
        side=side or (Side.BUY if leg is Leg.ENTRY else Side.SELL),
        type={Leg.STOP_LOSS: OrderType.STOP, Leg.TAKE_PROFIT: OrderType.LIMIT}.get(leg, OrderType.MARKET),
        quantity=D(str(quantity)), price={Leg.STOP_LOSS: D(97), Leg.TAKE_PROFIT: D(106)}.get(leg),
        reason=leg.value, exit_kind=None if leg is Leg.ENTRY else ExitKind.TIME, state=OrderState.ACKED,
    )  # fmt: skip
    return replace(made, **changes)


def account(*orders: Order, held: Trade | None = None, cash: Any = 1000, **changes: Any) -> Book:
    best = changes.pop("best_price", held and held.entry_price)
    made = Account(cash=D(str(cash)), trade=held, orders=orders, best_price=best, **changes)
    return Book(made, bar_at=AT, market=MARKET)
