"""What is worth an Event on a pod (`kubectl describe pod`), in words. Pure: no I/O."""

from __future__ import annotations

from dataclasses import dataclass

from controller.decide.actions import Action, EndRun, FenceRun, RequestStop
from controller.decide.facts import PodFacts, RunFacts, StopReason
from fleet.states import COUNTED_FAILURES


@dataclass(frozen=True, slots=True)
class PodEvent:
    """Something about a pod that people look for.

    Attributes:
        reason: in CamelCase; one Event per pod and reason is kept.
        message: a clean sentence.
        warning: False for what is as it should be.
    """

    reason: str
    message: str
    warning: bool = False


_ASKED = {
    StopReason.STOPPED: "the bot is disabled or archived",
    StopReason.SUPERSEDED: "a newer config version takes over, or somebody asked for a restart",
    StopReason.HUNG: "its main loop makes no progress",
}


def event_of(action: Action) -> tuple[int, PodEvent] | None:
    """What an action that was carried out means for the pod of a run, by epoch; None: nothing to tell."""
    match action:
        case RequestStop(epoch, reason):
            return epoch, PodEvent("StopRequested", f"asked to stop: {_ASKED[reason]}", reason is StopReason.HUNG)
        case FenceRun(epoch, reason, _, message):
            words = f"run {epoch} lost its right to trade ({reason})"
            return epoch, PodEvent("Fenced", f"{words}: {message}" if message else words, reason in COUNTED_FAILURES)
        case EndRun(epoch, reason, _, message):
            words = f"run {epoch} ended ({reason})"
            return epoch, PodEvent("RunEnded", f"{words}: {message}" if message else words, reason in COUNTED_FAILURES)
        case _:
            return None


def deletion_event(pod: PodFacts, run: RunFacts | None, *, wanted: bool | None) -> PodEvent:
    """Why the controller deletes a pod.

    Args:
        pod: to be deleted.
        run: its bot's newest run.
        wanted: whether its bot is to run; None: the bot has no row.
    """
    return PodEvent("Deleting", f"the controller deletes it: {_why_deleted(pod, run, wanted=wanted)}")


def _why_deleted(pod: PodFacts, run: RunFacts | None, *, wanted: bool | None) -> str:
    if wanted is None:
        return f"trading_bots has no row {pod.bot_id}"
    if run is None or run.ended or pod.epoch != run.epoch:
        return f"its run {pod.epoch} is over"
    if pod.uid not in (run.pod_uid, (run.claimed_by or "").partition("/")[0]):
        return f"run {run.epoch} has another pod"
    if not wanted:
        return _ASKED[StopReason.STOPPED]
    hung = run.stop_reason == StopReason.HUNG or (run.stop_reason is None and not run.outdated)
    return _ASKED[StopReason.HUNG if hung else StopReason.SUPERSEDED]
