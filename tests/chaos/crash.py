"""Bots that are killed, or whose database connections are cut, at random moments, and what must come of it: nothing.

Each bot is the real process on real PostgreSQL over real candles. Its twin with the same id, in another database, runs
undisturbed. Everything that either wrote must be equal, to the last digit: orders, fills, trades, positions, balances,
checkpoints, notifications.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

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
"""What must be equal: table → columns. When rows were written, and by which epoch, may differ."""

OF_BARS = (
    "position_opened, position_closed, stop_loss, take_profit, order_filled, order_rejected, entries_lost, risk_breach, "
    "milestone"
)
"""Notifications that follow from bars; those about starts and stops differ, since there are more of them."""

PATIENCE_S = 180.0


@dataclass(frozen=True, kw_only=True)
class Combination:
    """One bot to disturb.

    Attributes:
        entry, exit: names of mixins with their parameters.
        candles: SYMBOL-INTERVAL of the file. sections: the rest of its config.
    """

    bot_id: int
    candles: str
    entry: tuple[str, Mapping[str, Any]]
    exit: tuple[str, Mapping[str, Any]]
    sections: Mapping[str, Any] = field(default_factory=dict)

    def config(self, folder: Path) -> dict[str, Any]:
        symbol, interval = self.candles.replace("_", "").split("-")
        logic = {
            "entry_logic": {"name": self.entry[0], "params": dict(self.entry[1])},
            "exit_logic": {"name": self.exit[0], "params": dict(self.exit[1])},
        }
        return {
            "symbol": symbol,
            "broker": {"type": "binance", "trading_mode": "paper", "cash": 10, **self.sections.get("broker", {})},
            "strategy": {"type": "CustomStrategy", "parameters": logic},
            "data": {
                "data_source": "file",
                "file_path": str(folder / f"{self.candles}.csv"),
                "interval": interval,
                "lookback_bars": 150,
            },
            "trading": {"position_size": 0.25, **self.sections.get("trading", {})},
            "risk_management": self.sections.get("risk_management", {}),
        }


def shorten(source: Path, target: Path, bars: int) -> int:
    """Copy the first candles of every file of a folder; returns the most that one has."""
    most = 0
    for path in source.glob("*.csv"):
        with path.open() as lines:
            kept = list(islice(lines, bars + 1))
        (target / path.name).write_text("".join(kept))
        most = max(most, len(kept) - 1)
    return most


@contextmanager
def second_database(url: str) -> Iterator[str]:
    """A fresh, migrated database beside the given one, for the undisturbed twins."""
    head, _, name = url.rpartition("/")
    with psycopg.connect(f"{head}/postgres", autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}_twin TEMPLATE botfleet")
        try:
            yield f"{head}/{name}_twin"
        finally:
            admin.execute(f"DROP DATABASE {name}_twin WITH (FORCE)")


class Disturbed:
    """Runs one bot to the end of its candles.

    Args:
        url: of the database. log: where the bot's log goes.
    """

    def __init__(self, url: str, combination: Combination, folder: Path, log: Path) -> None:
        self.kills = 0
        self.cuts = 0
        self._url = url
        self._bot_id = combination.bot_id
        self._log = log
        with (folder / f"{combination.candles}.csv").open() as lines:
            self.bars = sum(1 for _ in lines) - 1
        with psycopg.connect(url, autocommit=True) as database:
            database.execute(
                "INSERT INTO trading_bots (id, name, enabled, config) OVERRIDING SYSTEM VALUE "
                "VALUES (%s, %s, true, %s)",
                (self._bot_id, f"crash-{self._bot_id}", Jsonb(combination.config(folder))),
            )

    def undisturbed(self) -> None:
        """From the first to the last candle in one go."""
        with psycopg.connect(self._url, autocommit=True) as database:
            process = self._start(database)
            self._wait(database, process, partial(self._over, database))
            self._finish(process)

    def killed(self, kills: int, rng: random.Random) -> None:
        """SIGKILL at random bars, and a third of the times at a random moment of the start."""
        with psycopg.connect(self._url, autocommit=True) as database:
            for stop_at in sorted(rng.sample(range(1, self.bars - 5), kills)):
                process = self._start(database)
                if rng.random() < 1 / 3:
                    self._pause(process, rng.uniform(0.05, 2.0))
                else:
                    self._wait(database, process, partial(self._reached, database, stop_at))
                    time.sleep(rng.random() * 0.01)
                process.send_signal(signal.SIGKILL)
                process.wait()
                self.kills += 1
            process = self._start(database)
            self._wait(database, process, partial(self._over, database))
            self._finish(process)

    def cut_off(self, cuts: int, rng: random.Random) -> None:
        """End the server's side of the bot's connections, one or all, at random moments."""
        with psycopg.connect(self._url, autocommit=True) as database:
            process = self._start(database)
            self._wait(database, process, lambda: self._done(database) > 0)
            while self._done(database) < self.bars:
                time.sleep(rng.uniform(0.0, 2 * self.bars / 800 / max(cuts, 1)))
                assert process.poll() is None, f"the bot ended with {process.returncode}: see {self._log}"
                pattern = rng.choice((f"bot-{self._bot_id}-e% ledger", f"bot-{self._bot_id}%"))
                if self.cuts < cuts:
                    cut = database.execute(
                        "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity"
                        " WHERE application_name LIKE %s AND datname = current_database()",
                        (pattern,),
                    ).fetchone()
                    self.cuts += 1 if cut and cut[0] else 0
            self._finish(process)

    def _start(self, database: psycopg.Connection[Any]) -> subprocess.Popen[bytes]:
        """What the controller does after the node reported a death: end the run, start the next."""
        database.execute(
            "UPDATE trading_runs SET ended_at = now(), exit_code = 137, exit_reason = 'failed' "
            "WHERE bot_id = %s AND ended_at IS NULL",
            (self._bot_id,),
        )
        row = database.execute(
            "INSERT INTO trading_runs (bot_id, epoch, config, config_version, controller, runtime, pod_name) "
            "SELECT id, 1 + (SELECT count(*) FROM trading_runs WHERE bot_id = b.id), config, config_version, 'test', "
            "'process', 'test' FROM trading_bots b WHERE id = %s RETURNING epoch",
            (self._bot_id,),
        ).fetchone()
        assert row is not None
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "botrunner", "--bot-id", str(self._bot_id), "--epoch", str(row[0])],
                env={**os.environ, "BOTFLEET_DATABASE_URL": self._url, "BOTFLEET_LOG_LEVEL": "WARNING"},
                stdout=log,
                stderr=log,
            )

    def _done(self, database: psycopg.Connection[Any]) -> int:
        row = database.execute("SELECT bars FROM trading_checkpoints WHERE bot_id = %s", (self._bot_id,)).fetchone()
        return row[0] if row else 0

    def _reached(self, database: psycopg.Connection[Any], bars: int) -> bool:
        return self._done(database) >= bars

    def _over(self, database: psycopg.Connection[Any]) -> bool:
        """All candles are done, and the process is past its start: before that SIGTERM ends it without a release."""
        live = database.execute(
            "SELECT live_at IS NOT NULL FROM trading_runs WHERE bot_id = %s AND ended_at IS NULL", (self._bot_id,)
        ).fetchone()
        return self._reached(database, self.bars) and live == (True,)

    def _wait(
        self, database: psycopg.Connection[Any], process: subprocess.Popen[bytes], done: Callable[[], bool]
    ) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not done():
            assert process.poll() is None, f"the bot ended with {process.returncode}: see {self._log}"
            assert time.monotonic() < deadline, f"{self._done(database)} of {self.bars} bars after {PATIENCE_S:g} s"
            time.sleep(0.005)

    @staticmethod
    def _pause(process: subprocess.Popen[bytes], seconds: float) -> None:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            return
        raise AssertionError(f"the bot ended by itself with {process.returncode}")

    @staticmethod
    def _finish(process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        assert process.wait(20) == 0


@dataclass(frozen=True)
class Comparison:
    """What two databases say of the same bots.

    Attributes:
        rows: how many were compared, by table.
        differences: (table, disturbed row or None, undisturbed row or None).
    """

    rows: Mapping[str, int]
    differences: Sequence[tuple[str, Any, Any]]


def compare(url: str, twin_url: str) -> Comparison:
    """Every row of HISTORY and of the bars' notifications, one by one."""
    rows, differences = {}, []
    with psycopg.connect(url) as one, psycopg.connect(twin_url) as other:
        queries = {table: f"SELECT bot_id, {columns} FROM {table}" for table, columns in HISTORY.items()}
        kinds = ", ".join(f"'{kind}'" for kind in OF_BARS.split(", "))
        queries["trading_notifications"] = (
            f"SELECT bot_id, kind, severity, title, body, facts, dedupe_key FROM trading_notifications"
            f" WHERE kind IN ({kinds})"
        )
        for table, query in queries.items():
            found = {repr(row) for row in one.execute(query)}
            expected = {repr(row) for row in other.execute(query)}
            rows[table] = len(expected)
            differences += [(table, row, None) for row in sorted(found - expected)]
            differences += [(table, None, row) for row in sorted(expected - found)]
    return Comparison(rows, differences)


def in_pairs(tasks: Sequence[Callable[[], None]], *, workers: int = 2) -> None:
    """Run all, `workers` at a time; the first error is raised when all have ended."""
    with ThreadPoolExecutor(workers) as pool:
        for future in [pool.submit(task) for task in tasks]:
            future.result()
