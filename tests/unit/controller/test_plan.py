"""The planner's answers: named cases, every combination, and invariants over random facts."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.classify import Condition
from controller.facts import BotFacts, Observer, PodFacts, PodPhase, RunEnd, RunFacts, StopReason
from controller.plan import (
    AdoptConfig,
    CreatePod,
    DeletePod,
    EndRun,
    FenceRun,
    Guard,
    Notify,
    Plan,
    RequestStop,
    SetStatus,
    StartRun,
    Wait,
)
from fleet.states import COUNTED_FAILURES, BotStatus, ExitReason
from tests.unit.controller.make import NOW, POLICY, TRUSTED, World, ago, bot, end, pod, run, unclaimed

STARTING = BotStatus.STARTING
STOPPING = BotStatus.STOPPING


def kinds(plan: Plan) -> list[str]:
    return [type(action).__name__ for action in plan.actions]


def in_s(seconds: float) -> Wait:
    return Wait(NOW + timedelta(seconds=seconds))


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
        (SetStatus(STARTING, "pod bot-7-x-e5 waits: ErrImagePull: no such image", 0), in_s(119)),
    ),
    "an unclaimed run whose pod vanished is void": (
        World(bot(status=STARTING), unclaimed()),
        (FenceRun(5, ExitReason.NOT_CLAIMED, Guard.UNCLAIMED, "the pod vanished before it claimed its run"),),
    ),
    "a pod that never claims is given up at its deadline": (
        World(bot(status=STARTING), unclaimed(created_at=ago(120)), (pod(waiting="Unschedulable: no node"),)),
        (
            FenceRun(
                5,
                ExitReason.NOT_CLAIMED,
                Guard.UNCLAIMED,
                "the pod did not claim its run within 120 s: Unschedulable: no node",
            ),
        ),
    ),
    "a reported death ends the run": (
        World(bot(), run(), (pod(phase=PodPhase.TERMINATED, exit_code=137, reason="OOMKilled"),)),
        (EndRun(5, ExitReason.FAILED, 137, "pod bot-7-x-e5 ended with exit code 137 (OOMKilled)"),),
    ),
    "the last report of a deleted pod counts": (
        World(bot(), run(), (pod(phase=PodPhase.TERMINATED, exit_code=0, gone=True, deleting=True),)),
        (EndRun(5, ExitReason.RELEASED, 0, None),),
    ),
    "a bot killed while somebody else deleted its pod did not fail": (
        World(bot(), run(), (pod(phase=PodPhase.TERMINATED, exit_code=137, deleting=True),)),
        (EndRun(5, ExitReason.RELEASED, 137, "pod bot-7-x-e5 ended with exit code 137"),),
    ),
    "an exit code 2 is a config error": (
        World(bot(), run(), (pod(phase=PodPhase.TERMINATED, exit_code=2, message="no such market"),)),
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
        World(bot(), run(heartbeat_at=ago(50)), (pod(),), observer=Observer(connected_since=ago(10))),
        (SetStatus(BotStatus.RUNNING, "no heartbeat since 11:59:10Z", 0), in_s(25)),
    ),
    "silence isn't believed while the observer is suspect": (
        World(
            bot(),
            run(heartbeat_at=ago(50)),
            (pod(),),
            observer=Observer(connected_since=ago(9999), suspicious=True),
        ),
        (SetStatus(BotStatus.RUNNING, "no heartbeat since 11:59:10Z", 0), in_s(5)),
    ),
    "a healthy bot says what it waits for": (
        World(bot(), run(note="binance wants no request until 12:01:00Z"), (pod(),)),
        (SetStatus(BotStatus.RUNNING, "binance wants no request until 12:01:00Z", 0),),
    ),
    "so does one that isn't live yet": (
        World(bot(status=BotStatus.STARTING), run(live_at=None, note="binance wants no request"), (pod(),)),
        (SetStatus(BotStatus.STARTING, "binance wants no request", 0),),
    ),
    "and no longer when it doesn't wait any more": (
        World(bot(error_message="binance wants no request until 11:59:59Z"), run(), (pod(),)),
        (SetStatus(BotStatus.RUNNING, None, 0),),
    ),
    "a silent bot's words are old": (
        World(bot(), run(heartbeat_at=ago(50), note="x"), (pod(),), observer=Observer(connected_since=ago(10))),
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
        (FenceRun(5, ExitReason.FENCED_HUNG, Guard.DEAF, "did not stop within 30 s"),),
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
        (EndRun(5, ExitReason.STOPPED, 137, "pod bot-7-x-e5 ended with exit code 137"),),
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
    at_once = World(bot(), run(), (ended,)).plan()
    assert [each.actions[0].reason for each in (named, unnamed, at_once)] == [
        ExitReason.GAVE_UP_DATABASE,
        ExitReason.GAVE_UP_DATABASE,
        ExitReason.RELEASED,
    ]


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
]
ONE_POD = [
    *(pod(phase=phase, deleting=deleting) for phase, deleting in product(PodPhase, (False, True))),
    *(
        pod(phase=PodPhase.TERMINATED, exit_code=code, gone=gone)
        for code, gone in product((0, 1, 2, 3, None), (False, True))
    ),
    pod(gone=True, deleting=True),
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
OBSERVERS = [TRUSTED, Observer(connected_since=ago(3)), Observer(connected_since=ago(999), suspicious=True)]


def combinations() -> list[World]:
    worlds = [World(b, r, p) for b, r, p in product(BOTS[1:], RUNS, PODS)]
    silent = [r for r in RUNS if r is not None and r.beat_at == ago(50)]
    worlds += [World(b, r, (pod(),), (), NOW, o) for b, r, o in product(BOTS[1:], silent, OBSERVERS)]
    without_run = [r for r in RUNS if r is None or r.ended]
    worlds += [
        World(b, run(ended=True) if h else r, p, h) for b, r, p, h in product(BOTS[1:], without_run, PODS, HISTORIES)
    ]
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
                assert live.claimed == (guard is not Guard.UNCLAIMED)
                if guard is Guard.SILENT:
                    assert not world.observer.suspicious
                    assert world.now - live.beat_at >= timedelta(seconds=POLICY.t_dead_s)
                    assert world.now - world.observer.connected_since >= timedelta(seconds=POLICY.t_dead_s)
                if reason in COUNTED_FAILURES:
                    assert world.bot is not None
                    assert live.stop_reason not in ("stopped", "superseded")
            case RequestStop(epoch, _):
                assert live is not None
                assert epoch == live.epoch
                assert live.claimed
                assert live.stop_requested_at is None
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
    """Without time passing, a few rounds of acting lead to rest, and each round is safe."""
    for _ in range(6):
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


moments = st.one_of(st.integers(0, 200), st.sampled_from([34, 35, 36, 119, 120, 121, 29, 30, 31])).map(ago)
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
        )
        for index in range(count if newest is not None else 0)
    )
    if newest is not None and newest.ended and not ends:
        ends = (end(ExitReason.STOPPED, epoch=newest.epoch),)
    observer = Observer(connected_since=draw(moments), suspicious=draw(st.booleans()))
    return World(owner, newest, tuple(found), ends, NOW, observer)


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
