"""Retry-After as servers, proxies and whoever else write it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.retry_after import retry_after_s

NOW_S = 784_111_777.0  # Sun, 06 Nov 1994 08:49:37 GMT


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        ("0", 0),
        ("1", 1),
        (" 30 ", 30),
        ("007", 7),
        ("60", 60),
        ("61", 60),  # more isn't believed
        ("9" * 9, 60),
        ("9" * 10_000, 60),
        ("Sun, 06 Nov 1994 08:49:57 GMT", 20),
        ("Sunday, 06-Nov-94 08:49:57 GMT", 20),  # obsolete forms are to be read too
        ("Sun Nov  6 08:49:57 1994", 20),
        ("Sun, 06 Nov 1994 08:49:57 -0000", 20),
        ("Sun, 06 Nov 1994 09:49:57 +0100", 20),
        ("Sun, 06 Nov 1994 08:49:07 GMT", 0),  # over already
        ("Sun, 06 Nov 2094 08:49:37 GMT", 60),
        (None, None),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("1e3", None),
        ("٣", None),  # a digit, but none of ASCII
        ("soon", None),
        ("Sun, 06 Nov 1994", None),
        ("Sun, 99 Nov 1994 08:49:37 GMT", None),
        ("Sun, 06 Nov 1994 08:49:57 GMT" + " " * 100 + "x", None),
    ],
)
def test_what_is_read(value: str | None, wait_s: float | None) -> None:
    assert retry_after_s(value, now_s=NOW_S, most_s=60) == wait_s


@given(st.text() | st.from_regex(r"\w{3}, \d\d? \w{3} \d{1,30} [\d:]{1,20} \S{0,9}", fullmatch=True))
def test_whatever_is_written_there(value: str) -> None:
    wait_s = retry_after_s(value, now_s=NOW_S, most_s=60)
    assert wait_s is None or 0 <= wait_s <= 60
