"""Tables on terminals: who reads one row's long text still sees every column of all others."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.output import LEAST_LAST, LEAST_WIDTH, Output, fitted, number, plain, wanted_form

REPOSITORY = Path(__file__).resolve().parents[3]
PROGRAM = """
from cli.output import Output, show
rows = [{"id": "1", "name": "eth", "status": "running", "message": ""}, {"id": "2", "name": "n" * 200, "status": "error", "message": "why " * 500}]
show(rows, output=Output.TABLE, columns={name.upper(): (lambda row, name=name: row[name]) for name in rows[0]})
"""


@given(st.lists(st.integers(1, 2_000), min_size=1, max_size=20), st.integers(-50, 500))
def test_only_what_is_wide_is_cut_and_only_as_far_as_needed(widths: list[int], available: int) -> None:
    found = fitted(widths, available)
    assert all(new <= old for new, old in zip(found, widths, strict=True))
    assert all(new >= min(old, LEAST_WIDTH) for new, old in zip(found, widths, strict=True))
    assert found[-1] >= min(widths[-1], LEAST_LAST)
    if sum(widths) <= available:
        assert found == widths
    cut = any(new > LEAST_WIDTH for new in found[:-1]) or found[-1] > LEAST_LAST
    assert sum(found) <= available or not cut or found[:-1] == widths[:-1]


@pytest.mark.parametrize("columns", [20, 80, 120])
def test_a_long_name_hides_no_status(columns: int) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=theirs, stderr=subprocess.STDOUT, cwd=REPOSITORY, env=environment
    )
    os.close(theirs)
    said = b""
    while True:
        try:
            read = os.read(ours, 4096)
        except OSError:  # the other side is closed
            break
        if not read:
            break
        said += read
    os.close(ours)
    assert process.wait(30) == 0
    header, first, second = said.decode().split("\r\n")[:3]
    assert header.split() == ["ID", "NAME", "STATUS", "MESSAGE"]
    assert first.split() == ["1", "eth", "running"]
    assert second.split()[:4] == ["2", second.split()[1], "error", "why"]


AMOUNTS = {
    "satoshis aren't nothing": (("0.00000756", 8), "0.00000756"),
    "less than a satoshi": (("0.0000000075612345", 8), "0.000000007561"),
    "cash in six places": (("0.0000007", 6), "0.0000007"),
    "percent": (("0.0042", 2), "0.0042"),
    "a percentage keeps two digits": (("0.00421", 2), "0.0042"),
    "enough digits are enough": (("0.123456789", 8), "0.12345679"),
    "large": (("123456789012.123456789", 8), "123456789012.12345679"),
    "larger than a context of Python's": (("1e25", 8), "10000000000000000000000000"),
    "with an exponent": (("5E+3", 8), "5000"),
    "dust of a division": (("-1e-25", 8), "0"),
    "the tables' last digit": (("1e-18", 8), "0.000000000000000001"),
    "zero": (("0.000", 8), "0"),
    "negative zero": (("-0", 8), "0"),
    "no number": (("NaN", 8), "NaN"),
    "no end": (("-Infinity", 8), "-Infinity"),
    "absurd": (("1e1000", 8), "1.0000e+1000"),
}


@pytest.mark.parametrize(("amount", "shown"), AMOUNTS.values(), ids=AMOUNTS.keys())
def test_amounts_are_short_and_never_0_for_something(amount: tuple[str, int], shown: str) -> None:
    text, digits = amount
    assert number(Decimal(text), digits=digits) == shown


@given(st.decimals(-(10**20), 10**20, allow_nan=False, allow_infinity=False, places=18), st.sampled_from((2, 6, 8)))
def test_what_a_table_shows_is_what_json_holds(value: Decimal, digits: int) -> None:
    shown = number(value, digits=digits)
    assert not set(shown) - set("-.0123456789")
    assert (Decimal(shown) == 0) == (value == 0)
    assert abs(Decimal(shown) - value) <= min(Decimal(10) ** -digits, abs(value) / (10 if digits == 2 else 1000)) / 2
    exact = plain(value)
    assert Decimal(exact) == value
    assert number(Decimal(exact), digits=digits, signed=True).lstrip("+") == shown


def test_json_holds_nothing_that_json_has_not() -> None:
    made = plain({"a": float("nan"), "b": [float("inf")], "c": {1, 2}, "d": b"x", 3: Decimal("1E-7"), "e": Output.JSON})
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    assert made["a"] == "nan"
    assert made["3"] == "0.0000001"


FORMS = {
    "-o json": Output.JSON,
    "-ojson": Output.JSON,
    "--output json": Output.JSON,
    "--output=yaml": Output.YAML,
    "-o table -o yaml": Output.YAML,
    "-o": Output.TABLE,
    "-o nonsense": Output.TABLE,
    "": Output.TABLE,
    "-- -o json": Output.TABLE,
    "-o json --help": Output.TABLE,
}


@pytest.mark.parametrize(("words", "form"), FORMS.items(), ids=FORMS.keys())
def test_the_wanted_form_is_known_before_anything_is_understood(words: str, form: Output) -> None:
    assert wanted_form(["bots", "list", *words.split()]) is form


def test_a_command_line_without_a_word_wants_a_table() -> None:
    assert wanted_form([]) is Output.TABLE
