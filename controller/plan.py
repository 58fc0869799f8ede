"""The planner: from facts about one bot to the actions that bring it closer to what its row wants.

Pure and total: every combination of row, run and pods has an answer, and the same facts give the same answer.
The caller carries the actions out in order, reads the facts again and plans again, until nothing is left to do.
Guarantees, held by tests over all combinations:
- a run is started only when none is current, so two runs can never both be allowed to trade;
- the pod of a healthy current run is never deleted;
- every answer acts, waits for a deadline, or is at rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from controller.admission import Place
from controller.backoff import failure_streak, gave_up, may_close_out, quick_streak, recent_failures, restart_at
from controller.classify import Condition, Verdict, classify, own_pod
from controller.facts import BotFacts, Observer, PodFacts, PodPhase, Policy, RunEnd, RunFacts, StopReason
from controller.reasons import disruption_words, end_words, waiting_words
from fleet.events import EventKind
from fleet.exit_codes import EXIT_CONFIG, EXIT_FENCED
from fleet.ids import LARGEST_ID, is_id
from fleet.redaction import safe_text
from fleet.states import COUNTED_FAILURES, ENDED_BY_SIGNAL, BotStatus, ExitReason

MESSAGE_LIMIT = 2_000
"""Characters of `error_message`; a container's last words can be longer."""

SLOW_START_S = 20.0
"""A start that takes longer says in the row what it is at; most are over sooner."""

LOOK_AGAIN_S = 10.0
"""Between two looks at a start that waits: what its row says is at most so old."""


@dataclass(frozen=True, slots=True)
class StartRun:
    """Commit the run of this epoch with a snapshot of this config version.

    Attributes:
        closes_out: it is to close what the bot holds, without the strategy, and to end.
    """

    epoch: int
    config_version: int
    closes_out: bool = False


@dataclass(frozen=True, slots=True)
class CreatePod:
    """Create the pod of the current run, which has none."""

    epoch: int


@dataclass(frozen=True, slots=True)
class DeletePod:
    """Delete exactly this object, with the normal grace period."""

    pod: PodFacts


@dataclass(frozen=True, slots=True)
class RequestStop:
    """Ask the current run to end, through the reply to its next heartbeat."""

    epoch: int
    reason: StopReason


@dataclass(frozen=True, slots=True)
class EndRun:
    """Record the end of a run whose process is known to be dead."""

    epoch: int
    reason: ExitReason
    exit_code: int | None
    message: str | None


@dataclass(frozen=True, slots=True)
class ExplainEnd:
    """Say of an ended run what its pod tells about its end, if its row still says what was read."""

    epoch: int
    seen: str | None
    message: str


class Guard(StrEnum):
    """What must still be true in the database at the moment of fencing."""

    UNCLAIMED = "unclaimed"
    SILENT = "silent"
    DEAF = "deaf"


@dataclass(frozen=True, slots=True)
class FenceRun:
    """Take away a run's right to trade, if the guard still holds."""

    epoch: int
    reason: ExitReason
    guard: Guard
    message: str | None


@dataclass(frozen=True, slots=True)
class AdoptConfig:
    """Make the row's version the run's own without a restart, and hand its hot sections over."""

    epoch: int
    config_version: int


@dataclass(frozen=True, slots=True)
class SetStatus:
    """Write what people read."""

    status: BotStatus
    message: str | None
    error_count: int


@dataclass(frozen=True, slots=True)
class Notify:
    """Tell the bot's owner, once per key."""

    kind: EventKind
    title: str
    body: str
    key: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again at this time, by the database's clock, if nothing happens before."""

    until: datetime


Action = (
    StartRun
    | CreatePod
    | DeletePod
    | RequestStop
    | EndRun
    | ExplainEnd
    | FenceRun
    | AdoptConfig
    | SetStatus
    | Notify
    | Wait
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, in this order, and the condition it follows from. No actions: at rest."""

    condition: Condition
    actions: tuple[Action, ...] = ()

    @property
    def starts(self) -> bool:
        """Whether it begins a run: what needs admission."""
        return any(isinstance(action, StartRun) for action in self.actions)

    @property
    def until(self) -> datetime | None:
        """When to look again at the latest."""
        return min((action.until for action in self.actions if isinstance(action, Wait)), default=None)


def plan(
    bot: BotFacts | None,
    run: RunFacts | None,
    pods: Sequence[PodFacts],
    *,
    ends: Sequence[RunEnd] = (),
    now: datetime,
    observer: Observer,
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
    strays = tuple(_delete(_strays(run, pods)))
    if run is None or verdict.condition is Condition.ABSENT:
        steps = tuple(_without_run(bot, run, pods, ends, now, policy, place))
    else:
        steps = tuple(_with_run(bot, run, verdict, ends, now, policy))
    return Plan(verdict.condition, (*_explain(ends, pods), *strays, *steps))


def _strays(run: RunFacts | None, pods: Sequence[PodFacts]) -> list[PodFacts]:
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
    elif (unnamed := _why_no_pod(bot.bot_id, run.epoch + 1 if run else 1)) is not None:
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
            shown = tuple(_status(bot, BotStatus.STARTING, _why_waiting(ends, start, policy), failures))
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
            yield EndRun(run.epoch, why, pod.exit_code, _unasked_end(pod, why) or _last_words(pod))
        case Condition.SILENT | Condition.DEAF:
            yield _fence_claimed(run, pod, condition, policy)
        case Condition.UNCLAIMABLE:
            yield FenceRun(run.epoch, _unclaimed_reason(bot, run), Guard.UNCLAIMED, _why_unclaimed(run, pod, policy))
        case Condition.UNCREATED | Condition.UNPLACED | Condition.STARTING if _obsolete(bot, run):
            yield FenceRun(run.epoch, _unclaimed_reason(bot, run), Guard.UNCLAIMED, None)
        case Condition.UNCREATED if (unnamed := _why_no_pod(bot.bot_id, run.epoch)) is not None:
            yield FenceRun(run.epoch, ExitReason.NOT_CLAIMED, Guard.UNCLAIMED, unnamed)
        case Condition.UNCREATED:
            steps: tuple[Action, ...] = (CreatePod(run.epoch), *_status(bot, BotStatus.STARTING, run.trouble, failures))
            # what went wrong is told before the next try, which may take as long as the one before
            yield from steps[::-1] if run.trouble else steps
            yield from _wait(verdict)
        case Condition.STARTING:
            note = _invalid_note(bot, run)
            yield from _adopt(bot, run)
            yield from _status(bot, BotStatus.ERROR if note else BotStatus.STARTING, note or _waiting(pod), failures)
            yield from _wait(verdict)
        case Condition.UNPLACED:
            note = _invalid_note(bot, run)
            yield from _adopt(bot, run)
            text = note or _why_unplaced(run, pod, now)
            yield from _status(bot, BotStatus.ERROR if note else BotStatus.STARTING, text, failures)
            yield Wait(now + timedelta(seconds=LOOK_AGAIN_S))
        case Condition.HUNG:
            yield RequestStop(run.epoch, StopReason.HUNG if bot.wanted else StopReason.STOPPED)
            yield from _delete([pod] if pod else [])
            yield from _status(bot, BotStatus.STOPPING, _why_hung(run, policy), failures)
            yield Wait(now + timedelta(seconds=policy.grace_s + policy.stop_slack_s))
        case Condition.STOPPING | Condition.UNWATCHED if run.stop_requested_at is not None:
            yield from _stop_pod(run, pod)
            message = _why_hung(run, policy) if run.stop_reason == StopReason.HUNG else None
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
    note = _invalid_note(bot, run)
    if note is not None:
        yield from _status(bot, BotStatus.ERROR, note, failures)
    else:
        status = BotStatus.RUNNING if run.live_at else BotStatus.STARTING
        silent = verdict.condition is Condition.UNWATCHED
        text = f"no heartbeat since {_clock(run.beat_at)}" if silent else run.note or _why_warming(run, now)
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
        message = f"no heartbeat since {_clock(run.beat_at)}, for more than {policy.t_dead_s:g} s"
    else:
        guard, fallback = Guard.DEAF, ExitReason.FENCED_HUNG
        message = f"did not stop within {policy.grace_s:g} s"
    return FenceRun(run.epoch, _asked(run) or fallback, guard, message)


def end_reason(run: RunFacts, pod: PodFacts, *, silent: bool) -> ExitReason:
    """Why a claimed run ended, when its process died without saying so itself.

    Args:
        run: the current run.
        pod: whose end was reported.
        silent: it had no heartbeat for T_dead, so what it fenced itself from was the database.
    """
    asked = _asked(run)
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


def _unasked_end(pod: PodFacts, reason: ExitReason) -> str | None:
    """What to say of a process that ended as if it had been told to, when nobody had."""
    claim = _UNASKED.get(pod.exit_code)
    if reason is not ExitReason.FAILED or claim is None:
        return None
    words = f". Last words: {pod.message}" if pod.message else ""
    return (
        f"pod {pod.name} ended with exit code {pod.exit_code} {claim}: look for sys.exit or os._exit in the strategy "
        f"and its packages{words}"
    )


def _asked(run: RunFacts) -> ExitReason | None:
    """The end that was asked for; a bot isn't blamed for how it obeyed."""
    match run.stop_reason:
        case StopReason.STOPPED:
            return ExitReason.STOPPED
        case StopReason.SUPERSEDED:
            return ExitReason.SUPERSEDED
        case _:
            return None


def _unclaimed_reason(bot: BotFacts, run: RunFacts) -> ExitReason:
    if not bot.wanted:
        return ExitReason.STOPPED
    return ExitReason.SUPERSEDED if _obsolete(bot, run) else ExitReason.NOT_CLAIMED


def _ended_too_often(bot: BotFacts, last: RunEnd, policy: Policy) -> Notify:
    return Notify(
        EventKind.BOT_ERROR,
        "Ended again and again without a fault of its own",
        f"{policy.quick_told} runs in a row ended within {policy.quick_life_s:g} s of their start, last: "
        f"{_why_ended(last)}. It is started again, at most {policy.quick_max_s:g} s apart. Look for who deletes its "
        "pod or sends SIGTERM to its process",
        f"quick_ends/{bot.bot_id}/{bot.config_version}/{last.epoch}",
    )


def _give_up(bot: BotFacts, ends: Sequence[RunEnd], policy: Policy) -> Iterator[Action]:
    failures = recent_failures(bot.config_version, ends, until=ends[0].ended_at, policy=policy)
    count = f"failed {len(failures)} times within {policy.give_up_window_s / 60:g} minutes, last: " if failures else ""
    body = f"{count}{_why_ended(ends[0])}. Change its config, or switch it off and on, to try again"
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


def _invalid_note(bot: BotFacts, run: RunFacts) -> str | None:
    if bot.invalid is None or run.config_version == bot.config_version:
        return None
    return f"version {bot.config_version} is invalid: {bot.invalid}; still running version {run.config_version}"


def _why_no_pod(bot_id: int, epoch: int) -> str | None:
    """Why no pod is made at all: its labels couldn't tell whose it is, so nobody would ever delete it."""
    if not is_id(bot_id):
        return f"id {bot_id} can't be that of a bot: it must be from 1 to {LARGEST_ID}. Insert the bot without an id"
    if not is_id(epoch):
        return f"epoch {epoch} can't be that of a run: it must be from 1 to {LARGEST_ID}. Insert the bot anew"
    return None


def _waiting(pod: PodFacts | None) -> str | None:
    return waiting_words(pod) if pod is not None and pod.waiting else None


def _why_waiting(ends: Sequence[RunEnd], start: datetime, policy: Policy) -> str:
    tries = failure_streak(ends, policy=policy) if ends[0].reason in COUNTED_FAILURES else 0
    count = f" (failure {tries} in a row)" if tries > 1 else ""
    return f"starts again at {_clock(start)}{count}; last run: {_why_ended(ends[0])}"


def _why_ended(end: RunEnd) -> str:
    code = f", exit code {end.exit_code}" if end.exit_code is not None else ""
    return f"{end.reason}{code}: {end.message}" if end.message else f"{end.reason}{code}"


def _why_warming(run: RunFacts, now: datetime) -> str | None:
    """What a start that takes long is at, or None."""
    if run.live_at is not None or run.phase is None:
        return None
    begun_at = run.claimed_at or run.created_at
    slow = now - begun_at >= timedelta(seconds=SLOW_START_S)
    return f"starting since {_clock(begun_at)}: {run.phase}" if slow or run.waits else None


def _why_unplaced(run: RunFacts, pod: PodFacts | None, now: datetime) -> str | None:
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


def _why_hung(run: RunFacts, policy: Policy) -> str:
    if run.live_at is None:
        doing = f", last: {run.phase}" if run.phase else ""
        return f"not live within {policy.start_deadline_s:g} s of its claim{doing}; stopping it"
    return f"no progress since {_clock(run.advanced_at)}; stopping it"


def _why_unclaimed(run: RunFacts, pod: PodFacts | None, policy: Policy) -> str:
    if pod is None:
        if run.pod_uid:
            return "the pod vanished before it claimed its run: somebody deleted it; the bot starts again by itself"
        reason = run.trouble or "no create was answered; see the controller's log"
        return f"no pod could be created within {policy.claim_deadline_s:g} s: {reason}"
    if pod.phase in (PodPhase.TERMINATED, PodPhase.FAILED):
        return _last_words(pod) or "the pod ended before it claimed its run"
    if pod.disruption:
        return disruption_words(pod)
    if pod.deleting or pod.gone:
        return "somebody deleted the pod before it claimed its run; the bot starts again by itself"
    late = f"the pod did not claim its run within {policy.claim_deadline_s:g} s"
    if pod.waiting:
        return f"{late}: {waiting_words(pod)}"
    return f"{late}: see its log (kubectl logs {pod.name}) and whether it reaches the database"


def _last_words(pod: PodFacts) -> str | None:
    well = pod.phase is PodPhase.TERMINATED and pod.exit_code == 0
    return None if well and not pod.message and not pod.disruption else end_words(pod)


def _clock(moment: datetime) -> str:
    return f"{moment:%H:%M:%SZ}"
