"""What judging a config costs, beside decoding the same document from JSON.

    python benchmarks/config_validation.py

Prints for each document the median milliseconds of both and their ratio; then the CPU time of judging each of
DOCUMENTS generated ones, most of them hostile (tests/hostile.py). The goal: none takes over 100 ms.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles

from hypothesis import HealthCheck, Phase, given, settings

from fleet.config import validate_config
from tests.hostile import hostile

SAMPLE = Path(__file__).parents[1] / "manifests" / "samples" / "rsi-atr-btc.json"
ROUNDS = 15
DOCUMENTS = 2_000


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


def generated() -> tuple[list[float], int]:
    """Milliseconds of CPU time for each generated document, and how many were valid."""
    taken: list[float] = []
    valid: list[bool] = []

    @settings(
        max_examples=DOCUMENTS,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        database=None,
        deadline=None,
        derandomize=True,
    )
    @given(raw=hostile)
    def judge(raw: object) -> None:
        began = time.process_time()
        errors = validate_config(raw)
        taken.append((time.process_time() - began) * 1000)
        valid.append(not errors)

    judge()
    return taken, sum(valid)


def main() -> None:
    """Measure and print."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print(f"{'document':28} {'validate ms':>12} {'json.loads ms':>14} {'ratio':>8}")
    for name, document in documents().items():
        text = json.dumps(document)
        judged, decoded = (
            milliseconds(lambda d=document: validate_config(d)),
            milliseconds(lambda t=text: json.loads(t)),
        )
        print(f"{name:28} {judged:12.2f} {decoded:14.3f} {judged / decoded:8.0f}")
    taken, valid = generated()
    p99 = quantiles(taken, n=100)[98]
    print(f"{len(taken)} generated, {valid} of them valid: median {median(taken):.2f} ms, p99 {p99:.2f} ms, ", end="")
    print(f"max {max(taken):.2f} ms of CPU")


if __name__ == "__main__":
    main()
