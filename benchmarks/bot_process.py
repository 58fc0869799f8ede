"""What one bot costs: start, memory, candles, beside freqtrade's process on the same machine in the same run.

    python benchmarks/bot_process.py [--bars 25000] [--no-freqtrade]

A real bot process (ccxt and PostgreSQL included) works through synthetic candles as fast as it can. Printed are the
seconds from exec to ready to decide, the resident memory after 5,000 bars and its growth per 10,000 bars after that,
and the milliseconds of one candle. freqtrade is installed from PyPI into a virtual environment of its own in the cache
and does what its bot does: import its worker, and for each new candle compute the same indicators (RSI, Bollinger
bands, mean volume, ATR) over its frame of 500 candles and take the signals from it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "hack")]

from synthetic_candles import bars as synthetic_bars

from cli.embedded import EmbeddedPostgres, free_port
from fleet.migrations import upgrade

FREQTRADE = "2026.9"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "botfleet"
ROUNDS = 3
FRAME = 500

CONFIG: dict[str, Any] = {
    "symbol": "ETHBTC",
    "broker": {"type": "binance", "trading_mode": "paper", "cash": 10},
    "strategy": {
        "type": "CustomStrategy",
        "parameters": {
            "entry_logic": {"name": "RSIBBVolumeEntryMixin", "params": {"rsi_oversold": 45, "bb_dev": 1.2}},
            "exit_logic": {"name": "ATRExitMixin"},
        },
    },
    "risk_management": {"stop_loss_pct": 3},
}

THEIRS = """
import json, sys, time
began = time.perf_counter()
import freqtrade.worker
imported = time.perf_counter() - began
def rss():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6
after_import = rss()
import pandas as pd, talib.abstract as ta
from freqtrade.strategy import IStrategy
class Same(IStrategy):
    timeframe = "5m"
    minimal_roi = {"0": 10}
    stoploss = -0.03
    def populate_indicators(self, frame, metadata):
        frame["rsi"] = ta.RSI(frame, timeperiod=14)
        bands = ta.BBANDS(frame, timeperiod=20, nbdevup=1.2, nbdevdn=1.2)
        frame["lower"] = bands["lowerband"]
        frame["mean_volume"] = frame["volume"].rolling(20).mean()
        frame["atr"] = ta.ATR(frame, timeperiod=14)
        return frame
    def populate_entry_trend(self, frame, metadata):
        met = (frame["rsi"] <= 45) & (frame["close"] <= frame["lower"]) & (frame["volume"] > 1.1 * frame["mean_volume"])
        frame.loc[met, "enter_long"] = 1
        return frame
    def populate_exit_trend(self, frame, metadata):
        return frame
strategy = Same({"timeframe": "5m"})
candles = pd.read_csv(sys.argv[1])
candles["date"] = pd.to_datetime(candles.pop("timestamp"), unit="ms", utc=True)
taken = []
for end in range(FRAME, FRAME + 200):
    frame = candles.iloc[end - FRAME:end].reset_index(drop=True)
    began = time.perf_counter()
    analysed = strategy.analyze_ticker(frame, {"pair": "ETH/BTC"})
    strategy.get_entry_signal("ETH/BTC", "5m", analysed)
    taken.append(time.perf_counter() - began)
taken.sort()
print(json.dumps({"import_s": imported, "import_mb": after_import, "rss_mb": rss(),
                  "candle_ms": 1000 * taken[len(taken) // 2]}))
""".replace("FRAME", str(FRAME))

OUR_IMPORT = """
import json, time
began = time.perf_counter()
import botrunner.main, botrunner.assembly
import botrunner.exchange.binance as b
b.BinanceBroker(base_url=None)
print(json.dumps({"import_s": time.perf_counter() - began,
                  "import_mb": int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bars", type=int, default=25_000)
    parser.add_argument("--no-freqtrade", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        candles = folder / "ETH_BTC-5m.csv"
        _write_candles(candles, options.bars)
        ours = {**_imported(), **_bot(folder, candles, options.bars)}
        theirs = {} if options.no_freqtrade else _freqtrade(candles)
    rows = [
        ("import, s", "import_s", "import_s"),
        ("memory after import, MB", "import_mb", "import_mb"),
        ("exec → ready to decide, s", "start_s", "import_s"),
        ("memory after 5,000 bars, MB", "rss_mb", "rss_mb"),
        ("growth per 10,000 bars, MB", "growth_mb", ""),
        ("a candle: indicators, decision, commit, ms", "candle_ms", "candle_ms"),
    ]
    print(f"| what | a bot | freqtrade {FREQTRADE} | ratio |\n| --- | ---: | ---: | ---: |")
    for text, mine, other in rows:
        a, b = ours[mine], theirs.get(other)
        print(f"| {text} | {a:.2f} | {f'{b:.2f}' if b else '–'} | {f'1 : {b / a:.1f}' if b else '–'} |")
    print(
        "\nfreqtrade's start is its import alone and its candle has no database; its memory is after import and"
        " 200 candles."
    )


def _write_candles(path: Path, count: int) -> None:
    generator, lines, number = random.Random("bot_process"), ["timestamp,open,high,low,close,volume"], 0
    while len(lines) <= count:
        for line in synthetic_bars(generator, minutes=5, price=0.03, digits=8):
            start = 1_577_836_800_000 + number * 300_000
            lines.append(f"{start},{line.partition(',')[2]}")
            number += 1
    path.write_text("\n".join(lines[: count + 1]) + "\n")


def _imported() -> dict[str, float]:
    found = [_json([sys.executable, "-c", OUR_IMPORT]) for _ in range(ROUNDS)]
    return {key: median(one[key] for one in found) for key in found[0]}


def _json(command: list[str]) -> dict[str, float]:
    quiet = None if command[0] == sys.executable else subprocess.DEVNULL
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, stderr=quiet, text=True)
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _bot(folder: Path, candles: Path, count: int) -> dict[str, float]:
    config = {
        **CONFIG,
        "data": {"data_source": "file", "file_path": str(candles), "interval": "5m", "lookback_bars": FRAME},
    }
    server = EmbeddedPostgres(data=folder / "postgres", port=free_port(), durable=False)
    starts = []
    with server.start() as running:
        upgrade(running.url)
        with psycopg.connect(running.url, autocommit=True) as database:
            for bot_id in range(1, ROUNDS):
                process = _start(database, running.url, bot_id, config, folder / f"{bot_id}.log")
                _bars(database, process, bot_id, 1)
                process.kill()
                process.wait()
                starts.append(_start_s(folder / f"{bot_id}.log"))
            process = _start(database, running.url, ROUNDS, config, folder / "bot.log")
            at = {}
            for stop in range(5_000, count + 1, 5_000):
                _bars(database, process, ROUNDS, stop)
                at[stop] = time.perf_counter(), _resident_mb(process.pid)
            process.terminate()
            process.wait(30)
            starts.append(_start_s(folder / "bot.log"))
    first, last = min(at), max(at)
    return {
        "start_s": median(starts),
        "rss_mb": at[first][1],
        "growth_mb": (at[last][1] - at[first][1]) / (last - first) * 10_000 if last > first else float("nan"),
        "candle_ms": (at[last][0] - at[first][0]) / (last - first) * 1000 if last > first else float("nan"),
    }


def _start(
    database: psycopg.Connection[Any], url: str, bot_id: int, config: dict[str, Any], log: Path
) -> subprocess.Popen[bytes]:
    database.execute(
        "INSERT INTO trading_bots (id, name, enabled, config) OVERRIDING SYSTEM VALUE VALUES (%s, %s, true, %s)",
        (bot_id, f"bench-{bot_id}", Jsonb(config)),
    )
    database.execute(
        "INSERT INTO trading_runs (bot_id, epoch, config, config_version, controller, runtime, pod_name) "
        "VALUES (%s, 1, %s, 1, 'bench', 'process', 'bench')",
        (bot_id, Jsonb(config)),
    )
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "botrunner", "--bot-id", str(bot_id), "--epoch", "1"],
            cwd=ROOT,
            env={**os.environ, "BOTFLEET_DATABASE_URL": url, "BOTFLEET_LOG_LEVEL": "INFO"},
            stderr=file,
        )


def _bars(database: psycopg.Connection[Any], process: subprocess.Popen[bytes], bot_id: int, wanted: int) -> None:
    while True:
        row = database.execute("SELECT bars FROM trading_checkpoints WHERE bot_id = %s", (bot_id,)).fetchone()
        if row and row[0] >= wanted:
            return
        if process.poll() is not None:
            raise SystemExit(f"the bot ended with {process.returncode}")
        time.sleep(0.02)


def _start_s(log: Path) -> float:
    for line in log.read_text().splitlines():
        if '"live"' in line:
            return float(json.loads(line)["since_exec_s"])
    raise SystemExit("the bot never said that it is live")


def _resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _freqtrade(candles: Path) -> dict[str, float]:
    home = CACHE / f"freqtrade-{FREQTRADE}"
    python = home / "bin" / "python"
    if not (home / ".installed").exists():
        print(f"installing freqtrade {FREQTRADE} into {home}", file=sys.stderr)
        uv = [str(ROOT / "hack" / "python.sh"), "uv"]
        subprocess.run([*uv, "venv", "-q", "--clear", str(home)], check=True)
        subprocess.run([*uv, "pip", "install", "-q", "--python", str(python), f"freqtrade=={FREQTRADE}"], check=True)
        (home / ".installed").touch()
    found = [_json([str(python), "-c", textwrap.dedent(THEIRS), str(candles)]) for _ in range(ROUNDS)]
    return {key: median(one[key] for one in found) for key in found[0]}


if __name__ == "__main__":
    main()
