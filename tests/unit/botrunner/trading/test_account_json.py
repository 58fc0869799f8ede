"""What a checkpoint keeps of an account, and what is read of earlier versions.

`checkpoints.json` holds what version 3 wrote of each account of `accounts.py`, to the byte.
"""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import fields, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botrunner.market.side import Side
from botrunner.trading.account import Account
from botrunner.trading.account_json import CheckpointDamaged, CheckpointNewer, dump, dump_counters, load
from botrunner.trading.lost_entries import LostEntries
from botrunner.trading.order_ids import Leg
from botrunner.trading.orders import Order, OrderType
from botrunner.trading.risk import Counters, Denial, entry_denial
from botrunner.trading.trades import Trade
from fleet.config import RiskLimits
from fleet.exit_kinds import ExitKind
from fleet.foreign import load_json
from fleet.states import OrderState
from tests.hostile_json import json_texts
from tests.unit.botrunner.accounts import ACCOUNTS, BAR, COUNTED, LATER, LONG, PARTLY_SOLD, STOP, V1, V2

D = Decimal
NOW = datetime(2018, 1, 10, 12, tzinfo=UTC)
FIVE_MINUTES = timedelta(minutes=5)
GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent.parent / "checkpoints.json").read_text())


# --- the present version -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ACCOUNTS)
def test_what_is_written_stays_the_same_to_the_byte(name: str) -> None:
    assert json.dumps(dump(ACCOUNTS[name])) == json.dumps(GOLDEN[name])


@pytest.mark.parametrize("name", ACCOUNTS)
def test_what_was_written_is_read_as_it_was(name: str) -> None:
    account = load(GOLDEN[name])
    assert account == ACCOUNTS[name]
    # the digits of each number and the zone of each time too
    assert repr(account) == repr(ACCOUNTS[name])


def test_there_is_a_golden_document_for_each_kind_of_account() -> None:
    assert GOLDEN.keys() == ACCOUNTS.keys()


_LEAVES: dict[Any, st.SearchStrategy[Any]] = {
    Decimal: st.decimals(allow_nan=False, allow_infinity=False),
    datetime: st.datetimes(timezones=st.just(UTC)),
    date: st.dates(),
    str: st.text(max_size=20),
    int: st.integers(0, 10**6),
    bool: st.booleans(),
    **{kind: st.sampled_from(kind) for kind in (Side, Leg, OrderType, OrderState, ExitKind, Denial)},
}


def any_of(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a type that an account holds, dataclasses with all of their fields."""
    if kind in _LEAVES:
        return _LEAVES[kind]
    if kind is type(None):
        return st.none()
    arguments = getattr(kind, "__args__", ())
    if getattr(kind, "__origin__", None) is tuple:
        return st.lists(any_of(arguments[0]), max_size=3).map(tuple)
    if arguments:
        return st.one_of(*(any_of(each) for each in arguments))
    hints = get_type_hints(kind)
    return st.builds(kind, **{each.name: any_of(hints[each.name]) for each in fields(kind)})


ORDERS = any_of(Order).map(lambda order: replace(order, fill_count=max(order.fill_count, 1)))
TRADES = any_of(Trade)


@given(any_of(Account), st.lists(ORDERS, max_size=3).map(tuple), st.one_of(st.none(), TRADES))
def test_every_field_of_an_account_survives_its_checkpoint(
    drawn: Account, orders: tuple[Order, ...], trade: Trade | None
) -> None:
    """Fields that are added later too: they are drawn by their types."""
    account = replace(drawn, orders=orders, trade=trade)
    if trade is None:
        # what follows a trade isn't kept without one
        account = replace(account, best_price=None, bars_held=0, stops_sent=0, targets_sent=0, filled_at=None)
    assert load(json.loads(json.dumps(dump(account)))) == account


def test_each_field_of_the_counters_is_written() -> None:
    assert list(dump_counters(COUNTED)) == [each.name for each in fields(Counters)]


def test_a_new_bot_has_counted_nothing() -> None:
    assert dump_counters(Counters()) == {
        "day": None, "trades_today": 0, "pnl_today": "0", "peak_equity": "0", "last_exit_at": None, "stops": [],
        "breached": [],
    }  # fmt: skip


def test_a_flat_accounts_checkpoint_is_small() -> None:
    assert set(dump(Account(cash=D(1)))) == {"version", "cash", "counters", "total_pnl"}


def test_equal_numbers_are_written_as_they_are() -> None:
    """Documents of trades and orders are remembered: another bar's must not stand for this one's."""
    for size in ("1.5", "1.50", "1.500", "1.5"):
        account = Account(cash=D(1), trade=replace(LONG, size=D(size)), orders=(replace(STOP, quantity=D(size)),))
        document = dump(account)
        assert (document["trade"]["size"], document["orders"][0]["quantity"]) == (size, size)


def test_a_changed_document_changes_no_later_one() -> None:
    account = Account(cash=D(1), trade=LONG, orders=(STOP,))
    for _ in range(3):
        document = dump(account)
        assert load(document) == account
        document["trade"].clear()
        document["orders"][0].clear()


# --- damaged ones --------------------------------------------------------------------------------------------------


def changed(name: str, path: tuple[str | int, ...], value: Any) -> Any:
    """A golden document with another value at a path; `...` removes it."""
    document = deepcopy(GOLDEN[name])
    place = document
    for step in path[:-1]:
        place = place[step]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return document


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("cash",), ..., "account.cash: it is missing"),
        (("cash",), "much", "account.cash: Input should be a valid decimal"),
        (("cash",), "NaN", "account.cash: Input should be a finite number"),
        (("counters",), ..., "account.counters: it is missing"),
        (("counters",), [], "account.counters: an object is expected, not list"),
        (("counters", "pnl_today"), ..., "account.counters.pnl_today: it is missing"),
        (("counters", "last_exit_at"), ..., "account.counters.last_exit_at: it is missing"),
        (("counters", "breached", 0), "x", "account.counters.breached.0: Input should be"),
        (("trade", "side"), "up", "account.trade.side: Input should be 'buy' or 'sell'"),
        (("trade", "size_open"), ..., "account.trade.size_open: Field required"),
        (("trade",), "long", "account.trade: Input should be"),
        (("orders",), "none", "account.orders: a list is expected, not str"),
        (("orders", 1), 7, "account.orders.1: an object is expected, not int"),
        (("orders", 1, "state"), ..., "account.orders.1.state: it is missing"),
        (("orders", 1, "state"), "lost", "account.orders.1.state: Input should be"),
        (("orders", 0, "signal_at"), "yesterday", "account.orders.0.signal_at: Input should be a valid datetime"),
        (("sent",), [1], "account.sent: two numbers are expected"),
        (("sent",), ["x", 1], "account.stops_sent: Input should be a valid integer"),
        (("version",), "three", "account.version: 'three' is no version"),
        (("version",), 0, "account.version: '0' is no version"),
    ],
)
def test_a_damaged_account_says_where(path: tuple[str | int, ...], value: Any, says: str) -> None:
    with pytest.raises(CheckpointDamaged) as damaged:
        load(changed("protected", path, value))
    assert str(damaged.value).startswith(says)


@given(json_texts.map(load_json), st.sampled_from((1, 2, 3)))
def test_whatever_an_account_is_said_to_be_is_read_or_named(document: Any, version: int) -> None:
    for state in (
        document,
        {**V1, "version": version, "orders": document},
        {**V1, "version": version, "counters": document},
    ):
        said = ""
        try:
            load(state, last_close_at=NOW, interval=FIVE_MINUTES)
        except (CheckpointDamaged, CheckpointNewer) as error:
            said = str(error)
        assert len(said) <= 300


def test_a_checkpoint_of_a_newer_version_says_so() -> None:
    state = {**dump(Account(cash=D(1))), "version": 4}
    with pytest.raises(CheckpointNewer, match="has version 4, this program reads up to 3: run the newer program"):
        load(state)


# --- earlier versions ----------------------------------------------------------------------------------------------


def test_a_checkpoint_of_version_2_is_read() -> None:
    assert load(V2, last_close_at=LATER, interval=FIVE_MINUTES) == Account(
        cash=D(1),
        trade=PARTLY_SOLD,
        best_price=D("0.1"),
        bars_held=3,
        orders=(STOP,),
        stops_sent=3,
        targets_sent=1,
        counters=replace(COUNTED, last_exit_at=LATER - 2 * FIVE_MINUTES),
        dust=D("0.0001"),
        filled_at=LATER,
    )


def test_a_checkpoint_of_version_1_is_read() -> None:
    account = load(V1, last_close_at=NOW, interval=FIVE_MINUTES)
    [order] = account.orders
    assert (order.leg, order.exit_kind, order.state, order.working) == (Leg.EXIT, ExitKind.SIGNAL, "acked", False)
    assert account.trade is not None
    assert (account.trade.size, account.trade.exit_kind, account.best_price) == (5, None, 104)
    assert account.counters == Counters(
        day=date(2018, 1, 10), trades_today=2, pnl_today=D("-1.5"), peak_equity=D(1010),
        last_exit_at=NOW - 4 * FIVE_MINUTES,
    )  # fmt: skip
    assert (account.stops_sent, account.targets_sent, account.dust, account.lost) == (0, 0, 0, None)


@pytest.mark.parametrize(
    ("leg", "reason", "kind"),
    [
        ("exit", "atr_stop", ExitKind.STOP),
        ("exit", "trailing_stop", ExitKind.STOP),
        ("exit", "take_profit", ExitKind.TARGET),
        ("exit", "time", ExitKind.TIME),
        ("exit", "liquidation", ExitKind.LIQUIDATION),
        ("exit", "flatten_on_stop", ExitKind.FLATTEN),
        ("exit", "unstoppable", ExitKind.SIGNAL),
        ("stop_loss", "stop_loss", ExitKind.STOP),
        ("take_profit", "take_profit", ExitKind.TARGET),
        ("entry", "take_profit", None),
    ],
)
def test_exits_under_way_in_version_2_get_their_kind_from_their_reason(
    leg: str, reason: str, kind: ExitKind | None
) -> None:
    document: Any = deepcopy(V2)
    document["orders"][0] |= {"leg": leg, "reason": reason}
    assert load(document).orders[0].exit_kind is kind
    document["trade"]["exit_reason"] = reason
    trade = load(document).trade
    assert trade is not None
    assert trade.exit_kind is (kind or ExitKind.TARGET)


def test_an_upgrade_changes_nothing_of_what_it_is_given() -> None:
    for document in (V1, V2):
        before = deepcopy(document)
        load(document, last_close_at=NOW, interval=FIVE_MINUTES)
        assert document == before


def counted(bars: int | None, **when: Any) -> Counters:
    """The counters of a checkpoint of version 2 that counted so many bars since the last exit."""
    document: Any = {**dump(Account(cash=D(1))), "version": 2}
    del document["counters"]["last_exit_at"]
    document["counters"] |= {"bars_since_exit": bars, "trades_today": 2}
    return load(document, **when).counters


def test_bars_since_the_last_exit_become_its_time() -> None:
    nothing = Counters(trades_today=2)
    assert counted(None) == nothing
    # before the first bar there is no time to count from
    assert counted(4) == nothing
    assert counted(None, last_close_at=NOW) == nothing
    # an interval that nobody named: the exit was at the last close
    assert counted(4, last_close_at=NOW).last_exit_at == NOW
    assert counted(4, last_close_at=NOW, interval=FIVE_MINUTES).last_exit_at == NOW - 4 * FIVE_MINUTES


@pytest.mark.parametrize("interval", [FIVE_MINUTES, timedelta(weeks=1)])
@pytest.mark.parametrize("cooldown", [1, 2, 5])
def test_an_earlier_versions_count_of_bars_goes_on_as_it_would_have(interval: timedelta, cooldown: int) -> None:
    """It counted a bar at each close, then denied while the count was at most the cooldown."""
    limits = RiskLimits(cooldown_bars=cooldown)
    for bars in range(7):
        counters = counted(bars, last_close_at=NOW, interval=interval)
        for later in range(1, 8):
            denied = entry_denial(limits, counters, reached=(), now=NOW + later * interval, interval=interval)
            assert (denied is Denial.COOLDOWN) == (bars + later <= cooldown)


def test_lost_entries_are_missing_in_older_checkpoints() -> None:
    account = Account(cash=D(1), lost=LostEntries("rejected", 3, BAR))
    document = json.loads(json.dumps(dump(account)))
    assert load(document) == account
    del document["lost"]
    assert load(document) == Account(cash=D(1))
