"""Ids out of texts that anybody may have written: one spelling, one range, no exception."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.ids import LARGEST_ID, is_id, parse_id

NO_IDS = {
    "nothing": "",
    "zero": "0",
    "negative": "-1",
    "signed": "+1",
    "5,000 digits, which int() refuses": "9" * 5000,
    "one more than the largest": str(LARGEST_ID + 1),
    "sixteen digits": "1" * 16,
    "a second spelling": "07",
    "blanks": " 7",
    "a newline": "7\n",
    "underscores, which int() takes": "1_0",
    "digits of another script, which int() takes": "٣",
    "a superscript, which isdigit() takes": "²",
    "NUL": "7\0",
    "a number": 7,
    "none": None,
}


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
