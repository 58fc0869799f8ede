"""Connections to a real server: every wait is bounded, and what goes wrong on the way is DatabaseAway."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest

from fleet.errors import DatabaseAway
from fleet.foreign import Unreadable
from fleet.trading_service import db as module
from fleet.trading_service.db import Pool, bounded_conninfo, connect, connect_async, url_problem

pytestmark = pytest.mark.postgres

SETTINGS = ("statement_timeout", "lock_timeout", "timezone", "datestyle", "application_name")
BOUNDED = {"statement_timeout": "5s", "lock_timeout": "3s", "timezone": "UTC", "datestyle": "ISO, MDY"}
SOCKET = {
    "connect_timeout": "4",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "5000",
}


def setting(connection: psycopg.Connection[Any], name: str) -> str:
    row = connection.execute(f"SHOW {name}").fetchone()
    assert row is not None
    return str(row[0])


def unreadable(value: object) -> bool:
    return isinstance(value, Unreadable)


@pytest.mark.parametrize(("synchronous", "shown"), [(True, "on"), (False, "off")])
def test_a_bots_connection(database_url: str, synchronous: bool, shown: str) -> None:
    with connect(database_url, application="bot-7-e3 ledger", synchronous_commit=synchronous) as connection:
        assert {name: setting(connection, name) for name in SETTINGS} == {
            **BOUNDED,
            "application_name": "bot-7-e3 ledger",
        }
        # a stopped process must not keep its run's row locked
        assert setting(connection, "idle_in_transaction_session_timeout") == "10s"
        assert setting(connection, "synchronous_commit") == shown
        assert connection.autocommit
        assert SOCKET.items() <= connection.info.get_parameters().items()
        assert unreadable(connection.execute("SELECT (repeat('[', 900) || repeat(']', 900))::json").fetchone()[0])  # type: ignore[index]


def test_keeping_a_commit_for_the_disk_is_what_is_not_asked_for(database_url: str) -> None:
    with connect(database_url, application="x") as connection:
        assert setting(connection, "synchronous_commit") == "on"


async def test_a_programs_connection(database_url: str) -> None:
    async with await connect_async(database_url, "worker listen") as connection:
        found = {}
        for name in SETTINGS:
            row = await (await connection.execute(f"SHOW {name}")).fetchone()
            assert row is not None
            found[name] = row[0]
        assert found == {**BOUNDED, "application_name": "botfleet worker listen"}
        assert connection.autocommit
        assert SOCKET.items() <= connection.info.get_parameters().items()
        row = await (await connection.execute("SELECT (repeat('[', 900) || repeat(']', 900))::json")).fetchone()
        assert row is not None
        assert unreadable(row[0])


@pytest.fixture
def nobody() -> str:
    """Where no server listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"postgresql://u@127.0.0.1:{probe.getsockname()[1]}/d"


@pytest.fixture
def deaf() -> Iterator[str]:
    """A server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"postgresql://u@127.0.0.1:{server.getsockname()[1]}/d"


async def test_a_server_that_is_away(nobody: str) -> None:
    with pytest.raises(DatabaseAway, match=r"cannot connect to the database: .*refused"):
        connect(nobody, application="x")
    with pytest.raises(DatabaseAway, match=r"OperationalError: .*refused"):
        await connect_async(nobody, "x")


async def test_a_server_that_says_nothing(deaf: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CALL_TIMEOUT_S", 0.2)
    with pytest.raises(DatabaseAway, match="no connection to the database in time"):
        await connect_async(deaf, "x")
    # libpq counts whole seconds, 2 at least
    monkeypatch.setattr(module, "CONNECT_TIMEOUT_S", 2)
    began = time.monotonic()
    with pytest.raises(DatabaseAway):
        connect(deaf, application="x")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("url", ["postgresql://u:100%@h/d", "nonsense", "postgresql://h/d?sslmode"])
def test_a_url_that_nobody_can_read_is_told_without_a_word_of_it(url: str) -> None:
    said = url_problem(url)
    assert said is not None
    assert "postgresql://user:password@host:port/database" in said
    assert url not in said


def test_a_url_that_can_be_read(database_url: str) -> None:
    assert url_problem(database_url) is None
    assert url_problem("host=h dbname=d") is None
    assert "application_name='botfleet x'" in bounded_conninfo("host=h", "x")


@pytest.fixture
async def pool(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pool]:
    """One connection, and little patience."""
    monkeypatch.setattr(module, "CHECKOUT_TIMEOUT_S", 0.3)
    monkeypatch.setattr(module, "CALL_TIMEOUT_S", 0.4)
    made = Pool(database_url, application="test", connections=1)
    await made.open()
    await made._pool.wait(10)
    yield made
    await made.close()
    assert made._pool.closed


async def test_a_pooled_connection(pool: Pool) -> None:
    async with pool.connection() as connection:
        assert connection.autocommit
        row = await (await connection.execute("SHOW application_name")).fetchone()
        assert row == ("botfleet test",)
        row = await (await connection.execute("SELECT (repeat('[', 900) || repeat(']', 900))::json")).fetchone()
        assert row is not None
        assert unreadable(row[0])


async def test_a_call_that_takes_too_long_is_given_up_and_the_next_one_served(pool: Pool) -> None:
    with pytest.raises(DatabaseAway, match="the database did not answer in time"):
        async with pool.connection() as connection:
            await connection.execute("SELECT pg_sleep(30)")
    deadline = time.monotonic() + 10
    while True:
        try:
            async with pool.connection() as connection:
                await connection.execute("SELECT 1")
            return
        except DatabaseAway:
            assert time.monotonic() < deadline


async def test_a_pool_without_a_free_connection_is_a_database_that_is_away(pool: Pool) -> None:
    async with pool.connection():
        with pytest.raises(DatabaseAway, match="PoolTimeout"):
            async with pool.connection():
                pass


async def test_an_error_of_the_connection_is_away_and_an_answer_is_an_answer(pool: Pool) -> None:
    with pytest.raises(DatabaseAway):
        async with pool.connection() as connection:
            await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    with pytest.raises(psycopg.errors.UndefinedTable):
        async with pool.connection() as connection:
            await connection.execute("SELECT FROM no_table")


class Dropping:
    """A pool that gives a connection in the instant of a cancellation, and drops that, as asyncio.wait_for may."""

    def __init__(self) -> None:
        self.given = 0

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[str]:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            self.given += 1
        yield "connection"


async def test_a_cancellation_that_the_pool_dropped_isn_t_lost(pool: Pool) -> None:
    dropping = Dropping()
    real, pool._pool = pool._pool, dropping  # type: ignore[assignment]
    went_on = False

    async def work() -> None:
        nonlocal went_on
        async with pool.connection():
            went_on = True

    task = asyncio.create_task(work())
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.wait([task])
    pool._pool = real
    assert (task.cancelled(), dropping.given, went_on) == (True, 1, False)


async def test_a_cancellation_of_earlier_ends_nothing(pool: Pool) -> None:
    """A task that caught one and goes on (its shutdown) may still ask."""

    async def work() -> str:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            async with pool.connection() as connection:
                row = await (await connection.execute("SELECT 'answered'")).fetchone()
        assert row is not None
        return str(row[0])

    task = asyncio.create_task(work())
    await asyncio.sleep(0.05)
    task.cancel()
    assert await task == "answered"
