"""Carries plans out: each action is one decision in the database or one request about a pod.

All of a plan is tried, in order, even when a part of it fails: a pod whose bot can't be told to stop is deleted all
the same, and the row says what goes on. The first failure is raised at the end, and the next sync plans anew from what
is the case then.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from controller.act.report import Reporter
from controller.act.runtime import CreateRefused, Runtime, RuntimeAway
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
from controller.decide.facts import Policy
from controller.decide.podspec import PodRequest, pod_name
from controller.metrics import Metrics
from controller.observe.bots import BotView
from controller.observe.configs import Configs
from controller.shards import LeaseLost
from controller.store import Store
from fleet.errors import TransientError
from fleet.foreign import clean_text
from fleet.log import get_logger
from fleet.redaction import safe_text
from fleet.states import ExitReason

log = get_logger("manager")

SOON_S = 1.0
"""When to look again after something else was quicker, or a row was busy."""

MESSAGE_LIMIT = 2_000
"""Characters of what is kept of a refusal."""

TROUBLES = 25_000
"""Bots whose last trouble with the API server is kept."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a plan.

    Attributes:
        again: something was decided: read the facts and plan again.
        look_after_s: else seconds until the bot must be looked at if nothing happens; None when only an event matters.
    """

    again: bool
    look_after_s: float | None = None


class Consequence(Enum):
    """What an action that was tried means for the next look at the bot."""

    DECIDED = auto()
    """The facts may have changed: plan again at once."""
    BUSY = auto()
    """Somebody holds the row, or was quicker: look again soon."""
    SHOWN = auto()
    """Only what people read has changed."""


def consequence_of(action: Action, *, done: bool) -> Consequence:
    """Of an action; `done` is False when something else was quicker."""
    match action:
        case Notify():
            return Consequence.SHOWN
        case SetStatus():
            return Consequence.SHOWN if done else Consequence.BUSY
        case FenceRun() if not done:
            return Consequence.BUSY  # somebody holds the run's row, or its bot came first
        case _:
            return Consequence.DECIDED


class PodTroubles:
    """What the API server said about a bot's pod, for its row; of the latest bots, in bounded space."""

    def __init__(self) -> None:
        self._words: OrderedDict[int, str] = OrderedDict()

    def of(self, bot_id: int) -> str | None:
        """What the last request met with, when none has succeeded since."""
        return self._words.get(bot_id)

    def keep(self, bot_id: int, words: str) -> None:
        """A request about the pod wasn't answered as it should be."""
        self._words[bot_id] = words[:MESSAGE_LIMIT]
        self._words.move_to_end(bot_id)
        if len(self._words) > TROUBLES:
            self._words.popitem(last=False)

    def over(self, bot_id: int) -> None:
        """A request succeeded, was refused for good, or concerns a new run."""
        self._words.pop(bot_id, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Executor:
    """The hands of the manager.

    Attributes:
        store: the database.
        runtime: where bots run.
        configs: what a run's pod must know of its config, and what a running bot takes over.
        report: what people read.
        troubles: with requests about pods.
        policy: times that a fence demands.
        metrics: counts what is done.
        may_act: whether the controller's own lease is valid at this moment.
        acted: called with a bot's id after each action that changes more than what people read.
    """

    store: Store
    runtime: Runtime
    configs: Configs
    report: Reporter
    troubles: PodTroubles
    policy: Policy
    metrics: Metrics
    may_act: Callable[[], bool]
    acted: Callable[[int], None]

    async def carry_out(self, view: BotView, planned: Plan) -> Outcome:
        """Do everything in the plan, even when a part of it fails; then raise the first failure.

        But for the status after a notification that couldn't be written: with it that would count as told.
        """
        consequences: set[Consequence] = set()
        untold = False
        failure: Exception | None = None
        for action in planned.actions:
            if isinstance(action, Wait) or (untold and isinstance(action, SetStatus)):
                continue
            try:
                done = await self._do(view, action)
            except Exception as error:
                failure = failure or error
                untold = untold or isinstance(action, Notify)
                self._log_failure(view, action, error)
                continue
            log.info("acted", **view.fields, condition=planned.condition, action=_words(action), done=done)
            if done:
                self.report.done(view, action)
            consequence = consequence_of(action, done=done)
            consequences.add(consequence)
            if consequence is Consequence.DECIDED:
                self.acted(view.bot_id)
        if failure is not None:
            raise failure
        if Consequence.DECIDED in consequences:
            return Outcome(again=True)
        look_after_s = None if planned.until is None else max(0.0, (planned.until - view.now).total_seconds())
        if Consequence.BUSY in consequences:
            look_after_s = SOON_S if look_after_s is None else min(SOON_S, look_after_s)
        return Outcome(again=False, look_after_s=look_after_s)

    def _log_failure(self, view: BotView, action: Action, error: Exception) -> None:
        if isinstance(error, RuntimeAway):
            self.troubles.keep(view.bot_id, str(error))
        text = str(error) if isinstance(error, TransientError) else repr(error)
        log.warning("action_failed", **view.fields, action=_words(action), error=clean_text(text, 500))

    async def _do(self, view: BotView, action: Action) -> bool:
        """Carry out one action; False when something else was quicker."""
        match action:
            case StartRun():
                return await self._start(view, action)
            case CreatePod():
                return await self._create(view, action)
            case DeletePod():
                return await self._delete(view, action)
            case RequestStop():
                self.metrics.stops_requested.labels(action.reason).inc()
                return await self.store.request_stop(view.bot_id, action.epoch, reason=action.reason)
            case EndRun():
                return await self._end(view, action)
            case ExplainEnd():
                return await self.store.explain_end(view.bot_id, action.epoch, seen=action.seen, message=action.message)
            case FenceRun():
                return await self._fence(view, action)
            case AdoptConfig():
                return await self._adopt(view, action)
            case SetStatus():
                return await self.report.status(view, action)
            case Notify():
                return await self.report.notification(view, action)
            case Wait():
                return True

    async def _start(self, view: BotView, action: StartRun) -> bool:
        name = pod_name(view.bot_id, view.row.name, action.epoch)
        started = await self.store.start_run(
            view.bot_id,
            action.epoch,
            config_version=action.config_version,
            pod_name=name,
            closes_out=action.closes_out,
        )
        if started:
            self.metrics.runs_started.inc()
            self.troubles.over(view.bot_id)
        return started

    async def _create(self, view: BotView, action: CreatePod) -> bool:
        assert view.run is not None
        config = await self.configs.of_run(view.bot_id, view.run.config_version, action.epoch)
        request = PodRequest(
            bot_id=view.bot_id,
            epoch=action.epoch,
            name=view.row.runs[0].pod_name,
            user_id=view.row.user_id,
            config_version=view.run.config_version,
            mode=config.mode,
            holding=view.row.holding,
        )
        self._check_lease()
        try:
            pod = await self.runtime.create(request)
        except CreateRefused as error:
            self.troubles.over(view.bot_id)
            fence = FenceRun(action.epoch, ExitReason.NOT_CLAIMED, Guard.UNCLAIMED, safe_text(error, MESSAGE_LIMIT))
            return await self._fence(view, fence)
        self.troubles.over(view.bot_id)
        return await self.store.record_pod(view.bot_id, action.epoch, uid=pod.uid)

    async def _delete(self, view: BotView, action: DeletePod) -> bool:
        self._check_lease()
        self.report.deletion(view, action)
        await self.runtime.delete(action.pod)
        self.troubles.over(view.bot_id)
        return True

    async def _end(self, view: BotView, action: EndRun) -> bool:
        ended = await self.store.end_run(
            view.bot_id,
            action.epoch,
            reason=action.reason,
            exit_code=action.exit_code,
            message=action.message,
        )
        if ended:
            self.metrics.runs_ended.labels(action.reason).inc()
        return ended

    async def _fence(self, view: BotView, action: FenceRun) -> bool:
        fenced = await self._fence_if_guarded(view, action)
        if fenced:
            self.metrics.runs_fenced.labels(action.reason).inc()
        return fenced

    async def _fence_if_guarded(self, view: BotView, action: FenceRun) -> bool:
        policy, bot_id, epoch = self.policy, view.bot_id, action.epoch
        reason, message, decided_at = action.reason, action.message, view.now
        match action.guard:
            case Guard.UNCLAIMED:
                return await self.store.fence_unclaimed(
                    bot_id, epoch, reason=reason, message=message, decided_at=decided_at
                )
            case Guard.SILENT:
                return await self.store.fence_silent(
                    bot_id,
                    epoch,
                    reason=reason,
                    message=message,
                    decided_at=decided_at,
                    silent_s=policy.t_dead_s,
                )
            case Guard.STOP_OVERDUE:
                may_wait = view.run is not None and view.run.waits_until_flat
                return await self.store.fence_stop_overdue(
                    bot_id,
                    epoch,
                    reason=reason,
                    message=message,
                    decided_at=decided_at,
                    asked_s=policy.grace_s + policy.stop_slack_s,
                    stalled_s=policy.hung_after_s if may_wait else None,
                )

    async def _adopt(self, view: BotView, action: AdoptConfig) -> bool:
        limits = await self.configs.hot_sections(view.bot_id, action.config_version)
        if limits is None:
            return False  # the row has moved on
        return await self.store.adopt_config(
            view.bot_id, action.epoch, config_version=action.config_version, limits=limits
        )

    def _check_lease(self) -> None:
        """Pods aren't in the database: before touching them, the lease is looked at once more."""
        if not self.may_act():
            raise LeaseLost("this controller's lease ran out")


def _words(action: Action) -> str:
    if isinstance(action, DeletePod):
        return f"DeletePod({action.pod.name}, {action.pod.uid})"
    return str(action)[:600]
