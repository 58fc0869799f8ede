"""Real processes, database, candles and SIGKILLs: a bot killed at random moments trades as one never killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

pytestmark = pytest.mark.postgres

BARS = 2_000
KILLS = 20
HISTORY = {
    "trading_orders": "client_order_id, signal_at, leg, attempt, side, type, price, quantity, state, "
    "exchange_order_id, filled_quantity, average_price, reason",
    "trading_fills": "exchange, exchange_trade_id, client_order_id, price, quantity, fee, fee_currency, filled_at",
    "trading_trades": "symbol, direction, entry_order_id, exit_order_id, signal_at, entry_time, exit_time, "
    "entry_price, exit_price, size, commission, gross_pnl, net_pnl, pnl_percentage, exit_reason, status",
    "trading_positions": "symbol, direction, opened_at, closed_at, qty_open, avg_price, realized_pnl, status",
    "trading_bars": "bar_at, symbol, interval, open, high, low, close, volume, equity, position",
    "trading_equity": "symbol, interval, day, open, close, close_at, bars",
    "trading_checkpoints": "last_bar_at, bars, balance, total_pnl, broker_state, strategy_state",
}


@pytest.fixture(scope="module")
def candles(candle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("candles") / "ETH_BTC-5m.csv"
    with (candle_folder / "ETH_BTC-5m.csv").open() as source:
        path.write_text("".join(islice(source, BARS + 1)))
    return path


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
        "trading": {"position_size": 0.25},
        "risk_management": {"stop_loss_pct": 2, "take_profit_pct": 3, "max_daily_trades": 20},
    }


def new_bot(database: psycopg.Connection[Any], made: Mapping[str, Any], bot_id: int) -> None:
    """A bot with a chosen id: order ids depend on it."""
    database.execute(
        "INSERT INTO trading_bots (id, name, enabled, config) OVERRIDING SYSTEM VALUE VALUES (%s, 'crash', true, %s)",
        (bot_id, Jsonb(made)),
    )


def next_run(database: psycopg.Connection[Any], bot_id: int) -> int:
    """What the controller does after the node reported a death: end the run, start the next."""
    database.execute(
        "UPDATE trading_runs SET ended_at = now(), exit_code = 137, exit_reason = 'failed' "
        "WHERE bot_id = %s AND ended_at IS NULL",
        (bot_id,),
    )
    row = database.execute(
        "INSERT INTO trading_runs (bot_id, epoch, config, config_version, controller, runtime, pod_name) "
        "SELECT id, 1 + (SELECT count(*) FROM trading_runs WHERE bot_id = b.id), config, config_version, 'test', "
        "'process', 'test' FROM trading_bots b WHERE id = %s RETURNING epoch",
        (bot_id,),
    ).fetchone()
    assert row is not None
    epoch: int = row[0]
    return epoch


def start(url: str, bot_id: int, epoch: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "botrunner", "--bot-id", str(bot_id), "--epoch", str(epoch)],
        env={**os.environ, "BOTFLEET_DATABASE_URL": url, "BOTFLEET_LOG_LEVEL": "WARNING"},
    )


def bars_done(database: psycopg.Connection[Any], bot_id: int) -> int:
    row = database.execute("SELECT bars FROM trading_checkpoints WHERE bot_id = %s", (bot_id,)).fetchone()
    return row[0] if row else 0


def wait_for(database: psycopg.Connection[Any], bot_id: int, bars: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while bars_done(database, bot_id) < bars:
        assert process.poll() is None, f"the bot ended with {process.returncode}"
        assert time.monotonic() < deadline, f"only {bars_done(database, bot_id)} of {bars} bars after 60 s"
        time.sleep(0.002)


def history(database: psycopg.Connection[Any]) -> dict[str, list[Any]]:
    return {
        table: sorted(database.execute(f"SELECT {columns} FROM {table}").fetchall(), key=repr)
        for table, columns in HISTORY.items()
    }


def test_killed_twenty_times_is_never_killed(database_url: str, candles: Path) -> None:
    made, rng = config(candles), random.Random(20)
    expected = history_of_a_whole_run(database_url, made)
    assert len(expected["trading_trades"]) > 20

    with psycopg.connect(database_url, autocommit=True) as database:
        new_bot(database, made, bot_id=7)
        for stop_at in sorted(rng.sample(range(5, BARS - 50), KILLS)):
            process = start(database_url, 7, next_run(database, 7))
            wait_for(database, 7, stop_at, process)
            time.sleep(rng.random() * 0.004)
            process.send_signal(signal.SIGKILL)
            process.wait()
        process = start(database_url, 7, next_run(database, 7))
        wait_for(database, 7, BARS, process)
        process.terminate()
        assert process.wait(20) == 0
        epochs = database.execute("SELECT count(*) FROM trading_runs WHERE bot_id = 7").fetchone()
        assert epochs == (KILLS + 1,)
        found = history(database)
    for table in HISTORY:
        different = [(a, b) for a, b in zip(found[table], expected[table], strict=True) if a != b]
        assert not different, (table, different[:2])


def history_of_a_whole_run(url: str, made: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The same bot in a database of its own, never killed."""
    head = url.rpartition("/")[0]
    name = f"{url.rpartition('/')[2]}_whole"
    with psycopg.connect(f"{head}/postgres", autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE botfleet")
        try:
            with psycopg.connect(f"{head}/{name}", autocommit=True) as database:
                new_bot(database, made, bot_id=7)
                process = start(f"{head}/{name}", 7, next_run(database, 7))
                wait_for(database, 7, BARS, process)
                process.terminate()
                assert process.wait(20) == 0
                ended = database.execute("SELECT exit_reason, exit_code FROM trading_runs").fetchone()
                assert ended == ("released", 0)
                return history(database)
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
