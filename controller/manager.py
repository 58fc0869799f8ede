"""StrategyManager: what rows want, made true, one bot at a time.

`sync` reads the facts, asks the planner, carries its actions out in order, and repeats until nothing is left to do.
It is the only reader of configs: each version is validated once, and only a valid one is ever started. It holds
no truth of its own: a manager that is restarted at any point goes on from the database and the pods. It awaits
nothing but its collaborators, so the simulation can run it step by step.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TypedDict

from controller.act.runtime import CreateRefused, PodNote, Runtime, RuntimeAway
from controller.act.starts import Starts
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
from controller.decide.admission import Candidate
from controller.decide.facts import BotFacts, ObserverFacts, Policy, RunEnd, RunFacts, StopReason
from controller.decide.plan import plan
from controller.decide.podspec import PodRequest, pod_name
from controller.metrics import Metrics
from controller.observe.observer import Observer
from controller.shards import LeaseLost
from controller.store import Store
from fleet.config import (
    NO_EXTRAS,
    ConfigInvalid,
    ExtraNames,
    OnFailure,
    OnStop,
    hot_fields,
    only_hot_fields_differ,
    parse_config,
)
from fleet.errors import TransientError
from fleet.events import severity_of
from fleet.foreign import clean_text
from fleet.log import get_logger
from fleet.redaction import safe_text
from fleet.states import COUNTED_FAILURES, ExitReason
from fleet.trading_service.bots import BotRecord, Notification, RunRecord
from fleet.trading_service.exchanges import WAITS_FOR_LIMIT

log = get_logger("manager")

MAX_STEPS = 8
"""Plans in one sync; the longest way (end, start, create, status) takes four."""

SOON_S = 1.0
"""When to look again after something else was quicker, or a row was busy."""

MESSAGE_LIMIT = 2_000
"""Characters of what is kept of a refusal."""


@dataclass(frozen=True, slots=True)
class KnownConfig:
    """What is kept of a validated config: not the document, which 10,000 times would fill the memory."""

    invalid: str | None
    mode: str = "paper"
    waits_until_flat: bool = False
    flattens_on_failure: bool = False


_NOT_ASKED = KnownConfig(None)
"""Of a bot that isn't wanted: whether its config is valid decides nothing."""


class StrategyManager:
    """Desired state into actions.

    Args:
        store: the database.
        runtime: where bots run.
        observer: how far silence may be believed.
        policy: the planner's times.
        metrics: counts what is done.
        starts: admits starts.
        may_act: whether the controller's own lease is valid at this moment.
        acted: called with a bot's id after each action that changes more than what people read.
        extra_names: strategies, mixins and brokers that packages add to the bots; the bot judges their parameters.
    """

    CACHE = 25_000
    """Configs kept, by version (`v7`) and of runs' snapshots (`e3`); two for each of 10,000 bots, and some."""

    def __init__(
        self,
        *,
        store: Store,
        runtime: Runtime,
        observer: Observer,
        policy: Policy,
        metrics: Metrics,
        starts: Starts,
        may_act: Callable[[], bool],
        acted: Callable[[int], None] = lambda _: None,
        extra_names: ExtraNames = NO_EXTRAS,
    ) -> None:
        self._store = store
        self._runtime = runtime
        self._observer = observer
        self._policy = policy
        self._metrics = metrics
        self._starts = starts
        self._may_act = may_act
        self._acted = acted
        self._extra_names = extra_names
        self._configs: OrderedDict[tuple[int, str], KnownConfig] = OrderedDict()
        self._troubles: OrderedDict[int, str] = OrderedDict()

    async def sync(self, bot_id: int) -> float | None:
        """Bring one bot as far as possible towards what its row wants.

        Returns:
            Seconds until it must be looked at again if nothing happens; None when nothing but an event matters.

        Raises:
            TransientError: something didn't answer; what is done is done, the rest is for the next sync. Whatever else
                it raises is this bot's alone: the queue repeats it with a growing pause.
        """
        try:
            for _ in range(MAX_STEPS):
                step = await self._step(bot_id)
                if not step.again:
                    return step.look_after_s
        except TransientError:
            raise
        except Exception as error:
            await self._show_fault(bot_id, error)
            raise
        return SOON_S

    async def _show_fault(self, bot_id: int, fault: Exception) -> None:
        """What repeating doesn't mend is shown in the row, beside the status that it has."""
        record = await self._store.load(bot_id)
        if record is not None:
            message = clean_text(f"the controller fails at this bot and will try again: {fault!r}", 500)
            await self._store.set_status(
                bot_id, seen=record.status, status=record.status, message=message, error_count=record.error_count
            )

    async def _step(self, bot_id: int) -> _Step:
        if not self._may_act():
            raise LeaseLost("this controller may not decide at the moment")
        pods = self._runtime.pods(bot_id)  # before the row: see plan()
        record = await self._store.load(bot_id)
        if record is None:
            self._starts.settled(bot_id, starting=False)
            orphaned = plan(
                None, None, pods, now=_EPOCH, observer=ObserverFacts(connected_since=_EPOCH), policy=self._policy
            )
            return await self._carry_out(_Case(bot_id, None, None, _EPOCH), orphaned)
        observer = self._observer.facts(bot_id, record.now)
        bot = await self._bot_facts(record)
        if bot is None:
            return _Step(again=True)
        newest = record.runs[0] if record.runs else None
        run = await self._run_facts(record, newest, bot) if newest else None
        decide = partial(
            plan, bot, run, pods, ends=_ends(record), now=record.now, observer=observer, policy=self._policy
        )
        planned = decide()
        if planned.starts:
            place = await self._starts.ask(self._candidate(record))
            planned = planned if place is None else decide(place=place)
        else:
            self._starts.settled(bot_id, starting=run is not None and not run.ended and run.live_at is None)
        try:
            return await self._carry_out(_Case(bot_id, record, run, record.now), planned)
        finally:
            if planned.starts:
                self._starts.concluded(bot_id)

    def _candidate(self, record: BotRecord) -> Candidate:
        """For the queue of starts. A valid config was just remembered: only such a one starts."""
        known = self._remembered(record.id, f"v{record.config_version}")
        last = record.runs[0] if record.runs else None
        ended_at = last.ended_at if last is not None else None
        return Candidate(
            bot_id=record.id,
            user_id=record.user_id,
            since=max(record.updated_at, ended_at) if ended_at is not None else record.updated_at,
            holding=record.holding,
            restart=last is not None and last.live_at is not None and last.exit_reason is not ExitReason.STOPPED,
            live=known is not None and known.mode == "live",
        )

    async def _carry_out(self, case: _Case, planned: Plan) -> _Step:
        """Do everything in the plan, even when a part of it fails; then raise the first failure.

        But for the status after a message that couldn't be written: with it the message would count as told.
        """
        acted = busy = untold = False
        failure: Exception | None = None
        for action in planned.actions:
            if isinstance(action, Wait) or (untold and isinstance(action, SetStatus)):
                continue
            try:
                done = await self._do(case, action)
            except Exception as error:
                failure = failure or error
                untold = untold or isinstance(action, Notify)
                if isinstance(error, RuntimeAway):
                    self._trouble(case.bot_id, str(error))
                text = str(error) if isinstance(error, TransientError) else repr(error)
                log.warning("action_failed", **case.fields, action=_words(action), error=clean_text(text, 500))
                continue
            log.info("acted", **case.fields, condition=planned.condition, action=_words(action), done=done)
            if done:
                self._note(case, action)
            if isinstance(action, SetStatus | Notify):
                busy = busy or not (done or isinstance(action, Notify))
            elif isinstance(action, FenceRun) and not done:
                busy = True  # somebody holds the run's row, or its bot came first
            else:
                acted = True
                self._acted(case.bot_id)
        if failure is not None:
            raise failure
        if acted:
            return _Step(again=True)
        look_after_s = None if planned.until is None else max(0.0, (planned.until - case.now).total_seconds())
        if busy:
            look_after_s = min(SOON_S, SOON_S if look_after_s is None else look_after_s)
        return _Step(again=False, look_after_s=look_after_s)

    async def _do(self, case: _Case, action: Action) -> bool:
        """Carry out one action; False when something else was quicker."""
        match action:
            case StartRun():
                return await self._start(case, action)
            case CreatePod():
                return await self._create(case, action)
            case DeletePod():
                self._check()
                # before: afterwards the pod may be gone, and who looks for it finds the note's object no more
                self._runtime.tell(
                    action.pod, PodNote("Deleting", f"the controller deletes it: {_why_deleted(case, action)}")
                )
                await self._runtime.delete(action.pod)
                self._troubles.pop(case.bot_id, None)
                return True
            case RequestStop():
                self._metrics.stops_requested.labels(action.reason).inc()
                return await self._store.request_stop(case.bot_id, action.epoch, reason=action.reason)
            case EndRun():
                return await self._end(case, action)
            case ExplainEnd():
                return await self._store.explain_end(
                    case.bot_id, action.epoch, seen=action.seen, message=action.message
                )
            case FenceRun():
                return await self._fence(case, action)
            case AdoptConfig():
                return await self._adopt(case, action)
            case SetStatus():
                return await self._store.set_status(
                    case.bot_id,
                    seen=case.row.status,
                    status=action.status,
                    message=action.message,
                    error_count=action.error_count,
                )
            case Notify():
                return await self._store.notify(
                    Notification(
                        bot_id=case.bot_id,
                        kind=action.kind,
                        severity=severity_of(action.kind),
                        title=action.title,
                        body=action.body,
                        key=action.key,
                    )
                )
            case Wait():
                return True

    async def _start(self, case: _Case, action: StartRun) -> bool:
        name = pod_name(case.bot_id, case.row.name, action.epoch)
        started = await self._store.start_run(
            case.bot_id,
            action.epoch,
            config_version=action.config_version,
            pod_name=name,
            closes_out=action.closes_out,
        )
        if started:
            self._metrics.runs_started.inc()
            self._troubles.pop(case.bot_id, None)
        return started

    async def _create(self, case: _Case, action: CreatePod) -> bool:
        assert case.run is not None
        config = await self._config_of_run(case.row, case.run.config_version, action.epoch)
        request = PodRequest(
            bot_id=case.bot_id,
            epoch=action.epoch,
            name=case.row.runs[0].pod_name,
            user_id=case.row.user_id,
            config_version=case.run.config_version,
            mode=config.mode,
            holding=case.row.holding,
        )
        self._check()
        try:
            pod = await self._runtime.create(request)
        except CreateRefused as error:
            self._troubles.pop(case.bot_id, None)
            fence = FenceRun(action.epoch, ExitReason.NOT_CLAIMED, Guard.UNCLAIMED, safe_text(error, MESSAGE_LIMIT))
            return await self._fence(case, fence)
        self._troubles.pop(case.bot_id, None)
        return await self._store.record_pod(case.bot_id, action.epoch, uid=pod.uid)

    async def _end(self, case: _Case, action: EndRun) -> bool:
        ended = await self._store.end_run(
            case.bot_id,
            action.epoch,
            reason=action.reason,
            exit_code=action.exit_code,
            message=action.message,
        )
        if ended:
            self._metrics.runs_ended.labels(action.reason).inc()
        return ended

    async def _fence(self, case: _Case, action: FenceRun) -> bool:
        policy = self._policy
        fate = _Fate(reason=action.reason, message=action.message, decided_at=case.now)
        match action.guard:
            case Guard.UNCLAIMED:
                fenced = await self._store.fence_unclaimed(case.bot_id, action.epoch, **fate)
            case Guard.SILENT:
                fenced = await self._store.fence_silent(case.bot_id, action.epoch, silent_s=policy.t_dead_s, **fate)
            case Guard.STOP_OVERDUE:
                patient = case.run is not None and case.run.waits_until_flat
                fenced = await self._store.fence_stop_overdue(
                    case.bot_id,
                    action.epoch,
                    asked_s=policy.grace_s + policy.stop_slack_s,
                    stalled_s=policy.hung_after_s if patient else None,
                    **fate,
                )
        if fenced:
            self._metrics.runs_fenced.labels(action.reason).inc()
        return fenced

    async def _adopt(self, case: _Case, action: AdoptConfig) -> bool:
        raw = await self._store.load_config(case.bot_id, action.config_version)
        if not isinstance(raw, Mapping):
            return False  # the row has moved on
        return await self._store.adopt_config(
            case.bot_id, action.epoch, config_version=action.config_version, limits=hot_fields(raw)
        )

    def _trouble(self, bot_id: int, words: str) -> None:
        """Keep what the API server said about the bot's pod, for its row; of the latest bots, in bounded space."""
        self._troubles[bot_id] = words[:MESSAGE_LIMIT]
        self._troubles.move_to_end(bot_id)
        if len(self._troubles) > self.CACHE:
            self._troubles.popitem(last=False)

    def _note(self, case: _Case, action: Action) -> None:
        """Say on the pod of the action's run what happened to that."""
        note = _note_of(action)
        if note is None:
            return
        epoch, words = note
        for pod in self._runtime.pods(case.bot_id):
            if pod.epoch == epoch:
                self._runtime.tell(pod, words)

    def _check(self) -> None:
        """Pods aren't in the database: before touching them, the lease is looked at once more."""
        if not self._may_act():
            raise LeaseLost("this controller's lease ran out")

    async def _bot_facts(self, record: BotRecord) -> BotFacts | None:
        """None when the row changed while it was read. A bot that isn't wanted is stopped whatever its config is."""
        key = f"v{record.config_version}"
        known = self._remembered(record.id, key) if record.wanted else _NOT_ASKED
        if known is None:
            raw = await self._store.load_config(record.id, record.config_version)
            if raw is None:
                return None
            known = self._remember(record.id, key, examine(raw, self._extra_names))
        return BotFacts(
            bot_id=record.id,
            wanted=record.wanted,
            config_version=record.config_version,
            invalid=known.invalid,
            status=record.status,
            error_message=record.error_message,
            error_count=record.error_count,
            must_close=record.holding and known.flattens_on_failure,
        )

    async def _run_facts(self, record: BotRecord, run: RunRecord, bot: BotFacts) -> RunFacts:
        ended = run.ended_at is not None
        outdated = patient = False
        if not ended:
            # of the run's own snapshot; one that can't be read lets nobody wait
            patient = (await self._config_of_run(record, run.config_version, run.epoch)).waits_until_flat
            if bot.wanted and run.config_version != record.config_version and bot.invalid is None:
                outdated = await self._outdated(record, run)
        return RunFacts(
            epoch=run.epoch,
            config_version=run.config_version,
            created_at=run.created_at,
            ended=ended,
            pod_uid=run.pod_uid,
            claimed_by=run.claimed_by,
            claimed_at=run.claimed_at,
            live_at=run.live_at,
            heartbeat_at=run.heartbeat_at,
            progress_at=run.progress_at,
            phase=run.phase,
            waited_at=run.waited_at,
            stop_requested_at=run.stop_requested_at,
            stop_reason=run.stop_reason,
            outdated=outdated,
            waits_until_flat=patient,
            trouble=self._troubles.get(record.id),
            note=clean_text(run.waits_for, WAITS_FOR_LIMIT, lines=False) or None,
        )

    async def _outdated(self, record: BotRecord, run: RunRecord) -> bool:
        wanted = await self._store.load_config(record.id, record.config_version)
        running = await self._store.load_run_config(record.id, run.epoch)
        return not only_hot_fields_differ(running, wanted)

    async def _config_of_run(self, record: BotRecord, version: int, epoch: int) -> KnownConfig:
        """Of its version if that is known to be valid, else of its own snapshot, which says nothing about the row's."""
        known = self._remembered(record.id, f"v{version}")
        if known is None or known.invalid is not None:
            known = self._remembered(record.id, f"e{epoch}")
        if known is None:
            raw = await self._store.load_run_config(record.id, epoch)
            known = self._remember(record.id, f"e{epoch}", examine(raw, self._extra_names))
        return known

    def _remembered(self, bot_id: int, key: str) -> KnownConfig | None:
        known = self._configs.get((bot_id, key))
        if known is not None:
            self._configs.move_to_end((bot_id, key))
        return known

    def _remember(self, bot_id: int, key: str, known: KnownConfig) -> KnownConfig:
        self._configs[bot_id, key] = known
        if len(self._configs) > self.CACHE:
            self._configs.popitem(last=False)
        return known


def examine(raw: object, extra_names: ExtraNames = NO_EXTRAS) -> KnownConfig:
    """Validate a config and keep what the controller needs of it."""
    try:
        config = parse_config(raw, extra_names=extra_names)
    except ConfigInvalid as error:
        return KnownConfig(invalid=str(error))
    return KnownConfig(
        None,
        config.trading_mode,
        waits_until_flat=config.on_stop is OnStop.WAIT_FLAT,
        flattens_on_failure=config.on_failure is OnFailure.FLATTEN,
    )


_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
"""Stands for a time that doesn't matter: a bot without a row has no run whose age could."""


@dataclass(frozen=True, slots=True)
class _Step:
    again: bool
    look_after_s: float | None = None


class _Fate(TypedDict):
    reason: ExitReason
    message: str | None
    decided_at: datetime


@dataclass(frozen=True, slots=True)
class _Case:
    """What a plan was made from."""

    bot_id: int
    record: BotRecord | None
    run: RunFacts | None
    now: datetime

    @property
    def row(self) -> BotRecord:
        assert self.record is not None, "a bot without a row has nothing but pods to delete"
        return self.record

    @property
    def fields(self) -> dict[str, object]:
        """All inputs of a decision, for its log line."""
        run = self.run
        return {
            "bot_id": self.bot_id,
            "config_version": self.record.config_version if self.record else None,
            "wanted": self.record.wanted if self.record else None,
            "status": self.record.status if self.record else None,
            "epoch": run.epoch if run else None,
            "claimed": run.claimed if run else None,
            "ended": run.ended if run else None,
            "beat_age_s": round((self.now - run.beat_at).total_seconds(), 3) if run else None,
        }


def _ends(record: BotRecord) -> tuple[RunEnd, ...]:
    return tuple(
        RunEnd(
            epoch=run.epoch,
            config_version=run.config_version,
            reason=run.exit_reason,
            created_at=run.created_at,
            ended_at=run.ended_at,
            claimed_at=run.claimed_at,
            live_at=run.live_at,
            exit_code=run.exit_code,
            message=run.error_message,
            closes_out=run.closes_out,
        )
        for run in record.runs
        if run.ended_at is not None and run.exit_reason is not None
    )


_ASKED = {
    StopReason.STOPPED: "the bot is disabled or archived",
    StopReason.SUPERSEDED: "a newer config version takes over, or somebody asked for a restart",
    StopReason.HUNG: "its main loop makes no progress",
}


def _note_of(action: Action) -> tuple[int, PodNote] | None:
    """What is worth a note on the pod of a run, by epoch."""
    match action:
        case RequestStop(epoch, reason):
            return epoch, PodNote("StopRequested", f"asked to stop: {_ASKED[reason]}", reason is StopReason.HUNG)
        case FenceRun(epoch, reason, _, message):
            words = f"run {epoch} lost its right to trade ({reason})"
            return epoch, PodNote("Fenced", f"{words}: {message}" if message else words, reason in COUNTED_FAILURES)
        case EndRun(epoch, reason, _, message):
            words = f"run {epoch} ended ({reason})"
            return epoch, PodNote("RunEnded", f"{words}: {message}" if message else words, reason in COUNTED_FAILURES)
        case _:
            return None


def _why_deleted(case: _Case, action: DeletePod) -> str:
    run, record = case.run, case.record
    if record is None:
        return f"trading_bots has no row {case.bot_id}"
    if run is None or run.ended or action.pod.epoch != run.epoch:
        return f"its run {action.pod.epoch} is over"
    if action.pod.uid not in (run.pod_uid, (run.claimed_by or "").partition("/")[0]):
        return f"run {run.epoch} has another pod"
    if not record.wanted:
        return _ASKED[StopReason.STOPPED]
    hung = run.stop_reason == StopReason.HUNG or (run.stop_reason is None and not run.outdated)
    return _ASKED[StopReason.HUNG if hung else StopReason.SUPERSEDED]


def _words(action: Action) -> str:
    if isinstance(action, DeletePod):
        return f"DeletePod({action.pod.name}, {action.pod.uid})"
    return str(action)[:600]
