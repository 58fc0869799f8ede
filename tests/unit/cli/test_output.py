"""Tables on terminals: who reads one row's long text still sees every column of all others."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.output import LEAST_LAST, LEAST_WIDTH, fitted

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
