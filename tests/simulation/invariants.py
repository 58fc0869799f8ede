"""What must hold in the simulated world.

At every step:

- no two processes of a bot may trade at once;
- no more starts than were admitted are under way, where a test sets a limit.

At every change that ends a run:

- a run that is recorded as dead has no process that lives;
- nobody is fenced as silent for the database's fault: a sound process had a fault of its own within T_stop.

At the end of a schedule, after a time of calm:

- every failure that was counted against a bot was a fault of that process;
- epochs are 1, 2, 3, ..., none left out;
- each bot is what its row wants: stopped without a pod, or trading in one process with the newest version, its limits
  and one pod (none, where the pod was deleted by force); or disabled, after as many failures as that takes.

`Violation` names the bot; test_invariants.py breaks the world once for each of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleet.config import hot_fields
from fleet.states import COUNTED_FAILURES, BotStatus, ExitReason
from tests.simulation.times import POLICY

if TYPE_CHECKING:
    from fleet.trading_service.bots import RunRecord
    from tests.simulation.bot_process import BotProcess
    from tests.simulation.database import Bot, Run
    from tests.simulation.world import World


class Violation(AssertionError):
    """An invariant broke."""


# -- at every step ---------------------------------------------------------------------------------------------------


def check(world: World) -> None:
    """See the first list."""
    trading: dict[int, BotProcess] = {}
    for process in world.processes:
        if process.may_trade and (other := trading.setdefault(process.bot_id, process)) is not process:
            raise Violation(f"bot {process.bot_id}: epochs {other.epoch} and {process.epoch} may trade at once")
    if world.limit:
        _check_starts(world, world.limit)


def _check_starts(world: World, limit: int) -> None:
    """Those that wait for the exchange don't count."""
    begun = [bot.current.record for bot in world.bots.values() if bot.current]
    starting = sum(record.live_at is None and record.waited_at is None for record in begun)
    world.most_starting = max(world.most_starting, starting)
    if starting > limit:
        raise Violation(f"{starting} starts at once, admitted were {limit}")


# -- at every end of a run -------------------------------------------------------------------------------------------


def judge_death(world: World, bot_id: int, run: RunRecord) -> None:
    """The run was recorded as dead."""
    if any(process.alive and process.token == run.claimed_by for process in world.processes):
        raise Violation(f"bot {bot_id} e{run.epoch} was declared dead while it lives")


def judge_fence(world: World, bot_id: int, run: RunRecord) -> None:
    """The run was fenced."""
    if run.exit_reason is not ExitReason.FENCED_SILENT:
        return
    for process in world.processes:
        sound = process.alive and not process.hung and world.now - process.fault_at > POLICY.t_stop_s
        if sound and process.token == run.claimed_by:
            raise Violation(f"bot {bot_id} e{run.epoch} was fenced for the database's fault")


# -- at the end of a schedule ----------------------------------------------------------------------------------------


def judge(world: World) -> None:
    """See the last list."""
    for bot in world.bots.values():
        _judge_failures(world, bot)
        _judge_epochs(bot)
        _judge_end(world, bot)


_EXCUSES = {
    ExitReason.FAILED: {"crashed"},
    ExitReason.FENCED_SILENT: {"crashed", "unreported", "stalled", "cut off"},
    ExitReason.FENCED_HUNG: {"hung", "stalled", "cut off"},
}
"""What must have been done to a process whose end is counted as its failure."""


def counted(bot: Bot) -> list[Run]:
    """Runs whose ends were counted as the bot's failures."""
    return [run for run in bot.runs if run.record.exit_reason in COUNTED_FAILURES]


def _judge_failures(world: World, bot: Bot) -> None:
    processes = {process.token: process for process in world.processes}
    for run in counted(bot):
        record = run.record
        process = processes.get(record.claimed_by or "")
        assert record.exit_reason is not None
        died_at = None if process is None else process.died_at
        lost = died_at is not None and record.fenced_at is not None and died_at < record.fenced_at
        if record.exit_reason is ExitReason.FENCED_SILENT and lost:
            continue  # it is dead, and its object was gone before a controller could read why
        if process is None or not process.faults & _EXCUSES.get(record.exit_reason, set()):
            raise Violation(f"bot {bot.id} e{record.epoch}: {record.exit_reason} was invented")


def _judge_epochs(bot: Bot) -> None:
    epochs = [run.record.epoch for run in bot.runs]
    if epochs != list(range(1, len(epochs) + 1)):
        raise Violation(f"bot {bot.id} has epochs {epochs}")


def _judge_end(world: World, bot: Bot) -> None:
    pods = world.cluster.pods_of(bot.id)
    current = bot.current
    if bot.status is BotStatus.DISABLED and bot.wanted:
        if len(counted(bot)) < POLICY.give_up_failures or current is not None or pods:
            raise Violation(f"bot {bot.id} was disabled without reason")
        return
    if not bot.wanted:
        if current is not None or pods or bot.status is not BotStatus.STOPPED:
            raise Violation(f"bot {bot.id} should be stopped: {bot.status} {current} {pods}")
        return
    if current is None or current.record.config_version != bot.version:
        raise Violation(f"bot {bot.id} should run version {bot.version}: {current}")
    trading = [process for process in world.processes if process.bot_id == bot.id and process.may_trade]
    if [process.epoch for process in trading] != [current.record.epoch] or bot.status is not BotStatus.RUNNING:
        raise Violation(f"bot {bot.id} should trade: {bot.status} {bot.message} {current.record}")
    orphan = trading[0].uid not in world.cluster.pods
    if len(pods) != (0 if orphan else 1):
        raise Violation(f"bot {bot.id} has pods {pods}")
    if hot_fields(current.limits or current.config) != hot_fields(bot.config):
        raise Violation(f"bot {bot.id} runs with stale limits {current.limits}")
