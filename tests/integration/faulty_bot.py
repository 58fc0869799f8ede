"""A real bot whose strategy does what the environment says."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from tests.integration.plugin_package import REPOSITORY, offer

Connection = psycopg.Connection[Any]


PLUGIN = """
import atexit, os, signal, sys, threading, time
from botrunner.strategies.mixins import EntryMixin

class FaultyEntryMixin(EntryMixin):
    def __init__(self, strategy, params):
        super().__init__(strategy, params)
        exec(os.environ.get("AT_START", ""))

    def signal(self):
        exec(os.environ.get("AT_BAR", ""))
        return None
"""


class Bot:
    """One run of one bot, with a plugin whose code the environment gives."""

    def __init__(self, database: Connection, url: str, candles: Path) -> None:
        self._database = database
        self._folder = candles.parent
        self._url = url
        self._processes: list[subprocess.Popen[bytes]] = []
        offer(self._folder / "site", "faulty", PLUGIN, entry_mixins="Faulty = faulty:FaultyEntryMixin")
        self.config = {
            "symbol": "ETHBTC",
            "broker": {"type": "binance", "trading_mode": "paper", "cash": 10},
            "strategy": {
                "type": "CustomStrategy",
                "parameters": {"entry_logic": {"name": "Faulty"}, "exit_logic": {"name": "TimeBasedExitMixin"}},
            },
            "data": {"data_source": "file", "file_path": str(candles), "interval": "5m", "lookback_bars": 50},
        }

    def start(self, **environment: str) -> subprocess.Popen[bytes]:
        self._database.execute(
            "INSERT INTO trading_bots (id, name, enabled, config) OVERRIDING SYSTEM VALUE VALUES (1, 'b', true, %s)"
            " ON CONFLICT DO NOTHING",
            (Jsonb(self.config),),
        )
        row = self._database.execute(
            "INSERT INTO trading_runs (bot_id, epoch, config, config_version, controller, runtime, pod_name) "
            "SELECT id, 1 + (SELECT count(*) FROM trading_runs), config, config_version, 'test', 'process', 'p' "
            "FROM trading_bots RETURNING epoch"
        ).fetchone()
        assert row is not None
        with self.log.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "botrunner", "--bot-id", "1", "--epoch", str(row[0])],
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join((str(REPOSITORY), str(self._folder / "site"))),
                    "BOTFLEET_DATABASE_URL": self._url,
                    "BOTFLEET_HEARTBEAT_INTERVAL_S": "1",
                    "BOTFLEET_STRATEGY_ERRORS_IN_A_ROW": "3",
                    **environment,
                },
                stderr=stderr,
            )
        self._processes.append(process)
        return process

    @property
    def log(self) -> Path:
        return self._folder / "bot.log"

    def wait(self, what: str, holds: Callable[[], Any]) -> None:
        deadline = time.monotonic() + 60
        while not holds():
            assert self._processes[-1].poll() is None, f"ended before {what}: {self.log.read_text()[-3000:]}"
            assert time.monotonic() < deadline, f"no {what}: {self.log.read_text()[-3000:]}"
            time.sleep(0.01)

    def says(self, event: str) -> bool:
        return f'"event": "{event}"' in self.log.read_text()

    def end(self) -> tuple[Any, ...]:
        """Reason, code and message of the newest run."""
        row = self._database.execute(
            "SELECT exit_reason, exit_code, error_message FROM trading_runs ORDER BY epoch DESC LIMIT 1"
        ).fetchone()
        assert row is not None
        return row

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
