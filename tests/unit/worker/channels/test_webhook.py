"""The webhook's sender against a real receiver, and the guard of its resolver against names that lead inside."""

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
from worker.channels import webhook as module
from worker.channels.messages import Item, Message
from worker.channels.outcome import Delivered, Refused, TryAgain
from worker.channels.signature import sign, signing_key
from worker.channels.webhook import (
    ANSWER_LIMIT,
    LONGEST_WAIT_S,
    ForbiddenAddress,
    GuardedResolver,
    WebhookSender,
)

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
ITEM = Item(id=1, kind="bot_error", severity="warning", title="t", body="b", at=NOW, subject="me/bot")
MESSAGE = Message(key="0123456789abcdef", owner=3, items=(ITEM,))


class Names:
    """A resolver whose answers are set by the test."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.asked: list[tuple[str, int, int]] = []
        self.closed = False

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[dict[str, Any]]:
        self.asked.append((host, port, family))
        return [
            {"hostname": host, "host": each, "port": port, "family": 2, "proto": 0, "flags": 0}
            for each in self.addresses
        ]

    async def close(self) -> None:
        self.closed = True


def guarded(*addresses: str) -> tuple[GuardedResolver, Names]:
    resolver = GuardedResolver()
    names = Names(*addresses)
    resolver._resolver = names  # type: ignore[assignment]
    return resolver, names


@pytest.mark.parametrize(
    "addresses",
    [
        ("127.0.0.1",),
        ("93.184.216.34", "10.0.0.1"),  # the system may connect to any of them, and does when the first is silent
        ("93.184.216.34", "2606:2800:220:1::1", "169.254.169.254"),
        ("93.184.216.34", "64:ff9b::a9fe:a9fe"),  # NAT64 of 169.254.169.254
        ("2606:2800:220:1::1", "::ffff:127.0.0.1"),
        ("2606:2800:220:1::1", "2002:7f00:1::"),
    ],
    ids=" ".join,
)
async def test_one_address_inside_among_public_ones_is_enough_to_refuse(addresses: tuple[str, ...]) -> None:
    resolver, _ = guarded(*addresses)
    with pytest.raises(ForbiddenAddress, match=r"hook\.example leads to .* is not a public address"):
        await resolver.resolve("hook.example", 443)


async def test_public_addresses_come_through_as_they_are() -> None:
    resolver, names = guarded("93.184.216.34", "2606:2800:220:1::1", "64:ff9b::5db8:d822")
    found = await resolver.resolve("hook.example", 8443, 10)
    assert [each["host"] for each in found] == list(names.addresses)
    assert names.asked == [("hook.example", 8443, 10)]
    await resolver.resolve("hook.example")
    assert names.asked[-1] == ("hook.example", 0, 0)
    await resolver.close()
    assert names.closed


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
    assert headers["Idempotency-Key"] == MESSAGE.key
    assert headers["Botfleet-Timestamp"] == str(stamp)
    assert headers["Botfleet-Signature"] == sign(signing_key("x" * 20, 3), timestamp=stamp, body=body)
    assert headers["Content-Type"] == "application/json"
    assert headers["User-Agent"] == f"Botfleet/{__version__}"


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
    session = made._open()
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
    session = made._open()
    resolver, _ = guarded("127.0.0.1")
    assert isinstance(session.connector._resolver, GuardedResolver)  # type: ignore[union-attr]
    session.connector._resolver = resolver  # type: ignore[union-attr]
    outcome = await made.send(MESSAGE, address=url.replace("127.0.0.1", "hook.example"))
    assert made._open() is session
    await made.close()
    assert session.closed
    assert isinstance(outcome, Refused)
    assert outcome.error.startswith("hook.example leads to 127.0.0.1")
    assert server.taken == []


async def test_names_are_resolved_each_time_and_no_proxy_stands_between(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that was public a minute ago may lead inside now; a proxy would resolve names behind the guard."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    made = sender()
    session = made._open()
    connector = session.connector
    assert isinstance(connector, aiohttp.TCPConnector)
    assert (connector.use_dns_cache, connector.limit_per_host, session.trust_env) == (False, 4, False)
    assert isinstance(session.cookie_jar, aiohttp.DummyCookieJar)
    assert session.timeout.total == 5
    assert not isinstance(connector._resolver, GuardedResolver)
    await made.close()


def test_the_guards_refusal_is_found_however_deep_it_is() -> None:
    guard = ForbiddenAddress("inside")
    wrapped = OSError("connect")
    wrapped.os_error = guard  # type: ignore[attr-defined]  # aiohttp's way
    caused = OSError("connect")
    caused.__cause__ = guard
    of_itself = OSError("connect")
    of_itself.os_error = of_itself  # type: ignore[attr-defined]
    of_itself.__cause__ = wrapped
    of_text = OSError("connect")
    of_text.os_error = "text"  # type: ignore[attr-defined]
    of_text.__cause__ = caused
    for error in (guard, wrapped, caused, of_itself, of_text):
        assert module._forbidden(error) is guard
    of_itself.__cause__ = None
    for error in (OSError("other"), of_itself):
        assert module._forbidden(error) is None


async def test_a_sender_that_sent_nothing_closes() -> None:
    await sender().close()
