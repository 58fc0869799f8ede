"""What pods look like to the controller, and the store under late, repeated and lost events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.facts import PodFacts, PodPhase
from controller.observe.pods import PodStore, read_pod
from controller.reasons import end_words, waiting_words
from tests.unit.controller.make import pod


def body(status: Mapping[str, Any], **metadata: object) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "bot-7-x-e5",
            "uid": "u5",
            "labels": {"botfleet.dev/bot-id": "7", "botfleet.dev/epoch": "5"},
            **metadata,
        },
        "spec": {"nodeName": "n1"},
        "status": status,
    }


def container(ready: bool = False, **state: object) -> list[dict[str, Any]]:
    return [{"name": "sidecar", "state": {}}, {"name": "bot", "ready": ready, "state": state}]


CONDITION = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
UNREADY = [{"type": "Ready", "status": "False"}]
ENDED = {"exitCode": 137, "reason": "OOMKilled", "message": "last line\n"}
LOST = {"exitCode": 137, "reason": "ContainerStatusUnknown"}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({}, {"phase": PodPhase.PENDING}),
        ({"phase": "Pending", "conditions": [CONDITION]}, {"waiting": "Unschedulable: 0/3 nodes"}),
        (
            {"containerStatuses": container(waiting={"reason": "ContainerCreating"})},
            {"phase": PodPhase.PENDING, "waiting": ""},
        ),
        (
            {"containerStatuses": container(waiting={"reason": "ErrImagePull", "message": "no"})},
            {"waiting": "ErrImagePull: no"},
        ),
        (
            {"phase": "Running", "containerStatuses": container(running={}, ready=True)},
            {"phase": PodPhase.RUNNING},
        ),
        (
            {"phase": "Failed", "containerStatuses": container(terminated=ENDED)},
            {
                "phase": PodPhase.TERMINATED,
                "exit_code": 137,
                "reason": "OOMKilled",
                "message": "last line",
            },
        ),
        (
            {"containerStatuses": container(terminated={"exitCode": 1, "message": "a\x00b \x1b[31mc \ud800"})},
            {"message": "a\ufffdb c \ufffd"},
        ),
        ({"containerStatuses": container(terminated={"exitCode": 10**30})}, {"exit_code": None}),
        ({"containerStatuses": container(terminated={"exitCode": "1"})}, {"exit_code": None}),
        (
            {"containerStatuses": container(terminated={"message": "postgresql://bot:hunter2@db/x failed"})},
            {"message": "postgresql://bot:***@db/x failed"},
        ),
        # the kubelet lost sight of the container: no report of its end
        (
            {"phase": "Failed", "containerStatuses": container(terminated=LOST)},
            {"phase": PodPhase.FAILED, "exit_code": None, "reason": "ContainerStatusUnknown"},
        ),
        # collected by the control plane after its node was lost
        (
            {
                "phase": "Failed",
                "reason": "NodeLost",
                "containerStatuses": container(running={}, ready=True),
            },
            {"phase": PodPhase.FAILED, "node_lost": True, "reason": "NodeLost"},
        ),
        (
            {
                "phase": "Running",
                "conditions": UNREADY,
                "containerStatuses": container(running={}, ready=True),
            },
            {"phase": PodPhase.RUNNING, "node_lost": True},
        ),
        (
            {"phase": "Running", "conditions": UNREADY, "containerStatuses": container(running={})},
            {"node_lost": False},
        ),
    ],
)
def test_reading(status: dict[str, Any], expected: dict[str, object]) -> None:
    facts = read_pod(body(status))
    assert facts is not None
    assert {key: getattr(facts, key) for key in expected} == expected
    assert (facts.bot_id, facts.epoch, facts.name, facts.node) == (7, 5, "bot-7-x-e5", "n1")


@pytest.mark.parametrize(
    "labels", [{}, {"botfleet.dev/bot-id": "x"}, {"botfleet.dev/bot-id": "²"}, None, {"botfleet.dev/bot-id": "-1"}]
)
def test_foreign_pods_are_left_out(labels: object) -> None:
    assert read_pod(body({}, labels=labels)) is None


def test_an_unreadable_epoch_is_nobodys() -> None:
    facts = read_pod(body({}, labels={"botfleet.dev/bot-id": "7", "botfleet.dev/epoch": "new"}))
    assert facts is not None
    assert facts.epoch == 0


KEYS = [
    "metadata", "name", "uid", "labels", "botfleet.dev/bot-id", "botfleet.dev/epoch", "deletionTimestamp", "spec",
    "nodeName", "containers", "resources", "limits", "memory", "status", "phase", "reason", "message", "conditions",
    "type", "containerStatuses", "state", "terminated", "exitCode", "running", "waiting", "ready",
]  # fmt: skip
WORDS = [
    "7",
    "bot",
    "Failed",
    "Evicted",
    "Ready",
    "False",
    "True",
    "DisruptionTarget",
    "PodScheduled",
    "a\x00b",
    "\ud800",
]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**30)
    | st.floats()
    | st.text(st.characters(codec=None), max_size=20)
    | st.sampled_from(WORDS)
)
ANYTHING = st.recursive(
    SCALARS, lambda part: st.lists(part, max_size=3) | st.dictionaries(st.sampled_from(KEYS), part), max_leaves=30
)


def check(facts: PodFacts | None) -> None:
    """What everybody may rely on: texts that PostgreSQL stores, numbers that fit their columns."""
    if facts is None:
        return
    for value in asdict(facts).values():
        if isinstance(value, str):
            assert "\x00" not in value
            value.encode()
    assert 0 < facts.bot_id < 10**18
    assert 0 <= facts.epoch < 10**18
    assert facts.uid
    assert facts.exit_code is None or -(2**31) <= facts.exit_code < 2**31
    assert isinstance(facts.exit_code, int | None)
    words = [end_words(facts), *([waiting_words(facts)] if facts.waiting else [])]
    assert all("\x00" not in text and len(text) <= 1500 for text in words)


@given(ANYTHING)
def test_anything_in_the_place_of_a_pod_is_read(foreign: object) -> None:
    check(read_pod(foreign))


@given(st.dictionaries(st.sampled_from(["phase", "reason", "message", "conditions", "containerStatuses"]), ANYTHING))
def test_any_status_of_a_pod_of_ours_is_read(status: dict[str, Any]) -> None:
    facts = read_pod(body(status))
    assert facts is not None
    check(facts)


@given(ANYTHING, ANYTHING)
def test_any_state_of_a_bots_container_is_read(state: object, message: object) -> None:
    for part in ({"state": state}, {"state": {"terminated": state}}, {"state": {"terminated": {"message": message}}}):
        facts = read_pod(body({"containerStatuses": [None, 3, {"name": "bot", **part}]}))
        assert facts is not None
        check(facts)


def test_only_changes_are_reported() -> None:
    told: list[int] = []
    store = PodStore(told.append)
    store.put(pod())
    store.put(pod())
    store.put(pod(deleting=True))
    store.put(pod())  # an older event: a deletion is never taken back
    assert told == [7, 7]
    assert store.of(7) == (pod(deleting=True),)


def test_a_report_of_the_end_is_never_lost() -> None:
    ended = pod(phase=PodPhase.TERMINATED, exit_code=1)
    store = PodStore(lambda _: None)
    store.put(ended)
    store.put(pod())
    store.remove(pod(phase=PodPhase.RUNNING))
    assert store.of(7) == (replace(ended, gone=True),)
    store.put(pod())
    assert store.of(7) == (replace(ended, gone=True),)
    assert store.existing() == []


def test_a_list_removes_only_what_was_known_before_it_was_asked_for() -> None:
    store = PodStore(lambda _: None)
    store.put(pod(uid="old"))
    store.put(pod(uid="kept"))
    before = [each.uid for each in store.existing()]
    store.put(pod(uid="created meanwhile"))
    store.replace_all([pod(uid="kept"), pod(uid="new")], before=before)
    assert {each.uid for each in store.existing()} == {"kept", "new", "created meanwhile"}


def test_tombstones_are_few() -> None:
    store = PodStore(lambda _: None)
    for number in range(100):
        store.put(pod(uid=str(number), epoch=number))
        store.remove(pod(uid=str(number), epoch=number))
    assert len(store.of(7)) == 4
    assert store.of(7)[-1].epoch == 99


def scheduled(status: str, **more: str) -> dict[str, Any]:
    return {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": status, **more}]}


@pytest.mark.parametrize(
    ("status", "node", "placed", "placed_at"),
    [
        (scheduled("False", reason="Unschedulable", message="no room"), "", False, None),
        (scheduled("False", reason="SchedulingGated"), "", False, None),
        ({"phase": "Pending"}, "", False, None),  # nobody has looked yet
        ({"phase": "Pending"}, "n1", True, None),
        (
            scheduled("True", lastTransitionTime="2026-11-24T12:00:00Z"),
            "n1",
            True,
            datetime(2026, 11, 24, 12, tzinfo=UTC),
        ),
        (scheduled("True", lastTransitionTime="yesterday"), "n1", True, None),
        (scheduled("True", lastTransitionTime="2026-11-24T12:00:00"), "n1", True, None),  # no zone: not to be compared
        ({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "True"}]}, "n1", True, None),
    ],
)
def test_whether_a_pod_has_a_node(status: dict[str, Any], node: str, placed: bool, placed_at: datetime | None) -> None:
    shape = body(status)
    shape["spec"] = {"nodeName": node} if node else {}
    facts = read_pod(shape)
    assert facts is not None
    assert (facts.placed, facts.placed_at) == (placed, placed_at)
