"""The planner: from facts about one bot to the actions that bring it closer to what its row wants.

Pure and total: every combination of row, run and pods has an answer, and the same facts give the same answer.
The caller carries the actions out in order, reads the facts again and plans again, until nothing is left to do.
Guarantees, held by tests over all combinations:
- a run is started only when none is current, so two runs can never both be allowed to trade;
- the pod of a healthy current run is never deleted;
- every answer acts, waits for a deadline, or is at rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from controller.decide.actions import (
    Action,
    AdoptConfig,
    CreatePod,
    DeletePod,
    EndRun,
    ExplainEnd,
    FenceRun,
    Guard,
    Notify,
    Plan,
    RequestStop,
    SetStatus,
    StartRun,
    Wait,
)
from controller.decide.admission import Place
from controller.decide.condition import Condition, Verdict, classify, own_pod
from controller.decide.death import asked_reason, end_reason, unasked_end_text
from controller.decide.facts import BotFacts, ObserverFacts, PodFacts, Policy, RunEnd, RunFacts, StopReason
from controller.decide.reasons import disruption_words, waiting_words
from controller.decide.restarts import gave_up, may_close_out, quick_streak, recent_failures, restart_at
from controller.decide.status_text import (
    clock_text,
    end_text,
    invalid_text,
    why_ended,
    why_hung,
    why_no_pod,
    why_unclaimed,
    why_unplaced,
    why_waiting,
    why_warming,
)
from fleet.events import EventKind
from fleet.exit_codes import EXIT_FENCED
from fleet.redaction import safe_text
from fleet.states import ENDED_BY_SIGNAL, BotStatus, ExitReason

MESSAGE_LIMIT = 2_000
"""Characters of `error_message`; a container's last words can be longer."""


LOOK_AGAIN_S = 10.0
"""Between two looks at a start that waits: what its row says is at most so old."""


def plan(
    bot: BotFacts | None,
    run: RunFacts | None,
    pods: Sequence[PodFacts],
    *,
    ends: Sequence[RunEnd] = (),
    now: datetime,
    observer: ObserverFacts,
    policy: Policy,
    place: Place | None = None,
) -> Plan:
    """The next steps for one bot.

    Args:
        bot: its row; None when it doesn't exist (then it never had a run).
        run: its newest run, ended or not.
        pods: all objects that carry its id. They must have been read before the row and the runs: a pod whose
            epoch is newer than the newest run is then known to belong to nobody.
        ends: its newest ended runs, newest first.
        now: the database's clock.
        observer: how far silence may be believed.
        policy: times and counts.
        place: where it stands in the queue of starts; None: a start that is due may begin.
    """
    if bot is None:
        return Plan(Condition.ABSENT, tuple(_delete(pods)))
    verdict = classify(run, pods, now=now, observer=observer, policy=policy)
    surplus = tuple(_delete(_surplus_pods(run, pods)))
    if run is None or verdict.condition is Condition.ABSENT:
        steps = tuple(_without_run(bot, run, pods, ends, now, policy, place))
    else:
        steps = tuple(_with_run(bot, run, verdict, ends, now, policy))
    return Plan(verdict.condition, (*_explain(ends, pods), *surplus, *steps))


def _surplus_pods(run: RunFacts | None, pods: Sequence[PodFacts]) -> list[PodFacts]:
    """Pods that must go: not of the current run, or a second one of its epoch."""
    if run is None or run.ended:
        return list(pods)
    own = [pod for pod in pods if pod.epoch == run.epoch]
    keep = own_pod(run, own)
    return [pod for pod in pods if pod is not keep and not (pod in own and not pod.may_run)]


def _explain(ends: Sequence[RunEnd], pods: Sequence[PodFacts]) -> Iterator[ExplainEnd]:
    """A bot that its node evicts has the time to end well, and doesn't know why it must: its pod does."""
    if ends and ends[0].reason is ExitReason.RELEASED and ends[0].message in (None, ENDED_BY_SIGNAL):
        disrupted = (pod for pod in pods if pod.epoch == ends[0].epoch and pod.disruption)
        if (pod := next(disrupted, None)) is not None:
            yield ExplainEnd(ends[0].epoch, ends[0].message, disruption_words(pod))


def _delete(pods: Sequence[PodFacts]) -> Iterator[DeletePod]:
    return (DeletePod(pod) for pod in pods if not pod.gone and not pod.deleting)


def _without_run(
    bot: BotFacts,
    run: RunFacts | None,
    pods: Sequence[PodFacts],
    ends: Sequence[RunEnd],
    now: datetime,
    policy: Policy,
    place: Place | None,
) -> Iterator[Action]:
    failures = recent_failures(bot.config_version, ends, until=now, policy=policy)
    last = ends[0] if ends and ends[0].config_version == bot.config_version else None
    if not bot.wanted:
        leaving = any(pod.may_run for pod in pods)
        trouble = run.trouble if run is not None and leaving else None
        yield from _status(bot, BotStatus.STOPPING if leaving else BotStatus.STOPPED, trouble, failures)
    elif (unnamed := why_no_pod(bot.bot_id, run.epoch + 1 if run else 1)) is not None:
        yield from _status(bot, BotStatus.ERROR, unnamed, failures)
    elif bot.invalid is not None:
        yield from _status(bot, BotStatus.ERROR, f"version {bot.config_version} is invalid: {bot.invalid}", failures)
    elif last is not None and last.reason is ExitReason.CONFIG_ERROR:
        refusal = last.message or "the bot refused its config without saying why"
        yield from _status(bot, BotStatus.ERROR, refusal, failures)
    elif (over := gave_up(bot.config_version, ends, policy=policy)) and not (
        bot.must_close and may_close_out(ends, policy=policy)
    ):
        yield from _give_up(bot, ends, policy)
    else:
        # the first attempt to close what a given up bot holds doesn't wait: nobody watches the position meanwhile
        at_once = over and not ends[0].closes_out
        start = None if at_once else restart_at(bot.bot_id, bot.config_version, ends, policy=policy)
        if start is not None and now < start:
            shown = tuple(_status(bot, BotStatus.STARTING, why_waiting(ends, start, policy), failures))
            if shown and quick_streak(ends, policy=policy) == policy.quick_told:
                yield _ended_too_often(bot, ends[0], policy)
            yield from shown
            yield Wait(start)
        elif place is not None:
            yield from _status(bot, BotStatus.STARTING, place.words, failures)
            yield Wait(now + timedelta(seconds=place.look_again_s))
        else:
            yield StartRun(run.epoch + 1 if run else 1, bot.config_version, closes_out=over)


def _with_run(
    bot: BotFacts,
    run: RunFacts,
    verdict: Verdict,
    ends: Sequence[RunEnd],
    now: datetime,
    policy: Policy,
) -> Iterator[Action]:
    condition, pod = verdict.condition, verdict.pod
    failures = recent_failures(bot.config_version, ends, until=now, policy=policy)
    match condition:
        case Condition.DEAD:
            assert pod is not None
            silent = now - run.beat_at >= timedelta(seconds=policy.t_dead_s)
            why = end_reason(run, pod, silent=silent)
            yield EndRun(run.epoch, why, pod.exit_code, unasked_end_text(pod, why) or end_text(pod))
        case Condition.SILENT | Condition.STOP_OVERDUE:
            yield _fence_claimed(run, pod, condition, policy)
        case Condition.UNCLAIMABLE:
            yield FenceRun(run.epoch, _unclaimed_reason(bot, run), Guard.UNCLAIMED, why_unclaimed(run, pod, policy))
        case Condition.UNCREATED | Condition.UNPLACED | Condition.STARTING if _obsolete(bot, run):
            yield FenceRun(run.epoch, _unclaimed_reason(bot, run), Guard.UNCLAIMED, None)
        case Condition.UNCREATED if (unnamed := why_no_pod(bot.bot_id, run.epoch)) is not None:
            yield FenceRun(run.epoch, ExitReason.NOT_CLAIMED, Guard.UNCLAIMED, unnamed)
        case Condition.UNCREATED:
            steps: tuple[Action, ...] = (CreatePod(run.epoch), *_status(bot, BotStatus.STARTING, run.trouble, failures))
            # what went wrong is told before the next try, which may take as long as the one before
            yield from steps[::-1] if run.trouble else steps
            yield from _wait(verdict)
        case Condition.STARTING:
            note = invalid_text(bot, run)
            yield from _adopt(bot, run)
            yield from _status(bot, BotStatus.ERROR if note else BotStatus.STARTING, note or _waiting(pod), failures)
            yield from _wait(verdict)
        case Condition.UNPLACED:
            note = invalid_text(bot, run)
            yield from _adopt(bot, run)
            text = note or why_unplaced(run, pod, now)
            yield from _status(bot, BotStatus.ERROR if note else BotStatus.STARTING, text, failures)
            yield Wait(now + timedelta(seconds=LOOK_AGAIN_S))
        case Condition.HUNG:
            yield RequestStop(run.epoch, StopReason.HUNG if bot.wanted else StopReason.STOPPED)
            yield from _delete([pod] if pod else [])
            yield from _status(bot, BotStatus.STOPPING, why_hung(run, policy), failures)
            yield Wait(now + timedelta(seconds=policy.grace_s + policy.stop_slack_s))
        case Condition.STOPPING | Condition.UNWATCHED if run.stop_requested_at is not None:
            yield from _stop_pod(run, pod)
            message = why_hung(run, policy) if run.stop_reason == StopReason.HUNG else None
            yield from _status(bot, BotStatus.STOPPING, message or run.trouble, failures)
            yield from _wait(verdict)
        case Condition.ALIVE | Condition.WARMING | Condition.UNWATCHED if _obsolete(bot, run):
            reason = StopReason.SUPERSEDED if bot.wanted else StopReason.STOPPED
            yield RequestStop(run.epoch, reason)
            yield from _stop_pod(run, pod)
            yield from _status(bot, BotStatus.STOPPING, None, failures)
            yield Wait(now + timedelta(seconds=policy.grace_s + policy.stop_slack_s))
        case _:
            yield from _healthy(bot, run, verdict, failures, now, policy)


def _healthy(
    bot: BotFacts, run: RunFacts, verdict: Verdict, failures: Sequence[RunEnd], now: datetime, policy: Policy
) -> Iterator[Action]:
    yield from _adopt(bot, run)
    note = invalid_text(bot, run)
    if note is not None:
        yield from _status(bot, BotStatus.ERROR, note, failures)
    else:
        status = BotStatus.RUNNING if run.live_at else BotStatus.STARTING
        silent = verdict.condition is Condition.UNWATCHED
        text = f"no heartbeat since {clock_text(run.beat_at)}" if silent else run.waits_for or why_warming(run, now)
        yield from _status(bot, status, text, failures)
    yield from _wait(verdict)
    if verdict.condition is Condition.WARMING:
        yield Wait(now + timedelta(seconds=LOOK_AGAIN_S))
    if failures:
        # the count in the row falls when the oldest failure leaves the window
        yield Wait(failures[-1].ended_at + timedelta(seconds=policy.give_up_window_s))


def _obsolete(bot: BotFacts, run: RunFacts) -> bool:
    """Whether the current run must give way: to nothing, or to a valid config that needs a new run."""
    if not bot.wanted:
        return True
    return run.config_version != bot.config_version and bot.invalid is None and run.outdated


def _adopt(bot: BotFacts, run: RunFacts) -> Iterator[AdoptConfig]:
    if run.config_version != bot.config_version and bot.invalid is None and not run.outdated:
        yield AdoptConfig(run.epoch, bot.config_version)


def _stop_pod(run: RunFacts, pod: PodFacts | None) -> Iterator[DeletePod]:
    """SIGTERM at once, but not for a bot that may take its time until its position is closed."""
    if pod is not None and not (run.waits_until_flat and run.stop_reason != StopReason.HUNG):
        yield from _delete([pod])


def _fence_claimed(run: RunFacts, pod: PodFacts | None, condition: Condition, policy: Policy) -> FenceRun:
    if condition is Condition.SILENT:
        # an end that is no proof explains the silence all the same: the process fenced itself
        quit_by_itself = pod is not None and pod.exit_code == EXIT_FENCED
        guard = Guard.SILENT
        fallback = ExitReason.GAVE_UP_DATABASE if quit_by_itself else ExitReason.FENCED_SILENT
        message = f"no heartbeat since {clock_text(run.beat_at)}, for more than {policy.t_dead_s:g} s"
    else:
        guard, fallback = Guard.STOP_OVERDUE, ExitReason.FENCED_HUNG
        message = f"did not stop within {policy.grace_s:g} s"
    return FenceRun(run.epoch, asked_reason(run) or fallback, guard, message)


def _unclaimed_reason(bot: BotFacts, run: RunFacts) -> ExitReason:
    if not bot.wanted:
        return ExitReason.STOPPED
    return ExitReason.SUPERSEDED if _obsolete(bot, run) else ExitReason.NOT_CLAIMED


def _ended_too_often(bot: BotFacts, last: RunEnd, policy: Policy) -> Notify:
    return Notify(
        EventKind.BOT_ERROR,
        "Ended again and again without a fault of its own",
        f"{policy.quick_told} runs in a row ended within {policy.quick_life_s:g} s of their start, last: "
        f"{why_ended(last)}. It is started again, at most {policy.quick_max_s:g} s apart. Look for who deletes its "
        "pod or sends SIGTERM to its process",
        f"quick_ends/{bot.bot_id}/{bot.config_version}/{last.epoch}",
    )


def _give_up(bot: BotFacts, ends: Sequence[RunEnd], policy: Policy) -> Iterator[Action]:
    failures = recent_failures(bot.config_version, ends, until=ends[0].ended_at, policy=policy)
    count = f"failed {len(failures)} times within {policy.give_up_window_s / 60:g} minutes, last: " if failures else ""
    body = f"{count}{why_ended(ends[0])}. Change its config, or switch it off and on, to try again"
    if bot.status is not BotStatus.DISABLED:
        yield Notify(
            EventKind.BOT_DISABLED,
            "Given up after too many failures",
            body,
            f"bot_disabled/{bot.bot_id}/{bot.config_version}",
        )
    yield from _status(bot, BotStatus.DISABLED, body, failures)


def _status(bot: BotFacts, status: BotStatus, message: str | None, failures: Sequence[RunEnd]) -> Iterator[SetStatus]:
    text = (safe_text(message, MESSAGE_LIMIT) or None) if message else None
    wanted = (status, text, len(failures))
    if wanted != (bot.status, bot.error_message, bot.error_count):
        yield SetStatus(*wanted)


def _wait(verdict: Verdict) -> Iterator[Wait]:
    if verdict.until is not None:
        yield Wait(verdict.until)


def _waiting(pod: PodFacts | None) -> str | None:
    return waiting_words(pod) if pod is not None and pod.waiting else None
