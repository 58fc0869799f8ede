"""What proves a death, and when so many deaths at once are not believed."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.decide.death import proof_of_death, suspect_observer
from controller.decide.facts import PodFacts, PodPhase
from tests.unit.controller.make import NOW, POLICY, ago, pod, run

ENDED = {"phase": PodPhase.TERMINATED, "exit_code": 1}


def in_s(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("claimed_by", "pods", "proof"),
    [
        ("u5/1", [pod(**ENDED)], "u5"),
        ("u5/1", [pod()], None),
        ("u5/1", [], None),  # an object that vanished proves nothing
        ("u5/1", [pod(phase=PodPhase.FAILED)], None),  # nobody saw its process end
        ("u5/1", [pod(uid="a", **ENDED), pod()], None),  # another pod's end
        ("u5/1", [pod(uid="a"), pod(**ENDED)], "u5"),  # another pod's life
        ("somebody", [pod(**ENDED)], "u5"),  # the claim names no pod
        ("somebody", [pod(**ENDED), pod(uid="a")], None),  # which of the two has claimed?
        ("somebody", [pod(**{**ENDED, "exit_code": 3})], None),  # it lost the claim to another
        ("somebody", [pod(**ENDED), pod(uid="a", gone=True)], "u5"),
    ],
)
def test_what_proves_that_a_claimed_run_is_dead(claimed_by: str, pods: list[PodFacts], proof: str | None) -> None:
    dead = proof_of_death(run(claimed_by=claimed_by), pods)
    assert (dead.uid if dead else None) == proof


def test_a_heartbeat_of_the_future_is_no_silence() -> None:
    assert not suspect_observer(claimed=20, quiet_since=[in_s(1)] * 20, now=NOW, policy=POLICY)
    assert suspect_observer(claimed=20, quiet_since=[NOW] * 11, now=NOW, policy=POLICY)
    together = [ago(30)] * 5 + [ago(20)] * 6  # exactly two intervals apart
    assert suspect_observer(claimed=20, quiet_since=together, now=NOW, policy=POLICY)


@pytest.mark.parametrize(
    ("claimed", "ages_s", "suspicious"),
    [
        (20, [16.0] * 11, True),
        (20, [16.0] * 10, False),  # exactly half
        (19, [16.0] * 19, False),  # too few bots to tell
        (20, [16 + 0.9 * i for i in range(11)], True),  # within two intervals of 5 s: each was up to one old
        (20, [16 + 1.1 * i for i in range(11)], False),  # one after the other
        (20, [500.0] * 9 + [16.0] * 3, False),
        (20, [500.0] * 11 + [16.0] * 3, True),  # a mass death stays one until it is explained
        (0, [], False),
    ],
)
def test_mass_deaths(claimed: int, ages_s: list[float], suspicious: bool) -> None:
    found = suspect_observer(claimed=claimed, quiet_since=[ago(age) for age in ages_s], now=NOW, policy=POLICY)
    assert found is suspicious


@given(st.lists(st.floats(0, 100), max_size=60), st.integers(0, 60))
def test_agrees_with_the_definition(ages_s: list[float], claimed: int) -> None:
    moments = [ago(age) for age in ages_s]
    span = timedelta(seconds=2 * POLICY.heartbeat_interval_s)
    together = max((sum(first <= m <= first + span for m in moments) for first in moments), default=0)
    expected = claimed >= POLICY.mass_minimum and 2 * together > claimed
    assert suspect_observer(claimed=claimed, quiet_since=moments, now=NOW, policy=POLICY) is expected
