"""A deterministic world: database, cluster, bots and controllers on one simulated clock.

The controllers run the real StrategyManager, planner and PodStore (controller_process.py). Their coroutines are driven
by hand, one await at a time, in an order that the seed decides, so every interleaving of two controllers, their
database and their cluster can happen, and happens again with the same seed. What can go wrong is in faults.py, what
must hold in invariants.py.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from tests.simulation import invariants
from tests.simulation.bot_process import BotProcess
from tests.simulation.cluster import Cluster
from tests.simulation.controller_process import ControllerProcess
from tests.simulation.database import Bot, Database
from tests.simulation.times import CAPACITY, START, TICK_S


class World:
    """Everything, and the clock.

    Args:
        seed: of all chance.
        bots: their number; user_ids: their owners where they aren't user 1; holding: those with an open position.
        controllers: their number.
        cores: shared by all bots that start, each of which needs `start_work_s` of one.
        record: keep the calls of the database.

    Attributes:
        chaos: whether answers get lost, watches are late and pods slow.
        pace: a controller takes fewer steps than this in a tick; few, so that much happens between two of them.
        limit: set by a test: no more starts than this may be under way at any moment.
        most_starting: the most that were, once there is a limit.
    """

    def __init__(
        self,
        seed: int,
        *,
        bots: int = 2,
        user_ids: Mapping[int, int] | None = None,
        holding: frozenset[int] = frozenset(),
        controllers: int = 2,
        cores: float = 1000.0,
        start_work_s: float = 0.4,
        record: bool = False,
    ) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.cores, self.start_work_s = cores, start_work_s
        self.now = 0.0
        self.chaos = True
        self.pace = 12
        self.capacity = CAPACITY
        self.limit: int | None = None
        self.most_starting = 0
        self.database_back_at = self.exchange_back_at = 0.0
        self._let_go_at: dict[str | int, float] = {}
        self.history: list[str] = []
        self.database = Database(lambda: self.clock, record=record)
        for number in range(1, bots + 1):
            user_id = (user_ids or {}).get(number, 1)
            self.database.insert_bot(number, config(number), user_id=user_id, holding=number in holding)
        self.cluster = Cluster(self)
        self.controllers = [ControllerProcess(self, f"c{number}") for number in range(controllers)]

    @property
    def clock(self) -> datetime:
        return START + timedelta(seconds=self.now)

    @property
    def bots(self) -> dict[int, Bot]:
        return self.database.bots

    @property
    def processes(self) -> list[BotProcess]:
        return self.cluster.processes

    @property
    def database_up(self) -> bool:
        return self.now >= self.database_back_at

    @property
    def exchange_up(self) -> bool:
        return self.now >= self.exchange_back_at

    def note(self, text: str) -> None:
        self.history.append(f"{self.now:7.1f} {text}")

    def go_on(self, seconds: float) -> None:
        for _ in range(int(seconds / TICK_S)):
            self.tick()

    def tick(self) -> None:
        """Half a second: processes live, events arrive, controllers work; the invariants are checked after each."""
        self.now += TICK_S
        self._let_go()
        self._compute()
        for process in list(self.processes):
            process.step()
            invariants.check(self)
        for controller in self.chance.sample(self.controllers, len(self.controllers)):
            controller.work()

    def _compute(self) -> None:
        """Half a second of CPU, shared by all that start."""
        busy = [process for process in self.processes if process.computes]
        for process in busy:
            process.work_left_s -= TICK_S * min(1.0, self.cores / len(busy))

    # -- what people do ----------------------------------------------------------------------------------------

    def edit(self, bot: Bot, *, document: object | None = None, enabled: bool | None = None) -> None:
        """Change desired columns, unless somebody holds the row; the notification may get lost."""
        if bot.held:
            return
        before = bot.version
        self.database.edit_bot(
            bot.id,
            config=bot.config if document is None else document,
            enabled=bot.enabled if enabled is None else enabled,
        )
        if bot.version != before:
            self.note(f"bot {bot.id} edited: v{bot.version} enabled={bot.enabled}")
            self.tell(bot.id)

    def tell(self, bot_id: int) -> None:
        """NOTIFY, which may get lost."""
        for controller in self.controllers:
            if self.chance.random() < 0.8:
                controller.add(bot_id)

    # -- outages of the database -------------------------------------------------------------------------------

    def lose_database(self, seconds: float) -> None:
        """An outage."""
        self.database_back_at = max(self.database_back_at, self.now + seconds)
        self.note(f"database away until {self.database_back_at}")

    def make_read_only(self, seconds: float) -> None:
        """A failover's replica, a full disk, an administrator: reads succeed, no write does."""
        self.database.set_read_only(True)
        self._hold("database read-only", seconds)

    def lock_runs(self, seconds: float) -> None:
        """LOCK TABLE trading_runs: the controller's own lease, in another table, goes on."""
        self.database.lock_runs(True)
        self._hold("trading_runs locked", seconds)

    def lock_run(self, bot: Bot, seconds: float) -> None:
        """SELECT ... FOR UPDATE of one run."""
        if bot.current is None:
            return
        if bot.held_epoch is None:
            self.database.hold_run(bot.id, bot.current.record.epoch)
        self._hold(bot.id, seconds)

    def _hold(self, what: str | int, seconds: float) -> None:
        self._let_go_at[what] = max(self._let_go_at.get(what, 0.0), self.now + seconds)
        self.note(f"{what} until {self._let_go_at[what]}")

    def _let_go(self) -> None:
        over = [what for what, at in self._let_go_at.items() if self.now >= at]
        for what in over:
            del self._let_go_at[what]
            match what:
                case "database read-only":
                    self.database.set_read_only(False)
                case "trading_runs locked":
                    self.database.lock_runs(False)
                case int():
                    self.database.hold_run(what, None)

    def end_outages(self) -> None:
        """Whoever holds something lets go of it, and everything answers."""
        self._let_go_at = dict.fromkeys(self._let_go_at, 0.0)
        self._let_go()
        self.database_back_at = self.cluster.api_back_at = 0.0
        for bot in self.bots.values():
            if bot.held:
                self.database.hold_bot(bot.id, False)


def config(number: int, *, cold: int = 0, hot: int = 0) -> dict[str, Any]:
    """A valid config with something cold and something hot in it."""
    mixin = {"name": "RSIBBVolumeEntryMixin", "params": {}}
    return {
        "symbol": "BTCUSDT",
        "description": f"{number}/{cold}",
        "strategy": {
            "type": "CustomStrategy",
            "parameters": {"entry_logic": mixin, "exit_logic": {"name": "ATRExitMixin", "params": {}}},
        },
        "data": {"interval": "1h"},
        "risk_management": {"max_daily_trades": hot},
    }
