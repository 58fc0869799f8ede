"""What becomes of a checkpoint when it is gone on from, by the same config or by another."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from botrunner.ledger.checkpoint import checkpoint_after, checkpoint_of, identity, restored
from botrunner.market.side import Side
from botrunner.trading.account import Account
from botrunner.trading.account_json import CheckpointDamaged, CheckpointNewer, dump, load
from botrunner.trading.order_ids import Leg
from botrunner.trading.orders import Order, OrderType
from botrunner.trading.risk import Counters
from botrunner.trading.state import BotState
from fleet.bar_record import Checkpoint
from fleet.config import BotConfig
from fleet.exit_kinds import ExitKind
from fleet.foreign import load_json
from fleet.states import OrderState
from tests.hostile_json import json_texts
from tests.unit.botrunner.bars import BAR, TRADE, config, outcome, stored

D = Decimal


def resumed(made: BotConfig, found: Checkpoint) -> tuple[BotState, dict[str, Any]]:
    went_on = restored(found, made, bot_id=7)
    return went_on.state, went_on.strategy_state


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
    state, _ = resumed(made, replace(checkpoint, broker_state={**checkpoint.broker_state, "account": old}))
    # the bar's close, less the two bars counted since
    assert state.account.counters.last_exit_at == BAR + timedelta(minutes=5) - 2 * timedelta(minutes=5)
    assert state.account.orders[0].exit_kind is kind
    assert state.account.trade is not None
    assert state.account.trade.exit_kind is kind


def test_the_same_config_goes_on_where_it_was() -> None:
    made = config()
    state, kept = resumed(made, stored(made, Account(cash=D(9), trade=TRADE, best_price=D("0.1"))))
    assert (state.last_bar_at, state.bars, state.account.trade) == (BAR, 1, TRADE)
    assert kept == {"seen": 3}


def test_another_strategy_keeps_the_position_and_forgets_the_strategys_state() -> None:
    before = stored(config(), Account(cash=D(9), trade=TRADE, best_price=D("0.1")))
    changed = config(leave="ATRExitMixin")
    assert identity(changed) != identity(config())
    found = restored(before, changed, bot_id=7)
    assert found.state.account.trade == TRADE
    assert (found.strategy_state, found.dropped) == ({}, identity(config()))
    assert restored(before, config(), bot_id=7).dropped is None


def test_another_market_needs_a_closed_position() -> None:
    before = stored(config(), Account(cash=D(9), trade=TRADE, best_price=D("0.1")))
    with pytest.raises(CheckpointDamaged, match="still holds a position or an open order in ETHBTC"):
        resumed(config("LTCBTC"), before)


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
        resumed(config("LTCBTC"), before)


def test_a_flat_bot_takes_its_cash_to_another_market() -> None:
    moved = restored(stored(config(), Account(cash=D(9))), config("LTCBTC"), bot_id=7)
    assert (moved.state.account.cash, moved.state.last_bar_at, moved.opening) == (9, None, 9)


def test_the_first_bar_of_a_market_follows_its_opening() -> None:
    begun = checkpoint_of(BotState(account=Account(cash=D(10))), {}, config())
    assert restored(begun, config(), bot_id=7).opening == 10
    assert restored(stored(config(), Account(cash=D(10))), config(), bot_id=7).opening is None


def test_dust_of_one_market_is_nothing_in_another() -> None:
    before = stored(config(), Account(cash=D(9), dust=D("0.001")))
    state, _ = resumed(config("LTCBTC"), before)
    assert state.account.dust == 0
    state, _ = resumed(config(), before)
    assert state.account.dust == D("0.001")


@pytest.mark.parametrize("broken", [{}, {"account": {}, "last_close": None}, {"account": None, "last_close": "x"}])
def test_a_damaged_checkpoint_says_so(broken: dict[str, Any]) -> None:
    made = config()
    with pytest.raises(CheckpointDamaged, match="trading_checkpoints of bot 7"):
        resumed(made, stored(made, Account(cash=D(9)), broker_state=broken))


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
            resumed(made, replace(whole, **{column: damaged}))
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
        resumed(made, damaged)


def test_a_checkpoint_of_a_newer_program_is_left_alone() -> None:
    before = stored(config(), Account(cash=D(9)))
    account = {**before.broker_state["account"], "version": 99}
    with pytest.raises(CheckpointNewer, match="run the newer program"):
        resumed(config(), replace(before, broker_state={**before.broker_state, "account": account}))


def test_a_checkpoint_is_worth_its_account_at_the_close() -> None:
    account = Account(cash=D(9), trade=TRADE, best_price=D("0.1"), total_pnl=D("0.5"))
    checkpoint = checkpoint_after(outcome(account=account, close=D("0.2"), bars=4), config())
    assert (checkpoint.balance, checkpoint.total_pnl, checkpoint.bars) == (D("9.3"), D("0.5"), 4)
    assert checkpoint.broker_state["last_close"] == "0.2"
    fresh = checkpoint_of(BotState(account=Account(cash=D(9))), {}, config())
    assert (fresh.balance, fresh.broker_state["last_close"]) == (9, None)
