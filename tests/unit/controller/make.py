"""Facts for tests: short names, a fixed present, and what actions would make of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from controller.decide.actions import (
    Action,
    AdoptConfig,
    CreatePod,
    DeletePod,
    EndRun,
    ExplainEnd,
    FenceRun,
    Plan,
    RequestStop,
    SetStatus,
    StartRun,
)
from controller.decide.admission import Place
from controller.decide.facts import BotFacts, ObserverFacts, PodFacts, PodPhase, Policy, RunEnd, RunFacts
from controller.decide.plan import plan
from fleet.states import BotStatus, ExitReason

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
POLICY = Policy()
LONG_AGO = NOW - timedelta(hours=2)
TRUSTED = ObserverFacts(connected_since=LONG_AGO)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def bot(**changes: object) -> BotFacts:
    usual = BotFacts(
        bot_id=7,
        wanted=True,
        config_version=3,
        invalid=None,
        status=BotStatus.RUNNING,
        error_message=None,
        error_count=0,
    )
    return replace(usual, **changes)


def run(**changes: object) -> RunFacts:
    """A healthy, live run of epoch 5, 10 minutes old."""
    usual = RunFacts(
        epoch=5,
        config_version=3,
        created_at=ago(600),
        pod_uid="u5",
        claimed_by="u5/123",
        claimed_at=ago(598),
        live_at=ago(597),
        heartbeat_at=ago(1),
        progress_at=ago(2),
    )
    return replace(usual, **changes)


def unclaimed(**changes: object) -> RunFacts:
    """A run whose pod was created a moment ago."""
    fresh = RunFacts(epoch=5, config_version=3, created_at=ago(1), pod_uid="u5")
    return replace(fresh, **changes)


def pod(**changes: object) -> PodFacts:
    """The running pod of epoch 5."""
    usual = PodFacts(bot_id=7, epoch=5, name="bot-7-x-e5", uid="u5", phase=PodPhase.RUNNING)
    return replace(usual, **changes)


def end(
    reason: ExitReason, *, epoch: int = 5, seconds_ago: float = 1, lived_s: float = 20, **changes: object
) -> RunEnd:
    """A run that went live as soon as it was claimed, unless nobody claimed it."""
    claimed = None if reason is ExitReason.NOT_CLAIMED else ago(seconds_ago + lived_s)
    usual = RunEnd(
        epoch=epoch,
        config_version=3,
        reason=reason,
        created_at=ago(seconds_ago + lived_s + 1),
        claimed_at=claimed,
        live_at=claimed,
        ended_at=ago(seconds_ago),
    )
    return replace(usual, **changes)


@dataclass(frozen=True)
class World:
    """Everything the planner sees, and what becomes of it when its actions are carried out at once."""

    bot: BotFacts | None
    run: RunFacts | None = None
    pods: tuple[PodFacts, ...] = ()
    ends: tuple[RunEnd, ...] = ()
    now: datetime = NOW
    observer: ObserverFacts = TRUSTED
    place: Place | None = None

    def plan(self, policy: Policy = POLICY) -> Plan:
        return plan(
            self.bot,
            self.run,
            self.pods,
            ends=self.ends,
            now=self.now,
            observer=self.observer,
            policy=policy,
            place=self.place,
        )

    def after(self, actions: tuple[Action, ...]) -> World:
        world = self
        for action in actions:
            world = world._after(action)
        return world

    def _after(self, action: Action) -> World:
        match action:
            case StartRun(epoch, version):
                fresh = RunFacts(epoch=epoch, config_version=version, created_at=self.now)
                return replace(self, run=fresh)
            case CreatePod(epoch):
                assert self.run is not None
                made = PodFacts(bot_id=7, epoch=epoch, name=f"e{epoch}", uid=f"new{epoch}", phase=PodPhase.PENDING)
                return replace(self, pods=(*self.pods, made), run=replace(self.run, pod_uid=made.uid))
            case DeletePod(target):
                return replace(self, pods=tuple(replace(p, deleting=True) if p == target else p for p in self.pods))
            case RequestStop(_, reason):
                assert self.run is not None
                return replace(self, run=replace(self.run, stop_requested_at=self.now, stop_reason=str(reason)))
            case EndRun(epoch, reason) | FenceRun(epoch, reason):
                assert self.run is not None
                ended = RunEnd(
                    epoch=epoch,
                    config_version=self.run.config_version,
                    reason=reason,
                    created_at=self.run.created_at,
                    claimed_at=self.run.claimed_at,
                    live_at=self.run.live_at,
                    ended_at=self.now,
                )
                return replace(self, run=replace(self.run, ended=True), ends=(ended, *self.ends))
            case ExplainEnd(epoch, _, message):
                told = tuple(replace(e, message=message) if e.epoch == epoch else e for e in self.ends)
                return replace(self, ends=told)
            case AdoptConfig(_, version):
                assert self.run is not None
                return replace(self, run=replace(self.run, config_version=version))
            case SetStatus(status, message, count):
                assert self.bot is not None
                return replace(self, bot=replace(self.bot, status=status, error_message=message, error_count=count))
            case _:
                return self
