"""Each channel against a real local server: what arrives, and what each answer means."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.integration.mail_server import PASSWORD, USER, mail_server
from tests.integration.receivers import Receivers, receivers
from worker.channels.mail import MailSender
from worker.channels.messages import Item, Message
from worker.channels.outcome import Channel, Delivered, Outcome, Refused, TryAgain
from worker.channels.webhook import WebhookSender
from worker.main import build_senders
from worker.settings import Settings

KEY = "3f2a91bc-0000-4000-8000-000000000000"
MESSAGE = Message(
    KEY,
    1,
    (
        Item(
            id=1,
            kind="bot_error",
            severity="warning",
            title="Run 3 ended: <b>failed</b> & more\r\nBcc: thief@example.com",
            body="line 1\nlöne 2 *bold* _x_ \\n api_key=abc",
            at=datetime(2026, 11, 24, tzinfo=UTC),
            subject="desk/eth",
            mode="paper",
            bot_id=7,
        ),
    ),
)


@pytest.fixture(scope="module")
def servers() -> Iterator[Receivers]:
    with receivers() as made:
        yield made


def settings(servers: Receivers, monkeypatch: pytest.MonkeyPatch, **changes: str) -> Settings:
    for name, value in {**servers.environment, "BOTFLEET_SEND_TIMEOUT_S": "1", **changes}.items():
        monkeypatch.setenv(name, value)
    return Settings(database_url="postgresql://nowhere/x")


def send(
    servers: Receivers, monkeypatch: pytest.MonkeyPatch, channel: Channel, address: str, **changes: str
) -> Outcome:
    async def run() -> Outcome:
        senders = build_senders(settings(servers, monkeypatch, **changes))
        try:
            return await senders[channel].send(MESSAGE, address=address)
        finally:
            for sender in senders.values():
                await sender.close()

    return asyncio.run(run())


def test_telegram_gets_plain_text_that_ends_with_the_key(servers: Receivers, monkeypatch: pytest.MonkeyPatch) -> None:
    assert send(servers, monkeypatch, Channel.TELEGRAM, "-10012") == Delivered()
    sent = servers.telegram.taken[-1]
    assert sent["chat_id"] == -10012
    assert "parse_mode" not in sent
    assert sent["disable_web_page_preview"] is True
    assert sent["text"] == (
        "🟡 WARNING desk/eth PAPER · Run 3 ended: <b>failed</b> & more Bcc: thief@example.com\n"
        "line 1\nlöne 2 *bold* _x_ \\n api_key=***\n#3f2a91bc0000"
    )


@pytest.mark.parametrize(
    ("chat", "fault", "outcome"),
    [
        ("404", None, Refused("Telegram answered 400: Bad Request: chat not found (check the chat id; a group's begins with -)")),
        ("403", None, Refused("Telegram answered 403: Forbidden: bot was blocked by the user (the person must start the bot or add it to the group)")),
        ("5", 429, TryAgain("Telegram answered 429: Too Many Requests: retry after 1", 1.0)),
        ("5", 500, TryAgain("Telegram answered 500: Internal Server Error")),
    ],
)  # fmt: skip
def test_telegrams_answers(
    servers: Receivers, monkeypatch: pytest.MonkeyPatch, chat: str, fault: int | None, outcome: Outcome
) -> None:
    servers.telegram.behave = [fault] if fault else []
    assert send(servers, monkeypatch, Channel.TELEGRAM, chat) == outcome


@pytest.mark.parametrize("fault", ["hang", "close"])
@pytest.mark.parametrize("channel", [Channel.TELEGRAM, Channel.WEBHOOK])
def test_silence_and_broken_connections_are_tried_again(
    servers: Receivers, monkeypatch: pytest.MonkeyPatch, channel: Channel, fault: str
) -> None:
    receiver, address = {
        Channel.TELEGRAM: (servers.telegram, "5"),
        Channel.WEBHOOK: (servers.webhook, servers.webhook_url),
    }[channel]
    receiver.behave = [fault]
    assert isinstance(send(servers, monkeypatch, channel, address), TryAgain)
    assert send(servers, monkeypatch, channel, address) == Delivered()


def test_a_wrong_token_is_final(servers: Receivers, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {"BOTFLEET_TELEGRAM_TOKEN": "1:" + "w" * 35}
    assert send(servers, monkeypatch, Channel.TELEGRAM, "5", **wrong) == Refused(
        "Telegram answered 401: Unauthorized (check BOTFLEET_TELEGRAM_TOKEN)"
    )


def test_a_mail_has_one_receiver_one_subject_and_the_key_as_its_id(
    servers: Receivers, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert send(servers, monkeypatch, Channel.EMAIL, "desk@example.com") == Delivered()
    to, mail = servers.mail.taken[-1]
    assert to == ["desk@example.com"]
    assert mail["Message-ID"] == f"<{KEY}@example.com>"
    assert len(mail.get_all("Message-ID")) == 1
    assert mail["Bcc"] is None
    assert mail["Subject"] == ("🟡 WARNING desk/eth PAPER · Run 3 ended: <b>failed</b> & more Bcc: thief@example.com")
    assert mail["Auto-Submitted"] == "auto-generated"
    assert "löne 2 *bold* _x_ \\n api_key=***" in mail.get_content()


@pytest.mark.parametrize(
    ("address", "fault", "outcome"),
    [
        ("nobody@example.com", None, Refused("the mail server answered 550: 5.1.1 no such user here")),
        ("a@example.com", "451 4.7.1 greylisted", TryAgain("the mail server answered 451: 4.7.1 greylisted")),
        ("a@example.com", "554 5.7.1 spam", Refused("the mail server answered 554: 5.7.1 spam")),
    ],
)
def test_mail_servers_answers(
    servers: Receivers, monkeypatch: pytest.MonkeyPatch, address: str, fault: str | None, outcome: Outcome
) -> None:
    servers.mail.behave = [fault] if fault else []
    assert send(servers, monkeypatch, Channel.EMAIL, address) == outcome


def test_a_mail_server_that_is_away_or_lacks_tls(servers: Receivers, monkeypatch: pytest.MonkeyPatch) -> None:
    away = send(servers, monkeypatch, Channel.EMAIL, "a@example.com", BOTFLEET_SMTP_PORT="1")
    assert isinstance(away, TryAgain)
    assert "refused" in away.error
    # starttls is asked for and not offered: nothing is sent in the clear
    before = servers.mail.requests
    plain = send(servers, monkeypatch, Channel.EMAIL, "a@example.com", BOTFLEET_SMTP_TLS="starttls")
    assert isinstance(plain, TryAgain)
    assert "STARTTLS" in plain.error
    assert servers.mail.requests == before


@pytest.mark.parametrize("tls", ["starttls", "ssl"])
def test_a_mail_goes_encrypted_to_a_server_that_is_known(
    tls: str, servers: Receivers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with mail_server(tmp_path, tls=tls) as server:
        login = {
            "BOTFLEET_SMTP_PORT": str(server.port),
            "BOTFLEET_SMTP_TLS": tls,
            "BOTFLEET_SMTP_USER": USER,
            "BOTFLEET_SMTP_PASSWORD": PASSWORD,
        }
        unknown = send(servers, monkeypatch, Channel.EMAIL, "a@example.com", **login)
        assert isinstance(unknown, TryAgain)
        assert "certificate verify failed" in unknown.error
        assert server.mails == []

        monkeypatch.setenv("SSL_CERT_FILE", str(server.certificate))
        assert send(servers, monkeypatch, Channel.EMAIL, "a@example.com", **login) == Delivered()
        assert server.mails == [(True, True)]

        wrong = send(
            servers, monkeypatch, Channel.EMAIL, "a@example.com", **{**login, "BOTFLEET_SMTP_PASSWORD": "w" * 9}
        )
        assert wrong == Refused("the mail server answered 535: 5.7.8 Authentication credentials invalid")
        anonymous = send(servers, monkeypatch, Channel.EMAIL, "a@example.com", **{**login, "BOTFLEET_SMTP_USER": ""})
        assert anonymous == Refused("the mail server answered 530: 5.7.0 Authentication required")
        assert server.mails == [(True, True)]


def test_without_tls_a_mail_stays_as_it_was_asked_for(
    servers: Receivers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A server inside, whose certificate nobody knows, may offer STARTTLS: `none` doesn't take it."""
    with mail_server(tmp_path, tls="offered") as server:
        there = {"BOTFLEET_SMTP_PORT": str(server.port), "BOTFLEET_SMTP_TLS": "none"}
        assert send(servers, monkeypatch, Channel.EMAIL, "a@example.com", **there) == Delivered()
        assert server.mails == [(False, False)]


def test_a_mail_server_that_hangs_is_left_after_the_time_of_an_attempt(
    servers: Receivers, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # takes connections and says nothing
        port = str(deaf.getsockname()[1])
        hung = send(servers, monkeypatch, Channel.EMAIL, "a@example.com", BOTFLEET_SMTP_PORT=port)
    assert isinstance(hung, TryAgain)
    assert hung.error in ("127.0.0.1 did not answer within 1 s", "Timed out waiting for server ready message")


def test_a_webhook_is_signed_so_that_its_owner_can_check_it(
    servers: Receivers, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert send(servers, monkeypatch, Channel.WEBHOOK, servers.webhook_url) == Delivered()
    document = servers.webhook.taken[-1]
    assert (document["id"], document["severity"]) == (KEY, "warning")
    assert document["notifications"][0]["kind"] == "bot_error"
    refused = send(servers, monkeypatch, Channel.WEBHOOK, servers.webhook_url, BOTFLEET_WEBHOOK_SECRET="another")
    assert refused == Refused('127.0.0.1 answered 401: {"error": "bad signature"}')


@pytest.mark.parametrize(
    ("code", "kind", "after_s"),
    [(500, TryAgain, 1.0), (429, TryAgain, 1.0), (404, Refused, None), (410, Refused, None)],
)
def test_webhook_receivers_answers(
    servers: Receivers, monkeypatch: pytest.MonkeyPatch, code: int, kind: type, after_s: float | None
) -> None:
    servers.webhook.behave = [code]
    outcome = send(servers, monkeypatch, Channel.WEBHOOK, servers.webhook_url)
    assert isinstance(outcome, kind)
    assert getattr(outcome, "after_s", None) == after_s
    assert str(code) in outcome.error  # type: ignore[union-attr]


def test_a_redirect_leads_nowhere(servers: Receivers, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would lead around the guard: 302 to a metadata address is the classic."""
    servers.webhook.behave = [302]
    before = servers.webhook.requests
    assert send(servers, monkeypatch, Channel.WEBHOOK, servers.webhook_url) == Refused(
        "127.0.0.1 answered 302: redirects aren't followed, set the final URL"
    )
    assert servers.webhook.requests == before + 1


def test_a_public_name_that_leads_inside_is_refused_where_it_is_resolved(servers: Receivers) -> None:
    port = servers.webhook_url.split(":")[2].split("/")[0]

    async def run() -> Outcome:
        sender = WebhookSender(secret="s", allow_private=False, timeout_s=2)
        try:
            # every resolver leads this name to loopback; the URL itself tells nothing
            return await sender.send(MESSAGE, address=f"http://localhost:{port}/hook")
        finally:
            await sender.close()

    before = servers.webhook.requests
    outcome = asyncio.run(run())
    assert isinstance(outcome, Refused)
    assert "is not a public address" in outcome.error
    assert servers.webhook.requests == before


def test_a_mail_servers_password_is_in_no_representation(servers: Receivers, monkeypatch: pytest.MonkeyPatch) -> None:
    made = settings(servers, monkeypatch, BOTFLEET_SMTP_USER="u", BOTFLEET_SMTP_PASSWORD="hunter2")
    server = made.mail_server
    assert server is not None
    assert server.password == "hunter2"
    sender = MailSender(server, timeout_s=1)
    assert not any("hunter2" in words for words in (repr(server), str(server), repr(made), repr(sender.__dict__)))


@pytest.mark.parametrize(
    "title",
    ["[/x] [long] :fire: {{x}}", "<a href='x'>y</a> &lt; &amp;", "*b* _i_ `c` ~s~ # h > q", "| - 1. [l](http://x) \\n"],
)
def test_no_title_is_markup_anywhere(title: str, servers: Receivers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "tests.integration.test_notification_channels.MESSAGE",
        Message(KEY, 1, (replace(MESSAGE.items[0], title=title, body=title),)),
    )
    assert send(servers, monkeypatch, Channel.TELEGRAM, "-10012") == Delivered()
    head, body, _ = servers.telegram.taken[-1]["text"].split("\n")
    assert (head.partition(" · ")[2], body) == (title, title)
    assert "parse_mode" not in servers.telegram.taken[-1]
    assert send(servers, monkeypatch, Channel.EMAIL, "owner@example.com") == Delivered()
    mail = servers.mail.taken[-1][1]
    assert mail["Subject"].partition(" · ")[2] == title
    [part] = [part for part in mail.walk() if part.get_content_maintype() == "text"]
    assert part.get_content_type() == "text/plain"
    assert title in part.get_content()
    assert send(servers, monkeypatch, Channel.WEBHOOK, servers.webhook_url) == Delivered()
    assert servers.webhook.taken[-1]["notifications"][0]["title"] == title
