"""What keeping bars costs a bot's commit, and what making metrics of them costs the worker.

    python benchmarks/performance.py

Starts a PostgreSQL of its own (durable: every commit is flushed). Prints median milliseconds of a bar's commit without
its row, with it, and with a day's row updated in the same transaction; the worker's CPU time per refresh; bytes a bar.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

from cli.embedded import EmbeddedPostgres, free_port
from fleet.bar_record import BarRecord, Checkpoint
from fleet.migrations import upgrade
from fleet.trading_service.db import connect
from fleet.trading_service.lease import RunId, claim
from fleet.trading_service.ledger import commit_bar, first_checkpoint
from fleet.trading_service.performance import refresh

COMMITS = 600
BOTS = 50
HISTORY_BARS = 43_200
TRADES = 2_000
START = datetime(2024, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

DAY = """
    INSERT INTO trading_equity AS e (bot_id, symbol, interval, day, open, open_at, high, high_at, low, low_at, close,
        close_at, bars)
    VALUES (%(bot)s, 'ETHBTC', '1m', %(day)s, %(equity)s, %(at)s, %(equity)s, %(at)s, %(equity)s, %(at)s, %(equity)s,
        %(at)s, 1)
    ON CONFLICT (bot_id, symbol, interval, day) DO UPDATE
    SET high = greatest(e.high, EXCLUDED.high), low = least(e.low, EXCLUDED.low), close = EXCLUDED.close,
        close_at = EXCLUDED.close_at, bars = e.bars + 1
"""


def checkpoint(bar_at: datetime | None, bars: int) -> Checkpoint:
    return Checkpoint(
        symbol="ETHBTC",
        interval="1m",
        last_bar_at=bar_at,
        bars=bars,
        balance=Decimal("10.12345678"),
        total_pnl=Decimal("0.1"),
        broker_state={"account": {"cash": "10.12345678", "counters": {"day": "2024-01-01"}}, "last_close": "0.07"},
        strategy_state={"identity": ["CustomStrategy"], "state": {}},
    )


def bar(bar_at: datetime, number: int) -> dict[str, Any]:
    price = Decimal("0.07123400") + Decimal(number % 97) / 10**8
    return {
        "bar_at": bar_at,
        "symbol": "ETHBTC",
        "interval": "1m",
        **dict.fromkeys(("open", "high", "low", "close"), price),
        "volume": Decimal("1820.54447418"),
        "equity": Decimal("10.12345678") + price,
        "position": Decimal("1.5"),
    }


def new_bot(connection: psycopg.Connection[Any], name: str) -> RunId:
    row = connection.execute(
        "INSERT INTO trading_bots (name, config) VALUES (%s, '{}') RETURNING id", (name,)
    ).fetchone()
    assert row is not None
    connection.execute(
        "INSERT INTO trading_runs (bot_id, epoch, config, config_version, controller, runtime, pod_name)"
        " VALUES (%s, 1, '{}', 1, 'c', 'process', 'p')",
        row,
    )
    run = RunId(row[0], 1, "t")
    claim(connection, run)
    first_checkpoint(connection, run, checkpoint(None, 0))
    return run


def committer(connection: psycopg.Connection[Any], name: str, *, with_bar: bool, with_day: bool) -> Callable[[], None]:
    run, numbers = new_bot(connection, name), count(1)

    def commit() -> None:
        number = next(numbers)
        at = START + number * MINUTE
        record = BarRecord(
            expected_last_bar_at=None if number == 1 else at - MINUTE,
            checkpoint=checkpoint(at, number),
            bar=bar(at, number) if with_bar else None,
        )
        if not with_day:
            commit_bar(connection, run, record)
            return
        with connection.transaction():
            commit_bar(connection, run, record)
            connection.execute(
                DAY, {"bot": run.bot_id, "day": at.date(), "equity": bar(at, number)["equity"], "at": at}
            )

    return commit


def commits(connection: psycopg.Connection[Any]) -> Iterator[tuple[str, float]]:
    ways = {
        "no row of bars": committer(connection, "none", with_bar=False, with_day=False),
        "a row of bars": committer(connection, "bar", with_bar=True, with_day=False),
        "a row of bars, a day updated": committer(connection, "day", with_bar=True, with_day=True),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(COMMITS):  # in turn, so that a slow moment hits all
        for name, commit in ways.items():
            began = time.perf_counter()
            commit()
            taken[name].append((time.perf_counter() - began) * 1000)
    yield from ((name, median(values)) for name, values in taken.items())


def fill(connection: psycopg.Connection[Any], run: RunId, bars: int, trades: int) -> None:
    connection.execute(
        "INSERT INTO trading_bars SELECT %s, %s + n * interval '1 minute', 'ETHBTC', '1m',"
        " 0.071234 + n %% 97 * 0.00000001, 0.0713, 0.0711, 0.071234, 1820.54447418,"
        " 10 + 0.1 * sin(n / 500.0)::numeric(20, 8), n / 100 %% 2 * 1.5 FROM generate_series(0, %s) n",
        (run.bot_id, START, bars - 1),
    )
    connection.execute(
        "INSERT INTO trading_orders (client_order_id, bot_id, epoch, symbol, signal_at, leg, side, type, quantity,"
        " state, reason) SELECT %(bot)s || '-' || n, %(bot)s, 1, 'ETHBTC', %(at)s + n * interval '20 minutes', 'entry',"
        " 'buy', 'market', 1, 'filled', 'r' FROM generate_series(1, %(trades)s) n",
        {"bot": run.bot_id, "at": START, "trades": trades},
    )
    connection.execute(
        "WITH p AS (INSERT INTO trading_positions (bot_id, symbol, direction, opened_at, qty_open, avg_price, status)"
        " SELECT bot_id, symbol, 'long', signal_at, 0, 1, 'closed' FROM trading_orders WHERE bot_id = %(bot)s"
        " RETURNING id, opened_at)"
        " INSERT INTO trading_trades (bot_id, position_id, trade_type, strategy_name, symbol, interval, direction,"
        " entry_order_id, signal_at, entry_time, exit_time, entry_price, entry_value, size, commission, gross_pnl,"
        " net_pnl, status) SELECT o.bot_id, p.id, 'paper', 's', o.symbol, '1m', 'long', o.client_order_id, o.signal_at,"
        " o.signal_at, o.signal_at + interval '10 minutes', 1, 1, 1, 0.001, 0.0025, 0.0015, 'closed'"
        " FROM trading_orders o JOIN p ON p.opened_at = o.signal_at WHERE o.bot_id = %(bot)s",
        {"bot": run.bot_id},
    )
    connection.execute(
        "UPDATE trading_checkpoints SET bars = %s, last_bar_at = %s, updated_at = now() WHERE bot_id = %s",
        (bars, START + (bars - 1) * MINUTE, run.bot_id),
    )


async def refreshed_ms(url: str) -> tuple[int, float]:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        began = time.process_time()
        done = await refresh(connection, fresh_for=timedelta(0))
        assert not done.failed
        return done.bots, (time.process_time() - began) * 1000


def refreshes(connection: psycopg.Connection[Any], url: str) -> Iterator[tuple[str, float]]:
    asyncio.run(refreshed_ms(url))
    one = new_bot(connection, "history")
    fill(connection, one, HISTORY_BARS, TRADES)
    yield f"first refresh of {HISTORY_BARS:,} bars and {TRADES:,} trades", asyncio.run(refreshed_ms(url))[1]
    runs = [new_bot(connection, f"bot {number}") for number in range(BOTS)]
    for run in runs:
        fill(connection, run, 10_000, 100)
    asyncio.run(refreshed_ms(url))
    for what, who in ((f"{TRADES:,} trades", [one]), ("100 trades", runs)):
        for run in who:
            connection.execute(
                "INSERT INTO trading_bars SELECT bot_id, max(bar_at) + interval '1 minute', 'ETHBTC', '1m', 1, 1, 1, 1,"
                " 1, 10, 0 FROM trading_bars WHERE bot_id = %s GROUP BY bot_id",
                (run.bot_id,),
            )
            connection.execute(
                "UPDATE trading_checkpoints SET bars = bars + 1, last_bar_at = last_bar_at + interval '1 minute',"
                " updated_at = clock_timestamp() WHERE bot_id = %s",
                (run.bot_id,),
            )
        bots, ms = asyncio.run(refreshed_ms(url))
        assert bots == len(who)
        yield f"refresh after one more bar, {what}, per bot", ms / bots
    size = connection.execute(
        "SELECT pg_relation_size('trading_bars'), pg_indexes_size('trading_bars'), count(*) FROM trading_bars"
    ).fetchone()
    assert size is not None
    print(f"a bar: {size[0] / size[2]:.0f} bytes, and {size[1] / size[2]:.0f} in its index")


def main() -> None:
    """Measure and print."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedPostgres(data=Path(folder) / "data", port=free_port())
        with server.start() as running:
            upgrade(running.url)
            with connect(running.url, application="benchmark") as connection:
                for name, ms in commits(connection):
                    print(f"commit with {name:55} {ms:9.3f} ms")
                for name, ms in refreshes(connection, running.url):
                    print(f"{name:67} {ms:9.3f} ms")


if __name__ == "__main__":
    main()
