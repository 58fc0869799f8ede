"""One bar, one transaction: everything a bot did at a bar becomes durable together, or not at all.

Guarantees: a run that was fenced or ended writes nothing (its row is locked and checked first, which also makes a
fence wait for a commit under way); a bar is committed once (the checkpoint moves by compare-and-set), so repeating a
commit whose answer got lost is safe.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from fleet.bar_record import BarRecord, Checkpoint, Row
from fleet.errors import FencedError, PermanentError
from fleet.redaction import safe_notification
from fleet.states import TradeStatus
from fleet.trading_service.adapt import text_for_people
from fleet.trading_service.db import database_errors
from fleet.trading_service.lease import RunId


class CheckpointConflict(PermanentError):
    """The stored checkpoint isn't the one this process went on from: another process wrote meanwhile."""


_TRADE_JSON = ("entry_logic_params", "exit_logic_params", "extra_metadata")

_LOCK_RUN = """
    SELECT FROM trading_runs
    WHERE bot_id = %(bot_id)s AND epoch = %(epoch)s AND claimed_by = %(token)s AND ended_at IS NULL
    FOR NO KEY UPDATE
"""

_LOAD = """
    SELECT symbol, interval, last_bar_at, bars, balance, total_pnl, broker_state, strategy_state
    FROM trading_checkpoints WHERE bot_id = %s
"""

_FIRST = """
    INSERT INTO trading_checkpoints
        (bot_id, epoch, symbol, interval, last_bar_at, bars, balance, total_pnl, broker_state, strategy_state)
    VALUES (%(bot_id)s, %(epoch)s, %(symbol)s, %(interval)s, %(last_bar_at)s, %(bars)s, %(balance)s, %(total_pnl)s,
            %(broker_state)s, %(strategy_state)s)
    ON CONFLICT (bot_id) DO NOTHING
"""

_MOVE = """
    UPDATE trading_checkpoints
    SET epoch = %(epoch)s, symbol = %(symbol)s, interval = %(interval)s, last_bar_at = %(last_bar_at)s,
        bars = %(bars)s, balance = %(balance)s, total_pnl = %(total_pnl)s, broker_state = %(broker_state)s,
        strategy_state = %(strategy_state)s, updated_at = now()
    WHERE bot_id = %(bot_id)s AND last_bar_at IS NOT DISTINCT FROM %(expected)s AND bars <= %(bars)s
"""

_ORDER = """
    INSERT INTO trading_orders (client_order_id, bot_id, epoch, symbol, signal_at, leg, attempt, side, type, price,
        quantity, state, exchange_order_id, filled_quantity, average_price, reason)
    VALUES (%(client_order_id)s, %(bot_id)s, %(epoch)s, %(symbol)s, %(signal_at)s, %(leg)s, %(attempt)s, %(side)s,
        %(type)s, %(price)s, %(quantity)s, %(state)s, %(exchange_order_id)s, %(filled_quantity)s, %(average_price)s,
        %(reason)s)
    ON CONFLICT (client_order_id) DO UPDATE
    SET state = EXCLUDED.state, price = EXCLUDED.price, quantity = EXCLUDED.quantity, reason = EXCLUDED.reason,
        exchange_order_id = EXCLUDED.exchange_order_id,
        filled_quantity = EXCLUDED.filled_quantity, average_price = EXCLUDED.average_price, updated_at = now()
"""

_FILL = """
    INSERT INTO trading_fills (exchange, account, exchange_trade_id, bot_id, client_order_id, price, quantity, fee,
        fee_currency, filled_at)
    VALUES (%(exchange)s, %(account)s, %(exchange_trade_id)s, %(bot_id)s, %(client_order_id)s, %(price)s,
        %(quantity)s, %(fee)s, %(fee_currency)s, %(filled_at)s)
    ON CONFLICT (exchange, account, exchange_trade_id) DO NOTHING
"""

_POSITION = """
    INSERT INTO trading_positions (bot_id, symbol, direction, opened_at, closed_at, qty_open, avg_price, realized_pnl,
        status)
    VALUES (%(bot_id)s, %(symbol)s, %(direction)s, %(opened_at)s, %(closed_at)s, %(qty_open)s, %(avg_price)s,
        %(realized_pnl)s, %(status)s)
    ON CONFLICT (bot_id, symbol, opened_at) DO UPDATE
    SET closed_at = EXCLUDED.closed_at, qty_open = EXCLUDED.qty_open, avg_price = EXCLUDED.avg_price,
        realized_pnl = EXCLUDED.realized_pnl, status = EXCLUDED.status
    RETURNING id
"""

_TRADE = """
    INSERT INTO trading_trades (bot_id, position_id, trade_type, strategy_name, symbol, interval, direction,
        entry_order_id, exit_order_id, signal_at, entry_time, exit_time, entry_price, exit_price, entry_value,
        exit_value, size, commission, gross_pnl, net_pnl, pnl_percentage, entry_logic_name, entry_logic_params,
        exit_logic_name, exit_logic_params, exit_reason, status, quote_currency,
        extra_metadata)
    VALUES (%(bot_id)s, %(position_id)s, %(trade_type)s, %(strategy_name)s, %(symbol)s, %(interval)s, %(direction)s,
        %(entry_order_id)s, %(exit_order_id)s, %(signal_at)s, %(entry_time)s, %(exit_time)s, %(entry_price)s,
        %(exit_price)s, %(entry_value)s, %(exit_value)s, %(size)s, %(commission)s, %(gross_pnl)s, %(net_pnl)s,
        %(pnl_percentage)s, %(entry_logic_name)s, %(entry_logic_params)s, %(exit_logic_name)s, %(exit_logic_params)s,
        %(exit_reason)s, %(status)s, %(quote_currency)s, %(extra_metadata)s)
    ON CONFLICT (bot_id, entry_order_id) DO UPDATE
    SET exit_order_id = EXCLUDED.exit_order_id, exit_time = EXCLUDED.exit_time, exit_price = EXCLUDED.exit_price,
        entry_price = EXCLUDED.entry_price, entry_value = EXCLUDED.entry_value, exit_value = EXCLUDED.exit_value,
        size = EXCLUDED.size, commission = EXCLUDED.commission, gross_pnl = EXCLUDED.gross_pnl,
        net_pnl = EXCLUDED.net_pnl, pnl_percentage = EXCLUDED.pnl_percentage, exit_reason = EXCLUDED.exit_reason,
        status = EXCLUDED.status, extra_metadata = EXCLUDED.extra_metadata, updated_at = now()
"""

_NOTIFY = """
    INSERT INTO trading_notifications (bot_id, user_id, epoch, kind, severity, title, body, facts, dedupe_key, state)
    SELECT %(bot_id)s, b.user_id, %(epoch)s, %(kind)s, %(severity)s, %(title)s, %(body)s, %(facts)s, %(dedupe_key)s,
        %(state)s
    FROM trading_bots b WHERE b.id = %(bot_id)s
    ON CONFLICT (dedupe_key) DO NOTHING
"""

# without a conflict target these need no right to read
_BAR = """
    INSERT INTO trading_bars (bot_id, bar_at, symbol, interval, open, high, low, close, volume, equity, position)
    VALUES (%(bot_id)s, %(bar_at)s, %(symbol)s, %(interval)s, %(open)s, %(high)s, %(low)s, %(close)s, %(volume)s,
        %(equity)s, %(position)s)
    ON CONFLICT DO NOTHING
"""

_OPENING = """
    INSERT INTO trading_equity (bot_id, symbol, interval, day, open, open_at, high, high_at, low, low_at, close,
        close_at)
    VALUES (%(bot_id)s, %(symbol)s, %(interval)s, %(day)s, %(equity)s, %(at)s, %(equity)s, %(at)s, %(equity)s, %(at)s,
        %(equity)s, %(at)s)
    ON CONFLICT DO NOTHING
"""


_INPUTS = """
    INSERT INTO trading_inputs (bot_id, epoch, bar_at, version, market, limits, warmup, denied)
    VALUES (%(bot_id)s, %(epoch)s, %(bar_at)s, %(version)s, %(market)s, %(limits)s, %(warmup)s, %(denied)s)
"""

_SETTLE = """
    DELETE FROM tenant_reservations WHERE bot_id = %(bot_id)s AND NOT EXISTS (
        SELECT FROM trading_orders WHERE bot_id = %(bot_id)s AND leg = 'entry'
        AND state NOT IN ('filled', 'canceled', 'rejected', 'expired'))
"""


def load_checkpoint(connection: psycopg.Connection[Any], bot_id: int) -> Checkpoint | None:
    """The bot's checkpoint, or None before its first bar.

    Raises:
        DatabaseAway: no answer.
    """
    with database_errors(), connection.cursor(row_factory=class_row(Checkpoint)) as cursor:
        return cursor.execute(_LOAD, (bot_id,)).fetchone()


def first_checkpoint(connection: psycopg.Connection[Any], run: RunId, checkpoint: Checkpoint) -> Checkpoint:
    """Store where the bot begins, unless that is stored already; returns what is stored.

    Raises:
        FencedError: the run isn't current. DatabaseAway: no answer.
    """
    with database_errors(), connection.transaction():
        require_current(connection, run)
        connection.execute(_FIRST, _checkpoint_values(run, checkpoint))
    stored = load_checkpoint(connection, run.bot_id)
    assert stored is not None
    return stored


def commit_bar(connection: psycopg.Connection[Any], run: RunId, record: BarRecord) -> None:
    """Make one bar durable. Repeating it after DatabaseAway is safe.

    Raises:
        FencedError: the run isn't current; nothing was written.
        CheckpointConflict: the stored checkpoint is neither the expected one nor this bar's own.
        DatabaseAway: no answer; whether it was committed is unknown.
    """
    with database_errors(), connection.transaction():
        require_current(connection, run)
        values = {**_checkpoint_values(run, record.checkpoint), "expected": record.expected_last_bar_at}
        if _committed_before(connection, run, record):
            return
        if connection.execute(_MOVE, values).rowcount != 1:
            raise CheckpointConflict(
                f"bot {run.bot_id}: the checkpoint isn't at {record.expected_last_bar_at}; another process wrote it"
            )
        _write_rows(connection, run, record)


def write_notifications(connection: psycopg.Connection[Any], run: RunId, notifications: Sequence[Row]) -> None:
    """Put what happened between bars into the outbox. Repeating it is safe: a dedupe_key is written once.

    Raises:
        FencedError: the run isn't current; nothing was written. DatabaseAway: no answer.
    """
    with database_errors(), connection.transaction():
        require_current(connection, run)
        _notify(connection, run, notifications)


def _notify(connection: psycopg.Connection[Any], run: RunId, notifications: Sequence[Row]) -> None:
    key = {"bot_id": run.bot_id, "epoch": run.epoch}
    for notification in notifications:
        safe = safe_notification(notification)
        connection.execute(_NOTIFY, {**safe, **key, "facts": Jsonb(safe["facts"])})


def require_current(connection: psycopg.Connection[Any], run: RunId) -> None:
    """Lock the run's row until the transaction ends.

    Raises:
        FencedError: it isn't this process's any more.
    """
    key = {"bot_id": run.bot_id, "epoch": run.epoch, "token": run.token}
    if connection.execute(_LOCK_RUN, key).rowcount != 1:
        raise FencedError(f"run {run.epoch} of bot {run.bot_id} is no longer current")


def _committed_before(connection: psycopg.Connection[Any], run: RunId, record: BarRecord) -> bool:
    bar_at, bars = record.checkpoint.last_bar_at, record.checkpoint.bars
    stored = connection.execute(
        "SELECT last_bar_at, bars FROM trading_checkpoints WHERE bot_id = %s FOR NO KEY UPDATE", (run.bot_id,)
    ).fetchone()
    return stored is not None and bar_at != record.expected_last_bar_at and stored == (bar_at, bars)


def _checkpoint_values(run: RunId, checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "bot_id": run.bot_id,
        "epoch": run.epoch,
        "symbol": checkpoint.symbol,
        "interval": checkpoint.interval,
        "last_bar_at": checkpoint.last_bar_at,
        "bars": checkpoint.bars,
        "balance": checkpoint.balance,
        "total_pnl": checkpoint.total_pnl,
        "broker_state": Jsonb(checkpoint.broker_state),
        "strategy_state": Jsonb(checkpoint.strategy_state),
    }


def _write_rows(connection: psycopg.Connection[Any], run: RunId, record: BarRecord) -> None:
    key = {"bot_id": run.bot_id, "epoch": run.epoch}
    for order in record.orders:
        connection.execute(_ORDER, {**order, **key, "reason": text_for_people(order["reason"])})
    for fill in record.fills:
        connection.execute(_FILL, {**fill, **key})
    for position in record.positions:
        written = connection.execute(_POSITION, {**position, **key}).fetchone()
        assert written is not None
        connection.execute(_TRADE, {**_with_json(position["trade"], _TRADE_JSON), **key, "position_id": written[0]})
    if record.orders:
        # what the entry has become counts from here on, in the same transaction
        connection.execute(_SETTLE, key)
    if record.inputs is not None:
        columns = ("market", "limits", "warmup")
        connection.execute(_INPUTS, {**_with_json(record.inputs, columns), **key})
    _notify(connection, run, (*record.notifications, *_reached(connection, run, record)))
    if record.bar is not None:
        connection.execute(_BAR, {**record.bar, **key})
    if record.opening is not None:
        connection.execute(_OPENING, {**record.opening, **key})


def _reached(connection: psycopg.Connection[Any], run: RunId, record: BarRecord) -> Iterator[Row]:
    """The milestones that this bar's trades reach; the trades are counted where they are stored."""
    closed = sum(position["trade"]["status"] == TradeStatus.CLOSED for position in record.positions)
    if not closed or not record.trade_milestones:
        return
    row = connection.execute(
        "SELECT count(*) FROM trading_trades WHERE bot_id = %s AND status = 'closed'", (run.bot_id,)
    ).fetchone()
    assert row is not None
    yield from (note for count, note in record.trade_milestones.items() if row[0] - closed < count <= row[0])


def _with_json(row: Row, columns: Sequence[str]) -> dict[str, Any]:
    return {**row, **{name: None if row[name] is None else Jsonb(row[name]) for name in columns}}
