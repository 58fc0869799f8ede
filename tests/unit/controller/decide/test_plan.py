"""The planner's answers: named cases, every combination, and invariants over random facts."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
from controller.decide.condition import Condition, waits_for_node
from controller.decide.facts import BotFacts, ObserverFacts, PodFacts, PodPhase, RunEnd, RunFacts, StopReason
from controller.decide.restarts import restart_at
from fleet.ids import LARGEST_ID
from fleet.states import COUNTED_FAILURES, ENDED_BY_SIGNAL, BotStatus, ExitReason
from fleet.trading_service.adapt import text_for_people
from tests.unit.controller.make import NOW, POLICY, TRUSTED, World, ago, bot, end, pod, run, unclaimed

STARTING = BotStatus.STARTING
STOPPING = BotStatus.STOPPING


def kinds(plan: Plan) -> list[str]:
    return [type(action).__name__ for action in plan.actions]


def in_s(seconds: float) -> Wait:
    return Wait(NOW + timedelta(seconds=seconds))


PLACE = Place("waits to start: place 2 of 9", 12)
UNPLACED = pod(
    phase=PodPhase.PENDING, placed=False, waiting="Unschedulable: 0/1 nodes are available: 1 Insufficient cpu."
)

CASES = {
    "a new row starts its first run": (World(bot()), (StartRun(1, 3),)),
    "a healthy bot is at rest": (World(bot(), run(), (pod(),)), ()),
    "a healthy bot without a pod object is left alone": (World(bot(), run()), ()),
    "a committed run without a pod gets one": (
        World(bot(status=STARTING), unclaimed(pod_uid=None)),
        (CreatePod(5), in_s(119)),
    ),
    "an unclaimed pod has time": (World(bot(status=STARTING), unclaimed(), (pod(),)), (in_s(119),)),
    "an image that can't be pulled is shown at once": (
        World(bot(status=STARTING), unclaimed(), (pod(phase=PodPhase.PENDING, waiting="ErrImagePull: no such image"),)),
        (
            SetStatus(
                STARTING,
                "pod bot-7-x-e5 waits: ErrImagePull: no such image; check images.botrunner (BOTFLEET_BOT_IMAGE), "
                "its tag, and images.pullSecrets",
                0,
            ),
            in_s(119),
        ),
    ),
    "what the API server says about a create is shown": (
        World(bot(), unclaimed(pod_uid=None, trouble="the API server answers 401 Unauthorized")),
        (SetStatus(STARTING, "the API server answers 401 Unauthorized", 0), CreatePod(5), in_s(119)),
    ),
    "what the API server says about a delete is shown": (
        World(
            bot(wanted=False, status=STOPPING),
            run(stop_requested_at=ago(5), stop_reason="stopped", trouble="no answer"),
            (pod(deleting=True),),
        ),
        (SetStatus(STOPPING, "no answer", 0), in_s(30)),
    ),
    "a run whose pod could never be created says what kept it": (
        World(bot(status=STARTING), unclaimed(pod_uid=None, created_at=ago(120), trouble="webhook")),
        (FenceRun(5, ExitReason.NOT_CLAIMED, Guard.UNCLAIMED, "no pod could be created within 120 s: webhook"),),
    ),
    "a bot that ended well because its node evicted it says so": (
        World(
            bot(),
            run(ended=True),
            (pod(phase=PodPhase.TERMINATED, exit_code=0, disruption="Evicted: The node was low on memory."),),
            (end(ExitReason.RELEASED, message=ENDED_BY_SIGNAL),),
        ),
        (
            ExplainEnd(
                5,
                ENDED_BY_SIGNAL,
                "pod bot-7-x-e5 was evicted by its node: The node was low on memory; the bot starts again elsewhere by "
                "itself; if it comes back, request what bots really use (bots.resources)",
            ),
            DeletePod(pod(phase=PodPhase.TERMINATED, exit_code=0, disruption="Evicted: The node was low on memory.")),
            StartRun(6, 3),
        ),
    ),
    "a message that the bot left itself stays": (
        World(
            bot(),
            run(epoch=6, pod_uid="u6", claimed_by="u6/1"),
            (pod(gone=True, phase=PodPhase.TERMINATED, disruption="Evicted: low"),),
            (end(ExitReason.RELEASED, message="its own words"),),
        ),
        (),
    ),
    "an evicted bot that was killed did not fail": (
        World(bot(), run(), (pod(phase=PodPhase.TERMINATED, exit_code=137, disruption="NodeShutdown"),)),
        (
            EndRun(
                5,
                ExitReason.RELEASED,
                137,
                "pod bot-7-x-e5 was ended by the shutdown of its node; nothing to do: the bot starts again by itself",
            ),
        ),
    ),
    "an unclaimed run whose pod vanished is void": (
        World(bot(status=STARTING), unclaimed()),
        (
            FenceRun(
                5,
                ExitReason.NOT_CLAIMED,
                Guard.UNCLAIMED,
                "the pod vanished before it claimed its run: somebody deleted it; the bot starts again by itself",
            ),
        ),
    ),
    "a pod that never claims is given up at its deadline": (
        World(bot(status=STARTING), unclaimed(created_at=ago(120)), (pod(waiting="Unschedulable: no node"),)),
        (
            FenceRun(
                5,
                ExitReason.NOT_CLAIMED,
                Guard.UNCLAIMED,
                "the pod did not claim its run within 120 s: pod bot-7-x-e5 waits: Unschedulable: no node; add nodes, "
                "free some room, or lower bots.resources.requests and check bots.nodeSelector",
            ),
        ),
    ),
    "a reported death ends the run": (
        World(bot(), run(), (pod(phase=PodPhase.TERMINATED, exit_code=137, reason="Error"),)),
        (EndRun(5, ExitReason.FAILED, 137, "pod bot-7-x-e5 was killed by SIGKILL (exit code 137)"),),
    ),
    "the last report of a deleted pod counts": (
        World(bot(), run(), (pod(phase=PodPhase.TERMINATED, exit_code=0, gone=True, deleting=True),)),
        (EndRun(5, ExitReason.RELEASED, 0, None),),
    ),
    "a bot killed while somebody else deleted its pod did not fail": (
        World(bot(), run(), (pod(phase=PodPhase.TERMINATED, exit_code=137, deleting=True),)),
        (
            EndRun(
                5,
                ExitReason.RELEASED,
                137,
                "pod bot-7-x-e5 was deleted, did not end within its grace period and was killed",
            ),
        ),
    ),
    "an exit code 2 before it is live is a config error": (
        World(bot(), run(live_at=None), (pod(phase=PodPhase.TERMINATED, exit_code=2, message="no such market"),)),
        (EndRun(5, ExitReason.CONFIG_ERROR, 2, "pod bot-7-x-e5 ended with exit code 2: no such market"),),
    ),
    "an adopted process that is gone is dead": (
        World(bot(), run(), (pod(phase=PodPhase.TERMINATED),)),
        (EndRun(5, ExitReason.FAILED, None, "pod bot-7-x-e5 ended with exit code unknown"),),
    ),
    "a failed pod is no proof while heartbeats come": (
        World(bot(), run(), (pod(phase=PodPhase.FAILED, reason="Evicted"),)),
        (),
    ),
    "silence for T_dead is fenced": (
        World(bot(), run(heartbeat_at=ago(35)), (pod(),)),
        (
            FenceRun(
                5,
                ExitReason.FENCED_SILENT,
                Guard.SILENT,
                "no heartbeat since 11:59:25Z, for more than 35 s",
            ),
        ),
    ),
    "silence just short of T_dead is not": (World(bot(), run(heartbeat_at=ago(34.9)), (pod(),)), ()),
    "silence isn't believed soon after a reconnect": (
        World(bot(), run(heartbeat_at=ago(50)), (pod(),), observer=ObserverFacts(connected_since=ago(10))),
        (SetStatus(BotStatus.RUNNING, "no heartbeat since 11:59:10Z", 0), in_s(25)),
    ),
    "silence isn't believed while the observer is suspect": (
        World(
            bot(),
            run(heartbeat_at=ago(50)),
            (pod(),),
            observer=ObserverFacts(connected_since=ago(9999), suspicious=True),
        ),
        (SetStatus(BotStatus.RUNNING, "no heartbeat since 11:59:10Z", 0), in_s(5)),
    ),
    "a healthy bot says what it waits for": (
        World(bot(), run(waits_for="binance wants no request until 12:01:00Z"), (pod(),)),
        (SetStatus(BotStatus.RUNNING, "binance wants no request until 12:01:00Z", 0),),
    ),
    "so does one that isn't live yet": (
        World(bot(status=BotStatus.STARTING), run(live_at=None, waits_for="binance wants no request"), (pod(),)),
        (SetStatus(BotStatus.STARTING, "binance wants no request", 0), in_s(2), in_s(10)),
    ),
    "and no longer when it doesn't wait any more": (
        World(bot(error_message="binance wants no request until 11:59:59Z"), run(), (pod(),)),
        (SetStatus(BotStatus.RUNNING, None, 0),),
    ),
    "a silent bot's words are old": (
        World(
            bot(), run(heartbeat_at=ago(50), waits_for="x"), (pod(),), observer=ObserverFacts(connected_since=ago(10))
        ),
        (SetStatus(BotStatus.RUNNING, "no heartbeat since 11:59:10Z", 0), in_s(25)),
    ),
    "a silent bot is not hung: its last heartbeat reported progress": (
        World(bot(), run(heartbeat_at=ago(20), progress_at=ago(31)), (pod(),)),
        (),
    ),
    "a hung bot is asked and told to stop": (
        World(bot(), run(progress_at=ago(31)), (pod(),)),
        (
            RequestStop(5, StopReason.HUNG),
            DeletePod(pod()),
            SetStatus(STOPPING, "no progress since 11:59:29Z; stopping it", 0),
            in_s(35),
        ),
    ),
    "a hung bot that ignores its stop is fenced": (
        World(
            bot(status=STOPPING),
            run(progress_at=ago(70), stop_requested_at=ago(35), stop_reason="hung"),
            (pod(deleting=True),),
        ),
        (FenceRun(5, ExitReason.FENCED_HUNG, Guard.STOP_OVERDUE, "did not stop within 30 s"),),
    ),
    "a start without progress isn't hung": (
        World(
            bot(status=STARTING),
            run(claimed_at=ago(60), live_at=None, progress_at=ago(59), heartbeat_at=ago(2)),
            (pod(),),
        ),
        (in_s(540), in_s(10)),
    ),
    "a slow start says what it is at": (
        World(bot(status=STARTING), run(claimed_at=ago(60), live_at=None, phase="warms up"), (pod(),)),
        (SetStatus(STARTING, "starting since 11:59:00Z: warms up", 0), in_s(540), in_s(10)),
    ),
    "a start is hung once its own deadline is over": (
        World(
            bot(status=STARTING),
            run(created_at=ago(603), claimed_at=ago(600), live_at=None, phase="warms up"),
            (pod(),),
        ),
        (
            RequestStop(5, StopReason.HUNG),
            DeletePod(pod()),
            SetStatus(STOPPING, "not live within 600 s of its claim, last: warms up; stopping it", 0),
            in_s(35),
        ),
    ),
    "a start's deadline counts from the controller's contact": (
        World(
            bot(status=STARTING),
            run(created_at=ago(9003), claimed_at=ago(9000), live_at=None),
            (pod(),),
            observer=ObserverFacts(connected_since=ago(100)),
        ),
        (in_s(500), in_s(10)),
    ),
    "a start that waits for the exchange isn't hung, however long": (
        World(
            bot(status=STARTING),
            run(
                created_at=ago(9003),
                claimed_at=ago(9000),
                live_at=None,
                waited_at=ago(1),
                progress_at=ago(1),
                phase="waits for the exchange binance, asks again within 30 s: HTTP 418",
            ),
            (pod(),),
        ),
        (
            SetStatus(
                STARTING,
                "starting since 09:30:00Z: waits for the exchange binance, asks again within 30 s: HTTP 418",
                0,
            ),
            in_s(599),
            in_s(10),
        ),
    ),
    "after the exchange is back a start has its whole time": (
        World(
            bot(status=STARTING),
            run(created_at=ago(9003), claimed_at=ago(9000), live_at=None, waited_at=ago(100)),
            (pod(),),
        ),
        (in_s(500), in_s(10)),
    ),
    "a silent start is fenced like any run": (
        World(bot(status=STARTING), run(live_at=None, heartbeat_at=ago(35)), (pod(),)),
        (FenceRun(5, ExitReason.FENCED_SILENT, Guard.SILENT, "no heartbeat since 11:59:25Z, for more than 35 s"),),
    ),
    "a starting bot that is disabled is told to stop": (
        World(bot(wanted=False, status=STARTING), run(live_at=None), (pod(),)),
        (RequestStop(5, StopReason.STOPPED), DeletePod(pod()), SetStatus(STOPPING, None, 0), in_s(35)),
    ),
    "a pod that waits for a node waits in place": (
        World(bot(status=STARTING), unclaimed(created_at=ago(200)), (UNPLACED,)),
        (
            SetStatus(
                STARTING,
                "waits for a node for 3 min: Unschedulable: 0/1 nodes are available: 1 Insufficient cpu. It starts by "
                "itself when there is room: add a node, stop other bots, or lower what a bot requests "
                "(BOTFLEET_BOT_CPU_REQUEST, BOTFLEET_BOT_MEMORY_REQUEST)",
                0,
            ),
            in_s(10),
        ),
    ),
    "a pod that was just made says nothing yet": (
        World(bot(status=STARTING), unclaimed(), (replace(UNPLACED, waiting=""),)),
        (in_s(10),),
    ),
    "a pod's time to claim begins when it has a node": (
        World(bot(status=STARTING), unclaimed(created_at=ago(9000)), (pod(phase=PodPhase.PENDING, placed_at=ago(20)),)),
        (in_s(100),),
    ),
    "a pod that got its node by a clock that is ahead has its time from now": (
        World(
            bot(status=STARTING), unclaimed(created_at=ago(9000)), (pod(phase=PodPhase.PENDING, placed_at=ago(-50)),)
        ),
        (in_s(120),),
    ),
    "a disabled bot doesn't wait for a node": (
        World(bot(wanted=False, status=STARTING), unclaimed(created_at=ago(9000)), (UNPLACED,)),
        (FenceRun(5, ExitReason.STOPPED, Guard.UNCLAIMED, None),),
    ),
    "a bot that waits for its turn starts nothing and says so": (
        World(bot(status=BotStatus.STOPPED), place=PLACE),
        (SetStatus(STARTING, "waits to start: place 2 of 9", 0), in_s(12)),
    ),
    "the pod of an ended run goes while the next one waits for its turn": (
        World(
            bot(status=STARTING, error_message=PLACE.words, error_count=1),
            run(ended=True),
            (pod(),),
            (end(ExitReason.FAILED),),
            place=PLACE,
        ),
        (DeletePod(pod()), in_s(12)),
    ),
    "a disabled bot doesn't wait for its turn": (
        World(bot(wanted=False, status=STARTING, error_message=PLACE.words), place=PLACE),
        (SetStatus(BotStatus.STOPPED, None, 0),),
    ),
    "a broken config is named, whatever the place": (
        World(bot(status=STARTING, invalid="strategy: missing"), place=PLACE),
        (SetStatus(BotStatus.ERROR, "version 3 is invalid: strategy: missing", 0),),
    ),
    "a disabled bot is asked and told to stop": (
        World(bot(wanted=False), run(), (pod(),)),
        (RequestStop(5, StopReason.STOPPED), DeletePod(pod()), SetStatus(STOPPING, None, 0), in_s(35)),
    ),
    "a bot that waits until flat is only asked": (
        World(bot(wanted=False), run(waits_until_flat=True), (pod(),)),
        (RequestStop(5, StopReason.STOPPED), SetStatus(STOPPING, None, 0), in_s(35)),
    ),
    "a bot that waits until flat may take its time": (
        World(
            bot(wanted=False, status=STOPPING),
            run(waits_until_flat=True, stop_requested_at=ago(999), stop_reason="stopped"),
            (pod(),),
        ),
        (),
    ),
    "a stop whose SIGTERM got lost is repeated": (
        World(
            bot(wanted=False, status=STOPPING),
            run(stop_requested_at=ago(5), stop_reason="stopped"),
            (pod(),),
        ),
        (DeletePod(pod()), in_s(30)),
    ),
    "a killed bot that was asked to stop is stopped, not failed": (
        World(
            bot(wanted=False, status=STOPPING),
            run(stop_requested_at=ago(5), stop_reason="stopped"),
            (pod(phase=PodPhase.TERMINATED, exit_code=137, deleting=True),),
        ),
        (
            EndRun(
                5,
                ExitReason.STOPPED,
                137,
                "pod bot-7-x-e5 was deleted, did not end within its grace period and was killed",
            ),
        ),
    ),
    "a disabled bot's unclaimed run is void at once": (
        World(bot(wanted=False, status=STARTING), unclaimed(), (pod(),)),
        (FenceRun(5, ExitReason.STOPPED, Guard.UNCLAIMED, None),),
    ),
    "a stopped bot is at rest": (World(bot(wanted=False, status=BotStatus.STOPPED), run(ended=True)), ()),
    "a stopped bot's pod is still leaving": (
        World(bot(wanted=False, status=STOPPING), run(ended=True), (pod(deleting=True),)),
        (),
    ),
    "a new config supersedes the run": (
        World(bot(config_version=4), run(outdated=True), (pod(),)),
        (
            RequestStop(5, StopReason.SUPERSEDED),
            DeletePod(pod()),
            SetStatus(STOPPING, None, 0),
            in_s(35),
        ),
    ),
    "a new version that a running bot can take over is handed over": (
        World(bot(config_version=4), run(), (pod(),)),
        (AdoptConfig(5, 4),),
    ),
    "an invalid new version leaves the old one running": (
        World(bot(config_version=4, invalid="strategy: missing"), run(outdated=True), (pod(),)),
        (SetStatus(BotStatus.ERROR, "version 4 is invalid: strategy: missing; still running version 3", 0),),
    ),
    "an invalid config starts nothing": (
        World(bot(invalid="strategy: missing"), None),
        (SetStatus(BotStatus.ERROR, "version 3 is invalid: strategy: missing", 0),),
    ),
    "an invalid config doesn't keep a disabled bot": (
        World(bot(config_version=4, invalid="bad", wanted=False), run(), (pod(),)),
        (RequestStop(5, StopReason.STOPPED), DeletePod(pod()), SetStatus(STOPPING, None, 0), in_s(35)),
    ),
    "the pod of an ended run goes while the next one starts": (
        World(bot(), run(ended=True), (pod(),), (end(ExitReason.FAILED),)),
        (DeletePod(pod()), StartRun(6, 3)),
    ),
    "a config error waits for another version": (
        World(bot(), run(ended=True), (), (end(ExitReason.CONFIG_ERROR, message="no such market"),)),
        (SetStatus(BotStatus.ERROR, "no such market", 0),),
    ),
    "another version after a config error starts": (
        World(
            bot(config_version=4),
            run(ended=True),
            (),
            (end(ExitReason.CONFIG_ERROR, message="no such market"),),
        ),
        (StartRun(6, 4),),
    ),
    "pods without a row are deleted": (World(None, None, (pod(),)), (DeletePod(pod()),)),
    "a pod of an unknown epoch is deleted": (
        World(bot(), run(), (pod(), pod(epoch=9, uid="u9"))),
        (DeletePod(pod(epoch=9, uid="u9")),),
    ),
    "of two pods of one epoch the claimant stays": (
        World(bot(), run(pod_uid="a5"), (pod(uid="a5"), pod())),
        (DeletePod(pod(uid="a5")),),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_case(name: str) -> None:
    world, expected = CASES[name]
    assert world.plan().actions == expected


def test_a_hung_bot_recovers_as_released_when_it_obeys() -> None:
    asked = run(progress_at=ago(70), stop_requested_at=ago(5), stop_reason="hung")
    obeyed = World(bot(), asked, (pod(phase=PodPhase.TERMINATED, exit_code=0),))
    killed = World(bot(), asked, (pod(phase=PodPhase.TERMINATED, exit_code=137),))
    assert [action.reason for action in obeyed.plan().actions if isinstance(action, EndRun)] == [ExitReason.RELEASED]
    assert [action.reason for action in killed.plan().actions if isinstance(action, EndRun)] == [ExitReason.FENCED_HUNG]


@pytest.mark.parametrize(
    ("claimed_by", "pods", "condition"),
    [
        ("u5/1", [pod(phase=PodPhase.TERMINATED, exit_code=3), pod(uid="b5")], Condition.DEAD),
        ("b5/9", [pod(phase=PodPhase.TERMINATED, exit_code=1), pod(uid="b5")], Condition.ALIVE),
        ("b5/9", [pod(phase=PodPhase.TERMINATED, exit_code=1)], Condition.ALIVE),  # b5's object is gone, b5 isn't
        ("unnamed", [pod(phase=PodPhase.TERMINATED, exit_code=1)], Condition.DEAD),
        ("unnamed", [pod(phase=PodPhase.TERMINATED, exit_code=1), pod(uid="b5")], Condition.ALIVE),
        ("unnamed", [pod(phase=PodPhase.TERMINATED, exit_code=3)], Condition.ALIVE),
    ],
)
def test_only_the_claimants_end_is_a_proof(claimed_by: str, pods: list[PodFacts], condition: Condition) -> None:
    assert World(bot(), run(claimed_by=claimed_by), tuple(pods)).plan().condition is condition


def test_a_bot_that_gave_up_the_database_did_not_fail() -> None:
    ended = pod(phase=PodPhase.TERMINATED, exit_code=3)
    named = World(bot(), run(heartbeat_at=ago(600)), (ended,)).plan()
    unnamed = World(bot(), run(heartbeat_at=ago(600), claimed_by="?"), (ended,)).plan()
    assert [each.actions[0].reason for each in (named, unnamed)] == [ExitReason.GAVE_UP_DATABASE] * 2


@pytest.mark.parametrize(
    ("code", "reason", "words"),
    [
        (0, ExitReason.FAILED, "ended with exit code 0 without being asked to"),
        (2, ExitReason.FAILED, "ended with exit code 2 though it had accepted its config"),
        (3, ExitReason.FAILED, "ended with exit code 3 though nobody had fenced its run"),
        (143, ExitReason.FAILED, "(exit code 143)"),  # os._exit(143) is a failure like any other
        (1, ExitReason.FAILED, "ended with exit code 1"),
    ],
)
def test_no_exit_code_is_an_excuse_that_a_process_can_give_itself(code: int, reason: ExitReason, words: str) -> None:
    ended = pod(phase=PodPhase.TERMINATED, exit_code=code)
    (action,) = World(bot(), run(), (ended,)).plan().actions
    assert isinstance(action, EndRun)
    assert (action.reason, action.exit_code) == (reason, code)
    assert words in (action.message or "")
    # what others saw is one: somebody deleted the pod, or the controller asked
    if reason is ExitReason.FAILED:
        (drained,) = World(bot(), run(), (replace(ended, deleting=True),)).plan().actions
        asked = run(stop_requested_at=ago(5), stop_reason="stopped")
        (stopped,) = World(bot(wanted=False), asked, (ended,)).plan().actions
        assert [each.reason for each in (drained, stopped)] == [ExitReason.RELEASED, ExitReason.STOPPED]


def test_a_bot_that_leaves_unasked_at_every_start_is_given_up() -> None:
    ends: tuple[RunEnd, ...] = ()
    for epoch in range(1, POLICY.give_up_failures + 1):
        left = World(
            bot(),
            run(epoch=epoch, claimed_by="u/1"),
            (pod(uid="u", epoch=epoch, phase=PodPhase.TERMINATED, exit_code=0),),
        )
        (action,) = left.plan().actions
        assert isinstance(action, EndRun)
        ends = (end(action.reason, epoch=epoch, seconds_ago=100 - epoch, exit_code=0), *ends)
    over = World(bot(status=STARTING), run(epoch=len(ends), ended=True), (), ends).plan()
    assert kinds(over) == ["Notify", "SetStatus"]


def test_the_owner_of_a_bot_that_is_ended_again_and_again_is_told_once() -> None:
    ends = tuple(end(ExitReason.RELEASED, epoch=9 - n, seconds_ago=1 + 30 * n, exit_code=0) for n in range(6))
    world = World(bot(status=STARTING), run(epoch=9, ended=True), (), ends)
    first = world.plan()
    assert kinds(first) == ["Notify", "SetStatus", "Wait"]
    assert kinds(world.after(first.actions).plan()) == ["Wait"]
    assert "Notify" not in kinds(replace(world, ends=ends[:5]).plan())


def test_giving_up_is_told_once_and_stays() -> None:
    failures = tuple(
        end(ExitReason.FAILED, epoch=9 - index, seconds_ago=1 + 60 * index, exit_code=1) for index in range(6)
    )
    world = World(bot(status=STARTING), run(epoch=9, ended=True), (), failures)
    first = world.plan()
    assert kinds(first) == ["Notify", "SetStatus"]
    notice, status = first.actions
    assert isinstance(notice, Notify)
    assert notice.key == "bot_disabled/7/3"
    assert isinstance(status, SetStatus)
    assert (status.status, status.error_count) == (BotStatus.DISABLED, 6)
    assert "failed 6 times within 30 minutes, last: failed, exit code 1" in (status.message or "")
    later = replace(world.after(first.actions), now=NOW + timedelta(days=3))
    assert later.plan().actions == ()
    fewer = replace(world, ends=failures[:5])
    assert "Notify" not in kinds(fewer.plan())
    touched = replace(world, bot=bot(status=BotStatus.DISABLED, config_version=4))
    assert touched.plan().actions == (StartRun(10, 4),)


def given_up(*closing: ExitReason, **changes: object) -> World:
    """A bot that failed six times, and then as often as given while it was being closed out; the newest first."""
    closes = [
        end(reason, epoch=20 - n, seconds_ago=400 + n, exit_code=1, closes_out=True) for n, reason in enumerate(closing)
    ]
    failures = [end(ExitReason.FAILED, epoch=9 - n, seconds_ago=500 + 30 * n, exit_code=1) for n in range(6)]
    newest = [*closes, *failures]
    return World(bot(status=STARTING, **changes), run(epoch=newest[0].epoch, ended=True), (), tuple(newest))


def test_a_bot_given_up_with_a_position_that_must_be_closed_gets_a_run_for_that_at_once() -> None:
    world = given_up(must_close=True)
    assert world.plan().actions == (StartRun(10, 3, closes_out=True),)
    at_the_moment = replace(world, now=world.ends[0].ended_at)
    assert at_the_moment.plan().actions == (StartRun(10, 3, closes_out=True),)
    assert kinds(given_up().plan()) == ["Notify", "SetStatus"], "nothing is open, or it is to be held"


CLOSING_ENDS: list[tuple[str, tuple[ExitReason, ...], bool, bool]] = [
    ("it said that it is done", (ExitReason.GAVE_UP,), False, False),
    ("it said so and still holds: nothing more can be done", (ExitReason.GAVE_UP,), True, False),
    ("it was killed before it was done", (ExitReason.FAILED,), True, True),
    ("it was killed after it was done", (ExitReason.FAILED,), False, False),
    ("its node went away", (ExitReason.RELEASED,), True, True),
    ("its pod could not be made", (ExitReason.NOT_CLAIMED,), True, True),
    ("it failed twice", (ExitReason.FAILED,) * 2, True, True),
    ("it failed too often", (ExitReason.FAILED,) * 3, True, False),
    ("it failed too often, with others in between", (ExitReason.FAILED, ExitReason.RELEASED) * 3, True, False),
]


@pytest.mark.parametrize(
    ("reasons", "holding", "again"), [case[1:] for case in CLOSING_ENDS], ids=[case[0] for case in CLOSING_ENDS]
)
def test_what_follows_a_run_that_was_to_close_a_position(
    reasons: tuple[ExitReason, ...], holding: bool, again: bool
) -> None:
    actions = given_up(*reasons, must_close=holding).plan().actions
    if again:
        assert actions == (StartRun(21, 3, closes_out=True),)
    else:
        assert [type(action) for action in actions] == [Notify, SetStatus]
        assert isinstance(actions[1], SetStatus)
        assert actions[1].status is BotStatus.DISABLED


def test_only_the_first_attempt_to_close_a_position_does_not_wait() -> None:
    world = given_up(ExitReason.FAILED, must_close=True)
    just_ended = replace(world, now=world.ends[0].ended_at)
    start = restart_at(7, 3, world.ends, policy=POLICY)
    assert start is not None
    assert just_ended.plan().until == start
    assert not just_ended.plan().starts
    assert replace(world, now=start).plan().starts


def test_a_bot_that_gave_up_itself_is_not_started_again_until_its_row_changes() -> None:
    ends = (end(ExitReason.GAVE_UP, epoch=9, exit_code=1, message="it failed; its position was closed"),)
    world = World(bot(status=STARTING), run(epoch=9, ended=True), (), ends)
    notice, status = world.plan().actions
    assert isinstance(notice, Notify)
    assert isinstance(status, SetStatus)
    assert (status.status, status.error_count) == (BotStatus.DISABLED, 0)
    assert "its position was closed" in notice.body
    assert "failed 0 times" not in notice.body
    touched = replace(world, bot=bot(config_version=4, must_close=True))
    assert touched.plan().actions == (StartRun(10, 4),)


# -- every combination -------------------------------------------------------------------------------------

BOTS = [
    None,
    *(
        bot(wanted=wanted, invalid=invalid, config_version=version)
        for wanted, invalid, version in product((True, False), (None, "broken"), (3, 4))
    ),
]
STOPS = [
    {},
    {"stop_requested_at": ago(5), "stop_reason": "stopped"},
    {"stop_requested_at": ago(5), "stop_reason": "hung"},
    {"stop_requested_at": ago(60), "stop_reason": "superseded"},
]
RUNS: list[RunFacts | None] = [
    None,
    run(ended=True),
    *(unclaimed(pod_uid=uid, created_at=ago(age)) for uid, age in product((None, "u5"), (1, 200))),
    *(
        run(heartbeat_at=ago(beat), progress_at=ago(progress), outdated=outdated, waits_until_flat=patient, **stop)
        for beat, progress, outdated, patient, stop in product((1, 50), (2, 100), (False, True), (False, True), STOPS)
    ),
    *(
        run(created_at=ago(1000), claimed_at=ago(claimed), live_at=None, waited_at=waited, outdated=outdated, **stop)
        for claimed, waited, outdated, stop in product((5, 900), (None, ago(1)), (False, True), STOPS[:2])
    ),
]
ONE_POD = [
    *(pod(phase=phase, deleting=deleting) for phase, deleting in product(PodPhase, (False, True))),
    *(
        pod(phase=PodPhase.TERMINATED, exit_code=code, gone=gone)
        for code, gone in product((0, 1, 2, 3, None), (False, True))
    ),
    pod(gone=True, deleting=True),
    UNPLACED,
    replace(UNPLACED, deleting=True),
    *(pod(epoch=epoch, deleting=deleting) for epoch, deleting in product((4, 6), (False, True))),
]
PODS: list[tuple[PodFacts, ...]] = [
    (),
    *((each,) for each in ONE_POD),
    (pod(), pod(uid="second")),
    (pod(epoch=4, uid="old"), pod()),
    (pod(phase=PodPhase.TERMINATED, exit_code=3), pod(uid="second")),
]
HISTORIES: list[tuple[RunEnd, ...]] = [
    (),
    *((end(reason),) for reason in ExitReason),
    tuple(end(ExitReason.FAILED, epoch=5 - i, seconds_ago=1 + 9 * i) for i in range(2)),
    tuple(end(ExitReason.FAILED, epoch=50 - i, seconds_ago=1 + 9 * i) for i in range(6)),
]
OBSERVERS = [TRUSTED, ObserverFacts(connected_since=ago(3)), ObserverFacts(connected_since=ago(999), suspicious=True)]


def combinations() -> list[World]:
    worlds = [World(b, r, p) for b, r, p in product(BOTS[1:], RUNS, PODS)]
    silent = [r for r in RUNS if r is not None and r.beat_at == ago(50)]
    worlds += [World(b, r, (pod(),), (), NOW, o) for b, r, o in product(BOTS[1:], silent, OBSERVERS)]
    without_run = [r for r in RUNS if r is None or r.ended]
    worlds += [
        World(b, run(ended=True) if h else r, p, h) for b, r, p, h in product(BOTS[1:], without_run, PODS, HISTORIES)
    ]
    worlds += [replace(each, place=PLACE) for each in worlds[::7]]
    return worlds + [World(None, None, p) for p in PODS]


def current(world: World) -> RunFacts | None:
    return world.run if world.run is not None and not world.run.ended else None


def check_safe(world: World, plan: Plan) -> None:
    """What must hold for any plan whatsoever."""
    live = current(world)
    for action in plan.actions:
        match action:
            case StartRun(epoch, version):
                assert live is None
                assert world.place is None
                assert world.bot is not None
                assert world.bot.wanted
                assert world.bot.invalid is None
                assert epoch == (world.run.epoch + 1 if world.run else 1)
                assert version == world.bot.config_version
            case DeletePod(target):
                assert not target.gone
                assert not target.deleting
                if live is not None and target.epoch == live.epoch:
                    asked = live.stop_requested_at is not None or any(
                        isinstance(each, RequestStop) for each in plan.actions
                    )
                    twin = any(p.epoch == live.epoch and p != target for p in world.pods)
                    assert asked or twin
            case CreatePod(epoch):
                assert live is not None
                assert epoch == live.epoch
                assert not live.claimed
                assert not any(p.epoch == epoch for p in world.pods)
            case EndRun(epoch, _):
                assert live is not None
                assert epoch == live.epoch
                assert live.claimed
                assert any(p.epoch == epoch and p.phase is PodPhase.TERMINATED for p in world.pods)
            case FenceRun(epoch, reason, guard):
                assert live is not None
                assert epoch == live.epoch
                unplaced = [p for p in world.pods if p.epoch == epoch and waits_for_node(p)]
                if unplaced and len(world.pods) == 1 and live.stop_requested_at is None:
                    # what waits for a node is never given up, only no longer wanted
                    assert reason is not ExitReason.NOT_CLAIMED
                assert live.claimed == (guard is not Guard.UNCLAIMED)
                if guard is Guard.SILENT:
                    assert not world.observer.suspicious
                    assert world.now - live.beat_at >= timedelta(seconds=POLICY.t_dead_s)
                    assert world.now - world.observer.connected_since >= timedelta(seconds=POLICY.t_dead_s)
                if reason in COUNTED_FAILURES:
                    assert world.bot is not None
                    assert live.stop_reason not in ("stopped", "superseded")
            case RequestStop(epoch, reason):
                assert live is not None
                assert epoch == live.epoch
                assert live.claimed
                assert live.stop_requested_at is None
                if reason is StopReason.HUNG and live.live_at is None:
                    begun = max(m for m in (live.claimed_at, live.waited_at, world.observer.connected_since) if m)
                    assert world.now - begun >= timedelta(seconds=POLICY.start_deadline_s)
            case _:
                pass


def check_live(world: World, plan: Plan) -> None:
    """A plan acts, waits, or is at rest for a reason."""
    if any(not isinstance(action, SetStatus) for action in plan.actions):
        return
    live = current(world)
    owner = world.bot
    if owner is None:
        at_rest = True
    elif live is None:
        stuck = {BotStatus.ERROR, BotStatus.DISABLED}
        shown = next((a.status for a in plan.actions if isinstance(a, SetStatus)), owner.status)
        at_rest = not owner.wanted or shown in stuck
    else:
        patient = plan.condition is Condition.STOPPING and live.waits_until_flat
        at_rest = plan.condition is Condition.ALIVE or patient
    assert at_rest, (world, plan)


def check_settles(world: World) -> None:
    """Without time passing, as many rounds as one sync takes (MAX_STEPS) lead to rest, and each round is safe."""
    for _ in range(8):
        plan = world.plan()
        assert plan == world.plan()
        check_safe(world, plan)
        check_live(world, plan)
        if all(isinstance(action, Wait) for action in plan.actions):
            return
        world = world.after(plan.actions)
    raise AssertionError(f"does not settle: {world}")


def test_every_combination_is_safe_live_and_settles() -> None:
    worlds = combinations()
    assert len(worlds) > 15_000
    for world in worlds:
        check_settles(world)


moments = st.one_of(st.integers(0, 800), st.sampled_from([34, 35, 36, 119, 120, 121, 29, 30, 31, 599, 600])).map(ago)
pods = st.builds(
    PodFacts,
    bot_id=st.just(7),
    epoch=st.integers(0, 7),
    name=st.just("x"),
    uid=st.sampled_from(["u5", "a", "b", "c"]),
    phase=st.sampled_from(PodPhase),
    deleting=st.booleans(),
    gone=st.booleans(),
    exit_code=st.sampled_from([None, 0, 1, 2, 3, 137]),
    node_lost=st.booleans(),
    placed=st.booleans(),
    placed_at=st.none() | moments,
)


@st.composite
def runs(draw: st.DrawFn) -> RunFacts:
    created = draw(moments)
    claimed = draw(st.booleans())
    asked = draw(st.booleans())
    return RunFacts(
        epoch=5,
        config_version=draw(st.integers(1, 4)),
        created_at=created,
        ended=draw(st.booleans()),
        pod_uid=draw(st.sampled_from([None, "u5", "a"])),
        claimed_by=draw(st.sampled_from(["u5/1", "a/2", "unknown"])) if claimed else None,
        claimed_at=draw(moments) if claimed else None,
        live_at=draw(st.none() | moments) if claimed else None,
        heartbeat_at=draw(st.none() | moments) if claimed else None,
        progress_at=draw(st.none() | moments) if claimed else None,
        waited_at=draw(st.none() | moments) if claimed else None,
        phase=draw(st.none() | st.just("warms up")),
        stop_requested_at=draw(moments) if asked else None,
        stop_reason=draw(st.sampled_from(["stopped", "superseded", "hung", "other"])) if asked else None,
        outdated=draw(st.booleans()),
        waits_until_flat=draw(st.booleans()),
    )


@st.composite
def worlds(draw: st.DrawFn) -> World:
    owner: BotFacts = draw(
        st.builds(
            bot,
            wanted=st.booleans(),
            config_version=st.integers(3, 5),
            invalid=st.none() | st.just("broken"),
            status=st.sampled_from(BotStatus),
            error_message=st.none() | st.just("text"),
            error_count=st.integers(0, 3),
            must_close=st.booleans(),
        )
    )
    newest = draw(st.none() | runs())
    found = draw(st.lists(pods, max_size=4, unique_by=lambda each: each.uid))
    count = draw(st.integers(0, 8))
    first = newest.epoch if newest is not None and newest.ended else 4
    ends = tuple(
        end(
            draw(st.sampled_from(ExitReason)),
            epoch=first - index,
            seconds_ago=1 + 50 * index + draw(st.integers(0, 40)),
            lived_s=draw(st.sampled_from([0, 5, 59, 61, 700])),
            config_version=draw(st.integers(2, 4)),
            closes_out=draw(st.booleans()),
        )
        for index in range(count if newest is not None else 0)
    )
    if newest is not None and newest.ended and not ends:
        ends = (end(ExitReason.STOPPED, epoch=newest.epoch),)
    observer = ObserverFacts(connected_since=draw(moments), suspicious=draw(st.booleans()))
    return World(owner, newest, tuple(found), ends, NOW, observer, draw(st.none() | st.just(PLACE)))


@settings(max_examples=300, deadline=None)
@given(worlds())
def test_random_facts_are_safe_live_and_settle(world: World) -> None:
    check_settles(world)


@settings(max_examples=100, deadline=None)
@given(worlds(), st.randoms(use_true_random=False))
def test_the_order_of_pods_does_not_matter(world: World, shuffler: object) -> None:
    shuffled = list(world.pods)
    shuffler.shuffle(shuffled)
    expected, found = world.plan(), replace(world, pods=tuple(shuffled)).plan()
    assert found.condition is expected.condition
    assert sorted(map(repr, found.actions)) == sorted(map(repr, expected.actions))


no_ids = st.integers(max_value=0) | st.integers(min_value=LARGEST_ID + 1)


@given(no_ids, st.booleans())
def test_a_bot_that_no_pod_can_carry_starts_nothing_and_says_why(bot_id: int, wanted: bool) -> None:
    world = World(bot(bot_id=bot_id, wanted=wanted, status=BotStatus.STOPPED))
    actions = world.plan().actions
    assert all(isinstance(action, SetStatus) for action in actions)
    if wanted:
        assert [action.status for action in actions] == [BotStatus.ERROR]
        assert f"id {bot_id} can't be that of a bot" in (actions[0].message or "")
    assert world.after(actions).plan().actions == (), "at rest"


def test_the_last_epoch_is_the_last() -> None:
    ended = end(ExitReason.RELEASED, epoch=LARGEST_ID, seconds_ago=600)
    world = World(bot(), run(epoch=LARGEST_ID, ended=True), ends=(ended,))
    [action] = world.plan().actions
    assert isinstance(action, SetStatus)
    assert f"epoch {LARGEST_ID + 1} can't be that of a run" in (action.message or "")


@given(no_ids)
def test_a_run_that_no_pod_can_carry_is_ended_instead_of_created(bot_id: int) -> None:
    world = World(bot(bot_id=bot_id), unclaimed(pod_uid=None))
    [action] = world.plan().actions
    assert isinstance(action, FenceRun)
    assert action.guard is Guard.UNCLAIMED


def test_a_message_is_shown_as_the_row_keeps_it() -> None:
    """Else it would be written again at every look."""
    world = World(bot(invalid="\0 \x1b[31mred\x1b[0m " + "x" * 5_000), run=None)
    [action] = world.plan().actions
    assert isinstance(action, SetStatus)
    assert text_for_people(action.message) == action.message
    assert world.after((action,)).plan().actions == ()
