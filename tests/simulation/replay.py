"""Calls that were recorded on the model, repeated on PostgreSQL: every answer and every row must be the same.

The functions called are those of `fleet.trading_service`, the connections like the programs' own. Only the clock is
not PostgreSQL's: a schema before pg_catalog in the search path has a `clock_timestamp()` and a `now()` that say what a
setting of the session says, and that setting is each recorded call's moment. Open transactions of people hold real
locks. Calls are repeated one after another: what two of them do at the same time is shown by
tests/integration/test_trading_service_runs.py.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from fleet.errors import DatabaseAway, FencedError
from fleet.trading_service import bots, lease, runs, shards, starts
from fleet.trading_service.adapt import FOREIGN
from fleet.trading_service.db import bounded_conninfo
from fleet.trading_service.runs import Watch
from tests.simulation.database import Operation, name_of

LOCK_TIMEOUT_MS = 5
"""Nobody but the people's session holds a lock: whoever waits at all waits for it."""

CLOCK = """
    CREATE SCHEMA simulated;
    CREATE FUNCTION simulated.clock_timestamp() RETURNS timestamptz LANGUAGE sql STABLE
        AS $$SELECT current_setting('simulated.now')::timestamptz$$;
    CREATE FUNCTION simulated.now() RETURNS timestamptz LANGUAGE sql STABLE
        AS $$SELECT current_setting('simulated.now')::timestamptz$$;
    GRANT USAGE ON SCHEMA simulated TO PUBLIC;
    ALTER TABLE trading_runs ALTER created_at SET DEFAULT simulated.now();
    ALTER TABLE trading_bots ALTER updated_at SET DEFAULT simulated.now();
"""
SET_CLOCK = "SELECT set_config('simulated.now', %s, false)"
SEARCH_PATH = "simulated, pg_catalog, public"

TABLES = ("trading_notifications", "trading_positions", "trading_runs", "trading_bots", "controller_shards")


class Difference(AssertionError):
    """PostgreSQL answered otherwise than the model."""


class Postgres:
    """A database for one recording after another.

    Args:
        controller: connection of the controller's functions.
        bot: connection of the bots' functions.
        people: connection of everybody else.
        holder: connection whose transaction holds people's locks.
    """

    def __init__(
        self,
        controller: AsyncConnection[Any],
        bot: psycopg.Connection[Any],
        people: psycopg.Connection[Any],
        holder: psycopg.Connection[Any],
    ) -> None:
        self._controller, self._bot, self._people, self._holder = controller, bot, people, holder
        self._clocks: dict[psycopg.Connection[Any], datetime] = {}
        self._controllers_clock: datetime | None = None
        self._holds: dict[str, tuple[str, Mapping[str, Any]]] = {}

    async def replay(self, recorded: Iterable[Operation]) -> None:
        """Do it all, on empty tables.

        Raises:
            Difference: at the first answer, or at the last state of a bot, that isn't the model's.
        """
        await self._clear()
        story: list[Operation] = []
        for operation in recorded:
            story.append(operation)
            answer = await self._answer(operation)
            if _comparable(answer) != _comparable(operation.answer):
                raise Difference(
                    f"PostgreSQL: {answer!r}\nmodel: {operation.answer!r}\nafter\n"
                    + "\n".join(str(each)[:400] for each in story[-25:])
                )

    async def _clear(self) -> None:
        self._holds.clear()
        self._holder.rollback()
        await self.set_read_only(False)
        self._people.execute("SET session_replication_role = replica")  # history may not be deleted otherwise
        for table in TABLES:
            self._people.execute(f"DELETE FROM {table}".encode())
        self._people.execute("SET session_replication_role = origin")

    async def _answer(self, operation: Operation) -> object:
        given, now = dict(operation.arguments), operation.at
        try:
            if (own := getattr(self, operation.name, None)) is not None:
                self._set_clock(self._people, now)
                return await own(**given)
            function = FUNCTIONS[operation.name]
            if function.__module__ == lease.__name__:
                self._set_clock(self._bot, now)
                return function(self._bot, **given)
            if self._controllers_clock != now:
                self._controllers_clock = now
                await self._controller.execute(SET_CLOCK, (now.isoformat(),))
            return await function(self._controller, **given)
        except (DatabaseAway, FencedError, psycopg.Error) as error:
            return type(error)

    def _set_clock(self, connection: psycopg.Connection[Any], now: datetime) -> None:
        if self._clocks.get(connection) != now:
            self._clocks[connection] = now
            connection.execute(SET_CLOCK, (now.isoformat(),))

    # -- what people do, as in Database ------------------------------------------------------------------------

    async def insert_bot(self, bot_id: int, config: object, user_id: int = 1, holding: bool = False) -> None:
        self._people.execute(
            "INSERT INTO users (id, name) VALUES (%s, %s) ON CONFLICT DO NOTHING", [user_id, f"user {user_id}"]
        )
        self._people.execute(
            "INSERT INTO trading_bots (id, user_id, name, enabled, config) VALUES (%s, %s, %s, true, %s)",
            [bot_id, user_id, name_of(bot_id), Jsonb(config)],
        )
        if holding:
            self._people.execute(
                "INSERT INTO trading_positions (bot_id, symbol, direction, opened_at, qty_open, avg_price, status)"
                " VALUES (%s, 'BTCUSDT', 'long', now(), 1, 1, 'open')",
                [bot_id],
            )

    async def edit_bot(self, bot_id: int, config: object, enabled: bool, archived: bool = False) -> None:
        self._people.execute(
            "UPDATE trading_bots SET config = %s, enabled = %s,"
            " archived_at = CASE WHEN %s THEN COALESCE(archived_at, now()) END WHERE id = %s",
            [Jsonb(config), enabled, archived, bot_id],
        )

    async def hold_bot(self, bot_id: int, hold: bool) -> None:
        query = "SELECT FROM trading_bots WHERE id = %(bot_id)s FOR NO KEY UPDATE"  # as an uncommitted UPDATE
        self._hold(f"bot {bot_id}", query if hold else None, bot_id=bot_id)

    async def hold_run(self, bot_id: int, epoch: int | None) -> None:
        query = "SELECT FROM trading_runs WHERE bot_id = %(bot_id)s AND epoch = %(epoch)s FOR UPDATE"
        self._hold(f"run {bot_id}", None if epoch is None else query, bot_id=bot_id, epoch=epoch)

    async def lock_runs(self, hold: bool) -> None:
        self._hold("runs", "LOCK TABLE trading_runs IN EXCLUSIVE MODE" if hold else None)

    async def set_read_only(self, read_only: bool) -> None:
        query = f"SET default_transaction_read_only = {'on' if read_only else 'off'}".encode()
        await self._controller.execute(query)
        self._bot.execute(query)

    def _hold(self, name: str, query: str | None, **values: Any) -> None:
        """All that is held is held by one transaction, which is begun anew when something is let go."""
        if query is None:
            self._holds.pop(name, None)
            self._holder.rollback()
            for held, given in self._holds.values():
                self._holder.execute(held.encode(), given)
        else:
            self._holds[name] = (query, values)
            self._holder.execute(query.encode(), values)


def _functions() -> dict[str, Callable[..., Any]]:
    modules = (lease, runs, bots, starts, shards)
    return {
        name: function
        for module in modules
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__
    }


FUNCTIONS: dict[str, Callable[..., Any | Awaitable[Any]]] = _functions()


def _comparable(answer: object) -> object:
    """Without what has no meaning: the order of the watch's rows."""
    if isinstance(answer, Watch):
        return replace(answer, quiet=tuple(sorted(answer.quiet, key=lambda run: run.bot_id)))
    return answer


@asynccontextmanager
async def on_postgres(url: str) -> AsyncIterator[Postgres]:
    """On a migrated database of the caller's own that has the recordings' clock (CLOCK)."""
    settings = f"SET search_path = {SEARCH_PATH}; SET lock_timeout = {LOCK_TIMEOUT_MS}".encode()
    conninfo = bounded_conninfo(url, "replay")
    with (
        psycopg.connect(url, autocommit=True) as people,
        psycopg.connect(url) as holder,
        psycopg.connect(conninfo, autocommit=True, context=FOREIGN) as bot,
    ):
        people.execute(settings)
        bot.execute(settings)
        async with await AsyncConnection.connect(conninfo, autocommit=True, context=FOREIGN) as controller:
            await controller.execute(settings)
            yield Postgres(controller, bot, people, holder)
