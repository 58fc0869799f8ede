"""Random schedules of faults: never two that may trade, no failure invented, and in the end what rows want."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import chain

import pytest
import structlog

from fleet.config import hot_fields
from fleet.states import BotStatus, ExitReason
from tests.simulation.world import POLICY, RECONNECT_S, TICK_S, Bot, Process, Violation, World, config, counted

CHAOS_S = 45
CALM_S = 75
"""Long enough for the longest backoff, the claim deadline and T_dead after one another."""

SCHEDULES = int(os.environ.get("BOTFLEET_SCHEDULES", "600"))
BATCHES = 12


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger("critical"), cache_logger_on_first_use=False
    )
    yield
    structlog.reset_defaults()


def disturb(world: World) -> None:
    """Perhaps one fault, of all kinds that the protocol must survive."""
    chance = world.chance
    if chance.random() > 0.35:
        return
    alive = [p for p in world.processes if p.alive and world.now >= p.starts_at]
    process = chance.choice(alive) if alive else None
    bot = chance.choice(list(world.bots.values()))
    controller = chance.choice(world.controllers)
    match chance.randrange(18):
        case 0 if process:
            process.faults.add("crashed")
            world.die(process, chance.choice([1, 137]), reported=True)
        case 1 if process:
            process.faults.add("crashed")
            world.die(process, 137, reported=False)
        case 2 if process:
            process.faults.add("stalled")
            process.stalled_until = world.now + chance.choice([1, 4, 10, 20])
            world.note(f"bot {process.bot_id} e{process.epoch} stalled until {process.stalled_until}")
        case 3 if process:
            process.faults.add("cut off")
            process.cut_off_until = world.now + chance.choice([1, 4, 10, 20])
            world.note(f"bot {process.bot_id} e{process.epoch} cut off until {process.cut_off_until}")
        case 4 if process and process.claimed:
            process.faults.add("hung")
            process.hung = True
            world.note(f"bot {process.bot_id} e{process.epoch} hung")
        case 5 if process:
            world.note(f"kubectl delete {process.uid}")
            world.delete_pod(process.uid)
        case 6 if process and process.uid in world.pods:
            # a lost node's object is removed by force, while the process goes on
            process.faults.add("unreported")
            world.note(f"force delete {process.uid}")
            world.drop(world.pods[process.uid])
        case 7:
            world.edit(bot, document=config(bot.id, cold=chance.randrange(3), hot=chance.randrange(3)))
        case 8:
            world.edit(bot, document={"nonsense": chance.randrange(3)})
        case 9:
            world.edit(bot, enabled=not bot.enabled)
        case 10:
            world.lose_database(chance.choice([0.5, 2, 4, 6, 12]))
        case 11:
            world.api_back_at = world.now + chance.choice([1, 4, 12])
            world.note(f"API server away until {world.api_back_at}")
        case 12:
            world.note(f"{controller.name} killed")
            controller.boot()
        case 13:
            controller.paused_until = world.now + chance.choice([2, 8, 15])
            world.note(f"{controller.name} stopped until {controller.paused_until}")
        case 14:
            bot.locked = not bot.locked
        case 15:
            world.make_read_only(chance.choice([1, 4, 12, 20]))
        case 16:
            world.lock_runs(chance.choice([1, 4, 12, 20]))
        case 17:
            world.lock_run(bot, chance.choice([1, 4, 12, 20]))


def run_schedule(seed: int, *, bots: int = 2) -> World:
    """One schedule of chaos and calm.

    Raises:
        Violation: with everything that happened.
    """
    world = World(seed, bots=bots)
    try:
        for _ in range(int(CHAOS_S / TICK_S)):
            disturb(world)
            world.tick()
        calm(world)
        for _ in range(int(CALM_S / TICK_S)):
            world.tick()
        judge(world)
    except Violation as error:
        story = "\n".join(world.history[-80:])
        raise Violation(f"seed {seed}: {error}\n{story}") from error
    return world


def calm(world: World) -> None:
    """No more faults: everything works from here on, and every config is valid."""
    world.note("calm")
    world.chaos = False
    world.database_back_at = world.api_back_at = world.writes_back_at = world.runs_unlocked_at = 0.0
    for process in world.processes:
        process.stalled_until = process.cut_off_until = 0.0
        process.reconnects_at = min(process.reconnects_at, world.now + 1)
    for pod in list(world.pods.values()):
        if "unreported" in pod.process.faults and not pod.process.alive:
            world.drop(pod)  # its node is removed from the cluster, and the object with it
    for bot in world.bots.values():
        bot.locked = False
        bot.run_locked_until = 0.0
        if "nonsense" in str(bot.config):
            world.edit(bot, document=config(bot.id, cold=9))
    for controller in world.controllers:
        controller.paused_until = 0.0


def judge(world: World) -> None:
    for bot in world.bots.values():
        judge_history(world, bot)
        judge_end(world, bot)


def judge_history(world: World, bot: Bot) -> None:
    """Every counted failure was a fault of that process."""
    processes = {p.token: p for p in world.processes}
    excuses = {
        ExitReason.FAILED: {"crashed"},
        ExitReason.FENCED_SILENT: {"crashed", "unreported", "stalled", "cut off"},
        ExitReason.FENCED_HUNG: {"hung", "stalled", "cut off"},
    }
    for run in counted(bot):
        record = run.record
        process: Process | None = processes.get(record.claimed_by or "")
        assert record.exit_reason is not None
        died_at = None if process is None else process.died_at
        lost = died_at is not None and record.fenced_at is not None and died_at < record.fenced_at
        if record.exit_reason is ExitReason.FENCED_SILENT and lost:
            continue  # it is dead, and its object was gone before a controller could read why
        if process is None or not process.faults & excuses[record.exit_reason]:
            raise Violation(f"bot {bot.id} e{record.epoch}: {record.exit_reason} was invented")
    epochs = [run.record.epoch for run in bot.runs]
    if epochs != list(range(1, len(epochs) + 1)):
        raise Violation(f"bot {bot.id} has epochs {epochs}")


def judge_end(world: World, bot: Bot) -> None:
    """What the row wants is the case, and nothing else."""
    pods = [pod for pod in world.pods.values() if pod.facts.bot_id == bot.id]
    current = bot.current
    if bot.status is BotStatus.DISABLED and world.wanted(bot):
        if len(counted(bot)) < POLICY.give_up_failures or current is not None or pods:
            raise Violation(f"bot {bot.id} was disabled without reason")
        return
    if not world.wanted(bot):
        if current is not None or pods or bot.status is not BotStatus.STOPPED:
            raise Violation(f"bot {bot.id} should be stopped: {bot.status} {current} {pods}")
        return
    if current is None or current.record.config_version != bot.version:
        raise Violation(f"bot {bot.id} should run version {bot.version}: {current}")
    trading = [p for p in world.processes if p.bot_id == bot.id and p.trading(world.now)]
    if [p.epoch for p in trading] != [current.record.epoch] or bot.status is not BotStatus.RUNNING:
        raise Violation(f"bot {bot.id} should trade: {bot.status} {bot.message} {current.record}")
    orphan = trading[0].uid not in world.pods
    if len(pods) != (0 if orphan else 1):
        raise Violation(f"bot {bot.id} has pods {pods}")
    if hot_fields(current.limits or current.config) != hot_fields(bot.config):
        raise Violation(f"bot {bot.id} runs with stale limits {current.limits}")


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
        go_on(world, seconds + 30)
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
            go_on(world, short_s + RECONNECT_S - TICK_S)
        go_on(world, 30)
        assert [len(bot.runs) for bot in world.bots.values()] == [1, 1, 1]
        judge(world)


@pytest.mark.parametrize("outage", OUTAGES)
def test_a_bot_that_died_meanwhile_is_still_found(outage: str) -> None:
    for seed in range(10):
        world = settled(seed)
        OUTAGES[outage](world, 20)
        victim = next(process for process in world.processes if process.bot_id == 2)
        world.die(victim, 137, reported=False)
        go_on(world, 20 + POLICY.t_dead_s + 2 + 2 * TICK_S)  # a look every second, and one for the start
        assert [len(bot.runs) for bot in world.bots.values()] == [1, 2, 1]
        assert world.bots[2].runs[0].record.exit_reason is ExitReason.FENCED_SILENT


def settled(seed: int) -> World:
    """Three bots that trade, and one controller."""
    world = World(seed, bots=3, controllers=1)
    world.chaos = False
    go_on(world, 20)
    return world


def go_on(world: World, seconds: float) -> None:
    for _ in range(int(seconds / TICK_S)):
        world.tick()


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
