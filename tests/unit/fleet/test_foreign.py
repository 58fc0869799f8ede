"""Whatever comes in, something harmless comes out: of the loader of foreign JSON and the cleaner of foreign text."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.foreign import BYTES_LIMIT, CUT, DEPTH_LIMIT, Unreadable, clean_text, load_json

UNREADABLE = {
    "a number that Python refuses to read": ("9" * 5000, "number of 5000 characters"),
    "a fraction of many digits": ("0." + "1" * 500, "number of 502 characters"),
    "a number out of range": ("1e999", "out of range"),
    "an integer out of range": ("9" * 390, "out of range"),
    "1,500 brackets": ("[" * 1500 + "]" * 1500, "levels deep"),
    "one bracket too many": ("[" * (DEPTH_LIMIT + 2) + "]" * (DEPTH_LIMIT + 2), "levels deep"),
    "objects too": ('{"a":' * 100 + "1" + "}" * 100, "levels deep"),
    "NaN": ('{"a": NaN}', "NaN, which is not JSON"),
    "HTML of a proxy": ("<html>", "is not JSON: Expecting value at line 1, column 1"),
    "nothing": ("", "is not JSON"),
    "too long": (" " * (BYTES_LIMIT + 1), "bytes long"),
    "not UTF-8": (b'"\xff"', "is not UTF-8 at byte 1"),
}


@pytest.mark.parametrize(("raw", "reason"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_cannot_be_read_is_named_and_does_not_raise(raw: str | bytes, reason: str) -> None:
    found = load_json(raw)
    assert isinstance(found, Unreadable)
    assert reason in found.reason


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(10**90), 10**90)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_what_can_be_read_is_what_it_was(document: Any) -> None:
    assert load_json(json.dumps(document)) == document
    assert load_json(json.dumps(document).encode()) == document


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_is_read_the_way_jsonb_writes_it(number: float) -> None:
    """Without exponent: a strategy's decaying average of 1e-120 must not cost the bot its state."""
    read = load_json(format(Decimal(repr(number)), "f"))
    assert isinstance(read, int | float)
    assert float(read) == number


@given(st.text() | st.binary())
def test_the_loader_is_total(raw: str | bytes) -> None:
    load_json(raw)


HARMFUL = {
    "NUL": ("a\x00b", "a\ufffdb"),
    "a lone surrogate": ("a\ud800b", "a\ufffdb"),
    "colours go": ("\x1b[31mred\x1b[0m", "red"),
    "a title of the terminal goes": ("\x1b]0;title\x07text", "text"),
    "a bell": ("a\x07", "a\ufffd"),
    "a direction override": ("a\u202eb", "a\ufffdb"),
    "line ends of all kinds": ("a\r\nb\rc\n", "a\nb\nc"),
    "tab stays": ("a\tb", "a\tb"),
    "the world's letters stay": ("größe 大きさ 🚀", "größe 大きさ 🚀"),
}


@pytest.mark.parametrize(("text", "clean"), HARMFUL.values(), ids=HARMFUL.keys())
def test_harmful_characters(text: str, clean: str) -> None:
    assert clean_text(text, 100) == clean


def test_either_end_is_kept() -> None:
    assert clean_text("abcdef", 4) == "abc" + CUT
    assert clean_text("abcdef", 4, keep="tail") == CUT + "def"
    assert clean_text("x" * 10**6 + "end", 5, keep="tail") == CUT + "xend"


def test_one_line() -> None:
    assert clean_text("a\nb\tc", 9, lines=False) == "a b c"


def test_an_object_whose_str_raises() -> None:
    class Bad:
        def __str__(self) -> str:
            raise RuntimeError("no")

    assert clean_text(Bad(), 100) == "<Bad that can't be printed>"
    assert clean_text(None, 100) == ""


@given(
    st.text(st.characters() | st.characters(categories=("Cs", "Cc", "Cf"))),
    st.integers(0, 50),
    st.sampled_from(("head", "tail")),
    st.booleans(),
)
def test_the_cleaner_keeps_its_promises(text: str, limit: int, keep: str, lines: bool) -> None:
    clean = clean_text(text, limit, keep=keep, lines=lines)
    assert len(clean) <= limit
    assert clean.encode() or clean == ""
    assert "\x00" not in clean
    assert "\x1b" not in clean
    assert lines or "\n" not in clean
    assert clean_text(clean, limit, keep=keep, lines=lines) == clean
