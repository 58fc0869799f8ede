"""What is the case with a run, at the edges of each condition; and when the observer must not believe what it sees."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from controller.decide.condition import Condition, Verdict, classify
from controller.decide.facts import ObserverFacts, PodFacts, PodPhase
from tests.unit.controller.make import NOW, POLICY, TRUSTED, ago, pod, run, unclaimed

PENDING = pod(phase=PodPhase.PENDING, placed=False)
PLACED = pod(phase=PodPhase.PENDING, placed=True, placed_at=ago(10))


def judged(facts: Any, *pods: PodFacts, observer: ObserverFacts = TRUSTED) -> Verdict:
    return classify(facts, pods, now=NOW, observer=observer, policy=POLICY)


def in_s(seconds: float) -> Any:
    return NOW + timedelta(seconds=seconds)


C = Condition


@pytest.mark.parametrize(
    ("facts", "pods", "condition", "until"),
    [
        # nobody has claimed it
        ({"pod_uid": None}, [], C.UNCREATED, in_s(119)),
        ({"pod_uid": None}, [pod(epoch=4)], C.UNCREATED, in_s(119)),  # another run's pod is no sign
        ({}, [], C.UNCLAIMABLE, None),  # there was one
        ({}, [PENDING], C.UNPLACED, None),
        ({}, [replace(PENDING, deleting=True)], C.UNCLAIMABLE, None),
        ({}, [replace(PENDING, gone=True)], C.UNCLAIMABLE, None),
        ({"created_at": ago(900)}, [PENDING], C.UNPLACED, None),  # in place, for as long as it takes
        ({}, [pod(placed=False)], C.STARTING, in_s(119)),  # it runs, so it has one
        ({"created_at": ago(119)}, [pod()], C.STARTING, in_s(1)),
        ({"created_at": ago(120)}, [pod()], C.UNCLAIMABLE, None),
        ({"created_at": ago(900)}, [PLACED], C.STARTING, in_s(110)),  # since its node was found
        ({"created_at": ago(5)}, [PLACED], C.STARTING, in_s(115)),
        ({}, [replace(PLACED, placed_at=in_s(50))], C.STARTING, in_s(120)),  # a clock ahead of ours
        ({}, [pod(deleting=True)], C.UNCLAIMABLE, None),
        ({"pod_uid": None}, [pod(deleting=True)], C.UNCLAIMABLE, None),  # it was created, though nobody wrote it down
        ({}, [pod(phase=PodPhase.FAILED)], C.UNCLAIMABLE, None),
        ({}, [pod(deleting=True), pod(uid="second")], C.STARTING, in_s(119)),
        ({"stop_requested_at": ago(0)}, [pod()], C.UNCLAIMABLE, None),
    ],
)
def test_a_run_that_nobody_has_claimed(facts: dict[str, Any], pods: list[PodFacts], condition: C, until: Any) -> None:
    found = judged(unclaimed(**facts), *pods)
    assert (found.condition, found.until) == (condition, until)


ENDED = pod(phase=PodPhase.TERMINATED, exit_code=1)
NAMELESS = {"claimed_by": "me"}


@pytest.mark.parametrize(
    ("facts", "pods", "condition", "until"),
    [
        ({}, [pod()], C.ALIVE, None),
        ({}, [], C.ALIVE, None),
        ({"heartbeat_at": ago(34.9)}, [], C.ALIVE, None),
        ({"heartbeat_at": ago(35)}, [], C.SILENT, None),
        # proofs of death
        ({}, [ENDED], C.DEAD, None),
        ({"pod_uid": "other"}, [ENDED], C.DEAD, None),  # the claim names it
        ({"claimed_by": "other/1"}, [ENDED], C.ALIVE, None),
        ({"claimed_by": "/1"}, [ENDED], C.DEAD, None),  # names nobody
        (NAMELESS, [ENDED], C.DEAD, None),
        (NAMELESS, [replace(ENDED, exit_code=3)], C.ALIVE, None),  # it lost the claim to somebody
        (NAMELESS, [ENDED, pod(uid="second")], C.ALIVE, None),
        (NAMELESS, [pod(phase=PodPhase.FAILED)], C.ALIVE, None),  # no proof
        # progress: as old as the last heartbeat said
        ({"heartbeat_at": ago(2), "progress_at": ago(31.9)}, [], C.ALIVE, None),
        ({"heartbeat_at": ago(2), "progress_at": ago(32)}, [], C.HUNG, None),
        # the start's own deadline, counted from the last thing that excuses it
        ({"live_at": None, "claimed_at": ago(599), "created_at": ago(900)}, [], C.WARMING, in_s(1)),
        ({"live_at": None, "claimed_at": ago(600), "created_at": ago(900)}, [], C.HUNG, None),
        ({"live_at": None, "claimed_at": ago(900), "waited_at": ago(599)}, [], C.WARMING, in_s(1)),
        ({"live_at": None, "progress_at": ago(500)}, [], C.WARMING, in_s(2)),  # warming up isn't hanging
        # asked to stop
        ({"stop_requested_at": ago(34.9)}, [], C.STOPPING, in_s(0.1)),
        ({"stop_requested_at": ago(35)}, [], C.STOP_OVERDUE, None),
        ({"stop_requested_at": ago(900), "waits_until_flat": True}, [], C.STOPPING, None),
        ({"stop_requested_at": ago(900), "waits_until_flat": True, "progress_at": ago(40)}, [], C.STOP_OVERDUE, None),
        (
            {"stop_requested_at": ago(1), "waits_until_flat": True, "progress_at": ago(40)},
            [],
            C.STOPPING,
            in_s(34),
        ),
    ],
)
def test_a_claimed_run(facts: dict[str, Any], pods: list[PodFacts], condition: C, until: Any) -> None:
    found = judged(run(**facts), *pods)
    assert (found.condition, found.until) == (condition, until)


@pytest.mark.parametrize(
    ("observer", "condition", "until"),
    [
        (ObserverFacts(connected_since=ago(35)), C.SILENT, None),
        (ObserverFacts(connected_since=ago(34)), C.UNWATCHED, in_s(1)),
        (ObserverFacts(connected_since=ago(900), suspicious=True), C.UNWATCHED, in_s(5)),
        (ObserverFacts(connected_since=ago(34), suspicious=True), C.UNWATCHED, in_s(5)),
    ],
)
def test_silence_is_believed_of_a_trusted_observer_alone(observer: ObserverFacts, condition: C, until: Any) -> None:
    found = judged(run(heartbeat_at=ago(900)), observer=observer)
    assert (found.condition, found.until) == (condition, until)


def test_what_the_observer_did_not_see_costs_nobody_a_deadline() -> None:
    away = ObserverFacts(connected_since=ago(10))
    assert judged(unclaimed(created_at=ago(900)), pod(), observer=away).until == in_s(110)
    assert judged(run(live_at=None, claimed_at=ago(900)), observer=away).until == in_s(590)
    assert judged(run(stop_requested_at=ago(900)), observer=away).until == in_s(25)


@pytest.mark.parametrize(
    ("facts", "pods", "speaks"),
    [
        ({}, [pod(uid="a"), pod(uid="u5")], "u5"),
        ({"pod_uid": "a"}, [pod(uid="a"), pod(uid="u5")], "u5"),  # the claimant before the recorded one
        ({"claimed_by": "me", "pod_uid": "b"}, [pod(uid="a"), pod(uid="b", deleting=True)], "b"),
        ({"claimed_by": "me", "pod_uid": None}, [pod(uid="a", phase=PodPhase.FAILED), pod(uid="b")], "b"),
        ({"claimed_by": "me", "pod_uid": None}, [pod(uid="a", deleting=True), pod(uid="b")], "b"),
        ({"claimed_by": "me", "pod_uid": None}, [pod(uid="b"), pod(uid="a")], "a"),
    ],
)
def test_which_of_a_runs_pods_speaks_for_it(facts: dict[str, Any], pods: list[PodFacts], speaks: str) -> None:
    found = judged(run(**facts), *pods)
    assert found.pod is not None
    assert found.pod.uid == speaks


def test_no_run_is_no_condition() -> None:
    for absent in (None, run(ended=True)):
        assert judged(absent, pod()) == Verdict(Condition.ABSENT)
