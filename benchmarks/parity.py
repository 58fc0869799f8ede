"""Backtest against paper, over whole files and every combination of entry and exit: how much agrees, and how fast.

    python benchmarks/parity.py                        every combination on ETH_BTC and LTC_BTC
    python benchmarks/parity.py --bars 1000 --combos 4 a part of it
    python benchmarks/parity.py --log parity.jsonl     go on where an earlier run with this file ended

Each combination runs twice: through `botrunner.backtest` in memory, and as a paper bot with the real wiring, claim,
ledger and PostgreSQL, one transaction per bar, whose rows are read back from the tables. Every column of every order,
fill, trade, position and bar's equity is compared. With a mixin's default thresholds some never act on these files;
so all use the parameters of tests/loose.py, and a combination without a trade is counted as one.
The embedded server doesn't sync to disk (fsync off): durability isn't measured here. Exit code 1 for a difference.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import psycopg

from botrunner.backtest.parity import rows_differ
from botrunner.backtest.run import Backtest, backtest
from botrunner.backtest.stored_rows import as_stored
from botrunner.feeds.source import read_candles
from botrunner.market.rules import file_market
from botrunner.strategies.registry.strategy_handler import StrategyHandler
from cli.embedded import EmbeddedPostgres, free_port
from fleet.config import parse_config
from fleet.log import configure_logging
from fleet.migrations import upgrade
from fleet.trading_service.replays import Recorded, recorded
from tests.loose import LOOSE
from tests.paper import new_bot, trade, write_candles

SYMBOLS = ("ETH_BTC", "LTC_BTC")


@dataclass(frozen=True)
class Job:
    number: int
    entry: str
    leave: str
    symbol: str

    @property
    def name(self) -> str:
        return f"{self.symbol} {self.entry} {self.leave}"


@dataclass(frozen=True)
class Finding:
    name: str
    bars: int
    trades: int
    rows: int
    differences: list[str]
    backtest_s: float
    paper_s: float


def jobs(combos: int | None) -> list[Job]:
    listed = StrategyHandler().list()
    entries, exits = ([e["name"] for e in listed if e["kind"] == kind] for kind in ("entry", "exit"))
    found = [Job(number, *parts) for number, parts in enumerate(product(entries, exits, SYMBOLS), start=1)]
    if combos is None or combos >= len(found):
        return found
    # drawn from all of them, the same ones each time, so that a part says something about the whole
    return random.Random(1).sample(found, combos)


def config(job: Job, file: Path) -> dict[str, Any]:
    return {
        "symbol": job.symbol.replace("_", ""),
        "broker": {"type": "binance", "trading_mode": "paper", "cash": 10},
        "strategy": {
            "type": "CustomStrategy",
            "parameters": {
                "entry_logic": {"name": job.entry, "params": LOOSE.get(job.entry, {})},
                "exit_logic": {"name": job.leave, "params": LOOSE.get(job.leave, {})},
            },
        },
        "data": {"data_source": "file", "file_path": str(file), "interval": "5m", "lookback_bars": 500},
        "trading": {"position_size": 0.25},
        "risk_management": {"stop_loss_pct": 5},
    }


def check(job: Job, folder: Path, url: str) -> Finding:
    """Run one combination twice and compare."""
    configure_logging(level="ERROR", form="console")
    file = folder / f"{job.symbol}-5m.csv"
    made, candles = config(job, file), read_candles(file)
    began = time.perf_counter()
    done = backtest(parse_config(made), candles, market=file_market(made["symbol"]), bot_id=job.number)
    tested = time.perf_counter()
    with psycopg.connect(url, autocommit=True) as database:
        new_bot(database, made, job.number)
        started = time.perf_counter()
        assert trade(database, job.number, url=url)
        ended = time.perf_counter()
        record = recorded(database, job.number)
    compared = len(record.orders) + len(record.fills) + len(record.trades) + len(record.positions) + len(record.bars)
    return Finding(
        name=job.name,
        bars=len(candles),
        trades=len(record.trades),
        rows=compared,
        differences=list(differences(record, done)),
        backtest_s=tested - began,
        paper_s=ended - started,
    )


def differences(record: Recorded, done: Backtest) -> Iterator[str]:
    """What isn't equal, in words."""
    tables = done.tables
    for kind, rows, made in (
        ("order", record.orders, tables.orders),
        ("fill", record.fills, tables.fills),
        ("trade", record.trades, tables.trades),
        ("position", record.positions, tables.positions),
    ):
        for found in rows_differ(kind, rows, made, orders=tables.orders):
            yield f"{kind} {found.what} {found.key} {dict(found.fields)}"
    worth = [as_stored({"equity": bar.equity})["equity"] for bar in done.equity]
    stored = [as_stored({"equity": bar.equity})["equity"] for bar in record.bars]
    if worth != stored:
        yield f"equity differs at {sum(a != b for a, b in zip(worth, stored, strict=False))} of {len(stored)} bars"
    if as_stored({"balance": record.checkpoint.balance})["balance"] != worth[-1]:
        yield f"balance {record.checkpoint.balance} instead of {worth[-1]}"


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = Path(os.environ.get("CANDLES") or ROOT.parent / "shared" / "data")
    parser.add_argument("--candles", type=Path, default=folder, help="folder with ETH_BTC-5m.csv and LTC_BTC-5m.csv")
    parser.add_argument("--bars", type=int, help="only the first so many of each file")
    parser.add_argument("--combos", type=int, help="only so many combinations, spread over all")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--log", type=Path, help="append findings here; combinations that are in it are not run again")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    known: list[Finding] = []
    if options.log and options.log.exists():
        known = [Finding(**json.loads(line)) for line in options.log.read_text().splitlines()]
    wanted = jobs(options.combos)
    left = [job for job in wanted if job.name not in {finding.name for finding in known}]
    found = [finding for finding in known if finding.name in {job.name for job in wanted}]
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for symbol in SYMBOLS:
            candles = read_candles(options.candles / f"{symbol}-5m.csv")
            write_candles(folder / f"{symbol}-5m.csv", candles[: options.bars])
        server = EmbeddedPostgres(data=folder / "postgres", port=free_port(), durable=False)
        with server.start() as running:
            upgrade(running.url)
            context = multiprocessing.get_context("spawn")
            with context.Pool(options.workers) as pool:
                calls = [pool.apply_async(check, (job, folder, running.url)) for job in left]
                for number, call in enumerate(calls, start=1):
                    finding = call.get()
                    found.append(finding)
                    if options.log:
                        with options.log.open("a") as log:
                            log.write(json.dumps(asdict(finding)) + "\n")
                    state = "equal" if not finding.differences else f"{len(finding.differences)} DIFFERENCES"
                    print(
                        f"{number:4}/{len(left)} {finding.name:66} {finding.trades:5} trades, {state}",
                        file=sys.stderr,
                        flush=True,
                    )
    return report(found, seconds=time.perf_counter() - began, workers=options.workers)


def report(found: Sequence[Finding], *, seconds: float, workers: int) -> int:
    """Print the figures."""
    for finding in found:
        for difference in finding.differences[:5]:
            print(f"{finding.name}: {difference}")
    bars = sum(finding.bars for finding in found)
    idle = [finding.name for finding in found if not finding.trades]
    print(f"combinations        {len(found)}, of which {len(idle)} never traded")
    for name in idle:
        print(f"  no trade          {name}")
    print(f"bars                {bars}")
    print(f"trades compared     {sum(finding.trades for finding in found)}")
    print(f"rows compared       {sum(finding.rows for finding in found)}")
    print(f"differences         {sum(len(finding.differences) for finding in found)}")
    print(f"backtest            {bars / sum(f.backtest_s for f in found):.0f} bars/s per process")
    print(f"paper, PostgreSQL   {bars / sum(f.paper_s for f in found):.0f} bars/s per process")
    print(f"seconds             {seconds:.0f} with {workers} processes")
    return 1 if any(finding.differences for finding in found) else 0


if __name__ == "__main__":
    raise SystemExit(main())
