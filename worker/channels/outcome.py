"""What came of an attempt to send: by what the caller must do next. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from worker.channels.messages import Message


class Channel(StrEnum):
    """A way to a person or a program (`notification_deliveries.channel`)."""

    TELEGRAM = "telegram"
    EMAIL = "email"
    WEBHOOK = "webhook"


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver took it."""


@dataclass(frozen=True, slots=True)
class TryAgain:
    """It may have arrived or not; try again with the same key, `after_s` seconds from now if the receiver said so."""

    error: str
    after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """Trying again would end the same way: somebody must change an address or a setting first."""

    error: str


Outcome = Delivered | TryAgain | Refused


class Sender(Protocol):
    """One configured channel."""

    async def send(self, message: Message, *, address: str) -> Outcome:
        """Try once. Never raises for what a receiver or the network does.

        Args:
            message: what to say.
            address: e-mail address, chat id or URL.
        """

    async def close(self) -> None:
        """Let go of connections."""


RETRIED_CODES = frozenset({408, 425, 429})
"""HTTP codes below 500 that mean: later."""


def of_http(code: int, error: str, *, after_s: float | None = None) -> Outcome:
    """The outcome of an HTTP answer."""
    if 200 <= code < 300:
        return Delivered()
    if code >= 500 or code in RETRIED_CODES:
        return TryAgain(error, after_s)
    return Refused(error)


Senders = Mapping[Channel, Sender]
