"""How long after a candle's close does a bot decide on it, and have the bar committed?

    python benchmarks/candle_latency.py [--candles 220] [--mode stream|rest|both]

Everything is real: the sandbox exchange with candles of one second at speed 1, a `botrunner` process, PostgreSQL (the
embedded one, durable). A candle closes when the exchange's clock passes its end; that clock is compared with the
database's beforehand (`/time` between two looks at the database's clock; half the round trip is the error). The
moment of the commit is the database's clock in a trigger on the checkpoint, that of the decision at the latest the
`at` of the log line `decided`, which follows the commit: one machine, one clock. Prints p50, p90 and p99.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import psycopg
from psycopg.types.json import Jsonb

from cli.embedded import EmbeddedPostgres, free_port
from fleet.migrations import upgrade

INTERVAL_MS = 1000
HISTORY = 400
FIRST_OPEN_MS = 1_767_225_600_000
CONFIG = {
    "symbol": "ETHBTC",
    "broker": {"type": "binance", "trading_mode": "paper", "cash": 10},
    "strategy": {
        "type": "CustomStrategy",
        "parameters": {
            "entry_logic": {"name": "RSIOrBBEntryMixin", "params": {"rsi_oversold": 45}},
            "exit_logic": {"name": "TimeBasedExitMixin", "params": {"max_bars": 5}},
        },
    },
    "data": {"interval": "1s", "lookback_bars": 100},
}
TRIGGER = """
    CREATE TABLE bench_commits (last_bar_at timestamptz, at timestamptz);
    CREATE FUNCTION bench_note() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN INSERT INTO bench_commits VALUES (NEW.last_bar_at, clock_timestamp()); RETURN NEW; END $$;
    CREATE TRIGGER bench_note AFTER UPDATE ON trading_checkpoints FOR EACH ROW EXECUTE FUNCTION bench_note();
"""


def write_candles(folder: Path, count: int) -> None:
    """A random walk of one-second candles."""
    draw, price = random.Random(1), 0.1
    rows = ["timestamp,open,high,low,close,volume"]
    for number in range(count):
        close = price * (1 + draw.gauss(0, 0.0005))
        high, low = max(price, close) * 1.0001, min(price, close) * 0.9999
        rows.append(f"{FIRST_OPEN_MS + number * INTERVAL_MS},{price:.6f},{high:.6f},{low:.6f},{close:.6f},5")
        price = float(f"{close:.6f}")
    (folder / "ETH_BTC-1s.csv").write_text("\n".join(rows) + "\n")


def server_ms(url: str) -> int:
    with urllib.request.urlopen(f"{url}/api/v3/time", timeout=5) as answer:
        return int(json.loads(answer.read())["serverTime"])


def offset_ms(database: psycopg.Connection[Any], url: str) -> tuple[float, float]:
    """Database time minus exchange time, ms, and how wrong it may be: the best of fifty looks."""
    best = (0.0, math.inf)
    for _ in range(50):
        begin, exchange, end = clock(database), server_ms(url), clock(database)
        if end - begin < best[1]:
            best = ((begin + end) / 2 - exchange, end - begin)
    return best[0], best[1] / 2


def clock(database: psycopg.Connection[Any]) -> float:
    row = database.execute("SELECT extract(epoch FROM clock_timestamp()) * 1000").fetchone()
    assert row is not None
    return float(row[0])


def new_run(database: psycopg.Connection[Any], name: str, config: dict[str, Any]) -> int:
    row = database.execute(
        "INSERT INTO trading_bots (name, enabled, config) VALUES (%s, true, %s) RETURNING id", (name, Jsonb(config))
    ).fetchone()
    assert row is not None
    database.execute(
        "INSERT INTO trading_runs (bot_id, epoch, config, config_version, controller, runtime, pod_name) "
        "SELECT id, 1, config, config_version, 'bench', 'process', 'bench' FROM trading_bots WHERE id = %s",
        row,
    )
    return int(row[0])


def collect(lines: IO[str], decided: dict[int, float], others: list[str]) -> None:
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            others.append(line)
            continue
        if event["event"] == "decided":
            bar = datetime.fromisoformat(event["signal_at"]).timestamp()
            decided[round(bar * 1000)] = datetime.fromisoformat(event["at"]).timestamp() * 1000
        elif event["level"] not in ("debug", "info") or event["event"] == "live":
            others.append(line)


def measure(database_url: str, exchange: str, *, stream: bool, candles: int) -> None:
    with psycopg.connect(database_url, autocommit=True) as database:
        config = {**CONFIG, "data": {**CONFIG["data"], "stream": stream}}
        bot_id = new_run(database, f"latency-{stream}", config)
        shift_ms, error_ms = offset_ms(database, exchange)
        bot = subprocess.Popen(
            [sys.executable, "-m", "botrunner", "--bot-id", str(bot_id), "--epoch", "1"],
            env={
                **os.environ,
                "BOTFLEET_DATABASE_URL": database_url,
                "BOTFLEET_EXCHANGE_URLS": json.dumps({"binance": exchange}),
                "BOTFLEET_LOG_LEVEL": "DEBUG",
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        assert bot.stderr is not None
        decided: dict[int, float] = {}
        others: list[str] = []
        reader = threading.Thread(target=collect, args=(bot.stderr, decided, others))
        reader.start()
        began = time.monotonic()
        # the first ten belong to the start
        while len(decided) < candles + 10:
            if bot.poll() is not None or time.monotonic() - began > candles * 1.5 + 60:
                raise SystemExit(f"the bot decided {len(decided)} times only:\n{''.join(others)}")
            time.sleep(1)
        ticks = sum(int(it) for it in Path(f"/proc/{bot.pid}/stat").read_text().rpartition(")")[2].split()[11:13])
        resident_mb = int(Path(f"/proc/{bot.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
        cpu_s, took_s = ticks / os.sysconf("SC_CLK_TCK"), time.monotonic() - began
        bot.terminate()
        bot.wait(20)
        reader.join()
        commits = {
            round(bar.timestamp() * 1000): at.timestamp() * 1000
            for bar, at in database.execute("SELECT last_bar_at, at FROM bench_commits WHERE last_bar_at IS NOT NULL")
        }
        database.execute("TRUNCATE bench_commits")
    bars = sorted(decided)[10 : candles + 10]
    print(f"\n{'with stream' if stream else 'REST alone'}: {len(bars)} candles; clocks compared to ±{error_ms:.2f} ms")
    print(f"  {cpu_s:.1f} s of CPU in {took_s:.0f} s, {resident_mb:.1f} MB resident")
    show("close → decision logged", [decided[bar] - (bar + INTERVAL_MS + shift_ms) for bar in bars])
    show("close → bar committed", [commits[bar] - (bar + INTERVAL_MS + shift_ms) for bar in bars])
    for line in others:
        if '"live"' not in line:
            print("  ", line.strip()[:200])


def show(name: str, milliseconds: list[float]) -> None:
    cuts = statistics.quantiles(milliseconds, n=100)
    print(
        f"  {name:26} p50 {cuts[49]:7.1f} ms  p90 {cuts[89]:7.1f} ms  p99 {cuts[98]:7.1f} ms  "
        f"least {min(milliseconds):.1f}  most {max(milliseconds):.1f}"
    )


def main() -> None:
    """Start everything, measure, stop everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candles", type=int, default=220)
    parser.add_argument("--mode", choices=["stream", "rest", "both"], default="both")
    options = parser.parse_args()
    modes = {"stream": [True], "rest": [False], "both": [True, False]}[options.mode]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_candles(folder, HISTORY + len(modes) * (options.candles * 2 + 200))
        server = EmbeddedPostgres(data=folder / "data", port=free_port(), durable=True)
        with server.start() as running:
            upgrade(running.url)
            with psycopg.connect(running.url, autocommit=True) as database:
                database.execute(TRIGGER)
            arguments = ["--candles", name, "--port", "0", "--history", str(HISTORY), "--at-end", "stop"]
            exchange = subprocess.Popen(
                [sys.executable, "-m", "sandbox_exchange", *arguments], stderr=subprocess.PIPE, text=True
            )
            try:
                assert exchange.stderr is not None
                url = json.loads(exchange.stderr.readline())["url"]
                for stream in modes:
                    measure(running.url, url, stream=stream, candles=options.candles)
            finally:
                exchange.terminate()
                exchange.wait(10)


if __name__ == "__main__":
    main()
