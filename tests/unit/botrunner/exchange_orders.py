"""Orders and what an exchange says of them, for tests of the exchange venue."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from botrunner.execution.live.transport import Execution, OrderSnapshot, OrderStatus
from botrunner.market.side import Side
from botrunner.trading.order_ids import Leg, client_order_id
from botrunner.trading.orders import Order, OrderType
from fleet.exit_kinds import ExitKind
from fleet.states import OrderState

D = Decimal
SIGNAL_AT = datetime(2026, 1, 5, tzinfo=UTC)
KINDS = {Leg.EXIT: ExitKind.SIGNAL, Leg.STOP_LOSS: ExitKind.STOP, Leg.TAKE_PROFIT: ExitKind.TARGET}


def after(seconds: float) -> datetime:
    """A time after the signal bar's open."""
    return SIGNAL_AT + timedelta(seconds=seconds)


def order(leg: Leg = Leg.ENTRY, state: OrderState = OrderState.INTENT, **changed: Any) -> Order:
    """An order of 10 for a long position; a stop at 90, a target at 110."""
    made = Order(
        client_order_id=client_order_id(bot_id=7, signal_at=SIGNAL_AT, leg=leg),
        signal_at=SIGNAL_AT,
        leg=leg,
        attempt=0,
        side=Side.BUY if leg is Leg.ENTRY else Side.SELL,
        type={Leg.STOP_LOSS: OrderType.STOP, Leg.TAKE_PROFIT: OrderType.LIMIT}.get(leg, OrderType.MARKET),
        quantity=D(10),
        price={Leg.STOP_LOSS: D(90), Leg.TAKE_PROFIT: D(110)}.get(leg),
        reason="test",
        exit_kind=KINDS.get(leg),
        state=state,
    )
    return replace(made, **changed)


def snapshot(of: Order, status: OrderStatus = OrderStatus.OPEN, *, executed: Any = 0, **changed: Any) -> OrderSnapshot:
    """What the exchange says of an order it calls x1."""
    made = OrderSnapshot(
        client_order_id=of.client_order_id,
        exchange_order_id="x1",
        status=status,
        price=of.price,
        quantity=of.quantity,
        executed_quantity=D(executed),
        at=after(60),
        working=of.type is not OrderType.STOP,
    )
    return replace(made, **changed)


def execution(number: int, quantity: Any, *, of: str = "x1", price: Any = 100, fee: Any = 0) -> Execution:
    """The trade of this number, a second after the one before."""
    return Execution(
        exchange_trade_id=f"t{number}",
        exchange_order_id=of,
        client_order_id=None,
        price=D(price),
        quantity=D(quantity),
        fee=D(fee),
        fee_currency="BTC",
        at=after(60 + number),
    )
