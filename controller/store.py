"""The controller's view of the database: a Protocol that the manager needs, and PostgreSQL behind it.

Every call is one short transaction on a pooled connection with a deadline of its own; whatever goes wrong on the
way is DatabaseAway and means: outcome unknown, read again. Decisions carry the controller's shard lease.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Protocol

from fleet.errors import DatabaseAway
from fleet.states import BotStatus, ExitReason
from fleet.trading_service import bots, runs, shards, starts
from fleet.trading_service.bots import BotRecord, Notification, StatusCount
from fleet.trading_service.db import Connection, Pool, connect_async
from fleet.trading_service.runs import ShardLease, Watch, WatchLimits
from fleet.trading_service.starts import StartFacts


class Store(Protocol):
    """What the manager reads and decides. All methods raise DatabaseAway."""

    async def load(self, bot_id: int) -> BotRecord | None:
        """The bot and its newest runs."""

    async def load_config(self, bot_id: int, config_version: int) -> object:
        """The row's config if it still has this version, else None."""

    async def load_run_config(self, bot_id: int, epoch: int) -> object:
        """A run's config snapshot."""

    async def start_run(self, bot_id: int, epoch: int, *, config_version: int, pod_name: str, closes_out: bool) -> bool:
        """Commit the next run; False: something changed, read again."""

    async def record_pod(self, bot_id: int, epoch: int, uid: str) -> bool:
        """Note the created object."""

    async def request_stop(self, bot_id: int, epoch: int, reason: str) -> bool:
        """Ask the run to end."""

    async def adopt_config(
        self, bot_id: int, epoch: int, *, config_version: int, limits: Mapping[str, Any] | None
    ) -> bool:
        """Raise a running bot to a config version."""

    async def end_run(
        self, bot_id: int, epoch: int, *, reason: ExitReason, exit_code: int | None, message: str | None
    ) -> bool:
        """Record a death."""

    async def explain_end(self, bot_id: int, epoch: int, *, seen: str | None, message: str) -> bool:
        """Say why a run ended that didn't know it; False: its row says something else than `seen`."""

    async def fence_unclaimed(
        self, bot_id: int, epoch: int, *, reason: ExitReason, message: str | None, decided_at: datetime
    ) -> bool:
        """End a run that nobody claimed."""

    async def fence_silent(
        self,
        bot_id: int,
        epoch: int,
        *,
        reason: ExitReason,
        message: str | None,
        decided_at: datetime,
        silent_s: float,
    ) -> bool:
        """End a run without heartbeats."""

    async def fence_deaf(
        self,
        bot_id: int,
        epoch: int,
        *,
        reason: ExitReason,
        message: str | None,
        decided_at: datetime,
        asked_s: float,
        stalled_s: float | None,
    ) -> bool:
        """End a run that ignores its stop."""

    async def set_status(
        self, bot_id: int, *, seen: BotStatus, status: BotStatus, message: str | None, error_count: int
    ) -> bool:
        """Show a status; False: the row is busy or has moved on."""

    async def notify(self, notification: Notification) -> bool:
        """Put a message into the outbox, once per key."""

    async def start_facts(self) -> StartFacts:
        """Who is starting, and how long starts took."""


class PostgresStore:
    """The Store on a connection pool.

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
        self._lease = lease
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

    async def load(self, bot_id: int) -> BotRecord | None:
        """See Store."""
        async with self.connection() as connection:
            return await bots.load_bot(connection, bot_id)

    async def load_config(self, bot_id: int, config_version: int) -> object:
        """See Store."""
        async with self.connection() as connection:
            return await bots.load_config(connection, bot_id, config_version)

    async def load_run_config(self, bot_id: int, epoch: int) -> object:
        """See Store."""
        async with self.connection() as connection:
            return await runs.load_run_config(connection, bot_id, epoch)

    async def start_run(self, bot_id: int, epoch: int, *, config_version: int, pod_name: str, closes_out: bool) -> bool:
        """See Store."""
        async with self.connection() as connection:
            return await runs.start_run(
                connection,
                bot_id=bot_id,
                epoch=epoch,
                config_version=config_version,
                controller=self._controller,
                runtime=self._runtime,
                pod_name=pod_name,
                settings_hash=self.settings_hash,
                closes_out=closes_out,
                lease=self._lease(),
            )

    async def record_pod(self, bot_id: int, epoch: int, uid: str) -> bool:
        """See Store."""
        async with self.connection() as connection:
            return await runs.record_pod(connection, bot_id, epoch, uid=uid, lease=self._lease())

    async def request_stop(self, bot_id: int, epoch: int, reason: str) -> bool:
        """See Store."""
        async with self.connection() as connection:
            return await runs.request_stop(connection, bot_id, epoch, reason=reason, lease=self._lease())

    async def adopt_config(
        self, bot_id: int, epoch: int, *, config_version: int, limits: Mapping[str, Any] | None
    ) -> bool:
        """See Store."""
        async with self.connection() as connection:
            return await runs.adopt_config(
                connection, bot_id, epoch, config_version=config_version, limits=limits, lease=self._lease()
            )

    async def end_run(
        self, bot_id: int, epoch: int, *, reason: ExitReason, exit_code: int | None, message: str | None
    ) -> bool:
        """See Store."""
        async with self.connection() as connection:
            return await runs.end_run(
                connection,
                bot_id,
                epoch,
                reason=reason,
                exit_code=exit_code,
                message=message,
                lease=self._lease(),
            )

    async def explain_end(self, bot_id: int, epoch: int, *, seen: str | None, message: str) -> bool:
        """See Store."""
        async with self.connection() as connection:
            return await runs.explain_end(connection, bot_id, epoch, seen=seen, message=message, lease=self._lease())

    async def fence_unclaimed(
        self, bot_id: int, epoch: int, *, reason: ExitReason, message: str | None, decided_at: datetime
    ) -> bool:
        """See Store."""
        async with self.connection() as connection:
            return await runs.fence_unclaimed(
                connection,
                bot_id,
                epoch,
                reason=reason,
                message=message,
                decided_at=decided_at,
                lease=self._lease(),
            )

    async def fence_silent(
        self,
        bot_id: int,
        epoch: int,
        *,
        reason: ExitReason,
        message: str | None,
        decided_at: datetime,
        silent_s: float,
    ) -> bool:
        """See Store."""
        async with self.connection() as connection:
            return await runs.fence_silent(
                connection,
                bot_id,
                epoch,
                reason=reason,
                message=message,
                decided_at=decided_at,
                silent_s=silent_s,
                lease=self._lease(),
            )

    async def fence_deaf(
        self,
        bot_id: int,
        epoch: int,
        *,
        reason: ExitReason,
        message: str | None,
        decided_at: datetime,
        asked_s: float,
        stalled_s: float | None,
    ) -> bool:
        """See Store."""
        async with self.connection() as connection:
            return await runs.fence_deaf(
                connection,
                bot_id,
                epoch,
                reason=reason,
                message=message,
                decided_at=decided_at,
                asked_s=asked_s,
                stalled_s=stalled_s,
                lease=self._lease(),
            )

    async def set_status(
        self, bot_id: int, *, seen: BotStatus, status: BotStatus, message: str | None, error_count: int
    ) -> bool:
        """See Store."""
        async with self.connection() as connection:
            return await bots.update_bot_status(
                connection, bot_id, seen=seen, status=status, message=message, error_count=error_count
            )

    async def notify(self, notification: Notification) -> bool:
        """See Store."""
        async with self.connection() as connection:
            return await bots.add_notification(connection, notification)

    async def start_facts(self) -> StartFacts:
        """See Store."""
        async with self.connection() as connection:
            return await starts.start_facts(connection)

    async def unsettled(self) -> list[int]:
        """Bots that a poll must look at."""
        async with self.connection() as connection:
            return await bots.unsettled_bots(connection)

    async def current_runs(self) -> dict[int, int]:
        """Epoch of the current run by bot id."""
        async with self.connection() as connection:
            return await runs.current_runs(connection)

    async def show_trouble(self, message: str) -> int:
        """Say of every bot that waits for its start what keeps the controller from it."""
        async with self.connection() as connection:
            return await bots.show_trouble(connection, message)

    async def show_settings(self) -> None:
        """Let everybody see which settings new runs get."""
        async with self.connection() as connection:
            await shards.show_settings(connection, self._lease(), settings_hash=self.settings_hash)

    async def outdated_runs(self) -> int:
        """How many current runs were started with other settings than new ones get."""
        async with self.connection() as connection:
            return await runs.outdated_runs(connection, settings_hash=self.settings_hash)

    async def watch(self, limits: WatchLimits) -> Watch:
        """Overdue runs."""
        async with self.connection() as connection:
            return await runs.watch_runs(connection, limits)

    async def prove_heartbeats(self) -> datetime | None:
        """Find out whether heartbeats can be written."""
        lease = self._lease()
        async with self.connection() as connection:
            return await runs.prove_heartbeats(connection, lease)

    async def prove_connection(self) -> None:
        """Connect anew, as a bot that lost its connection would."""
        connection = await connect_async(self._url, "proof")
        await connection.close()

    async def locked_runs(self, bot_ids: Sequence[int]) -> set[int]:
        """Bots whose current runs' rows somebody holds."""
        async with self.connection() as connection:
            return await runs.locked_runs(connection, bot_ids)

    async def count_statuses(self) -> list[StatusCount]:
        """Bots by status."""
        async with self.connection() as connection:
            return await bots.count_statuses(connection)

    async def acquire_shard(self, shard: int, *, holder: str, ttl_s: float) -> ShardLease | None:
        """Take a shard, if it is free."""
        async with self.connection() as connection:
            return await shards.acquire_shard(connection, shard, holder=holder, ttl_s=ttl_s)

    async def renew_shard(self, lease: ShardLease) -> bool:
        """Keep a shard."""
        async with self.connection() as connection:
            return await shards.renew_shard(connection, lease)

    async def release_shard(self, lease: ShardLease) -> None:
        """Leave a shard."""
        async with self.connection() as connection:
            await shards.release_shard(connection, lease)
