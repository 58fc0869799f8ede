"""Ids out of texts that anybody may have written: one spelling, one range, no exception."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.ids import LARGEST_ID, is_id, parse_id
from tests.unit.fleet.no_ids import NO_IDS


@pytest.mark.parametrize("foreign", NO_IDS.values(), ids=NO_IDS.keys())
def test_what_is_no_id(foreign: object) -> None:
    assert parse_id(foreign) is None


@given(st.integers(1, LARGEST_ID))
def test_every_id_comes_back_from_its_text(number: int) -> None:
    assert is_id(number)
    assert parse_id(str(number)) == number


@given(st.text() | st.from_regex(r"[0-9+_ -]{0,20}") | st.integers().map(str) | st.binary() | st.none() | st.integers())
def test_whatever_is_parsed_is_an_id_in_its_own_spelling(foreign: object) -> None:
    number = parse_id(foreign)
    assert number is None or (is_id(number) and str(number) == foreign)
