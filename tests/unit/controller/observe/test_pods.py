"""What pods look like to the controller, and the store under late, repeated and lost events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.decide.facts import PodFacts, PodPhase
from controller.decide.reasons import end_words, waiting_words
from controller.observe.pods import PodStore, read_pod
from fleet.labels import BOT_ID, EPOCH
from tests.unit.controller.make import pod


def body(status: Mapping[str, Any], **metadata: object) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "bot-7-x-e5",
            "uid": "u5",
            "labels": {BOT_ID: "7", EPOCH: "5"},
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
        ({"containerStatuses": container(terminated={"exitCode": True})}, {"exit_code": None}),
        ({"containerStatuses": container(terminated={"exitCode": 2**31 - 1})}, {"exit_code": 2**31 - 1}),
        ({"containerStatuses": container(terminated={"exitCode": 2**31})}, {"exit_code": None}),
        ({"containerStatuses": container(terminated={"exitCode": -(2**31)})}, {"exit_code": -(2**31)}),
        ({"containerStatuses": container(terminated={"exitCode": -(2**31) - 1})}, {"exit_code": None}),
        ({"phase": "Failed", "message": "x" * 2_000}, {"message": "x" * 999 + "…"}),
        ({"containerStatuses": container(terminated={"reason": "x" * 300})}, {"reason": "x" * 252 + "…"}),
        ({"containerStatuses": container(terminated={"reason": "a\nb"})}, {"reason": "a b"}),
        (
            {"containerStatuses": container(terminated={"message": "postgresql://bot:hunter2@db/x failed"})},
            {"message": "postgresql://bot:***@db/x failed"},
        ),
        # the kubelet lost sight of the container: no report of its end
        (
            {"phase": "Failed", "containerStatuses": container(terminated=LOST)},
            {"phase": PodPhase.FAILED, "exit_code": None, "reason": "ContainerStatusUnknown"},
        ),
        # before the pod as a whole is called failed
        (
            {"phase": "Running", "containerStatuses": container(terminated=LOST)},
            {"phase": PodPhase.FAILED, "exit_code": None, "reason": "ContainerStatusUnknown", "message": ""},
        ),
        ({"phase": "Succeeded"}, {"phase": PodPhase.FAILED, "exit_code": None}),
        (
            {"phase": "Failed", "reason": "Evicted", "message": "low on memory"},
            {"reason": "Evicted", "message": "low on memory", "disruption": "Evicted: low on memory"},
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
            {"node_lost": False, "disruption": ""},
        ),
        # of the other conditions none means a lost node
        (
            {
                "conditions": [{"type": "Ready", "status": "True"}, {"type": "Initialized", "status": "False"}],
                "containerStatuses": container(running={}, ready=True),
            },
            {"node_lost": False},
        ),
        (
            {
                "conditions": [{"type": "Initialized", "status": "True"}, *UNREADY],
                "containerStatuses": container(running={}, ready=True),
            },
            {"node_lost": True},
        ),
        (
            {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]},
            {"disruption": "PreemptionByScheduler"},
        ),
        (
            {"conditions": [{"type": "DisruptionTarget", "status": "True", "message": "bye"}]},
            {"disruption": "unknown: bye"},
        ),
        # announced and taken back; and another condition that is true
        (
            {
                "reason": "SomethingElse",
                "conditions": [
                    {"type": "DisruptionTarget", "status": "False", "reason": "EvictionByEvictionAPI"},
                    {"type": "Ready", "status": "True", "reason": "x"},
                ],
            },
            {"disruption": ""},
        ),
        # waiting for something that isn't a node, and a node that was found
        (
            {
                "conditions": [
                    {"type": "Ready", "status": "False", "reason": "ContainersNotReady"},
                    {"type": "PodScheduled", "status": "True", "reason": "x"},
                ]
            },
            {"waiting": ""},
        ),
        # a pod that runs waits for nothing, whatever its conditions say
        ({"conditions": [CONDITION], "containerStatuses": container(running={})}, {"waiting": ""}),
    ],
)
def test_reading(status: dict[str, Any], expected: dict[str, object]) -> None:
    facts = read_pod(body(status))
    assert facts is not None
    assert {key: getattr(facts, key) for key in expected} == expected
    assert (facts.bot_id, facts.epoch, facts.name, facts.node) == (7, 5, "bot-7-x-e5", "n1")


@pytest.mark.parametrize("labels", [{}, {BOT_ID: "x"}, {BOT_ID: "²"}, None, {BOT_ID: "-1"}])
def test_foreign_pods_are_left_out(labels: object) -> None:
    assert read_pod(body({}, labels=labels)) is None


def test_a_pod_without_a_uid_is_left_out() -> None:
    assert read_pod(body({}, uid="")) is None
    assert read_pod(body({}, uid=None)) is None


def test_what_a_pod_is_asked_and_allowed() -> None:
    shape = body({}, deletionTimestamp="2026-11-24T12:00:00Z")
    limits = {"limits": {"memory": "128Mi"}}
    shape["spec"]["containers"] = [{"name": "sidecar"}, {"name": "bot", "resources": limits}]
    facts = read_pod(shape)
    assert facts is not None
    assert (facts.deleting, facts.memory_limit) == (True, "128Mi")
    plain = read_pod(body({}))
    assert plain is not None
    assert (plain.deleting, plain.memory_limit) == (False, "")


def test_an_unreadable_epoch_is_nobodys() -> None:
    facts = read_pod(body({}, labels={BOT_ID: "7", EPOCH: "new"}))
    assert facts is not None
    assert facts.epoch == 0


KEYS = [
    "metadata", "name", "uid", "labels", BOT_ID, EPOCH, "deletionTimestamp", "spec",
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


RUNNING = pod()
DELETING = pod(deleting=True)
ENDED_1 = pod(phase=PodPhase.TERMINATED, exit_code=1)
ENDED_2 = pod(phase=PodPhase.TERMINATED, exit_code=2)
put, remove = PodStore.put, PodStore.remove


@pytest.mark.parametrize(
    ("events", "left", "told"),
    [
        ([(put, RUNNING), (put, RUNNING)], RUNNING, 1),
        ([(put, RUNNING), (put, DELETING), (put, RUNNING)], DELETING, 2),  # a deletion is never taken back
        ([(put, DELETING), (put, ENDED_1)], replace(ENDED_1, deleting=True), 2),
        ([(put, ENDED_1), (put, RUNNING)], ENDED_1, 1),  # an older event, overtaken by the end
        ([(put, ENDED_1), (put, replace(ENDED_2, message="more"))], replace(ENDED_2, message="more"), 2),
        # whatever comes late about an object that is gone: no revival, and nobody is bothered
        ([(put, RUNNING), (remove, RUNNING), (put, RUNNING)], replace(RUNNING, gone=True), 2),
        ([(put, RUNNING), (remove, RUNNING), (put, DELETING)], replace(RUNNING, gone=True), 2),
        ([(put, RUNNING), (remove, RUNNING), (put, ENDED_1)], replace(RUNNING, gone=True), 2),
        ([(put, RUNNING), (remove, RUNNING), (remove, ENDED_1)], replace(RUNNING, gone=True), 2),
        ([(put, ENDED_1), (remove, RUNNING), (put, RUNNING)], replace(ENDED_1, gone=True), 2),
        # the last report before the deletion is the proof of death, and the deletion's own state is it if there is none
        ([(put, ENDED_1), (remove, ENDED_2)], replace(ENDED_1, gone=True), 2),
        ([(put, RUNNING), (remove, ENDED_1)], replace(ENDED_1, gone=True), 2),
        ([(remove, ENDED_1)], replace(ENDED_1, gone=True), 1),
        ([(remove, RUNNING), (put, RUNNING)], replace(RUNNING, gone=True), 1),
    ],
)
def test_late_repeated_and_lost_events(events: list[tuple[Any, PodFacts]], left: PodFacts, told: int) -> None:
    changed: list[int] = []
    store = PodStore(changed.append)
    for do, facts in events:
        do(store, facts)
    assert store.of(7) == (left,)
    assert changed == [7] * told
    assert store.existing() == ([] if left.gone else [left])


@given(st.lists(st.tuples(st.sampled_from([put, remove]), st.sampled_from([RUNNING, DELETING, ENDED_1])), max_size=8))
def test_whatever_the_order_of_events_an_object_that_is_gone_stays_gone(events: list[tuple[Any, PodFacts]]) -> None:
    store, gone, ended, deleting = PodStore(lambda _: None), False, False, False
    for do, facts in events:
        do(store, facts)
        ended = ended or (facts is ENDED_1 and not gone)
        gone = gone or do is remove
        [known] = store.of(7)
        assert known.gone is gone
        assert gone or known.deleting or not deleting  # once it is being deleted, it is until it is gone
        deleting = known.deleting
        assert (known.phase is PodPhase.TERMINATED) is ended


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
    assert [each.epoch for each in store.of(7)] == [96, 97, 98, 99]


def test_pods_that_exist_outlive_tombstones() -> None:
    store = PodStore(lambda _: None)
    for number in range(6):
        store.put(pod(uid=f"lives {number}"))
    for number in range(6):
        store.remove(pod(uid=f"gone {number}"))
    assert [each.uid for each in store.existing()] == [f"lives {number}" for number in range(6)]


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
        # other conditions' times are not the node's
        (
            {
                "conditions": [
                    {"type": "Initialized", "status": "True", "lastTransitionTime": "2026-11-24T11:00:00Z"},
                    {"type": "PodScheduled", "status": "False", "lastTransitionTime": "2026-11-24T11:30:00Z"},
                    {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-11-24T12:00:00Z"},
                ]
            },
            "n1",
            True,
            datetime(2026, 11, 24, 12, tzinfo=UTC),
        ),
    ],
)
def test_whether_a_pod_has_a_node(status: dict[str, Any], node: str, placed: bool, placed_at: datetime | None) -> None:
    shape = body(status)
    shape["spec"] = {"nodeName": node} if node else {}
    facts = read_pod(shape)
    assert facts is not None
    assert (facts.placed, facts.placed_at) == (placed, placed_at)
