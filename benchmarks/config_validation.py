"""What judging a config costs, beside decoding the same document from JSON.

    python benchmarks/config_validation.py

Prints for each document the median milliseconds of both and their ratio. The goal: no document takes over 100 ms.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from fleet.config import validate_config

SAMPLE = Path(__file__).parents[1] / "manifests" / "samples" / "rsi-atr-btc.json"
ROUNDS = 15


def milliseconds(work: Callable[[], object]) -> float:
    """Median CPU time of one call."""
    taken = []
    for _ in range(ROUNDS):
        began = time.process_time()
        work()
        taken.append((time.process_time() - began) * 1000)
    return median(taken)


def documents() -> dict[str, object]:
    """A good config and hostile ones."""
    good = json.loads(SAMPLE.read_text())["config"]
    deep: object = 0
    for _ in range(500):
        deep = [deep]
    return {
        "the sample": good,
        "1,900 unknown keys": {**good, **{f"key{number}": number for number in range(1_900)}},
        "1,900 unknown keys below": {**good, "trading": {f"positionsize{number}": 1 for number in range(1_900)}},
        "500 levels deep": {**good, "data": deep},
        "a text of 1 MB": {**good, "name": "x" * 1_000_000},
    }


def main() -> None:
    """Measure and print."""
    print(f"{'document':28} {'validate ms':>12} {'json.loads ms':>14} {'ratio':>8}")
    for name, document in documents().items():
        text = json.dumps(document)
        judged, decoded = (
            milliseconds(lambda d=document: validate_config(d)),
            milliseconds(lambda t=text: json.loads(t)),
        )
        print(f"{name:28} {judged:12.2f} {decoded:14.3f} {judged / decoded:8.0f}")


if __name__ == "__main__":
    main()
