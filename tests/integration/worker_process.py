"""The worker as a real process, and an outbox to fill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

REPOSITORY = Path(__file__).resolve().parents[2]

FAST = {
    "BOTFLEET_POLL_INTERVAL_S": "0.3",
    "BOTFLEET_SEND_TIMEOUT_S": "0.5",
    "BOTFLEET_LEASE_S": "2.5",
    "BOTFLEET_TELEGRAM_PER_MINUTE": "100000",
    "BOTFLEET_EMAIL_PER_MINUTE": "100000",
    "BOTFLEET_WEBHOOK_PER_MINUTE": "100000",
}

CONFIG = {
    "symbol": "BTCUSDT",
    "strategy": {
        "type": "CustomStrategy",
        "parameters": {
            "entry_logic": {"name": "RSIBBVolumeEntryMixin"},
            "exit_logic": {"name": "ATRExitMixin"},
        },
    },
    "data": {"interval": "1h"},
}


class Outbox:
    """The database through the eyes of those who write events and read history."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.connection = psycopg.connect(url, autocommit=True, row_factory=dict_row)

    def owner(self, **columns: Any) -> None:
        names = ", ".join(f"{name} = %({name})s" for name in columns)
        self.connection.execute(f"UPDATE users SET {names} WHERE id = 1".encode(), columns)

    def bot(self, name: str = "eth", **notifications: Any) -> int:
        config = {**CONFIG, "notifications": notifications}
        row = self.connection.execute(
            "INSERT INTO trading_bots (name, config) VALUES (%s, %s) RETURNING id", (name, Jsonb(config))
        ).fetchone()
        assert row is not None
        return int(row["id"])

    def event(
        self, bot_id: int | None, key: str, *, kind: str = "bot_error", severity: str = "info", **more: Any
    ) -> int:
        values = {"title": f"title {key}", "body": f"body {key}", "user_id": 1, "facts": None, **more}
        row = self.connection.execute(
            """
            INSERT INTO trading_notifications (bot_id, user_id, kind, severity, title, body, facts, dedupe_key)
            VALUES (%(bot_id)s, %(user_id)s, %(kind)s, %(severity)s, %(title)s, %(body)s, %(facts)s, %(key)s)
            RETURNING id
            """,
            {**values, "bot_id": bot_id, "kind": kind, "severity": severity, "key": key},
        ).fetchone()
        assert row is not None
        return int(row["id"])

    def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        return self.connection.execute(query.encode(), values).fetchall()

    def states(self) -> dict[str, int]:
        return {
            row["state"]: row["n"]
            for row in self.rows("SELECT state, count(*) AS n FROM trading_notifications GROUP BY state")
        }

    def deliveries(self) -> list[dict[str, Any]]:
        return self.rows("SELECT * FROM notification_deliveries ORDER BY notification_id, channel")


class Worker:
    """One process."""

    def __init__(self, url: str, log: Path, environment: dict[str, str]) -> None:
        self.log = log
        self.stopped = False
        self._output = log.open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "worker"],
            cwd=REPOSITORY,
            env={**os.environ, "BOTFLEET_DATABASE_URL": url, **FAST, **environment},
            stdout=self._output,
            stderr=self._output,
        )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)
        self._output.close()

    def stop(self) -> int:
        self.stopped = True
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(20)
        self._output.close()
        return code


@contextmanager
def worker(url: str, log: Path, environment: dict[str, str]) -> Iterator[Worker]:
    made = Worker(url, log, environment)
    try:
        yield made
        assert made.stopped or made.process.poll() is None, f"the worker ended by itself: {log.read_text()[-2000:]}"
    finally:
        if made.process.poll() is None:
            made.kill()


def wait_until(condition: Callable[[], Any], *, within_s: float, say: Callable[[], object] = lambda: "") -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s} s: {say()}"
        time.sleep(0.05)
