"""Each invariant can fail: the world is broken once for each, and says which."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from controller.act.starts import Capacity
from controller.decide.podspec import PodRequest
from controller.observe.observer import Contact
from fleet.states import BotStatus, ExitReason
from tests.simulation.guards import GUARDS
from tests.simulation.invariants import Violation, judge
from tests.simulation.times import POLICY, START
from tests.simulation.world import World, config


def test_two_that_may_trade(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fenced bot that nobody can kill, its object having been removed by force, beats again and is answered."""
    monkeypatch.delitem(GUARDS["heartbeat"], "not ended")
    world = settled()
    lost = world.processes[0]
    world.cluster.drop(world.cluster.pods[lost.uid])
    lost.cut_off_until = world.now + POLICY.t_dead_s + 12
    with pytest.raises(Violation, match="may trade at once"):
        world.go_on(60)


def test_more_starts_than_admitted() -> None:
    world = World(0, bots=8, controllers=1, cores=1, start_work_s=2)
    world.chaos, world.capacity, world.limit = False, Capacity(first=4, target_s=5, where="here"), 3
    with pytest.raises(Violation, match="4 starts at once, admitted were 3"):
        world.go_on(20)


def test_a_death_that_is_none() -> None:
    """The kubelet reports an end that hasn't happened."""
    world = settled()
    world.cluster.report_end(world.processes[0].uid, 1)
    with pytest.raises(Violation, match="declared dead while it lives"):
        world.go_on(5)


def test_a_fence_for_the_databases_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """The controller takes it that heartbeats could always be written."""

    def always(_: Contact, now: datetime) -> datetime:
        return START

    monkeypatch.setattr(Contact, "since", always)
    world = settled()
    world.lose_database(20)
    with pytest.raises(Violation, match="fenced for the database's fault"):
        world.go_on(30)


def settled() -> World:
    """Three bots that trade, and one controller."""
    world = World(1, bots=3, controllers=1)
    world.chaos = False
    world.go_on(20)
    judge(world)
    return world


def _end(world: World, reason: ExitReason) -> None:
    world.bots[1].runs[0].set(exit_reason=reason, ended_at=world.clock)


def _second_pod(world: World) -> None:
    world.cluster.create_pod(
        PodRequest(bot_id=1, epoch=1, name="other", user_id=1, config_version=1, mode="paper", holding=False)
    )


def _hot_limits(world: World) -> None:
    world.bots[1].config = config(1, hot=3)


DAMAGE: dict[str, Callable[[World], Any]] = {
    "e1: failed was invented": lambda world: _end(world, ExitReason.FAILED),
    "e1: fenced_silent was invented": lambda world: _end(world, ExitReason.FENCED_SILENT),
    r"has epochs \[2\]": lambda world: world.bots[1].runs[0].set(epoch=2),
    "was disabled without reason": lambda world: setattr(world.bots[1], "status", BotStatus.DISABLED),
    "should be stopped": lambda world: setattr(world.bots[1], "enabled", False),
    "should run version 2": lambda world: setattr(world.bots[1], "version", 2),
    "should trade: running": lambda world: setattr(world.processes[0], "told_to_stop", True),
    "should trade: error": lambda world: setattr(world.bots[1], "status", BotStatus.ERROR),
    "has pods": _second_pod,
    "stale limits": _hot_limits,
}


@pytest.mark.parametrize("words", DAMAGE)
def test_an_end_that_is_none(words: str) -> None:
    world = settled()
    world.processes.sort(key=lambda process: process.bot_id)
    DAMAGE[words](world)
    with pytest.raises(Violation, match=f"bot 1 .*{words}|bot 1 {words}"):
        judge(world)


def test_a_bot_whose_pod_was_deleted_by_force_is_as_its_row_wants() -> None:
    world = settled()
    world.cluster.drop(world.cluster.pods_of(1)[0])
    judge(world)
