"""What may go wrong in a schedule, and its end: everything that the protocol must survive."""

from __future__ import annotations

from tests.simulation.invariants import Violation, judge
from tests.simulation.times import TICK_S
from tests.simulation.world import World, config

CHAOS_S = 45
CALM_S = 75
"""Long enough for the longest backoff, the claim deadline and T_dead after one another."""


def run_schedule(seed: int, *, bots: int = 2, record: bool = False) -> World:
    """One schedule of chaos and calm.

    Raises:
        Violation: with everything that happened.
    """
    world = World(seed, bots=bots, holding=frozenset({1}) if seed % 3 == 0 else frozenset(), record=record)
    try:
        for _ in range(int(CHAOS_S / TICK_S)):
            disturb(world)
            world.tick()
        calm(world)
        world.go_on(CALM_S)
        judge(world)
    except Violation as error:
        story = "\n".join(world.history[-80:])
        raise Violation(f"seed {seed}: {error}\n{story}") from error
    return world


def disturb(world: World) -> None:
    """Perhaps one fault, of all kinds."""
    chance = world.chance
    if chance.random() > 0.35:
        return
    kinds = [_disturb_process, _disturb_controller_or_row, _disturb_database]
    chance.choices(kinds, weights=[7, 6, 5])[0](world)


def _disturb_process(world: World) -> None:
    chance = world.chance
    alive = [process for process in world.processes if process.alive and world.now >= process.starts_at]
    if not alive:
        return
    process = chance.choice(alive)
    name = f"bot {process.bot_id} e{process.epoch}"
    match chance.randrange(7):
        case 0:
            process.faults.add("crashed")
            process.die(chance.choice([1, 137]), reported=True)
        case 1:
            process.faults.add("crashed")
            process.die(137, reported=False)
        case 2:
            process.faults.add("stalled")
            process.stalled_until = world.now + chance.choice([1, 4, 10, 20])
            world.note(f"{name} stalled until {process.stalled_until}")
        case 3:
            process.faults.add("cut off")
            process.cut_off_until = world.now + chance.choice([1, 4, 10, 20])
            world.note(f"{name} cut off until {process.cut_off_until}")
        case 4 if process.claimed:
            process.faults.add("hung")
            process.hung = True
            world.note(f"{name} hung")
        case 5:
            world.note(f"kubectl delete {process.uid}")
            world.cluster.delete_pod(process.uid)
        case 6 if process.uid in world.cluster.pods:
            # a lost node's object is removed by force, while the process goes on
            process.faults.add("unreported")
            world.note(f"force delete {process.uid}")
            world.cluster.drop(world.cluster.pods[process.uid])


def _disturb_controller_or_row(world: World) -> None:
    chance = world.chance
    bot = chance.choice(list(world.bots.values()))
    controller = chance.choice(world.controllers)
    match chance.randrange(6):
        case 0:
            world.edit(bot, document=config(bot.id, cold=chance.randrange(3), hot=chance.randrange(3)))
        case 1:
            world.edit(bot, document={"nonsense": chance.randrange(3)})
        case 2:
            world.edit(bot, enabled=not bot.enabled)
        case 3:
            world.database.hold_bot(bot.id, not bot.held)
        case 4:
            world.note(f"{controller.name} killed")
            controller.boot()
        case 5:
            controller.paused_until = world.now + chance.choice([2, 8, 15])
            world.note(f"{controller.name} stopped until {controller.paused_until}")


def _disturb_database(world: World) -> None:
    chance = world.chance
    match chance.randrange(5):
        case 0:
            world.lose_database(chance.choice([0.5, 2, 4, 6, 12]))
        case 1:
            world.cluster.api_back_at = world.now + chance.choice([1, 4, 12])
            world.note(f"API server away until {world.cluster.api_back_at}")
        case 2:
            world.make_read_only(chance.choice([1, 4, 12, 20]))
        case 3:
            world.lock_runs(chance.choice([1, 4, 12, 20]))
        case 4:
            world.lock_run(chance.choice(list(world.bots.values())), chance.choice([1, 4, 12, 20]))


def calm(world: World) -> None:
    """No more faults: everything works from here on, and every config is valid."""
    world.note("calm")
    world.chaos = False
    world.end_outages()
    for process in world.processes:
        process.stalled_until = process.cut_off_until = 0.0
        process.reconnects_at = min(process.reconnects_at, world.now + 1)
    for pod in list(world.cluster.pods.values()):
        if "unreported" in pod.process.faults and not pod.process.alive:
            world.cluster.drop(pod)  # its node is removed from the cluster, and the object with it
    for bot in world.bots.values():
        if "nonsense" in str(bot.config):
            world.edit(bot, document=config(bot.id, cold=9))
    for controller in world.controllers:
        controller.paused_until = 0.0
