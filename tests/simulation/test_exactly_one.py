"""Random schedules of faults: never two that may trade, no failure invented, and in the end what rows want."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import chain

import pytest

from fleet.states import ExitReason
from tests.simulation.faults import run_schedule
from tests.simulation.invariants import judge
from tests.simulation.times import POLICY, RECONNECT_S, TICK_S
from tests.simulation.world import World

SCHEDULES = int(os.environ.get("BOTFLEET_SCHEDULES", "600"))
BATCHES = 12


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_schedules(batch: int) -> None:
    size = SCHEDULES // BATCHES
    for seed in range(batch * size, (batch + 1) * size):
        run_schedule(seed)


OUTAGES: dict[str, Callable[[World, float], None]] = {
    "away": World.lose_database,
    "read-only": World.make_read_only,
    "table locked": World.lock_runs,
    "row locked": lambda world, seconds: world.lock_run(world.bots[2], seconds),
}


@pytest.mark.parametrize("outage", OUTAGES)
@pytest.mark.parametrize("seconds", [0.5, 3, POLICY.t_stop_s + 1, POLICY.t_dead_s - 1, POLICY.t_dead_s + 1, 60])
def test_no_fault_of_the_database_restarts_anybody(outage: str, seconds: float) -> None:
    for seed in range(10):
        world = settled(seed)
        OUTAGES[outage](world, seconds)
        world.go_on(seconds + 30)
        assert [len(bot.runs) for bot in world.bots.values()] == [1, 1, 1]
        judge(world)


@pytest.mark.parametrize("outage", OUTAGES)
def test_nor_do_two_short_ones_in_a_row(outage: str) -> None:
    """Each is shorter than the contact gap; the second begins before a bot had time to come back from the first."""
    short_s = POLICY.contact_gap_s - TICK_S
    for seed in range(10):
        world = settled(seed)
        for _ in range(4):
            OUTAGES[outage](world, short_s)
            world.go_on(short_s + RECONNECT_S - TICK_S)
        world.go_on(30)
        assert [len(bot.runs) for bot in world.bots.values()] == [1, 1, 1]
        judge(world)


@pytest.mark.parametrize("outage", OUTAGES)
def test_a_bot_that_died_meanwhile_is_still_found(outage: str) -> None:
    for seed in range(10):
        world = settled(seed)
        OUTAGES[outage](world, 20)
        victim = next(process for process in world.processes if process.bot_id == 2)
        victim.die(137, reported=False)
        world.go_on(20 + POLICY.t_dead_s + 2 + 2 * TICK_S)  # a look every second, and one for the start
        assert [len(bot.runs) for bot in world.bots.values()] == [1, 2, 1]
        assert world.bots[2].runs[0].record.exit_reason is ExitReason.FENCED_SILENT


def settled(seed: int) -> World:
    """Three bots that trade, and one controller."""
    world = World(seed, bots=3, controllers=1)
    world.chaos = False
    world.go_on(20)
    return world


def test_the_same_seed_is_the_same_story() -> None:
    assert run_schedule(3).history == run_schedule(3).history


def test_schedules_reach_every_end() -> None:
    """The chaos is worth something: all ways to end occur, and bots do get restarted."""
    worlds = [run_schedule(seed) for seed in range(10_000, 10_060)]
    runs = list(chain.from_iterable(bot.runs for world in worlds for bot in world.bots.values()))
    ends = {run.record.exit_reason for run in runs}
    assert ends >= {
        ExitReason.STOPPED,
        ExitReason.SUPERSEDED,
        ExitReason.RELEASED,
        ExitReason.FAILED,
        ExitReason.FENCED_SILENT,
        ExitReason.FENCED_HUNG,
        ExitReason.NOT_CLAIMED,
    }
    assert any("lost its lease" in line for world in worlds for line in world.history)
    assert len(runs) > 3 * len(worlds)
