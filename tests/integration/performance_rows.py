"""Rows of a bot and its bars, as a bot commits them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg import AsyncConnection

Connection = AsyncConnection[Any]


START = datetime(2018, 1, 10, 22, tzinfo=UTC)


HOUR = timedelta(hours=1)


ANY_AGE = timedelta(0)


async def rows(connection: Connection, query: str, *values: Any) -> list[Any]:
    return await (await connection.execute(query, values)).fetchall()


async def new_bot(connection: Connection, *, opening: int | None = 1000, at: datetime = START) -> int:
    [(bot_id,)] = await rows(
        connection, "INSERT INTO trading_bots (name, config) VALUES (gen_random_uuid()::text, '{}') RETURNING id"
    )
    await connection.execute(
        "INSERT INTO trading_runs (bot_id, epoch, config, config_version, controller, runtime, pod_name)"
        " VALUES (%s, 1, '{}', 1, 'c', 'process', 'p')",
        (bot_id,),
    )
    await connection.execute(
        "INSERT INTO trading_checkpoints (bot_id, epoch, symbol, interval, balance, broker_state, strategy_state)"
        " VALUES (%s, 1, 'ETHBTC', '1h', 1000, '{}', '{}')",
        (bot_id,),
    )
    if opening is not None:
        await connection.execute(
            "INSERT INTO trading_equity (bot_id, symbol, interval, day, open, open_at, high, high_at, low, low_at, close,"
            " close_at) VALUES (%(id)s, 'ETHBTC', '1h', %(day)s, %(e)s, %(at)s, %(e)s, %(at)s, %(e)s, %(at)s, %(e)s,"
            " %(at)s)",
            {"id": bot_id, "day": at.date(), "e": opening, "at": at},
        )
    return int(bot_id)


async def add_bars(
    connection: Connection, bot_id: int, equity: list[int], *, first: int = 0, bars: bool = True
) -> None:
    """Bars with a checkpoint each, as a bot commits them."""
    for number, value in enumerate(equity, start=first):
        at = START + number * HOUR
        async with connection.transaction():
            if bars:
                await connection.execute(
                    "INSERT INTO trading_bars VALUES (%s, %s, 'ETHBTC', '1h', 1, 1, 1, 1, 1, %s, %s)",
                    (bot_id, at, value, value % 2),
                )
            await connection.execute(
                "UPDATE trading_checkpoints SET last_bar_at = %s, bars = bars + 1, balance = %s, updated_at = now()"
                " WHERE bot_id = %s",
                (at, value, bot_id),
            )
