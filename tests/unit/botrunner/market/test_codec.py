"""Rules and candles are read as they were written, by earlier and later versions too, or it is said what is wrong."""

from __future__ import annotations

from dataclasses import fields, replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botrunner.market.candle import Candle
from botrunner.market.codec import DocumentDamaged, dump_candles, dump_market, load_candles, load_market
from botrunner.market.rules import SPOT_FEE, Market, file_market
from fleet.foreign import load_json
from tests.hostile_json import json_texts

D = Decimal
MARKET = replace(file_market("ETHBTC"), tick=D("0.000001"), min_notional=D("1E-4"), can_short=False)
CANDLE = Candle(1_515_560_100_000, D("0.0984"), D("0.0994766"), D("0.09828605"), D("0.09947660"), D("1820.5"))
DOCUMENT = {
    "symbol": "ETHBTC", "base": "ETH", "quote": "BTC", "tick": "0.000001", "step": "0.00000001",
    "min_quantity": "0.00000001", "min_notional": "0.0001", "maker_fee": "0.001", "taker_fee": "0.001",
    "can_short": False,
}  # fmt: skip
"""As the first version wrote it."""


def test_rules_are_written_as_ever() -> None:
    assert dump_market(MARKET) == DOCUMENT
    assert list(dump_market(MARKET)) == [each.name for each in fields(Market)] == list(DOCUMENT)


def test_rules_are_read_as_they_were() -> None:
    assert load_market(DOCUMENT) == MARKET
    assert load_market({**DOCUMENT, "of_a_later_version": "1"}) == MARKET
    earlier = {name: value for name, value in DOCUMENT.items() if name not in ("maker_fee", "taker_fee", "can_short")}
    assert load_market(earlier).taker_fee == SPOT_FEE


numbers = st.decimals(allow_nan=False, allow_infinity=False)


@given(st.lists(st.builds(Candle, st.integers(0, 10**13), numbers, numbers, numbers, numbers, numbers), max_size=3))
def test_candles_are_read_as_they_were_to_the_last_digit(candles: list[Candle]) -> None:
    assert repr(load_candles(dump_candles(candles))) == repr(candles)


def test_candles_are_written_as_ever() -> None:
    assert dump_candles([CANDLE]) == [[1515560100000, "0.0984", "0.0994766", "0.09828605", "0.09947660", "1820.5"]]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"tick": "small"}, "market.tick: Input should be a valid decimal"),
        ({"tick": "Infinity"}, "market.tick: Input should be a finite number"),
        ({"step": None}, "market.step: "),
        ({"can_short": "perhaps"}, "market.can_short: "),
    ],
)
def test_damaged_rules_say_where(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(DocumentDamaged) as damaged:
        load_market({**DOCUMENT, **changes})
    assert str(damaged.value).startswith(says)


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ("none", "candles: "),
        ([[1, "1"]], "candles.0.2: "),
        ([*dump_candles([CANDLE]), [1, "1", "1", "1", "1", "x"]], "candles.1.5: Input should be a valid decimal"),
    ],
)
def test_damaged_candles_say_where(document: Any, says: str) -> None:
    with pytest.raises(DocumentDamaged) as damaged:
        load_candles(document)
    assert str(damaged.value).startswith(says)


@given(json_texts.map(load_json))
def test_whatever_a_document_holds_is_read_or_named(document: Any) -> None:
    for load in (load_market, load_candles, lambda each: load_market({**DOCUMENT, "tick": each})):
        said = ""
        try:
            load(document)
        except DocumentDamaged as error:
            said = str(error)
        assert len(said) <= 300
