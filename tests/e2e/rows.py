"""Rows of a test's own on the e2e cluster, and how long what happens to them may take."""

from __future__ import annotations

import time
from itertools import count
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from fleet.labels import EPOCH
from tests.e2e.installation import Kubectl, wait_for

Database = psycopg.Connection[dict[str, Any]]

_numbers = count(1)
SLACK_S = 60.0
"""How long a test waits for what should take seconds: CI machines are busy."""


def config(**changes: Any) -> dict[str, Any]:
    return {
        "symbol": "ETHBTC",
        "broker": {"type": "binance", "trading_mode": "paper", "cash": 10},
        "strategy": {
            "type": "CustomStrategy",
            "parameters": {
                "entry_logic": {"name": "RSIOrBBEntryMixin", "params": {"rsi_oversold": 45, "bb_dev": 1.2}},
                "exit_logic": {"name": "TimeBasedExitMixin", "params": {"max_bars": 3}},
            },
        },
        "data": {"interval": "5m", "lookback_bars": 100},
        "trading": {"position_size": 0.2},
        **changes,
    }


class Bot:
    """A row of the test's own."""

    def __init__(self, database: Database, made: dict[str, Any]) -> None:
        self.database = database
        self.name = f"e2e-{int(time.time())}-{next(_numbers)}"
        row = database.execute(
            "INSERT INTO trading_bots (name, enabled, config) VALUES (%s, true, %s) RETURNING id",
            (self.name, Jsonb(made)),
        ).fetchone()
        assert row is not None
        self.id: int = row["id"]

    def set(self, change: str, *values: Any) -> None:
        self.database.execute(f"UPDATE trading_bots SET {change} WHERE id = %s", (*values, self.id))

    def row(self) -> dict[str, Any]:
        """The row but for its config, which may be unreadable."""
        found = self.database.execute(
            "SELECT enabled, status, error_message, error_count, config_version, created_at, last_heartbeat "
            "FROM trading_bots WHERE id = %s",
            (self.id,),
        ).fetchone()
        assert found is not None
        return found

    def runs(self) -> list[dict[str, Any]]:
        return self.database.execute(
            "SELECT * FROM trading_runs WHERE bot_id = %s ORDER BY epoch", (self.id,)
        ).fetchall()

    def current(self) -> dict[str, Any] | None:
        """The live run, if the bot says that it runs."""
        runs = self.runs()
        alive = bool(runs) and runs[-1]["live_at"] is not None and runs[-1]["ended_at"] is None
        return runs[-1] if alive and self.row()["status"] == "running" else None

    def running(self, *, after_epoch: int = 0) -> dict[str, Any]:
        def later() -> dict[str, Any] | None:
            run = self.current()
            return run if run and run["epoch"] > after_epoch else None

        return wait_for(
            f"bot {self.id} running after epoch {after_epoch}: {self.row()['error_message']}", later, timeout_s=SLACK_S
        )

    def has_status(self, status: str) -> None:
        wait_for(f"bot {self.id} {status}", lambda: self.row()["status"] == status, timeout_s=SLACK_S)

    def bars(self) -> int:
        row = self.database.execute("SELECT bars FROM trading_checkpoints WHERE bot_id = %s", (self.id,)).fetchone()
        return row["bars"] if row else 0

    def moves_on(self) -> None:
        """It works through more candles from here on."""
        before = self.bars()
        wait_for(f"bot {self.id} goes on", lambda: self.bars() > before, timeout_s=SLACK_S)


def one_pod(kubectl: Kubectl, bot: Bot, epoch: int) -> dict[str, Any]:
    # the object of a pod that has ended may stay for a moment
    pods = [pod for pod in kubectl.pods(bot.id) if pod["status"]["phase"] not in ("Failed", "Succeeded")]
    assert [pod["metadata"]["labels"][EPOCH] for pod in pods] == [str(epoch)]
    return pods[0]
