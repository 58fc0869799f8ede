"""Whatever somebody notifies, the watch on rows reports ids of bots and nothing else; all rows are looked at with each
connection and regularly. Time is a list of pauses. The connection itself: tests/unit/fleet/test_db.py."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import Notify
from structlog.testing import capture_logs

from controller.observe import bot_rows as module
from controller.observe.bot_rows import CHANNEL, RowWatch
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


class World:
    """Row watch and the pauses it makes; each event in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[object] = []
        self.polls: list[Exception | None] = []
        monkeypatch.setattr(module.asyncio, "sleep", self.sleep)
        self.watch = RowWatch(url="url", poll_interval_s=60, changed=self.events.append, poll=self.poll)

    async def sleep(self, seconds: float) -> None:
        self.events.append(f"pause {seconds}")
        if len(self.events) > 40:
            raise Ended

    async def poll(self) -> None:
        self.events.append("poll")
        fault = self.polls.pop(0) if self.polls else None
        if fault is not None:
            raise fault


async def test_each_connection_that_listens_looks_at_all_rows_and_reports_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is notified between look and LISTEN would be lost: the loop calls this once it listens."""
    world = World(monkeypatch)

    async def listen(
        url: str,
        channel: str,
        *,
        application: str,
        connected: Callable[[], Awaitable[None]],
        heard: Callable[[Notify], None],
    ) -> None:
        assert (url, channel, application) == ("url", CHANNEL, "listen")
        await connected()
        heard(Notify(CHANNEL, "7", 1))
        raise Ended

    monkeypatch.setattr(module, "listen", listen)
    work = world.watch.work()
    work.pop("rows poll").close()
    with pytest.raises(Ended):
        await work.pop("rows listen")
    assert world.events == ["poll", 7]


@pytest.mark.parametrize("fault", [DatabaseAway("away"), KeyError("a bug")])
async def test_all_rows_are_looked_at_regularly_whatever_a_look_raises(
    monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    world = World(monkeypatch)
    world.polls = [fault, None, fault]
    work = world.watch.work()
    work.pop("rows listen").close()
    with pytest.raises(Ended):
        await work.pop("rows poll")
    assert world.events[:6] == ["pause 60", "poll"] * 3
    assert len(world.events) > 40
