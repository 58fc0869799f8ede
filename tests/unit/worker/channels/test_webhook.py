"""The webhook's sender against a real receiver."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from fleet import __version__
from tests.unit.worker.channels.names import Names
from worker.channels.http import LONGEST_WAIT_S, GuardedResolver
from worker.channels.messages import Item, Message
from worker.channels.outcome import Delivered, Refused, TryAgain
from worker.channels.signature import sign, signing_secret
from worker.channels.webhook import ANSWER_LIMIT, WebhookSender

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
ITEM = Item(id=1, kind="bot_error", severity="warning", title="t", body="b", at=NOW, subject="me/bot")
MESSAGE = Message(key="0123456789abcdef", user_id=3, items=(ITEM,))


class Receiver:
    """A server on loopback that keeps what it gets and answers as it is told."""

    def __init__(self) -> None:
        self.taken: list[tuple[dict[str, str], bytes]] = []
        self.status, self.text, self.headers = 200, "", dict[str, str]()

    async def take(self, request: web.Request) -> web.Response:
        self.taken.append((dict(request.headers), await request.read()))
        return web.Response(status=self.status, text=self.text, headers=self.headers)


@pytest.fixture
async def receiver() -> AsyncIterator[tuple[Receiver, str]]:
    made = Receiver()
    app = web.Application()
    app.router.add_post("/{path:.*}", made.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield made, f"http://127.0.0.1:{runner.addresses[0][1]}/services/hunter2hunter2?token=s3cr3tt0k3n"
    await runner.cleanup()


def sender(*, allow_private: bool = True, timeout_s: float = 5) -> WebhookSender:
    return WebhookSender(
        secret="x" * 20, allow_private=allow_private, timeout_s=timeout_s, clock=lambda: NOW.timestamp() + 0.9
    )


async def sent(address: str, **how: Any) -> Any:
    made = sender(**how)
    try:
        return await made.send(MESSAGE, address=address)
    finally:
        await made.close()


async def test_what_is_posted_can_be_checked_by_its_owner(receiver: tuple[Receiver, str]) -> None:
    server, url = receiver
    assert await sent(url) == Delivered()
    [(headers, body)] = server.taken
    assert json.loads(body)["id"] == MESSAGE.key
    stamp = int(NOW.timestamp())
    assert headers["webhook-id"] == MESSAGE.key
    assert headers["webhook-timestamp"] == str(stamp)
    secret = signing_secret("x" * 20, 3)
    assert headers["webhook-signature"] == sign(secret, key=MESSAGE.key, timestamp=stamp, body=body)
    assert headers["Content-Type"] == "application/json"
    assert headers["User-Agent"] == f"Botfleet/{__version__}"


async def test_another_attempt_has_the_same_id_and_body_and_a_signature_of_its_own(
    receiver: tuple[Receiver, str],
) -> None:
    server, url = receiver
    times = iter([NOW.timestamp(), NOW.timestamp(), NOW.timestamp() + 60, NOW.timestamp() + 60])  # one for Retry-After
    made = WebhookSender(secret="x" * 20, allow_private=True, timeout_s=5, clock=lambda: next(times))
    server.status = 503
    assert isinstance(await made.send(MESSAGE, address=url), TryAgain)
    server.status = 204
    assert await made.send(MESSAGE, address=url) == Delivered()
    await made.close()
    (first, body), (second, again) = server.taken
    assert (first["webhook-id"], body) == (second["webhook-id"], again)
    assert int(second["webhook-timestamp"]) == int(first["webhook-timestamp"]) + 60
    assert first["webhook-signature"] != second["webhook-signature"]


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (204, {}, Delivered()),
        (299, {}, Delivered()),
        (300, {}, Refused("127.0.0.1 answered 300: redirects aren't followed, set the final URL")),
        (399, {}, Refused("127.0.0.1 answered 399: redirects aren't followed, set the final URL")),
        (400, {}, Refused("127.0.0.1 answered 400: why")),
        (429, {"Retry-After": "7"}, TryAgain("127.0.0.1 answered 429: why", 7.0)),
        (503, {"Retry-After": " 0 "}, TryAgain("127.0.0.1 answered 503: why", 0.0)),
        (503, {"Retry-After": "86400"}, TryAgain("127.0.0.1 answered 503: why", LONGEST_WAIT_S)),
        (503, {"Retry-After": "-5"}, TryAgain("127.0.0.1 answered 503: why", None)),
        (503, {"Retry-After": "soon"}, TryAgain("127.0.0.1 answered 503: why", None)),
        (503, {"Retry-After": "²"}, TryAgain("127.0.0.1 answered 503: why", None)),
        (503, {}, TryAgain("127.0.0.1 answered 503: why", None)),
    ],
)
async def test_answers(receiver: tuple[Receiver, str], status: int, headers: dict[str, str], expected: object) -> None:
    server, url = receiver
    server.status, server.text, server.headers = status, "" if status == 204 else "why", headers
    assert await sent(url) == expected


@pytest.mark.parametrize(("seconds", "wait"), [(30, 29.1), (-30, 0.0), (7 * 86_400, LONGEST_WAIT_S)])
async def test_a_date_to_come_back_at(receiver: tuple[Receiver, str], seconds: int, wait: float) -> None:
    server, url = receiver
    when = datetime.fromtimestamp(NOW.timestamp() + seconds, UTC)
    server.status, server.headers = 503, {"Retry-After": format_datetime(when, usegmt=True)}
    outcome = await sent(url)
    assert isinstance(outcome, TryAgain)
    assert outcome.error == "127.0.0.1 answered 503"
    assert outcome.after_s == pytest.approx(wait)
    assert LONGEST_WAIT_S == 3600


async def test_little_of_an_answer_is_read_and_nothing_that_is_a_password_is_told(
    receiver: tuple[Receiver, str],
) -> None:
    server, url = receiver
    server.status = 400
    for said in (
        "/services/hunter2hunter2?",
        "no s3cr3tt0k3n",
        f"no {url} here",
        "services/hunter2hunter2",
        "hunter2hunter2",
    ):
        server.text = said
        outcome = await sent(url)
        assert isinstance(outcome, Refused)
        assert "hunter2hunter2" not in outcome.error
        assert "s3cr3tt0k3n" not in outcome.error
    server.text = "it says services at length"  # 8 characters are masked where the URL has them, 7 are a word
    outcome = await sent(url.replace("hunter2hunter2", "at/lengthy"))
    assert isinstance(outcome, Refused)
    assert outcome.error == "127.0.0.1 answered 400: it says *** at length"
    server.text = "€" * ANSWER_LIMIT  # cut within a character
    outcome = await sent(url)
    assert isinstance(outcome, Refused)
    assert outcome.error.count("€") == ANSWER_LIMIT // 3 == 100


async def test_a_redirect_is_not_followed(receiver: tuple[Receiver, str]) -> None:
    server, url = receiver
    server.status, server.headers = 307, {"Location": url}
    assert isinstance(await sent(url), Refused)
    assert len(server.taken) == 1


async def test_who_does_not_answer_is_asked_again(receiver: tuple[Receiver, str]) -> None:
    _, url = receiver
    port = url.split(":")[2].split("/")[0]
    outcome = await sent(url.replace(port, "1"))
    assert isinstance(outcome, TryAgain)
    assert outcome.error.startswith("127.0.0.1: ")
    assert (await sent(url, timeout_s=1e-6)) == TryAgain("127.0.0.1 did not answer within 1e-06 s")


async def test_a_connection_that_breaks_is_tried_again_without_a_word_of_the_path() -> None:
    async def broken(*_: Any, **__: Any) -> Any:
        raise aiohttp.ClientPayloadError("broken at /services/hunter2hunter2?x=1")

    made = sender()
    session = made._http.session()
    session._request = broken  # type: ignore[method-assign]
    outcome = await made.send(MESSAGE, address="http://127.0.0.1/services/hunter2hunter2?x=1")
    await made.close()
    assert isinstance(outcome, TryAgain)
    assert outcome.error.startswith("127.0.0.1: ClientPayloadError: broken at ")
    assert "hunter2hunter2" not in outcome.error


@pytest.mark.parametrize(
    "host",
    ["a" * 64 + ".example", "a..example", ".example", "ä" * 60 + ".example", "1.2.3.4.5"],
    ids=["64 characters", "empty in the middle", "empty at the begin", "64 when encoded", "five numbers"],
)
@pytest.mark.parametrize("allow_private", [False, True])
async def test_a_host_that_is_no_name_is_refused_whoever_resolves_it(host: str, allow_private: bool) -> None:
    outcome = await sent(f"https://{host}/hook", allow_private=allow_private)
    assert outcome == Refused("the webhook URL can't be read")


async def test_a_name_that_leads_inside_is_refused_and_nothing_sent(receiver: tuple[Receiver, str]) -> None:
    server, url = receiver
    made = sender(allow_private=False)
    session = made._http.session()
    resolver = GuardedResolver()
    resolver._resolver = Names("127.0.0.1")  # type: ignore[assignment]
    assert isinstance(session.connector._resolver, GuardedResolver)  # type: ignore[union-attr]
    session.connector._resolver = resolver  # type: ignore[union-attr]
    outcome = await made.send(MESSAGE, address=url.replace("127.0.0.1", "hook.example"))
    assert made._http.session() is session
    await made.close()
    assert session.closed
    assert isinstance(outcome, Refused)
    assert outcome.error.startswith("hook.example leads to 127.0.0.1")
    assert server.taken == []


async def test_names_are_resolved_each_time_and_no_proxy_stands_between(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that was public a minute ago may lead inside now; a proxy would resolve names behind the guard."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    made = sender()
    session = made._http.session()
    connector = session.connector
    assert isinstance(connector, aiohttp.TCPConnector)
    assert (connector.use_dns_cache, connector.limit_per_host, session.trust_env) == (False, 4, False)
    assert isinstance(session.cookie_jar, aiohttp.DummyCookieJar)
    assert session.timeout.total == 5
    assert not isinstance(connector._resolver, GuardedResolver)
    await made.close()


async def test_a_sender_that_sent_nothing_closes() -> None:
    await sender().close()
