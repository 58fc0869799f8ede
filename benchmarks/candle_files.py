"""How long the reader of candle files takes: `python benchmarks/candle_files.py [--rows 100000] [--json]`.

Writes candles of five minutes as CSV and reads them five times; prints the best CPU time and what a row costs.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from pathlib import Path

from botrunner.feeds.source import read_candles

FIRST_MS, STEP_MS = 1_515_560_400_000, 300_000


def write(path: Path, rows: int, *, as_json: bool) -> None:
    rng, close, made = random.Random(1), 9_840_000, []
    for number in range(rows):
        opened, close = close, max(100_000, close + rng.randint(-9_000, 9_000))
        prices = (opened, max(opened, close) + rng.randint(0, 3_000), min(opened, close) - rng.randint(0, 900), close)
        cells = [f"{value / 1e8:.8f}" for value in (*prices, rng.randint(1, 10**12))]
        made.append([FIRST_MS + number * STEP_MS, *cells])
    if as_json:
        path.write_text(json.dumps([[at, *map(float, cells)] for at, *cells in made]))
        return
    path.write_text("\n".join(["timestamp,open,high,low,close,volume", *(",".join(map(str, row)) for row in made), ""]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--json", action="store_true", help="freqtrade's JSON instead of CSV")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ETH_BTC-5m"
        write(path, options.rows, as_json=options.json)
        times = []
        for _ in range(5):
            before = time.process_time()
            found = len(read_candles(path))
            times.append(time.process_time() - before)
    print(f"{found} candles in {min(times):.2f} s of CPU, {min(times) / found * 1e6:.1f} µs each")


if __name__ == "__main__":
    main()
