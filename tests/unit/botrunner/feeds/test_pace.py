"""When the exchange is asked: at once on the stream's word, ever more slowly for a candle that stays away."""

from __future__ import annotations

from itertools import pairwise

import pytest

from botrunner.feeds.pace import PATIENT_POLLS, QUICK_S, SLOWEST_S, PollPace


def test_a_hint_makes_the_question_immediate() -> None:
    pace = PollPace()
    pace.found(100.0, wait_s=9.0)
    assert not pace.due(105.0)
    pace.hinted(105.0)
    assert pace.due(105.0)


def test_a_hint_before_rest_knows_is_followed_by_a_few_quick_questions_then_by_the_usual_pace() -> None:
    pace, now, waits = PollPace(), 100.0, []
    pace.hinted(now)
    for _ in range(len(QUICK_S) + 2):
        pace.nothing(now, wait_s=3.0, overdue=False)
        waits.append(round(pace.left_s(now), 6))
        now += pace.left_s(now)
    assert waits == [*QUICK_S, 3.0, 3.0]


def test_a_candle_that_stays_away_is_asked_for_ever_more_slowly() -> None:
    pace, now, waits = PollPace(), 0.0, []
    for _ in range(PATIENT_POLLS + 30):
        pace.nothing(now, wait_s=0.2, overdue=True)
        waits.append(pace.left_s(now))
        now += pace.left_s(now)
    assert waits[:PATIENT_POLLS] == pytest.approx([0.2] * PATIENT_POLLS)
    growing = waits[PATIENT_POLLS:]
    assert all(later > earlier - 1e-9 for earlier, later in pairwise(growing))
    assert waits[-1] == pytest.approx(SLOWEST_S)
    pace.found(now, wait_s=0.2)
    pace.nothing(now, wait_s=0.2, overdue=True)
    assert pace.left_s(now) == pytest.approx(0.2)


def test_the_stream_does_not_shorten_the_backoff_of_an_exchange_that_fails() -> None:
    pace = PollPace()
    for failures in range(1, 9):
        wait = pace.failed(100.0)
        assert (pace.failures, pace.left_s(100.0)) == (failures, pytest.approx(wait))
    pace.hinted(100.0)
    assert pace.left_s(100.0) == pytest.approx(wait)
    pace.nothing(200.0, wait_s=1.0, overdue=False)
    assert pace.failures == 0


def test_with_many_bots_a_hint_waits_for_this_ones_turn_and_quick_questions_are_fewer() -> None:
    pace = PollPace()
    pace.found(100.0, wait_s=9.0)
    pace.hinted(105.0, after_s=3.0)
    assert pace.left_s(105.0) == pytest.approx(3.0)
    pace.hinted(106.0, after_s=3.0)
    assert pace.left_s(106.0) == pytest.approx(2.0)
    pace.nothing(108.0, wait_s=6.0, overdue=True, least_s=6.0)
    assert pace.left_s(108.0) == pytest.approx(6.0)


def test_the_end_of_a_pause_is_not_missed() -> None:
    pace = PollPace()
    for _ in range(8):
        pace.failed(100.0)
    assert pace.failed(100.0, paused_s=0.25) == 0.25
    assert pace.failed(100.0, paused_s=1e6) <= 30.0
