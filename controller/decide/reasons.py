"""Why a pod isn't what it should be, in one sentence: what happened, in Kubernetes' own words, and what to do.

The tables are all there is to know about a reason; docs/reference/reasons.md is made of them. A reason that isn't
listed is told in Kubernetes' words alone. Texts come in clean (`observe.pods`, `runtime`); the sentences are cut, never
raised about. Pure: no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from controller.decide.facts import PodFacts, PodPhase
from fleet.foreign import clean_text

LIMIT = 1_500
"""Characters of a sentence."""


@dataclass(frozen=True, slots=True)
class Reason:
    """`happened` completes "pod X ..." or stands for itself; `todo` is an order, or says that nothing is to be done."""

    happened: str
    todo: str


_IMAGE = "check images.botrunner (BOTFLEET_BOT_IMAGE), its tag, and images.pullSecrets"
_NOTHING = "nothing to do: the bot starts again by itself"

WAITING: Mapping[str, Reason] = MappingProxyType(
    {
        "ErrImagePull": Reason("the bots' image can't be pulled", _IMAGE),
        "ImagePullBackOff": Reason("the bots' image can't be pulled; the node tries again ever more seldom", _IMAGE),
        "ErrImageNeverPull": Reason(
            "the bots' image isn't on the node and may not be pulled",
            "load the image onto the node, or set images.pullPolicy=IfNotPresent",
        ),
        "InvalidImageName": Reason("the image's name is malformed", _IMAGE),
        "ImageInspectError": Reason("the node can't read the image", "remove the image from the node; " + _IMAGE),
        "RegistryUnavailable": Reason(
            "the image's registry doesn't answer", "check the registry and the node's network"
        ),
        "CreateContainerConfigError": Reason(
            "something that the pod refers to is missing",
            "create the Secret named in the message with the key url (database.existingBotSecret, "
            "BOTFLEET_BOT_DATABASE_SECRET)",
        ),
        "CreateContainerError": Reason(
            "the node can't create the container", "see kubectl describe pod and the node's log"
        ),
        "RunContainerError": Reason(
            "the container can't be started", "check that the image has the bots' command (BOTFLEET_BOT_COMMAND)"
        ),
        "CrashLoopBackOff": Reason("something restarts the container", "pods of bots must keep restartPolicy Never"),
        "Unschedulable": Reason(
            "no node has room for it, or none is allowed",
            "add nodes, free some room, or lower bots.resources.requests and check bots.nodeSelector",
        ),
        "SchedulingGated": Reason("a scheduling gate holds it back", "see who set spec.schedulingGates of the pod"),
    }
)
"""By `state.waiting.reason` of the container, or the reason of the condition PodScheduled."""

DISRUPTED: Mapping[str, Reason] = MappingProxyType(
    {
        "Evicted": Reason(
            "was evicted by its node",
            "the bot starts again elsewhere by itself; if it comes back, request what bots really use (bots.resources)",
        ),
        "TerminationByKubelet": Reason(
            "was ended by its node",
            "the bot starts again elsewhere by itself; if it comes back, look at the node (kubectl describe node)",
        ),
        "PreemptionByScheduler": Reason(
            "was preempted by a pod of higher priority",
            "it starts again when there is room; give bots a higher PriorityClass, or add nodes",
        ),
        "Preempting": Reason(
            "was preempted by a critical pod of its node",
            "it starts again when there is room; add nodes if it comes back",
        ),
        "EvictionByEvictionAPI": Reason("was evicted through the API (kubectl drain, an autoscaler)", _NOTHING),
        "DeletionByTaintManager": Reason(
            "was deleted because its node got a taint that it doesn't tolerate (not ready, unreachable)",
            "the bot starts again elsewhere by itself; look at the node (kubectl describe node)",
        ),
        "DeletionByPodGC": Reason("was collected because its node is gone", _NOTHING),
        "NodeLost": Reason("was lost with its node", "the bot starts again elsewhere; look at the node"),
        "NodeShutdown": Reason("was ended by the shutdown of its node", _NOTHING),
        "Shutdown": Reason("was ended by the shutdown of its node", _NOTHING),
        "Terminated": Reason("was ended by the shutdown of its node", _NOTHING),
        "DeadlineExceeded": Reason(
            "was ended at its deadline",
            "find who sets spec.activeDeadlineSeconds (an admission webhook) and exempt bots: they run for ever",
        ),
        "OutOfcpu": Reason(
            "was refused by its node for lack of CPU", "it starts again elsewhere; add nodes if it comes back"
        ),
        "OutOfmemory": Reason(
            "was refused by its node for lack of memory", "it starts again elsewhere; add nodes if it comes back"
        ),
        "OutOfpods": Reason(
            "was refused by its node, which has its most pods", "add nodes, or raise the node's maxPods"
        ),
        "NodeAffinity": Reason("was refused by its node, whose labels don't match", "check bots.nodeSelector"),
        "UnexpectedAdmissionError": Reason("was refused by its node", "look at the node's log (kubelet)"),
    }
)
"""By the pod's `status.reason`, or the reason of the condition DisruptionTarget: ends that are nobody's failure."""

ENDED: Mapping[str, Reason] = MappingProxyType(
    {
        "OOMKilled": Reason(
            "was killed for using more memory than its limit",
            "raise bots.resources.limits.memory (BOTFLEET_BOT_MEMORY_LIMIT)",
        ),
        "StartError": Reason(
            "couldn't be started", "check that the image has the bots' command (BOTFLEET_BOT_COMMAND)"
        ),
        "ContainerCannotRun": Reason(
            "couldn't be started", "check that the image has the bots' command (BOTFLEET_BOT_COMMAND)"
        ),
        "ContainerStatusUnknown": Reason("was lost from sight by its node", "look at the node (kubectl describe node)"),
        "process is gone": Reason("ended while no controller watched it", "see its log file"),
    }
)
"""By `state.terminated.reason` of the container."""

SIGNALS: Mapping[int, str] = MappingProxyType(
    {4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL", 11: "SIGSEGV", 15: "SIGTERM"}
)

REFUSED: tuple[tuple[str, str], ...] = (
    ("exceeded quota", "raise the namespace's ResourceQuota, or disable bots"),
    ("failed quota", "set bots.resources so that every pod states what the namespace's ResourceQuota limits"),
    (
        "violates PodSecurity",
        "a policy or webhook changes the bots' pods: as Botfleet makes them they meet `restricted`",
    ),
    ("usage per Container", "fit bots.resources to the namespace's LimitRange, or change that"),
    ("usage per Pod", "fit bots.resources to the namespace's LimitRange, or change that"),
    ("failed calling webhook", "repair the admission webhook named here, or exempt this namespace from it"),
    ("denied the request", "ask who runs the admission webhook named here, or exempt this namespace from it"),
    ("ValidatingAdmissionPolicy", "fit the pods to the policy named here, or exempt this namespace from it"),
    ("no PriorityClass", "create the PriorityClass, or change priorityClasses"),
    ("being terminated", "the namespace is being deleted: install Botfleet into another one"),
    ("service account", "create the ServiceAccount that the message names"),
    ("cannot create resource", "give the controller's ServiceAccount its Role back (helm upgrade)"),
    ("cannot delete resource", "give the controller's ServiceAccount its Role back (helm upgrade)"),
    ("cannot get resource", "give the controller's ServiceAccount its Role back (helm upgrade)"),
    ("cannot list resource", "give the controller's ServiceAccount its Role back (helm upgrade)"),
    ("cannot watch resource", "give the controller's ServiceAccount its Role back (helm upgrade)"),
    ("namespaces", "create the namespace (BOTFLEET_NAMESPACE)"),
)
"""What an answer of the API server contains, and what to do about it; the first that matches counts."""

ANSWERS: Mapping[int, str] = MappingProxyType(
    {
        400: "check bots.resources, bots.nodeSelector and controller.extraEnv",
        401: "the controller's service account token is refused: check its ServiceAccount, then restart the controller",
        403: "ask the cluster's administrator what forbids it",
        404: "create the namespace (BOTFLEET_NAMESPACE)",
        409: "the controller tries again",
        422: "check bots.resources, bots.nodeSelector and controller.extraEnv",
        429: "it is busy; the controller waits as long as it says, then tries again",
        500: "the controller tries again; look at the control plane if it lasts",
    }
)
"""By status, where no text is known; 500 stands for all from 500 on."""

NO_ANSWER = "the controller tries again; check the API server and the network between them"


def answer_words(status: int, message: str) -> str:
    """What the API server said to a request, and what to do.

    Args:
        status: of its answer.
        message: of its body, clean; may be empty.
    """
    said = f"the API server answers {status} {message}".strip().rstrip(".")
    return _cut(f"{said}; {_todo(status, message)}")


def _todo(status: int, message: str) -> str:
    known = next((todo for text, todo in REFUSED if text in message), None)
    return known or ANSWERS.get(500 if status >= 500 else status, "see the message")


def waiting_words(pod: PodFacts) -> str:
    """Why the pod hasn't started, and what to do; `pod.waiting` must not be empty."""
    reason, message = _split(pod.waiting)
    known = WAITING.get(reason)
    told = f"pod {pod.name} waits: {reason}"
    told += f": {message}" if message else f" ({known.happened})" if known else ""
    return _cut(f"{told}; {known.todo}" if known else told)


def disruption_words(pod: PodFacts) -> str:
    """Who ended the pod, and why; `pod.disruption` must not be empty."""
    reason, message = _split(pod.disruption)
    known = DISRUPTED.get(reason, Reason(f"was disrupted ({reason})", _NOTHING))
    said = f": {message}" if message else ""
    return _cut(f"pod {pod.name} {known.happened}{said}; {known.todo}")


def end_words(pod: PodFacts) -> str:
    """How the pod ended, and what to do where something can be done."""
    if pod.disruption:
        return disruption_words(pod)
    known = ENDED.get(pod.reason)
    words = f": {_sentence(pod.message)}" if pod.message else ""
    # of a process that was killed from outside the log's last complaint is a hint at most
    hint = f"; the last complaint in its log: {_sentence(pod.message)}" if pod.message else ""
    if pod.reason == "OOMKilled" and known is not None:
        limit = f" of {pod.memory_limit}" if pod.memory_limit else ""
        return _cut(f"pod {pod.name} {known.happened}{limit} (OOMKilled); {known.todo}{hint}")
    if known is not None:
        return _cut(f"pod {pod.name} {known.happened} ({pod.reason}){words}; {known.todo}")
    if pod.phase is not PodPhase.TERMINATED:
        reason = f" ({pod.reason})" if pod.reason else ""
        return _cut(f"pod {pod.name} failed{reason}{words}")
    if pod.exit_code is not None and pod.exit_code - 128 in SIGNALS:
        name = SIGNALS[pod.exit_code - 128]
        if pod.deleting and name == "SIGKILL":
            return _cut(f"pod {pod.name} was deleted, did not end within its grace period and was killed{hint}")
        return _cut(f"pod {pod.name} was killed by {name} (exit code {pod.exit_code}){hint}")
    code = "unknown" if pod.exit_code is None else str(pod.exit_code)
    reason = f" ({pod.reason})" if pod.reason not in ("", "Error", "Completed") else ""
    return _cut(f"pod {pod.name} ended with exit code {code}{reason}{words}")


def _split(joined: str) -> tuple[str, str]:
    """`Reason: message` as observe.pods joins them."""
    reason, _, message = joined.partition(":")
    return reason.strip(), _sentence(message)


def _sentence(text: str) -> str:
    """Ready to be a part of a longer sentence."""
    return re.sub(r"\s+", " ", text).strip().rstrip(".")


def _cut(text: str) -> str:
    return clean_text(text, LIMIT, lines=False)
