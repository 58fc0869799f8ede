"""Whatever a bot's record holds, a replay cuts it into stretches or says in one error which run can't be replayed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botrunner.backtest.parity import ReplayImpossible, stretches
from botrunner.market.codec import dump_market
from botrunner.market.rules import file_market
from fleet.foreign import Unreadable, load_json
from fleet.trading_service.replays import InputRow, Recorded, RunRow
from tests.hostile import MINIMAL
from tests.hostile_json import json_texts

NOW = datetime(2026, 11, 26, tzinfo=UTC)
documents = json_texts.map(load_json)


def record(*, config: Any = MINIMAL, market: Any = None, limits: Any = None, warmup: Any = None) -> Recorded:
    first = InputRow(
        1, NOW, "1", dump_market(file_market("ETHBTC")) if market is None else market, limits, warmup, None
    )
    runs = [RunRow(epoch, config, NOW, "stopped") for epoch in (1, 2)]
    nothing: Any = ()
    return Recorded(
        bot_id=1, runs=runs, inputs=[first], bars=[], orders=[], fills=[], trades=[], positions=[], checkpoint=nothing
    )


def cut(found: Recorded) -> str | None:
    """Why it can't be replayed, or None."""
    try:
        stretches(found)
    except ReplayImpossible as error:
        return str(error)
    return None


@given(documents, st.sampled_from(("config", "market", "limits", "warmup")))
def test_any_record(document: Any, part: str) -> None:
    said = cut(record(**{"limits": {}, part: document}))
    assert said is None or "run 1" in said


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("config", "the config of run 1 holds a number of 5000 characters"),
        ("market", "the recorded inputs of run 1 can't be read"),
        ("limits", "the recorded inputs of run 1 can't be read"),
        ("warmup", "the recorded inputs of run 1 can't be read"),
    ],
)
def test_an_unreadable_record_says_which_run(part: str, words: str) -> None:
    unreadable = load_json("9" * 5000)
    assert isinstance(unreadable, Unreadable)
    assert words in (cut(record(**{"limits": {}, part: unreadable})) or "")


def test_an_honest_record_is_cut() -> None:
    assert len(stretches(record(limits={}, warmup=[]))) == 1
