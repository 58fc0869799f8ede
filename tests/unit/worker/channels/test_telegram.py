"""What Telegram's answers mean, whatever is in them; the requests themselves: tests/integration."""

from __future__ import annotations

import json

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.hostile_json import json_texts
from worker.channels.http import Answer
from worker.channels.outcome import Delivered, Outcome, Refused, TryAgain
from worker.channels.telegram import LONGEST_WAIT_S, TelegramSender, outcome

TOKEN = "123456789:AAEhBOweik6ad9r_QXMENQjcrGbqCr4K-bc"


def said(description: str, **parameters: object) -> str:
    return json.dumps({"ok": False, "description": description, "parameters": parameters})


@pytest.mark.parametrize(
    ("code", "body", "asked_s", "expected"),
    [
        (200, '{"ok": true}', None, Delivered()),
        (429, said("Too Many Requests: retry after 7", retry_after=7), None,
         TryAgain("Telegram answered 429: Too Many Requests: retry after 7", 7.0)),
        # the number in its document goes before a header of whoever stands before it
        (429, said("slow", retry_after=7), 3.0, TryAgain("Telegram answered 429: slow", 7.0)),
        (429, said("slow"), 3.0, TryAgain("Telegram answered 429: slow", 3.0)),
        (429, said("slow", retry_after=10**9), None, TryAgain("Telegram answered 429: slow", LONGEST_WAIT_S)),
        (429, said("slow", retry_after=-1), None, TryAgain("Telegram answered 429: slow")),
        (429, said("slow", retry_after="7"), None, TryAgain("Telegram answered 429: slow")),
        # a server before it, in its own words
        (502, "<html>\r\n<h1>Bad Gateway</h1>", None, TryAgain("Telegram answered 502: <html> <h1>Bad Gateway</h1>")),
        (503, "", 2.0, TryAgain("Telegram answered 503", 2.0)),
        (413, "", None, Refused("Telegram answered 413")),
        (302, "", None, Refused("Telegram answered 302")),
        (404, said("Not Found"), None,
         Refused("Telegram answered 404: Not Found (check BOTFLEET_TELEGRAM_TOKEN and BOTFLEET_TELEGRAM_API_URL)")),
        (400, said("no chat"), None,
         Refused("Telegram answered 400: no chat (check the chat id; a group's begins with -)")),
        (403, said("blocked"), None,
         Refused("Telegram answered 403: blocked (the person must start the bot or add it to the group)")),
        (429, said("now", retry_after=0), 3.0, TryAgain("Telegram answered 429: now", 0.0)),
        (401, said(f"no bot {TOKEN}"), None,
         Refused("Telegram answered 401: no bot *** (check BOTFLEET_TELEGRAM_TOKEN)")),
    ],
)  # fmt: skip
def test_answers(code: int, body: str, asked_s: float | None, expected: Outcome) -> None:
    assert outcome(Answer(code, body, asked_s)) == expected


@given(st.integers(100, 599), st.text(max_size=300) | json_texts)
def test_any_answer_is_an_outcome_of_one_line(code: int, body: str) -> None:
    found = outcome(Answer(code, body, None))
    assert isinstance(found, Delivered) == (200 <= code < 300)
    if not isinstance(found, Delivered):
        assert len(found.error.splitlines()) == 1
        assert len(found.error) < 400


async def test_telegram_is_asked_through_the_proxy_that_is_set_and_never_with_cookies() -> None:
    sender = TelegramSender(token=TOKEN, timeout_s=1)
    session = sender._http.session()
    assert session.trust_env
    assert isinstance(session.cookie_jar, aiohttp.DummyCookieJar)
    await sender.close()
    assert session.closed
