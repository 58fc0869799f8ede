"""Rules written by another bot: believed when they can be, never the end of the reader, and who asks when."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botrunner.exchange.shared_rules import (
    CLAIM_S,
    FRESH_S,
    STALE_MOST_S,
    WAIT_MOST_S,
    Step,
    dump_rules,
    is_fresh,
    is_usable,
    next_step,
    outlandish,
    read_rules_document,
)
from botrunner.market.rules import Market
from fleet.foreign import Unreadable

D = Decimal
MARKET = Market(
    symbol="BTCUSDT",
    base="BTC",
    quote="USDT",
    tick=D("0.01"),
    step=D("0.00001"),
    min_quantity=D("0.00001"),
    min_notional=D(5),
)


def document(**changes: Any) -> str:
    rules = dump_rules(MARKET)
    assert rules is not None
    return json.dumps({**rules, **changes})


def test_rules_come_back_as_they_were() -> None:
    assert read_rules_document(document(), "BTCUSDT") == MARKET


@pytest.mark.parametrize(
    "changes",
    [
        {"tick": "0"},  # a division by zero
        {"step": "0.0"},
        {"step": "-1"},
        {"tick": "NaN"},
        {"tick": "Infinity"},
        {"min_notional": "9" * 5000},
        {"min_notional": "1e400"},
        {"min_quantity": "9999999999999999"},
        {"taker_fee": "0.5"},
        {"maker_fee": 0.001},
        {"tick": None},
        {"tick": ["0.01"]},
        {"tick": "٠.٠١"},  # digits all the same, to some
        {"tick": "0.01\n"},
        {"symbol": "ETHUSDT"},
        {"base": "USDT", "quote": "BTC"},
        {"quote": "EUR"},  # another currency for the owner's limits
        {"base": "BTCUSD", "quote": "T\0"},
        {"base": "", "quote": "BTCUSDT"},
        {"can_short": "true"},
        {"more": "1"},
    ],
    ids=str,
)
def test_a_poisoned_row_is_told_apart(changes: dict[str, Any]) -> None:
    assert isinstance(read_rules_document(document(**changes), "BTCUSDT"), Unreadable)


@pytest.mark.parametrize("text", ["", "null", "[]", "7", '"x"', "{}", "[" * 2000, "9" * 5000, '{"tick": NaN}'])
def test_what_is_no_object_is_told_apart(text: str) -> None:
    assert isinstance(read_rules_document(text, "BTCUSDT"), Unreadable)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("9" * 200),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["symbol", "base", "quote", "tick", "step", "min_notional", "maker_fee"]), JSON))
def test_nobody_is_harmed_by_any_row(changes: dict[str, Any]) -> None:
    read = read_rules_document(document(**changes), "BTCUSDT")
    if isinstance(read, Market):
        assert outlandish(read, "BTCUSDT") is None
        assert read.round_quantity(D("1.23456789")) >= 0
        assert (read.base, read.quote) == ("BTC", "USDT")


@given(st.text())
def test_no_text_raises(text: str) -> None:
    assert isinstance(read_rules_document(text, "BTCUSDT"), Unreadable)


def test_rules_that_a_reader_could_not_check_are_kept_to_oneself() -> None:
    assert dump_rules(replace(MARKET, can_short=True)) is None
    assert dump_rules(replace(MARKET, symbol="BTC/USDT")) is None


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"tick": D(0)}, "tick is not above 0"),
        ({"step": D("NaN")}, "step is no number"),
        ({"min_notional": D("-1")}, "min_notional is not from 0"),
        ({"taker_fee": D(1)}, "taker_fee is not from 0"),
        ({"symbol": "X"}, "about 'X'"),
        ({"base": ""}, "no currencies"),
    ],
)
def test_an_exchanges_own_answer_has_to_make_sense_too(changes: dict[str, Any], fault: str) -> None:
    assert fault in (outlandish(replace(MARKET, **changes), "BTCUSDT") or "")


@pytest.mark.parametrize(
    ("what", "facts", "step"),
    [
        ("nothing known", {"readable": False, "age_s": None}, Step.ASK),
        ("fresh", {}, Step.USE),
        ("fresh, and somebody asks all the same", {"claim_age_s": 1.0}, Step.USE),
        ("stale", {"age_s": FRESH_S}, Step.ASK),
        ("of the future", {"age_s": -5.0}, Step.ASK),
        ("nonsense with a fresh date", {"readable": False}, Step.ASK),
        ("another bot asks", {"age_s": FRESH_S, "claim_age_s": 1.0}, Step.WAIT),
        ("another bot asked and died", {"age_s": FRESH_S, "claim_age_s": CLAIM_S + 0.1}, Step.ASK),
        ("a claim of the future", {"age_s": FRESH_S, "claim_age_s": -1.0}, Step.ASK),
        ("waited long enough", {"readable": False, "claim_age_s": 1.0, "waited_s": WAIT_MOST_S}, Step.GIVE_UP),
    ],
)
def test_what_a_bot_that_wants_rules_does(what: str, facts: dict[str, Any], step: Step) -> None:
    usual: dict[str, Any] = {"readable": True, "age_s": 60.0, "claim_age_s": None, "waited_s": 0.0}
    assert next_step(7, **{**usual, **facts}) is step, what


def test_bots_call_rules_stale_at_different_ages() -> None:
    first_stale = [next(age for age in range(0, 3700, 10) if not is_fresh(bot, age)) for bot in range(1, 101)]
    assert len(set(first_stale)) > 50
    assert 0.8 * FRESH_S <= min(first_stale) <= max(first_stale) <= FRESH_S + 10


def test_rules_get_too_old_for_anybody() -> None:
    assert [is_usable(age) for age in (None, -1, 0, STALE_MOST_S - 1, STALE_MOST_S)] == [
        False,
        False,
        True,
        True,
        False,
    ]
