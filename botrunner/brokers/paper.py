"""The paper broker: an account of one bot whose orders fill against closed candles.

Its whole state is a frozen value that goes into the checkpoint, so that a restarted bot has the same cash, position
and waiting orders to the last digit. It decides nothing itself: `botrunner.trading_bot` asks it to execute.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from botrunner.accounting import Trade, apply_fill, cash_flow
from botrunner.brokers.matching import PaperRules, fee
from botrunner.orders.ids import Leg
from botrunner.orders.machine import Fill, Order, OrderType, Side, filled, moved
from botrunner.risk import Counters, Market, counted_entry, counted_exit, dump_counters, load_counters
from fleet.states import OrderState


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Everything a paper account remembers.

    Attributes:
        cash: free quote currency.
        trade: the open round trip; None while flat.
        best_price: most favourable price since the entry, of closed bars; for trailing stops.
        bars_held: closed bars since the entry's bar.
        waiting: orders that fill at the next open.
        counters: of the risk limits. total_pnl: realised by closed trades, net of fees.
    """

    cash: Decimal
    trade: Trade | None = None
    best_price: Decimal | None = None
    bars_held: int = 0
    waiting: tuple[Order, ...] = ()
    counters: Counters = field(default_factory=Counters)
    total_pnl: Decimal = Decimal(0)

    def equity(self, price: Decimal) -> Decimal:
        """Cash plus the position at a price, quote currency."""
        if self.trade is None:
            return self.cash
        return self.cash + self.trade.side.sign * self.trade.size_open * price


@dataclass(frozen=True, slots=True)
class Executed:
    """The account after an order filled whole, with the rows to write."""

    account: Account
    order: Order
    fill: Fill
    trade: Trade


def execute(
    account: Account, order: Order, *, price: Decimal, filled_at: datetime, rules: PaperRules, market: Market
) -> Executed:
    """Fill an order whole at a price.

    Raises:
        IllegalTransition: the order can't fill any more. BookError: it doesn't fit the position.
    """
    fill = Fill(
        client_order_id=order.client_order_id,
        exchange_trade_id=f"{order.client_order_id}-1",
        side=order.side,
        price=price,
        quantity=order.leaves_quantity,
        fee=fee(price=price, quantity=order.leaves_quantity, rules=rules),
        fee_currency=market.quote,
        filled_at=filled_at,
    )
    trade = apply_fill(account.trade, fill, signal_at=order.signal_at, reason=order.reason, fee_quote=fill.fee)
    opened = account.trade is None
    after = replace(
        account,
        cash=account.cash + cash_flow(fill, fee_quote=fill.fee),
        trade=trade if trade.is_open else None,
        best_price=(price if opened else account.best_price) if trade.is_open else None,
        bars_held=account.bars_held if trade.is_open and not opened else 0,
        counters=_counted(account.counters, trade, opened=opened),
        total_pnl=account.total_pnl + (Decimal(0) if trade.is_open else trade.net_pnl),
    )
    return Executed(after, filled(order, fill), fill, trade)


def _counted(counters: Counters, trade: Trade, *, opened: bool) -> Counters:
    if opened:
        return counted_entry(counters)
    if trade.is_open or trade.exit_at is None:
        return counters
    return counted_exit(counters, net_pnl=trade.net_pnl, reason=trade.exit_reason or "", at=trade.exit_at)


def acknowledged(order: Order) -> Order:
    """An order that the paper exchange accepted and that waits for its fill."""
    return moved(moved(order, OrderState.SENT), OrderState.ACKED, exchange_order_id=f"paper-{order.client_order_id}")


# --- checkpoint ----------------------------------------------------------------------------------------------------


def dump(account: Account) -> dict[str, Any]:
    """The account as JSON: Decimals as strings, times as ISO 8601, so that `load` gives an equal value."""
    return {
        "cash": str(account.cash),
        "trade": _dump_trade(account.trade) if account.trade else None,
        "best_price": _text(account.best_price),
        "bars_held": account.bars_held,
        "waiting": [_dump_order(order) for order in account.waiting],
        "counters": dump_counters(account.counters),
        "total_pnl": str(account.total_pnl),
    }


def load(state: Mapping[str, Any]) -> Account:
    """The account of `dump`.

    Raises:
        KeyError, ValueError, TypeError, decimal.InvalidOperation: the checkpoint was damaged.
    """
    return Account(
        cash=Decimal(state["cash"]),
        trade=_load_trade(state["trade"]) if state["trade"] else None,
        best_price=_decimal(state["best_price"]),
        bars_held=int(state["bars_held"]),
        waiting=tuple(_load_order(order) for order in state["waiting"]),
        counters=load_counters(state["counters"]),
        total_pnl=Decimal(state["total_pnl"]),
    )


def _text(value: Decimal | None) -> str | None:
    return None if value is None else str(value)


def _decimal(value: str | None) -> Decimal | None:
    return None if value is None else Decimal(value)


def _moment(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)


def _dump_trade(trade: Trade) -> dict[str, Any]:
    return {
        "side": trade.side,
        "entry_order_id": trade.entry_order_id,
        "signal_at": trade.signal_at.isoformat(),
        "entry_at": trade.entry_at.isoformat(),
        "size": str(trade.size),
        "size_open": str(trade.size_open),
        "entry_value": str(trade.entry_value),
        "commission": str(trade.commission),
        "exit_value": str(trade.exit_value),
        "exit_order_id": trade.exit_order_id,
        "exit_at": trade.exit_at.isoformat() if trade.exit_at else None,
        "exit_reason": trade.exit_reason,
    }


def _load_trade(state: Mapping[str, Any]) -> Trade:
    return Trade(
        side=Side(state["side"]),
        entry_order_id=state["entry_order_id"],
        signal_at=datetime.fromisoformat(state["signal_at"]),
        entry_at=datetime.fromisoformat(state["entry_at"]),
        size=Decimal(state["size"]),
        size_open=Decimal(state["size_open"]),
        entry_value=Decimal(state["entry_value"]),
        commission=Decimal(state["commission"]),
        exit_value=Decimal(state["exit_value"]),
        exit_order_id=state["exit_order_id"],
        exit_at=_moment(state["exit_at"]),
        exit_reason=state["exit_reason"],
    )


def _dump_order(order: Order) -> dict[str, Any]:
    return {
        "client_order_id": order.client_order_id,
        "signal_at": order.signal_at.isoformat(),
        "leg": order.leg,
        "attempt": order.attempt,
        "side": order.side,
        "type": order.type,
        "quantity": str(order.quantity),
        "price": _text(order.price),
        "reason": order.reason,
        "state": order.state,
        "exchange_order_id": order.exchange_order_id,
    }


def _load_order(state: Mapping[str, Any]) -> Order:
    return Order(
        client_order_id=state["client_order_id"],
        signal_at=datetime.fromisoformat(state["signal_at"]),
        leg=Leg(state["leg"]),
        attempt=int(state["attempt"]),
        side=Side(state["side"]),
        type=OrderType(state["type"]),
        quantity=Decimal(state["quantity"]),
        price=_decimal(state["price"]),
        reason=state["reason"],
        state=OrderState(state["state"]),
        exchange_order_id=state["exchange_order_id"],
    )
