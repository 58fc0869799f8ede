"""Random schedules of one bot at a scripted exchange: kills, lost answers, late requests, outages, then rest.

    python benchmarks/order_schedules.py --schedules 1000

Real policy, book, checkpoint codec and exchange venue; the exchange and the time are simulated. Prints what there was
and every violation of what must be true at rest (tests/scripted_exchange/invariants.py); exit code 1 if there is any.
A schedule is a function of its number.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fleet.log import configure_logging
from tests.scripted_exchange.schedules import Summary

PIECE = 25
"""Schedules of one task."""


def piece(numbers: range) -> Summary:
    configure_logging(level="CRITICAL")
    summary = Summary()
    for number in numbers:
        summary.add(number)
    return summary


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schedules", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="number of the first one")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()

    last, began, total = options.first + options.schedules, time.monotonic(), Summary()
    pieces = [range(number, min(number + PIECE, last)) for number in range(options.first, last, PIECE)]
    with ProcessPoolExecutor(options.workers) as pool:
        for summary in pool.map(piece, pieces):
            total.join(summary)
    print(f"{total}\n{time.monotonic() - began:.0f} s")
    for number, violation in total.violations:
        print(f"schedule {number}: {violation.kind}: {violation.text}")
    return 1 if total.violations else 0


if __name__ == "__main__":
    sys.exit(main())
