"""Accounts of every kind that a checkpoint may keep, by name (their documents are in checkpoints.json), and documents
of earlier versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from botrunner.market.side import Side
from botrunner.trading.account import Account
from botrunner.trading.lost_entries import LostEntries
from botrunner.trading.order_ids import Leg
from botrunner.trading.orders import Order, OrderType
from botrunner.trading.risk import Counters, Denial
from botrunner.trading.trades import Trade
from fleet.exit_kinds import ExitKind
from fleet.states import OrderState

D = Decimal
BAR = datetime(2018, 1, 10, 5, 15, tzinfo=UTC)
LATER = datetime(2018, 1, 10, 5, 20, 0, 137000, tzinfo=UTC)

COUNTED = Counters(
    day=date(2018, 1, 10),
    trades_today=3,
    pnl_today=D("-7.10"),
    peak_equity=D("50.00000001"),
    last_exit_at=LATER,
    stops=(BAR - timedelta(days=1), BAR),
    breached=(Denial.MAX_DAILY_TRADES, Denial.MAX_DRAWDOWN),
)
LONG = Trade(
    side=Side.BUY,
    entry_order_id="e" * 32,
    signal_at=BAR,
    entry_at=LATER,
    size=D("1.50"),
    size_open=D("1.4985"),
    entry_value=D("0.1476"),
    commission=D("0.00014760"),
    base_fee=D("0.0015"),
    base_fee_value=D("0.0001476"),
)
SHORT = Trade(
    side=Side.SELL,
    entry_order_id="a" * 32,
    signal_at=BAR,
    entry_at=BAR,
    size=D("1E+2"),
    size_open=D(100),
    entry_value=D("984.00"),
    commission=D("0.984"),
)
PARTLY_SOLD = replace(
    LONG,
    size_open=D("0.4985"),
    exit_value=D("0.0999"),
    commission=D("0.0002475"),
    exit_order_id="f" * 32,
    exit_at=LATER,
    exit_reason="trailing_stop",
    exit_kind=ExitKind.STOP,
)
ENTRY = Order(
    client_order_id="b" * 32,
    signal_at=BAR,
    leg=Leg.ENTRY,
    attempt=0,
    side=Side.BUY,
    type=OrderType.LIMIT,
    quantity=D("1.50"),
    price=D("0.0984"),
    reason="RSIOrBBEntryMixin",
    state=OrderState.ACKED,
    exchange_order_id="paper-b",
    arrives_at=LATER,
    expires_at=BAR + timedelta(hours=1),
    working=True,
)
STOP = Order(
    client_order_id="c" * 32,
    signal_at=BAR,
    leg=Leg.STOP_LOSS,
    attempt=2,
    side=Side.SELL,
    type=OrderType.STOP,
    quantity=D("1.4985"),
    price=D("0.09545"),
    reason="stop_loss",
    exit_kind=ExitKind.STOP,
    state=OrderState.PARTIAL,
    exchange_order_id="paper-c",
    filled_quantity=D("0.5"),
    average_price=D("0.0954400000000000000000000001"),
    fill_count=2,
    working=True,
)
TARGET = replace(
    STOP,
    client_order_id="d" * 32,
    leg=Leg.TAKE_PROFIT,
    type=OrderType.LIMIT,
    reason="take_profit",
    exit_kind=ExitKind.TARGET,
    state=OrderState.REJECTED,
    exchange_order_id=None,
    filled_quantity=D(0),
    average_price=None,
    fill_count=0,
    working=False,
    rejection="Filter failure: PERCENT_PRICE_BY_SIDE ≤ 5 %",
)
EXIT = replace(
    STOP,
    client_order_id="f" * 32,
    leg=Leg.EXIT,
    attempt=0,
    type=OrderType.MARKET,
    price=None,
    reason="held for 20 bars",
    exit_kind=ExitKind.TIME,
    state=OrderState.INTENT,
    exchange_order_id=None,
    filled_quantity=D(0),
    average_price=None,
    fill_count=0,
    working=False,
    arrives_at=LATER,
)
ACCOUNTS: Mapping[str, Account] = {
    "new": Account(cash=D(100)),
    "flat, with a history": Account(cash=D("99.12345678"), counters=COUNTED, total_pnl=D("-0.87654322")),
    "an entry rests": Account(cash=D(100), orders=(ENTRY,), counters=Counters(day=date(2018, 1, 10))),
    "long, its fee in base": Account(
        cash=D("0E-8"), trade=LONG, best_price=D("0.0999"), bars_held=12, filled_at=LATER, counters=COUNTED
    ),
    "protected": Account(
        cash=D(1),
        trade=PARTLY_SOLD,
        best_price=D("0.1"),
        bars_held=3,
        orders=(STOP, TARGET),
        stops_sent=3,
        targets_sent=1,
        counters=COUNTED,
        filled_at=LATER,
    ),
    "an exit is under way": Account(cash=D(1), trade=PARTLY_SOLD, orders=(EXIT, STOP), stops_sent=1, filled_at=LATER),
    "short": Account(cash=D("1083.016"), trade=SHORT, best_price=None),
    "dust": Account(cash=D(3), dust=D("0.0004985"), total_pnl=D("0.5"), counters=Counters(last_exit_at=LATER)),
    "entries were lost": Account(cash=D(3), lost=LostEntries("unaffordable", 4, BAR)),
    "another zone": Account(
        cash=D(3), counters=Counters(last_exit_at=LATER.astimezone(timezone(timedelta(hours=5, minutes=30))))
    ),
}
V1: Mapping[str, Any] = {
    "cash": "500",
    "trade": {
        "side": "buy", "entry_order_id": "e" * 32, "signal_at": "2018-01-10T05:00:00+00:00",
        "entry_at": "2018-01-10T05:05:00+00:00", "size": "5", "size_open": "5", "entry_value": "500",
        "commission": "0", "exit_value": "0", "exit_order_id": None, "exit_at": None, "exit_reason": None,
    },
    "best_price": "104",
    "bars_held": 3,
    "waiting": [
        {
            "client_order_id": "a" * 32, "signal_at": "2018-01-10T05:15:00+00:00", "leg": "exit", "attempt": 0,
            "side": "sell", "type": "market", "quantity": "5", "price": None, "reason": "out", "state": "acked",
            "exchange_order_id": "paper-a",
        }
    ],
    "counters": {
        "day": "2018-01-10", "trades_today": 2, "pnl_today": "-1.5", "peak_equity": "1010", "bars_since_exit": 4,
    },
    "total_pnl": "-1.5",
}  # fmt: skip
"""A document of version 1: no key says so, and nothing rests at the exchange."""

V2: Mapping[str, Any] = {
    "version": 2,
    "cash": "1",
    "counters": {
        "day": "2018-01-10", "trades_today": 3, "pnl_today": "-7.10", "peak_equity": "50.00000001",
        "bars_since_exit": 2, "stops": ["2018-01-09T05:15:00+00:00", "2018-01-10T05:15:00+00:00"],
        "breached": ["max_daily_trades", "max_drawdown"],
    },
    "total_pnl": "0",
    "orders": [
        {
            "client_order_id": "c" * 32, "signal_at": "2018-01-10T05:15:00+00:00", "leg": "stop_loss", "attempt": 2,
            "side": "sell", "type": "stop", "quantity": "1.4985", "price": "0.09545", "reason": "stop_loss",
            "state": "partial", "exchange_order_id": "paper-c", "filled_quantity": "0.5",
            "average_price": "0.0954400000000000000000000001", "fill_count": 2, "working": True,
        }
    ],
    "trade": {
        "side": "buy", "entry_order_id": "e" * 32, "signal_at": "2018-01-10T05:15:00+00:00",
        "entry_at": "2018-01-10T05:20:00.137000+00:00", "size": "1.50", "size_open": "0.4985",
        "entry_value": "0.1476", "commission": "0.0002475", "exit_value": "0.0999", "exit_order_id": "f" * 32,
        "exit_at": "2018-01-10T05:20:00.137000+00:00", "exit_reason": "trailing_stop", "base_fee": "0.0015",
        "base_fee_value": "0.0001476",
    },
    "best_price": "0.1",
    "bars_held": 3,
    "sent": [3, 1],
    "filled_at": "2018-01-10T05:20:00.137000+00:00",
    "dust": "0.0001",
}  # fmt: skip
"""A document of version 2: bars since the last exit, and exits without kinds."""
