"""Daily equity and performance metrics of bots, made of their trades and bars by the worker.

Guarantees: a bot's rows are read and written in one transaction of one snapshot, so a reader never sees metrics of one
bar beside equity of another, and a worker that dies in between changed nothing; any number of workers may call
`refresh` at once, each bot is done by one of them; repeating it changes nothing. Days that are over are not read from
bars again, so bars may be deleted once they are summarised (`fleet.trading_service.bars`).

Connections must be in autocommit mode. Errors of the connection surface as DatabaseAway.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

import psycopg
from psycopg.rows import class_row, dict_row, scalar_row
from psycopg.types.json import Jsonb

from fleet.config.values import INTERVAL_SECONDS
from fleet.errors import DatabaseAway
from fleet.foreign import clean_text, object_of
from fleet.log import get_logger
from fleet.performance import ClosedTrade, EquityDay, EquityPoint, Fall, extended
from fleet.performance.refresh import (
    PeriodPerformance,
    performances,
    summarised_to,
    unrecorded_start,
    with_newest_balance,
)
from fleet.trading_service.db import Connection, database_errors

log = get_logger("performance")

T = TypeVar("T")
Market = tuple[str, str]
"""Symbol and interval."""

BARS_AT_ONCE = 10_000
UNANSWERED_LIMIT = 3
LOCK = 0x626F74
"""Upper half of the advisory lock's key; the lower is the bot's id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refreshed:
    """What a round did.

    Attributes:
        bots: whose metrics are new.
        skipped: that another worker was at; they are looked at again in the next round.
        failed: whose rows can't be made sense of; logged, and tried again in the next round.
    """

    bots: int
    skipped: int
    failed: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketPerformance:
    """What a bot achieved on one market, as of its newest bar.

    Attributes:
        equity: the whole curve. changed: the days to store.
        rows: the periods to store.
    """

    symbol: str
    interval: str
    equity: tuple[EquityDay, ...]
    changed: tuple[EquityDay, ...]
    rows: list[PeriodPerformance]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Checkpoint:
    """The part of a checkpoint that matters here; `begin_equity` is what the bot began with, derived."""

    bot_id: int
    symbol: str
    interval: str
    last_bar_at: datetime | None
    updated_at: datetime
    balance: Decimal
    begin_equity: Decimal


_STALE = """
    SELECT c.bot_id FROM trading_checkpoints c
    WHERE c.bot_id > %(after)s AND c.bars > 0 AND NOT EXISTS (
        SELECT FROM trading_performance_metrics m
        WHERE m.bot_id = c.bot_id AND m.period = 'all'
          AND (m.source_at = c.updated_at OR m.calculated_at > clock_timestamp() - %(fresh_for)s)
    )
    ORDER BY c.bot_id LIMIT %(batch)s
"""

_LOCK = "SELECT pg_try_advisory_xact_lock((%(lock)s::bigint << 40) + %(bot_id)s)"

_CHECKPOINT = """
    SELECT bot_id, symbol, interval, last_bar_at, updated_at, balance,
        -- less what it earned, and what the open position is worth beyond what was paid for it
        balance - total_pnl - COALESCE((
            SELECT p.realized_pnl - t.commission
                + CASE p.direction WHEN 'long' THEN 1 ELSE -1 END * p.qty_open
                * (COALESCE(CASE WHEN c.broker_state ->> 'last_close'
                        ~ '^[0-9]{1,30}([.][0-9]{1,30})?(E[+-]?[0-9]{1,2})?$'
                    THEN (c.broker_state ->> 'last_close')::numeric END, p.avg_price) - p.avg_price)
            FROM trading_positions p JOIN trading_trades t ON t.position_id = p.id
            WHERE p.bot_id = c.bot_id AND p.status = 'open' AND t.status = 'open' LIMIT 1
        ), 0) AS begin_equity
    FROM trading_checkpoints c WHERE bot_id = %(bot_id)s
"""

_TRADES = """
    SELECT symbol, interval, entry_time AS entry_at, exit_time AS exit_at, direction, entry_value, gross_pnl, net_pnl,
        commission
    FROM trading_trades WHERE bot_id = %(bot_id)s AND status = 'closed' ORDER BY exit_time, entry_time
"""

_FALL_COLUMNS = ("fall_peak", "fall_peak_at", "fall_trough", "fall_trough_at")
_DAY_COLUMNS = (*(field.name for field in fields(EquityDay) if field.name != "fall"), *_FALL_COLUMNS)

_DAYS = f"""
    SELECT symbol, interval, {", ".join(_DAY_COLUMNS)}
    FROM trading_equity WHERE bot_id = %(bot_id)s ORDER BY symbol, interval, day
"""

_POINTS = """
    SELECT bar_at + %(length)s AS at, equity, position <> 0 AS in_position
    FROM trading_bars
    WHERE bot_id = %(bot_id)s AND symbol = %(symbol)s AND interval = %(interval)s
      AND bar_at > COALESCE(%(to)s::timestamptz - %(length)s, '-infinity')
    ORDER BY bar_at LIMIT %(limit)s
"""

_STORE_DAY = f"""
    INSERT INTO trading_equity (bot_id, symbol, interval, {", ".join(_DAY_COLUMNS)})
    VALUES (%(bot_id)s, %(symbol)s, %(interval)s, {", ".join(f"%({name})s" for name in _DAY_COLUMNS)})
    ON CONFLICT (bot_id, symbol, interval, day) DO UPDATE
    SET {", ".join(f"{name} = EXCLUDED.{name}" for name in _DAY_COLUMNS if name != "day")}
"""

_STORE_METRICS = """
    INSERT INTO trading_performance_metrics AS m
        (bot_id, symbol, interval, period, period_start, metrics, calculated_at, source_at)
    VALUES (%(bot_id)s, %(symbol)s, %(interval)s, %(period)s, %(period_start)s, %(metrics)s, clock_timestamp(),
        %(source_at)s)
    ON CONFLICT (bot_id, symbol, interval, period, period_start) DO UPDATE
    SET metrics = EXCLUDED.metrics, calculated_at = EXCLUDED.calculated_at, source_at = EXCLUDED.source_at
"""


async def refresh(
    connection: Connection, *, fresh_for: timedelta = timedelta(minutes=1), batch: int = 200
) -> Refreshed:
    """Bring metrics and daily equity of all bots up to date, bot by bot, each in a transaction of its own.

    Args:
        connection: in autocommit mode.
        fresh_for: metrics younger than this are left as they are, however many bars came since.
        batch: bots listed at a time.

    Raises:
        DatabaseAway: no answer; bots done before stay done.
    """
    bots, skipped, after, unanswered = 0, 0, 0, 0
    failed: list[int] = []
    while stale := await _stale(connection, after=after, fresh_for=fresh_for, batch=batch):
        for bot_id in stale:
            try:
                done = await _refresh_bot(connection, bot_id)
            except DatabaseAway:
                # a statement that takes too long for one bot is that bot's; several in a row are the database's
                unanswered += 1
                if connection.closed or unanswered >= UNANSWERED_LIMIT:
                    raise
                log.error("performance_unanswered", bot_id=bot_id)
                failed.append(bot_id)
            except Exception as error:
                log.error("performance_failed", bot_id=bot_id, error=clean_text(repr(error), 500))
                failed.append(bot_id)
            else:
                unanswered = 0
                bots, skipped = bots + done, skipped + (not done)
        after = stale[-1]
    return Refreshed(bots=bots, skipped=skipped, failed=tuple(failed))


async def calculate(connection: Connection, bot_id: int) -> list[MarketPerformance]:
    """What `refresh` would store for a bot, all periods, without storing anything.

    Raises:
        ValueError: the bot's rows can't be made sense of. DatabaseAway: no answer.
    """
    with database_errors():
        async with connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            checkpoint = await _checkpoint(connection, bot_id)
            return await _calculate(connection, checkpoint, everything=True) if checkpoint else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges:
    """The figures of an active bot that a monitoring system samples; money in quote currency."""

    bot_id: int
    user_id: int
    name: str
    symbol: str
    interval: str
    equity: float
    net_pnl: float
    trades: int
    drawdown_ratio: float
    max_drawdown_ratio: float
    calculated_at: datetime


_GAUGES = """
    SELECT b.id AS bot_id, b.user_id, b.name, m.symbol, m.interval,
        m.metrics, m.calculated_at
    FROM trading_bots b
    JOIN trading_checkpoints c ON c.bot_id = b.id
    JOIN trading_performance_metrics m
        ON m.bot_id = b.id AND m.symbol = c.symbol AND m.interval = c.interval AND m.period = 'all'
    WHERE b.archived_at IS NULL
    ORDER BY b.id LIMIT %(limit)s
"""


async def gauges(connection: Connection, *, limit: int = 10_000) -> list[Gauges]:
    """Newest figures of each bot that isn't archived, on the market it trades now; a damaged row is left out."""
    with database_errors():
        async with connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(_GAUGES, {"limit": limit})
            rows = await cursor.fetchall()
    found = (gauges_of(row) for row in rows)
    return [gauge for gauge in found if gauge is not None]


def gauges_of(row: dict[str, Any]) -> Gauges | None:
    """The figures of a row of `_GAUGES`; None, and a line in the log, when its metrics can't be made sense of."""
    metrics: Mapping[str, Any] = object_of(row.pop("metrics"))
    try:
        return Gauges(
            **row,
            equity=float(metrics["current_balance"]),
            net_pnl=float(metrics["net_pnl"]),
            trades=int(metrics["total_trades"]),
            drawdown_ratio=float(metrics.get("current_drawdown") or 0),
            max_drawdown_ratio=float(metrics.get("max_drawdown") or 0),
        )
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        log.error("metrics_unreadable", bot_id=row["bot_id"], error=clean_text(repr(error), 300))
        return None


# --- one bot -------------------------------------------------------------------------------------------------------


async def _stale(connection: Connection, **values: Any) -> list[int]:
    with database_errors():
        async with connection.cursor(row_factory=scalar_row) as cursor:
            await cursor.execute(_STALE, values)
            return await cursor.fetchall()


async def _refresh_bot(connection: Connection, bot_id: int) -> bool:
    """False when another worker has the bot, or was quicker."""
    with database_errors():
        try:
            async with connection.transaction():
                await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                locked = await (await connection.execute(_LOCK, {"lock": LOCK, "bot_id": bot_id})).fetchone()
                assert locked is not None
                if not locked[0]:
                    return False
                checkpoint = await _checkpoint(connection, bot_id)
                assert checkpoint is not None, "nothing deletes checkpoints"
                markets = await _calculate(connection, checkpoint, everything=False)
                await _store(connection, checkpoint, markets)
        except (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected):
            return False  # it committed after this transaction's snapshot was taken
    return True


async def _checkpoint(connection: Connection, bot_id: int) -> _Checkpoint | None:
    async with connection.cursor(row_factory=class_row(_Checkpoint)) as cursor:
        await cursor.execute(_CHECKPOINT, {"bot_id": bot_id})
        return await cursor.fetchone()


async def _calculate(connection: Connection, checkpoint: _Checkpoint, *, everything: bool) -> list[MarketPerformance]:
    bot_id, current = checkpoint.bot_id, (checkpoint.symbol, checkpoint.interval)
    async with connection.cursor(row_factory=dict_row) as cursor:
        trades = _by_market(await (await cursor.execute(_TRADES, {"bot_id": bot_id})).fetchall(), _trade)
        days = _by_market(await (await cursor.execute(_DAYS, {"bot_id": bot_id})).fetchall(), _day)
    performed = []
    for market in sorted({current, *trades, *days}):
        start = _start_equity(market, trades, days, checkpoint.begin_equity)
        known, own = tuple(days.get(market, ())), tuple(trades.get(market, ()))
        curve = await _continued(connection, bot_id, market, known, own, start)
        if market == current and summarised_to(curve) == _close(checkpoint.last_bar_at, market):
            curve = with_newest_balance(curve, balance=checkpoint.balance)
        performed.append(
            MarketPerformance(
                symbol=market[0],
                interval=market[1],
                equity=curve,
                changed=tuple(day for day in curve if day not in known),
                rows=performances(
                    days=curve,
                    trades=own,
                    start_equity=start,
                    since=None if everything else summarised_to(known),
                ),
            )
        )
    return performed


async def _continued(
    connection: Connection,
    bot_id: int,
    market: Market,
    days: tuple[EquityDay, ...],
    trades: tuple[ClosedTrade, ...],
    start_equity: Decimal,
) -> tuple[EquityDay, ...]:
    """The stored curve and the bars that it doesn't know yet."""
    symbol, interval = market
    length = timedelta(seconds=INTERVAL_SECONDS[interval])
    to = summarised_to(days)
    while True:
        values = {"bot_id": bot_id, "symbol": symbol, "interval": interval, "length": length, "to": to}
        async with connection.cursor(row_factory=class_row(EquityPoint)) as cursor:
            await cursor.execute(_POINTS, {**values, "limit": BARS_AT_ONCE})
            points = await cursor.fetchall()
        days = days or unrecorded_start(
            trades, first=points[0] if points else None, interval=length, start_equity=start_equity
        )
        days = extended(days, points) if points else days
        if len(points) < BARS_AT_ONCE:
            return days
        to = points[-1].at


async def _store(connection: Connection, checkpoint: _Checkpoint, markets: list[MarketPerformance]) -> None:
    async with connection.cursor() as cursor:
        for market in markets:
            key = {"bot_id": checkpoint.bot_id, "symbol": market.symbol, "interval": market.interval}
            if market.changed:
                await cursor.executemany(_STORE_DAY, [{**key, **_day_row(day)} for day in market.changed])
            rows = [
                {
                    **key,
                    "period": row.period,
                    "period_start": row.start,
                    "metrics": Jsonb(row.performance.as_json()),
                    "source_at": checkpoint.updated_at,
                }
                for row in market.rows
            ]
            await cursor.executemany(_STORE_METRICS, rows)


def _start_equity(
    market: Market,
    trades: Mapping[Market, list[ClosedTrade]],
    days: Mapping[Market, list[EquityDay]],
    begin_equity: Decimal,
) -> Decimal:
    """What a market was begun with: recorded, or what the bot began with and earned on others before."""
    if days.get(market):
        return days[market][0].open
    first = min((trade.entry_at for trade in trades.get(market, ())), default=None)
    others = [trade for other, made in trades.items() if other != market for trade in made]
    earned = sum((trade.net_pnl for trade in others if first is None or trade.exit_at <= first), Decimal(0))
    return round(begin_equity + earned, 12)


def _close(bar_at: datetime | None, market: Market) -> datetime | None:
    return None if bar_at is None else bar_at + timedelta(seconds=INTERVAL_SECONDS[market[1]])


def _by_market(rows: list[dict[str, Any]], make: Callable[[dict[str, Any]], T]) -> dict[Market, list[T]]:
    found: dict[Market, list[T]] = {}
    for row in rows:
        found.setdefault((row.pop("symbol"), row.pop("interval")), []).append(make(row))
    return found


def _trade(row: dict[str, Any]) -> ClosedTrade:
    return ClosedTrade(**row)


def _day(row: dict[str, Any]) -> EquityDay:
    peak, peak_at, trough, trough_at = (row.pop(name) for name in _FALL_COLUMNS)
    return EquityDay(**row, fall=None if peak is None else Fall(peak, peak_at, trough, trough_at))


def _day_row(day: EquityDay) -> dict[str, Any]:
    fall = day.fall
    row = {name: getattr(day, name) for name in _DAY_COLUMNS if name not in _FALL_COLUMNS}
    values = (None,) * 4 if fall is None else (fall.peak, fall.peak_at, fall.trough, fall.trough_at)
    return {**row, **dict(zip(_FALL_COLUMNS, values, strict=True))}
