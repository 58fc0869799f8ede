"""The worker as a real process with real receivers: nothing is lost by any kill, and what is doubled has the same key."""

from __future__ import annotations

import json
import random
import urllib.request
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.integration.receivers import Receivers, receivers
from tests.integration.worker_process import Outbox, Worker, wait_until, worker

KILLS = 6

ALL = {"telegram_enabled": True, "email_enabled": True, "webhook_enabled": True}


@pytest.fixture
def servers() -> Iterator[Receivers]:
    with receivers() as made:
        yield made


@pytest.fixture
def outbox(database_url: str, servers: Receivers) -> Iterator[Outbox]:
    made = Outbox(database_url)
    made.owner(email="owner@example.com", telegram_chat_id="1", webhook_url=servers.webhook_url)
    yield made
    made.connection.close()


def log_of(tmp_path: Path) -> Path:
    return tmp_path / "worker.log"


def test_kills_at_any_moment_lose_nothing_and_double_only_with_the_same_key(
    outbox: Outbox, servers: Receivers, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """240 notifications of 60 bots over three channels; two workers, killed again and again while they deliver."""
    chance = random.Random(4711)
    # an address of their own, so that 60 receivers of each channel are served at the same time
    bots = [
        outbox.bot(
            f"b{n}",
            **ALL,
            notify_email=f"b{n}@example.com",
            notify_telegram_chat_id=str(1000 + n),
            webhook_url=f"{servers.webhook_url}/{n}",
        )
        for n in range(60)
    ]
    for number in range(4):
        for bot_id in bots:
            outbox.event(bot_id, f"e{bot_id}-{number}")
    everybody = (servers.telegram, servers.mail, servers.webhook)
    for receiver in everybody:
        receiver.slow_s = 0.1  # taken and not yet answered: where a kill doubles a message

    def arrived() -> int:
        return sum(receiver.total for receiver in everybody)

    log = log_of(tmp_path)
    running = [Worker(outbox.url, log, servers.environment) for _ in range(2)]
    moments = sorted(chance.sample(range(1, 700), KILLS))
    try:
        for moment in moments:
            wait_until(lambda moment=moment: arrived() >= moment, within_s=40, say=lambda: (arrived(), outbox.states()))
            running.pop(chance.randrange(2)).kill()
            running.append(Worker(outbox.url, log, servers.environment))
        wait_until(lambda: outbox.states() == {"delivered": 240}, within_s=40, say=outbox.states)
    finally:
        for made in running:
            made.kill()
    assert outbox.states() == {"delivered": 240}
    rows = outbox.deliveries()
    assert Counter(row["state"] for row in rows) == {"delivered": 720}
    told = []
    for channel, receiver, key_of in (
        ("telegram", servers.telegram, lambda key: key.replace("-", "")[:12]),
        ("email", servers.mail, str),
        ("webhook", servers.webhook, str),
    ):
        sent = {key_of(row["idempotency_key"]) for row in rows if row["channel"] == channel}
        assert len(sent) == 240
        assert set(receiver.keys) == sent
        told.append(f"{channel} {receiver.total - len(sent)}")
    assert arrived() > 720, "no kill hit a message on its way: the test shows nothing"
    with capsys.disabled():
        print(f"\n{KILLS} kills, 720 messages, 0 lost, doubled with the same key: {', '.join(told)}")


def test_receivers_that_misbehave_get_everything_in_the_end(outbox: Outbox, servers: Receivers, tmp_path: Path) -> None:
    servers.webhook.behave = ["hang", 500]
    servers.telegram.behave = [429, 502]
    servers.mail.behave = ["451 4.7.1 later"]
    bot_id = outbox.bot(**ALL)
    patient = {**servers.environment, "BOTFLEET_LEASE_S": "30"}
    with worker(outbox.url, log_of(tmp_path), patient) as made:
        first = outbox.event(bot_id, "one")
        second = outbox.event(bot_id, "two", kind="bot_stopped")
        wait_until(lambda: outbox.states() == {"delivered": 2}, within_s=45, say=outbox.deliveries)
        assert made.stop() == 0
    rows = {(row["notification_id"], row["channel"]): row for row in outbox.deliveries()}
    assert {rows[first, channel]["attempts"] for channel in ("webhook", "telegram", "email")} == {3, 2}
    order = [document["notifications"][0]["id"] for document in servers.webhook.taken]
    assert order == [first, second], "a receiver gets a bot's messages in order"


def test_what_can_t_be_delivered_says_why(outbox: Outbox, servers: Receivers, tmp_path: Path) -> None:
    wrong = outbox.bot(
        "wrong", **ALL, notify_telegram_chat_id="404", notify_email="nobody@example.com", webhook_url="http://10.0.0.1/"
    )
    silent = outbox.bot("silent", bot_events=False, **ALL)
    none = outbox.bot("none")
    ids = {
        "wrong": outbox.event(wrong, "wrong"),
        "silent": outbox.event(silent, "silent", kind="bot_started"),
        "none": outbox.event(none, "none"),
    }
    with worker(outbox.url, log_of(tmp_path), servers.environment):
        wait_until(lambda: "pending" not in outbox.states(), within_s=20, say=outbox.deliveries)
    history = {row["id"]: row for row in outbox.rows("SELECT * FROM trading_notifications")}
    assert history[ids["wrong"]]["state"] == "failed"
    error = history[ids["wrong"]]["last_error"]
    assert "email: the mail server answered 550" in error
    assert "telegram: Telegram answered 400: Bad Request: chat not found" in error
    assert "webhook: webhooks go to https:// only" in error
    assert history[ids["silent"]]["state"] == "suppressed"
    assert "silenced by the bot's notifications section" in history[ids["silent"]]["last_error"]
    assert (history[ids["none"]]["state"], history[ids["none"]]["last_error"]) == (
        "suppressed",
        "no channel is enabled",
    )
    assert {row["attempts"] for row in outbox.deliveries()} == {0, 1}


def test_without_channels_the_history_fills(outbox: Outbox, tmp_path: Path) -> None:
    bot_id = outbox.bot(**ALL)
    outbox.event(bot_id, "one", severity="critical")
    with worker(outbox.url, log_of(tmp_path), {"BOTFLEET_HTTP_PORT": "0"}) as made:
        wait_until(lambda: "pending" not in outbox.states(), within_s=20)
        assert made.stop() == 0
    assert outbox.states() == {"suppressed": 1}
    assert {row["state"] for row in outbox.deliveries()} == {"skipped"}
    assert "BOTFLEET_SMTP_HOST is not set" in next(
        row["last_error"] for row in outbox.deliveries() if row["channel"] == "email"
    )


def test_bursts_are_grouped_quiet_hours_wait_and_critical_passes(
    outbox: Outbox, servers: Receivers, tmp_path: Path
) -> None:
    bot_id = outbox.bot(webhook_enabled=True)
    for number in range(40):
        outbox.event(bot_id, f"burst {number}")
    with worker(outbox.url, log_of(tmp_path), servers.environment):
        wait_until(lambda: len(servers.webhook.taken) == 5, within_s=20)
        # five went alone; the other 35 are one message that waits for the window's end
        groups = outbox.rows("SELECT message_id, count(*) AS n FROM notification_deliveries GROUP BY 1 ORDER BY 1")
        assert [row["n"] for row in groups] == [1] * 5 + [35]
        outbox.connection.execute("UPDATE notification_deliveries SET next_attempt_at = now() WHERE attempts = 0")
        wait_until(lambda: outbox.states() == {"delivered": 40}, within_s=20)
        assert len(servers.webhook.taken[-1]["notifications"]) == 35
        # quiet from an hour ago until in an hour, by the owner's own clock
        now = datetime.now(UTC)
        outbox.owner(
            timezone="UTC",
            quiet_from=(now - timedelta(hours=1)).time().replace(microsecond=0),
            quiet_until=(now + timedelta(hours=1)).time().replace(microsecond=0),
        )
        before = len(servers.webhook.taken)
        outbox.event(bot_id, "night 1", kind="bot_stopped")
        outbox.event(bot_id, "night 2", kind="risk_breach", severity="warning")
        loud = outbox.event(bot_id, "loud", kind="bot_disabled", severity="critical")
        wait_until(lambda: len(servers.webhook.taken) > before, within_s=20)
        assert servers.webhook.taken[-1]["notifications"][0]["id"] == loud
        # taken is not yet concluded
        wait_until(
            lambda: outbox.rows(
                "SELECT FROM notification_deliveries WHERE message_id = %s AND state = 'delivered'", loud
            ),
            within_s=20,
        )
        waiting = outbox.rows("SELECT * FROM notification_deliveries WHERE state = 'pending' ORDER BY 1")
        assert len({row["message_id"] for row in waiting}) == 1
        assert len(waiting) == 2
        assert all(timedelta(minutes=58) < row["next_attempt_at"] - now < timedelta(minutes=61) for row in waiting)


def test_a_rate_limit_outlives_a_restart(outbox: Outbox, servers: Receivers, tmp_path: Path) -> None:
    bot_id = outbox.bot(telegram_enabled=True)
    for kind in ("position_opened", "position_closed", "order_rejected", "risk_breach", "bot_stopped"):
        outbox.event(bot_id, kind, kind=kind)
    limited = {**servers.environment, "BOTFLEET_TELEGRAM_PER_MINUTE": "3"}
    for _ in range(2):
        with worker(outbox.url, log_of(tmp_path), limited):
            wait_until(lambda: len(servers.telegram.taken) >= 3, within_s=20)
            loud = outbox.event(bot_id, f"loud {_}", kind="bot_disabled", severity="critical")
            wait_until(
                lambda loud=loud: outbox.rows(
                    "SELECT FROM trading_notifications WHERE id = %s AND state = 'delivered'", loud
                ),
                within_s=20,
            )
    # three of five and the two that know no limit
    assert len(servers.telegram.taken) == 5
    assert outbox.states() == {"delivered": 5, "pending": 2}


def test_a_new_event_is_delivered_without_waiting_for_the_poll(
    outbox: Outbox, servers: Receivers, tmp_path: Path
) -> None:
    bot_id = outbox.bot(webhook_enabled=True)
    slow = {**servers.environment, "BOTFLEET_POLL_INTERVAL_S": "600"}
    with worker(outbox.url, log_of(tmp_path), slow) as made:
        wait_until(lambda: "listening" in made.log.read_text(), within_s=20)
        outbox.event(bot_id, "warm", kind="bot_started")
        wait_until(lambda: len(servers.webhook.taken) == 1, within_s=20)
        outbox.event(bot_id, "one", kind="bot_stopped")
        wait_until(lambda: len(servers.webhook.taken) == 2, within_s=20)
        port = next(json.loads(line)["port"] for line in made.log.read_text().splitlines() if '"listening"' in line)
        for path in ("healthz", "readyz"):
            assert urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}").status == 200
        counted = 'botfleet_notifications_total{channel="webhook",outcome="delivered"} 2.0'
        # counted after the receiver's answer, and after it was written down
        wait_until(
            lambda: counted in urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode(), within_s=20
        )


def test_an_address_is_looked_up_at_each_attempt(outbox: Outbox, servers: Receivers, tmp_path: Path) -> None:
    """Whoever corrects a wrong address gets what waits."""
    servers.telegram.behave = [500]
    bot_id = outbox.bot(telegram_enabled=True)
    outbox.event(bot_id, "one")
    with worker(outbox.url, log_of(tmp_path), servers.environment):
        wait_until(lambda: servers.telegram.requests == 1, within_s=20)
        outbox.owner(telegram_chat_id="77")
        wait_until(lambda: outbox.states() == {"delivered": 1}, within_s=20)
    assert [sent["chat_id"] for sent in servers.telegram.taken] == [77]
    assert outbox.deliveries()[0]["target"] == "…77"
