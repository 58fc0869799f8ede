"""Everything that a replay of a bot needs, and everything to compare it with: read in one snapshot, nothing written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import class_row, dict_row

from fleet.bar_record import Checkpoint
from fleet.errors import PermanentError
from fleet.trading_service.db import database_errors

Row = dict[str, Any]


class NothingRecorded(PermanentError):
    """The database doesn't have what a replay needs; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run: its config, and how it ended."""

    epoch: int
    config: Mapping[str, Any]
    live_at: datetime | None
    exit_reason: str | None


@dataclass(frozen=True, slots=True)
class InputRow:
    """What a run took from outside from this bar on (`botrunner.ledger.inputs`); None: as before."""

    epoch: int
    bar_at: datetime
    version: str | None
    market: Mapping[str, Any] | None
    limits: Mapping[str, Any] | None
    warmup: Sequence[Sequence[Any]] | None
    denied: str | None


@dataclass(frozen=True, slots=True)
class BarRow:
    """A committed bar: the candle that was seen, and what the bot was worth and held at its close."""

    symbol: str
    interval: str
    bar_at: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    equity: Decimal
    position: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A bot's whole record; rows of orders, fills, trades and positions in the columns of their tables."""

    bot_id: int
    runs: Sequence[RunRow]
    inputs: Sequence[InputRow]
    bars: Sequence[BarRow]
    orders: Sequence[Row]
    fills: Sequence[Row]
    trades: Sequence[Row]
    positions: Sequence[Row]
    checkpoint: Checkpoint


_RUNS = "SELECT epoch, config, live_at, exit_reason FROM trading_runs WHERE bot_id = %s ORDER BY epoch"
_INPUTS = """
    SELECT epoch, bar_at, version, market, limits, warmup, denied FROM trading_inputs WHERE bot_id = %s
    ORDER BY epoch, bar_at
"""
_BARS = """
    SELECT symbol, interval, bar_at, open, high, low, close, volume, equity, position FROM trading_bars
    WHERE bot_id = %s ORDER BY symbol, interval, bar_at
"""
_ROWS = {
    "orders": """
        SELECT client_order_id, epoch, symbol, signal_at, leg, attempt, side, type, price, quantity, state,
            exchange_order_id, filled_quantity, average_price, reason
        FROM trading_orders WHERE bot_id = %s ORDER BY signal_at, client_order_id
    """,
    "fills": """
        SELECT f.exchange, f.account, f.exchange_trade_id, f.client_order_id, f.price, f.quantity, f.fee,
            f.fee_currency, f.filled_at, o.signal_at, o.epoch
        FROM trading_fills f JOIN trading_orders o USING (client_order_id)
        WHERE f.bot_id = %s ORDER BY f.filled_at, f.exchange_trade_id
    """,
    "trades": """
        SELECT t.symbol, t.interval, t.trade_type, t.strategy_name, t.direction, t.entry_order_id, t.exit_order_id,
            t.signal_at, t.entry_time, t.exit_time, t.entry_price, t.exit_price, t.entry_value, t.exit_value, t.size,
            t.commission, t.gross_pnl, t.net_pnl, t.pnl_percentage, t.exit_reason, t.status, o.epoch
        FROM trading_trades t JOIN trading_orders o ON o.client_order_id = t.entry_order_id
        WHERE t.bot_id = %s ORDER BY t.signal_at, t.id
    """,
    "positions": """
        SELECT t.entry_order_id, t.signal_at, o.epoch, p.symbol, p.direction, p.opened_at, p.closed_at, p.qty_open,
            p.avg_price, p.realized_pnl, p.status
        FROM trading_positions p JOIN trading_trades t ON t.position_id = p.id
        JOIN trading_orders o ON o.client_order_id = t.entry_order_id
        WHERE p.bot_id = %s ORDER BY p.opened_at
    """,
}
_CHECKPOINT = """
    SELECT symbol, interval, last_bar_at, bars, balance, total_pnl, broker_state, strategy_state
    FROM trading_checkpoints WHERE bot_id = %s
"""


def recorded(connection: psycopg.Connection[Any], bot_id: int) -> Recorded:
    """A bot's record, all of one moment (within a transaction of the caller's, of that).

    Raises:
        NothingRecorded: it has no bars or inputs yet, or the schema is too old to have any. DatabaseAway: no answer.
    """
    own = connection.info.transaction_status is TransactionStatus.IDLE
    with database_errors(), connection.transaction():
        if own:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        for table in ("trading_bars", "trading_inputs"):
            if connection.execute("SELECT to_regclass(%s)", (table,)).fetchone() == (None,):
                raise NothingRecorded(f"the database has no table {table}: run `botfleet db migrate`")
        with connection.cursor(row_factory=class_row(Checkpoint)) as cursor:
            checkpoint = cursor.execute(_CHECKPOINT, (bot_id,)).fetchone()
        found = Recorded(
            bot_id=bot_id,
            runs=_of(connection, RunRow, _RUNS, bot_id),
            inputs=_of(connection, InputRow, _INPUTS, bot_id),
            bars=_of(connection, BarRow, _BARS, bot_id),
            checkpoint=checkpoint or _none_yet(bot_id),
            **{name: _rows(connection, query, bot_id) for name, query in _ROWS.items()},
        )
    if not found.inputs:
        _none_yet(bot_id)
    return found


def _none_yet(bot_id: int) -> Any:
    raise NothingRecorded(
        f"bot {bot_id} has no bars that can be replayed: it hasn't traded yet, or only with a version of Botfleet that "
        "didn't record its inputs"
    )


def _of(connection: psycopg.Connection[Any], kind: type[Any], query: str, bot_id: int) -> list[Any]:
    with connection.cursor(row_factory=class_row(kind)) as cursor:
        return cursor.execute(query, (bot_id,)).fetchall()


def _rows(connection: psycopg.Connection[Any], query: str, bot_id: int) -> list[Row]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, (bot_id,)).fetchall()
