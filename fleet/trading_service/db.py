"""Connections to PostgreSQL: how they are made, what their errors mean, and how a program hears of changes.

Guarantees: every wait is bounded (connecting, locks, statements, dead peers); values pass as `adapt` says; whatever
psycopg raises for a connection, a time-out or a server that changed roles is DatabaseAway, which means: outcome
unknown, read again. A bot has one synchronous connection for each of its threads; the long-running programs
(controller, worker) have a pool, and connections of their own for LISTEN and for work that takes minutes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import AsyncConnection, Notify
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from fleet.backoff import nominal_s
from fleet.errors import DatabaseAway
from fleet.foreign import clean_text
from fleet.log import get_logger
from fleet.trading_service.adapt import FOREIGN

if TYPE_CHECKING:
    from psycopg_pool import AsyncConnectionPool

Connection = AsyncConnection[Any]
"""What the functions for controller and worker take."""

CONNECT_TIMEOUT_S = 4
STATEMENT_TIMEOUT_MS = 5_000
LOCK_TIMEOUT_MS = 3_000
IDLE_IN_TRANSACTION_MS = 10_000
"""A stopped (SIGSTOP, paused VM) bot must not keep its run's row locked: the server ends its session."""

CALL_TIMEOUT_S = 8.0
"""Longer than the server's own statement time-out: only a dead connection gets here."""

CHECKOUT_TIMEOUT_S = 5.0

POOL_RECONNECT_S = 2.0
"""The pool's attempts to replace a connection; after that the next call tries again. The pool's own default
doubles its pauses up to minutes, which would delay the return after an outage."""

SILENCE_S = 15.0
"""After so long without a notification the connection is tried: half-open ones are silent for ever."""

LISTEN_AGAIN_FIRST_S = 0.25
LISTEN_AGAIN_MAX_S = 5.0

_KEEPALIVES: Mapping[str, Any] = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": STATEMENT_TIMEOUT_MS,
}
_OPTIONS = (
    f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout={LOCK_TIMEOUT_MS} -c timezone=UTC -c datestyle=ISO"
)

log = get_logger("db")


@contextmanager
def database_errors() -> Iterator[None]:
    """Turns psycopg's errors of connections, time-outs and servers that changed roles into DatabaseAway."""
    try:
        yield
    except (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError) as error:
        raise DatabaseAway(f"{type(error).__name__}: {error}") from error


def url_problem(url: str) -> str | None:
    """What is wrong with a libpq URL or connection text, without a word of it; None when libpq can read it."""
    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return (
            "can't be read: write postgresql://user:password@host:port/database, "
            "with %40 for @, %3A for :, %2F for / and %25 for % in the password"
        )
    return None


def connect(url: str, *, application: str, synchronous_commit: bool = True) -> psycopg.Connection[Any]:
    """A synchronous connection in autocommit mode.

    Args:
        url: libpq URL.
        application: shown in pg_stat_activity, e.g. `bot-7-e3 ledger`.
        synchronous_commit: False for heartbeats alone: losing the last ones in a database crash costs nothing,
            while an order or a trade must be on disk before anybody hears of it.

    Raises:
        DatabaseAway: no connection within CONNECT_TIMEOUT_S per address.
    """
    options = (
        f"{_OPTIONS} -c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_MS}"
        f" -c synchronous_commit={'on' if synchronous_commit else 'off'}"
    )
    try:
        return psycopg.connect(
            url,
            autocommit=True,
            application_name=application,
            connect_timeout=CONNECT_TIMEOUT_S,
            options=options,
            keepalives=1,
            context=FOREIGN,
            **_KEEPALIVES,
        )
    except psycopg.OperationalError as error:
        raise DatabaseAway(f"cannot connect to the database: {error}") from error


def bounded_conninfo(url: str, application: str) -> str:
    """The URL with every wait bounded: connecting, locks, statements, dead peers.

    Args:
        url: libpq URL.
        application: shown in pg_stat_activity after `botfleet`.
    """
    return make_conninfo(
        url,
        application_name=f"botfleet {application}",
        connect_timeout=CONNECT_TIMEOUT_S,
        options=_OPTIONS,
        **_KEEPALIVES,
    )


async def connect_async(url: str, application: str) -> Connection:
    """A connection outside the pool, in autocommit mode; see `bounded_conninfo`.

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


class Pool:
    """A pool of connections; each call has a deadline of its own. Needs `psycopg_pool`, which a bot doesn't have.

    Args:
        url: libpq URL.
        application: shown in pg_stat_activity after `botfleet`.
        connections: most connections at a time.
    """

    def __init__(self, url: str, *, application: str, connections: int) -> None:
        from psycopg_pool import AsyncConnectionPool

        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            bounded_conninfo(url, application),
            min_size=1,
            max_size=connections,
            open=False,
            timeout=CHECKOUT_TIMEOUT_S,
            reconnect_timeout=POOL_RECONNECT_S,
            kwargs={"autocommit": True, "context": FOREIGN},
        )

    async def open(self) -> None:
        """Start connecting, in the background."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close(timeout=2)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
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


async def listen(
    url: str,
    channel: str,
    *,
    application: str,
    connected: Callable[[], Awaitable[object]],
    heard: Callable[[Notify], object],
) -> None:
    """Hear what is notified on a channel, until cancelled. Never raises for what the database does.

    Notifications are lost whenever the connection is: `connected` is where the caller looks at what he may have missed.

    Args:
        url: libpq URL of a session-mode connection (LISTEN doesn't work through a transaction pooler).
        channel: an identifier of ours, never foreign text.
        application: shown in pg_stat_activity after `botfleet`.
        connected: awaited after each (re)connection, once it listens. What it raises gives the connection up.
        heard: called for each notification. Any role may send any payload.
    """
    failures = 0
    while True:
        try:
            connection = await connect_async(url, application)
            try:
                with database_errors():
                    await connection.execute(f"LISTEN {channel}".encode())
                    failures = 0
                    await connected()
                    while True:
                        async for notice in connection.notifies(timeout=SILENCE_S):
                            heard(notice)
                        async with asyncio.timeout(CALL_TIMEOUT_S):
                            await connection.execute("SELECT 1")
            finally:
                await connection.close()
        except (DatabaseAway, TimeoutError) as error:
            log.warning("listen_connection_lost", channel=channel, error=clean_text(error, 300))
        except Exception as error:
            # no notification may end the program; the next connection looks at everything again
            log.error("listen_failed", channel=channel, error=clean_text(repr(error), 300))
        failures += 1
        await asyncio.sleep(nominal_s(failures, first_s=LISTEN_AGAIN_FIRST_S, most_s=LISTEN_AGAIN_MAX_S))
