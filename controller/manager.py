"""StrategyManager: what rows want, made true, one bot at a time.

`sync` reads the facts (`observe`), asks the planner (`decide`), has its actions carried out in order (`act`), and
repeats until nothing is left to do. It holds no truth of its own: a manager that is restarted at any point goes on from
the database and the pods. It awaits nothing but its collaborators, so the simulation can run it step by step.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from controller.act.executor import SOON_S, Executor, Outcome, PodTroubles
from controller.act.report import Reporter
from controller.act.runtime import Runtime
from controller.act.starts import Starts
from controller.decide.admission import Candidate
from controller.decide.facts import Policy
from controller.decide.plan import plan
from controller.metrics import Metrics
from controller.observe.bots import BotReader, BotView
from controller.observe.configs import Configs
from controller.observe.observer import Observer
from controller.shards import LeaseLost
from controller.store import Store
from fleet.config import NO_EXTRAS, ExtraNames
from fleet.errors import TransientError
from fleet.states import ExitReason

MAX_STEPS = 8
"""Plans in one sync; the longest way (end, start, create, status) takes four."""


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
        troubles = PodTroubles()
        self._runtime = runtime
        self._observer = observer
        self._policy = policy
        self._starts = starts
        self._may_act = may_act
        self._configs = Configs(store, extra_names)
        self._reader = BotReader(store, self._configs, troubles.of)
        self._report = Reporter(store, runtime)
        self._executor = Executor(
            store=store,
            runtime=runtime,
            configs=self._configs,
            report=self._report,
            troubles=troubles,
            policy=policy,
            metrics=metrics,
            may_act=may_act,
            acted=acted,
        )

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
                outcome = await self._step(bot_id)
                if not outcome.again:
                    return outcome.look_after_s
        except TransientError:
            raise
        except Exception as error:
            await self._report.fault(bot_id, error)
            raise
        return SOON_S

    async def _step(self, bot_id: int) -> Outcome:
        if not self._may_act():
            raise LeaseLost("this controller may not decide at the moment")
        pods = self._runtime.pods(bot_id)  # before the row: see plan()
        view = await self._reader.read(bot_id)
        if view is None:
            return Outcome(again=True)
        decide = partial(
            plan,
            view.bot,
            view.run,
            pods,
            ends=view.ends,
            now=view.now,
            observer=self._observer.facts(bot_id, view.now),
            policy=self._policy,
        )
        planned = decide()
        if not planned.starts:
            self._starts.not_due(bot_id, starting=view.starting)
            return await self._executor.carry_out(view, planned)
        place = await self._starts.admit(self._candidate(view))
        if place is not None:
            return await self._executor.carry_out(view, decide(place=place))
        try:
            return await self._executor.carry_out(view, planned)
        finally:
            self._starts.attempt_ended(bot_id)

    def _candidate(self, view: BotView) -> Candidate:
        """For the queue of starts. Its config was just read and is valid: only such a bot starts."""
        record = view.row
        last = record.runs[0] if record.runs else None
        ended_at = last.ended_at if last is not None else None
        return Candidate(
            bot_id=record.id,
            user_id=record.user_id,
            since=max(record.updated_at, ended_at) if ended_at is not None else record.updated_at,
            holding=record.holding,
            restart=last is not None and last.live_at is not None and last.exit_reason is not ExitReason.STOPPED,
            live=self._configs.is_live(record),
        )
