"""The simulator written from docs/ and the engine that bots run give the same fills, trades, denials and equity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.oracle.agreement import Compared, compare, described
from tests.oracle.configs import FILES, case, read, synthetic
from tests.oracle.simulator import Candle

SEED = 1
BARS = 300
CASES = 25


def sample(files: Mapping[str, Sequence[Candle]], *, again: str, rough: bool = False) -> Compared:
    """All 300: `python benchmarks/paper_oracle.py`."""
    total = Compared()
    for number in range(CASES):
        drawn = case(files, SEED, number, bars=BARS, rough=rough)
        found = compare(drawn)
        assert not found.differences, described(drawn, found, again=f"--bars {BARS} {again}")
        total.counts.update(found.counts)
    return total


def test_synthetic_candles(tmp_path: Path) -> None:
    assert enough(sample(synthetic(tmp_path), again="--rough", rough=True))


def test_real_candles(candle_folder: Path) -> None:
    assert enough(sample({name: read(candle_folder, name) for name in FILES}, again=f"--candles {candle_folder}"))


def enough(compared: Compared) -> bool:
    return all(compared.counts[what] > 200 for what in ("fills", "trades", "denials", "equity"))
