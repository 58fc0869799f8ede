"""The codec of what a checkpoint keeps of an account: JSON that gives an equal value when it is read again. Pure.

Earlier versions of the program wrote other shapes; they are read as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from botrunner.market.side import Side
from botrunner.trading.account import Account
from botrunner.trading.lost_entries import LostEntries
from botrunner.trading.order_ids import Leg
from botrunner.trading.orders import Order, OrderType
from botrunner.trading.risk import Counters, Denial
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


class CheckpointDamaged(ConfigUnusable):
    """The stored checkpoint can't be gone on from; the message says why and what to do."""


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


@lru_cache(maxsize=2)
def _written(stops: tuple[datetime, ...]) -> tuple[str, ...]:
    """The times as texts. Remembered: they are written at every bar and change seldom."""
    return tuple(at.isoformat() for at in stops)


def dump_counters(counters: Counters) -> dict[str, Any]:
    """The counters as JSON, for the checkpoint."""
    return {
        "day": counters.day.isoformat() if counters.day else None,
        "trades_today": counters.trades_today,
        "pnl_today": str(counters.pnl_today),
        "peak_equity": str(counters.peak_equity),
        "last_exit_at": counters.last_exit_at.isoformat() if counters.last_exit_at else None,
        "stops": list(_written(counters.stops)),
        "breached": list(counters.breached),
    }


def load_counters(
    state: Mapping[str, Any], *, last_close_at: datetime | None = None, interval: timedelta = timedelta(0)
) -> Counters:
    """The counters of `dump_counters`; what an earlier version didn't count starts from nothing.

    Args:
        state: as JSON.
        last_close_at: close of the last bar of the checkpoint, None before the first. interval: a bar's length. An
            earlier version counted the bars since the last exit instead of keeping its time; they give a time from
            which a pause ends at the same close as it would have there.

    Raises:
        KeyError, ValueError, TypeError, decimal.InvalidOperation: the checkpoint was damaged.
    """
    return Counters(
        day=datetime.fromisoformat(state["day"]).date() if state["day"] else None,
        trades_today=int(state["trades_today"]),
        pnl_today=Decimal(state["pnl_today"]),
        peak_equity=Decimal(state["peak_equity"]),
        last_exit_at=_last_exit_at(state, last_close_at, interval),
        stops=tuple(datetime.fromisoformat(at) for at in state.get("stops", ())),
        breached=tuple(Denial(name) for name in state.get("breached", ())),
    )


def _last_exit_at(state: Mapping[str, Any], last_close_at: datetime | None, interval: timedelta) -> datetime | None:
    if "last_exit_at" in state:
        return datetime.fromisoformat(state["last_exit_at"]) if state["last_exit_at"] else None
    bars = state["bars_since_exit"]
    return None if bars is None or last_close_at is None else last_close_at - int(bars) * interval


def dump_lost(lost: LostEntries) -> dict[str, Any]:
    """As JSON, for the checkpoint."""
    return {"reason": lost.reason, "count": lost.count, "since": lost.since.isoformat()}


def load_lost(state: Mapping[str, Any]) -> LostEntries:
    """Of `dump_lost`.

    Raises:
        KeyError, ValueError, TypeError: the checkpoint was damaged.
    """
    return LostEntries(str(state["reason"]), int(state["count"]), datetime.fromisoformat(state["since"]))
