"""What Kubernetes says, as it says it, and the one sentence that a person reads of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from controller.decide import reasons
from controller.decide.facts import PodFacts
from controller.decide.reasons import answer_words, end_words, waiting_words
from controller.observe.pods import read_pod
from fleet.labels import BOT_ID, EPOCH
from fleet.states import ExitReason
from tests.unit.controller.make import pod

REASONS_PAGE = Path(__file__).resolve().parents[4] / "docs" / "reference" / "reasons.md"


def read(status: dict[str, Any], **metadata: Any) -> PodFacts:
    labels = {BOT_ID: "7", EPOCH: "5"}
    limits = {"resources": {"requests": {"memory": "96Mi"}, "limits": {"memory": "256Mi"}}}
    facts = read_pod(
        {
            "metadata": {"name": "bot-7-x-e5", "uid": "u5", "labels": labels, **metadata},
            "spec": {"nodeName": "n1", "containers": [{"name": "bot", **limits}]},
            "status": status,
        }
    )
    assert facts is not None
    return facts


def bot(**state: Any) -> list[dict[str, Any]]:
    return [{"name": "bot", "ready": False, "restartCount": 0, "state": state}]


def ended(code: int, reason: str = "Error", message: str | None = None) -> list[dict[str, Any]]:
    words = {} if message is None else {"message": message}
    return bot(terminated={"exitCode": code, "reason": reason, "startedAt": "2026-11-26T10:00:00Z", **words})


SECRET = 'secret "botfleet-bots" not found'
NO_ROOM = (
    "0/3 nodes are available: 1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }, 2 Insufficient "
    "cpu. preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod."
)
WAITING = {
    "a Secret that doesn't exist": (
        {
            "phase": "Pending",
            "containerStatuses": bot(waiting={"reason": "CreateContainerConfigError", "message": SECRET}),
        },
        (
            f"pod bot-7-x-e5 waits: CreateContainerConfigError: {SECRET}; create the Secret named in the message with the "
            "key url (database.existingBotSecret, BOTFLEET_BOT_DATABASE_SECRET)"
        ),
    ),
    "an image that is pulled again and again": (
        {
            "phase": "Pending",
            "containerStatuses": bot(
                waiting={"reason": "ImagePullBackOff", "message": 'Back-off pulling image "botrunner:9"'}
            ),
        },
        (
            'pod bot-7-x-e5 waits: ImagePullBackOff: Back-off pulling image "botrunner:9"; check images.botrunner '
            "(BOTFLEET_BOT_IMAGE), its tag, and images.pullSecrets"
        ),
    ),
    "no node has room": (
        {
            "phase": "Pending",
            "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": NO_ROOM}],
        },
        (
            f"pod bot-7-x-e5 waits: Unschedulable: {NO_ROOM.rstrip('.')}; add nodes, free some room, or lower "
            "bots.resources.requests and check bots.nodeSelector"
        ),
    ),
    "a reason without a message": (
        {"phase": "Pending", "containerStatuses": bot(waiting={"reason": "RegistryUnavailable"})},
        (
            "pod bot-7-x-e5 waits: RegistryUnavailable (the image's registry doesn't answer); check the registry and the "
            "node's network"
        ),
    ),
    "a reason that nobody knows": (
        {"phase": "Pending", "containerStatuses": bot(waiting={"reason": "Brandnew", "message": "of 1.60"})},
        "pod bot-7-x-e5 waits: Brandnew: of 1.60",
    ),
}


@pytest.mark.parametrize("name", WAITING)
def test_waiting(name: str) -> None:
    status, expected = WAITING[name]
    assert waiting_words(read(status)) == expected


LOW = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 52Mi. "
TARGET = {"type": "DisruptionTarget", "status": "True"}
LOG = (
    '"bot_id": 7, "epoch": 5, "event": "bar", "level": "info"}\n'
    '{"part": "feed", "bot_id": 7, "event": "candles_late", "late_s": 12.5, "level": "warning", "at": "2026"}\n'
    '{"part": "main", "event": "failed", "level": "error", "at": "2026", "exception": [{"exc_type": "ValueError", '
    '"exc_value": "no such market: ABC", "frames": [{"lineno": 3}]}]}\n'
    '{"exit_code": 1, "event": "ended", "level": "info"}'
)
ENDS = {
    "low on memory": (
        {
            "phase": "Failed",
            "reason": "Evicted",
            "message": LOW,
            "conditions": [{**TARGET, "reason": "TerminationByKubelet", "message": LOW}],
            "containerStatuses": ended(137),
        },
        (
            "pod bot-7-x-e5 was evicted by its node: The node was low on resource: memory. Threshold quantity: 100Mi, "
            "available: 52Mi; the bot starts again elsewhere by itself; if it comes back, request what bots really use "
            "(bots.resources)"
        ),
    ),
    "a drain": (
        {
            "phase": "Running",
            "conditions": [{**TARGET, "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting"}],
            "containerStatuses": ended(0, "Completed"),
        },
        (
            "pod bot-7-x-e5 was evicted through the API (kubectl drain, an autoscaler): Eviction API: evicting; nothing to "
            "do: the bot starts again by itself"
        ),
    ),
    "preempted": (
        {
            "phase": "Running",
            "conditions": [
                {
                    **TARGET,
                    "reason": "PreemptionByScheduler",
                    "message": "default-scheduler: preempting to accommodate a higher priority pod",
                }
            ],
            "containerStatuses": ended(143),
        },
        (
            "pod bot-7-x-e5 was preempted by a pod of higher priority: default-scheduler: preempting to accommodate a higher "
            "priority pod; it starts again when there is room; give bots a higher PriorityClass, or add nodes"
        ),
    ),
    "the node shuts down": (
        {
            "phase": "Failed",
            "reason": "Terminated",
            "message": "Pod was terminated in response to imminent node shutdown.",
            "containerStatuses": ended(143),
        },
        (
            "pod bot-7-x-e5 was ended by the shutdown of its node: Pod was terminated in response to imminent node shutdown; "
            "nothing to do: the bot starts again by itself"
        ),
    ),
    "a deadline that somebody set": (
        {
            "phase": "Failed",
            "reason": "DeadlineExceeded",
            "message": "Pod was active on the node longer than the specified deadline",
            "containerStatuses": ended(137),
        },
        (
            "pod bot-7-x-e5 was ended at its deadline: Pod was active on the node longer than the specified deadline; find "
            "who sets spec.activeDeadlineSeconds (an admission webhook) and exempt bots: they run for ever"
        ),
    ),
    "a node without the promised CPU": (
        {
            "phase": "Failed",
            "reason": "OutOfcpu",
            "message": "Pod was rejected: Node didn't have enough resource: cpu, requested: 50, used: 1980, capacity: 2000",
        },
        (
            "pod bot-7-x-e5 was refused by its node for lack of CPU: Pod was rejected: Node didn't have enough resource: cpu, "
            "requested: 50, used: 1980, capacity: 2000; it starts again elsewhere; add nodes if it comes back"
        ),
    ),
    "out of memory": (
        {"phase": "Failed", "containerStatuses": ended(137, "OOMKilled")},
        (
            "pod bot-7-x-e5 was killed for using more memory than its limit of 256Mi (OOMKilled); raise "
            "bots.resources.limits.memory (BOTFLEET_BOT_MEMORY_LIMIT)"
        ),
    ),
    "killed from outside, with a log of good news": (
        {"phase": "Failed", "containerStatuses": ended(137, message=LOG.splitlines()[0])},
        "pod bot-7-x-e5 was killed by SIGKILL (exit code 137)",
    ),
    "a crash, its log cut in the middle": (
        {"phase": "Failed", "containerStatuses": ended(1, message=LOG)},
        "pod bot-7-x-e5 ended with exit code 1: failed: ValueError: no such market: ABC",
    ),
    "a command that the image hasn't": (
        {"phase": "Failed", "containerStatuses": ended(128, "StartError", 'exec: "python": not found')},
        (
            'pod bot-7-x-e5 couldn\'t be started (StartError): exec: "python": not found; check that the image has the '
            "bots' command (BOTFLEET_BOT_COMMAND)"
        ),
    ),
    "a segmentation fault": (
        {"phase": "Failed", "containerStatuses": ended(139)},
        "pod bot-7-x-e5 was killed by SIGSEGV (exit code 139)",
    ),
}


@pytest.mark.parametrize("name", ENDS)
def test_ends(name: str) -> None:
    status, expected = ENDS[name]
    assert end_words(read(status)) == expected


def test_a_pod_that_somebody_deleted() -> None:
    facts = read({"phase": "Running", "containerStatuses": ended(137)}, deletionTimestamp="2026-11-26T10:00:00Z")
    assert end_words(facts) == "pod bot-7-x-e5 was deleted, did not end within its grace period and was killed"


ANSWERS = [
    (
        403,
        'pods "p" is forbidden: exceeded quota: q, requested: pods=1, used: pods=9, limited: pods=9',
        "raise the namespace's ResourceQuota, or disable bots",
    ),
    (
        403,
        'pods "p" is forbidden: failed quota: q: must specify limits.cpu for: bot',
        "set bots.resources so that every pod states what the namespace's ResourceQuota limits",
    ),
    (
        403,
        'pods "p" is forbidden: maximum memory usage per Container is 64Mi, but limit is 256Mi',
        "fit bots.resources to the namespace's LimitRange, or change that",
    ),
    (
        403,
        'pods "p" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true',
        "a policy or webhook changes the bots' pods: as Botfleet makes them they meet `restricted`",
    ),
    (
        403,
        'pods is forbidden: User "system:serviceaccount:b:c" cannot create resource "pods" in API group ""',
        "give the controller's ServiceAccount its Role back (helm upgrade)",
    ),
    (
        403,
        'pods "p" is forbidden: no PriorityClass with name live was found',
        "create the PriorityClass, or change priorityClasses",
    ),
    (
        500,
        'Internal error occurred: failed calling webhook "w.example.com": failed to call webhook: Post "https://w": EOF',
        "repair the admission webhook named here, or exempt this namespace from it",
    ),
    (
        400,
        'admission webhook "w.example.com" denied the request: no owner label',
        "ask who runs the admission webhook named here, or exempt this namespace from it",
    ),
    (
        401,
        "Unauthorized",
        "the controller's service account token is refused: check its ServiceAccount, then restart the controller",
    ),
    (429, "too many requests", "it is busy; the controller waits as long as it says, then tries again"),
    (504, "etcdserver: request timed out", "the controller tries again; look at the control plane if it lasts"),
    (418, "", "see the message"),
]


@pytest.mark.parametrize(("status", "message", "todo"), ANSWERS)
def test_answers(status: int, message: str, todo: str) -> None:
    assert answer_words(status, message) == f"the API server answers {status} {message}".strip() + f"; {todo}"


def test_sentences_are_bounded() -> None:
    assert len(waiting_words(pod(waiting="X: " + "y" * 9000))) == reasons.LIMIT


def test_every_reason_is_documented() -> None:
    """The page is made of the tables: `python -m controller.reasons_page` writes it."""
    from controller.reasons_page import page

    assert REASONS_PAGE.read_text() == page()
    assert all(f"`{reason}`" in page() for reason in ExitReason)
