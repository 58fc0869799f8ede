"""Carrying a plan out: what each action does and in which order, what comes of it, and what a failure costs the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from psycopg import DataError
from structlog.testing import capture_logs

from controller.act import executor as module
from controller.act.executor import MESSAGE_LIMIT, SOON_S, Consequence, Executor, Outcome, PodTroubles, consequence_of
from controller.act.report import Reporter
from controller.act.runtime import CreateRefused, RuntimeAway
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
from controller.decide.condition import Condition
from controller.decide.facts import StopReason
from controller.decide.pod_events import PodEvent
from controller.decide.podspec import PodRequest
from controller.metrics import Metrics
from controller.observe.bots import BotReader, BotView
from controller.observe.configs import Configs
from controller.shards import LeaseLost
from fleet.config import hot_fields
from fleet.errors import DatabaseAway
from fleet.events import EventKind, Severity
from fleet.states import BotStatus, ExitReason
from fleet.trading_service.bots import Notification
from tests.unit.controller.fakes import GOOD, ROW, WAIT_FLAT, FakeRuntime, FakeStore
from tests.unit.controller.make import NOW, POLICY, ago, pod


class Scene:
    """An executor for bot 7, and one log of everything that it does to the database and the runtime."""

    def __init__(self, *, may_act: Callable[[], bool] = lambda: True) -> None:
        self.store, self.runtime, self.metrics, self.acted = FakeStore(), FakeRuntime(), Metrics(), list[int]()
        self.store.calls = self.log = self.runtime.done = list[Any]()
        self.troubles = PodTroubles()
        self.configs = Configs(self.store)  # type: ignore[arg-type]  # a fake database
        self.executor = Executor(
            store=self.store,  # type: ignore[arg-type]
            runtime=self.runtime,
            configs=self.configs,
            report=Reporter(self.store, self.runtime),  # type: ignore[arg-type]
            troubles=self.troubles,
            policy=POLICY,
            metrics=self.metrics,
            may_act=may_act,
            acted=self.acted.append,
        )

    async def view(self) -> BotView:
        view = await BotReader(self.store, self.configs, self.troubles.of).read(7)  # type: ignore[arg-type]
        assert view is not None
        return view

    async def carry_out(self, *actions: Action) -> Outcome:
        view = await self.view()
        self.log.clear()  # what was read for the view
        return await self.executor.carry_out(view, Plan(Condition.ALIVE, actions))

    @property
    def names(self) -> list[str]:
        return [entry[0] for entry in self.log]

    def fail(self, where: str, error: Exception) -> None:
        (self.runtime.fails if where in ("create", "delete") else self.store.answers)[where] = error

    def count(self, name: str, *labels: str) -> float:
        metric = getattr(self.metrics, name)
        return float((metric.labels(*labels) if labels else metric)._value.get())


STATUS = SetStatus(BotStatus.ERROR, "m", 4)
TOLD = Notify(EventKind.BOT_DISABLED, "t", "b", "k")
STOP = RequestStop(5, StopReason.STOPPED)
ENDED = EndRun(5, ExitReason.FAILED, 1, "m")
FENCED = FenceRun(5, ExitReason.FENCED_SILENT, Guard.SILENT, "m")
FENCE = {"message": "m", "decided_at": NOW}
REQUEST = PodRequest(bot_id=7, epoch=5, name="bot-7-a-e5", user_id=11, config_version=3, mode="paper", holding=False)
NOTIFICATION = Notification(
    bot_id=7, kind=EventKind.BOT_DISABLED, severity=Severity.CRITICAL, title="t", body="b", key="k"
)

CARRIED_OUT: dict[str, tuple[Action, list[tuple[Any, ...]]]] = {
    "start": (
        StartRun(6, 3),
        [("start_run", (7, 6), {"config_version": 3, "pod_name": "bot-7-a-e6", "closes_out": False})],
    ),
    "start to close out": (
        StartRun(6, 3, closes_out=True),
        [("start_run", (7, 6), {"config_version": 3, "pod_name": "bot-7-a-e6", "closes_out": True})],
    ),
    "create": (CreatePod(5), [("create", REQUEST), ("record_pod", (7, 5), {"uid": "made"})]),
    "delete": (
        DeletePod(pod(epoch=4, uid="u4")),
        [
            ("event on u4", PodEvent("Deleting", "the controller deletes it: its run 4 is over")),
            ("delete", pod(epoch=4, uid="u4")),
        ],
    ),
    "stop": (
        RequestStop(5, StopReason.HUNG),
        [
            ("request_stop", (7, 5), {"reason": "hung"}),
            ("event on u5", PodEvent("StopRequested", "asked to stop: its main loop makes no progress", True)),
        ],
    ),
    "end": (
        ENDED,
        [
            ("end_run", (7, 5), {"reason": ExitReason.FAILED, "exit_code": 1, "message": "m"}),
            ("event on u5", PodEvent("RunEnded", "run 5 ended (failed): m", True)),
        ],
    ),
    "explain": (ExplainEnd(5, "seen", "m"), [("explain_end", (7, 5), {"seen": "seen", "message": "m"})]),
    "fence unclaimed": (
        FenceRun(5, ExitReason.SUPERSEDED, Guard.UNCLAIMED, "m"),
        [
            ("fence_unclaimed", (7, 5), {"reason": ExitReason.SUPERSEDED, **FENCE}),
            ("event on u5", PodEvent("Fenced", "run 5 lost its right to trade (superseded): m")),
        ],
    ),
    "fence silent": (
        FENCED,
        [
            ("fence_silent", (7, 5), {"reason": ExitReason.FENCED_SILENT, "silent_s": POLICY.t_dead_s, **FENCE}),
            ("event on u5", PodEvent("Fenced", "run 5 lost its right to trade (fenced_silent): m", True)),
        ],
    ),
    "fence what does not stop": (
        FenceRun(5, ExitReason.FENCED_HUNG, Guard.STOP_OVERDUE, "m"),
        [
            (
                "fence_stop_overdue",
                (7, 5),
                {
                    "reason": ExitReason.FENCED_HUNG,
                    "asked_s": POLICY.grace_s + POLICY.stop_slack_s,
                    "stalled_s": None,
                    **FENCE,
                },
            ),
            ("event on u5", PodEvent("Fenced", "run 5 lost its right to trade (fenced_hung): m", True)),
        ],
    ),
    "adopt": (
        AdoptConfig(5, 3),
        [("load_config", (3,), {}), ("adopt_config", (7, 5), {"config_version": 3, "limits": hot_fields(GOOD)})],
    ),
    "status": (
        STATUS,
        [("set_status", (7,), {"seen": BotStatus.RUNNING, "status": "error", "message": "m", "error_count": 4})],
    ),
    "notify": (TOLD, [("notify", (NOTIFICATION,), {})]),
    "wait": (Wait(NOW), []),
}


@pytest.mark.parametrize("name", CARRIED_OUT)
async def test_what_an_action_does_in_order(name: str) -> None:
    action, expected = CARRIED_OUT[name]
    scene = Scene()
    outcome = await scene.carry_out(action)
    assert scene.log == expected
    decided = not isinstance(action, SetStatus | Notify | Wait)
    assert outcome.again is decided  # what was changed is looked at again
    assert scene.acted == ([7] if decided else [])


def test_every_action_is_in_the_table() -> None:
    assert {type(action) for action, _ in CARRIED_OUT.values()} == set(Action.__args__)


async def test_a_plan_is_carried_out_in_its_order() -> None:
    scene = Scene()
    await scene.carry_out(STOP, DeletePod(pod()), TOLD, STATUS)
    assert scene.names == ["request_stop", "event on u5", "event on u5", "delete", "notify", "set_status"]


@pytest.mark.parametrize(
    ("action", "done", "consequence"),
    [
        (STATUS, True, Consequence.SHOWN),
        (STATUS, False, Consequence.BUSY),  # the row is held by somebody
        (TOLD, True, Consequence.SHOWN),
        (TOLD, False, Consequence.SHOWN),  # told before: nothing to come back for
        (FENCED, True, Consequence.DECIDED),
        (FENCED, False, Consequence.BUSY),  # somebody holds the run's row, or its bot came first
        (ENDED, True, Consequence.DECIDED),
        (ENDED, False, Consequence.DECIDED),  # something else was quicker: read again
        (StartRun(6, 3), False, Consequence.DECIDED),
        (DeletePod(pod()), True, Consequence.DECIDED),
    ],
)
def test_what_an_action_means_for_the_next_look(action: Action, done: bool, consequence: Consequence) -> None:
    assert consequence_of(action, done=done) is consequence


SOON = NOW + timedelta(seconds=0.25)
LATER = NOW + timedelta(seconds=40)


@pytest.mark.parametrize(
    ("actions", "answers", "outcome"),
    [
        ([], {}, Outcome(again=False)),
        ([STATUS], {}, Outcome(again=False)),
        ([Wait(LATER)], {}, Outcome(again=False, look_after_s=40.0)),
        ([Wait(LATER), Wait(SOON)], {}, Outcome(again=False, look_after_s=0.25)),
        ([Wait(ago(3))], {}, Outcome(again=False, look_after_s=0.0)),
        ([STATUS, Wait(LATER)], {}, Outcome(again=False, look_after_s=40.0)),
        ([STATUS], {"set_status": False}, Outcome(again=False, look_after_s=SOON_S)),
        ([STATUS, Wait(LATER)], {"set_status": False}, Outcome(again=False, look_after_s=SOON_S)),
        ([STATUS, Wait(SOON)], {"set_status": False}, Outcome(again=False, look_after_s=0.25)),
        ([TOLD], {"notify": False}, Outcome(again=False)),
        ([TOLD, Wait(LATER)], {"notify": False}, Outcome(again=False, look_after_s=40.0)),
        ([FENCED, Wait(LATER)], {"fence_silent": False}, Outcome(again=False, look_after_s=SOON_S)),
        ([FENCED, STATUS], {"fence_silent": False}, Outcome(again=False, look_after_s=SOON_S)),
        ([ENDED, STATUS, Wait(LATER)], {"end_run": False}, Outcome(again=True)),
        ([ENDED, STATUS], {"set_status": False}, Outcome(again=True)),
    ],
)
async def test_when_a_bot_is_looked_at_again(
    actions: Sequence[Action], answers: dict[str, Any], outcome: Outcome
) -> None:
    scene = Scene()
    scene.store.answers = answers
    assert await scene.carry_out(*actions) == outcome


FAULTS = [
    DatabaseAway("no answer"),
    LeaseLost("gone"),
    RuntimeAway("503"),
    DataError("invalid byte"),
    ValueError("bug"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
@pytest.mark.parametrize(("failing", "acted"), [("request_stop", 1), ("delete", 1), ("notify", 2), ("set_status", 2)])
async def test_an_error_of_any_kind_keeps_no_other_action_from_being_done(
    fault: Exception, failing: str, acted: int
) -> None:
    """A pod whose bot can't be told to stop is deleted all the same, and the row says what goes on."""
    scene = Scene()
    scene.fail(failing, fault)
    with pytest.raises(type(fault)) as raised:
        await scene.carry_out(STOP, DeletePod(pod()), STATUS, TOLD)
    assert raised.value is fault
    assert [name for name in scene.names if not name.startswith("event")] == [
        "request_stop",
        "delete",
        "set_status",
        "notify",
    ]
    assert scene.acted == [7] * acted  # what failed has changed nothing, as far as is known


@pytest.mark.parametrize(
    ("where", "fault", "kept"),
    [
        ("delete", RuntimeAway("answers 500"), "answers 500"),
        ("request_stop", RuntimeAway("answers 500"), "answers 500"),
        ("request_stop", DatabaseAway("no answer"), None),
        ("request_stop", ValueError("a bug"), None),
    ],
)
async def test_only_the_api_servers_words_are_kept_for_the_row(where: str, fault: Exception, kept: str | None) -> None:
    scene = Scene()
    scene.fail(where, fault)
    with pytest.raises(type(fault)):
        await scene.carry_out(DeletePod(pod()), STOP)
    assert scene.troubles.of(7) == kept


async def test_the_first_failure_is_the_one_that_is_told() -> None:
    scene = Scene()
    scene.fail("request_stop", DatabaseAway("first"))
    scene.fail("delete", RuntimeAway("second"))
    with pytest.raises(DatabaseAway, match="first"):
        await scene.carry_out(STOP, DeletePod(pod()))


async def test_a_status_waits_for_a_message_that_could_not_be_written_and_nothing_else_does() -> None:
    scene = Scene()
    scene.fail("notify", DatabaseAway("locked"))
    with pytest.raises(DatabaseAway):
        await scene.carry_out(TOLD, STATUS, DeletePod(pod()))
    assert scene.names == ["notify", "event on u5", "delete"]


async def test_a_later_message_does_not_make_up_for_one_that_could_not_be_written() -> None:
    scene = Scene()
    told: list[Notification] = []

    async def notify(note: Notification) -> bool:
        told.append(note)
        if len(told) == 1:
            raise DatabaseAway("locked")
        return True

    scene.store.notify = notify  # type: ignore[attr-defined]
    scene.fail("request_stop", DatabaseAway("locked"))
    with pytest.raises(DatabaseAway):
        await scene.carry_out(TOLD, TOLD, STOP, STATUS)
    assert len(told) == 2
    assert scene.names == ["request_stop"]


async def test_a_bot_that_waits_until_it_is_flat_is_fenced_when_it_stalls() -> None:
    scene = Scene()
    scene.store.config = WAIT_FLAT
    await scene.carry_out(FenceRun(5, ExitReason.FENCED_HUNG, Guard.STOP_OVERDUE, "m"))
    assert scene.log[0][2]["stalled_s"] == POLICY.hung_after_s


async def test_a_pod_is_told_of_an_open_position() -> None:
    scene = Scene()
    scene.store.row = replace(ROW, holding=True)
    await scene.carry_out(CreatePod(5))
    assert scene.log[0] == ("create", replace(REQUEST, holding=True))


async def test_a_refused_create_fences_the_run_with_the_refusal() -> None:
    scene = Scene()
    scene.troubles.keep(7, "answers 500")
    scene.fail("create", CreateRefused("quota " + "x" * MESSAGE_LIMIT))
    assert (await scene.carry_out(CreatePod(5))).again
    assert scene.names == ["create", "fence_unclaimed"]
    _, arguments, named = scene.log[1]
    assert arguments == (7, 5)
    assert (named["reason"], named["decided_at"]) == (ExitReason.NOT_CLAIMED, NOW)
    assert named["message"].startswith("quota x")
    assert len(named["message"]) == MESSAGE_LIMIT == 2_000
    assert scene.count("runs_fenced", "not_claimed") == 1
    assert scene.troubles.of(7) is None  # it was answered


@pytest.mark.parametrize("action", [DeletePod(pod()), CreatePod(5)], ids=["delete", "create"])
async def test_no_pod_is_touched_after_the_lease_ran_out(action: Action) -> None:
    """The lease may end between the look at the row and the request about the pod: pods know no lease of their own."""
    scene = Scene(may_act=lambda: False)
    with pytest.raises(LeaseLost):
        await scene.carry_out(action)
    assert scene.log == []


async def test_only_the_pod_of_the_actions_run_gets_the_event() -> None:
    scene = Scene()
    scene.runtime.known = (pod(epoch=4, uid="u4"), pod(), pod(epoch=6, uid="u6"))
    await scene.carry_out(STOP, StartRun(6, 3))
    assert scene.names == ["request_stop", "event on u5", "start_run"]


async def test_what_was_not_done_is_not_told_and_not_counted() -> None:
    scene = Scene()
    scene.store.answers = dict.fromkeys(["start_run", "request_stop", "end_run", "fence_silent"], False)
    await scene.carry_out(StartRun(6, 3), STOP, ENDED, FENCED)
    assert scene.names == ["start_run", "request_stop", "end_run", "fence_silent"]
    assert (scene.count("runs_started"), scene.count("runs_ended", "failed")) == (0, 0)
    assert scene.count("runs_fenced", "fenced_silent") == 0
    assert scene.count("stops_requested", "stopped") == 1  # asked all the same


async def test_what_was_done_is_counted() -> None:
    scene = Scene()
    await scene.carry_out(StartRun(6, 3), ENDED, FENCED)
    assert (scene.count("runs_started"), scene.count("runs_ended", "failed")) == (1, 1)
    assert scene.count("runs_fenced", "fenced_silent") == 1


async def test_a_config_that_vanished_is_not_adopted() -> None:
    scene = Scene()
    view = await scene.view()
    scene.log.clear()
    scene.store.config = None
    outcome = await scene.executor.carry_out(view, Plan(Condition.ALIVE, (AdoptConfig(5, 4),)))
    assert scene.names == ["load_config"]
    assert outcome.again  # the row has moved on: read it


@pytest.mark.parametrize("action", [StartRun(6, 3), CreatePod(5), DeletePod(pod())], ids=["start", "create", "delete"])
async def test_a_success_ends_the_trouble_before_it(action: Action) -> None:
    scene = Scene()
    scene.troubles.keep(7, "answers 500")
    await scene.carry_out(action)
    assert scene.troubles.of(7) is None


def test_trouble_is_kept_in_bounded_space(monkeypatch: pytest.MonkeyPatch) -> None:
    assert module.TROUBLES == 25_000
    monkeypatch.setattr(module, "TROUBLES", 2)
    troubles = PodTroubles()
    for bot_id in (1, 2, 1, 3):
        troubles.keep(bot_id, "x" * (MESSAGE_LIMIT + 1))
    assert [troubles.of(bot_id) for bot_id in (1, 2, 3)] == ["x" * MESSAGE_LIMIT, None, "x" * MESSAGE_LIMIT]


async def test_a_decision_logs_all_its_inputs_in_one_line() -> None:
    scene = Scene()
    scene.fail("delete", RuntimeAway("answers 500\x00"))
    inputs = {
        "bot_id": 7,
        "config_version": 3,
        "wanted": True,
        "status": BotStatus.RUNNING,
        "epoch": 5,
        "claimed": True,
        "ended": False,
        "beat_age_s": 1.0,
    }
    with capture_logs() as lines, pytest.raises(RuntimeAway):
        await scene.carry_out(STOP, DeletePod(pod()))
    acted, failed = lines
    assert acted == inputs | {
        "event": "acted",
        "log_level": "info",
        "condition": Condition.ALIVE,
        "action": "RequestStop(epoch=5, reason=<StopReason.STOPPED: 'stopped'>)",
        "done": True,
        "part": "manager",
    }
    assert failed == inputs | {
        "event": "action_failed",
        "log_level": "warning",
        "action": "DeletePod(bot-7-x-e5, u5)",
        "error": "answers 500\ufffd",
        "part": "manager",
    }


async def test_what_is_known_of_a_bot_without_a_row() -> None:
    scene = Scene()
    scene.store.row = None
    assert set((await scene.view()).fields.values()) == {7, None}
