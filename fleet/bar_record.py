"""What one bar leaves in the database, as values: its rows and the checkpoint after it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

Row = Mapping[str, Any]
"""Column name → value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Where a bot goes on.

    Attributes:
        last_bar_at: open time of the last committed bar; None before the first.
        bars: committed so far.
        balance: equity at that bar's close, quote currency. total_pnl: realised, net of fees.
        broker_state, strategy_state: JSON; of a damaged row anything that `load_json` returns.
    """

    symbol: str
    interval: str
    last_bar_at: datetime | None
    bars: int
    balance: Decimal
    total_pnl: Decimal
    broker_state: Mapping[str, Any]
    strategy_state: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class BarRecord:
    """What happened at one bar, as rows (column name → value).

    Attributes:
        expected_last_bar_at: the checkpoint this bar follows; must still be the stored one.
        checkpoint: the new one.
        positions: each with a key `trade`: the row of trading_trades that belongs to it.
        inputs: the row of trading_inputs; None when the bar took nothing new from outside.
        bar: the row of trading_bars; None for what happens between bars.
        opening: the row of trading_equity that says with how much a market was begun; with its first bar only.
        trade_milestones: notifications by the number of the bot's closed trades; written when the bar reaches it.
    """

    expected_last_bar_at: datetime | None
    checkpoint: Checkpoint
    orders: Sequence[Row] = field(default=())
    fills: Sequence[Row] = field(default=())
    positions: Sequence[Row] = field(default=())
    notifications: Sequence[Row] = field(default=())
    inputs: Row | None = None
    bar: Row | None = None
    opening: Row | None = None
    trade_milestones: Mapping[int, Row] = field(default_factory=dict)
