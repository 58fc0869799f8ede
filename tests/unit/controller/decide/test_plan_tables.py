"""Single answers of the planner, at the edge of each rule; test_plan.py holds what is true of all of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from controller.decide.actions import (
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
from controller.decide.condition import Condition
from controller.decide.facts import ObserverFacts, PodFacts, PodPhase
from controller.decide.plan import LOOK_AGAIN_S, plan
from controller.decide.restarts import restart_at
from controller.decide.status_text import SLOW_START_S
from fleet.states import ENDED_BY_SIGNAL, BotStatus, ExitReason
from tests.unit.controller.make import LONG_AGO, NOW, POLICY, TRUSTED, World, ago, bot, end, pod, run, unclaimed

DEAD = pod(phase=PodPhase.TERMINATED, exit_code=1)
STARTING = {"status": BotStatus.STARTING}


def planned(*, pods: tuple[PodFacts, ...] = (), **world: Any) -> tuple[object, ...]:
    return World(pods=pods, **{"bot": bot(), **world}).plan().actions


def only(kind: type, actions: tuple[object, ...]) -> Any:
    [found] = [action for action in actions if isinstance(action, kind)]
    return found


def none(kind: type, actions: tuple[object, ...]) -> bool:
    return not any(isinstance(action, kind) for action in actions)


def test_times_of_a_slow_start() -> None:
    assert (SLOW_START_S, LOOK_AGAIN_S) == (20.0, 10.0)


@pytest.mark.parametrize(
    ("pods", "deleted"),
    [
        ((pod(),), []),
        ((pod(), pod(epoch=4, uid="u4")), ["u4"]),
        ((pod(), pod(epoch=4, uid="u4", phase=PodPhase.TERMINATED)), ["u4"]),  # of another run: nothing keeps it
        ((pod(), pod(epoch=6, uid="u6")), ["u6"]),
        ((pod(), pod(uid="twin")), ["twin"]),
        ((pod(), pod(uid="twin", phase=PodPhase.TERMINATED)), []),  # its end may be the proof
        ((pod(), pod(epoch=4, uid="u4", deleting=True)), []),
        ((pod(), pod(epoch=4, uid="u4", gone=True)), []),
    ],
)
def test_pods_that_must_go(pods: tuple[PodFacts, ...], deleted: list[str]) -> None:
    actions = planned(run=run(), pods=pods)
    assert [action.pod.uid for action in actions if isinstance(action, DeletePod)] == deleted


@pytest.mark.parametrize(
    ("facts", "end_of_pod", "reason"),
    [
        ({}, {"exit_code": 1}, ExitReason.FAILED),
        ({}, {"exit_code": 0}, ExitReason.FAILED),
        ({}, {"exit_code": 0, "deleting": True}, ExitReason.RELEASED),
        ({"stop_requested_at": ago(1)}, {"exit_code": 0}, ExitReason.RELEASED),
        ({"stop_reason": "stopped"}, {"exit_code": 1}, ExitReason.STOPPED),
        ({"stop_reason": "superseded"}, {"exit_code": 1}, ExitReason.SUPERSEDED),
        ({"stop_reason": "hung"}, {"exit_code": 1}, ExitReason.FENCED_HUNG),
        ({"stop_reason": "hung", "stop_requested_at": ago(1)}, {"exit_code": 0}, ExitReason.RELEASED),
        ({"heartbeat_at": ago(POLICY.t_dead_s)}, {"exit_code": 3}, ExitReason.GAVE_UP_DATABASE),
        ({"heartbeat_at": ago(POLICY.t_dead_s - 0.1)}, {"exit_code": 3}, ExitReason.FAILED),
        ({"heartbeat_at": ago(900)}, {"exit_code": 1}, ExitReason.FAILED),  # its word is another
        ({}, {"exit_code": 3, "deleting": True}, ExitReason.RELEASED),
        ({"live_at": None}, {"exit_code": 2}, ExitReason.CONFIG_ERROR),
        ({"live_at": None}, {"exit_code": 1}, ExitReason.FAILED),
        ({}, {"exit_code": 2}, ExitReason.FAILED),  # of a live run the config was accepted
        ({}, {"exit_code": 137, "deleting": True}, ExitReason.RELEASED),
        ({}, {"exit_code": 137, "disruption": "Evicted: memory"}, ExitReason.RELEASED),
        ({}, {"exit_code": None}, ExitReason.FAILED),
    ],
)
def test_why_a_run_ended(facts: dict[str, Any], end_of_pod: dict[str, Any], reason: ExitReason) -> None:
    dead = pod(phase=PodPhase.TERMINATED, **end_of_pod)
    found = only(EndRun, planned(run=run(**facts), pods=(dead,)))
    assert (found.epoch, found.reason, found.exit_code) == (5, reason, end_of_pod["exit_code"])


@pytest.mark.parametrize(
    ("code", "words"),
    [(0, "without being asked to"), (2, "though it had accepted its config"), (3, "though nobody had fenced its run")],
)
@pytest.mark.parametrize("said", ["", "the last words"])
def test_an_end_that_nobody_asked_for_names_where_to_look(code: int, words: str, said: str) -> None:
    found = only(EndRun, planned(run=run(), pods=(pod(phase=PodPhase.TERMINATED, exit_code=code, message=said),)))
    tail = ". Last words: the last words" if said else ""
    assert found.message == (
        f"pod bot-7-x-e5 ended with exit code {code} {words}: look for sys.exit or os._exit in the strategy and its "
        f"packages{tail}"
    )


@pytest.mark.parametrize(
    ("facts", "message"),
    [({}, None), ({"message": "bye"}, "bye"), ({"disruption": "Evicted: memory"}, "evicted"), ({"exit_code": 1}, "1")],
)
def test_what_is_told_of_an_end(facts: dict[str, Any], message: str | None) -> None:
    dead = pod(phase=PodPhase.TERMINATED, **{"exit_code": 0, "deleting": True, **facts})
    found = only(EndRun, planned(run=run(), pods=(dead,)))
    assert (found.message is None) is (message is None)
    assert (message or "") in (found.message or "")


@pytest.mark.parametrize(
    ("facts", "pods", "reason", "guard"),
    [
        ({}, (), ExitReason.FENCED_SILENT, Guard.SILENT),
        ({"stop_reason": "stopped"}, (), ExitReason.STOPPED, Guard.SILENT),
        ({"stop_reason": "superseded"}, (), ExitReason.SUPERSEDED, Guard.SILENT),
        ({"stop_reason": "hung"}, (), ExitReason.FENCED_SILENT, Guard.SILENT),
        ({}, (pod(phase=PodPhase.FAILED, exit_code=3),), ExitReason.GAVE_UP_DATABASE, Guard.SILENT),
        ({}, (pod(phase=PodPhase.FAILED, exit_code=1),), ExitReason.FENCED_SILENT, Guard.SILENT),
    ],
)
def test_a_silent_run_is_fenced(
    facts: dict[str, Any], pods: tuple[PodFacts, ...], reason: ExitReason, guard: Guard
) -> None:
    found = only(FenceRun, planned(run=run(heartbeat_at=ago(40), **facts), pods=pods))
    assert (found.epoch, found.reason, found.guard) == (5, reason, guard)
    assert found.message == "no heartbeat since 11:59:20Z, for more than 35 s"


@pytest.mark.parametrize(
    ("facts", "reason"), [({}, ExitReason.FENCED_HUNG), ({"stop_reason": "stopped"}, ExitReason.STOPPED)]
)
def test_a_run_that_does_not_stop_in_time_is_fenced(facts: dict[str, Any], reason: ExitReason) -> None:
    found = only(FenceRun, planned(run=run(stop_requested_at=ago(40), **facts)))
    assert found == FenceRun(5, reason, Guard.STOP_OVERDUE, "did not stop within 30 s")


@pytest.mark.parametrize(
    ("pods", "facts", "words"),
    [
        ((pod(phase=PodPhase.TERMINATED, exit_code=0),), {}, "the pod ended before it claimed its run"),
        ((pod(phase=PodPhase.TERMINATED, exit_code=1, message="bye"),), {}, "bye"),
        ((pod(phase=PodPhase.FAILED, reason="Evicted"),), {}, "pod bot-7-x-e5 failed (Evicted)"),
        ((pod(deleting=True),), {}, "somebody deleted the pod before it claimed its run"),
        ((pod(deleting=True, disruption="Evicted: memory"),), {}, "was evicted"),
        ((pod(gone=True),), {}, "somebody deleted the pod before it claimed its run"),
        ((), {}, "the pod vanished before it claimed its run"),
        (
            (pod(),),
            {"created_at": ago(200)},
            "did not claim its run within 120 s: see its log (kubectl logs bot-7-x-e5)",
        ),
        (
            (pod(phase=PodPhase.PENDING, waiting="ErrImagePull: no"),),
            {"created_at": ago(200)},
            "did not claim its run within 120 s: ",
        ),
        ((), {"created_at": ago(200), "pod_uid": None}, "no pod could be created within 120 s: no create was answered"),
        (
            (),
            {"created_at": ago(200), "pod_uid": None, "trouble": "answers 500"},
            "no pod could be created within 120 s: answers 500",
        ),
    ],
)
def test_why_a_run_was_not_claimed(pods: tuple[PodFacts, ...], facts: dict[str, Any], words: str) -> None:
    found = only(FenceRun, planned(run=unclaimed(**facts), pods=pods))
    assert (found.epoch, found.reason, found.guard) == (5, ExitReason.NOT_CLAIMED, Guard.UNCLAIMED)
    assert words in found.message


@pytest.mark.parametrize(
    ("wanted", "facts", "reason"),
    [
        (False, {}, ExitReason.STOPPED),
        (True, {"config_version": 2, "outdated": True}, ExitReason.SUPERSEDED),
    ],
)
@pytest.mark.parametrize("pods", [(), (pod(),), (pod(phase=PodPhase.PENDING, placed=False),)])
def test_an_obsolete_run_is_not_waited_for(
    wanted: bool, facts: dict[str, Any], reason: ExitReason, pods: tuple[PodFacts, ...]
) -> None:
    pod_uid = "u5" if pods else None
    actions = planned(bot=bot(wanted=wanted), run=unclaimed(pod_uid=pod_uid, **facts), pods=pods)
    assert FenceRun(5, reason, Guard.UNCLAIMED, None) in actions


@pytest.mark.parametrize(
    ("facts", "pods"),
    [
        (run(config_version=2), (pod(),)),
        (unclaimed(config_version=2), (pod(),)),
        (unclaimed(config_version=2), (pod(phase=PodPhase.PENDING, placed=False, waiting="no room"),)),
    ],
    ids=["alive", "starting", "unplaced"],
)
@pytest.mark.parametrize(("outdated", "invalid"), [(False, None), (True, None), (False, "broken")])
def test_who_takes_a_new_config_over(
    facts: Any, pods: tuple[PodFacts, ...], outdated: bool, invalid: str | None
) -> None:
    actions = planned(bot=bot(invalid=invalid), run=replace(facts, outdated=outdated), pods=pods)
    adopts = AdoptConfig(5, 3) in actions
    assert adopts is (not outdated and invalid is None)
    if invalid:
        said = only(SetStatus, actions)
        assert (said.status, said.message) == (
            BotStatus.ERROR,
            "version 3 is invalid: broken; still running version 2",
        )


def test_the_version_that_runs_is_no_news() -> None:
    assert planned(bot=bot(invalid="broken now"), run=run(), pods=(pod(),)) == ()
    assert planned(run=run(outdated=True), pods=(pod(),)) == ()


def test_what_a_plan_says_of_itself() -> None:
    later, soon = Wait(NOW + timedelta(seconds=9)), Wait(NOW)
    said = SetStatus(BotStatus.ERROR, None, 0)
    for actions, starts, until in (
        ((), False, None),
        ((said,), False, None),
        ((said, StartRun(1, 3)), True, None),
        ((later, said, soon), False, NOW),
    ):
        made = Plan(Condition.ABSENT, actions)
        assert (made.starts, made.until) == (starts, until)


def test_a_bot_that_is_off_and_has_no_run_or_no_pod() -> None:
    off = bot(wanted=False, status=BotStatus.RUNNING)
    assert planned(bot=off, pods=(pod(),)) == (DeletePod(pod()), SetStatus(BotStatus.STOPPING, None, 0))
    asked = run(stop_requested_at=ago(1), stop_reason="stopped")
    assert only(SetStatus, planned(bot=off, run=asked)).status is BotStatus.STOPPING


def test_a_bot_whose_id_or_epoch_no_label_can_carry_gets_no_pod() -> None:
    for made in (bot(bot_id=0), bot(bot_id=10**15)):
        said = only(SetStatus, planned(bot=made))
        assert said.status is BotStatus.ERROR
        assert said.message.startswith(f"id {made.bot_id} can't be that of a bot")
    found = only(FenceRun, planned(run=unclaimed(epoch=10**15, pod_uid=None)))
    assert found.message.startswith("epoch 1000000000000000 can't be that of a run")
    assert (found.epoch, found.reason) == (10**15, ExitReason.NOT_CLAIMED)
    said = only(SetStatus, planned(run=run(epoch=10**15 - 1, ended=True)))
    assert said.message.startswith("epoch 1000000000000000 can't be that of a run")


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"claimed_at": ago(20), "phase": "warms up"}, "starting since 11:59:40Z: warms up"),
        ({"claimed_at": ago(19), "phase": "warms up"}, None),
        ({"claimed_at": ago(5), "phase": "waits", "waited_at": ago(1)}, "starting since 11:59:55Z: waits"),
        ({"claimed_at": ago(30), "phase": None}, None),
        ({"claimed_at": ago(30), "phase": "p", "live_at": ago(1)}, None),
        ({"claimed_at": None, "created_at": ago(60), "phase": "p"}, "starting since 11:59:00Z: p"),
        ({"claimed_at": ago(30), "phase": "p", "waits_for": "the exchange's pause"}, "the exchange's pause"),
    ],
)
def test_what_a_slow_start_is_at(facts: dict[str, Any], message: str | None) -> None:
    made = run(**{"live_at": None, **facts})
    actions = planned(bot=bot(status=BotStatus.STOPPED), run=made, pods=(pod(),))
    said = only(SetStatus, actions)
    assert said.message == message
    assert said.status is (BotStatus.RUNNING if made.live_at else BotStatus.STARTING)
    if made.live_at is None:
        assert Wait(NOW + timedelta(seconds=LOOK_AGAIN_S)) in actions


@pytest.mark.parametrize(
    ("facts", "waiting", "message"),
    [
        ({"created_at": ago(19)}, "", None),
        ({"created_at": ago(19)}, "Unschedulable: no room. ", "waits for a node for 10 s: Unschedulable: no room. It"),
        ({"created_at": ago(20)}, "", "waits for a node for 20 s: the scheduler has not looked at it yet. It starts"),
        ({"created_at": ago(59)}, "", "waits for a node for 50 s"),
        ({"created_at": ago(60)}, "", "waits for a node for 1 min"),
        ({"created_at": ago(179)}, "", "waits for a node for 2 min"),
    ],
)
def test_what_a_pod_without_a_node_waits_for(facts: dict[str, Any], waiting: str, message: str | None) -> None:
    pods = (pod(phase=PodPhase.PENDING, placed=False, waiting=waiting),)
    actions = planned(bot=bot(status=BotStatus.STOPPED), run=unclaimed(**facts), pods=pods)
    said = only(SetStatus, actions)
    assert said.status is BotStatus.STARTING
    assert (said.message or "").startswith(message or "")
    assert (said.message is None) is (message is None)
    assert Wait(NOW + timedelta(seconds=LOOK_AGAIN_S)) in actions


def test_what_a_starting_pod_waits_for_is_said() -> None:
    pods = (pod(phase=PodPhase.PENDING, waiting="ErrImagePull: no"),)
    said = only(SetStatus, planned(bot=bot(), run=unclaimed(), pods=pods))
    assert said.status is BotStatus.STARTING
    assert "ErrImagePull" in said.message
    assert none(SetStatus, planned(bot=bot(**STARTING), run=unclaimed(), pods=(pod(),)))


def test_the_trouble_of_a_create_is_told_before_the_next_try() -> None:
    made = unclaimed(pod_uid=None)
    actions = planned(bot=bot(), run=made)
    assert [type(action) for action in actions] == [CreatePod, SetStatus, Wait]
    trouble = unclaimed(pod_uid=None, trouble="answers 500")
    actions = planned(bot=bot(), run=trouble)
    assert [type(action) for action in actions] == [SetStatus, CreatePod, Wait]
    assert actions[0] == SetStatus(BotStatus.STARTING, "answers 500", 0)


@pytest.mark.parametrize(
    ("facts", "deletes"),
    [
        ({"stop_reason": "stopped"}, True),
        ({"stop_reason": "stopped", "waits_until_flat": True}, False),
        ({"stop_reason": "hung", "waits_until_flat": True}, True),
    ],
)
def test_who_gets_a_signal_when_asked_to_stop(facts: dict[str, Any], deletes: bool) -> None:
    made = run(stop_requested_at=ago(1), **facts)
    actions = planned(bot=bot(), run=made, pods=(pod(),))
    assert (DeletePod(pod()) in actions) is deletes
    said = only(SetStatus, actions)
    assert said.status is BotStatus.STOPPING
    assert (said.message is not None) is (facts["stop_reason"] == "hung")


@pytest.mark.parametrize(("wanted", "reason"), [(True, "superseded"), (False, "stopped")])
def test_an_obsolete_run_is_asked_to_stop(wanted: bool, reason: str) -> None:
    made = run(config_version=2, outdated=True)
    actions = planned(bot=bot(wanted=wanted), run=made, pods=(pod(),))
    assert actions == (
        RequestStop(5, reason),
        DeletePod(pod()),
        SetStatus(BotStatus.STOPPING, None, 0),
        Wait(NOW + timedelta(seconds=POLICY.grace_s + POLICY.stop_slack_s)),
    )


@pytest.mark.parametrize(("wanted", "reason"), [(True, "hung"), (False, "stopped")])
@pytest.mark.parametrize("pods", [(), (pod(),)])
def test_a_hung_run_is_asked_to_stop(wanted: bool, reason: str, pods: tuple[PodFacts, ...]) -> None:
    actions = planned(bot=bot(wanted=wanted), run=run(progress_at=ago(60)), pods=pods)
    assert actions == (
        RequestStop(5, reason),
        *(DeletePod(each) for each in pods),
        SetStatus(BotStatus.STOPPING, "no progress since 11:59:00Z; stopping it", 0),
        Wait(NOW + timedelta(seconds=POLICY.grace_s + POLICY.stop_slack_s)),
    )


@pytest.mark.parametrize(("phase", "last"), [("warms up", ", last: warms up"), (None, "")])
def test_a_start_that_is_too_slow_says_where_it_was(phase: str | None, last: str) -> None:
    made = run(live_at=None, created_at=ago(900), claimed_at=ago(700), phase=phase)
    said = only(SetStatus, planned(run=made))
    assert said.message == f"not live within 600 s of its claim{last}; stopping it"


def test_an_unwatched_run_says_since_when_it_is_silent() -> None:
    world = {"run": run(heartbeat_at=ago(60)), "observer": ObserverFacts(connected_since=LONG_AGO, suspicious=True)}
    actions = planned(pods=(pod(),), **world)
    assert actions == (
        SetStatus(BotStatus.RUNNING, "no heartbeat since 11:59:00Z", 0),
        Wait(NOW + timedelta(seconds=POLICY.heartbeat_interval_s)),
    )
    stopping = {**world, "run": run(heartbeat_at=ago(60), stop_requested_at=ago(60), stop_reason="stopped")}
    assert planned(pods=(pod(),), **stopping)[:2] == (DeletePod(pod()), SetStatus(BotStatus.STOPPING, None, 0))


def test_the_count_of_failures_falls_when_the_oldest_leaves_the_window() -> None:
    ends = tuple(end(ExitReason.FAILED, epoch=5 - n, seconds_ago=700 + 100 * n) for n in range(1, 4))
    actions = planned(run=run(), pods=(pod(),), ends=ends)
    assert SetStatus(BotStatus.RUNNING, None, 3) in actions
    assert only(Wait, actions).until == ends[-1].ended_at + timedelta(seconds=POLICY.give_up_window_s)
    assert planned(run=run(), pods=(pod(),)) == ()


@pytest.mark.parametrize(
    ("seen", "reason", "disruption", "explained"),
    [
        (None, ExitReason.RELEASED, "Evicted: memory", True),
        (ENDED_BY_SIGNAL, ExitReason.RELEASED, "Evicted: memory", True),
        ("its own word", ExitReason.RELEASED, "Evicted: memory", False),
        (None, ExitReason.FAILED, "Evicted: memory", False),
        (None, ExitReason.RELEASED, "", False),
    ],
)
def test_a_pods_disruption_explains_the_end_of_its_run(
    seen: str | None, reason: ExitReason, disruption: str, explained: bool
) -> None:
    ends = (end(reason, message=seen),)
    pods = (pod(epoch=4, uid="u4", disruption="Preempting"), pod(disruption=disruption))
    actions = planned(run=run(ended=True), pods=pods, ends=ends)
    found = [action for action in actions if isinstance(action, ExplainEnd)]
    assert [(each.epoch, each.seen) for each in found] == ([(5, seen)] if explained else [])
    assert all("evicted" in each.message for each in found)


@pytest.mark.parametrize(
    ("pods", "status"),
    [((), BotStatus.STOPPED), ((DEAD,), BotStatus.STOPPED), ((pod(),), BotStatus.STOPPING)],
)
@pytest.mark.parametrize("trouble", [None, "answers 500"])
def test_a_bot_that_is_off(pods: tuple[PodFacts, ...], status: BotStatus, trouble: str | None) -> None:
    actions = planned(bot=bot(wanted=False), run=run(ended=True, trouble=trouble), pods=pods)
    said = only(SetStatus, actions)
    assert (said.status, said.message) == (status, trouble if status is BotStatus.STOPPING else None)
    assert none(StartRun, actions)


def test_starts() -> None:
    assert planned() == (StartRun(1, 3),)
    assert planned(run=run(ended=True)) == (StartRun(6, 3),)
    assert planned(bot=bot(invalid="broken")) == (SetStatus(BotStatus.ERROR, "version 3 is invalid: broken", 0),)
    place = Place(words="second of 3", look_again_s=7)
    assert planned(place=place) == (SetStatus(BotStatus.STARTING, "second of 3", 0), Wait(NOW + timedelta(seconds=7)))


def test_a_start_that_is_due_begins_unless_somebody_gives_it_a_place() -> None:
    assert plan(bot(), None, (), now=NOW, observer=TRUSTED, policy=POLICY).actions == (StartRun(1, 3),)


@pytest.mark.parametrize(
    ("version", "message", "starts"),
    [(3, "unknown symbol", False), (3, None, False), (2, "unknown symbol", True)],
)
def test_a_config_that_the_bot_refused(version: int, message: str | None, starts: bool) -> None:
    ends = (end(ExitReason.CONFIG_ERROR, config_version=version, message=message, seconds_ago=4000),)
    actions = planned(run=run(ended=True), ends=ends)
    if starts:
        assert actions == (StartRun(6, 3),)
    else:
        said = only(SetStatus, actions)
        assert (said.status, said.message) == (
            BotStatus.ERROR,
            message or "the bot refused its config without saying why",
        )


@pytest.mark.parametrize(("seconds_ago", "starts"), [(1, False), (60, True)])
def test_a_start_that_is_due_waits_no_longer(seconds_ago: float, starts: bool) -> None:
    ends = (end(ExitReason.FAILED, live_at=None, seconds_ago=seconds_ago),)
    assert none(StartRun, planned(run=run(ended=True), ends=ends)) is not starts
    due = restart_at(7, 3, ends, policy=POLICY)
    assert due is not None
    assert planned(run=run(ended=True), ends=ends, now=due) == (StartRun(6, 3),)


def test_why_a_start_waits() -> None:
    once = (end(ExitReason.FAILED, exit_code=1, message="broke", live_at=None),)
    said, wait = planned(run=run(ended=True), ends=once)
    assert isinstance(said, SetStatus)
    assert isinstance(wait, Wait)
    assert said.message == f"starts again at {wait.until:%H:%M:%SZ}; last run: failed, exit code 1: broke"
    twice = (end(ExitReason.FAILED), end(ExitReason.FAILED, epoch=4, seconds_ago=30))
    said, wait = planned(run=run(ended=True), ends=twice)
    assert isinstance(said, SetStatus)
    assert isinstance(wait, Wait)
    assert said.message == f"starts again at {wait.until:%H:%M:%SZ} (failure 2 in a row); last run: failed"
    assert said.error_count == 2
    released = (end(ExitReason.RELEASED), end(ExitReason.RELEASED, epoch=4, seconds_ago=30))
    said, *_ = planned(run=run(ended=True), ends=released)
    assert isinstance(said, SetStatus)
    assert "in a row" not in (said.message or "")


def test_ends_that_come_too_often_are_told_once() -> None:
    def ends(count: int) -> tuple[Any, ...]:
        return tuple(end(ExitReason.RELEASED, epoch=50 - n, seconds_ago=1 + 30 * n) for n in range(count))

    for count, told in ((5, False), (6, True), (7, False)):
        actions = planned(run=run(epoch=50, ended=True), ends=ends(count))
        assert none(Notify, actions) is not told
    note = only(Notify, planned(run=run(epoch=50, ended=True), ends=ends(6)))
    assert (note.kind, note.title) == ("bot_error", "Ended again and again without a fault of its own")
    assert note.key == "quick_ends/7/3/50"
    assert note.body.startswith("6 runs in a row ended within 60 s of their start, last: released. It is started again")
    shown = only(SetStatus, planned(run=run(epoch=50, ended=True), ends=ends(6)))
    again = bot(status=shown.status, error_message=shown.message, error_count=shown.error_count)
    assert none(Notify, planned(bot=again, run=run(epoch=50, ended=True), ends=ends(6)))


@pytest.mark.parametrize("status", [BotStatus.RUNNING, BotStatus.DISABLED])
def test_a_bot_that_failed_too_often_is_given_up_and_told_of_once(status: BotStatus) -> None:
    ends = tuple(end(ExitReason.FAILED, epoch=9 - n, seconds_ago=1 + 30 * n) for n in range(6))
    actions = planned(bot=bot(status=status), run=run(epoch=9, ended=True), ends=ends)
    said = only(SetStatus, actions)
    assert (said.status, said.error_count) == (BotStatus.DISABLED, 6)
    assert said.message.startswith("failed 6 times within 30 minutes, last: failed. Change its config")
    if status is BotStatus.RUNNING:
        note = only(Notify, actions)
        assert (note.key, note.body) == ("bot_disabled/7/3", said.message)
        assert (note.kind, note.title) == ("bot_disabled", "Given up after too many failures")
    else:
        assert none(Notify, actions)


def test_what_is_shown_already_is_not_written_again() -> None:
    shown = bot(status=BotStatus.STOPPED, wanted=False)
    assert planned(bot=shown) == ()
    long = only(SetStatus, planned(bot=bot(invalid="x" * 3000)))
    assert len(long.message) == 2_000
