"""What the planner writes into a bot's row (`error_message`) and its runs: why it waits, fails or goes on.

What Kubernetes says about a pod is put into words by `decide.reasons`. Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from controller.decide.facts import BotFacts, PodFacts, PodPhase, Policy, RunEnd, RunFacts
from controller.decide.reasons import disruption_words, end_words, waiting_words
from controller.decide.restarts import failure_streak
from fleet.ids import LARGEST_ID, is_id
from fleet.states import COUNTED_FAILURES

SLOW_START_S = 20.0
"""A start that takes longer says in the row what it is at; most are over sooner."""


def invalid_text(bot: BotFacts, run: RunFacts) -> str | None:
    """What is wrong with the row's version while an older one runs on, or None."""
    if bot.invalid is None or run.config_version == bot.config_version:
        return None
    return f"version {bot.config_version} is invalid: {bot.invalid}; still running version {run.config_version}"


def why_no_pod(bot_id: int, epoch: int) -> str | None:
    """Why no pod is made at all: its labels couldn't tell whose it is, so nobody would ever delete it."""
    if not is_id(bot_id):
        return f"id {bot_id} can't be that of a bot: it must be from 1 to {LARGEST_ID}. Insert the bot without an id"
    if not is_id(epoch):
        return f"epoch {epoch} can't be that of a run: it must be from 1 to {LARGEST_ID}. Insert the bot anew"
    return None


def why_waiting(ends: Sequence[RunEnd], start: datetime, policy: Policy) -> str:
    """When a bot starts again, and how its last run ended."""
    tries = failure_streak(ends, policy=policy) if ends[0].reason in COUNTED_FAILURES else 0
    count = f" (failure {tries} in a row)" if tries > 1 else ""
    return f"starts again at {clock_text(start)}{count}; last run: {why_ended(ends[0])}"


def why_ended(end: RunEnd) -> str:
    """How a run ended, in a few words."""
    code = f", exit code {end.exit_code}" if end.exit_code is not None else ""
    return f"{end.reason}{code}: {end.message}" if end.message else f"{end.reason}{code}"


def why_warming(run: RunFacts, now: datetime) -> str | None:
    """What a start that takes long is at, or None."""
    if run.live_at is not None or run.phase is None:
        return None
    begun_at = run.claimed_at or run.created_at
    slow = now - begun_at >= timedelta(seconds=SLOW_START_S)
    return f"starting since {clock_text(begun_at)}: {run.phase}" if slow or run.waits else None


def why_unplaced(run: RunFacts, pod: PodFacts | None, now: datetime) -> str | None:
    """What keeps a pod from getting a node; None in its first moments, when nobody has looked yet."""
    waited_s = (now - run.created_at).total_seconds()
    if pod is None or (not pod.waiting and waited_s < SLOW_START_S):
        return None
    missing = pod.waiting.rstrip(". ") or "the scheduler has not looked at it yet"
    return (
        f"waits for a node for {_span(waited_s)}: {missing}. It starts by itself when there is room: add a node, stop "
        "other bots, or lower what a bot requests (BOTFLEET_BOT_CPU_REQUEST, BOTFLEET_BOT_MEMORY_REQUEST)"
    )


def _span(seconds: float) -> str:
    """Coarse enough that a row isn't written again each second."""
    return f"{seconds // 10 * 10:.0f} s" if seconds < 60 else f"{seconds // 60:.0f} min"


def why_hung(run: RunFacts, policy: Policy) -> str:
    """What a run that is stopped for its lack of progress was at."""
    if run.live_at is None:
        doing = f", last: {run.phase}" if run.phase else ""
        return f"not live within {policy.start_deadline_s:g} s of its claim{doing}; stopping it"
    return f"no progress since {clock_text(run.advanced_at)}; stopping it"


def why_unclaimed(run: RunFacts, pod: PodFacts | None, policy: Policy) -> str:
    """What kept a run from being claimed: its create, its pod, or the time."""
    if pod is None:
        if run.pod_uid:
            return "the pod vanished before it claimed its run: somebody deleted it; the bot starts again by itself"
        reason = run.trouble or "no create was answered; see the controller's log"
        return f"no pod could be created within {policy.claim_deadline_s:g} s: {reason}"
    if pod.phase in (PodPhase.TERMINATED, PodPhase.FAILED):
        return end_text(pod) or "the pod ended before it claimed its run"
    if pod.disruption:
        return disruption_words(pod)
    if pod.deleting or pod.gone:
        return "somebody deleted the pod before it claimed its run; the bot starts again by itself"
    late = f"the pod did not claim its run within {policy.claim_deadline_s:g} s"
    if pod.waiting:
        return f"{late}: {waiting_words(pod)}"
    return f"{late}: see its log (kubectl logs {pod.name}) and whether it reaches the database"


def end_text(pod: PodFacts) -> str | None:
    """How a pod ended, or None when it has nothing to tell."""
    well = pod.phase is PodPhase.TERMINATED and pod.exit_code == 0
    return None if well and not pod.message and not pod.disruption else end_words(pod)


def clock_text(moment: datetime) -> str:
    """A time of day, UTC."""
    return f"{moment:%H:%M:%SZ}"
