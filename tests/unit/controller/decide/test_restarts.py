"""Restart times and giving up, from histories."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.decide.facts import Policy, RunEnd
from controller.decide.restarts import JITTER, failure_streak, gave_up, jitter, restart_at
from fleet.states import COUNTED_FAILURES, ExitReason
from tests.unit.controller.make import NOW, POLICY, end

FAILED = ExitReason.FAILED
RELEASED = ExitReason.RELEASED
NOT_CLAIMED = ExitReason.NOT_CLAIMED


def history(*reasons: ExitReason, lived_s: float = 20, version: int = 3) -> list[RunEnd]:
    """Ends, newest first, a minute apart; the newest one just now."""
    return [
        end(reason, epoch=20 - index, seconds_ago=60 * index, lived_s=lived_s, config_version=version)
        for index, reason in enumerate(reasons)
    ]


def delay_s(ends: list[RunEnd], policy: Policy = POLICY) -> float:
    start = restart_at(7, 3, ends, policy=policy)
    return 0.0 if start is None else (start - ends[0].ended_at).total_seconds()


@pytest.mark.parametrize(
    ("ends", "expected_s"),
    [
        ([], 0),
        (history(FAILED), 0),
        (history(FAILED, FAILED), 5),
        (history(FAILED, FAILED, FAILED), 10),
        (history(*[FAILED] * 4), 20),
        (history(*[FAILED] * 5), 40),
        (history(*[FAILED] * 7), 160),
        (history(*[FAILED] * 30), 250),  # with its jitter at most the 300 s of the policy
        (history(FAILED, RELEASED, FAILED), 5),  # what doesn't count doesn't reset either
        ([end(FAILED, live_at=None)], 5),  # starting doesn't work: at once is too soon
        ([end(ExitReason.FENCED_HUNG, live_at=None), end(FAILED, epoch=4, live_at=None)], 10),
        ([end(FAILED), end(FAILED, epoch=4, live_at=None)], 5),
        (history(NOT_CLAIMED), 5),
        (history(NOT_CLAIMED, NOT_CLAIMED), 10),
        (history(NOT_CLAIMED, FAILED, NOT_CLAIMED), 5),
        (history(RELEASED), 0),
        (history(RELEASED, RELEASED), 1),
        (history(*[RELEASED] * 4), 4),
        (history(RELEASED, RELEASED, lived_s=61), 0),  # it worked in between
        (history(ExitReason.SUPERSEDED, FAILED, FAILED), 0),
        (history(ExitReason.STOPPED, FAILED, FAILED), 0),
        (history(FAILED, FAILED, version=2), 0),  # another version fails anew
    ],
)
def test_delays(ends: list[RunEnd], expected_s: float) -> None:
    found = delay_s(ends)
    assert expected_s <= found <= expected_s * (1 + JITTER)


def test_a_healthy_run_resets_the_ladder() -> None:
    ends = history(*[FAILED] * 5)
    healthy = end(FAILED, epoch=18, seconds_ago=120, lived_s=600)
    assert failure_streak(ends, policy=POLICY) == 5
    assert failure_streak([*ends[:2], healthy, *ends[3:]], policy=POLICY) == 3
    just_failed = end(FAILED, epoch=20, seconds_ago=0, lived_s=601)
    assert delay_s([just_failed, *ends[1:]]) == 0


def test_jitter_is_fixed_and_spread() -> None:
    values = [jitter(bot_id, 2) for bot_id in range(1000)]
    assert values == [jitter(bot_id, 2) for bot_id in range(1000)]
    assert all(0 <= value < 1 for value in values)
    assert 0.45 < sum(values) / 1000 < 0.55  # mean of 1,000 uniform numbers: 0.5 ± 0.009


def test_the_sixth_failure_in_the_window_gives_up() -> None:
    assert not gave_up(3, history(*[FAILED] * 5), policy=POLICY)
    assert gave_up(3, history(*[FAILED] * 6), policy=POLICY)
    assert gave_up(3, history(FAILED, RELEASED, *[FAILED] * 5), policy=POLICY)
    assert not gave_up(4, history(*[FAILED] * 6), policy=POLICY)
    assert not gave_up(3, history(RELEASED, *[FAILED] * 6), policy=POLICY)
    slow = [end(FAILED, epoch=20 - i, seconds_ago=361 * i) for i in range(6)]
    assert not gave_up(3, slow, policy=POLICY)  # 5 · 361 s > 30 min


@given(st.lists(st.sampled_from(ExitReason), min_size=1, max_size=32), st.integers(1, 10**12))
def test_every_history_has_a_bounded_delay(reasons: list[ExitReason], bot_id: int) -> None:
    start = restart_at(bot_id, 3, history(*reasons), policy=POLICY)
    if start is not None:
        assert NOW <= start <= NOW + timedelta(seconds=POLICY.backoff_max_s)
    if not set(reasons) & {*COUNTED_FAILURES, ExitReason.GAVE_UP}:
        assert not gave_up(3, history(*reasons), policy=POLICY)
