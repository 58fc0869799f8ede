"""Bars, trades and fills that tests of rows, checkpoints and messages share."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from botrunner.ledger.checkpoint import checkpoint_after
from botrunner.market.candle import Candle
from botrunner.market.side import Side
from botrunner.trading.account import Account
from botrunner.trading.orders import Fill
from botrunner.trading.state import BarOutcome
from botrunner.trading.trades import Trade
from fleet.bar_record import Checkpoint
from fleet.config import BotConfig, parse_config
from fleet.exit_kinds import ExitKind

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
CANDLE = Candle(1515560400000, D("0.10"), D("0.12"), D("0.09"), D("0.11"), D("7.5"))


def config(symbol: str = "ETHBTC", leave: str = "TimeBasedExitMixin", **sections: Any) -> BotConfig:
    logic = {"entry_logic": {"name": "RSIOrBBEntryMixin"}, "exit_logic": {"name": leave}}
    strategy = {"type": "CustomStrategy", "parameters": logic}
    return parse_config({"symbol": symbol, "strategy": strategy, "data": {"interval": "5m"}, **sections})


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
    """A checkpoint of a bar that left this account."""
    return replace(checkpoint_after(outcome(account=account, strategy_state={"seen": 3}), made), **changes)
