"""The codec of what a checkpoint keeps of an account: JSON that gives an equal value when it is read again. Pure.

Both directions follow from the dataclasses, so a field that trade, order or account gains is written and read by
itself; only the counters, which change at every bar, are written field by field. Written is what always stands in a
document, and whatever else differs from its default. Reading is pydantic's, which knows the types and says where a
document is damaged; what an earlier version wrote is brought up to the present one step by step before that.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass, replace
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from functools import lru_cache
from operator import attrgetter, is_
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from botrunner.market.codec import fault_of
from botrunner.trading.account import Account
from botrunner.trading.lost_entries import LostEntries
from botrunner.trading.order_ids import Leg
from botrunner.trading.orders import Order
from botrunner.trading.risk import Counters
from botrunner.trading.trades import Trade, WriteOffWanted
from fleet.errors import ConfigUnusable
from fleet.exit_kinds import ExitKind
from fleet.foreign import clean_text

VERSION = 3
"""Of the account in a checkpoint. Earlier ones are read as well, see `_UPGRADES`."""

T = TypeVar("T")
Document = dict[str, Any]


class CheckpointDamaged(ConfigUnusable):
    """The stored checkpoint can't be gone on from; the message says where it is damaged, and what to do."""


class CheckpointNewer(ConfigUnusable):
    """A newer version of the program wrote this checkpoint; reading half of it would lose the other half."""


# --- writing -------------------------------------------------------------------------------------------------------

_WRITERS: Mapping[type, Callable[[Any], Any]] = {
    Decimal: str,
    datetime: datetime.isoformat,
    date: date.isoformat,
    tuple: lambda items: [_json(item) for item in items],
}
"""Everything else that the dataclasses hold is JSON already: texts, which their enums are too, numbers, None."""


def _json(value: Any) -> Any:
    write = _WRITERS.get(type(value))
    return value if write is None else write(value)


class _Record(Generic[T]):
    """Writes a dataclass as a JSON object.

    Args:
        kind: the dataclass, of at least two fields.
        always: fields with a default that are written all the same, besides those without one.
        remembered: how many documents are kept: most bars change neither the trade nor an order.
    """

    def __init__(self, kind: type[T], *, always: Collection[str] = (), remembered: int = 1) -> None:
        found = fields(kind)  # type: ignore[arg-type]
        required = [each for each in found if each.name in always or _has_no_default(each)]
        self.required = tuple(each.name for each in required)
        ordered = [*required, *(each for each in found if each not in required)]
        self._fields = tuple((each.name, each in required, each.default) for each in ordered)
        self._values_of = attrgetter(*(each.name for each in ordered))
        self._remembered = remembered
        self._written: tuple[tuple[tuple[Any, ...], Document], ...] = ()

    def dump(self, value: T) -> Document:
        """The value as JSON."""
        values = self._values_of(value)
        for written, document in self._written:
            # the very objects: an equal Decimal may be written otherwise
            if all(map(is_, written, values)):
                return dict(document)
        document = {
            name: _json(each)
            for (name, required, default), each in zip(self._fields, values, strict=True)
            if required or each != default
        }
        self._written = ((values, document), *self._written[: self._remembered - 1])
        return dict(document)


def _has_no_default(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


_TRADE = _Record(Trade)
_ORDER = _Record(Order, always=("state", "exchange_order_id"), remembered=4)
_LOST = _Record(LostEntries)
_WRITE_OFF = _Record(WriteOffWanted)
_OF_THE_TRADE = ("trade", "best_price", "bars_held", "stops_sent", "targets_sent", "filled_at")
_OTHERS = tuple(
    (each.name, each.default)
    for each in fields(Account)
    if each.name not in ("cash", "counters", "total_pnl", "dust", "orders", "lost", "write_off_wanted", *_OF_THE_TRADE)
)
"""Fields that the account has besides those that `dump` names, with their defaults."""


@lru_cache(maxsize=2)
def _texts(moments: tuple[datetime, ...]) -> tuple[str, ...]:
    return tuple(at.isoformat() for at in moments)


def dump_counters(counters: Counters) -> Document:
    """The counters as JSON, field by field: they are written at each bar, and may change at each."""
    return {
        "day": counters.day.isoformat() if counters.day else None,
        "trades_today": counters.trades_today,
        "pnl_today": str(counters.pnl_today),
        "peak_equity": str(counters.peak_equity),
        "last_exit_at": counters.last_exit_at.isoformat() if counters.last_exit_at else None,
        "stops": list(_texts(counters.stops)),
        "breached": list(counters.breached),
    }


def dump(account: Account) -> Document:
    """The account as JSON: Decimals as texts, times as ISO 8601, so that `load` gives an equal value."""
    state: Document = {
        "version": VERSION,
        "cash": str(account.cash),
        "counters": dump_counters(account.counters),
        "total_pnl": str(account.total_pnl),
    }
    if account.dust:
        state["dust"] = str(account.dust)
    if account.orders:
        state["orders"] = [_ORDER.dump(order) for order in account.orders]
    if account.trade is not None:
        state["trade"] = _TRADE.dump(account.trade)
        state["best_price"] = _json(account.best_price)
        state["bars_held"] = account.bars_held
        state["sent"] = [account.stops_sent, account.targets_sent]
        if account.filled_at is not None:
            state["filled_at"] = account.filled_at.isoformat()
    if account.lost is not None:
        state["lost"] = _LOST.dump(account.lost)
    if account.write_off_wanted is not None:
        state["write_off_wanted"] = _WRITE_OFF.dump(account.write_off_wanted)
    for name, default in _OTHERS:
        if (value := getattr(account, name)) != default:
            state[name] = _json(value)
    return state


# --- reading -------------------------------------------------------------------------------------------------------


def load(state: object, *, last_close_at: datetime | None = None, interval: timedelta = timedelta(0)) -> Account:
    """The account of `dump`, of this version or an earlier one.

    Args:
        state: as JSON.
        last_close_at, interval: of the checkpoint's last bar, for what an earlier version counted in bars.

    Raises:
        CheckpointNewer: of a later one.
        CheckpointDamaged: the message says where.
    """
    document = dict(_object(state, "account"))
    version = document.pop("version", 1)
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise CheckpointDamaged(f"account.version: {clean_text(version, 40)!r} is no version")
    if version > VERSION:
        raise CheckpointNewer(
            f"the checkpoint's account has version {version}, this program reads up to {VERSION}: run the newer program"
        )
    for older in range(version, VERSION):
        document = _UPGRADES[older](document, _Written(last_close_at, interval))
    _require(document, ("cash", "counters", "total_pnl"), "account")
    _require(document["counters"], _SINCE_VERSION_1, "account.counters")
    for number, order in enumerate(_list(document, "orders")):
        _require(order, _ORDER.required, f"account.orders.{number}")
    if "sent" in document:
        document["stops_sent"], document["targets_sent"] = _pair(document.pop("sent"), "account.sent")
    account: Account = _with_plain_zones(validated(Account, document, "account"))
    return account


def validated(kind: type[T], document: object, place: str) -> T:
    """A part of a checkpoint as the dataclass that it is of.

    Raises:
        CheckpointDamaged: the message names the place within the part, after `place`.
    """
    try:
        return _adapter(kind).validate_python(document)
    except ValidationError as error:
        raise CheckpointDamaged(fault_of(error, place)) from error


_adapters: dict[type[Any], TypeAdapter[Any]] = {}
"""Made when they are needed: a bot that begins has nothing to read."""


def _adapter(kind: type[T]) -> TypeAdapter[T]:
    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(kind)
    return _adapters[kind]


def _with_plain_zones(value: Any) -> Any:
    """The value with UTC itself in its times, where pydantic puts a zone of its own that merely equals it."""
    if isinstance(value, datetime):
        offset = value.utcoffset()
        return value if offset is None else value.replace(tzinfo=timezone(offset))
    if isinstance(value, tuple):
        return tuple(_with_plain_zones(item) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{each.name: _with_plain_zones(getattr(value, each.name)) for each in fields(value)})
    return value


def _object(value: object, place: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise CheckpointDamaged(f"{place}: an object is expected, not {type(value).__name__}")
    return value


def _list(document: Mapping[str, Any], name: str) -> Sequence[Any]:
    found = document.get(name, ())
    if not isinstance(found, list | tuple):
        raise CheckpointDamaged(f"account.{name}: a list is expected, not {type(found).__name__}")
    return found


def _pair(value: object, place: str) -> tuple[Any, Any]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise CheckpointDamaged(f"{place}: two numbers are expected")
    return value[0], value[1]


def _require(value: object, names: Collection[str], place: str) -> None:
    """What stands in every document must be there: without it a default would be believed instead."""
    document = _object(value, place)
    for name in names:
        if name not in document:
            raise CheckpointDamaged(f"{place}.{name}: it is missing")


# --- earlier versions ----------------------------------------------------------------------------------------------

_SINCE_VERSION_1 = ("day", "trades_today", "pnl_today", "peak_equity", "last_exit_at")
"""Of the counters; what was added later starts from nothing."""

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
"""Of exits under way before version 3: the words of the built-in rules of then."""


@dataclass(frozen=True, slots=True)
class _Written:
    """When an earlier version wrote: close of the checkpoint's last bar, None before the first; a bar's length."""

    last_close_at: datetime | None
    interval: timedelta


def _from_version_1(document: Document, _: _Written) -> Document:
    """Orders were those that wait for the next open, under another name; protective ones and dust didn't exist."""
    waiting = document.pop("waiting", None)
    return {**document, "orders": document.get("orders") or waiting or []}


def _from_version_2(document: Document, written: _Written) -> Document:
    """Bars since the last exit were counted, instead of keeping its time; exits had a reason, and no kind.

    The count gives a time from which a pause ends at the same close as it would have there.
    """
    counters = dict(_object(document.get("counters"), "account.counters"))
    if "last_exit_at" not in counters:
        counters["last_exit_at"] = _exit_at(counters.pop("bars_since_exit", MISSING), written)
    changed: Document = {"counters": counters}
    if document.get("trade"):
        trade = _object(document["trade"], "account.trade")
        changed["trade"] = _with_kind(trade, trade.get("exit_reason")) if trade.get("exit_at") else trade
    orders = [_object(order, f"account.orders.{number}") for number, order in enumerate(_list(document, "orders"))]
    changed["orders"] = [
        order if order.get("leg") == Leg.ENTRY else _with_kind(order, order.get("reason")) for order in orders
    ]
    return {**document, **changed}


def _exit_at(bars: object, written: _Written) -> datetime | None:
    if bars is None:
        return None
    if isinstance(bars, bool) or not isinstance(bars, int):
        raise CheckpointDamaged("account.counters.bars_since_exit: a number of bars is expected")
    return None if written.last_close_at is None else written.last_close_at - bars * written.interval


def _with_kind(document: Mapping[str, Any], reason: object) -> Document:
    kind = _KINDS_OF_REASONS.get(reason, ExitKind.SIGNAL) if isinstance(reason, str) else ExitKind.SIGNAL
    return {"exit_kind": kind, **document}


_UPGRADES: Mapping[int, Callable[[Document, _Written], Document]] = MappingProxyType(
    {1: _from_version_1, 2: _from_version_2}
)
"""From a version to the next."""
