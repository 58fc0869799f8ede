"""From facts to one named condition of the current run.

Total: every combination of run and pods is exactly one `Condition`. A condition says what is the case, never
what to do; `controller.decide.plan` decides that. Pure: no I/O, `now` is an argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from controller.decide.death import claimant_uid, proof_of_death
from controller.decide.facts import ObserverFacts, PodFacts, PodPhase, Policy, RunFacts


class Condition(StrEnum):
    """What is the case with the current run."""

    ABSENT = "absent"
    """There is none: the newest run has ended, or there never was one."""
    UNCREATED = "uncreated"
    """Committed, but no pod was ever created for it as far as is known."""
    UNPLACED = "unplaced"
    """Its pod waits for a node: in place, for as long as it takes."""
    STARTING = "starting"
    """Its pod exists and hasn't claimed it yet."""
    WARMING = "warming"
    """Claimed and not live yet: within its start deadline, or waiting for the exchange."""
    UNCLAIMABLE = "unclaimable"
    """Nobody claimed it and nobody will: no pod left that could, or the deadline is over."""
    DEAD = "dead"
    """The end of its process was reported: a proof of death."""
    ALIVE = "alive"
    """Live, with heartbeats and progress."""
    SILENT = "silent"
    """No heartbeat for T_dead, under the eyes of a trustworthy observer: may be fenced."""
    UNWATCHED = "unwatched"
    """No heartbeat for T_dead, but the observer was away or suspects itself: must not be fenced."""
    HUNG = "hung"
    """Heartbeats without progress of the main loop; or not live by the start deadline."""
    STOPPING = "stopping"
    """Asked to stop, within its grace period."""
    STOP_OVERDUE = "stop_overdue"
    """Asked to stop, and the grace period is over."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A condition with its evidence.

    Attributes:
        pod: the pod of the run's epoch that speaks for it, when there is one.
        until: when time alone changes the condition; None when only an event (or the overdue query) does.
    """

    condition: Condition
    pod: PodFacts | None = None
    until: datetime | None = None


def classify(
    run: RunFacts | None, pods: Sequence[PodFacts], *, now: datetime, observer: ObserverFacts, policy: Policy
) -> Verdict:
    """The one condition that holds for the newest run, seen with all of the bot's pods."""
    if run is None or run.ended:
        return Verdict(Condition.ABSENT)
    own = [pod for pod in pods if pod.epoch == run.epoch]
    if not run.claimed:
        return _unclaimed(run, own, now=now, observer=observer, policy=policy)
    return _claimed(run, own, now=now, observer=observer, policy=policy)


def _unclaimed(
    run: RunFacts, own: Sequence[PodFacts], *, now: datetime, observer: ObserverFacts, policy: Policy
) -> Verdict:
    pod = own_pod(run, own)
    if run.stop_requested_at is not None:
        return Verdict(Condition.UNCLAIMABLE, pod)
    if pod is not None and waits_for_node(pod):
        return Verdict(Condition.UNPLACED, pod)
    deadline = claim_deadline(run, pod, now=now, observer=observer, policy=policy)
    if now >= deadline:
        return Verdict(Condition.UNCLAIMABLE, pod)
    if any(candidate.may_run and not candidate.deleting for candidate in own):
        return Verdict(Condition.STARTING, pod, deadline)
    if not own and run.pod_uid is None:
        return Verdict(Condition.UNCREATED, None, deadline)
    return Verdict(Condition.UNCLAIMABLE, pod)


def _claimed(
    run: RunFacts, own: Sequence[PodFacts], *, now: datetime, observer: ObserverFacts, policy: Policy
) -> Verdict:
    dead = proof_of_death(run, own)
    if dead is not None:
        return Verdict(Condition.DEAD, dead)
    pod = own_pod(run, own)
    t_dead = timedelta(seconds=policy.t_dead_s)
    if now - run.beat_at >= t_dead:
        trusted_at = observer.connected_since + t_dead
        if observer.suspicious or now < trusted_at:
            again = now + timedelta(seconds=policy.heartbeat_interval_s)
            return Verdict(Condition.UNWATCHED, pod, again if observer.suspicious else trusted_at)
        return Verdict(Condition.SILENT, pod)
    # as old as the last heartbeat said: its silence since then is another matter
    stalled = run.beat_at - run.advanced_at >= timedelta(seconds=policy.hung_after_s)
    if run.stop_requested_at is not None:
        grace_over = stop_deadline(run, observer=observer, policy=policy)
        if run.waits_until_flat and not stalled:
            return Verdict(Condition.STOPPING, pod)
        if now >= grace_over:
            return Verdict(Condition.STOP_OVERDUE, pod)
        return Verdict(Condition.STOPPING, pod, grace_over)
    if run.live_at is None:
        # importing and warming up isn't hanging: heartbeats are fresh, and the start has a deadline of its own
        deadline = start_deadline(run, observer=observer, policy=policy)
        return Verdict(Condition.HUNG, pod) if now >= deadline else Verdict(Condition.WARMING, pod, deadline)
    return Verdict(Condition.HUNG if stalled else Condition.ALIVE, pod)


def waits_for_node(pod: PodFacts) -> bool:
    """Whether nothing but a node is missing: no capacity, a taint, a scheduling gate, a preemption under way."""
    return pod.phase is PodPhase.PENDING and not pod.placed and not pod.deleting and not pod.gone


def claim_deadline(
    run: RunFacts, pod: PodFacts | None, *, now: datetime, observer: ObserverFacts, policy: Policy
) -> datetime:
    """By when the run must be claimed: its time begins when the pod's container could run.

    The API server's clock may be ahead of the database's; a time in the future counts as now.
    """
    placed_at = min(pod.placed_at, now) if pod is not None and pod.placed_at is not None else run.created_at
    begin = max(run.created_at, placed_at, observer.connected_since)
    return begin + timedelta(seconds=policy.claim_deadline_s)


def start_deadline(run: RunFacts, *, observer: ObserverFacts, policy: Policy) -> datetime:
    """By when a claimed run must be live. The time up to its last word of waiting for the exchange doesn't count."""
    moments = (run.created_at, run.claimed_at, run.waited_at, observer.connected_since)
    return max(moment for moment in moments if moment is not None) + timedelta(seconds=policy.start_deadline_s)


def own_pod(run: RunFacts, own: Sequence[PodFacts]) -> PodFacts | None:
    """Which of the epoch's pods counts: the claimant, then the recorded one, then one that may run."""
    if not own:
        return None

    def rank(pod: PodFacts) -> tuple[bool, bool, bool, bool, str]:
        return (
            pod.uid != claimant_uid(run),
            pod.uid != run.pod_uid,
            not pod.may_run,
            pod.deleting,
            pod.uid,
        )

    return min(own, key=rank)


def stop_deadline(run: RunFacts, *, observer: ObserverFacts, policy: Policy) -> datetime:
    """When a run that was asked to stop may be fenced for not having done so."""
    asked = max(run.stop_requested_at or run.created_at, observer.connected_since)
    return asked + timedelta(seconds=policy.grace_s + policy.stop_slack_s)
