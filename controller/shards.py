"""The controller's own lease: who may decide, fenced like a bot's.

A second controller waits until the first one's lease is released or expired. What the first one still tries after
that fails in the database, since each acquisition has an epoch of its own; and since pods aren't in the database,
`held` compares the time since the last renewal was sent before each request about them.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from controller.store import Store
from fleet.errors import DatabaseAway, TransientError
from fleet.log import get_logger
from fleet.trading_service.runs import ShardLease

log = get_logger("shards")

SHARD = 0
"""There is one shard so far."""

WAIT_S = 1.0
"""Between two attempts to take a shard that another controller holds."""


class LeaseLost(TransientError):
    """This controller may not decide (now, or any more)."""


@dataclass(slots=True)
class ShardKeeper:
    """Acquires, renews and releases one shard.

    Attributes:
        holder: name that no other living process uses; a process of the same name takes over at once.
        ttl_s: validity without renewal.
        clock: monotonic seconds.
    """

    store: Store
    holder: str
    ttl_s: float
    clock: Callable[[], float]
    _lease: ShardLease | None = field(default=None, init=False)
    _valid_until: float = field(default=0.0, init=False)
    waiting: bool = field(default=False, init=False)
    """Whether another controller holds the shard, as far as the database has said."""
    asked_at: float = field(default=-math.inf, init=False)
    """When the shard was last asked for or renewed, with or without an answer."""

    @property
    def valid_until(self) -> float | None:
        """When the lease runs, or ran, out; None before it was ever acquired."""
        return self._valid_until or None

    @property
    def held(self) -> bool:
        """Whether the lease is valid at this moment, with a margin for requests under way."""
        return self._lease is not None and self.clock() < self._valid_until

    def current(self) -> ShardLease:
        """The lease under which decisions are made.

        Raises:
            LeaseLost: none is held.
        """
        if self._lease is None:
            raise LeaseLost("this controller doesn't hold its shard")
        return self._lease

    async def acquire(self) -> None:
        """Wait until the shard is ours."""
        while True:
            self.asked_at = asked = self.clock()
            try:
                lease = await self.store.acquire_shard(SHARD, holder=self.holder, ttl_s=self.ttl_s)
            except DatabaseAway as error:
                log.warning("shard_database_away", error=str(error)[:300])
                self.waiting = False
                await asyncio.sleep(WAIT_S)
                continue
            if lease is not None:
                self._lease, self.waiting = lease, False
                self._extend(asked)
                log.info("shard_acquired", shard=lease.shard, epoch=lease.epoch, holder=self.holder)
                return
            if not self.waiting:
                log.info("shard_waiting", shard=SHARD, holder=self.holder)
            self.waiting = True
            await asyncio.sleep(WAIT_S)

    async def keep(self) -> None:
        """Renew until cancelled.

        Raises:
            LeaseLost: another controller has taken over; this process must end.
        """
        while True:
            await asyncio.sleep(self.ttl_s / 4)
            self.asked_at = asked = self.clock()
            try:
                renewed = await self.store.renew_shard(self.current())
            except DatabaseAway as error:
                log.warning("shard_not_renewed", error=str(error)[:300])
                continue
            if not renewed:
                self._lease = None
                raise LeaseLost("another controller has taken this one's shard")
            self._extend(asked)

    async def release(self) -> None:
        """Let another controller take over at once, if the database is there."""
        lease, self._lease = self._lease, None
        if lease is not None:
            try:
                await self.store.release_shard(lease)
            except DatabaseAway as error:
                log.warning("shard_not_released", error=str(error)[:300])

    def _extend(self, asked: float) -> None:
        # a third of the validity is left for requests under way and for clocks that drift
        self._valid_until = asked + self.ttl_s * 2 / 3
