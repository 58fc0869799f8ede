"""Notifications in, deliveries out: silenced, skipped, at once, later, in a group. Time is an argument."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.trading_service.outbox import Delivery
from tests.unit.worker.notifications import NOW, notification
from worker.channels.outcome import Channel
from worker.channels.routing import BURST, BURST_WINDOW_S, GROUP_LIMIT, Contact, Installed, Target, hashed
from worker.routes import (
    Hold,
    burst_hold,
    contact_of,
    delivery,
    may_wait,
    quiet_hold,
    silenced,
    suppressed,
    targets_of,
)

OPERATOR = Contact(email="ops@example.com", telegram_chat_id="9")
ALL = Installed(missing={})
DESK = {"email": "desk@example.com", "telegram_chat_id": "1", "webhook_url": "https://hooks.example.com/desk"}
BOTH = {"notifications": {"email_enabled": True, "telegram_enabled": True}}
WINDOW = timedelta(seconds=BURST_WINDOW_S)
MAIL = Target(Channel.EMAIL, "desk@example.com")
SUMMARY = {"facts": {"channels": ["email"]}, "bot_id": None}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"config": {"notifications": {"error_notifications": False}}}, "silenced by the bot's notifications section"),
        ({"config": {"notifications": {"bot_events": False}}}, None),  # another switch
        ({"config": {"notifications": {"error_notifications": False}}, "severity": "critical"}, None),
        ({"config": {"notifications": {"error_notifications": False}}, "bot_id": None}, None),  # no bot's, no switch
        ({"config": {"notifications": {"error_notifications": False}}, "kind": "of a newer version"}, None),
        ({"config": "broken"}, None),
    ],
)
def test_silenced(changes: dict[str, Any], reason: str | None) -> None:
    assert silenced(notification(**changes)) == reason


@pytest.mark.parametrize(
    ("changes", "installed", "expected"),
    [
        ({**DESK, "config": BOTH}, ALL, [("telegram", "1"), ("email", "desk@example.com")]),
        # a bot's own addresses go before its user's
        ({**DESK, "config": {"notifications": {"email_enabled": True, "notify_email": "bot@example.com"}}}, ALL,
         [("email", "bot@example.com")]),
        # about a user, or named in its facts: the user's own addresses
        ({**DESK, **SUMMARY}, ALL, [("email", "desk@example.com")]),
        ({**DESK, "bot_id": None}, ALL, [("telegram", "1"), ("email", "desk@example.com"),
                                         ("webhook", "https://hooks.example.com/desk")]),
        ({"user_id": None, "config": {}}, ALL, [("telegram", "9"), ("email", "ops@example.com")]),  # its user is gone
        # nobody's: those who run the installation, where they have an address
        ({"bot_id": None, "user_id": None}, ALL, [("telegram", "9"), ("email", "ops@example.com")]),
        ({**DESK, "config": BOTH}, Installed(missing={Channel.TELEGRAM: "no token"}),
         [("telegram", None), ("email", "desk@example.com")]),
        ({"config": BOTH}, ALL, [("telegram", None), ("email", None)]),
        ({**DESK, "config": {}}, ALL, []),
    ],
)  # fmt: skip
def test_targets(changes: dict[str, Any], installed: Installed, expected: list[tuple[str, str | None]]) -> None:
    found = targets_of(notification(**changes), OPERATOR, installed)
    assert [(target.channel.value, target.address) for target in found] == expected
    assert all((target.address is None) == (target.problem is not None) for target in found)


def test_a_user_without_a_timezone_lives_by_utc() -> None:
    assert contact_of(notification(**DESK), OPERATOR).timezone == "UTC"
    assert contact_of(notification(**DESK, timezone="Asia/Tokyo"), OPERATOR).timezone == "Asia/Tokyo"


def test_what_is_skipped_waits_for_nothing() -> None:
    assert may_wait(notification(), MAIL)
    assert not may_wait(notification(severity="critical"), MAIL)
    assert not may_wait(notification(), Target(Channel.EMAIL, None, "no server"))


def part(problem: str | None) -> Delivery:
    target = Target(Channel.EMAIL, None if problem else "a@example.com", problem)
    return delivery(notification(), target, NOW, hold=None, joined=None)


@pytest.mark.parametrize(
    ("problems", "reason"),
    [
        ([], "no channel is enabled"),
        (["no server"], "email: no server"),
        (["no server", "no address"], "email: no server; email: no address"),
        (["no server", None], None),
        ([None], None),
    ],
)
def test_what_goes_nowhere_says_why(problems: list[str | None], reason: str | None) -> None:
    assert suppressed([part(problem) for problem in problems]) == reason


@dataclass
class History:
    """What the outbox answers to the two questions, from the deliveries so far: as its statements say it."""

    deliveries: list[tuple[datetime, Delivery]] = field(default_factory=list)

    def recent(self, kind: str, bot_id: int | None, now: datetime) -> int:
        return sum(
            it.kind == kind and it.bot_id == bot_id and it.message_id == it.notification_id and made > now - WINDOW
            for made, it in self.deliveries
        )

    def waiting(self, hold: Hold, now: datetime) -> int | None:
        for _, it in reversed(self.deliveries):
            first = it.message_id == it.notification_id and not it.critical and it.due_at is not None
            of_group = (
                it.due_at == hold.due_at
                if hold.burst is None
                else (it.kind, it.bot_id) == hold.burst and it.due_at is not None and it.due_at > now
            )
            size = sum(other.message_id == it.message_id for _, other in self.deliveries)
            if first and of_group and size < GROUP_LIMIT:
                return it.message_id
        return None


AWAKE = Contact(email="desk@example.com")
NIGHT = replace(AWAKE, quiet_from=time(22), quiet_until=time(7))


def routed(events: Sequence[tuple[float, dict[str, Any]]], contact: Contact, begin: datetime) -> list[Delivery]:
    """The deliveries to one receiver of what happens so many seconds after `begin`."""
    history = History()
    for number, (after_s, changes) in enumerate(events, start=1):
        now = begin + timedelta(seconds=after_s)
        made = notification(id=number, **changes)
        hold = None
        if may_wait(made, MAIL):
            hold = quiet_hold(contact, UTC, now)
            hold = burst_hold(made, history.recent(made.kind, made.bot_id, now), now) if hold is None else hold
        joined = None if hold is None else history.waiting(hold, now)
        history.deliveries.append((now, delivery(made, MAIL, now, hold=hold, joined=joined)))
    return [it for _, it in history.deliveries]


CRITICAL: dict[str, Any] = {"severity": "critical"}
OTHER_BOT: dict[str, Any] = {"bot_id": 8}
OTHER_KIND: dict[str, Any] = {"kind": "feed_stale"}
EVENING = datetime(2026, 11, 26, 23, 30, tzinfo=UTC)
MORNING_S = 7.5 * 3600
"""From EVENING to 7 o'clock."""


@pytest.mark.parametrize(
    ("contact", "begin", "events", "expected"),
    [
        # (seconds from begin, message): five of a kind alone, the rest as one, a minute after the sixth
        (AWAKE, NOW, [(n, {}) for n in range(8)],
         [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (65, 6), (65, 6), (65, 6)]),
        # the sixth comes when the first is a minute old, and not counted any more
        (AWAKE, NOW, [(n, {}) for n in range(5)] + [(60, {})], [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (60, 6)]),
        (AWAKE, NOW, [(0, {})] * 5 + [(0, OTHER_BOT), (0, OTHER_KIND), (0, {})],
         [(0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (0, 6), (0, 7), (60, 8)]),
        (AWAKE, NOW, [(0, {})] * 5 + [(0, CRITICAL), (0, {}), (0, CRITICAL), (0, {})],
         [(0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (0, 6), (60, 7), (0, 8), (60, 7)]),
        # what waits for a group's time is a message of its own: the next minute's group is another one
        (AWAKE, NOW, [(0, {})] * 6 + [(59, {}), (61, {})],
         [(0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (60, 6), (60, 6), (61, 8)]),
        # a night: one digest at its end, whatever is in it; critical passes
        (NIGHT, EVENING, [(0, {}), (60, OTHER_KIND), (3600, OTHER_BOT), (3601, CRITICAL)],
         [(MORNING_S, 1), (MORNING_S, 1), (MORNING_S, 1), (3601, 4)]),
        # the night's end is exclusive; the digest isn't joined any more
        (NIGHT, EVENING, [(0, {}), (MORNING_S - 1, {}), (MORNING_S, {})], [(MORNING_S, 1), (MORNING_S, 1), (MORNING_S, 3)]),
        (NIGHT, EVENING - timedelta(hours=2), [(0, {})], [(0, 1)]),
    ],
    ids=[
        "burst", "slow enough", "other bots and kinds", "critical in a burst", "two groups", "night", "end of the night",
        "before the night",
    ],
)  # fmt: skip
def test_at_once_later_or_in_a_group(
    contact: Contact,
    begin: datetime,
    events: list[tuple[float, dict[str, Any]]],
    expected: list[tuple[float, int]],
) -> None:
    found = routed(events, contact, begin)
    due = {it.notification_id: it.due_at - begin for it in found if it.due_at is not None}
    # a message goes when its first notification is due
    assert [(due[it.message_id].total_seconds(), it.message_id) for it in found] == expected


def test_a_group_that_is_full_is_followed_by_another() -> None:
    found = routed([(0, {})] * (BURST + GROUP_LIMIT + 1), AWAKE, NOW)
    sizes = {it.message_id: sum(other.message_id == it.message_id for other in found) for it in found}
    assert sorted(sizes.values()) == [1] * BURST + [1, GROUP_LIMIT]


@given(
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from([{}, OTHER_BOT, OTHER_KIND, CRITICAL])), max_size=60),
    st.sampled_from([AWAKE, NIGHT]),
    st.integers(0, 86_400),
)
def test_whatever_comes(steps: list[tuple[int, dict[str, Any]]], contact: Contact, second: int) -> None:
    """Nothing goes before it is known or is held for ever; critical is never held; a group is of one due time."""
    after_s, events = 0, []
    for step_s, changes in steps:
        after_s += step_s
        events.append((float(after_s), changes))
    begin = datetime(2026, 11, 26, tzinfo=UTC) + timedelta(seconds=second)
    found = routed(events, contact, begin)
    known = {number: begin + timedelta(seconds=at_s) for number, (at_s, _) in enumerate(events, start=1)}
    due = {it.notification_id: it.due_at for it in found}
    assert list(due) == list(known)
    for it in found:
        leaves = due[it.message_id]
        assert leaves is not None
        assert it.message_id <= it.notification_id
        assert known[it.notification_id] <= leaves <= known[it.notification_id] + timedelta(hours=9)
        if it.critical:
            assert (it.message_id, leaves) == (it.notification_id, known[it.notification_id])
        at_once = [
            other
            for other in found[: it.notification_id]
            if (other.kind, other.bot_id, other.critical) == (it.kind, it.bot_id, False)
            and due[other.notification_id] == known[other.notification_id] > known[it.notification_id] - WINDOW
        ]
        assert len(at_once) <= BURST


def test_a_delivery_shows_its_receiver_masked() -> None:
    made = delivery(notification(), MAIL, NOW, hold=None, joined=None)
    assert (made.target, made.problem, made.due_at) == ("d…@example.com", None, NOW)
    assert made.target_hash == hashed(Channel.EMAIL, "desk@example.com")
    skipped = delivery(notification(), Target(Channel.EMAIL, None, "no server"), NOW, hold=None, joined=None)
    assert (skipped.target, skipped.target_hash, skipped.problem) == (None, None, "no server")
