"""Webhooks: a signed POST (`signature`). The guard against internal addresses is where names are resolved, so a name
that changes its address between check and use (DNS rebinding) changes nothing."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from fleet import __version__
from fleet.redaction import redact
from worker.channels.messages import Message, document, one_line
from worker.channels.outcome import Outcome, Refused, TryAgain, of_http
from worker.channels.routing import forbidden_address
from worker.channels.signature import KEY_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, sign, signing_key

ANSWER_LIMIT = 300
"""Bytes of an answer that are read, for the error text."""

LONGEST_WAIT_S = 3600.0
"""A Retry-After is believed up to this."""


class ForbiddenAddress(OSError):
    """The name resolves to an address that webhooks don't go to."""


class GuardedResolver(AbstractResolver):
    """Resolves names; refuses those with any address that isn't public."""

    def __init__(self) -> None:
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        """The addresses of a host.

        Raises:
            ForbiddenAddress: one of them isn't public.
        """
        results = await self._resolver.resolve(host, port, family=family)  # type: ignore[arg-type]
        for result in results:
            problem = forbidden_address(result["host"])
            if problem:
                raise ForbiddenAddress(f"{host} leads to {problem}")
        return results

    async def close(self) -> None:
        """Let go of the inner resolver."""
        await self._resolver.close()


class WebhookSender:
    """Posts signed documents.

    Args:
        secret: the installation's; each owner's key is derived from it.
        allow_private: whether addresses that aren't public may be used.
        timeout_s: of one attempt.
        clock: Unix seconds.
    """

    def __init__(
        self, *, secret: str, allow_private: bool, timeout_s: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._secret = secret
        self._allow_private = allow_private
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    async def send(self, message: Message, *, address: str) -> Outcome:
        """See Sender."""
        body = document(message)
        timestamp = int(self._clock())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"Botfleet/{__version__}",
            KEY_HEADER: message.key,
            TIMESTAMP_HEADER: str(timestamp),
            SIGNATURE_HEADER: sign(signing_key(self._secret, message.owner), timestamp=timestamp, body=body),
        }
        host = urlsplit(address).hostname or ""
        try:
            session = self._open()
            async with session.post(address, data=body, headers=headers, allow_redirects=False) as answer:
                raw = (await answer.content.read(ANSWER_LIMIT)).decode(errors="replace")
                said = redact(raw, also=_private(address))
                return _judged(answer.status, said, answer.headers, host, now=self._clock())
        except (aiohttp.InvalidURL, UnicodeError):  # the latter: a name that can't be asked for
            return Refused("the webhook URL can't be read")
        except TimeoutError:
            return TryAgain(f"{host} did not answer within {self._timeout.total:g} s")
        except aiohttp.ClientConnectorError as error:
            forbidden = _forbidden(error)
            return Refused(str(forbidden)) if forbidden else TryAgain(one_line(f"{host}: {error.os_error}"))
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError) as error:
            return TryAgain(one_line(redact(f"{host}: {type(error).__name__}: {error}", also=_private(address))))

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            resolver = None if self._allow_private else GuardedResolver()
            connector = aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, limit_per_host=4)
            # no proxy from the environment: it would resolve names behind the guard
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=self._timeout, trust_env=False, cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._session


def _judged(code: int, said: str, headers: Mapping[str, str], host: str, *, now: float) -> Outcome:
    if 300 <= code < 400:
        return Refused(f"{host} answered {code}: redirects aren't followed, set the final URL")
    text = one_line(said)
    return of_http(code, f"{host} answered {code}{f': {text}' if text else ''}", after_s=_retry_after(headers, now))


def _retry_after(headers: Mapping[str, str], now: float) -> float | None:
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value), LONGEST_WAIT_S)
    try:
        return min(max(parsedate_to_datetime(value).timestamp() - now, 0.0), LONGEST_WAIT_S)
    except (ValueError, TypeError):
        return None


def _private(address: str) -> list[str]:
    """What in a webhook's URL may be a password: whoever knows it may post."""
    parts = urlsplit(address)
    pieces = re.split(r"[/&=]", f"{parts.path}&{parts.query}")
    whole = [address, f"{parts.path}?{parts.query}", parts.path, parts.path.strip("/"), parts.query]
    return [*whole, *pieces]


def _forbidden(error: BaseException) -> ForbiddenAddress | None:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ForbiddenAddress):
            return seen
        inner = getattr(seen, "os_error", None)
        seen = inner if isinstance(inner, BaseException) and inner is not seen else seen.__cause__
    return None
