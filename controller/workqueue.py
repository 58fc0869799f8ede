"""A keyed work queue: each key is handled by one worker at a time, and at most once for any burst of events.

First in, first out among keys, so a noisy bot can't starve the others: adding a key that waits does nothing, and
one that is being handled is handled once more afterwards, behind all that wait. A handler may ask to see the key
again at a later time; one that fails is repeated with its own exponential backoff. Times are the loop's, seconds.
Once closed it hands out nothing more, so a worker whose cancellation was swallowed on the way ends after its key.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from fleet.backoff import nominal_s
from fleet.log import get_logger

log = get_logger("workqueue")

Handler = Callable[[int], Awaitable[float | None]]
"""Handles one key; returns after how many seconds to handle it again if nothing happens before, or None."""


@dataclass(slots=True)
class WorkQueue:
    """The queue and its workers.

    Attributes:
        handler: what is done with a key.
        workers: keys handled at the same time.
        retry_first_s, retry_max_s: backoff of a key whose handler raised.
    """

    handler: Handler
    workers: int
    retry_first_s: float = 0.25
    retry_max_s: float = 30.0
    _waiting: deque[int] = field(default_factory=deque, init=False)
    _queued: set[int] = field(default_factory=set, init=False)
    _active: set[int] = field(default_factory=set, init=False)
    _again: set[int] = field(default_factory=set, init=False)
    _timers: dict[int, asyncio.TimerHandle] = field(default_factory=dict, init=False)
    _failures: dict[int, int] = field(default_factory=dict, init=False)
    _wake: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0), init=False)
    _idle: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _handled: int = field(default=0, init=False)
    _closed: bool = field(default=False, init=False)

    @property
    def depth(self) -> int:
        """Keys that wait for a worker."""
        return len(self._waiting)

    @property
    def handled(self) -> int:
        """How often a handler has returned, for a probe that wants to see progress."""
        return self._handled

    @property
    def active(self) -> int:
        """Keys being handled."""
        return len(self._active)

    def add(self, key: int) -> None:
        """Have the key handled soon; does nothing once the queue is closed."""
        if self._closed:
            return
        if key in self._active:
            self._again.add(key)
        elif key not in self._queued:
            self._queued.add(key)
            self._waiting.append(key)
            self._idle.clear()
            self._wake.release()

    def add_after(self, key: int, delay_s: float) -> None:
        """Have the key handled after the delay, unless an earlier time is set already."""
        if self._closed:
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + max(0.0, delay_s)
        earlier = self._timers.get(key)
        if earlier is not None:
            if earlier.when() <= due:
                return
            earlier.cancel()
        self._timers[key] = loop.call_at(due, self._fire, key)

    def work(self) -> list[Coroutine[Any, Any, None]]:
        """The workers, to be run as tasks of their own; each ends when it is cancelled or the queue is closed."""
        return [self._work() for _ in range(self.workers)]

    def close(self) -> None:
        """Hand out no further key. What is being handled is the caller's to cancel."""
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for _ in range(self.workers):
            self._wake.release()

    async def idle(self) -> None:
        """Wait until no key waits or is being handled."""
        while self._waiting or self._active:
            self._idle.clear()
            await self._idle.wait()

    def _fire(self, key: int) -> None:
        self._timers.pop(key, None)
        self.add(key)

    async def _work(self) -> None:
        while True:
            await self._wake.acquire()
            if self._closed:
                return
            key = self._waiting.popleft()
            self._queued.discard(key)
            self._active.add(key)
            if timer := self._timers.pop(key, None):
                timer.cancel()
            try:
                again_after = await self._handle(key)
            finally:
                self._active.discard(key)
                self._handled += 1
            if key in self._again:
                self._again.discard(key)
                self.add(key)
            if again_after is not None:
                self.add_after(key, again_after)
            if not self._waiting and not self._active:
                self._idle.set()

    async def _handle(self, key: int) -> float | None:
        try:
            again_after = await self.handler(key)
        except Exception as error:
            failures = self._failures.get(key, 0) + 1
            self._failures[key] = failures
            delay = nominal_s(failures, first_s=self.retry_first_s, most_s=self.retry_max_s)
            log.warning("sync_failed", bot_id=key, error=repr(error)[:500], failures=failures, retry_s=delay)
            return delay
        self._failures.pop(key, None)
        return again_after
