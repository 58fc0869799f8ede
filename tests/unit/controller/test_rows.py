"""Whatever somebody notifies, the watch on rows reports ids of bots and nothing else; the rest is in the log."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from psycopg import Notify
from structlog.testing import capture_logs

from controller.observe.rows import CHANNEL, RowWatch
from fleet.ids import is_id
from tests.unit.fleet.test_ids import NO_IDS


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
