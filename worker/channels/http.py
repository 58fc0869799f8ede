"""POST requests of the channels, by aiohttp: bounded in time, no redirects, no cookies, little of an answer read.

Whatever a receiver or the network does is an Answer or an Outcome, never an exception. What a URL holds beside its host
may be a password: whoever knows it may post. So `private` names it, for `redact`.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from fleet import __version__
from fleet.redaction import redact
from fleet.retry_after import retry_after_s
from worker.channels.messages import one_line
from worker.channels.outcome import Refused, TryAgain
from worker.channels.routing import forbidden_address

USER_AGENT = f"Botfleet/{__version__}"

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


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver answered.

    Attributes:
        code: of HTTP.
        said: the body's beginning as it came: foreign text, not masked yet.
        after_s: seconds that its Retry-After asks for, at most LONGEST_WAIT_S.
    """

    code: int
    said: str
    after_s: float | None


class HttpClient:
    """One channel's connections.

    Args:
        channel: for error texts: `webhook`, `Telegram`.
        timeout_s: of one request, from connecting to the end of the answer.
        answer_limit: bytes of an answer that are read.
        guarded: whether names may lead to public addresses alone.
        proxies: whether HTTPS_PROXY and its like count. A proxy resolves names itself, behind the guard.
        clock: Unix seconds.
    """

    def __init__(
        self,
        *,
        channel: str,
        timeout_s: float,
        answer_limit: int,
        guarded: bool = False,
        proxies: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        assert not (guarded and proxies)
        self._channel = channel
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._answer_limit = answer_limit
        self._guarded = guarded
        self._proxies = proxies
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, *, body: bytes, headers: Mapping[str, str]) -> Answer | TryAgain | Refused:
        """Post JSON once."""
        host = urlsplit(url).hostname or ""
        sent = {"Content-Type": "application/json", "User-Agent": USER_AGENT, **headers}
        try:
            async with self.session().post(url, data=body, headers=sent, allow_redirects=False) as answer:
                said = (await _beginning(answer.content, self._answer_limit)).decode(errors="replace")
                asked_s = retry_after_s(answer.headers.get("Retry-After"), now_s=self._clock(), most_s=LONGEST_WAIT_S)
                return Answer(answer.status, said, asked_s)
        except (aiohttp.InvalidURL, UnicodeError):  # the latter: a name that can't be asked for
            return Refused(f"the {self._channel} URL can't be read")
        except TimeoutError:
            return TryAgain(f"{host} did not answer within {self._timeout.total:g} s")
        except aiohttp.ClientConnectorError as error:
            forbidden = refusal(error)
            return Refused(str(forbidden)) if forbidden else TryAgain(one_line(f"{host}: {error.os_error}"))
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError) as error:
            return TryAgain(one_line(redact(f"{host}: {type(error).__name__}: {error}", also=private(url))))

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def session(self) -> aiohttp.ClientSession:
        """Made at the first request: it belongs to the running loop."""
        if self._session is None:
            connector = aiohttp.TCPConnector(
                resolver=GuardedResolver() if self._guarded else None, use_dns_cache=False, limit_per_host=4
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=self._timeout,
                trust_env=self._proxies,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


async def _beginning(content: aiohttp.StreamReader, limit: int) -> bytes:
    read = b""
    while len(read) < limit and (part := await content.read(limit - len(read))):
        read += part
    return read


def private(url: str) -> list[str]:
    """What in a URL may be a password."""
    parts = urlsplit(url)
    pieces = re.split(r"[/&=]", f"{parts.path}&{parts.query}")
    whole = [url, f"{parts.path}?{parts.query}", parts.path, parts.path.strip("/"), parts.query]
    return [*whole, *pieces]


def refusal(error: BaseException) -> ForbiddenAddress | None:
    """The guard's refusal behind an error of the connection, however deep it is."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ForbiddenAddress):
            return seen
        inner = getattr(seen, "os_error", None)
        seen = inner if isinstance(inner, BaseException) and inner is not seen else seen.__cause__
    return None
