"""Telegram's Bot API: one `sendMessage` of plain text. Telegram knows no idempotency key, so the text ends with the
beginning of ours."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from fleet.foreign import load_json, object_of
from fleet.redaction import redact
from worker.channels.messages import Message, one_line, text
from worker.channels.outcome import Outcome, Refused, TryAgain, of_http

if TYPE_CHECKING:
    from worker.channels.http import Answer

LENGTH_LIMIT = 4_096
"""Of a text, in UTF-16 units: Telegram refuses longer ones."""

PUBLIC_API = "https://api.telegram.org"

ANSWER_LIMIT = 10_000
"""Bytes of an answer that are read. An error is a small document; a message's own answer repeats it."""

LONGEST_WAIT_S = 86_400.0
"""A wait that Telegram asks for is believed up to this: no message is older."""

_HINTS = {
    400: " (check the chat id; a group's begins with -)",
    401: " (check BOTFLEET_TELEGRAM_TOKEN)",
    403: " (the person must start the bot or add it to the group)",
    404: " (check BOTFLEET_TELEGRAM_TOKEN and BOTFLEET_TELEGRAM_API_URL)",
}


class TelegramSender:
    """Sends with one bot's token. The proxy variables (HTTPS_PROXY) count.

    Args:
        token: from @BotFather.
        api_url: of a Bot API server.
        timeout_s: of one attempt.
    """

    def __init__(self, *, token: str, api_url: str = PUBLIC_API, timeout_s: float) -> None:
        from worker.channels.http import HttpClient  # aiohttp, which a preview of the text doesn't need

        self._url = f"{api_url.rstrip('/')}/bot{token}/sendMessage"
        self._http = HttpClient(channel="Telegram", timeout_s=timeout_s, answer_limit=ANSWER_LIMIT, proxies=True)

    async def send(self, message: Message, *, address: str) -> Outcome:
        """See Sender."""
        asked = {
            "chat_id": address if address.startswith("@") else int(address),
            # no parse_mode: nothing in it is markup
            "text": cut_to_length(message),
            "disable_web_page_preview": True,
        }
        answer = await self._http.post(self._url, body=json.dumps(asked).encode(), headers={})
        return answer if isinstance(answer, TryAgain | Refused) else outcome(answer)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()


def cut_to_length(message: Message) -> str:
    """The message's text, as long as Telegram takes it."""
    return text(message, limit=LENGTH_LIMIT)


def outcome(answer: Answer) -> Outcome:
    """What Telegram's answer means: 400 (no such chat), 401 (token), 403 (blocked) don't heal by themselves."""
    document = object_of(load_json(answer.said))
    asked_s = object_of(document.get("parameters")).get("retry_after")
    after_s = float(min(asked_s, LONGEST_WAIT_S)) if isinstance(asked_s, int) and asked_s >= 0 else answer.after_s
    said = one_line(redact(str(document.get("description") or answer.said)))
    hint = _HINTS.get(answer.code, "")
    return of_http(answer.code, f"Telegram answered {answer.code}{f': {said}' if said else ''}{hint}", after_s=after_s)
