"""A hundred bots at once: enabled in one transaction, disabled, enabled again, and what that did to them.

    python benchmarks/fleet_start.py [--bots 100] [--speed 1] [--kill-controller]
    . .botfleet/env; python benchmarks/fleet_start.py --current [--kill-controller]

By default it starts an installation of its own, like `make up RUNTIME=process`: embedded PostgreSQL, the sandbox
exchange with synthetic candles, a controller whose bots are processes. `--current` takes the one that
`.botfleet/env` describes, a kind cluster for example, and adds its bots there; they are archived at the end.
`--kill-controller` ends the controller with SIGKILL (its pod without grace) when a third of the bots are live.

Printed are the time to the last bot live and to the last one stopped, runs that were fenced or failed, messages
that told people of trouble, the longest silence of a live bot, and what the exchange refused. Exit code 1 when a run
was fenced, a bot never became live, somebody was told of trouble, or the exchange refused an address.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cli.embedded import EmbeddedPostgres, free_port
from fleet.migrations import upgrade

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
LONGEST_S = 900.0
LOOK_S = 1.0
PREFIX = "fleet-start-"
CONTROLLER = "app.kubernetes.io/name=controller"

WAITS = ("waits to start: ", "waits for a node ", "starting since ")
"""How a message begins that says how a start goes on; any other on a wanted bot is an error message."""


@dataclass
class Installation:
    """What is measured.

    Attributes:
        kill: ends the controller and has another one begin.
    """

    url: str
    sandbox: str
    kill: Callable[[], None]


@dataclass
class Exchange:
    """What the exchange says to an address: a ping a second costs 60 of 6,000."""

    url: str
    most_used: int = 0
    refused: Counter[int] = field(default_factory=Counter)

    def look(self) -> None:
        if not self.url:
            return
        try:
            with urllib.request.urlopen(f"{self.url}/api/v3/ping", timeout=5) as answer:
                used = answer.headers.get("X-MBX-USED-WEIGHT-1M") or "0"
                self.most_used = max(self.most_used, int(used))
        except urllib.error.HTTPError as error:
            self.refused[error.code] += 1
        except OSError:
            self.refused[0] += 1

    def status(self) -> dict[str, Any]:
        with suppress(OSError, ValueError), urllib.request.urlopen(f"{self.url}/_sandbox/status", timeout=5) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
        return {}


def config(number: int) -> dict[str, Any]:
    return {
        "symbol": SYMBOLS[number % len(SYMBOLS)],
        "broker": {"type": "binance", "trading_mode": "paper", "cash": 10_000},
        "strategy": {
            "type": "CustomStrategy",
            "parameters": {
                "entry_logic": {"name": "RSIOrBBEntryMixin", "params": {"rsi_oversold": 45}},
                "exit_logic": {"name": "FixedRatioExitMixin"},
            },
        },
        "data": {"interval": ("1m", "5m", "15m")[number % 3], "lookback_bars": 200},
        "trading": {"position_size": 0.1},
    }


class Fleet:
    """The bots of this benchmark, through a person's eyes."""

    def __init__(self, url: str) -> None:
        self.database = psycopg.connect(url, autocommit=True, row_factory=dict_row)
        self.ids: list[int] = []
        self.alarms: Counter[str] = Counter()
        self.silence_s = 0.0

    def add(self, count: int) -> None:
        stamp = int(time.time())
        with self.database.transaction():
            for number in range(count):
                row = self.database.execute(
                    "INSERT INTO trading_bots (name, enabled, config) VALUES (%s, false, %s) RETURNING id",
                    (f"{PREFIX}{stamp}-{number}", Jsonb(config(number))),
                ).fetchone()
                assert row is not None
                self.ids.append(row["id"])

    def enable(self, wanted: bool) -> None:
        """One transaction."""
        self.database.execute("UPDATE trading_bots SET enabled = %s WHERE id = ANY(%s)", (wanted, self.ids))

    def archive(self) -> None:
        self.database.execute("UPDATE trading_bots SET archived_at = now() WHERE id = ANY(%s)", (self.ids,))

    def live(self) -> int:
        return self._count("r.live_at IS NOT NULL AND r.ended_at IS NULL")

    def starting(self) -> int:
        return self._count("r.live_at IS NULL AND r.ended_at IS NULL")

    def stopped(self) -> int:
        row = self.database.execute(
            "SELECT count(*) AS n FROM trading_bots b WHERE id = ANY(%s) AND status = 'stopped' AND NOT EXISTS"
            " (SELECT FROM trading_runs r WHERE r.bot_id = b.id AND r.ended_at IS NULL)",
            (self.ids,),
        ).fetchone()
        assert row is not None
        return int(row["n"])

    def look(self) -> None:
        """Note what would alarm somebody at this moment."""
        for row in self.database.execute(
            "SELECT b.id, b.status, b.error_message,"
            " extract(epoch FROM clock_timestamp() - r.heartbeat_at)::float8 AS silent_s"
            " FROM trading_bots b LEFT JOIN trading_runs r ON r.bot_id = b.id AND r.ended_at IS NULL"
            " AND r.live_at IS NOT NULL WHERE b.id = ANY(%s)",
            (self.ids,),
        ):
            message = row["error_message"] or ""
            if row["status"] in ("error", "disabled") or (message and not message.startswith(WAITS)):
                self.alarms[f"{row['status']}: {message[:100]}"] += 1
            self.silence_s = max(self.silence_s, row["silent_s"] or 0.0)

    def ends(self) -> Counter[str]:
        rows = self.database.execute(
            "SELECT exit_reason, fenced_at IS NOT NULL AS fenced FROM trading_runs"
            " WHERE bot_id = ANY(%s) AND ended_at IS NOT NULL",
            (self.ids,),
        ).fetchall()
        return Counter(f"{row['exit_reason']}{' (fenced)' if row['fenced'] else ''}" for row in rows)

    def told(self) -> Counter[str]:
        """Messages of trouble that were written for people."""
        rows = self.database.execute(
            "SELECT kind, left(body, 80) AS body FROM trading_notifications"
            " WHERE bot_id = ANY(%s) AND severity <> 'info' AND kind LIKE 'bot%%'",
            (self.ids,),
        ).fetchall()
        return Counter(f"{row['kind']}: {row['body']}" for row in rows)

    def start_times(self) -> list[float]:
        rows = self.database.execute(
            "SELECT extract(epoch FROM live_at - created_at)::float8 AS s FROM trading_runs"
            " WHERE bot_id = ANY(%s) AND live_at IS NOT NULL ORDER BY 1",
            (self.ids,),
        ).fetchall()
        return [row["s"] for row in rows]

    def _count(self, condition: str) -> int:
        row = self.database.execute(
            f"SELECT count(*) AS n FROM trading_runs r WHERE bot_id = ANY(%s) AND {condition}".encode(), (self.ids,)
        ).fetchone()
        assert row is not None
        return int(row["n"])


def follow(
    fleet: Fleet, exchange: Exchange, *, count: Callable[[], int], what: str, kill: Callable[[], None] | None = None
) -> float | None:
    """Look until all are so far; the seconds, or None if they never were."""
    begin, most_starting, told = time.monotonic(), 0, 0
    while True:
        number, spent = count(), time.monotonic() - begin
        fleet.look()
        exchange.look()
        most_starting = max(most_starting, fleet.starting())
        if number == len(fleet.ids):
            print(f"{what}: all {number} after {spent:.0f} s, at most {most_starting} starting at a time", flush=True)
            return spent
        if spent > LONGEST_S:
            print(f"{what}: only {number} of {len(fleet.ids)} after {spent:.0f} s", flush=True)
            return None
        if spent // 15 > told:
            told = int(spent // 15)
            print(f"  {spent:4.0f} s: {number} {what}, {fleet.starting()} starting", file=sys.stderr, flush=True)
        if kill is not None and number >= len(fleet.ids) / 3:
            print(f"  {spent:4.0f} s: the controller is killed", file=sys.stderr, flush=True)
            kill()
            kill = None
        time.sleep(LOOK_S)


def measure(installation: Installation, *, bots: int, kill_controller: bool) -> int:
    fleet, exchange = Fleet(installation.url), Exchange(installation.sandbox)
    kill = installation.kill if kill_controller else None
    load = os.getloadavg()[0]
    fleet.add(bots)
    spent: list[float | None] = []
    try:
        for round_name in ("enabled", "enabled again"):
            fleet.enable(True)
            spent.append(follow(fleet, exchange, count=fleet.live, what=f"live after being {round_name}", kill=kill))
            fleet.enable(False)
            spent.append(follow(fleet, exchange, count=fleet.stopped, what="stopped"))
    finally:
        fleet.archive()
    ends, told, times = fleet.ends(), fleet.told(), fleet.start_times()
    fenced = sum(number for reason, number in ends.items() if "fenced" in reason or reason.startswith("not_claimed"))
    failed = ends["failed"]
    refused = sum(exchange.refused[code] for code in (418, 429))
    print(f"load before, of {os.cpu_count()} cores: {load:.1f}")
    if times:
        print(f"a start, claim included: median {times[len(times) // 2]:.1f} s, longest {times[-1]:.1f} s")
    print(f"ends of runs: {dict(ends)}")
    print(f"runs fenced or never claimed: {fenced}; failed: {failed}")
    print(f"longest silence of a live bot: {fleet.silence_s:.1f} s")
    print(f"error messages seen in rows: {dict(fleet.alarms)}")
    print(f"people told of trouble: {dict(told)}")
    counters = {key: value for key, value in exchange.status().items() if key not in ("symbols", "notes", "clock")}
    print(f"exchange: most weight used {exchange.most_used}; refused pings {dict(exchange.refused)}; {counters}")
    good = None not in spent and not (fenced or failed or refused or told or fleet.alarms)
    print("good" if good else "NOT GOOD")
    return 0 if good else 1


@contextmanager
def own_installation(folder: Path, *, speed: float) -> Iterator[Installation]:
    """Embedded PostgreSQL, the sandbox exchange and a controller with processes; all of it ends with the block."""
    state, port, sandbox_port = folder / "state", free_port(), free_port()
    server = EmbeddedPostgres(data=folder / "postgres", port=port, durable=True)
    started: list[subprocess.Popen[bytes]] = []
    sandbox = f"http://127.0.0.1:{sandbox_port}"

    def launch(name: str, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        with (folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *arguments], cwd=ROOT, env={**os.environ, **environment}, stdout=log, stderr=log
            )
        started.append(process)
        return process

    with server.start(log=folder / "postgres.log") as running:
        upgrade(running.url)
        launch(
            "sandbox", "-m", "sandbox_exchange", "--candles", "synthetic:1", "--speed", f"{speed:g}",
            "--host", "127.0.0.1", "--port", str(sandbox_port),
        )  # fmt: skip
        controllers: list[subprocess.Popen[bytes]] = []

        def controller() -> None:
            controllers.append(
                launch(
                    "controller",
                    "-m",
                    "controller",
                    BOTFLEET_DATABASE_URL=running.url,
                    BOTFLEET_RUNTIME="process",
                    BOTFLEET_STATE_DIR=str(state),
                    BOTFLEET_HTTP_HOST="127.0.0.1",
                    BOTFLEET_HTTP_PORT=str(free_port()),
                    BOTFLEET_EXCHANGE_URLS=json.dumps({"binance": sandbox}),
                )
            )

        def kill() -> None:
            controllers[-1].kill()
            controllers[-1].wait()
            controller()

        controller()
        try:
            yield Installation(running.url, sandbox, kill)
        finally:
            for process in started:
                process.kill()
                process.wait()
            _end_bots(state)


def _end_bots(state: Path) -> None:
    """Bots outlive their controller; these are found by its records, and only if they still are what those say."""
    for file in (state / "runs").glob("*.json"):
        pid = int(json.loads(file.read_text())["pid"])
        with suppress(OSError):
            if b"botrunner" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)


def current_installation() -> Installation:
    namespace = os.environ.get("BOTFLEET_NAMESPACE", "botfleet")

    def kill() -> None:
        subprocess.run(
            ["kubectl", "-n", namespace, "delete", "pod", "-l", CONTROLLER, "--grace-period=0", "--force"],
            check=True,
            capture_output=True,
        )

    return Installation(os.environ["BOTFLEET_DATABASE_URL"], os.environ.get("BOTFLEET_SANDBOX_URL", ""), kill)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bots", type=int, default=100)
    parser.add_argument("--speed", type=float, default=1, help="of the sandbox's clock; only for an own installation")
    parser.add_argument("--current", action="store_true", help="use the installation of .botfleet/env")
    parser.add_argument("--kill-controller", action="store_true")
    parser.add_argument("--keep", type=Path, help="folder for logs that stays")
    options = parser.parse_args()
    if options.current:
        return measure(current_installation(), bots=options.bots, kill_controller=options.kill_controller)
    with tempfile.TemporaryDirectory(prefix="fleet-start-") as made:
        folder = options.keep or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        with own_installation(folder, speed=options.speed) as installation:
            return measure(installation, bots=options.bots, kill_controller=options.kill_controller)


if __name__ == "__main__":
    sys.exit(main())
