"""The last known state of every pod that a controller made, from watch events and lists.

A deleted pod whose container's end was reported leaves a tombstone, since that last report is the proof of death
that lets its bot restart at once. A uid that was deleted never comes back: a late event can't revive it. Knows
nothing of kopf or asyncio; `observe.pod_watch` and the runtimes feed it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from controller.decide.facts import PodFacts, PodPhase
from controller.decide.last_error import last_error
from controller.decide.podspec import CONTAINER
from controller.decide.reasons import DISRUPTED
from fleet.foreign import clean_text, object_of
from fleet.ids import parse_id
from fleet.labels import BOT_ID, EPOCH
from fleet.redaction import safe_text

MESSAGE_LIMIT = 1_000
NAME_LIMIT = 253
"""Of names, uids and reasons; Kubernetes has no longer ones."""

_EXIT_CODES: Final = range(-(2**31), 2**31)
"""What the column holds; the kubelet's own field is an int32 too."""

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


def read_pod(body: object) -> PodFacts | None:
    """Facts of a pod as the API gives it; None when it carries no bot's id.

    Total: whatever is in the place of a pod, or of a part of it, gives facts or None. Every text in them is clean.
    """
    pod = object_of(body)
    metadata = object_of(pod.get("metadata"))
    labels = object_of(metadata.get("labels"))
    bot_id, uid = parse_id(labels.get(BOT_ID)), _name(metadata.get("uid"))
    if bot_id is None or not uid:
        return None
    status, spec = object_of(pod.get("status")), object_of(pod.get("spec"))
    end, node = _end(status), _name(spec.get("nodeName"))
    return PodFacts(
        bot_id=bot_id,
        epoch=parse_id(labels.get(EPOCH)) or 0,
        name=_name(metadata.get("name")),
        uid=uid,
        phase=end.phase,
        deleting=metadata.get("deletionTimestamp") is not None,
        exit_code=end.exit_code,
        reason=end.reason,
        message=end.message,
        waiting=_why_waiting(status) if end.phase is PodPhase.PENDING else "",
        disruption=_disruption(status),
        memory_limit=_memory_limit(spec),
        node=node,
        node_lost=_node_lost(status),
        placed=bool(node),
        placed_at=_placed_at(status) if node else None,
    )


@dataclass(frozen=True, slots=True)
class _End:
    phase: PodPhase
    exit_code: int | None = None
    reason: str = ""
    message: str = ""


def _end(status: Mapping[str, object]) -> _End:
    state = object_of(_container(status).get("state"))
    terminated = state.get("terminated")
    if isinstance(terminated, Mapping) and terminated.get("reason") != _NO_PROOF:
        return _End(
            PodPhase.TERMINATED,
            _exit_code(terminated.get("exitCode")),
            _name(terminated.get("reason")),
            last_error(_text(terminated.get("message"), keep="tail")),
        )
    if isinstance(terminated, Mapping) or status.get("phase") in ("Failed", "Succeeded"):
        return _End(PodPhase.FAILED, None, _name(status.get("reason")) or _NO_PROOF, _text(status.get("message")))
    return _End(PodPhase.RUNNING if state.get("running") is not None else PodPhase.PENDING)


def _why_waiting(status: Mapping[str, object]) -> str:
    """The reason why a pod isn't running, but only one that a person would act on."""
    waiting = object_of(object_of(_container(status).get("state")).get("waiting"))
    if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
        return _joined(waiting)
    for condition in _objects(status.get("conditions")):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return _joined(condition)
    return ""


def _disruption(status: Mapping[str, object]) -> str:
    """Who ended the pod, or is about to, when it wasn't the bot: as `Reason: message`."""
    if _name(status.get("reason")) in DISRUPTED:
        return _joined(status)
    for condition in _objects(status.get("conditions")):
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            return _joined(condition)
    return ""


def _joined(part: Mapping[str, object]) -> str:
    reason, message = _name(part.get("reason")) or "unknown", _text(part.get("message"))
    return f"{reason}: {message}" if message else reason


def _node_lost(status: Mapping[str, object]) -> bool:
    """Whether the control plane lost the node: it then marks a pod unready whose container the kubelet last
    reported as ready, and, once the pod is being deleted, names the reason."""
    if status.get("reason") == "NodeLost":
        return True
    unready = any(
        condition.get("type") == "Ready" and condition.get("status") == "False"
        for condition in _objects(status.get("conditions"))
    )
    return unready and bool(_container(status).get("ready"))


def _container(part: Mapping[str, object], key: str = "containerStatuses") -> Mapping[str, object]:
    return next((each for each in _objects(part.get(key)) if each.get("name") == CONTAINER), {})


def _placed_at(status: Mapping[str, object]) -> datetime | None:
    """When a node was found, by the API server's clock; None when it doesn't say."""
    for condition in _objects(status.get("conditions")):
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


def _memory_limit(spec: Mapping[str, object]) -> str:
    resources = object_of(_container(spec, "containers").get("resources"))
    return _name(object_of(resources.get("limits")).get("memory"))


def _objects(part: object) -> Iterator[Mapping[str, object]]:
    """The objects of a list; nothing for anything else."""
    return (each for each in part if isinstance(each, Mapping)) if isinstance(part, list) else iter(())


def _text(foreign: object, keep: str = "head") -> str:
    """A text for people, of a string alone; keys, tokens and passwords in it are masked."""
    if not isinstance(foreign, str):
        return ""
    return safe_text(foreign, MESSAGE_LIMIT, keep=keep)


def _name(foreign: object) -> str:
    return clean_text(foreign, NAME_LIMIT, lines=False) if isinstance(foreign, str) else ""


def _exit_code(foreign: object) -> int | None:
    if isinstance(foreign, int) and not isinstance(foreign, bool) and foreign in _EXIT_CODES:
        return foreign
    return None
