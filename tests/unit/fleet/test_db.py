"""Whatever happens to the connection that listens, another one takes its place and what was missed is looked at.
Time is a list of pauses; the connections of bots and pools: tests/integration."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest
from psycopg import Notify
from structlog.testing import capture_logs

from fleet.errors import DatabaseAway
from fleet.trading_service import db as module
from fleet.trading_service.db import SILENCE_S, database_errors, listen

CHANNEL = "botfleet_bots"


class Ended(BaseException):
    """Ends a loop that has no end of its own."""


class Session:
    """A connection for LISTEN: what it says in turn is written down; an exception is raised, None is silence."""

    def __init__(self, *says: list[str] | Exception | None) -> None:
        self.says = list(says)
        self.executed: list[str] = []
        self.silences: list[float] = []
        self.closed = False
        self.hangs = False

    async def execute(self, query: str | bytes) -> None:
        self.executed.append(query if isinstance(query, str) else query.decode())
        if self.hangs and query == "SELECT 1":
            await asyncio.Event().wait()

    async def notifies(self, *, timeout: float) -> AsyncIterator[Notify]:
        self.silences.append(timeout)
        said = self.says.pop(0) if self.says else Ended()
        if isinstance(said, BaseException):
            raise said
        for payload in said or []:
            yield Notify(CHANNEL, payload, 1)

    async def close(self) -> None:
        self.closed = True


class World:
    """The loop, its sessions in turn, and the pauses it makes; each event in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *sessions: Session | Exception) -> None:
        self.events: list[object] = []
        self.sessions = list(sessions)
        self.looks: list[Exception | None] = []
        monkeypatch.setattr(module, "connect_async", self.connect)
        monkeypatch.setattr(module.asyncio, "sleep", self.sleep)

    async def connect(self, url: str, name: str) -> Session:
        assert (url, name) == ("url", "listen")
        session = self.sessions.pop(0) if self.sessions else Ended()
        if isinstance(session, BaseException):
            raise session
        return session

    async def sleep(self, seconds: float) -> None:
        self.events.append(f"pause {seconds}")

    async def look(self) -> None:
        self.events.append("look")
        fault = self.looks.pop(0) if self.looks else None
        if fault is not None:
            raise fault

    def hear(self, notice: Notify) -> None:
        if notice.payload == "bug":
            raise KeyError("a bug of the caller's")
        self.events.append(int(notice.payload))

    async def listen(self) -> list[object]:
        with pytest.raises(Ended):
            await listen("url", CHANNEL, application="listen", connected=self.look, heard=self.hear)
        return self.events


async def test_a_connection_listens_before_it_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is notified between look and LISTEN would be lost."""
    session = Session(["7", "8"], None, ["9"])
    world = World(monkeypatch, session)

    async def look() -> None:
        assert session.executed == ["LISTEN botfleet_bots"]
        world.events.append("look")

    monkeypatch.setattr(world, "look", look)
    assert await world.listen() == ["look", 7, 8, 9]
    assert session.executed == ["LISTEN botfleet_bots"] + ["SELECT 1"] * 3  # silence may be a dead connection
    assert set(session.silences) == {SILENCE_S} == {15.0}
    assert session.closed


LOST, FAILED = ("warning", "listen_connection_lost"), ("error", "listen_failed")


@pytest.mark.parametrize(
    ("fault", "logged"),
    [
        (DatabaseAway("gone"), LOST),
        (psycopg.OperationalError("gone"), LOST),
        (TimeoutError(), LOST),
        (ValueError("a bug"), FAILED),
    ],
)
async def test_a_lost_connection_is_replaced_and_looked_at_again(
    monkeypatch: pytest.MonkeyPatch, fault: Exception, logged: tuple[str, str]
) -> None:
    sessions = [Session(fault), Session(["7"], fault), Session()]
    with capture_logs() as lines:
        assert await World(monkeypatch, *sessions).listen() == ["look", "pause 0.25", "look", 7, "pause 0.25", "look"]
    assert [(line["log_level"], line["event"], line["channel"]) for line in lines] == [(*logged, CHANNEL)] * 2
    assert all(session.closed for session in sessions)


async def test_a_database_that_stays_away_is_tried_less_and_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    away = DatabaseAway("away")
    world = World(monkeypatch, *[away] * 7, Session(away), away)
    pauses = ["pause 0.25", "pause 0.5", "pause 1.0", "pause 2.0", "pause 4.0", "pause 5.0", "pause 5.0"]
    assert await world.listen() == [*pauses, "look", "pause 0.25", "pause 0.5"]


async def test_a_look_that_fails_gives_the_connection_up(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, Session(["7"]), Session(["8"]))
    world.looks = [DatabaseAway("away")]
    assert await world.listen() == ["look", "pause 0.25", "look", 8]


async def test_a_half_open_connection_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CALL_TIMEOUT_S", 0.01)
    dead = Session(None, ["never heard"])
    dead.hangs = True
    assert await World(monkeypatch, dead, Session(["7"])).listen() == ["look", "pause 0.25", "look", 7]
    assert dead.closed


async def test_a_caller_that_fails_at_a_notification_looks_at_everything_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, Session(["7", "bug", "8"]), Session(["9"]))
    assert await world.listen() == ["look", 7, "pause 0.25", "look", 9]


@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        (psycopg.OperationalError("gone"), DatabaseAway),
        (psycopg.errors.QueryCanceled("statement time-out"), DatabaseAway),
        (psycopg.errors.ReadOnlySqlTransaction("now a replica"), DatabaseAway),
        (psycopg.InterfaceError("the connection is closed"), DatabaseAway),
        (psycopg.errors.UniqueViolation("there is one"), psycopg.errors.UniqueViolation),
        (psycopg.errors.UndefinedTable("no schema"), psycopg.errors.UndefinedTable),
        (KeyError("a bug"), KeyError),
    ],
)
def test_what_the_errors_of_the_database_mean(raised: Exception, seen: type[Exception]) -> None:
    """Away: outcome unknown, read again. Everything else is an answer, or a fault of ours."""
    with pytest.raises(seen), database_errors():
        raise raised
