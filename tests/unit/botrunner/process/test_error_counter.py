"""What is counted, and that nothing is lost when it can't be written."""

from __future__ import annotations

from typing import Any

import pytest

from botrunner.process.error_counter import FLUSH_S, KINDS_MAX, MESSAGE_MAX, ErrorCounter
from tests.support import FakeClock


def test_warnings_and_worse_are_counted_by_kind() -> None:
    clock = FakeClock()
    book = ErrorCounter(clock)
    book.see("info", {"event": "filled", "part": "bot"})
    for _ in range(3):
        book.see("warning", {"event": "exchange_away", "part": "bot", "error": "503"})
        clock.time += 2
    book.see("warning", {"event": "strategy_error", "part": "strategy", "type": "KeyError", "error": "'x'"})
    book.see("error", {"event": "failed", "part": "main", "exception": [{"exc_type": "OSError", "exc_value": "gone"}]})
    found = {it.kind: it for it in book.take()}
    assert sorted(found) == ["exchange_away", "failed", "strategy_error:KeyError"]
    away = found["exchange_away"]
    assert (away.count, away.first_age_s, away.last_age_s, away.message) == (3, 6.0, 2.0, "503")
    assert found["failed"].message == "OSError: gone"
    assert book.take() == []


def test_it_is_written_now_and_then() -> None:
    clock = FakeClock()
    book = ErrorCounter(clock)
    clock.time += FLUSH_S
    assert not book.due(), "there is nothing to write"
    book.count(kind="x", part="", message="")
    assert book.due()
    book.take()
    book.count(kind="x", part="", message="")
    assert not book.due()


def test_what_could_not_be_written_is_kept_with_its_times() -> None:
    clock = FakeClock()
    book = ErrorCounter(clock)
    book.count(kind="x", part="p", message="first")
    clock.time += 10
    taken = book.take()
    book.count(kind="x", part="p", message="second")
    clock.time += 5
    book.give_back(taken)
    [it] = book.take()
    assert (it.count, it.message) == (2, "second")
    assert (it.first_age_s, it.last_age_s) == (pytest.approx(15), pytest.approx(5))


def test_messages_are_masked_and_capped_and_kinds_are_bounded() -> None:
    book = ErrorCounter(FakeClock())
    book.count(kind="k", part="", message="postgresql://bot:s3cret@db/x refused " + "x" * 10_000)
    [it] = book.take()
    assert "s3cret" not in it.message
    assert len(it.message) == MESSAGE_MAX
    for number in range(KINDS_MAX + 50):
        book.count(kind=f"kind{number}", part="", message="")
    counts: dict[str, Any] = {it.kind: it.count for it in book.take()}
    assert (len(counts), counts["other"]) == (KINDS_MAX + 1, 50)
