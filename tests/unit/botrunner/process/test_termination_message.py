"""The words that a bot leaves for the kubelet."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from botrunner.process.termination_message import LIMIT, write


def test_words_are_clean_and_masked(tmp_path: Path) -> None:
    file = tmp_path / "termination-log"
    file.touch()
    write("ValueError: a\x00b\nat postgresql://bot:hunter2@db/x", file)
    assert file.read_text() == "ValueError: a\ufffdb at postgresql://bot:***@db/x"


def test_where_no_kubelet_listens_nothing_is_written(tmp_path: Path) -> None:
    write("words", tmp_path / "termination-log")
    write("words", tmp_path)
    assert list(tmp_path.iterdir()) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(codec=None)))
def test_any_words_fit(tmp_path: Path, words: str) -> None:
    file = tmp_path / "termination-log"
    file.touch()
    write(words * 50, file)
    assert len(file.read_text()) <= LIMIT
    assert len(file.read_bytes()) <= 4096
