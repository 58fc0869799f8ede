"""Telegram, by Apprise. The text ends with the beginning of the idempotency key: Telegram itself knows none."""

from __future__ import annotations

import re

from apprise.plugins.telegram import NotifyTelegram

from worker.channels import apprise_log
from worker.channels.messages import Message, text
from worker.channels.outcome import Delivered, Outcome, of_http

LIMIT = 3_500
"""Of Telegram's 4,096: Apprise escapes & < > and would split what becomes longer."""

PUBLIC_API = "https://api.telegram.org"

_RETRY_AFTER = re.compile(r"retry after (\d+)", re.IGNORECASE)


class TelegramSender:
    """Sends with one bot's token.

    Args:
        token: from @BotFather.
        api_url: of a Bot API server.
        timeout_s: of one attempt.
    """

    def __init__(self, *, token: str, api_url: str = PUBLIC_API, timeout_s: float) -> None:
        apprise_log.prepare_logging()
        self._token = token
        self._api_url = api_url.rstrip("/")
        self._timeout_s = timeout_s

    async def send(self, message: Message, *, address: str) -> Outcome:
        """See Sender."""
        plugin = NotifyTelegram(bot_token=self._token, targets=[address], include_image=False, format="text")
        plugin.notify_url = f"{self._api_url}/bot"
        plugin.socket_read_timeout = plugin.socket_connect_timeout = self._timeout_s
        plugin.request_rate_per_sec = 0  # the dispatcher paces
        body = fitted(message)
        lines = await apprise_log.send(plugin, title="", body=body, timeout_s=self._timeout_s + 1)
        return outcome(lines)

    async def close(self) -> None:
        """Nothing is kept open."""


def fitted(message: Message) -> str:
    """The text, short enough with its escapes."""
    limit = LIMIT
    while True:
        body = text(message, limit=limit)
        escaped = body.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\n", "\r\n")
        excess = len(escaped.encode("utf-16-le")) // 2 - 4_000
        if excess <= 0:
            return body
        limit -= max(50, excess // 4)


def outcome(lines: list[str] | None) -> Outcome:
    """What Telegram's answer means: 400 (no such chat), 401 (token), 403 (blocked) don't heal by themselves."""
    if lines is None:
        return Delivered()
    for line in lines:
        found = apprise_log.HTTP_ERROR.search(line)
        if found:
            code = int(found["code"])
            asked = _RETRY_AFTER.search(line)
            return of_http(code, f"Telegram answered {_said(line, code)}", after_s=float(asked[1]) if asked else None)
    return apprise_log.unexplained(lines)


def _said(line: str, code: int) -> str:
    description = line.partition(": ")[2].rpartition(", error=")[0]
    hint = {
        401: " (check BOTFLEET_TELEGRAM_TOKEN)",
        403: " (the person must start the bot or add it to the group)",
        400: " (check the chat id; a group's begins with -)",
        404: " (check BOTFLEET_TELEGRAM_TOKEN and BOTFLEET_TELEGRAM_API_URL)",
    }.get(code, "")
    return f"{code}: {apprise_log.summary([description])}{hint}"
