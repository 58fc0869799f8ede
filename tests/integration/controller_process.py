"""A controller as a real process with the process runtime and `fake_bot.py` as its bots, for integration tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from cli.embedded import free_port

REPOSITORY = Path(__file__).resolve().parents[2]
FAST = {
    # everything quick; T_dead holds contact gap + heartbeat + 10 s for a reconnect, as the settings demand
    "BOTFLEET_HEARTBEAT_INTERVAL_S": "0.4",
    "BOTFLEET_T_STOP_S": "1",
    "BOTFLEET_ORDER_TIMEOUT_S": "0.5",
    "BOTFLEET_CLOCK_DRIFT_S": "0.1",
    "BOTFLEET_T_DEAD_S": "11.5",
    "BOTFLEET_CONTACT_GAP_S": "1",
    "BOTFLEET_WATCH_INTERVAL_S": "0.3",
    "BOTFLEET_POLL_INTERVAL_S": "5",
    "BOTFLEET_SHARD_TTL_S": "3",
    "BOTFLEET_HUNG_AFTER_S": "2",
    "BOTFLEET_GRACE_S": "2",
    "BOTFLEET_CLAIM_DEADLINE_S": "20",
    "BOTFLEET_BACKOFF_FIRST_S": "0.2",
    "BOTFLEET_BACKOFF_MAX_S": "1",
}


def config(**changes: Any) -> dict[str, Any]:
    """A valid config; `description` tells the fake bot which fault to have."""
    mixin = {"name": "RSIBBVolumeEntryMixin", "params": {}}
    return {
        "symbol": "BTCUSDT",
        "strategy": {
            "type": "CustomStrategy",
            "parameters": {"entry_logic": mixin, "exit_logic": {"name": "ATRExitMixin", "params": {}}},
        },
        "data": {"interval": "1h"},
        **changes,
    }


class Fleet:
    """One controller at a time (or two), and the database through a person's eyes."""

    def __init__(self, url: str, folder: Path, **environment: str) -> None:
        self.url = url
        self.environment = environment
        self.folder = folder
        self.connection = psycopg.connect(url, autocommit=True, row_factory=dict_row)
        self.controllers: list[subprocess.Popen[bytes]] = []

    def start(self, **environment: str) -> subprocess.Popen[bytes]:
        """Start a controller; returns at once."""
        settings = {
            **os.environ,
            **FAST,
            "BOTFLEET_DATABASE_URL": self.url,
            "BOTFLEET_RUNTIME": "process",
            "BOTFLEET_STATE_DIR": str(self.folder / "state"),
            "BOTFLEET_BOT_COMMAND": json.dumps(["python", str(REPOSITORY / "tests/integration/fake_bot.py")]),
            "BOTFLEET_HTTP_HOST": "127.0.0.1",
            "BOTFLEET_HTTP_PORT": str(free_port()),
            "PYTHONPATH": str(REPOSITORY),
            **self.environment,
            **environment,
        }
        with (self.folder / f"controller{len(self.controllers)}.log").open("wb") as log:
            process = subprocess.Popen([sys.executable, "-m", "controller"], env=settings, stderr=log, cwd=self.folder)
        self.controllers.append(process)
        return process

    def close(self) -> None:
        """End everything that was started, bots included."""
        for process in self.controllers:
            process.kill()
            process.wait()
        for file in (self.folder / "state" / "runs").glob("*.json"):
            pid = json.loads(file.read_text())["pid"]
            if b"fake_bot" in command_of(pid) or b"botrunner" in command_of(pid):
                os.kill(pid, signal.SIGKILL)
        self.connection.close()

    def add_bot(self, name: str = "a bot", **changes: Any) -> int:
        """Insert an enabled bot; returns its id."""
        row = self.connection.execute(
            "INSERT INTO trading_bots (name, enabled, config) VALUES (%s, true, %s) RETURNING id",
            [name, Jsonb(config(**changes))],
        ).fetchone()
        assert row is not None
        number: int = row["id"]
        return number

    def update(self, bot_id: int, **columns: Any) -> None:
        for column, value in columns.items():
            self.connection.execute(
                f"UPDATE trading_bots SET {column} = %s WHERE id = %s".encode(),
                [Jsonb(value) if column == "config" else value, bot_id],
            )

    def bot(self, bot_id: int) -> dict[str, Any]:
        row = self.connection.execute("SELECT * FROM trading_bots WHERE id = %s", [bot_id]).fetchone()
        assert row is not None
        return row

    def runs(self, bot_id: int) -> list[dict[str, Any]]:
        return self.connection.execute(
            "SELECT * FROM trading_runs WHERE bot_id = %s ORDER BY epoch", [bot_id]
        ).fetchall()

    def running(self, bot_id: int, *, epoch: int | None = None) -> dict[str, Any] | None:
        """The current run, if it is claimed and the bot shows as running."""
        runs = self.runs(bot_id)
        if not runs or runs[-1]["ended_at"] is not None or runs[-1]["claimed_at"] is None:
            return None
        if self.bot(bot_id)["status"] != "running" or (epoch is not None and runs[-1]["epoch"] != epoch):
            return None
        return runs[-1]

    def pid(self, bot_id: int) -> int:
        """Of the process that claimed the current run."""
        return int(self.runs(bot_id)[-1]["claimed_by"].rpartition("/")[2])

    def logs(self) -> str:
        return "\n".join(file.read_text() for file in sorted(self.folder.glob("controller*.log")))

    def wait(self, condition: Callable[[], Any], *, within_s: float = 10) -> float:
        """Wait for the condition; returns how long it took."""
        started = time.monotonic()
        while not condition():
            if time.monotonic() - started > within_s:
                rows = self.connection.execute("SELECT id, status, error_message FROM trading_bots").fetchall()
                runs = self.connection.execute(
                    "SELECT bot_id, epoch, claimed_by, ended_at, exit_reason, error_message FROM trading_runs"
                ).fetchall()
                raise AssertionError(f"not within {within_s} s\n{rows}\n{runs}\n{self.logs()[-6000:]}")
            time.sleep(0.01)
        return time.monotonic() - started

    def never_two_claimed(self, bot_id: int) -> bool:
        """Whether no run was claimed before all earlier ones had ended."""
        runs = [run for run in self.runs(bot_id) if run["claimed_at"]]
        return all(a["ended_at"] and a["ended_at"] <= b["claimed_at"] for a, b in pairwise(runs))


def command_of(pid: int) -> bytes:
    """Empty for a process that has ended, reaped or not."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
