"""What the manager does with a plan: each action's call, its note and count, and what a failure of one costs the others.

The planner is replaced by plans written down here: it has tests of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from typing import Any

import pytest
from psycopg import DataError

from controller import manager as module
from controller.act.runtime import CreateRefused, PodNote, RuntimeAway
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
from controller.decide.admission import Candidate, Place
from controller.decide.classify import Condition
from controller.decide.facts import PodFacts, StopReason
from controller.decide.podspec import PodRequest
from controller.manager import MAX_STEPS, MESSAGE_LIMIT, SOON_S, StrategyManager
from controller.metrics import Metrics
from controller.observe.observer import Contact, Observer
from controller.shards import LeaseLost
from fleet.errors import DatabaseAway
from fleet.events import EventKind, Severity
from fleet.states import BotStatus, ExitReason
from fleet.trading_service.bots import BotRecord, Notification, RunRecord
from tests.unit.controller.make import NOW, POLICY, ago, end, pod

MIXINS = {"entry_logic": {"name": "RSIOrBBEntryMixin"}, "exit_logic": {"name": "ATRExitMixin"}}
GOOD: dict[str, Any] = {"symbol": "BTCUSDT", "strategy": {"parameters": MIXINS}, "data": {"interval": "1h"}}
PATIENT = {**GOOD, "trading": {"on_stop": "wait_flat"}}

RUN = RunRecord(
    **dict.fromkeys(each.name for each in fields(RunRecord))
    | {
        "epoch": 5,
        "config_version": 3,
        "pod_name": "bot-7-a-e5",
        "pod_uid": "u5",
        "created_at": ago(600),
        "claimed_by": "u5/123",
        "claimed_at": ago(598),
        "live_at": ago(597),
        "heartbeat_at": ago(1),
        "progress_at": ago(2),
        "closes_out": False,
    }
)
ROW = BotRecord(
    id=7,
    user_id=11,
    name="a",
    enabled=True,
    archived=False,
    config_version=3,
    status=BotStatus.RUNNING,
    error_message=None,
    error_count=2,
    updated_at=ago(900),
    now=NOW,
    holding=False,
    runs=(RUN,),
)


@dataclass
class Store:
    """Answers True to whatever is decided, or what the test says; keeps what it was asked."""

    row: BotRecord | None = ROW
    config: object = field(default_factory=lambda: GOOD)
    snapshot: object = field(default_factory=lambda: GOOD)
    answers: dict[str, Any] = field(default_factory=dict)
    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)

    async def load(self, bot_id: int) -> BotRecord | None:
        assert bot_id == 7
        return self.row

    async def load_config(self, bot_id: int, config_version: int) -> object:
        assert bot_id == 7
        self.calls.append(("load_config", (config_version,), {}))
        return self.config

    async def load_run_config(self, bot_id: int, epoch: int) -> object:
        assert bot_id == 7
        self.calls.append(("load_run_config", (epoch,), {}))
        return self.snapshot

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def decide(*arguments: Any, **named: Any) -> Any:
            self.calls.append((name, arguments, named))
            answer = self.answers.get(name, True)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return decide

    def asked(self, name: str) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        return [(arguments, named) for each, arguments, named in self.calls if each == name]


@dataclass
class Runtime:
    """Pods by hand."""

    known: tuple[PodFacts, ...] = (pod(),)
    fails: dict[str, Exception] = field(default_factory=dict)
    done: list[tuple[str, Any]] = field(default_factory=list)

    def pods(self, bot_id: int) -> tuple[PodFacts, ...]:
        assert bot_id == 7
        return self.known

    def tell(self, told: PodFacts, note: PodNote) -> None:
        assert isinstance(told, PodFacts)
        self.done.append(("tell", note))

    async def create(self, request: PodRequest) -> PodFacts:
        self._do("create", request)
        return pod(uid="made")

    async def delete(self, target: PodFacts) -> None:
        self._do("delete", target)

    def _do(self, name: str, what: object) -> None:
        self.done.append((name, what))
        if name in self.fails:
            raise self.fails[name]


@dataclass
class Starts:
    place: Place | None = None
    calls: list[tuple[str, Any]] = field(default_factory=list)

    async def ask(self, candidate: Candidate) -> Place | None:
        self.calls.append(("ask", candidate))
        return self.place

    def settled(self, bot_id: int, *, starting: bool) -> None:
        assert isinstance(starting, bool)
        self.calls.append(("settled", (bot_id, starting)))

    def concluded(self, bot_id: int) -> None:
        self.calls.append(("concluded", bot_id))


class Scene:
    """A manager whose planner says what is written down: one list of actions for each step, then rest."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *plans: Sequence[Action], may_act: Sequence[bool] = ()) -> None:
        self.store, self.runtime, self.starts, self.metrics = Store(), Runtime(), Starts(), Metrics()
        self.plans, self.asked, self.acted = list(plans), list[dict[str, Any]](), list[int]()
        leases = list(may_act)
        monkeypatch.setattr(module, "plan", self._plan)
        self.observer = Observer(Contact(POLICY.contact_gap_s))
        self.manager = StrategyManager(
            store=self.store,  # type: ignore[arg-type]
            runtime=self.runtime,
            observer=self.observer,
            policy=POLICY,
            metrics=self.metrics,
            starts=self.starts,  # type: ignore[arg-type]
            may_act=lambda: leases.pop(0) if leases else True,
            acted=self.acted.append,
        )

    def _plan(self, bot: Any, run: Any, pods: Any, **facts: Any) -> Plan:
        self.asked.append({"bot": bot, "run": run, "pods": pods, **facts})
        return Plan(Condition.ALIVE, tuple(self.plans.pop(0) if self.plans else ()))

    async def sync(self) -> float | None:
        return await self.manager.sync(7)

    def count(self, name: str, *labels: str) -> float:
        metric = getattr(self.metrics, name)
        return float((metric.labels(*labels) if labels else metric)._value.get())


STATUS = SetStatus(BotStatus.ERROR, "m", 4)
TOLD = Notify(EventKind.BOT_DISABLED, "t", "b", "k")
FATE = {"message": "m", "decided_at": NOW}


@pytest.mark.parametrize(
    ("action", "method", "arguments", "named"),
    [
        *(
            (
                StartRun(6, 3, closes_out=closes_out),
                "start_run",
                (7, 6),
                {"config_version": 3, "pod_name": "bot-7-a-e6", "closes_out": closes_out},
            )
            for closes_out in (False, True)
        ),
        (RequestStop(5, StopReason.HUNG), "request_stop", (7, 5), {"reason": "hung"}),
        (
            EndRun(5, ExitReason.FAILED, 1, "m"),
            "end_run",
            (7, 5),
            {"reason": ExitReason.FAILED, "exit_code": 1, "message": "m"},
        ),
        (ExplainEnd(5, "seen", "m"), "explain_end", (7, 5), {"seen": "seen", "message": "m"}),
        (
            FenceRun(5, ExitReason.NOT_CLAIMED, Guard.UNCLAIMED, "m"),
            "fence_unclaimed",
            (7, 5),
            {"reason": ExitReason.NOT_CLAIMED, **FATE},
        ),
        (
            FenceRun(5, ExitReason.FENCED_SILENT, Guard.SILENT, "m"),
            "fence_silent",
            (7, 5),
            {"reason": ExitReason.FENCED_SILENT, "silent_s": POLICY.t_dead_s, **FATE},
        ),
        (
            FenceRun(5, ExitReason.FENCED_HUNG, Guard.STOP_OVERDUE, "m"),
            "fence_stop_overdue",
            (7, 5),
            {
                "reason": ExitReason.FENCED_HUNG,
                "asked_s": POLICY.grace_s + POLICY.stop_slack_s,
                "stalled_s": None,
                **FATE,
            },
        ),
        (AdoptConfig(5, 3), "adopt_config", (7, 5), {"config_version": 3, "limits": module.hot_fields(GOOD)}),
        (STATUS, "set_status", (7,), {"seen": BotStatus.RUNNING, "status": "error", "message": "m", "error_count": 4}),
    ],
    ids=lambda each: type(each).__name__ if not isinstance(each, str | tuple | dict) else "",
)
async def test_each_action_is_one_decision(
    monkeypatch: pytest.MonkeyPatch, action: Action, method: str, arguments: tuple[Any, ...], named: dict[str, Any]
) -> None:
    scene = Scene(monkeypatch, [action])
    await scene.sync()
    assert scene.store.asked(method) == [(arguments, named)]
    shown = isinstance(action, SetStatus)
    assert scene.acted == ([] if shown else [7])
    assert len(scene.asked) == (1 if shown else 2)  # what was changed is looked at again


async def test_a_message_for_the_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, [TOLD])
    scene.store.answers["notify"] = False  # it was told before: nothing to come back for
    assert await scene.sync() is None
    [((note,), _)] = scene.store.asked("notify")
    assert note == Notification(
        bot_id=7, kind=EventKind.BOT_DISABLED, severity=Severity.CRITICAL, title="t", body="b", key="k"
    )
    assert scene.acted == []


async def test_a_bot_that_waits_until_it_is_flat_is_fenced_when_it_stalls(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, [FenceRun(5, ExitReason.FENCED_HUNG, Guard.STOP_OVERDUE, "m")])
    scene.store.config = PATIENT
    await scene.sync()
    [(_, named)] = scene.store.asked("fence_stop_overdue")
    assert named["stalled_s"] == POLICY.hung_after_s


async def test_a_created_pod_is_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, [CreatePod(5)])
    scene.store.row = replace(ROW, holding=True)
    await scene.sync()
    assert scene.runtime.done == [
        (
            "create",
            PodRequest(bot_id=7, epoch=5, name="bot-7-a-e5", user_id=11, config_version=3, mode="paper", holding=True),
        )
    ]
    assert scene.store.asked("record_pod") == [((7, 5), {"uid": "made"})]
    assert scene.acted == [7]


async def test_a_refused_create_fences_the_run_with_the_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, [CreatePod(5)])
    scene.runtime.fails["create"] = CreateRefused("quota " + "x" * MESSAGE_LIMIT)
    await scene.sync()
    [(arguments, named)] = scene.store.asked("fence_unclaimed")
    assert arguments == (7, 5)
    assert (named["reason"], named["decided_at"]) == (ExitReason.NOT_CLAIMED, NOW)
    assert named["message"].startswith("quota x")
    assert len(named["message"]) == MESSAGE_LIMIT == 2_000
    assert scene.store.asked("record_pod") == []
    assert scene.count("runs_fenced", "not_claimed") == 1


@pytest.mark.parametrize("action", [DeletePod(pod()), CreatePod(5)])
async def test_no_pod_is_touched_after_the_lease_ran_out(monkeypatch: pytest.MonkeyPatch, action: Action) -> None:
    """The lease may end between the look at the row and the request about the pod: pods know no lease of their own."""
    scene = Scene(monkeypatch, [action], may_act=[True, False])
    with pytest.raises(LeaseLost):
        await scene.sync()
    assert scene.runtime.done == []


async def test_a_pod_is_deleted_as_the_object_it_is_and_with_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, [DeletePod(pod(epoch=4, uid="u4"))])
    await scene.sync()
    assert scene.runtime.done == [
        ("tell", PodNote("Deleting", "the controller deletes it: its run 4 is over")),
        ("delete", pod(epoch=4, uid="u4")),
    ]
    assert scene.acted == [7]
    assert len(scene.asked) == 2


@pytest.mark.parametrize(
    ("row", "run", "target", "why"),
    [
        (None, {}, {}, "trading_bots has no row 7"),
        ({"runs": ()}, None, {}, "its run 5 is over"),
        ({}, {"ended_at": NOW, "exit_reason": ExitReason.FAILED}, {}, "its run 5 is over"),
        ({}, {}, {"epoch": 4}, "its run 4 is over"),
        ({}, {}, {"uid": "other"}, "run 5 has another pod"),
        ({}, {"claimed_by": None}, {"uid": "other"}, "run 5 has another pod"),
        ({"enabled": False}, {"pod_uid": None}, {}, "the bot is disabled or archived"),  # its claimant
        ({"enabled": False}, {"claimed_by": None}, {}, "the bot is disabled or archived"),
        ({}, {"stop_reason": "hung"}, {}, "its main loop makes no progress"),
        ({}, {"stop_reason": None}, {}, "its main loop makes no progress"),
        (
            {"config_version": 4},
            {"stop_reason": None},
            {},
            "a newer config version takes over, or somebody asked for a restart",
        ),
        ({}, {"stop_reason": "superseded"}, {}, "a newer config version takes over, or somebody asked for a restart"),
    ],
)
async def test_why_a_pod_is_deleted(
    monkeypatch: pytest.MonkeyPatch,
    row: dict[str, Any] | None,
    run: dict[str, Any] | None,
    target: dict[str, Any],
    why: str,
) -> None:
    scene = Scene(monkeypatch, [DeletePod(pod(**target))])
    scene.store.snapshot = {**GOOD, "symbol": "ETHUSDT"}
    runs = () if run is None else (replace(RUN, **run),)
    scene.store.row = None if row is None else replace(ROW, **{"runs": runs, **row})
    await scene.sync()
    assert scene.runtime.done[0] == ("tell", PodNote("Deleting", f"the controller deletes it: {why}"))


async def test_a_bot_without_a_row_has_its_pods_deleted_and_no_place_in_the_queue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = Scene(monkeypatch, [DeletePod(pod())])
    scene.store.row = None
    assert await scene.sync() is None
    assert (scene.asked[0]["bot"], scene.asked[0]["run"], scene.asked[0]["pods"]) == (None, None, (pod(),))
    assert ("delete", pod()) in scene.runtime.done
    assert scene.starts.calls == [("settled", (7, False))] * 2
    assert scene.store.calls == []


@pytest.mark.parametrize(
    ("action", "note"),
    [
        (
            RequestStop(5, StopReason.STOPPED),
            PodNote("StopRequested", "asked to stop: the bot is disabled or archived"),
        ),
        (
            RequestStop(5, StopReason.HUNG),
            PodNote("StopRequested", "asked to stop: its main loop makes no progress", True),
        ),
        (
            FenceRun(5, ExitReason.NOT_CLAIMED, Guard.UNCLAIMED, None),
            PodNote("Fenced", "run 5 lost its right to trade (not_claimed)"),
        ),
        (
            FenceRun(5, ExitReason.FENCED_SILENT, Guard.SILENT, "m"),
            PodNote("Fenced", "run 5 lost its right to trade (fenced_silent): m"),
        ),
        (EndRun(5, ExitReason.RELEASED, 0, None), PodNote("RunEnded", "run 5 ended (released)")),
        (EndRun(5, ExitReason.FAILED, 1, "m"), PodNote("RunEnded", "run 5 ended (failed): m", True)),
        (StartRun(5, 3), None),
    ],
)
async def test_what_happened_to_a_run_is_noted_on_its_pod_alone(
    monkeypatch: pytest.MonkeyPatch, action: Action, note: PodNote | None
) -> None:
    scene = Scene(monkeypatch, [action])
    scene.runtime.known = (pod(epoch=4, uid="u4"), pod(), pod(epoch=6, uid="u6"))
    await scene.sync()
    told = [what for do, what in scene.runtime.done if do == "tell"]
    expected = [] if note is None else [replace(note, warning=told[0].warning)]
    assert told == expected
    if note is not None:
        assert told[0].warning is (note.warning or getattr(action, "reason", None) in module.COUNTED_FAILURES)


async def test_what_was_not_done_is_not_noted_and_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    actions = [
        StartRun(6, 3),
        RequestStop(5, StopReason.STOPPED),
        EndRun(5, ExitReason.FAILED, 1, "m"),
        FenceRun(5, ExitReason.FENCED_SILENT, Guard.SILENT, "m"),
    ]
    scene = Scene(monkeypatch, actions)
    scene.store.answers = dict.fromkeys(["start_run", "request_stop", "end_run", "fence_silent"], False)
    await scene.sync()
    assert scene.runtime.done == []
    assert (scene.count("runs_started"), scene.count("runs_ended", "failed")) == (0, 0)
    assert scene.count("runs_fenced", "fenced_silent") == 0
    assert scene.count("stops_requested", "stopped") == 1  # asked all the same


async def test_what_was_done_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    actions = [
        StartRun(6, 3),
        EndRun(5, ExitReason.FAILED, 1, "m"),
        FenceRun(5, ExitReason.FENCED_SILENT, Guard.SILENT, "m"),
    ]
    scene = Scene(monkeypatch, actions)
    await scene.sync()
    assert (scene.count("runs_started"), scene.count("runs_ended", "failed")) == (1, 1)
    assert scene.count("runs_fenced", "fenced_silent") == 1


SOON = NOW + timedelta(seconds=0.25)
LATER = NOW + timedelta(seconds=40)


@pytest.mark.parametrize(
    ("actions", "answers", "after_s"),
    [
        ([], {}, None),
        ([STATUS], {}, None),
        ([Wait(LATER)], {}, 40.0),
        ([Wait(LATER), Wait(SOON)], {}, 0.25),
        ([Wait(ago(3))], {}, 0.0),
        ([STATUS, Wait(LATER)], {}, 40.0),
        ([STATUS], {"set_status": False}, SOON_S),  # the row is held by somebody
        ([STATUS, Wait(LATER)], {"set_status": False}, SOON_S),
        ([STATUS, Wait(SOON)], {"set_status": False}, 0.25),
        ([TOLD, Wait(LATER)], {"notify": False}, 40.0),
        ([FenceRun(5, ExitReason.FENCED_SILENT, Guard.SILENT, "m"), Wait(LATER)], {"fence_silent": False}, SOON_S),
        ([FenceRun(5, ExitReason.FENCED_SILENT, Guard.SILENT, "m"), Wait(SOON)], {"fence_silent": False}, 0.25),
    ],
)
async def test_when_a_bot_is_looked_at_again(
    monkeypatch: pytest.MonkeyPatch, actions: list[Action], answers: dict[str, Any], after_s: float | None
) -> None:
    scene = Scene(monkeypatch, actions)
    scene.store.answers = answers
    assert await scene.sync() == after_s
    assert len(scene.asked) == 1
    assert scene.acted == []


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
    scene = Scene(monkeypatch, [action, STATUS], [Wait(LATER)])
    scene.store.answers = answers
    assert await scene.sync() == 40.0
    assert len(scene.asked) == 2
    assert scene.acted == [7]


async def test_a_plan_that_never_rests_is_left_for_the_others_sake(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, *[[EndRun(5, ExitReason.FAILED, 1, "m")]] * 20)
    assert await scene.sync() == SOON_S == 1.0
    assert len(scene.asked) == MAX_STEPS == 8


FIRST, SECOND, THIRD = RequestStop(5, StopReason.STOPPED), DeletePod(pod()), STATUS


@pytest.mark.parametrize(
    "fault", [DatabaseAway("no answer"), LeaseLost("gone"), DataError("invalid byte"), ValueError("a bug")]
)
@pytest.mark.parametrize("failing", ["request_stop", "delete", "set_status"])
async def test_an_action_that_fails_keeps_no_other_from_being_done(
    monkeypatch: pytest.MonkeyPatch, fault: Exception, failing: str
) -> None:
    """A pod whose bot can't be told to stop is deleted all the same, and the row says what goes on."""
    scene = Scene(monkeypatch, [FIRST, SECOND, THIRD])
    if failing == "delete":
        scene.runtime.fails["delete"] = fault
    else:
        scene.store.answers[failing] = fault
    with pytest.raises(type(fault)):
        await scene.sync()
    assert len(scene.store.asked("request_stop")) == 1
    assert ("delete", pod()) in scene.runtime.done
    assert scene.store.asked("set_status")[0][1]["message"] == "m"
    assert scene.acted == [7] * (2 if failing == "set_status" else 1)


async def test_the_first_failure_is_the_one_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, [FIRST, SECOND])
    scene.store.answers["request_stop"] = DatabaseAway("first")
    scene.runtime.fails["delete"] = RuntimeAway("second")
    with pytest.raises(DatabaseAway, match="first"):
        await scene.sync()


async def test_a_status_waits_for_a_message_that_could_not_be_written_and_nothing_else_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = Scene(monkeypatch, [TOLD, STATUS, SECOND])
    scene.store.answers["notify"] = DatabaseAway("locked")
    with pytest.raises(DatabaseAway):
        await scene.sync()
    assert scene.store.asked("set_status") == []
    assert ("delete", pod()) in scene.runtime.done


async def test_a_later_message_does_not_make_up_for_one_that_could_not_be_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = Scene(monkeypatch, [TOLD, TOLD, FIRST, STATUS])
    told: list[Notification] = []

    async def notify(note: Notification) -> bool:
        told.append(note)
        if len(told) == 1:
            raise DatabaseAway("locked")
        return True

    scene.store.notify = notify  # type: ignore[attr-defined]
    scene.store.answers["request_stop"] = DatabaseAway("locked")
    with pytest.raises(DatabaseAway):
        await scene.sync()
    assert len(told) == 2
    assert scene.store.asked("set_status") == []


async def test_a_busy_row_is_looked_at_soon_whatever_else_was_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, [FenceRun(5, ExitReason.FENCED_SILENT, Guard.SILENT, "m"), STATUS])
    scene.store.answers["fence_silent"] = False
    assert await scene.sync() == SOON_S


async def test_only_what_repeating_does_not_mend_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for fault, shown in ((DatabaseAway("x"), 0), (RuntimeAway("x"), 0), (KeyError("x" * 600), 1)):
        scene = Scene(monkeypatch, [FIRST])
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


@pytest.mark.parametrize(
    ("action", "name"), [(CreatePod(5), "create"), (DeletePod(pod()), "delete")], ids=["create", "delete"]
)
async def test_the_api_servers_words_are_kept_until_a_request_about_the_pod_succeeds(
    monkeypatch: pytest.MonkeyPatch, action: Action, name: str
) -> None:
    scene = Scene(monkeypatch, [action], [STATUS], [action])
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
    scene = Scene(monkeypatch, [CreatePod(5)], [CreatePod(5) if how == "refused" else StartRun(6, 3)])
    scene.runtime.fails["create"] = RuntimeAway("answers 500")
    with pytest.raises(RuntimeAway):
        await scene.sync()
    scene.runtime.fails["create"] = CreateRefused("no")
    await scene.sync()
    assert scene.asked[-1]["run"].trouble is None


async def test_trouble_is_kept_for_the_latest_bots_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    monkeypatch.setattr(StrategyManager, "CACHE", 2)
    for bot_id in (1, 2, 1, 3):
        scene.manager._trouble(bot_id, "x")
    assert list(scene.manager._troubles) == [1, 3]


async def test_configs_are_kept_for_the_latest_bots_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    assert StrategyManager.CACHE == 25_000
    monkeypatch.setattr(StrategyManager, "CACHE", 2)
    known = module.KnownConfig(None)
    for bot_id in (1, 2):
        scene.manager._remember(bot_id, "v1", known)
    assert scene.manager._remembered(1, "v1") is known
    scene.manager._remember(3, "v1", known)
    assert scene.manager._remembered(2, "v1") is None
    assert scene.manager._remembered(1, "v1") is known


async def test_a_start_that_must_wait_is_planned_anew_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(words="second of 3", look_again_s=5)
    scene = Scene(monkeypatch, [StartRun(6, 3)], [STATUS])
    scene.starts.place = place
    await scene.sync()
    assert scene.asked[1]["place"] is place
    assert scene.store.asked("start_run") == []
    assert [name for name, _ in scene.starts.calls] == ["ask"]


async def test_a_start_that_may_begin_is_concluded_however_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, [StartRun(6, 3)])
    scene.store.answers["start_run"] = DatabaseAway("no answer")
    with pytest.raises(DatabaseAway):
        await scene.sync()
    assert [name for name, _ in scene.starts.calls] == ["ask", "concluded"]
    assert scene.starts.calls[1] == ("concluded", 7)


ENDED = {"ended_at": ago(5), "exit_reason": ExitReason.FAILED}


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
    scene = Scene(monkeypatch, [StartRun(6, 3)])
    scene.store.row = replace(ROW, runs=() if run is None else (replace(RUN, **run),), **row)
    await scene.sync()
    name, candidate = scene.starts.calls[0]
    assert name == "ask"
    assert (candidate.bot_id, candidate.user_id, candidate.live) == (7, 11, False)
    assert {key: getattr(candidate, key) for key in expected} == expected


async def test_a_live_bot_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, [StartRun(6, 3)])
    monkeypatch.setattr(module, "examine", lambda *_: module.KnownConfig(None, "live"))
    await scene.sync()
    assert scene.starts.calls[0][1].live is True


@pytest.mark.parametrize(
    ("run", "starting"),
    [(None, False), ({}, False), ({"live_at": None}, True), ({"live_at": None, **ENDED}, False), (ENDED, False)],
)
async def test_who_is_starting(monkeypatch: pytest.MonkeyPatch, run: dict[str, Any] | None, starting: bool) -> None:
    scene = Scene(monkeypatch, [STATUS])
    scene.store.row = replace(ROW, runs=() if run is None else (replace(RUN, **run),))
    await scene.sync()
    assert scene.starts.calls == [("settled", (7, starting))]


async def test_what_the_planner_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
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
    assert (run.note, run.trouble, run.outdated, run.waits_until_flat) == (
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
    scene = Scene(monkeypatch)
    scene.store.config = None
    assert await scene.sync() == SOON_S
    assert scene.asked == []
    assert len(scene.store.asked("load_config")) == MAX_STEPS


async def test_a_config_is_read_once_for_each_version(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    for version in (3, 3, 4, 4):
        scene.store.row = replace(ROW, config_version=version, runs=(replace(RUN, config_version=version),))
        await scene.sync()
    assert [arguments for arguments, _ in scene.store.asked("load_config")] == [(3,), (4,)]
    assert scene.store.asked("load_run_config") == []


@pytest.mark.parametrize(
    ("snapshot", "outdated"),
    [
        (GOOD, False),
        ({**GOOD, "symbol": "ETHUSDT"}, True),
        ({**GOOD, "risk_management": {"max_daily_trades": 3}}, False),  # a running bot takes it over
    ],
)
async def test_what_a_running_bot_takes_over_and_what_needs_a_new_run(
    monkeypatch: pytest.MonkeyPatch, snapshot: dict[str, Any], outdated: bool
) -> None:
    scene = Scene(monkeypatch)
    scene.store.row, scene.store.snapshot = replace(ROW, config_version=4), snapshot
    await scene.sync()
    assert scene.asked[0]["run"].outdated is outdated


async def test_nobody_asks_whether_a_run_that_is_over_is_outdated(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    scene.store.row = replace(ROW, config_version=4, runs=(replace(RUN, **ENDED),))
    await scene.sync()
    assert scene.asked[0]["run"].ended is True
    assert scene.asked[0]["run"].outdated is False
    assert scene.store.asked("load_run_config") == []


async def test_the_invalid_config_of_the_row_says_nothing_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    scene.store.row, scene.store.config, scene.store.snapshot = replace(ROW, config_version=4), {}, PATIENT
    await scene.sync()
    [asked] = scene.asked
    assert asked["bot"].invalid
    assert (asked["run"].outdated, asked["run"].waits_until_flat) == (False, True)
    assert [arguments for arguments, _ in scene.store.asked("load_run_config")] == [(5,)]


@pytest.mark.parametrize(("waits_for", "note"), [(None, None), ("", None), ("a\nb", "a b")])
async def test_what_a_bot_says_that_it_waits_for(
    monkeypatch: pytest.MonkeyPatch, waits_for: str | None, note: str | None
) -> None:
    scene = Scene(monkeypatch)
    scene.store.row = replace(ROW, runs=(replace(RUN, waits_for=waits_for),))
    await scene.sync()
    assert scene.asked[0]["run"].note == note


async def test_a_version_that_is_invalid_now_says_nothing_of_the_run_that_had_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A newer controller may refuse what an older one started."""
    scene = Scene(monkeypatch)
    scene.store.config, scene.store.snapshot = {}, PATIENT
    await scene.sync()
    assert scene.asked[0]["bot"].invalid
    assert scene.asked[0]["run"].waits_until_flat is True


async def test_a_config_that_vanished_is_not_adopted(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, [AdoptConfig(5, 4)])
    scene.store.config = None
    scene.manager._remember(7, "v3", module.KnownConfig(None))
    await scene.sync()
    assert scene.store.asked("load_config") == [((4,), {})]
    assert scene.store.asked("adopt_config") == []
