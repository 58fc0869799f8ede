"""The paper broker against a second one, written from docs/: fills, trades, denials and equity, 0 differences.

    python benchmarks/paper_oracle.py --candles FOLDER                   300 random configs over slices of the files
    python benchmarks/paper_oracle.py --candles FOLDER --seed 2          300 others
    python benchmarks/paper_oracle.py --candles FOLDER --only 17 --keep /tmp/oracle   one of them, its files kept
    python benchmarks/paper_oracle.py --rough                            with holes, jumps and candles without volume;
                                                                         candles made up by hack/synthetic_candles.py

FOLDER holds ETH_BTC-5m.csv, LTC_BTC-5m.csv and XRP_ETH-1m.csv. A case (seed, number) is the same on every machine:
a config drawn over all of broker.paper_trading_config, trading and risk_management, a market's steps and minimums, and
600 candles, some of them at another pace than recorded, so that midnights and long latencies come often.

It runs twice: by tests/oracle/simulator.py, which follows docs/, and by what `botfleet backtest` calls. Compared are
every order's end, every fill (time, price, quantity, fee), every trade, every refused entry with its reason, and equity
at every bar, exactly. A difference is a fault of the code, of the docs, or a silence of the docs; the simulator is
changed only together with the docs. Failing cases are written to `--keep` (config.json, candles.csv, market.json):

    botfleet backtest --config CASE/config.json --candles CASE/candles.csv --market CASE/market.json

A part of them runs in `make test` (tests/oracle/test_agreement.py). Exit code 1 for a difference.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from fleet.log import configure_logging
from tests.oracle.agreement import Compared, compare, described, write
from tests.oracle.configs import FILES, case, read, synthetic
from tests.oracle.simulator import Candle

_FILES: dict[str, Sequence[Candle]] = {}


def main() -> int:
    """Compare and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--candles", type=Path, help="folder of the three files; made-up ones by default")
    options.add_argument("--configs", type=int, default=300)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--bars", type=int, default=600, help="candles of a case")
    options.add_argument("--rough", action="store_true", help="with holes, jumps and candles without volume")
    options.add_argument("--only", type=int, action="append", help="number of a case; may be repeated")
    options.add_argument("--keep", type=Path, help="folder for failing cases; a new one by default")
    options.add_argument("--processes", type=int, default=1)
    given = options.parse_args()
    numbers = given.only or list(range(given.configs))
    keep = given.keep or Path(tempfile.mkdtemp(prefix="paper-oracle-"))
    files, shape = _files(given.candles), {"bars": given.bars, "rough": given.rough}
    again = f"{f'--candles {given.candles} ' if given.candles else ''}--bars {given.bars}{' --rough' * given.rough}"
    began, agreeing, total = time.monotonic(), 0, Counter[str]()
    # spawned, not forked: what the engine loads ends itself in a forked copy
    with multiprocessing.get_context("spawn").Pool(given.processes, _begin, (files,)) as pool:
        for number, found in pool.imap(_compared, [(given.seed, number, shape) for number in numbers]):
            total.update(found.counts)
            if not found.differences:
                agreeing += 1
                continue
            drawn = case(files, given.seed, number, **shape)
            write(drawn, keep / drawn.name)
            print(f"{described(drawn, found, again=again)}\n  files: {keep / drawn.name}", flush=True)
    counted = ", ".join(f"{total[what]:,} {what}" for what in ("fills", "trades", "denials", "equity", "orders"))
    print(f"{agreeing} of {len(numbers)} configs agree; compared: {counted}; {time.monotonic() - began:.0f} s")
    return 0 if agreeing == len(numbers) else 1


def _files(folder: Path | None) -> Mapping[str, Sequence[Candle]]:
    if folder is not None:
        return {name: read(folder, name) for name in FILES}
    with tempfile.TemporaryDirectory() as made:
        return synthetic(Path(made))


def _begin(files: Mapping[str, Sequence[Candle]]) -> None:
    configure_logging(level="INFO", form="console")
    _FILES.update(files)


def _compared(named: tuple[int, int, Mapping[str, Any]]) -> tuple[int, Compared]:
    seed, number, shape = named
    return number, compare(case(_FILES, seed, number, **shape))


if __name__ == "__main__":
    sys.exit(main())
