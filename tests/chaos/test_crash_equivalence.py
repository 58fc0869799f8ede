"""A bot killed or cut off at random moments trades as one left alone; benchmarks/crash_equivalence.py does it longer."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.chaos.combinations import COMBINATIONS
from tests.chaos.crash import Comparison, Disturbed, compare, in_pairs, second_database, shorten

pytestmark = pytest.mark.postgres

BARS = 1_000
KILLS_EACH = 5
CUTS_EACH = 30


@pytest.fixture(scope="module")
def candles(candle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("candles")
    shorten(candle_folder, folder, BARS)
    return folder


@pytest.fixture(scope="module")
def twin(postgres_url: str, candles: Path) -> Iterator[str]:
    """A database in which all bots ran undisturbed."""
    with second_database(postgres_url) as url:
        runs = [Disturbed(url, one, candles, candles / f"twin-{one.bot_id}.log") for one in COMBINATIONS]
        in_pairs([run.undisturbed for run in runs])
        yield url


def test_kills_and_cuts_change_nothing(database_url: str, twin: str, candles: Path, tmp_path: Path) -> None:
    runs = [Disturbed(database_url, one, candles, tmp_path / f"bot-{one.bot_id}.log") for one in COMBINATIONS]
    # every other bot is killed, the rest are cut off, and both kinds run beside each other
    rngs = [random.Random(number) for number in range(len(runs))]
    in_pairs(
        [
            partial(run.killed, KILLS_EACH, rng) if number % 2 else partial(run.cut_off, CUTS_EACH, rng)
            for number, (run, rng) in enumerate(zip(runs, rngs, strict=True))
        ]
    )
    found = compare(database_url, twin)
    assert not found.differences, found.differences[:4]
    assert found.rows["trading_trades"] > 100, found.rows
    assert sum(run.kills for run in runs) == KILLS_EACH * (len(runs) // 2)
    assert sum(run.cuts for run in runs) > CUTS_EACH
    print(f"{sum(r.kills for r in runs)} kills, {sum(r.cuts for r in runs)} cuts, compared {found.rows}")


def test_a_difference_would_be_found(database_url: str, twin: str, candles: Path, tmp_path: Path) -> None:
    """The comparison itself: one bot with another fee."""
    changed = [one for one in COMBINATIONS if one.bot_id == 1]
    [one] = changed
    other = type(one)(**{**vars(one), "sections": {**one.sections, "broker": {"commission": 0.0011}}})
    Disturbed(database_url, other, candles, tmp_path / "bot.log").undisturbed()
    found: Comparison = compare(database_url, twin)
    assert any(table == "trading_fills" and mine for table, mine, _ in found.differences)
