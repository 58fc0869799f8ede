"""The work queue on a fake clock: waiting takes no time, and elapsed time is asserted."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from controller.workqueue import WorkQueue
from fleet.shutdown import Tasks

pytestmark = pytest.mark.looptime

Handler = Callable[[int], Awaitable[float | None]]


@asynccontextmanager
async def running(handler: Handler, *, workers: int = 3) -> AsyncIterator[WorkQueue]:
    queue = WorkQueue(handler, workers)
    parts = Tasks()
    for number, work in enumerate(queue.work()):
        parts.start(f"worker {number}", work)
    try:
        yield queue
    finally:
        queue.close()
        assert not await parts.end(60)


def seconds() -> float:
    return asyncio.get_running_loop().time()


async def test_a_burst_is_handled_once() -> None:
    seen: list[int] = []

    async def handle(key: int) -> None:
        seen.append(key)

    async with running(handle) as queue:
        for _ in range(5):
            queue.add(1)
        await queue.idle()
        assert seen == [1]
        assert queue.handled == 1


async def test_a_key_added_while_handled_is_handled_once_more() -> None:
    seen: list[float] = []

    async def handle(key: int) -> None:
        seen.append(seconds())
        await asyncio.sleep(10)

    async with running(handle) as queue:
        started = seconds()
        queue.add(1)
        await asyncio.sleep(1)
        for _ in range(3):
            queue.add(1)
        await queue.idle()
        assert [at - started for at in seen] == [0, 10]


async def test_one_key_never_twice_at_once_and_none_is_lost() -> None:
    active: Counter[int] = Counter()
    done: Counter[int] = Counter()
    chance = random.Random(1)

    async def handle(key: int) -> None:
        active[key] += 1
        assert active[key] == 1
        await asyncio.sleep(chance.random())
        active[key] -= 1
        done[key] += 1
        if chance.random() < 0.1:
            raise ValueError("now and then")

    async with running(handle, workers=7) as queue:
        last: dict[int, float] = {}
        for _ in range(500):
            key = chance.randrange(20)
            queue.add(key)
            last[key] = seconds()
            await asyncio.sleep(chance.random() / 20)
        await queue.idle()
        assert set(done) == set(last)


async def test_deadlines_and_the_earlier_one_wins() -> None:
    seen: list[float] = []

    async def handle(key: int) -> float | None:
        seen.append(seconds())
        return 30 if len(seen) == 1 else None

    async with running(handle) as queue:
        started = seconds()
        queue.add_after(1, 10)
        queue.add_after(1, 60)
        queue.add_after(1, 5)
        await asyncio.sleep(100)
        assert [at - started for at in seen] == [5, 35]


async def test_an_event_makes_the_deadline_void() -> None:
    seen: list[float] = []

    async def handle(key: int) -> None:
        seen.append(seconds())

    async with running(handle) as queue:
        started = seconds()
        queue.add_after(1, 10)
        await asyncio.sleep(3)
        queue.add(1)
        await asyncio.sleep(100)
        assert [at - started for at in seen] == [3]


async def test_a_failing_key_backs_off_alone() -> None:
    seen: list[float] = []
    others: list[int] = []

    async def handle(key: int) -> None:
        if key != 1:
            others.append(key)
            return
        seen.append(seconds())
        if len(seen) < 10:
            raise OSError("away")

    async with running(handle, workers=1) as queue:
        started = seconds()
        queue.add(1)
        for key in range(2, 6):
            queue.add(key)
        await asyncio.sleep(300)
        assert others == [2, 3, 4, 5]
        waits = [round(b - a, 6) for a, b in pairwise(seen)]
        # 0.25 s doubled each time, at most 30 s
        assert waits == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30]
        assert seen[0] == started


async def test_a_noisy_key_does_not_starve_others() -> None:
    order: list[int] = []

    async def handle(key: int) -> None:
        order.append(key)
        await asyncio.sleep(1)
        queue.add(1)

    async with running(handle, workers=1) as queue:
        for key in (1, 2, 3):
            queue.add(key)
        await asyncio.sleep(3.5)
        assert order[:4] == [1, 2, 3, 1]


async def test_after_close_nothing_is_begun_even_by_a_handler_that_swallows_its_cancellation() -> None:
    """A handler of the kind that a connection pool makes: cancelled in the instant of its answer, it goes on."""
    begun: list[int] = []

    async def handle(key: int) -> float | None:
        begun.append(key)
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            await asyncio.sleep(1)
        return 0.1

    queue = WorkQueue(handle, 2)
    parts = Tasks()
    for number, work in enumerate(queue.work()):
        parts.start(f"worker {number}", work)
    for key in range(20):
        queue.add(key)
    await asyncio.sleep(1)
    before, closed_at = list(begun), seconds()
    queue.close()
    assert await parts.end(8) == []
    assert seconds() - closed_at == 1
    queue.add(99)
    queue.add_after(99, 0)
    await asyncio.sleep(100)
    assert begun == before == [0, 1]


async def test_close_ends_idle_workers_and_voids_deadlines() -> None:
    async def handle(key: int) -> None:
        raise AssertionError(key)

    queue = WorkQueue(handle, 3)
    tasks = [asyncio.create_task(work) for work in queue.work()]
    queue.add_after(1, 10)
    await asyncio.sleep(0)
    queue.close()
    await asyncio.sleep(100)
    assert all(task.done() and not task.cancelled() for task in tasks)
