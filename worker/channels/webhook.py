"""Webhooks: a POST of JSON, signed (`signature`). The guard against internal addresses is where names are resolved
(`http`), so a name that changes its address between check and use (DNS rebinding) changes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import urlsplit

from fleet.redaction import redact
from worker.channels.http import Answer, HttpClient, private
from worker.channels.messages import Message, document, one_line
from worker.channels.outcome import Outcome, Refused, of_http
from worker.channels.signature import ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, sign, signing_secret

ANSWER_LIMIT = 300
"""Bytes of an answer that are read, for the error text."""


class WebhookSender:
    """Posts signed documents.

    Args:
        secret: the installation's; each user's signing secret is derived from it.
        allow_private: whether addresses that aren't public may be used.
        timeout_s: of one attempt.
        clock: Unix seconds.
    """

    def __init__(
        self, *, secret: str, allow_private: bool, timeout_s: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._secret = secret
        self._clock = clock
        self._http = HttpClient(
            channel="webhook",
            timeout_s=timeout_s,
            answer_limit=ANSWER_LIMIT,
            guarded=not allow_private,
            clock=clock,
        )

    async def send(self, message: Message, *, address: str) -> Outcome:
        """See Sender."""
        body = document(message)
        timestamp = int(self._clock())
        secret = signing_secret(self._secret, message.user_id)
        headers = {
            ID_HEADER: message.key,
            TIMESTAMP_HEADER: str(timestamp),
            SIGNATURE_HEADER: sign(secret, key=message.key, timestamp=timestamp, body=body),
        }
        answer = await self._http.post(address, body=body, headers=headers)
        return outcome(answer, address) if isinstance(answer, Answer) else answer

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()


def outcome(answer: Answer, url: str) -> Outcome:
    """What a receiver's answer means."""
    host = urlsplit(url).hostname or ""
    if 300 <= answer.code < 400:
        return Refused(f"{host} answered {answer.code}: redirects aren't followed, set the final URL")
    said = one_line(redact(answer.said, also=private(url)))
    return of_http(answer.code, f"{host} answered {answer.code}{f': {said}' if said else ''}", after_s=answer.after_s)
