"""Metrics and daily equity on a real PostgreSQL: what the worker stores is what the rows say, whoever dies meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb
from typer.testing import CliRunner

from cli.main import app
from fleet.errors import DatabaseAway
from fleet.performance import ClosedTrade, EquityPoint, measure
from fleet.trading_service.bars import prune_bars
from fleet.trading_service.performance import LOCK, gauges, refresh
from tests.integration.performance_rows import ANY_AGE, HOUR, START, Connection, add_bars, new_bot, rows

pytestmark = pytest.mark.postgres

D = Decimal


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Connection]:
    async with await AsyncConnection.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[Connection]:
    async with await AsyncConnection.connect(database_url, autocommit=True) as connection:
        yield connection


async def add_trade(connection: Connection, bot_id: int, *, number: int, net: str, exit_at: datetime) -> None:
    order = f"{bot_id}-{number}"
    async with connection.transaction():
        await connection.execute(
            "INSERT INTO trading_orders (client_order_id, bot_id, epoch, symbol, signal_at, leg, side, type, quantity,"
            " state, reason) VALUES (%s, %s, 1, 'ETHBTC', %s, 'entry', 'buy', 'market', 1, 'filled', 'r')",
            (order, bot_id, exit_at - HOUR),
        )
        [(position,)] = await rows(
            connection,
            "INSERT INTO trading_positions (bot_id, symbol, direction, opened_at, qty_open, avg_price, status)"
            " VALUES (%s, 'ETHBTC', 'long', %s, 0, 1, 'closed') RETURNING id",
            bot_id,
            exit_at - HOUR,
        )
        await connection.execute(
            "INSERT INTO trading_trades (bot_id, position_id, trade_type, strategy_name, symbol, interval, direction,"
            " entry_order_id, signal_at, entry_time, exit_time, entry_price, entry_value, size, commission, gross_pnl,"
            " net_pnl, status) VALUES (%(bot)s, %(position)s, 'paper', 's', 'ETHBTC', '1h', 'long', %(order)s, %(entry)s,"
            " %(entry)s, %(exit)s, 1, 100, 100, 1, %(net)s::numeric + 1, %(net)s, 'closed')",
            {
                "bot": bot_id,
                "position": position,
                "order": order,
                "entry": exit_at - HOUR,
                "exit": exit_at,
                "net": D(net),
            },
        )
        await connection.execute(
            "UPDATE trading_checkpoints SET total_pnl = total_pnl + %s, updated_at = now() WHERE bot_id = %s",
            (D(net), bot_id),
        )


async def stored(connection: Connection) -> list[Any]:
    """Everything a refresh writes, except when."""
    return [
        await rows(connection, "SELECT * FROM trading_equity ORDER BY bot_id, symbol, interval, day"),
        await rows(
            connection,
            "SELECT bot_id, symbol, interval, period, period_start, metrics FROM trading_performance_metrics"
            " ORDER BY bot_id, symbol, interval, period, period_start",
        ),
    ]


async def metrics(
    connection: Connection, bot_id: int, period: str = "all", start: str = "1970-01-01"
) -> dict[str, Any]:
    [(found,)] = await rows(
        connection,
        "SELECT metrics FROM trading_performance_metrics WHERE bot_id = %s AND period = %s AND period_start = %s",
        bot_id,
        period,
        start,
    )
    assert isinstance(found, dict)
    return found


# --- a real bot on real candles ----------------------------------------------------------------------------------------

BARS = 900


def config(candles: Path) -> dict[str, Any]:
    return {
        "symbol": "ETHBTC",
        "broker": {"type": "binance", "trading_mode": "paper", "cash": 10},
        "strategy": {
            "type": "CustomStrategy",
            "parameters": {
                "entry_logic": {"name": "RSIOrBBEntryMixin", "params": {"rsi_oversold": 40, "bb_dev": 1.5}},
                "exit_logic": {"name": "ATRExitMixin", "params": {"sl_multiplier": 1.5}},
            },
        },
        "data": {"data_source": "file", "file_path": str(candles), "interval": "5m", "lookback_bars": 100},
        "trading": {"position_size": 0.25, "on_stop": "flatten"},
    }


def run_to_the_end(url: str, candles: Path) -> None:
    with psycopg.connect(url, autocommit=True) as database:
        database.execute("INSERT INTO trading_bots (name, config) VALUES ('real', %s)", (Jsonb(config(candles)),))
        database.execute(
            "INSERT INTO trading_runs (bot_id, epoch, config, config_version, controller, runtime, pod_name)"
            " SELECT id, 1, config, 1, 'test', 'process', 'test' FROM trading_bots"
        )
        process = subprocess.Popen(
            [sys.executable, "-m", "botrunner", "--bot-id", "1", "--epoch", "1"],
            env={**os.environ, "BOTFLEET_DATABASE_URL": url, "BOTFLEET_LOG_LEVEL": "WARNING"},
        )
        deadline = time.monotonic() + 120
        while database.execute("SELECT FROM trading_checkpoints WHERE bars = %s", (BARS,)).fetchone() is None:
            assert process.poll() is None, f"the bot ended with {process.returncode}"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.terminate()
        assert process.wait(20) == 0


async def test_a_real_run_is_measured_as_its_trades_and_bars_say(
    database_url: str, database: Connection, candle_folder: Path, tmp_path: Path
) -> None:
    candles = tmp_path / "ETH_BTC-5m.csv"
    with (candle_folder / "ETH_BTC-5m.csv").open() as source:
        candles.write_text("".join(islice(source, BARS + 1)))
    await asyncio.to_thread(run_to_the_end, database_url, candles)
    seen = await rows(database, "SELECT open, high, low, close, volume FROM trading_bars ORDER BY bar_at")
    with candles.open() as file:
        wanted = [tuple(D(cell) for cell in line.split(",")[1:6]) for line in islice(file, 1, None)]
    assert seen == wanted

    done = await refresh(database)
    assert (done.bots, done.failed) == (1, ())
    trades = [
        ClosedTrade(**dict(zip(ClosedTrade.__slots__, row, strict=True)))
        for row in await rows(
            database,
            "SELECT entry_time, exit_time, direction, entry_value, gross_pnl, net_pnl, commission FROM trading_trades",
        )
    ]
    points = [
        EquityPoint(at + timedelta(minutes=5), equity, position != 0)
        for at, equity, position in await rows(
            database, "SELECT bar_at, equity, position FROM trading_bars ORDER BY bar_at"
        )
    ]
    [(balance,)] = await rows(database, "SELECT balance FROM trading_checkpoints")
    points[-1] = EquityPoint(points[-1].at, balance, points[-1].in_position)  # the stop may have closed a position
    direct = measure(trades=trades, equity=points, start_equity=D(10), interval_s=300)
    assert direct.total_trades > 10
    assert await metrics(database, 1) == json.loads(json.dumps(direct.as_json()))

    days = await rows(
        database, "SELECT period_start, metrics FROM trading_performance_metrics WHERE period = 'day' ORDER BY 1"
    )
    assert sum(D(day["net_pnl"]) for _, day in days) == direct.net_pnl
    assert sum(day["total_trades"] for _, day in days) == direct.total_trades
    assert days[-1][1]["current_balance"] == direct.as_json()["current_balance"]
    total_pnl = await rows(database, "SELECT total_pnl FROM trading_checkpoints")
    assert abs(total_pnl[0][0] - direct.net_pnl) < D("1e-15")


# --- refresh -----------------------------------------------------------------------------------------------------------


async def test_bar_by_bar_or_all_at_once_is_the_same(database: Connection) -> None:
    equity = [1000, 1011, 985, 1001, 1002, 990, 1030, 1021]
    often, once = await new_bot(database), await new_bot(database)
    for number, value in enumerate(equity):
        await add_bars(database, often, [value], first=number)
        if number == 3:
            await add_trade(database, often, number=1, net="-15", exit_at=START + 4 * HOUR)
        await refresh(database, fresh_for=ANY_AGE)
    await add_bars(database, once, equity)
    await add_trade(database, once, number=1, net="-15", exit_at=START + 4 * HOUR)
    await refresh(database, fresh_for=ANY_AGE)
    found = await stored(database)
    parts = [[row[1:] for row in table if row[0] == bot] for bot in (often, once) for table in found]
    assert parts[:2] == parts[2:]
    assert len(parts[0]) == 2
    assert [row[2:4] for row in parts[1]] == [
        ("all", date(1970, 1, 1)),
        ("day", date(2018, 1, 10)),
        ("day", date(2018, 1, 11)),
        ("month", date(2018, 1, 1)),
        ("week", date(2018, 1, 8)),
    ]


async def test_refreshing_again_changes_nothing(database: Connection) -> None:
    await add_bars(database, await new_bot(database), [1001, 1002])
    assert (await refresh(database)).bots == 1
    before = await rows(database, "SELECT * FROM trading_performance_metrics")
    done = await refresh(database, fresh_for=ANY_AGE)
    assert (done.bots, done.skipped) == (0, 0)
    assert await rows(database, "SELECT * FROM trading_performance_metrics") == before


async def test_fresh_metrics_are_left_alone_for_a_while(database: Connection) -> None:
    bot = await new_bot(database)
    await add_bars(database, bot, [1001])
    await refresh(database)
    await add_bars(database, bot, [1002], first=1)
    assert (await refresh(database, fresh_for=HOUR)).bots == 0
    assert (await refresh(database, fresh_for=ANY_AGE)).bots == 1
    assert (await metrics(database, bot))["current_balance"] == "1002"


async def test_a_period_that_is_over_is_final_until_something_late_comes(database: Connection) -> None:
    bot = await new_bot(database)
    await add_bars(database, bot, [1001] * 30)
    await refresh(database)
    await database.execute("UPDATE trading_performance_metrics SET metrics = '{}' WHERE period_start < '2018-01-11'")
    await add_bars(database, bot, [1003], first=30)
    await refresh(database, fresh_for=ANY_AGE)
    assert await metrics(database, bot, "day", "2018-01-10") == {}
    assert (await metrics(database, bot, "day", "2018-01-12"))["current_balance"] == "1003"


async def test_workers_share_the_bots(database: Connection, other: Connection) -> None:
    bots = [await new_bot(database) for _ in range(12)]
    for bot in bots:
        await add_bars(database, bot, [1001, 999])
    one, two = await asyncio.gather(refresh(database, batch=5), refresh(other, batch=5))
    assert one.bots + two.bots >= 12
    assert one.failed == two.failed == ()
    done = await rows(database, "SELECT count(*) FROM trading_performance_metrics WHERE period = 'all'")
    assert done == [(12,)]


async def test_a_bot_that_another_worker_is_at_is_skipped(database: Connection, other: Connection) -> None:
    bot = await new_bot(database)
    await add_bars(database, bot, [1001])
    async with other.transaction():
        await other.execute("SELECT pg_advisory_xact_lock((%s::bigint << 40) + %s)", (LOCK, bot))
        assert (await refresh(database)).skipped == 1
    assert (await refresh(database)).bots == 1


async def test_a_worker_that_dies_in_between_changed_nothing(
    database_url: str, database: Connection, other: Connection
) -> None:
    bot = await new_bot(database)
    await add_bars(database, bot, [1001, 990])
    before = await stored(other)
    # it stores the days, then waits for this lock with the metrics
    async with other.transaction():
        await other.execute("LOCK TABLE trading_performance_metrics IN SHARE MODE")
        work = asyncio.create_task(refresh(database))
        waiting = "SELECT pid FROM pg_locks WHERE NOT granted AND relation = 'trading_performance_metrics'::regclass"
        async with asyncio.timeout(30):
            while not (found := await rows(other, waiting)):
                await asyncio.sleep(0.01)
        await other.execute("SELECT pg_terminate_backend(%s)", found[0])
        with pytest.raises(DatabaseAway):
            await work
    assert await stored(other) == before
    assert (await refresh(other)).bots == 1
    assert (await metrics(other, bot))["current_balance"] == "990"


async def test_a_bot_with_senseless_rows_stops_no_other(database: Connection) -> None:
    bad, good = await new_bot(database, at=START + 48 * HOUR), await new_bot(database)
    for bot in (bad, good):
        await add_bars(database, bot, [1001])
    done = await refresh(database, batch=1)
    assert (done.bots, done.failed) == (1, (bad,))


async def test_what_is_closed_between_bars_counts(database: Connection) -> None:
    bot = await new_bot(database)
    await add_bars(database, bot, [1001, 1005])
    await refresh(database)
    await add_trade(database, bot, number=1, net="2", exit_at=START + 2 * HOUR)
    await database.execute("UPDATE trading_checkpoints SET balance = 1002")
    await refresh(database, fresh_for=ANY_AGE)
    found = await metrics(database, bot)
    assert (found["total_trades"], found["current_balance"], found["bars"]) == (1, "1002", 2)
    assert (await metrics(database, bot, "day", "2018-01-11"))["net_pnl"] == "2"


async def test_trades_of_before_bars_were_kept(database: Connection) -> None:
    bot = await new_bot(database, opening=None)
    await add_bars(database, bot, [1001, 1005, 980], bars=False)
    await add_trade(database, bot, number=1, net="30", exit_at=START + 1 * HOUR)
    await add_trade(database, bot, number=2, net="-50", exit_at=START + 3 * HOUR)
    await refresh(database, fresh_for=ANY_AGE)
    found = await metrics(database, bot)
    assert (found["equity_basis"], found["start_balance"], found["current_balance"]) == ("trades", "1000", "980")
    assert found["max_drawdown"] == pytest.approx(50 / 1030)
    await add_bars(database, bot, [970, 1100], first=3)
    await refresh(database, fresh_for=ANY_AGE)
    found = await metrics(database, bot)
    assert (found["equity_basis"], found["start_balance"], found["bars"]) == ("mixed", "1000", 2)
    assert found["max_drawdown"] == pytest.approx(60 / 1030)


async def test_a_bot_without_a_trade_or_a_bar_has_metrics_too(database: Connection) -> None:
    bot = await new_bot(database, opening=None)
    await add_bars(database, bot, [1000], bars=False)
    assert (await refresh(database)).bots == 1
    assert (await metrics(database, bot))["equity_basis"] == "none"
    assert (await refresh(database, fresh_for=ANY_AGE)).bots == 0


async def test_gauges_are_of_the_market_a_bot_trades_now(database: Connection) -> None:
    bot = await new_bot(database)
    await add_bars(database, bot, [1001, 990])
    await refresh(database)
    [gauge] = await gauges(database)
    assert (gauge.bot_id, gauge.symbol, gauge.equity, gauge.trades) == (bot, "ETHBTC", 990.0, 0)
    assert gauge.drawdown_ratio == pytest.approx(11 / 1001)
    await database.execute("UPDATE trading_bots SET archived_at = now()")
    assert await gauges(database) == []


# --- retention ---------------------------------------------------------------------------------------------------------


async def kept(connection: Connection) -> int:
    return int((await rows(connection, "SELECT count(*) FROM trading_bars"))[0][0])


async def test_bars_are_kept_until_they_are_summarised_and_old(database: Connection) -> None:
    bot = await new_bot(database)
    await add_bars(database, bot, list(range(1000, 1050)))
    assert await prune_bars(database, timedelta(hours=10)) == 0
    await refresh(database)
    before = await metrics(database, bot)
    assert await prune_bars(database, timedelta(hours=10), batch=7) == 39
    assert await kept(database) == 11
    assert await prune_bars(database, timedelta(hours=10)) == 0
    await add_bars(database, bot, [1050], first=50)
    await refresh(database, fresh_for=ANY_AGE)
    after = await metrics(database, bot)
    assert (after["bars"], after["start_balance"], after["max_drawdown"]) == (51, "1000", before["max_drawdown"])


async def test_bars_of_an_open_trade_are_kept(database: Connection) -> None:
    bot = await new_bot(database)
    await add_bars(database, bot, [1000] * 40)
    await add_trade(database, bot, number=1, net="1", exit_at=START + 6 * HOUR)
    await database.execute("UPDATE trading_trades SET status = 'open', net_pnl = NULL, exit_time = NULL")
    await refresh(database)
    assert await prune_bars(database, timedelta(hours=10)) == 5
    assert await rows(database, "SELECT min(bar_at) FROM trading_bars") == [(START + 5 * HOUR,)]


async def test_the_workers_role_can_do_all_this(database: Connection) -> None:
    await add_bars(database, await new_bot(database), list(range(1000, 1020)))
    await database.execute("SET ROLE botfleet_worker")
    assert (await refresh(database)).bots == 1
    assert await prune_bars(database, HOUR) == 18
    assert len(await gauges(database)) == 1


# --- command line ------------------------------------------------------------------------------------------------------


async def test_the_command_line_shows_it(
    database_url: str, database: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOTFLEET_DATABASE_URL", database_url)

    def said(*words: str) -> str:
        done = CliRunner().invoke(app, ["bots", *words])
        assert done.exit_code == 0, done.output
        return done.stdout or done.stderr

    async def say(*words: str) -> str:
        return await asyncio.to_thread(said, *words)

    bot = str(await new_bot(database))
    assert "no metrics yet" in await say("performance", bot)
    assert "no bars yet" in await say("equity", bot)
    await add_bars(database, int(bot), [1001, 990])
    calculated = json.loads(await say("performance", bot, "--now", "--period", "day", "-o", "json"))
    assert "no metrics yet" in await say("performance", bot)
    await refresh(database)
    read = json.loads(await say("performance", bot, "--period", "day", "-o", "json"))
    assert [row["metrics"] for row in read] == [row["metrics"] for row in calculated]
    assert read[0]["metrics"]["current_balance"] == "990"
    for words in (["performance", bot], ["equity", bot], ["equity", bot, "--daily"]):
        assert "ETHBTC" in await say(*words)
        assert "990" in await say(*words)
        assert "symbol: ETHBTC" in await say(*words, "-o", "yaml")
