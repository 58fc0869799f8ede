"""What people read about a bot's performance: stored metrics, equity by day and by bar. Synchronous, reads only."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.rows import dict_row

Row = dict[str, Any]

_METRICS = """
    SELECT symbol, interval, period, period_start, calculated_at, metrics
    FROM trading_performance_metrics
    WHERE bot_id = %(bot_id)s AND (%(period)s::text IS NULL OR period = %(period)s)
    ORDER BY period_start DESC, symbol, interval LIMIT %(limit)s
"""

_DAYS = """
    SELECT symbol, interval, day, open, high, low, close, close - open AS change, close_at, bars, bars_in_position
    FROM trading_equity WHERE bot_id = %(bot_id)s ORDER BY day DESC, close_at DESC LIMIT %(limit)s
"""

_BARS = """
    SELECT symbol, interval, bar_at, close, position, equity
    FROM trading_bars WHERE bot_id = %(bot_id)s ORDER BY bar_at DESC LIMIT %(limit)s
"""


def list_metrics(connection: psycopg.Connection[Any], bot_id: int, *, period: str | None, limit: int) -> list[Row]:
    """Stored metrics of a bot, newest period first; of all kinds of periods with None."""
    return _rows(connection, _METRICS, {"bot_id": bot_id, "period": period, "limit": limit})


def list_days(connection: psycopg.Connection[Any], bot_id: int, *, limit: int) -> list[Row]:
    """Equity of the newest UTC days, newest first."""
    return _rows(connection, _DAYS, {"bot_id": bot_id, "limit": limit})


def list_bars(connection: psycopg.Connection[Any], bot_id: int, *, limit: int) -> list[Row]:
    """Equity at the newest bars, newest first."""
    return _rows(connection, _BARS, {"bot_id": bot_id, "limit": limit})


def _rows(connection: psycopg.Connection[Any], query: str, values: Row) -> list[Row]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, values).fetchall()
