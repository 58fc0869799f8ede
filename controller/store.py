"""The controller's view of the database: functions of `fleet.trading_service`, each called on a pooled connection.

Every call is one short transaction with a deadline of its own; whatever goes wrong on the way is DatabaseAway and
means: outcome unknown, read again. A decision carries the shard lease of the moment at which it is sent. What a call
takes and answers is said once, by the function that it names.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Concatenate, ParamSpec, TypeVar

from fleet.errors import DatabaseAway
from fleet.trading_service import bots, runs, shards, starts
from fleet.trading_service.db import Connection, Pool, connect_async
from fleet.trading_service.runs import ShardLease

P = ParamSpec("P")
T = TypeVar("T")


def _call(
    function: Callable[Concatenate[Connection, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Store, P], Coroutine[Any, Any, T]]:
    """A method of Store that calls the function on a connection."""

    async def call(store: Store, /, *args: P.args, **kwargs: P.kwargs) -> T:
        async with store.connection() as connection:
            return await function(connection, *args, **kwargs)

    return call


def _decision(
    function: Callable[Concatenate[Connection, ShardLease, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Store, P], Coroutine[Any, Any, T]]:
    """The same for what only the holder of the shard may do. LeaseLost, before anything is sent: nobody holds it."""

    async def decide(store: Store, /, *args: P.args, **kwargs: P.kwargs) -> T:
        async with store.connection() as connection:
            return await function(connection, store.lease(), *args, **kwargs)

    return decide


class Store:
    """The database.

    Args:
        url: libpq URL.
        connections: most connections at a time.
        controller: name recorded with each run.
        runtime: name of the runtime, recorded with each run.
        settings_hash: of the settings that every bot's pod gets, recorded with each run.
        lease: gives the shard lease of this moment; it is asked before each decision.
    """

    def __init__(
        self,
        url: str,
        *,
        connections: int,
        controller: str,
        runtime: str,
        settings_hash: str,
        lease: Callable[[], ShardLease],
    ) -> None:
        self._controller = controller
        self._runtime = runtime
        self.settings_hash = settings_hash
        self.lease = lease
        self._url = url
        self._pool = Pool(url, application="controller", connections=connections)
        self._answering_since: float | None = None

    async def open(self) -> None:
        """Start connecting, in the background."""
        await self._pool.open()

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()

    @property
    def answering_s(self) -> float | None:
        """Seconds since when every call was answered; None when the last one was not, or there was none."""
        return None if self._answering_since is None else time.monotonic() - self._answering_since

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection for one call, bounded in time; see Pool."""
        try:
            async with self._pool.connection() as connection:
                yield connection
        except DatabaseAway:
            self._answering_since = None
            raise
        if self._answering_since is None:
            self._answering_since = time.monotonic()

    # -- one bot -----------------------------------------------------------------------------------------------

    load = _call(bots.load_bot)
    load_config = _call(bots.load_config)
    load_run_config = _call(runs.load_run_config)
    set_status = _call(bots.update_bot_status)
    notify = _call(bots.add_notification)

    record_pod = _decision(runs.record_pod)
    request_stop = _decision(runs.request_stop)
    adopt_config = _decision(runs.adopt_config)
    end_run = _decision(runs.end_run)
    explain_end = _decision(runs.explain_end)
    fence_unclaimed = _decision(runs.fence_unclaimed)
    fence_silent = _decision(runs.fence_silent)
    fence_stop_overdue = _decision(runs.fence_stop_overdue)

    async def start_run(self, bot_id: int, epoch: int, *, config_version: int, pod_name: str, closes_out: bool) -> bool:
        """Commit the next run, with this controller's name, runtime and settings; see `runs.start_run`."""
        return await self._start_run(
            bot_id,
            epoch,
            config_version=config_version,
            controller=self._controller,
            runtime=self._runtime,
            pod_name=pod_name,
            settings_hash=self.settings_hash,
            closes_out=closes_out,
        )

    _start_run = _decision(runs.start_run)

    # -- all bots ----------------------------------------------------------------------------------------------

    unsettled = _call(bots.unsettled_bots)
    count_statuses = _call(bots.count_statuses)
    show_trouble = _call(bots.show_trouble)
    start_facts = _call(starts.start_facts)
    current_runs = _call(runs.current_runs)
    locked_runs = _call(runs.locked_runs)
    watch = _call(runs.watch_runs)

    prove_heartbeats = _decision(runs.prove_heartbeats)

    async def prove_connection(self) -> None:
        """Connect anew. DatabaseAway: a bot that lost its connection can't either."""
        connection = await connect_async(self._url, "proof")
        await connection.close()

    # -- shards and settings -----------------------------------------------------------------------------------

    acquire_shard = _call(shards.acquire_shard)
    renew_shard = _call(shards.renew_shard)
    release_shard = _call(shards.release_shard)

    async def show_settings(self) -> None:
        """Let everybody see which settings new runs get."""
        await self._show_settings(settings_hash=self.settings_hash)

    async def outdated_runs(self) -> int:
        """How many current runs were started with other settings than new ones get."""
        return await self._outdated_runs(settings_hash=self.settings_hash)

    _show_settings = _decision(shards.show_settings)
    _outdated_runs = _call(runs.outdated_runs)
