"""The paper account of one bot: a frozen value that goes into the checkpoint whole.

A restarted bot thereby has the same cash, position and open orders to the last digit. `execution.paper.desk` changes
it, `engine.trading_bot` decides what to change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from botrunner.market.side import Side
from botrunner.trading.lost_entries import LostEntries, dump_lost, load_lost
from botrunner.trading.order_ids import Leg
from botrunner.trading.orders import Order, OrderType
from botrunner.trading.risk import Counters, dump_counters, load_counters
from botrunner.trading.trades import Trade
from fleet.errors import ConfigUnusable
from fleet.exit_kinds import ExitKind
from fleet.states import OrderState

VERSION = 3
"""Of the account in a checkpoint. Earlier ones are read as well: version 2 counted bars since the last exit, and knew
no kinds of exits; version 1, without the key, had no orders but those that wait for the next open, and no dust."""

_KINDS_OF_REASONS = MappingProxyType(
    {
        "stop_loss": ExitKind.STOP,
        "trailing_stop": ExitKind.STOP,
        "atr_stop": ExitKind.STOP,
        "take_profit": ExitKind.TARGET,
        "time": ExitKind.TIME,
        "liquidation": ExitKind.LIQUIDATION,
        "flatten_on_stop": ExitKind.FLATTEN,
    }
)
"""For exits under way in checkpoints before version 3: the words of the built-in rules of then."""


class CheckpointNewer(ConfigUnusable):
    """A newer version of the program wrote this checkpoint; reading half of it would lose the other half."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Everything a paper account remembers.

    Attributes:
        cash: quote currency, the proceeds of a short sale included.
        trade: the open round trip; None while flat.
        best_price: most favourable price since the entry, of closed bars; for trailing stops.
        bars_held: closed bars since the entry's bar.
        orders: open ones, at most one per leg; and of the exit and the protective legs a rejected one, which is sent
            again at the next bar.
        stops_sent, targets_sent: protective orders of this trade so far; the next one's attempt.
        counters: of the risk limits. total_pnl: realised by closed trades, net of fees.
        dust: held but too little to be sold, base currency; worth nothing here.
        filled_at: stamp of the open trade's newest fill; no later one is stamped before it.
        lost: entries in a row that came to nothing; None since a position was opened.
    """

    cash: Decimal
    trade: Trade | None = None
    best_price: Decimal | None = None
    bars_held: int = 0
    orders: tuple[Order, ...] = ()
    stops_sent: int = 0
    targets_sent: int = 0
    counters: Counters = field(default_factory=Counters)
    total_pnl: Decimal = Decimal(0)
    dust: Decimal = Decimal(0)
    filled_at: datetime | None = None
    lost: LostEntries | None = None

    def equity(self, price: Decimal) -> Decimal:
        """Cash plus the position at a price, quote currency."""
        if self.trade is None:
            return self.cash
        return self.cash + self.trade.side.sign * self.trade.size_open * price

    @property
    def is_busy(self) -> bool:
        """Whether a position is open, or an order that would open or close one."""
        return self.trade is not None or bool(self.orders)


# --- checkpoint ----------------------------------------------------------------------------------------------------


def dump(account: Account) -> dict[str, Any]:
    """The account as JSON: Decimals as strings, times as ISO 8601, so that `load` gives an equal value."""
    state: dict[str, Any] = {
        "version": VERSION,
        "cash": str(account.cash),
        "counters": dump_counters(account.counters),
        "total_pnl": str(account.total_pnl),
    }
    if account.dust:
        state["dust"] = str(account.dust)
    if account.orders:
        state["orders"] = [_dump_order(order) for order in account.orders]
    if account.trade is not None:
        state["trade"] = _dump_trade(account.trade)
        state["best_price"] = _text(account.best_price)
        state["bars_held"] = account.bars_held
        state["sent"] = [account.stops_sent, account.targets_sent]
        if account.filled_at is not None:
            state["filled_at"] = account.filled_at.isoformat()
    if account.lost is not None:
        state["lost"] = dump_lost(account.lost)
    return state


def load(
    state: Mapping[str, Any], *, last_close_at: datetime | None = None, interval: timedelta = timedelta(0)
) -> Account:
    """The account of `dump`, of this version or an earlier one.

    Args:
        state: as JSON.
        last_close_at, interval: of the checkpoint's last bar, for counters of an earlier version (`load_counters`).

    Raises:
        CheckpointNewer: of a later one.
        KeyError, ValueError, TypeError, decimal.InvalidOperation: the checkpoint was damaged.
    """
    if not isinstance(state, Mapping):
        raise TypeError("the account isn't an object")
    version = int(state.get("version", 1))
    if version > VERSION:
        raise CheckpointNewer(
            f"the checkpoint's account has version {version}, this program reads up to {VERSION}: run the newer program"
        )
    trade = _load_trade(state["trade"]) if state.get("trade") else None
    stops_sent, targets_sent = state.get("sent", (0, 0))
    return Account(
        cash=Decimal(state["cash"]),
        trade=trade,
        best_price=_decimal(state.get("best_price")),
        bars_held=int(state.get("bars_held", 0)),
        orders=tuple(_load_order(order) for order in state.get("orders") or state.get("waiting") or ()),
        stops_sent=int(stops_sent),
        targets_sent=int(targets_sent),
        counters=load_counters(state["counters"], last_close_at=last_close_at, interval=interval),
        total_pnl=Decimal(state["total_pnl"]),
        dust=Decimal(state.get("dust", 0)),
        filled_at=_moment(state.get("filled_at")),
        lost=load_lost(state["lost"]) if state.get("lost") else None,
    )


def _text(value: Decimal | None) -> str | None:
    return None if value is None else str(value)


def _decimal(value: str | None) -> Decimal | None:
    return None if value is None else Decimal(value)


def _moment(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)


def _dump_trade(trade: Trade) -> dict[str, Any]:
    state: dict[str, Any] = {
        "side": trade.side,
        "entry_order_id": trade.entry_order_id,
        "signal_at": trade.signal_at.isoformat(),
        "entry_at": trade.entry_at.isoformat(),
        "size": str(trade.size),
        "size_open": str(trade.size_open),
        "entry_value": str(trade.entry_value),
        "commission": str(trade.commission),
    }
    if trade.exit_at is not None:
        state |= {
            "exit_value": str(trade.exit_value),
            "exit_order_id": trade.exit_order_id,
            "exit_at": trade.exit_at.isoformat(),
            "exit_reason": trade.exit_reason,
            "exit_kind": trade.exit_kind,
        }
    if trade.base_fee:
        state |= {"base_fee": str(trade.base_fee), "base_fee_value": str(trade.base_fee_value)}
    return state


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
        exit_value=Decimal(state.get("exit_value", 0)),
        exit_order_id=state.get("exit_order_id"),
        exit_at=_moment(state.get("exit_at")),
        exit_reason=state.get("exit_reason"),
        exit_kind=_load_kind(state, reason=state.get("exit_reason")) if state.get("exit_at") else None,
        base_fee=Decimal(state.get("base_fee", 0)),
        base_fee_value=Decimal(state.get("base_fee_value", 0)),
    )


def _dump_order(order: Order) -> dict[str, Any]:
    state: dict[str, Any] = {
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
    if order.exit_kind is not None:
        state["exit_kind"] = order.exit_kind
    if order.fill_count:
        state |= {
            "filled_quantity": str(order.filled_quantity),
            "average_price": _text(order.average_price),
            "fill_count": order.fill_count,
        }
    if order.arrives_at is not None:
        state["arrives_at"] = order.arrives_at.isoformat()
    if order.expires_at is not None:
        state["expires_at"] = order.expires_at.isoformat()
    if order.working:
        state["working"] = True
    if order.rejection is not None:
        state["rejection"] = order.rejection
    return state


def _load_kind(state: Mapping[str, Any], *, reason: str | None) -> ExitKind:
    if "exit_kind" in state:
        return ExitKind(state["exit_kind"])
    return _KINDS_OF_REASONS.get(reason or "", ExitKind.SIGNAL)


def _load_order(state: Mapping[str, Any]) -> Order:
    leg = Leg(state["leg"])
    return Order(
        client_order_id=state["client_order_id"],
        signal_at=datetime.fromisoformat(state["signal_at"]),
        leg=leg,
        attempt=int(state["attempt"]),
        side=Side(state["side"]),
        type=OrderType(state["type"]),
        quantity=Decimal(state["quantity"]),
        price=_decimal(state["price"]),
        reason=state["reason"],
        exit_kind=None if leg is Leg.ENTRY else _load_kind(state, reason=state["reason"]),
        state=OrderState(state["state"]),
        exchange_order_id=state["exchange_order_id"],
        filled_quantity=Decimal(state.get("filled_quantity", 0)),
        average_price=_decimal(state.get("average_price")),
        fill_count=int(state.get("fill_count", 0)),
        arrives_at=_moment(state.get("arrives_at")),
        expires_at=_moment(state.get("expires_at")),
        working=bool(state.get("working", False)),
        rejection=state.get("rejection"),
    )
