"""What becomes of a checkpoint when the config changed, and which notifications a bar writes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from botrunner.ledger.ledger import CheckpointDamaged, Ledger, identity
from botrunner.market.candle import Candle
from botrunner.market.side import Side
from botrunner.trading.account import Account
from botrunner.trading.checkpoint import CheckpointNewer, dump, load
from botrunner.trading.order_ids import Leg
from botrunner.trading.orders import Fill, Order, OrderType
from botrunner.trading.risk import Counters, Denial
from botrunner.trading.state import BarOutcome
from botrunner.trading.trades import Trade
from fleet.config import BotConfig, RunningConfig, parse_config
from fleet.exit_kinds import ExitKind
from fleet.foreign import load_json
from fleet.states import OrderState
from fleet.trading_service.lease import RunId
from fleet.trading_service.ledger import Checkpoint
from tests.hostile_json import json_texts
from tests.support import FakeClock

D = Decimal
BAR = datetime(2018, 1, 10, 5, tzinfo=UTC)
TRADE = Trade(
    side=Side.BUY,
    entry_order_id="e" * 32,
    signal_at=BAR,
    entry_at=BAR + timedelta(minutes=5),
    size=D("1.5"),
    size_open=D("1.5"),
    entry_value=D("0.15"),
    commission=D("0.00015"),
)
CLOSED = replace(
    TRADE,
    size_open=D(0),
    exit_value=D("0.18"),
    commission=D("0.00033"),
    exit_order_id="f" * 32,
    exit_at=BAR + timedelta(minutes=30),
    exit_reason="take_profit",
    exit_kind=ExitKind.TARGET,
)
FILL = Fill(
    client_order_id=TRADE.entry_order_id,
    exchange_trade_id="t1",
    side=Side.BUY,
    price=D("0.1"),
    quantity=D("1.5"),
    fee=D("0.00015"),
    fee_currency="BTC",
    filled_at=TRADE.entry_at,
)


def config(symbol: str = "ETHBTC", leave: str = "TimeBasedExitMixin", **sections: Any) -> BotConfig:
    logic = {"entry_logic": {"name": "RSIOrBBEntryMixin"}, "exit_logic": {"name": leave}}
    strategy = {"type": "CustomStrategy", "parameters": logic}
    return parse_config({"symbol": symbol, "strategy": strategy, "data": {"interval": "5m"}, **sections})


def ledger(made: BotConfig) -> Ledger:
    made_ledger = Ledger(
        url="",
        run=RunId(7, 1, "t"),
        config=RunningConfig(made),
        exchange="paper-binance",
        owner=1,
        clock=FakeClock(),
        waiting=lambda: None,
    )
    made_ledger.denominate("BTC")
    return made_ledger


def outcome(**changes: Any) -> BarOutcome:
    defaults: dict[str, Any] = {
        "follows": None,
        "bar_at": BAR,
        "bars": 1,
        "close": D("0.1"),
        "account": Account(cash=D(10)),
        "strategy_state": {},
    }
    return BarOutcome(**{**defaults, **changes})


def stored(made: BotConfig, account: Account, **changes: Any) -> Checkpoint:
    checkpoint = ledger(made).record(outcome(account=account, strategy_state={"seen": 3})).checkpoint
    return replace(checkpoint, **changes)


def waiting_exit(**changes: Any) -> Order:
    order = Order(
        client_order_id="a" * 32,
        signal_at=BAR,
        leg=Leg.EXIT,
        attempt=0,
        side=Side.SELL,
        type=OrderType.MARKET,
        quantity=D("1.50"),
        price=None,
        reason="held",
        exit_kind=ExitKind.TIME,
        state=OrderState.ACKED,
        exchange_order_id="paper-a",
    )
    return replace(order, **changes)


def test_an_account_survives_its_checkpoint_exactly() -> None:
    counters = Counters(day=BAR.date(), trades_today=2, pnl_today=D("-0.1"), peak_equity=D("11.2"), last_exit_at=BAR)
    account = Account(
        cash=D("9.123456789012345678"),
        trade=TRADE,
        best_price=D("0.11"),
        bars_held=3,
        orders=(waiting_exit(),),
        counters=counters,
        total_pnl=D("-0.000001"),
    )
    assert load(dump(account)) == account
    partly = replace(TRADE, size_open=TRADE.size / 2, exit_at=BAR, exit_reason="mine", exit_kind=ExitKind.STOP)
    assert load(dump(replace(account, trade=partly))).trade == partly


@pytest.mark.parametrize(
    ("leg", "reason", "kind"),
    [
        (Leg.EXIT, "atr_stop", ExitKind.STOP),
        (Leg.EXIT, "trailing_stop", ExitKind.STOP),
        (Leg.EXIT, "take_profit", ExitKind.TARGET),
        (Leg.EXIT, "time", ExitKind.TIME),
        (Leg.EXIT, "unstoppable", ExitKind.SIGNAL),
        (Leg.STOP_LOSS, "stop_loss", ExitKind.STOP),
        (Leg.TAKE_PROFIT, "take_profit", ExitKind.TARGET),
    ],
)
def test_a_checkpoint_of_version_2_knows_what_its_exits_are_and_when_the_last_one_was(
    leg: Leg, reason: str, kind: ExitKind
) -> None:
    made = config()
    partly = replace(TRADE, size_open=TRADE.size / 2, exit_at=BAR, exit_reason=reason, exit_kind=ExitKind.DUST)
    order = waiting_exit(leg=leg, reason=reason)
    account = Account(cash=D(9), trade=partly, best_price=D("0.1"), orders=(order,), counters=Counters())
    checkpoint = stored(made, account)
    old: dict[str, Any] = dict(checkpoint.broker_state["account"])
    old |= {"version": 2, "counters": {**old["counters"], "bars_since_exit": 2}}
    for part in (old["counters"], old["trade"], old["orders"][0]):
        for new in ("exit_kind", "last_exit_at"):
            part.pop(new, None)
    state, _ = ledger(made)._restore(replace(checkpoint, broker_state={**checkpoint.broker_state, "account": old}))
    # the bar's close, less the two bars counted since
    assert state.account.counters.last_exit_at == BAR + timedelta(minutes=5) - 2 * timedelta(minutes=5)
    assert state.account.orders[0].exit_kind is kind
    assert state.account.trade is not None
    assert state.account.trade.exit_kind is kind


def test_the_same_config_goes_on_where_it_was() -> None:
    made = config()
    state, kept = ledger(made)._restore(stored(made, Account(cash=D(9), trade=TRADE, best_price=D("0.1"))))
    assert (state.last_bar_at, state.bars, state.account.trade) == (BAR, 1, TRADE)
    assert kept == {"seen": 3}


def test_another_strategy_keeps_the_position_and_forgets_the_strategys_state() -> None:
    before = stored(config(), Account(cash=D(9), trade=TRADE, best_price=D("0.1")))
    changed = config(leave="ATRExitMixin")
    assert identity(changed) != identity(config())
    state, kept = ledger(changed)._restore(before)
    assert state.account.trade == TRADE
    assert kept == {}


def test_another_market_needs_a_closed_position() -> None:
    before = stored(config(), Account(cash=D(9), trade=TRADE, best_price=D("0.1")))
    with pytest.raises(CheckpointDamaged, match="still holds a position or an open order in ETHBTC"):
        ledger(config("LTCBTC"))._restore(before)


def test_a_flat_bot_takes_its_cash_to_another_market() -> None:
    moved = ledger(config("LTCBTC"))
    state, _ = moved._restore(stored(config(), Account(cash=D(9))))
    assert (state.account.cash, state.last_bar_at) == (9, None)
    opening = moved.record(outcome(candle=CANDLE)).opening
    assert opening is not None
    assert (opening["symbol"], opening["equity"]) == ("LTCBTC", 9)


@pytest.mark.parametrize("broken", [{}, {"account": {}, "last_close": None}, {"account": None, "last_close": "x"}])
def test_a_damaged_checkpoint_says_so(broken: dict[str, Any]) -> None:
    made = config()
    with pytest.raises(CheckpointDamaged, match="trading_checkpoints of bot 7"):
        ledger(made)._restore(stored(made, Account(cash=D(9)), broker_state=broken))


@given(json_texts.map(load_json), st.sampled_from(("broker_state", "strategy_state")))
@example("x", "strategy_state")
def test_whatever_a_checkpoint_holds_is_gone_on_from_or_named(document: Any, column: str) -> None:
    made = config()
    whole = stored(made, Account(cash=D(9)))
    for damaged in (
        document,
        {**getattr(whole, column), "account": document},
        {**getattr(whole, column), "state": document},
    ):
        try:
            ledger(made)._restore(replace(whole, **{column: damaged}))
        except CheckpointDamaged as error:
            said = str(error)
        else:
            continue
        assert said.startswith("trading_checkpoints of bot 7 can't be read (")
        assert len(said) < 1_000


def test_an_unreadable_checkpoint_says_what_is_unreadable() -> None:
    made = config()
    damaged = replace(stored(made, Account(cash=D(9))), strategy_state=load_json("9" * 5000))
    with pytest.raises(CheckpointDamaged, match="holds a number of 5000 characters"):
        ledger(made)._restore(damaged)


@pytest.mark.parametrize(
    ("changes", "switches", "kinds"),
    [
        ({}, {}, []),
        ({"trades": (TRADE,)}, {}, ["position_opened"]),
        ({"trades": (TRADE,)}, {"position_opened": False}, []),
        ({"trades": (CLOSED,)}, {}, ["take_profit"]),
        ({"trades": (replace(CLOSED, exit_reason="atr_stop", exit_kind=ExitKind.STOP),)}, {}, ["stop_loss"]),
        ({"trades": (replace(CLOSED, exit_reason="stop_loss", exit_kind=ExitKind.SIGNAL),)}, {}, ["position_closed"]),
        ({"trades": (CLOSED,)}, {"position_closed": False}, []),
        ({"trades": (CLOSED, TRADE)}, {}, ["take_profit", "position_opened"]),
        # an entry that its own bar closed again
        ({"trades": (CLOSED,), "fills": (FILL,)}, {}, ["position_opened", "take_profit"]),
        ({"trades": (TRADE,), "fills": (FILL,)}, {"order_executions": True}, ["order_filled", "position_opened"]),
        ({"breaches": (Denial.MAX_DAILY_LOSS,)}, {}, ["risk_breach"]),
        ({"breaches": (Denial.MAX_DAILY_LOSS,)}, {"risk_alerts": False}, []),
        ({"denial": Denial.BELOW_MIN_NOTIONAL}, {}, []),
        ({"denial": Denial.TENANT_MAX_EXPOSURE}, {}, ["risk_breach"]),
    ],
)
def test_notifications(changes: dict[str, Any], switches: dict[str, bool], kinds: list[str]) -> None:
    record = ledger(config(notifications=switches)).record(outcome(**changes))
    assert [row["kind"] for row in record.notifications if row["state"] == "pending"] == kinds


def test_a_silenced_event_stays_in_the_history() -> None:
    [row] = ledger(config(notifications={"position_opened": False})).record(outcome(trades=(TRADE,))).notifications
    assert (row["kind"], row["state"]) == ("position_opened", "suppressed")


CANDLE = Candle(1515560400000, D("0.10"), D("0.12"), D("0.09"), D("0.11"), D("7.5"))


def test_a_bar_is_written_with_what_the_bot_saw_and_is_worth() -> None:
    account = Account(cash=D("9.85"), trade=TRADE, best_price=D("0.11"))
    bar = ledger(config()).record(outcome(account=account, close=CANDLE.close, candle=CANDLE)).bar
    assert bar == {
        "bar_at": BAR,
        "symbol": "ETHBTC",
        "interval": "5m",
        "open": D("0.10"),
        "high": D("0.12"),
        "low": D("0.09"),
        "close": D("0.11"),
        "volume": D("7.5"),
        "equity": D("10.015"),
        "position": D("1.5"),
    }


def test_a_short_position_is_negative_and_none_is_zero() -> None:
    short = replace(TRADE, side=Side.SELL)
    bars = [
        ledger(config()).record(outcome(account=Account(cash=D(10), trade=t), candle=CANDLE)) for t in (short, None)
    ]
    assert [record.bar["position"] for record in bars if record.bar] == [D("-1.5"), 0]


def test_what_happens_between_bars_is_no_bar() -> None:
    record = ledger(config()).record(outcome())
    assert (record.bar, record.opening) == (None, None)


def test_the_first_bar_of_a_market_says_what_it_was_begun_with() -> None:
    begun = ledger(config())
    begun._restore(
        stored(config(), Account(cash=D(10)), broker_state={"account": dump(Account(cash=D(10))), "last_close": None})
    )
    opening = begun.record(outcome(account=Account(cash=D("9.9")), candle=CANDLE)).opening
    assert opening == {"symbol": "ETHBTC", "interval": "5m", "day": BAR.date(), "equity": 10, "at": BAR}
    resumed = ledger(config())
    resumed._restore(stored(config(), Account(cash=D(10))))
    assert resumed.record(outcome(candle=CANDLE)).opening is None


def test_rows_of_a_closed_trade() -> None:
    [position] = ledger(config()).record(outcome(trades=(CLOSED,))).positions
    trade = position["trade"]
    assert (position["status"], position["qty_open"], position["closed_at"]) == ("closed", 0, CLOSED.exit_at)
    assert trade["net_pnl"] == D("0.02967")
    assert trade["gross_pnl"] == D("0.03")
    assert trade["exit_logic_params"]["max_bars"] == 20
    assert trade["exit_price"] == D("0.12")


def test_what_a_trade_has_no_column_for() -> None:
    dusty = replace(CLOSED, base_fee=D("0.0015"), base_fee_value=D("0.00015"), dust=D("0.0005"))
    [position] = ledger(config()).record(outcome(trades=(dusty,))).positions
    extras = position["trade"]["extra_metadata"]
    assert set(extras) == {"base_fee", "base_fee_value", "dust", "dust_value"}
    assert (extras["base_fee"], extras["dust"]) == ("0.0015", "0.0005")
    [plain] = ledger(config()).record(outcome(trades=(CLOSED,))).positions
    assert plain["trade"]["extra_metadata"] is None


def test_a_rejected_orders_row_says_why() -> None:
    refused = Order(
        client_order_id="a" * 32,
        signal_at=BAR,
        leg=Leg.ENTRY,
        attempt=0,
        side=Side.BUY,
        type=OrderType.LIMIT,
        quantity=D(1),
        price=D("0.1"),
        reason="rsi_bb",
        state=OrderState.REJECTED,
        rejection="no",
    )
    [row] = ledger(config()).record(outcome(orders=(refused,))).orders
    assert (row["state"], row["reason"], row["price"]) == ("rejected", "rsi_bb; rejected: no", D("0.1"))


def test_an_open_order_too_keeps_a_bot_in_its_market() -> None:
    waiting = Order(
        client_order_id="a" * 32,
        signal_at=BAR,
        leg=Leg.ENTRY,
        attempt=0,
        side=Side.BUY,
        type=OrderType.LIMIT,
        quantity=D(1),
        price=D("0.1"),
        reason="rsi_bb",
        state=OrderState.ACKED,
    )
    before = stored(config(), Account(cash=D(9), orders=(waiting,)))
    with pytest.raises(CheckpointDamaged, match="an open order in ETHBTC"):
        ledger(config("LTCBTC"))._restore(before)


def test_dust_of_one_market_is_nothing_in_another() -> None:
    before = stored(config(), Account(cash=D(9), dust=D("0.001")))
    state, _ = ledger(config("LTCBTC"))._restore(before)
    assert state.account.dust == 0
    state, _ = ledger(config())._restore(before)
    assert state.account.dust == D("0.001")


def test_a_checkpoint_of_a_newer_program_is_left_alone() -> None:
    before = stored(config(), Account(cash=D(9)))
    account = {**before.broker_state["account"], "version": 99}
    with pytest.raises(CheckpointNewer, match="run the newer program"):
        ledger(config())._restore(replace(before, broker_state={**before.broker_state, "account": account}))
