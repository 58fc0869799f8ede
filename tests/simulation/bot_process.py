"""A bot's process: claims its run, beats, goes live, stops when told, and suffers what is done to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from fleet.errors import DatabaseAway, FencedError
from fleet.states import ExitReason
from fleet.trading_service.lease import RunId
from tests.simulation.times import POLICY, RECONNECT_S

if TYPE_CHECKING:
    from tests.simulation.world import World

NEVER = -1e9


@dataclass(eq=False)
class BotProcess:
    """One process in one pod.

    Attributes:
        work_left_s: of a core, until its start is done.
        acked_sent_at: when the newest heartbeat that was answered was sent; counts its right to trade.
        faults: what was done to it: crashed, unreported, stalled, cut off, hung.
        fault_at: when it was last stalled or cut off: a silence that is its own.
    """

    world: World
    bot_id: int
    epoch: int
    uid: str
    starts_at: float
    alive: bool = True
    claimed: bool = False
    live: bool = False
    work_left_s: float = 0.0
    acked_sent_at: float = NEVER
    next_beat_at: float = 0.0
    told_to_stop: bool = False
    sigterm: bool = False
    stalled_until: float = 0.0
    cut_off_until: float = 0.0
    reconnects_at: float = 0.0
    hung: bool = False
    progress_at: float = 0.0
    kill_at: float | None = None
    exit_code: int | None = None
    died_at: datetime | None = None
    faults: set[str] = field(default_factory=set)
    fault_at: float = NEVER

    @property
    def token(self) -> str:
        """What it claims with: it names the pod."""
        return f"{self.uid}/{self.epoch}"

    @property
    def run(self) -> RunId:
        return RunId(self.bot_id, self.epoch, self.token)

    @property
    def may_trade(self) -> bool:
        """Whether it may send an order at this moment: what must never be true of two."""
        now = self.world.now
        return (
            self.alive
            and self.live
            and not self.hung
            and not self.told_to_stop
            and now >= self.stalled_until
            and now - self.acked_sent_at < POLICY.t_stop_s
        )

    @property
    def computes(self) -> bool:
        """Whether its start needs a core; what waits for the exchange needs none."""
        starting = self.alive and self.claimed and not self.live and not self.hung
        return starting and self.work_left_s > 0 and self.world.now >= self.stalled_until

    def step(self) -> None:
        """What it does within a tick."""
        now = self.world.now
        if not self.alive or now < self.starts_at:
            return
        if self.kill_at is not None and now >= self.kill_at:
            self.die(137, reported=True)
            return
        if now < max(self.stalled_until, self.cut_off_until):
            self.fault_at = now
        if now < self.stalled_until:
            return
        if self.sigterm and not self.hung and not self.claimed:
            self.die(143, reported=True)
        elif not self.claimed:
            self._call(self._claim)
        else:
            self._trade()

    def _trade(self) -> None:
        world = self.world
        if not self.hung:
            self.progress_at = world.now
            if not self.live and self.work_left_s <= 0 and world.exchange_up:
                self._call(self._go_live)
        if world.now >= self.next_beat_at:
            self.next_beat_at = world.now + POLICY.heartbeat_interval_s
            self._call(self._beat)
        if (self.told_to_stop or self.sigterm) and not self.hung and self.alive:
            self._call(self._release)

    def _call(self, function: Callable[[], None]) -> None:
        """Ask the database, if it can be reached; a bot whose call failed comes back a little later."""
        world = self.world
        if world.now < max(self.cut_off_until, self.reconnects_at):
            return
        try:
            if not world.database_up:
                raise DatabaseAway("the database is away")
            function()
        except DatabaseAway:
            self.reconnects_at = world.now + world.chance.choice([0, 1, RECONNECT_S])
        except FencedError:
            self.told_to_stop = True
            self.die(3, reported=True)

    def _claim(self) -> None:
        world = self.world
        world.database.claim(self.run)
        self.work_left_s = world.start_work_s
        self.claimed, self.acked_sent_at, self.progress_at = True, world.now, world.now
        self.next_beat_at = world.now + POLICY.heartbeat_interval_s
        world.note(f"bot {self.bot_id} e{self.epoch} claimed")

    def _go_live(self) -> None:
        self.world.database.mark_live(self.run)
        self.live = True
        self.world.note(f"bot {self.bot_id} e{self.epoch} is live")
        self.world.tell(self.bot_id)

    def _beat(self) -> None:
        world = self.world
        waiting = not self.live and self.work_left_s <= 0 and not world.exchange_up
        reply = world.database.heartbeat(
            self.run,
            progress_age_s=world.now - self.progress_at,
            phase="waits for the exchange" if waiting else None,
            waiting=waiting,
        )
        self.acked_sent_at = world.now
        self.told_to_stop = self.told_to_stop or reply.stop_requested

    def _release(self) -> None:
        self.told_to_stop = True
        if self.world.chance.random() < 0.9:  # otherwise it ends before it could say so
            self.world.database.release(self.run, exit_code=0, reason=ExitReason.RELEASED)
            self.world.tell(self.bot_id)
        self.die(0, reported=True)

    def die(self, code: int, *, reported: bool) -> None:
        """The process ends; the kubelet reports it, or is gone itself."""
        self.alive = False
        self.exit_code, self.died_at = code, self.world.clock
        self.world.note(f"bot {self.bot_id} e{self.epoch} ended with {code}, reported={reported}")
        if reported:
            self.world.cluster.report_end(self.uid, code)
        else:
            self.faults.add("unreported")
