"""Many bots that start at once on few cores, with controllers that die: slots are kept, and everybody becomes live."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from controller.act.starts import Capacity
from fleet.states import BotStatus, ExitReason
from tests.simulation.invariants import Violation
from tests.simulation.times import START, TICK_S
from tests.simulation.world import World

LONGEST_S = 400


def crowd(seed: int, *, bots: int = 24, cores: float = 2.0, controllers: int = 1, first: int = 4) -> World:
    """Bots that all want to start now; each needs two seconds of a core. Some have open positions."""
    chance = random.Random(seed)
    numbers = range(1, bots + 1)
    world = World(
        seed,
        bots=bots,
        user_ids={number: chance.choice([1, 1, 1, 2, 3]) for number in numbers},
        holding=frozenset(chance.sample(numbers, bots // 4)),
        controllers=controllers,
        cores=cores,
        start_work_s=2.0,
    )
    world.chaos, world.pace = False, 600
    world.capacity = Capacity(first=first, target_s=2.5, where="here")
    return world


def all_live(world: World) -> bool:
    return all(bot.current is not None and bot.current.record.live_at is not None for bot in world.bots.values())


def run_until_live(world: World, disturb: object = None) -> None:
    while not all_live(world):
        if world.now > LONGEST_S:
            waiting = [bot.id for bot in world.bots.values() if not bot.current or not bot.current.record.live_at]
            raise Violation(f"seed {world.seed}: never live: {waiting}\n" + "\n".join(world.history[-40:]))
        if callable(disturb):
            disturb()
        world.tick()


def begun_at(world: World) -> list[tuple[float, int]]:
    """When each bot's first run was committed, in order."""
    pairs = [((bot.runs[0].record.created_at - START).total_seconds(), bot.id) for bot in world.bots.values()]
    return sorted(pairs)


@pytest.mark.parametrize("seed", range(10))
def test_everybody_becomes_live_and_nobody_is_fenced(seed: int) -> None:
    world = crowd(seed)
    world.limit = 4
    run_until_live(world)
    assert [len(bot.runs) for bot in world.bots.values()] == [1] * 24
    assert world.most_starting == 4
    # 24 times two seconds on two cores are 24 s, and a second or two until each claim; slots are never idle for long
    assert world.now < 50


@pytest.mark.parametrize("seed", range(10))
def test_open_positions_come_first(seed: int) -> None:
    world = crowd(seed)
    run_until_live(world)
    begun = begun_at(world)
    last = max(at_s for at_s, bot_id in begun if world.bots[bot_id].holding)
    early = [bot_id for at_s, bot_id in begun if at_s < last and not world.bots[bot_id].holding]
    assert not early, "bots without a position were started before all with one"


@pytest.mark.parametrize("seed", range(10))
def test_controllers_that_die_change_nothing(seed: int) -> None:
    world = crowd(seed, controllers=2)
    world.limit = 4

    def disturb() -> None:
        if world.chance.random() < 0.04:
            controller = world.chance.choice(world.controllers)
            world.note(f"{controller.name} killed")
            controller.boot()
        if world.chance.random() < 0.02:
            bot = world.chance.choice(list(world.bots.values()))
            world.edit(bot, enabled=not bot.enabled)
        if world.now > 60:
            for bot in world.bots.values():
                world.edit(bot, enabled=True)

    run_until_live(world, disturb)
    ends = [run.record.exit_reason for bot in world.bots.values() for run in bot.runs if not run.current]
    assert set(ends) <= {ExitReason.STOPPED, ExitReason.RELEASED, ExitReason.SUPERSEDED}


@pytest.mark.parametrize("seed", range(4))
def test_an_exchange_that_is_away_kills_no_start_and_takes_no_slot(seed: int) -> None:
    world = crowd(seed)
    world.exchange_back_at = 90.0
    world.go_on(89)
    # far beyond the start deadline: all have come as far as they can, though none is live
    assert all(bot.current is not None and bot.current.record.waited_at is not None for bot in world.bots.values())
    assert all(bot.status is BotStatus.STARTING for bot in world.bots.values())
    assert any("waits for the exchange" in (bot.message or "") for bot in world.bots.values())
    run_until_live(world)
    assert [len(bot.runs) for bot in world.bots.values()] == [1] * 24


@pytest.mark.parametrize("seed", range(4))
def test_a_large_machine_is_found_out(seed: int) -> None:
    world = crowd(seed, bots=100, cores=32.0)
    world.capacity = Capacity(first=4, target_s=15, where="here")
    run_until_live(world)
    assert world.now < 60  # four at a time would take 100 · (2 + about 2 until the claim) / 4 = 100 s
    assert [len(bot.runs) for bot in world.bots.values()] == [1] * 100


def test_who_waits_says_so_and_stops_at_once() -> None:
    world = crowd(1)
    world.go_on(8)
    waiting = [bot for bot in world.bots.values() if not bot.runs]
    assert len(waiting) > 10
    assert all(bot.status is BotStatus.STARTING for bot in waiting)
    assert all((bot.message or "").startswith("waits to start: place ") for bot in waiting)
    assert {bot.error_count for bot in waiting} == {0}
    assert not world.database.notifications
    world.edit(waiting[0], enabled=False)
    world.controllers[0].add(waiting[0].id)
    world.go_on(4 * TICK_S)
    assert (waiting[0].status, waiting[0].message, waiting[0].runs) == (BotStatus.STOPPED, None, [])
    world.bots.pop(waiting[0].id)
    run_until_live(world)


def test_a_start_that_hangs_frees_its_slot_by_its_deadline() -> None:
    world = crowd(3, bots=12)
    world.limit = 4
    stuck: list[int] = []

    def hang() -> None:
        for process in world.processes:
            if process.claimed and not process.live and len(stuck) < 4 and process.uid not in stuck:
                process.hung = True
                stuck.append(process.uid)

    run_until_live(world, hang)
    ends = [run.record for bot in world.bots.values() for run in bot.runs if not run.current]
    assert [end.exit_reason for end in ends] == [ExitReason.FENCED_HUNG] * 4
    assert all(end.ended_at - end.claimed_at >= timedelta(seconds=15) for end in ends)
