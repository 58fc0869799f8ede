"""Whatever somebody notifies, the watch on rows reports ids of bots and nothing else; whatever happens to its
connection, all rows are looked at again. Time is a list of pauses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import Notify
from structlog.testing import capture_logs

from controller.observe import rows as module
from controller.observe.rows import CHANNEL, SILENCE_S, RowWatch
from fleet.errors import DatabaseAway
from fleet.ids import is_id
from tests.unit.fleet.no_ids import NO_IDS


async def never() -> None:
    raise AssertionError("nobody polls here")


def reported(payload: str) -> list[int]:
    changed: list[int] = []
    RowWatch(url="", poll_interval_s=1, changed=changed.append, poll=never)._report(Notify(CHANNEL, payload, 1))
    return changed


@given(
    st.text(max_size=9000)
    | st.integers().map(str)
    | st.sampled_from([p for p in NO_IDS.values() if isinstance(p, str)])
)
def test_any_payload(payload: str) -> None:
    with capture_logs() as logs:
        changed = reported(payload)
    assert len(changed) + len(logs) == 1
    assert all(is_id(bot_id) and str(bot_id) == payload for bot_id in changed)
    for line in logs:
        assert line["event"] == "rows_notification_unreadable"
        assert len(line["payload"]) <= 100
        assert not set(line["payload"]) & {"\0", "\x1b", "\n"}


def test_an_id() -> None:
    assert reported("7") == [7]


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
    """Row watch, its sessions in turn, and the pauses it makes; each event in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *sessions: Session | Exception) -> None:
        self.events: list[object] = []
        self.sessions = list(sessions)
        self.polls: list[Exception | None] = []
        monkeypatch.setattr(module, "connect", self.connect)
        monkeypatch.setattr(module.asyncio, "sleep", self.sleep)
        self.watch = RowWatch(url="url", poll_interval_s=60, changed=self.events.append, poll=self.poll)

    async def connect(self, url: str, name: str) -> Session:
        assert (url, name) == ("url", "listen")
        session = self.sessions.pop(0) if self.sessions else Ended()
        if isinstance(session, BaseException):
            raise session
        return session

    async def sleep(self, seconds: float) -> None:
        self.events.append(f"pause {seconds}")
        if len(self.events) > 40:
            raise Ended

    async def poll(self) -> None:
        self.events.append("poll")
        fault = self.polls.pop(0) if self.polls else None
        if fault is not None:
            raise fault

    async def run(self, part: str) -> list[object]:
        work = self.watch.work()
        with pytest.raises(Ended):
            await work.pop(part)
        for other in work.values():
            other.close()
        return self.events

    async def listen(self) -> list[object]:
        return await self.run("rows listen")


async def test_a_connection_listens_before_it_looks_at_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is notified between look and LISTEN would be lost."""
    session = Session(["7", "8"], None, ["9"])
    world = World(monkeypatch, session)

    async def poll() -> None:
        assert session.executed == ["LISTEN botfleet_bots"]
        world.events.append("poll")

    world.watch.poll = poll
    assert await world.listen() == ["poll", 7, 8, 9]
    assert session.executed == ["LISTEN botfleet_bots"] + ["SELECT 1"] * 3  # silence may be a dead connection
    assert set(session.silences) == {SILENCE_S} == {15.0}
    assert session.closed


@pytest.mark.parametrize(
    "fault", [DatabaseAway("gone"), psycopg.OperationalError("gone"), TimeoutError(), ValueError("a bug")]
)
async def test_a_lost_connection_is_replaced_and_all_rows_looked_at(
    monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    sessions = [Session(fault), Session(["7"], fault), Session()]
    assert await World(monkeypatch, *sessions).listen() == ["poll", "pause 0.25", "poll", 7, "pause 0.25", "poll"]
    assert all(session.closed for session in sessions)


async def test_a_database_that_stays_away_is_tried_less_and_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    away = DatabaseAway("away")
    world = World(monkeypatch, *[away] * 7, Session(away), away)
    pauses = ["pause 0.25", "pause 0.5", "pause 1.0", "pause 2.0", "pause 4.0", "pause 5.0", "pause 5.0"]
    assert await world.listen() == [*pauses, "poll", "pause 0.25", "pause 0.5"]


async def test_a_look_that_fails_gives_the_connection_up(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, Session(["7"]), Session(["8"]))
    world.polls = [DatabaseAway("away")]
    assert await world.listen() == ["poll", "pause 0.25", "poll", 8]


async def test_a_half_open_connection_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CALL_TIMEOUT_S", 0.01)
    dead = Session(None, ["never heard"])
    dead.hangs = True
    assert await World(monkeypatch, dead, Session(["7"])).listen() == ["poll", "pause 0.25", "poll", 7]
    assert dead.closed


@pytest.mark.parametrize("fault", [DatabaseAway("away"), KeyError("a bug")])
async def test_all_rows_are_looked_at_regularly_whatever_a_look_raises(
    monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    world = World(monkeypatch)
    world.polls = [fault, None, fault]
    await world.run("rows poll")
    assert world.events[:6] == ["pause 60", "poll"] * 3
    assert len(world.events) > 40
