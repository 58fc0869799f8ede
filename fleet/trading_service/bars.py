"""Retention of `trading_bars`: old rows go, in small steps, once nobody needs them.

Kept are bars of the last weeks of each bot's own time, those of an open trade, and those that the daily equity doesn't
know yet (`fleet.trading_service.performance`).
"""

from __future__ import annotations

from datetime import timedelta

from psycopg.rows import scalar_row

from fleet.trading_service.db import Connection, database_errors

KEEP = timedelta(days=30)

_BOTS = "SELECT bot_id FROM trading_checkpoints WHERE bot_id > %(after)s ORDER BY bot_id LIMIT 1000"

_PRUNE = """
    DELETE FROM trading_bars WHERE ctid = ANY (ARRAY(
        SELECT r.ctid FROM trading_bars r
        WHERE r.bot_id = %(bot_id)s
          AND r.bar_at < (SELECT max(bar_at) FROM trading_bars WHERE bot_id = %(bot_id)s) - %(keep)s::interval
          AND r.bar_at < COALESCE(
              (SELECT min(signal_at) FROM trading_trades WHERE bot_id = %(bot_id)s AND status = 'open'), 'infinity')
          AND r.bar_at < (SELECT max(e.close_at) FROM trading_equity e
              WHERE e.bot_id = r.bot_id AND e.symbol = r.symbol AND e.interval = r.interval AND e.bars > 0)
        ORDER BY r.bar_at LIMIT %(batch)s
    ))
"""


async def prune_bars(connection: Connection, keep: timedelta = KEEP, *, batch: int = 5_000) -> int:
    """Delete bars that are older than `keep` before their bot's newest, at most `batch` in a transaction.

    Args:
        connection: in autocommit mode.
        keep: counted back from the newest bar of the same bot, by the exchange's time.
        batch: rows a transaction deletes; it locks nothing else.

    Returns:
        How many bars went. Several workers may call this at once.

    Raises:
        DatabaseAway: no answer; what was deleted stays deleted.
    """
    deleted, after = 0, 0
    with database_errors():
        async with connection.cursor(row_factory=scalar_row) as cursor:
            while bots := await (await cursor.execute(_BOTS, {"after": after})).fetchall():
                for bot_id in bots:
                    deleted += await _prune_bot(connection, bot_id, keep, batch)
                after = bots[-1]
    return deleted


async def _prune_bot(connection: Connection, bot_id: int, keep: timedelta, batch: int) -> int:
    deleted = 0
    while True:
        gone = (await connection.execute(_PRUNE, {"bot_id": bot_id, "keep": keep, "batch": batch})).rowcount
        deleted += gone
        if gone < batch:
            return deleted
