"""The simulator written from docs/ and the engine that bots run give the same fills, trades, denials and equity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.oracle.agreement import Compared, compare, described
from tests.oracle.configs import FILES, case, read
from tests.oracle.simulator import Candle

SEED = 1
BARS = 300
CASES = 25


@pytest.fixture(scope="module")
def files(candle_folder: Path) -> Mapping[str, Sequence[Candle]]:
    return {name: read(candle_folder, name) for name in FILES}


def test_a_sample_of_random_configs_agrees(files: Mapping[str, Sequence[Candle]]) -> None:
    """All 300: `python benchmarks/paper_oracle.py --candles FOLDER`."""
    total = Compared()
    for number in range(CASES):
        drawn = case(files, SEED, number, bars=BARS)
        found = compare(drawn)
        assert not found.differences, described(drawn, found)
        total.counts.update(found.counts)
    assert all(total.counts[what] > 200 for what in ("fills", "trades", "denials", "equity")), total.counts
