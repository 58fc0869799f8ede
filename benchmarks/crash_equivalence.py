"""Crash equivalence at length: real candles, real processes, real PostgreSQL, hundreds of SIGKILLs and cut connections.

    python benchmarks/crash_equivalence.py --kills 200 --cuts 200

Every bot of tests/chaos/combinations.py runs three times: undisturbed, killed, cut off. Prints how many rows were
compared and every difference; exit code 1 if there is any. Without --candles it takes CANDLES or the folder that the
tests take.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import psycopg

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli.embedded import EmbeddedPostgres, free_port
from fleet.migrations import upgrade
from tests.chaos.combinations import COMBINATIONS
from tests.chaos.crash import Disturbed, compare, in_pairs, second_database, shorten

DEFAULT_CANDLES = Path(__file__).resolve().parents[2] / "shared" / "data"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--cuts", type=int, default=200)
    parser.add_argument("--bars", type=int, default=100_000, help="of each file at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--candles", type=Path, default=Path(os.environ.get("CANDLES") or DEFAULT_CANDLES))
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        shorten(options.candles, folder, options.bars)
        server = EmbeddedPostgres(data=folder / "postgres", port=free_port(), durable=False)
        with server.start() as running:
            upgrade(running.url)
            differences = _disturb(running.url, folder, options)
    print(f"{time.monotonic() - began:.0f} s")
    return 1 if differences else 0


def _disturb(postgres_url: str, folder: Path, options: argparse.Namespace) -> int:
    differences = 0
    with second_database(postgres_url) as twin:
        in_pairs([_bot(twin, number, folder, "twin").undisturbed for number in range(len(COMBINATIONS))])
        for how, total in (("killed", options.kills), ("cut_off", options.cuts)):
            head = postgres_url.rpartition("/")[0]
            url = f"{head}/{how}"
            with psycopg.connect(f"{head}/postgres", autocommit=True) as admin:
                admin.execute(f"CREATE DATABASE {how} TEMPLATE botfleet")
            bots = [_bot(url, number, folder, how) for number in range(len(COMBINATIONS))]
            shares = [total // len(bots) + (number < total % len(bots)) for number in range(len(bots))]
            rngs = [random.Random(options.seed * 1000 + number) for number in range(len(bots))]
            in_pairs([partial(getattr(bot, how), *rest) for bot, *rest in zip(bots, shares, rngs, strict=True)])
            found = compare(url, twin)
            done = sum(bot.kills for bot in bots), sum(bot.cuts for bot in bots)
            print(f"{how}: {len(bots)} bots, {done[0]} SIGKILLs, {done[1]} cuts", flush=True)
            print("  rows compared: " + ", ".join(f"{table} {rows}" for table, rows in found.rows.items()))
            print(f"  differences: {len(found.differences)}", flush=True)
            for table, mine, theirs in found.differences[:20]:
                print(f"    {table}: disturbed {mine}, undisturbed {theirs}")
            differences += len(found.differences)
    return differences


def _bot(url: str, number: int, folder: Path, how: str) -> Disturbed:
    one = COMBINATIONS[number]
    return Disturbed(url, one, folder, folder / f"{how}-{one.bot_id}.log")


if __name__ == "__main__":
    sys.exit(main())
