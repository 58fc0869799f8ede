"""A real bot process on the sandbox exchange over HTTP, killed on the way, against the backtest that people type."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from botrunner.feeds.source import read_candles
from tests.integration.sandbox_server import Server, running
from tests.loose import LOOSE
from tests.paper import new_bot, next_run, write_candles

pytestmark = pytest.mark.postgres

HISTORY, TRADED = 300, 160
"""Candles before the bot begins, and those that it trades."""


def config() -> dict[str, Any]:
    return {
        "symbol": "ETHBTC",
        "broker": {"type": "binance", "trading_mode": "paper", "cash": 10},
        "strategy": {
            "type": "CustomStrategy",
            "parameters": {
                "entry_logic": {"name": "RSIOrBBEntryMixin", "params": LOOSE["RSIOrBBEntryMixin"]},
                "exit_logic": {"name": "TrailingStopExitMixin", "params": LOOSE["TrailingStopExitMixin"]},
            },
        },
        "data": {"interval": "5m", "lookback_bars": 100},
        "trading": {"position_size": 0.3},
        "risk_management": {"stop_loss_pct": 2},
    }


def start(url: str, exchange: Server, epoch: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "botrunner", "--bot-id", "7", "--epoch", str(epoch)],
        env={
            **os.environ,
            "BOTFLEET_DATABASE_URL": url,
            "BOTFLEET_EXCHANGE_URLS": json.dumps({"binance": exchange.url}),
            "BOTFLEET_LOG_LEVEL": "WARNING",
        },
    )


def botfleet(*arguments: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def wait_for_bars(database: psycopg.Connection[Any], bars: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 90
    while True:
        row = database.execute("SELECT bars FROM trading_checkpoints WHERE bot_id = 7").fetchone()
        if row is not None and row[0] >= bars:
            return
        assert process.poll() is None, f"the bot ended with {process.returncode}"
        assert time.monotonic() < deadline, f"{row} of {bars} bars after 90 s"
        time.sleep(0.05)


def test_a_bot_on_the_exchange_its_backtest_and_its_replay_agree(
    database_url: str, candle_folder: Path, tmp_path: Path
) -> None:
    candles = read_candles(candle_folder / "ETH_BTC-5m.csv")[: HISTORY + TRADED + 5]
    folder = tmp_path / "candles"
    folder.mkdir()
    file = write_candles(folder / "ETH_BTC-5m.csv", candles)
    options = ("--candles", str(folder), "--speed", "0", "--history", str(HISTORY), "--at-end", "stop")
    with running(*options) as exchange, psycopg.connect(database_url, autocommit=True) as database:
        new_bot(database, config(), 7)
        process = start(database_url, exchange, next_run(database, 7))
        wait_for_bars(database, 0, process)
        step = {"action": "step", "bars": TRADED // 2, "interval": "5m"}
        exchange.call("/_sandbox/clock", method="POST", body=step)
        wait_for_bars(database, TRADED // 4, process)
        process.kill()
        process.wait()
        exchange.call("/_sandbox/clock", method="POST", body=step)
        process = start(database_url, exchange, next_run(database, 7))
        wait_for_bars(database, TRADED, process)
        process.terminate()
        assert process.wait(20) == 0

        first = database.execute("SELECT min(bar_at), max(bar_at), count(*) FROM trading_bars").fetchone()
        assert first is not None
        begin, last, bars = first
        assert bars == TRADED
        environment = {
            "BOTFLEET_DATABASE_URL": database_url,
            "BOTFLEET_EXCHANGE_URLS": json.dumps({"binance": exchange.url}),
        }
        given = tmp_path / "bot.json"
        given.write_text(json.dumps(config()))
        window = ("--from", begin.isoformat(), "--to", (last + timedelta(seconds=1)).isoformat())
        done = botfleet(
            *("backtest", "--config", str(given), "--candles", str(file), *window, "--bot-id", "7", "-o", "json"),
            environment=environment,
        )
        assert done.returncode == 0, done.stderr
        made = json.loads(done.stdout)
        assert made["market"]["step"] == "0.0001", "the exchange's own rules"
        trades = database.execute(
            "SELECT entry_order_id, exit_order_id, trim_scale(size)::text, trim_scale(entry_price)::text, "
            "trim_scale(exit_price)::text, trim_scale(commission)::text, trim_scale(net_pnl)::text, exit_reason "
            "FROM trading_trades WHERE status = 'closed' ORDER BY entry_time"
        ).fetchall()
        columns = (
            "entry_order_id",
            "exit_order_id",
            "size",
            "entry_price",
            "exit_price",
            "commission",
            "net_pnl",
            "exit_reason",
        )
        assert len(trades) > 5
        assert [tuple(trade[column] for column in columns) for trade in made["trades"]] == trades
        orders = database.execute("SELECT client_order_id FROM trading_orders ORDER BY signal_at, leg").fetchall()
        assert sorted(order["client_order_id"] for order in made["orders"]) == sorted(row[0] for row in orders)
        balance = database.execute("SELECT trim_scale(balance)::text FROM trading_checkpoints").fetchone()
        assert balance == (made["final_balance"],)

        replayed = botfleet("parity", "paper-7", "--candles", "exchange", environment=environment)
        assert replayed.returncode == 0, replayed.stdout + replayed.stderr
        assert replayed.stdout.startswith(f"no difference: {TRADED} bars of 2 runs replayed")
        database.execute("UPDATE trading_fills SET price = price * 2 WHERE client_order_id = %s", (trades[2][0],))
        replayed = botfleet("parity", "paper-7", "-o", "json", environment=environment)
        assert replayed.returncode == 1
        [difference] = json.loads(replayed.stdout)["differences"]
        assert (difference["kind"], list(difference["fields"])) == ("fill", ["price"])
