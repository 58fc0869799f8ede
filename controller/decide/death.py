"""The judgement of deaths: what proves that a run's process is dead, why it ended, and when so many deaths at once
speak against the observer. Pure: no I/O, `now` is an argument.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from controller.decide.facts import PodFacts, PodPhase, Policy, RunFacts, StopReason
from fleet.exit_codes import EXIT_CONFIG, EXIT_FENCED
from fleet.states import ExitReason


def proof_of_death(run: RunFacts, own: Sequence[PodFacts]) -> PodFacts | None:
    """The pod whose reported end proves that the process which claimed the run is dead, or None.

    An epoch can have had a second pod: when the first one's object vanished before its creation was recorded. So a
    claim names its pod, and only that one's end counts. Where a claim names none, an end counts if no other pod
    of the epoch may still run and its exit code isn't the one of a process that lost the claim to another.
    """
    ended = [pod for pod in own if pod.phase is PodPhase.TERMINATED]
    claimant = claimant_uid(run)
    if claimant is not None:
        return next((pod for pod in ended if pod.uid == claimant), None)
    if any(pod.may_run for pod in own):
        return None
    return next((pod for pod in ended if pod.exit_code != EXIT_FENCED), None)


def claimant_uid(run: RunFacts) -> str | None:
    """The pod that the claim names: `<pod uid>/<anything>`; None when it names none."""
    uid, named, _ = (run.claimed_by or "").partition("/")
    return uid if named and uid else None


def end_reason(run: RunFacts, pod: PodFacts, *, silent: bool) -> ExitReason:
    """Why a claimed run ended, when its process died without saying so itself.

    Args:
        run: the current run.
        pod: whose end was reported.
        silent: it had no heartbeat for T_dead, so what it fenced itself from was the database.
    """
    asked = asked_reason(run)
    if asked is not None:
        return asked
    # an exit code is the process's own word, and a strategy can speak it too: only what others saw is an excuse
    expected = run.stop_requested_at is not None or pod.deleting
    match pod.exit_code:
        case 0 if expected:
            return ExitReason.RELEASED
        case code if code == EXIT_FENCED and silent:
            return ExitReason.GAVE_UP_DATABASE
        case code if code == EXIT_FENCED and expected:
            return ExitReason.RELEASED
        case code if code == EXIT_CONFIG and run.live_at is None:
            return ExitReason.CONFIG_ERROR  # of a live run the config was accepted
        case _ if run.stop_reason == StopReason.HUNG:
            return ExitReason.FENCED_HUNG
        case _ if pod.deleting or pod.disruption:
            # somebody else ended the pod (drain, kubectl, its node), and it was killed before it could release its run
            return ExitReason.RELEASED
        case _:
            return ExitReason.FAILED


_UNASKED: Mapping[int | None, str] = {
    0: "without being asked to",
    EXIT_CONFIG: "though it had accepted its config",
    EXIT_FENCED: "though nobody had fenced its run",
}
"""What makes an exit code, which is a process's own word, unbelievable."""


def unasked_end_text(pod: PodFacts, reason: ExitReason) -> str | None:
    """What to say of a process that ended as if it had been told to, when nobody had."""
    claim = _UNASKED.get(pod.exit_code)
    if reason is not ExitReason.FAILED or claim is None:
        return None
    words = f". Last words: {pod.message}" if pod.message else ""
    return (
        f"pod {pod.name} ended with exit code {pod.exit_code} {claim}: look for sys.exit or os._exit in the strategy "
        f"and its packages{words}"
    )


def asked_reason(run: RunFacts) -> ExitReason | None:
    """The end that was asked for; a bot isn't blamed for how it obeyed."""
    match run.stop_reason:
        case StopReason.STOPPED:
            return ExitReason.STOPPED
        case StopReason.SUPERSEDED:
            return ExitReason.SUPERSEDED
        case _:
            return None


def suspect_observer(*, claimed: int, quiet_since: Sequence[datetime], now: datetime, policy: Policy) -> bool:
    """Whether a mass death looks like a fault of the observer (database, clock, network).

    True when more than half of at least `mass_minimum` claimed runs fell silent within one heartbeat interval:
    last heartbeats of bots that stop together at most span two intervals, as each is up to one interval old.

    Args:
        claimed: current runs that a process has claimed, without those whose death is explained (lost node).
        quiet_since: their last heartbeats, of those without one for more than T_stop.
        now: by the database's clock.
        policy: intervals and the minimum.
    """
    if claimed < policy.mass_minimum:
        return False
    span = timedelta(seconds=2 * policy.heartbeat_interval_s)
    moments = sorted(moment for moment in quiet_since if moment <= now)
    first = 0
    for index, moment in enumerate(moments):
        while moment - moments[first] > span:
            first += 1
        if 2 * (index - first + 1) > claimed:
            return True
    return False
