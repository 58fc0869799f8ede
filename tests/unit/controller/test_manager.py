"""One sync of a bot: what is read, what the planner is told, what is repeated, and what comes of it in the row."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

import pytest
from psycopg import DataError

from controller import manager as module
from controller.act.executor import MESSAGE_LIMIT, SOON_S
from controller.act.runtime import CreateRefused, RuntimeAway
from controller.decide.actions import (
    Action,
    CreatePod,
    DeletePod,
    EndRun,
    FenceRun,
    Guard,
    Plan,
    RequestStop,
    SetStatus,
    StartRun,
    Wait,
)
from controller.decide.admission import Place
from controller.decide.condition import Condition
from controller.decide.facts import PodFacts, PodPhase, StopReason
from controller.decide.podspec import PodRequest
from controller.manager import MAX_STEPS, StrategyManager
from controller.metrics import Metrics
from controller.observe import configs
from controller.observe.configs import KnownConfig
from controller.observe.observer import Contact, Observer
from controller.shards import LeaseLost
from fleet.errors import DatabaseAway
from fleet.foreign import Unreadable
from fleet.states import BotStatus, ExitReason
from fleet.trading_service.bots import BotRecord, RunRecord
from tests.unit.controller.fakes import GOOD, ROW, RUN, FakeRuntime, FakeStarts, FakeStore
from tests.unit.controller.make import NOW, POLICY, ago, end, pod


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
        self.run = {**OLD_RUN, **run}
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

    def not_due(self, bot_id: int, *, starting: bool) -> None:
        """Nobody waits."""


class NoPods:
    def pods(self, bot_id: int) -> tuple[()]:
        return ()


OLD_RUN: dict[str, Any] = dict.fromkeys(field.name for field in fields(RunRecord)) | {
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
            return replace(self.bot, runs=tuple(RunRecord(**{**OLD_RUN, **end, "epoch": 9 - n}) for n in range(6)))

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


class Scripted:
    """A manager whose planner says what is written down: one list of actions for each step, then rest."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *plans: Sequence[Action]) -> None:
        self.store, self.runtime, self.starts, self.metrics = FakeStore(), FakeRuntime(), FakeStarts(), Metrics()
        self.plans, self.asked, self.acted = list(plans), list[dict[str, Any]](), list[int]()
        monkeypatch.setattr(module, "plan", self._plan)
        self.observer = Observer(Contact(POLICY.contact_gap_s))
        self.manager = StrategyManager(
            store=self.store,  # type: ignore[arg-type]
            runtime=self.runtime,
            observer=self.observer,
            policy=POLICY,
            metrics=self.metrics,
            starts=self.starts,  # type: ignore[arg-type]
            may_act=lambda: True,
            acted=self.acted.append,
        )

    def _plan(self, bot: Any, run: Any, pods: Any, **facts: Any) -> Plan:
        self.asked.append({"bot": bot, "run": run, "pods": pods, **facts})
        return Plan(Condition.ALIVE, tuple(self.plans.pop(0) if self.plans else ()))

    async def sync(self) -> float | None:
        return await self.manager.sync(7)


STATUS = SetStatus(BotStatus.ERROR, "m", 4)
STOP = RequestStop(5, StopReason.STOPPED)
LATER = NOW + timedelta(seconds=40)
ENDED: dict[str, Any] = {"ended_at": ago(5), "exit_reason": ExitReason.FAILED}


async def test_a_plan_that_never_rests_is_left_for_the_others_sake(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scripted(monkeypatch, *[[EndRun(5, ExitReason.FAILED, 1, "m")]] * 20)
    assert await scene.sync() == SOON_S == 1.0
    assert len(scene.asked) == MAX_STEPS == 8


@pytest.mark.parametrize(
    ("action", "answers"),
    [
        (FenceRun(5, ExitReason.FENCED_SILENT, Guard.SILENT, "m"), {}),
        (EndRun(5, ExitReason.FAILED, 1, "m"), {"end_run": False}),  # something else was quicker: read again
        (StartRun(6, 3), {"start_run": False}),
    ],
)
async def test_after_a_decision_the_facts_are_read_again(
    monkeypatch: pytest.MonkeyPatch, action: Action, answers: dict[str, Any]
) -> None:
    scene = Scripted(monkeypatch, [action, STATUS], [Wait(LATER)])
    scene.store.answers = answers
    assert await scene.sync() == 40.0
    assert len(scene.asked) == 2
    assert scene.acted == [7]


async def test_only_what_repeating_does_not_mend_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for fault, shown in ((DatabaseAway("x"), 0), (RuntimeAway("x"), 0), (KeyError("x" * 600), 1)):
        scene = Scripted(monkeypatch, [STOP])
        scene.store.answers["request_stop"] = fault
        with pytest.raises(type(fault)):
            await scene.sync()
        asked = scene.store.asked("set_status")
        assert len(asked) == shown
    [((bot_id,), named)] = asked
    assert (bot_id, named["seen"], named["status"], named["error_count"]) == (
        7,
        BotStatus.RUNNING,
        BotStatus.RUNNING,
        2,
    )
    assert named["message"].startswith("the controller fails at this bot and will try again: KeyError(")
    assert len(named["message"]) == 500


async def test_a_bot_without_a_row_has_its_pods_deleted_and_no_place_in_the_queue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = Scripted(monkeypatch, [DeletePod(pod())])
    scene.store.row = None
    assert await scene.sync() is None
    assert (scene.asked[0]["bot"], scene.asked[0]["run"], scene.asked[0]["pods"]) == (None, None, (pod(),))
    assert ("delete", pod()) in scene.runtime.done
    assert scene.starts.calls == [("not_due", (7, False))] * 2
    assert scene.store.calls == []


@pytest.mark.parametrize(
    ("action", "name"), [(CreatePod(5), "create"), (DeletePod(pod()), "delete")], ids=["create", "delete"]
)
async def test_the_api_servers_words_are_kept_until_a_request_about_the_pod_succeeds(
    monkeypatch: pytest.MonkeyPatch, action: Action, name: str
) -> None:
    scene = Scripted(monkeypatch, [action], [STATUS], [action])
    scene.runtime.fails[name] = RuntimeAway("answers 500 " + "x" * MESSAGE_LIMIT)
    with pytest.raises(RuntimeAway):
        await scene.sync()
    await scene.sync()
    trouble = scene.asked[-1]["run"].trouble
    assert trouble.startswith("answers 500 x")
    assert len(trouble) == MESSAGE_LIMIT
    scene.runtime.fails.clear()
    await scene.sync()
    assert scene.asked[-1]["run"].trouble is None


@pytest.mark.parametrize("how", ["start", "refused"])
async def test_a_new_run_and_a_refusal_end_the_trouble_before_it(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    scene = Scripted(monkeypatch, [CreatePod(5)], [CreatePod(5) if how == "refused" else StartRun(6, 3)])
    scene.runtime.fails["create"] = RuntimeAway("answers 500")
    with pytest.raises(RuntimeAway):
        await scene.sync()
    scene.runtime.fails["create"] = CreateRefused("no")
    await scene.sync()
    assert scene.asked[-1]["run"].trouble is None


async def test_a_start_that_must_wait_is_planned_anew_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(words="second of 3", look_again_s=5)
    scene = Scripted(monkeypatch, [StartRun(6, 3)], [STATUS])
    scene.starts.place = place
    await scene.sync()
    assert scene.asked[1]["place"] is place
    assert scene.store.asked("start_run") == []
    assert [name for name, _ in scene.starts.calls] == ["admit"]


async def test_a_start_that_may_begin_is_concluded_however_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scripted(monkeypatch, [StartRun(6, 3)])
    scene.store.answers["start_run"] = DatabaseAway("no answer")
    with pytest.raises(DatabaseAway):
        await scene.sync()
    assert [name for name, _ in scene.starts.calls] == ["admit", "attempt_ended"]
    assert scene.starts.calls[1] == ("attempt_ended", 7)


@pytest.mark.parametrize(
    ("row", "run", "expected"),
    [
        ({}, None, {"since": ROW.updated_at, "restart": False}),
        ({}, ENDED, {"since": ago(5), "restart": True}),
        ({"updated_at": ago(2)}, ENDED, {"since": ago(2), "restart": True}),
        ({}, {**ENDED, "exit_reason": ExitReason.STOPPED}, {"restart": False}),  # somebody switched it on again
        ({}, {**ENDED, "live_at": None}, {"restart": False}),
        ({"holding": True}, None, {"holding": True}),
        ({}, {"ended_at": None}, {"since": ROW.updated_at, "restart": True}),
    ],
)
async def test_whose_turn_it_is(
    monkeypatch: pytest.MonkeyPatch, row: dict[str, Any], run: dict[str, Any] | None, expected: dict[str, Any]
) -> None:
    scene = Scripted(monkeypatch, [StartRun(6, 3)])
    scene.store.row = replace(ROW, runs=() if run is None else (replace(RUN, **run),), **row)
    await scene.sync()
    name, candidate = scene.starts.calls[0]
    assert name == "admit"
    assert (candidate.bot_id, candidate.user_id, candidate.live) == (7, 11, False)
    assert {key: getattr(candidate, key) for key in expected} == expected


async def test_a_live_bot_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scripted(monkeypatch, [StartRun(6, 3)])
    monkeypatch.setattr(configs, "examine", lambda *_: KnownConfig(None, "live"))
    await scene.sync()
    assert scene.starts.calls[0][1].live is True


@pytest.mark.parametrize(
    ("run", "starting"),
    [(None, False), ({}, False), ({"live_at": None}, True), ({"live_at": None, **ENDED}, False), (ENDED, False)],
)
async def test_who_is_starting(monkeypatch: pytest.MonkeyPatch, run: dict[str, Any] | None, starting: bool) -> None:
    scene = Scripted(monkeypatch, [STATUS])
    scene.store.row = replace(ROW, runs=() if run is None else (replace(RUN, **run),))
    await scene.sync()
    assert scene.starts.calls == [("not_due", (7, starting))]


async def test_what_the_planner_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scripted(monkeypatch)
    older = replace(RUN, epoch=4, **ENDED, exit_code=1, error_message="why")
    strange = replace(RUN, epoch=3, ended_at=None, exit_reason=ExitReason.FAILED)
    unexplained = replace(RUN, epoch=2, ended_at=ago(9), exit_reason=None)
    newest = replace(RUN, waits_for="the exchange's\x00 pause", phase="p", waited_at=ago(3))
    scene.store.row = replace(ROW, runs=(newest, older, strange, unexplained), error_message="e")
    scene.observer.suspicious = True
    scene.observer.contact.proved(ago(8))
    scene.observer.contact.proved(ago(4))
    await scene.sync()
    [asked] = scene.asked
    bot, run = asked["bot"], asked["run"]
    assert (bot.bot_id, bot.wanted, bot.invalid, bot.error_message, bot.error_count) == (7, True, None, "e", 2)
    assert (run.epoch, run.claimed_by, run.phase, run.waited_at, run.ended) == (5, "u5/123", "p", ago(3), False)
    assert (run.waits_for, run.trouble, run.outdated, run.waits_until_flat) == (
        "the exchange's\ufffd pause",
        None,
        False,
        False,
    )
    [told] = asked["ends"]
    assert told == replace(
        end(ExitReason.FAILED, epoch=4, exit_code=1, message="why"),
        created_at=older.created_at,
        claimed_at=older.claimed_at,
        live_at=older.live_at,
        ended_at=ago(5),
    )
    assert (asked["now"], asked["policy"], asked["pods"]) == (NOW, POLICY, (pod(),))
    assert (asked["observer"].connected_since, asked["observer"].suspicious) == (ago(8), True)


async def test_a_row_that_changes_while_it_is_read_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scripted(monkeypatch)
    scene.store.config = None
    assert await scene.sync() == SOON_S
    assert scene.asked == []
    assert len(scene.store.asked("load_config")) == MAX_STEPS
