"""The controller's lease on a fake clock."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from controller.shards import LeaseLost, ShardKeeper
from fleet.errors import DatabaseAway
from fleet.trading_service.runs import ShardLease

pytestmark = pytest.mark.looptime

TTL_S = 15.0


@dataclass
class FakeStore:
    """One shard; `away`: the database doesn't answer."""

    free: bool = True
    away: bool = False
    epoch: int = 0
    released: bool = False

    async def acquire_shard(self, shard: int, *, holder: str, ttl_s: float) -> ShardLease | None:
        self._answer()
        if not self.free:
            return None
        self.epoch += 1
        return ShardLease(shard, self.epoch)

    async def renew_shard(self, lease: ShardLease) -> bool:
        self._answer()
        return lease.epoch == self.epoch

    async def release_shard(self, lease: ShardLease) -> None:
        self._answer()
        self.released = True

    def _answer(self) -> None:
        if self.away:
            raise DatabaseAway("away")


def keeper(store: FakeStore) -> ShardKeeper:
    return ShardKeeper(store=store, holder="c", ttl_s=TTL_S, clock=asyncio.get_running_loop().time)


async def test_waits_until_the_shard_is_free() -> None:
    store = FakeStore(free=False)
    mine = keeper(store)
    acquiring = asyncio.create_task(mine.acquire())
    await asyncio.sleep(10)
    assert mine.waiting
    assert not mine.held
    with pytest.raises(LeaseLost):
        mine.current()
    store.free = True
    await asyncio.wait_for(acquiring, 2)
    assert mine.held
    assert not mine.waiting


async def test_without_the_database_it_is_no_standby() -> None:
    """A standby is ready: that another controller holds the shard must have been said by the database."""
    store = FakeStore(free=False, away=True)
    mine = keeper(store)
    acquiring = asyncio.create_task(mine.acquire())
    await asyncio.sleep(5)
    assert not mine.waiting
    assert mine.valid_until is None
    store.away = False
    await asyncio.sleep(2)
    assert mine.waiting
    store.away = True
    await asyncio.sleep(2)
    assert not mine.waiting
    assert asyncio.get_running_loop().time() - mine.asked_at <= 1
    acquiring.cancel()


async def test_stops_acting_well_before_another_may_take_over() -> None:
    store = FakeStore()
    mine = keeper(store)
    await mine.acquire()
    keeping = asyncio.create_task(mine.keep())
    await asyncio.sleep(100)
    assert mine.held
    store.away = True
    await asyncio.sleep(TTL_S * 2 / 3)
    assert not mine.held
    store.away = False
    await asyncio.sleep(TTL_S / 4)
    assert mine.held  # nobody took it: it goes on
    keeping.cancel()


async def test_ends_when_another_has_taken_over() -> None:
    store = FakeStore()
    mine = keeper(store)
    await mine.acquire()
    store.epoch += 1
    with pytest.raises(LeaseLost):
        await asyncio.wait_for(mine.keep(), TTL_S)
    assert not mine.held
    await mine.release()
    assert not store.released


async def test_releases_what_it_holds() -> None:
    store = FakeStore()
    mine = keeper(store)
    await mine.acquire()
    await mine.release()
    assert store.released
    assert not mine.held
