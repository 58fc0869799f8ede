"""Apprise says whether it sent something; why it couldn't is in its log lines. This turns them into an Outcome.

What isn't recognised is tried again: nothing is lost by another wording, only the patience of a day.
"""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any

from apprise import Apprise, NotifyBase, NotifyFormat

from fleet.redaction import redact
from worker.channels.messages import cut, one_line
from worker.channels.outcome import Delivered, Outcome, TryAgain

HTTP_ERROR = re.compile(r"(?P<text>[^:]*(?::[^:]*)*?), error=(?P<code>\d{3})\.?$")
SMTP_ERROR = re.compile(r"(?<!\d)(?P<code>[245]\d\d)(?:, b?['\"]| b?['\"])(?P<text>[^'\"]*)")

_DULL = ("Threaded notification mode", "Notifying ", "Connecting to ", "Securing ", "Applying ", "Telegram POST URL")


def prepare_logging() -> None:
    """Lets Apprise's lines reach us and nobody else: some hold addresses and tokens."""
    logger = logging.getLogger("apprise")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())


async def send(plugin: NotifyBase, *, title: str, body: str, timeout_s: float) -> list[str] | None:
    """Send plain text with one Apprise plugin, in a thread.

    Returns:
        None when it was sent, else what Apprise had to say, oldest first.
    """
    lines: list[str] = []

    def keep(entry: Any, _: NotifyBase | None) -> None:
        # masked whole: the patterns below take parts of a line, maybe of a secret
        lines.append(redact(str(entry.message)))

    def run() -> bool:
        apprise = Apprise()
        apprise.add(plugin)
        done = apprise.notify(
            title=title,
            body=body,
            body_format=NotifyFormat.TEXT,
            interpret_escapes=False,
            log_callback=keep,
            log_level=logging.DEBUG,
        )
        return bool(done)

    try:
        async with asyncio.timeout(timeout_s):
            sent = await asyncio.to_thread(run)
    except TimeoutError:
        return [f"no answer within {timeout_s:g} s"]
    return None if sent else lines


def summary(lines: list[str]) -> str:
    """The telling part of the lines, for people."""
    telling = [line for line in lines if not line.startswith(_DULL) and "completed in" not in line]
    return cut("; ".join(one_line(line) for line in telling) or "no reason given", 500)


def unexplained(lines: list[str] | None) -> Outcome:
    """Sent, or to be tried again."""
    return Delivered() if lines is None else TryAgain(summary(lines))
