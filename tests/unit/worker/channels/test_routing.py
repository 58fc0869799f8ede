"""Where messages go and when: addresses, quiet hours, waits, and what webhooks must not reach."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from fleet.config import NotificationsSection
from fleet.events import EventKind, severity_of, switch_of, wanted
from worker.channels import routing
from worker.channels.outcome import Channel
from worker.channels.routing import (
    Contact,
    Installed,
    enabled,
    forbidden,
    forbidden_address,
    hashed,
    masked,
    next_attempt_s,
    overriding,
    quiet_end,
    switches_of,
    target,
)

OPEN = Installed(missing={})
BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = Contact(timezone="Europe/Berlin", quiet_from=time(22), quiet_until=time(7))


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "a.localhost",
        "printer.local",
        "10.1.2.3",
        "192.168.1.1:8443",
        "169.254.169.254",
        "[::1]",
        "[fd00::1]",
        "[fe80::1%25eth0]",
        "[fec0::1]",  # site-local, of before 2004
        "[ff0e::1]",  # multicast, though global
        "224.0.0.1",
        "100.64.0.1",
        "0.0.0.0",
        "kubernetes.default.svc",
        "metadata.google.internal",
    ],
)
def test_addresses_inside_are_no_targets(host: str) -> None:
    said = forbidden(f"https://{host}/x", OPEN)
    assert said is not None
    assert "BOTFLEET_WEBHOOK_ALLOW_PRIVATE=true would allow it" in said
    inside = Installed(missing={}, allow_private=True)
    assert forbidden(f"https://{host}/x", inside) is None


@pytest.mark.parametrize(
    ("form", "inside", "public"),
    [
        ("mapped", "::ffff:10.0.0.1", "::ffff:93.184.216.34"),
        ("NAT64", "64:ff9b::10.0.0.1", "64:ff9b::93.184.216.34"),
        ("NAT64, metadata", "64:ff9b::a9fe:a9fe", "64:ff9b::5db8:d822"),
        ("NAT64, the last address", "64:ff9b::255.255.255.255", "64:ff9b::1.1.1.1"),
        ("6to4", "2002:a00:1::", "2002:5db8:d822::1"),
    ],
)
def test_an_ipv6_address_is_judged_by_the_ipv4_address_where_its_packets_end(
    form: str, inside: str, public: str
) -> None:
    assert "is not a public address" in str(forbidden_address(inside))
    assert forbidden_address(public) is None


@pytest.mark.parametrize(
    "address",
    [
        "64:ff9b:1::5db8:d822",  # a translator of one's own: its IPv4 address isn't where it seems to be
        "64:ff9b::1:0:0",  # beside the /96
        "::93.184.216.34",  # IPv4-compatible, given up
        "2001:0:5db8:d822::f7f7:f7f7",  # Teredo, whatever is in it
        "2001::a00:1",
        "4000::1",  # not given out
        "1fff::1",
    ],
)
def test_what_is_no_unicast_address_of_the_internet_is_no_target(address: str) -> None:
    assert forbidden_address(address)


def test_the_borders_of_what_is_public() -> None:
    assert forbidden_address("2606:2800:220:1::1") is None
    assert forbidden_address("2606:2800:220:1::1%eth0") is None
    assert forbidden_address("93.184.216.34") is None
    with pytest.raises(ValueError):
        forbidden_address("127.1")  # no IP address to us: whoever resolves it judges the result


@pytest.mark.parametrize(
    ("host", "fine"),
    [
        ("a" * 63 + ".example", True),
        ("a" * 64 + ".example", False),
        ("example." + "a" * 64, False),
        ("a..example", False),
        (".example", False),
        ("hook.example.", True),
        ("hook.example..", False),
        ("", False),
    ],
)
def test_no_part_of_a_name_is_empty_or_longer_than_63_characters(host: str, fine: bool) -> None:
    said = forbidden(f"https://{host}/x", OPEN)
    assert (said is None) is fine
    assert said is None or "each part between dots has 1 to 63 characters" in said


@pytest.mark.parametrize("url", ["https://[::1/x", "https://a:99999/x", "https://a:b/x"])
def test_a_url_that_cannot_be_read(url: str) -> None:
    assert forbidden(url, OPEN) == "the webhook URL can't be read"


def test_an_installation_may_allow_more() -> None:
    inside = Installed(missing={}, allow_private=True, http_hosts=["hooks.internal"])
    assert forbidden("http://hooks.internal/x", inside) is None
    assert forbidden("https://10.0.0.1/x", inside) is None
    assert "https:// only" in str(forbidden("http://elsewhere.internal/x", inside))
    assert forbidden("https://example.com:8443/x", OPEN) is None


@pytest.mark.parametrize(
    ("contact", "installed", "problem"),
    [
        (Contact(email="a@example.com"), OPEN, None),
        (Contact(), OPEN, "nobody to send to: set notifications.notify_email"),
        (Contact(email="a@example.com\r\nBcc: b@example.com"), OPEN, "is no e-mail address"),
        (Contact(email="a@example.com, b@example.com"), OPEN, "is no e-mail address"),
        (Contact(email="a@b.c"), Installed(missing={Channel.EMAIL: "BOTFLEET_SMTP_HOST is not set"}), "SMTP_HOST"),
    ],
)
def test_a_target_or_why_there_is_none(contact: Contact, installed: Installed, problem: str | None) -> None:
    found = target(Channel.EMAIL, contact, installed)
    assert (found.problem is None) == (problem is None) == (found.address is not None)
    assert (problem or "") in (found.problem or "")


MINE = Contact(email="o@a.de", telegram_chat_id="1", webhook_url="https://o.example/", timezone="Europe/Berlin")


@pytest.mark.parametrize(
    ("said", "merged"),
    [
        ({}, MINE),
        ({"notify_email": "b@a.de"}, replace(MINE, email="b@a.de")),
        ({"notify_telegram_chat_id": "2"}, replace(MINE, telegram_chat_id="2")),
        ({"webhook_url": "https://b.example/"}, replace(MINE, webhook_url="https://b.example/")),
    ],
)
def test_the_bots_config_goes_before_the_owners_row(said: dict[str, str], merged: Contact) -> None:
    switches = NotificationsSection.model_validate(said)
    assert overriding(switches, replace(MINE, quiet_from=time(1), quiet_until=time(2))) == replace(
        merged, quiet_from=time(1), quiet_until=time(2)
    )
    alone = overriding(switches, Contact())
    assert (alone.email, alone.telegram_chat_id, alone.webhook_url) == (
        said.get("notify_email"),
        said.get("notify_telegram_chat_id"),
        said.get("webhook_url"),
    )


def test_a_contact_without_a_word_has_no_address_and_no_quiet_hours() -> None:
    assert [Contact().address(channel) for channel in Channel] == [None, None, None]
    assert (Contact().quiet_from, Contact().quiet_until, Contact().timezone) == (None, None, "UTC")
    assert [MINE.address(channel) for channel in Channel] == ["1", "o@a.de", "https://o.example/"]


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("https://hook.example/x", None),
        ("https://10.0.0.1/x", "is not a public address"),
        ("no url", "is no webhook URL"),
    ],
)
def test_a_webhooks_target(url: str, problem: str | None) -> None:
    found = target(Channel.WEBHOOK, Contact(webhook_url=url), OPEN)
    assert found.channel is Channel.WEBHOOK
    assert found.address == (url if problem is None else None)
    assert (problem or "None") in str(found.problem)


def test_limits_of_what_is_sent() -> None:
    """As docs/user/notifications.md says."""
    assert (routing.BURST, routing.BURST_WINDOW_S, routing.GROUP_LIMIT) == (5, 60.0, 200)
    assert (routing.FIRST_RETRY_S, routing.MAX_RETRY_S) == (2.0, 900.0)
    assert len(hashed(Channel.EMAIL, "a@b.c")) == 32  # the column's length


def test_a_broken_config_still_says_where_messages_go() -> None:
    config = {
        "strategy": "broken",
        "notifications": {"telegram_enabled": True, "notify_email": "nonsense", "email_enable": True, "bot_events": 3},
    }
    switches = switches_of(config)
    assert enabled(switches) == [Channel.TELEGRAM]
    assert (switches.notify_email, switches.bot_events) == (None, True)
    assert switches_of("no object") == NotificationsSection()
    assert switches_of({"notifications": {"no_such_key": 1}}) == NotificationsSection()


@pytest.mark.parametrize(
    ("now", "end"),
    [
        ("2026-11-24 20:59", None),  # 21:59 in Berlin
        ("2026-11-24 21:00", "2026-11-25 06:00"),
        ("2026-11-25 05:59", "2026-11-25 06:00"),
        ("2026-11-25 06:00", None),
        ("2026-03-28 23:00", "2026-03-29 05:00"),  # summer time begins that night: 7:00 is 5:00 UTC
    ],
)
def test_quiet_hours_follow_the_owners_wall_clock(now: str, end: str | None) -> None:
    moment = datetime.fromisoformat(now).replace(tzinfo=UTC)
    expected = None if end is None else datetime.fromisoformat(end).replace(tzinfo=UTC)
    assert quiet_end(moment, NIGHT, BERLIN) == expected


NOON = Contact(quiet_from=time(12), quiet_until=time(13))


@pytest.mark.parametrize(
    ("contact", "clock", "end"),
    [
        (NOON, (11, 59, 59), None),
        (NOON, (12, 0, 0), (1, 13)),
        (NOON, (12, 30, 0), (1, 13)),
        (NOON, (13, 0, 0), None),
        (replace(NIGHT, timezone="UTC"), (22, 0, 0), (2, 7)),
        (replace(NIGHT, timezone="UTC"), (21, 59, 59), None),
        (replace(NIGHT, timezone="UTC"), (6, 59, 59), (1, 7)),
        (replace(NIGHT, timezone="UTC"), (7, 0, 0), None),
        (Contact(), (12, 30, 0), None),
        (Contact(quiet_from=time(12)), (12, 30, 0), None),
        (Contact(quiet_until=time(12)), (11, 30, 0), None),
        (Contact(quiet_from=time(12), quiet_until=time(12)), (12, 0, 0), None),
    ],
)
def test_quiet_hours_within_a_day_over_midnight_and_none(
    contact: Contact, clock: tuple[int, int, int], end: tuple[int, int] | None
) -> None:
    expected = None if end is None else datetime(2026, 1, *end, tzinfo=UTC)
    assert quiet_end(datetime(2026, 1, 1, *clock, tzinfo=UTC), contact, UTC) == expected


def test_waits_double_with_jitter_and_obey_the_receiver() -> None:
    chance = random.Random(1)
    waits = [next_attempt_s(attempt, chance, asked_s=None) for attempt in range(1, 30)]
    for attempt, wait in enumerate(waits, start=1):
        nominal = min(2 * 2 ** (attempt - 1), 900)
        assert nominal / 2 <= wait <= nominal * 1.5
    assert len(set(waits)) == len(waits)
    assert next_attempt_s(1, chance, asked_s=77) == 77
    assert next_attempt_s(1, random.Random(3), asked_s=None) == next_attempt_s(1, random.Random(3), asked_s=0.1)
    lowest = type("Lowest", (random.Random,), {"random": lambda _: 0.0})(0)
    assert [next_attempt_s(attempt, lowest, asked_s=None) for attempt in (1, 2, 9, 10)] == [1.0, 2.0, 256.0, 450.0]
    assert next_attempt_s(1, lowest, asked_s=0.5) == 1.0
    highest = type("Highest", (random.Random,), {"random": lambda _: 1.0})(0)
    assert [next_attempt_s(attempt, highest, asked_s=None) for attempt in (1, 2, 10)] == [3.0, 6.0, 1350.0]
    assert next_attempt_s(10**6, chance, asked_s=None) <= 1350


def test_history_shows_no_usable_address() -> None:
    hook = "https://hooks.example.com:8443/services/T000/B000/secret?token=1"
    assert masked(Channel.WEBHOOK, hook) == "https://hooks.example.com:8443/…"
    assert masked(Channel.EMAIL, "somebody@example.com") == "s…@example.com"
    assert masked(Channel.TELEGRAM, "-1001234567890") == "…7890"
    assert hashed(Channel.EMAIL, "a@b.c") != hashed(Channel.WEBHOOK, "a@b.c")


def test_every_switch_exists_and_critical_kinds_have_none() -> None:
    for kind in EventKind:
        switch = switch_of(kind)
        if switch is not None:
            assert not wanted(kind, NotificationsSection(**{switch: False}))
        if severity_of(kind) == "critical":
            assert switch is None


def test_the_waits_are_whole_in_a_day() -> None:
    """With the default of a day a message gets far more than 50 attempts before it has failed."""
    chance = random.Random(2)
    spent, attempts = timedelta(), 0
    while spent < timedelta(days=1):
        attempts += 1
        spent += timedelta(seconds=next_attempt_s(attempts, chance, asked_s=None))
    assert attempts > 50
