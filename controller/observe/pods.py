"""The last known state of every pod that a controller made, from watch events and lists.

A deleted pod whose container's end was reported leaves a tombstone, since that last report is the proof of death
that lets its bot restart at once. A uid that was deleted never comes back: a late event can't revive it. Knows
nothing of kopf or asyncio; `observe.watch` and the runtimes feed it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from controller.facts import PodFacts, PodPhase
from controller.podspec import BOT_ID_LABEL, CONTAINER, EPOCH_LABEL

MESSAGE_LIMIT = 1_000
TOMBSTONES_PER_BOT = 4
"""Only the newest deleted pod can matter; a few more cost nothing."""

_NO_PROOF = "ContainerStatusUnknown"
"""The kubelet has lost sight of the container: that it ended is its guess, not its report."""


@dataclass(slots=True)
class PodStore:
    """Pods by bot.

    Attributes:
        changed: called with the bot's id whenever something about its pods has changed.
    """

    changed: Callable[[int], None]
    _pods: dict[int, dict[str, PodFacts]] = field(default_factory=dict, init=False)

    def of(self, bot_id: int) -> tuple[PodFacts, ...]:
        """All known pods of the bot, tombstones included."""
        return tuple(self._pods.get(bot_id, {}).values())

    def existing(self) -> list[PodFacts]:
        """All pods of all bots that aren't known to be deleted."""
        return [pod for pods in self._pods.values() for pod in pods.values() if not pod.gone]

    def put(self, pod: PodFacts) -> None:
        """Take over a newer state of a pod."""
        pods = self._pods.setdefault(pod.bot_id, {})
        known = pods.get(pod.uid)
        if known == pod or (known is not None and known.gone):
            return
        if known is not None and known.phase is PodPhase.TERMINATED and pod.phase is not PodPhase.TERMINATED:
            return  # an older event, overtaken by a newer one
        if known is not None and known.deleting and not pod.deleting:
            pod = replace(pod, deleting=True)
            if pod == known:
                return
        pods[pod.uid] = pod
        self.changed(pod.bot_id)

    def remove(self, pod: PodFacts) -> None:
        """The object is deleted; `pod` is its last state, as far as known."""
        pods = self._pods.setdefault(pod.bot_id, {})
        known = pods.get(pod.uid)
        if known is not None and known.gone:
            return
        if known is not None and known.phase is PodPhase.TERMINATED:
            pod = known
        pods[pod.uid] = replace(pod, gone=True)
        for uid in [uid for uid, each in pods.items() if each.gone][:-TOMBSTONES_PER_BOT]:
            del pods[uid]
        self.changed(pod.bot_id)

    def replace_all(self, listed: Iterable[PodFacts], *, before: Iterable[str]) -> None:
        """Take over a complete list.

        Args:
            listed: every pod there is.
            before: uids that were known when the list was asked for: those that it lacks are deleted. A pod
                that was created meanwhile may be missing from the list.
        """
        present = {}
        for pod in listed:
            present[pod.uid] = pod
            self.put(pod)
        vanished = set(before) - present.keys()
        for pod in [pod for pod in self.existing() if pod.uid in vanished]:
            self.remove(pod)


def read_pod(body: Mapping[str, Any]) -> PodFacts | None:
    """Facts of a pod as the API gives it; None when it carries no bot's id."""
    metadata = body.get("metadata") or {}
    labels = metadata.get("labels") or {}
    bot_id = _number(labels.get(BOT_ID_LABEL))
    if not bot_id or not metadata.get("uid"):
        return None
    status = body.get("status") or {}
    phase, details = _phase(status)
    node = str((body.get("spec") or {}).get("nodeName") or "")
    return PodFacts(
        bot_id=bot_id,
        epoch=_number(labels.get(EPOCH_LABEL)),
        name=str(metadata.get("name", "")),
        uid=str(metadata["uid"]),
        phase=phase,
        deleting=metadata.get("deletionTimestamp") is not None,
        node=node,
        node_lost=_node_lost(status),
        placed=bool(node),
        placed_at=_placed_at(status) if node else None,
        **details,
    )


def _phase(status: Mapping[str, Any]) -> tuple[PodPhase, dict[str, Any]]:
    state = _container(status).get("state") or {}
    terminated = state.get("terminated")
    if terminated is not None and terminated.get("reason") != _NO_PROOF:
        return PodPhase.TERMINATED, {
            "exit_code": terminated.get("exitCode"),
            "reason": str(terminated.get("reason") or ""),
            "message": str(terminated.get("message") or "")[-MESSAGE_LIMIT:].strip(),
        }
    if terminated is not None or status.get("phase") in ("Failed", "Succeeded"):
        return PodPhase.FAILED, {
            "reason": str(status.get("reason") or _NO_PROOF)[:100],
            "message": str(status.get("message") or "")[:MESSAGE_LIMIT],
        }
    if state.get("running") is not None:
        return PodPhase.RUNNING, {}
    return PodPhase.PENDING, {"waiting": _why_waiting(status, state.get("waiting"))}


def _why_waiting(status: Mapping[str, Any], waiting: Mapping[str, Any] | None) -> str:
    """The reason why a pod isn't running, but only one that a person would act on."""
    if waiting and waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
        return _joined(waiting)
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return _joined(condition)
    return ""


def _joined(part: Mapping[str, Any]) -> str:
    message = str(part.get("message") or "")
    reason = str(part.get("reason") or "unknown")
    return (f"{reason}: {message}" if message else reason)[:MESSAGE_LIMIT]


def _node_lost(status: Mapping[str, Any]) -> bool:
    """Whether the control plane lost the node: it then marks a pod unready whose container the kubelet last
    reported as ready, and, once the pod is being deleted, names the reason."""
    if status.get("reason") == "NodeLost":
        return True
    unready = any(
        condition.get("type") == "Ready" and condition.get("status") == "False"
        for condition in status.get("conditions") or ()
    )
    return unready and bool(_container(status).get("ready"))


def _placed_at(status: Mapping[str, Any]) -> datetime | None:
    """When a node was found, by the API server's clock; None when it doesn't say."""
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "True":
            return _moment(condition.get("lastTransitionTime"))
    return None


def _moment(text: object) -> datetime | None:
    """A time of the API server (RFC 3339, UTC); None for anything else."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


def _container(status: Mapping[str, Any]) -> Mapping[str, Any]:
    containers = status.get("containerStatuses") or ()
    return next((each for each in containers if each.get("name") == CONTAINER), {})


def _number(text: object) -> int:
    """A label's number; 0 for anything else."""
    if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= 18:
        return int(text)
    return 0
