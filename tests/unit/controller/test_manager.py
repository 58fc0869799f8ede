"""What the manager makes of rows, runs and pods, and what is kept of a config."""

from __future__ import annotations

import asyncio
from dataclasses import fields, replace
from typing import Any

import pytest
from psycopg import DataError

from controller.act.runtime import RuntimeAway
from controller.decide.facts import PodFacts, PodPhase
from controller.decide.podspec import PodRequest
from controller.manager import StrategyManager, examine
from controller.metrics import Metrics
from controller.observe.observer import Contact, Observer
from controller.shards import LeaseLost
from fleet.errors import DatabaseAway
from fleet.foreign import Unreadable
from fleet.plugins import PluginNames
from fleet.states import BotStatus, ExitReason
from fleet.trading_service.bots import BotRecord, RunRecord
from tests.unit.controller.make import NOW, POLICY, ago, pod


def test_a_config_is_examined() -> None:
    mixin = {"name": "RSIBBVolumeEntryMixin", "params": {}}
    parameters = {"entry_logic": mixin, "exit_logic": {"name": "ATRExitMixin", "params": {}}}
    good = {
        "symbol": "BTCUSDT",
        "strategy": {"type": "CustomStrategy", "parameters": parameters},
        "data": {"interval": "1h"},
    }
    known = examine(good)
    assert (known.invalid, known.mode, known.waits_until_flat) == (None, "paper", False)
    assert examine({**good, "trading": {"on_stop": "wait_flat"}}).waits_until_flat
    assert examine(good).flattens_on_failure
    assert not examine({**good, "trading": {"on_failure": "hold"}}).flattens_on_failure
    assert "data.interval" in (examine({**good, "data": {"interval": "7h"}}).invalid or "")
    assert examine(None).invalid


def test_names_of_the_bots_packages_are_known_and_their_parameters_left_to_the_bot() -> None:
    names = PluginNames(strategies=("Breakout",), entry_mixins=("Gap",), exit_mixins=("Lock",), brokers=("acme",))
    parameters = {"entry_logic": {"name": "Gap", "params": {"gap": 1}}, "exit_logic": {"name": "Lock"}}
    mixins = {
        "symbol": "BTCUSDT",
        "broker": {"type": "acme"},
        "strategy": {"parameters": parameters},
        "data": {"interval": "1h"},
    }
    assert examine(mixins, names.extra_names).invalid is None
    own = {**mixins, "strategy": {"type": "Breakout", "parameters": {"any": "thing"}}}
    assert examine(own, names.extra_names).invalid is None
    typo = {**mixins, "strategy": {"parameters": {**parameters, "entry_logic": {"name": "Gapp"}}}}
    assert "did you mean Gap?" in (examine(typo, names.extra_names).invalid or "")
    unknown = examine(mixins).invalid or ""
    assert "broker.type: " in unknown
    assert "exit_logic.name: " in unknown


class Untouchable:
    """A collaborator that must not be used."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"{name} was used")


def test_without_its_lease_a_controller_touches_nothing() -> None:
    manager = StrategyManager(
        store=Untouchable(),
        runtime=Untouchable(),
        observer=Observer(Contact(POLICY.contact_gap_s)),
        policy=POLICY,
        metrics=Metrics(),
        starts=Untouchable(),
        may_act=lambda: False,
    )
    with pytest.raises(LeaseLost):
        asyncio.run(manager.sync(7))


GOOD = {
    "symbol": "BTCUSDT",
    "strategy": {"parameters": {"entry_logic": {"name": "RSIOrBBEntryMixin"}, "exit_logic": {"name": "ATRExitMixin"}}},
    "data": {"interval": "1h"},
}


class StartingBot:
    """A store with one enabled bot and its fresh run; keeps the status that is shown."""

    def __init__(self) -> None:
        self.shown: tuple[BotStatus, str | None] = (BotStatus.STOPPED, None)
        self.run = RunRecord(
            epoch=1, config_version=1, pod_name="bot-7-x-e1", pod_uid=None, node=None, created_at=NOW,
            claimed_by=None, claimed_at=None, live_at=None, heartbeat_at=None, progress_at=None,
            stop_requested_at=None, stop_reason=None, fenced_at=None, ended_at=None, exit_code=None,
            exit_reason=None, error_message=None, phase=None, waited_at=None,
        )  # fmt: skip

    async def load(self, bot_id: int) -> BotRecord:
        status, message = self.shown
        return BotRecord(
            id=bot_id, user_id=1, name="x", enabled=True, archived=False, config_version=1, status=status,
            error_message=message, error_count=0, updated_at=NOW, now=NOW, holding=False, runs=(self.run,),
        )  # fmt: skip

    async def load_config(self, bot_id: int, config_version: int) -> object:
        return GOOD

    async def load_run_config(self, bot_id: int, epoch: int) -> object:
        return GOOD

    async def set_status(self, bot_id: int, *, status: BotStatus, message: str | None, **_: object) -> bool:
        self.shown = (status, message)
        return True

    async def record_pod(self, bot_id: int, epoch: int, uid: str) -> bool:
        self.run = replace(self.run, pod_uid=uid)
        return True


class Api:
    """A runtime whose next creates fail with these words."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.made: tuple[PodFacts, ...] = ()

    def pods(self, bot_id: int) -> tuple[PodFacts, ...]:
        return self.made

    async def create(self, request: PodRequest) -> PodFacts:
        if self.answers:
            raise RuntimeAway(self.answers.pop(0))
        self.made = (pod(epoch=1, uid="u1", phase=PodPhase.PENDING),)
        return self.made[0]


class OneBot:
    """A store with one bot and its current run; notes what is asked for and decided."""

    def __init__(self, *, wanted: bool, config: object, snapshot: object, **run: object) -> None:
        self.config, self.snapshot = config, snapshot
        self.calls: list[str] = []
        self.shown: list[tuple[BotStatus, str | None]] = []
        self.run = {**RUN, **run}
        self.bot = BotRecord(
            id=7,
            user_id=1,
            name="a",
            enabled=wanted,
            archived=False,
            config_version=2,
            status=BotStatus.RUNNING,
            error_message=None,
            error_count=0,
            updated_at=NOW,
            now=NOW,
            holding=False,
            runs=(RunRecord(**self.run),),
        )

    async def load(self, bot_id: int) -> BotRecord:
        return replace(self.bot, runs=(RunRecord(**self.run),))

    async def load_config(self, bot_id: int, config_version: int) -> object:
        self.calls.append("load_config")
        if isinstance(self.config, Exception):
            raise self.config
        return self.config

    async def load_run_config(self, bot_id: int, epoch: int) -> object:
        self.calls.append("load_run_config")
        return self.snapshot

    async def request_stop(self, bot_id: int, epoch: int, reason: str) -> bool:
        self.calls.append(f"request_stop {reason}")
        self.run |= {"stop_requested_at": NOW, "stop_reason": reason}
        return True

    async def fence_stop_overdue(self, bot_id: int, epoch: int, **fate: object) -> bool:
        self.calls.append(f"fence_stop_overdue, stalled {fate['stalled_s']}")
        self.run |= {"ended_at": NOW, "exit_reason": ExitReason.STOPPED}
        return True

    async def set_status(self, bot_id: int, *, status: BotStatus, message: str | None, **_: object) -> bool:
        self.shown.append((status, message))
        self.bot = replace(self.bot, status=status, error_message=message)
        return True


class NothingStarts:
    """A queue of starts that nobody joins."""

    def settled(self, bot_id: int, *, starting: bool) -> None:
        """Nobody waits."""


class NoPods:
    def pods(self, bot_id: int) -> tuple[()]:
        return ()


RUN: dict[str, Any] = dict.fromkeys(field.name for field in fields(RunRecord)) | {
    "epoch": 5,
    "config_version": 1,
    "pod_name": "bot-7-a-e5",
    "created_at": ago(600),
    "claimed_by": "u/1",
    "claimed_at": ago(599),
    "live_at": ago(598),
    "heartbeat_at": ago(1),
    "progress_at": ago(1),
}

UNREADABLE = Unreadable("holds a number of 5000 characters; 400 are the most that is read")


def synced(store: OneBot) -> OneBot:
    contact = Contact(POLICY.contact_gap_s)
    for seconds in range(600, 0, -5):
        contact.proved(ago(seconds))
    manager = StrategyManager(
        store=store,
        runtime=NoPods(),
        observer=Observer(contact),
        policy=POLICY,
        metrics=Metrics(),
        may_act=lambda: True,
        starts=NothingStarts(),
    )
    asyncio.run(manager.sync(7))
    return store


@pytest.mark.parametrize("snapshot", [UNREADABLE, {**GOOD, "trading": {"on_stop": "wait_flat"}}, None])
def test_a_bot_that_is_not_wanted_is_stopped_before_its_config_is_read(snapshot: object) -> None:
    store = synced(OneBot(wanted=False, config=AssertionError("the row's config was read"), snapshot=snapshot))
    assert store.calls == ["load_run_config", "request_stop stopped"]
    assert store.shown[-1] == (BotStatus.STOPPING, None)


@pytest.mark.parametrize(
    ("snapshot", "stalled"), [(UNREADABLE, None), ({**GOOD, "trading": {"on_stop": "wait_flat"}}, 30)]
)
def test_a_run_whose_snapshot_cannot_be_read_lets_nobody_wait(snapshot: object, stalled: float | None) -> None:
    asked = {"stop_requested_at": ago(120), "stop_reason": "stopped", "progress_at": ago(60)}
    store = synced(OneBot(wanted=False, config=UNREADABLE, snapshot=snapshot, **asked))
    assert f"fence_stop_overdue, stalled {stalled}" in store.calls
    assert "load_config" not in store.calls


def test_the_last_valid_config_runs_on_when_the_row_cannot_be_read() -> None:
    store = synced(OneBot(wanted=True, config=UNREADABLE, snapshot=GOOD))
    assert not any(call.startswith("request_stop") for call in store.calls)
    [(status, message)] = store.shown
    assert status is BotStatus.ERROR
    assert message == f"version 2 is invalid: config: {UNREADABLE.reason}; still running version 1"


def test_a_run_that_cannot_be_read_gives_way_to_a_valid_config() -> None:
    store = synced(OneBot(wanted=True, config=GOOD, snapshot=UNREADABLE))
    assert "request_stop superseded" in store.calls


def test_a_snapshot_says_nothing_about_the_row_of_the_same_version() -> None:
    store = synced(OneBot(wanted=True, config=GOOD, snapshot=UNREADABLE, config_version=2))
    assert store.shown == []
    assert not any(call.startswith("request_stop") for call in store.calls)


def test_an_action_that_the_database_refuses_does_not_keep_the_others_from_being_done() -> None:
    class Refusing(OneBot):
        async def request_stop(self, bot_id: int, epoch: int, reason: str) -> bool:
            raise DataError("invalid byte sequence")

    store = Refusing(wanted=False, config=None, snapshot=GOOD)
    with pytest.raises(DataError):
        synced(store)
    said = "the controller fails at this bot and will try again: DataError('invalid byte sequence')"
    assert store.shown == [(BotStatus.STOPPING, None), (BotStatus.STOPPING, said)]


async def test_what_the_api_server_says_is_on_the_row_with_the_next_try_and_gone_with_a_success() -> None:
    store, api = StartingBot(), Api("answers 401 Unauthorized", "answers 401 Unauthorized", "answers 500")
    manager = StrategyManager(
        store=store,  # type: ignore[arg-type]  # the part of it that a start needs
        runtime=api,  # type: ignore[arg-type]
        observer=Observer(Contact(POLICY.contact_gap_s)),
        policy=POLICY,
        metrics=Metrics(),
        may_act=lambda: True,
        starts=NothingStarts(),
    )
    shown = []
    for _ in range(3):
        with pytest.raises(RuntimeAway):
            await manager.sync(7)
        shown.append(store.shown)
    await manager.sync(7)
    assert [message for _, message in shown] == [None, "answers 401 Unauthorized", "answers 401 Unauthorized"]
    assert {status for status, _ in shown} == {BotStatus.STARTING}
    assert store.shown == (BotStatus.STARTING, None)
    assert store.run.pod_uid == "u1"


def test_a_bot_is_not_shown_as_given_up_before_its_owner_is_told() -> None:
    """With `disabled` in the row nobody would be told any more."""

    class Failed(OneBot):
        away, told = True, 0

        async def load(self, bot_id: int) -> BotRecord:
            end = {"ended_at": ago(60), "exit_reason": ExitReason.FAILED, "config_version": 2}
            return replace(self.bot, runs=tuple(RunRecord(**{**RUN, **end, "epoch": 9 - n}) for n in range(6)))

        async def notify(self, notification: object) -> bool:
            if self.away:
                raise DatabaseAway("trading_notifications is locked")
            self.told += 1
            return True

    store = Failed(wanted=True, config=GOOD, snapshot=GOOD)
    with pytest.raises(DatabaseAway):
        synced(store)
    assert store.shown == []
    store.away = False
    synced(store)
    assert [status for status, _ in store.shown] == [BotStatus.DISABLED]
    assert store.told == 1
