"""Leases of controllers on shards: which controller may decide for which bots.

Each acquisition raises the shard's epoch, so every decision of an earlier holder fails from that moment on. A live
lease passes to another holder only after `ttl_s` without renewal, by the database's clock.
"""

from __future__ import annotations

from psycopg.rows import scalar_row

from fleet.trading_service import run_events
from fleet.trading_service.db import Connection, database_errors
from fleet.trading_service.runs import ShardLease

_ACQUIRE = f"""
    WITH taken AS (
    INSERT INTO controller_shards AS s (shard, epoch, holder, renewed_at)
    VALUES (%(shard)s, 1, %(holder)s, clock_timestamp())
    ON CONFLICT (shard) DO UPDATE
    SET epoch = s.epoch + 1, holder = EXCLUDED.holder, renewed_at = clock_timestamp()
    WHERE s.holder IS NULL OR s.holder = EXCLUDED.holder OR s.renewed_at IS NULL
       OR s.renewed_at < clock_timestamp() - make_interval(secs => %(ttl_s)s)
    RETURNING shard, epoch, holder
    ), told AS ({run_events.SERVICE_STARTED})
    SELECT epoch FROM taken
"""

_RENEW = """
    UPDATE controller_shards SET renewed_at = clock_timestamp()
    WHERE shard = %(shard)s AND epoch = %(epoch)s
"""

_RELEASE = f"""
    WITH held AS (
        SELECT shard, epoch, holder FROM controller_shards
        WHERE shard = %(shard)s AND epoch = %(epoch)s AND holder IS NOT NULL FOR UPDATE
    ), left_it AS (
        UPDATE controller_shards s SET holder = NULL, renewed_at = NULL
        FROM held WHERE s.shard = held.shard
        RETURNING s.shard, s.epoch, held.holder
    ), told AS ({run_events.SERVICE_STOPPED})
    SELECT FROM left_it
"""


async def acquire_shard(connection: Connection, shard: int, *, holder: str, ttl_s: float) -> ShardLease | None:
    """Take the shard if it is free, expired, or held by the same holder (its earlier process, known to be dead).

    Returns:
        None when another controller holds it.
    """
    with database_errors():
        async with connection.cursor(row_factory=scalar_row) as cursor:
            await cursor.execute(_ACQUIRE.encode(), {"shard": shard, "holder": holder, "ttl_s": ttl_s})
            epoch = await cursor.fetchone()
    return None if epoch is None else ShardLease(shard, epoch)


async def renew_shard(connection: Connection, lease: ShardLease) -> bool:
    """Keep the shard; False when another controller has taken it."""
    with database_errors():
        done = await connection.execute(_RENEW, {"shard": lease.shard, "epoch": lease.epoch})
    return done.rowcount == 1


async def show_settings(connection: Connection, lease: ShardLease, *, settings_hash: str) -> None:
    """Note which settings new runs of the shard get, so that everybody can tell which runs have older ones."""
    with database_errors():
        await connection.execute(
            "UPDATE controller_shards SET settings_hash = %s WHERE shard = %s AND epoch = %s",
            (settings_hash, lease.shard, lease.epoch),
        )


async def release_shard(connection: Connection, lease: ShardLease) -> None:
    """Let another controller take over at once; does nothing when one has already."""
    with database_errors():
        await connection.execute(_RELEASE.encode(), {"shard": lease.shard, "epoch": lease.epoch})
