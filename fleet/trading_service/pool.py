"""Connections of the long-running programs (controller, worker): pooled, each call with a deadline of its own.

Whatever goes wrong on the way is DatabaseAway and means: outcome unknown, read again. A bot doesn't use this: it has
one connection and one thread (`connect`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo
from psycopg_pool import AsyncConnectionPool

from fleet.errors import DatabaseAway
from fleet.trading_service.adapt import FOREIGN
from fleet.trading_service.connect import CONNECT_TIMEOUT_S, LOCK_TIMEOUT_MS, STATEMENT_TIMEOUT_MS
from fleet.trading_service.lease import database_errors

CALL_TIMEOUT_S = 8.0
"""Longer than the server's own statement time-out: only a dead connection gets here."""

CHECKOUT_TIMEOUT_S = 5.0

RECONNECT_S = 2.0
"""The pool's attempts to replace a connection; after that the next call tries again. The pool's own default
doubles its pauses up to minutes, which would delay the return after an outage."""


class Pool:
    """A connection pool.

    Args:
        url: libpq URL.
        application: shown in pg_stat_activity after `botfleet`.
        connections: most connections at a time.
    """

    def __init__(self, url: str, *, application: str, connections: int) -> None:
        self._pool = AsyncConnectionPool(
            bounded_conninfo(url, application),
            min_size=1,
            max_size=connections,
            open=False,
            timeout=CHECKOUT_TIMEOUT_S,
            reconnect_timeout=RECONNECT_S,
            kwargs={"autocommit": True, "context": FOREIGN},
        )

    async def open(self) -> None:
        """Start connecting, in the background."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close(timeout=2)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection[Any]]:
        """A connection for one call, bounded in time.

        Raises:
            DatabaseAway: none to be had, or no answer within CALL_TIMEOUT_S.
        """
        task = asyncio.current_task()
        before = task.cancelling() if task else 0
        try:
            async with asyncio.timeout(CHECKOUT_TIMEOUT_S + CALL_TIMEOUT_S):
                with database_errors():
                    async with self._pool.connection() as connection:
                        if task and task.cancelling() > before:
                            # the pool waits by asyncio.wait_for, which in Python 3.11 drops a cancellation that comes
                            # in the same instant as the connection
                            raise asyncio.CancelledError
                        yield connection
        except TimeoutError as error:
            raise DatabaseAway("the database did not answer in time") from error


def bounded_conninfo(url: str, application: str) -> str:
    """The URL with every wait bounded: connecting, locks, statements, dead peers."""
    options = (
        f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout={LOCK_TIMEOUT_MS}"
        " -c timezone=UTC -c datestyle=ISO"
    )
    return make_conninfo(
        url,
        application_name=f"botfleet {application}",
        connect_timeout=CONNECT_TIMEOUT_S,
        options=options,
        keepalives_idle=5,
        keepalives_interval=2,
        keepalives_count=3,
        tcp_user_timeout=STATEMENT_TIMEOUT_MS,
    )


async def connect(url: str, application: str) -> AsyncConnection[Any]:
    """A connection outside the pool, in autocommit mode.

    Raises:
        DatabaseAway: no connection in time.
    """
    try:
        with database_errors():
            async with asyncio.timeout(CALL_TIMEOUT_S):
                return await AsyncConnection.connect(
                    bounded_conninfo(url, application), autocommit=True, context=FOREIGN
                )
    except TimeoutError as error:
        raise DatabaseAway("no connection to the database in time") from error
