"""The last words of a bot out of the end of its log."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.decide.last_error import LIMIT, last_error

INFO = json.dumps({"event": "bar", "level": "info", "close": 1})
WARNING = json.dumps({"event": "candles_late", "late_s": 12.5, "level": "warning", "at": "x", "bot_id": 7})
ERROR = json.dumps({"part": "main", "event": "config_error", "error": "no such market", "level": "error"})
RAISED = json.dumps(
    {"event": "failed", "level": "error", "exception": [{"exc_type": "KeyError", "exc_value": "'x'", "frames": []}]}
)
TRACEBACK = "Traceback (most recent call last):\n  File x, line 1, in <module>\nImportError: No module named ccxt"


@pytest.mark.parametrize(
    ("tail", "words"),
    [
        ("", ""),
        (INFO, ""),
        (f"{INFO}\n{ERROR}\n{INFO}\n", "config_error: error=no such market"),
        (f"{ERROR}\n{RAISED}", "failed: KeyError: 'x'"),
        (WARNING, "candles_late: late_s=12.5"),
        (TRACEBACK, "ImportError: No module named ccxt"),
        (f"{WARNING}\n{TRACEBACK}", "ImportError: No module named ccxt"),
        (f"{TRACEBACK}\n{ERROR}", "config_error: error=no such market"),
        ("Segmentation fault", "Segmentation fault"),
        # cut at both ends
        (ERROR[20:], "no such market"),
        ('{"event": "failed", "level": "error", "exception": [{"exc_type": "KeyError", "exc_va', "failed: KeyError"),
        (INFO[3:], ""),
        ("fenced: run 5 is not this process's any more", "fenced: run 5 is not this process's any more"),
        ("one\x00two\x1b[31m", "one\ufffdtwo"),
    ],
)
def test_words(tail: str, words: str) -> None:
    assert last_error(tail) == words


@given(
    st.text()
    | st.recursive(
        st.none() | st.text() | st.floats() | st.integers(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    ).map(lambda value: json.dumps({"event": value, "level": "error", "exception": value}))
)
def test_any_text_has_words_that_fit(tail: str) -> None:
    for cut in (tail, tail[1:], tail[:-1], f"x\n{tail}\n"):
        words = last_error(cut)
        assert len(words) <= LIMIT
        assert "\n" not in words
        assert "\x00" not in words
