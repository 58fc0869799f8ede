"""The watch on pods: kopf in a thread and loop of its own, reporting to a PodStore on the main loop.

kopf gives what is hard about watches (bookmarks, 410, reconnects); it decides nothing here. Only event handlers, so
there are no finalizers and no annotations. It must not share our loop: when it ends, it cancels every task that was
born after it.

A watch that hears nothing looks like a quiet cluster, so silence is bounded: every stream lives WATCH_TIMEOUT_S, and
each answer to the next one is a sign of life. `PodWatch.trouble` says at once when an answer is a refusal, when none
comes, and when kopf ends, however its thread takes that. `WatchKeeper` replaces a watch that doesn't recover; while
there is trouble the runner lists pods every few seconds instead.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import kopf

from controller.decide.facts import PodFacts
from controller.observe.pods import PodStore, read_pod
from fleet.backoff import nominal_s
from fleet.foreign import clean_text
from fleet.labels import SELECTOR
from fleet.log import get_logger
from fleet.redaction import redact

log = get_logger("watch")

WATCH_TIMEOUT_S = 5
"""A stream's life, ended by the server; the next one goes on where it ended. Two seconds before, a bookmark comes."""

INACTIVITY_S = 8.0
"""After so long without a byte kopf gives a stream up: more than its life, since a quiet one ends in time."""

STALE_S = 9.0
"""Without an answer for longer the watch is in trouble: more than a stream's life and a slow connect."""

BACKOFFS = (0.5, 1.0, 2.0)
"""Of kopf's own tries of one request, s. With its defaults it would be deaf for 54 s before it says so."""

READY_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0
RECOVERY_S = 20.0
"""Trouble that lasts longer isn't left to kopf: the watch is replaced."""

RESTART_FIRST_S = 1.0
RESTART_MAX_S = 15.0
STUCK_LIMIT = 3
"""Watches whose thread didn't end when told to; with so many the process must end, or it fills up with them."""

TROUBLE_LIMIT = 500


class WatchHealth:
    """Signs of life of the watch's requests, written by kopf's thread and read by ours.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._answered_at = clock()
        self._refusal: str | None = "it begins, and nothing was heard yet"

    def answered(self) -> None:
        """The API server took a watch up: what has changed since the one before comes with it."""
        self._answered_at, self._refusal = self._clock(), None

    def failed(self, why: str) -> None:
        """It gave something else than pods, or nothing."""
        self._refusal = clean_text(redact(why), TROUBLE_LIMIT, lines=False)

    def trouble(self) -> str | None:
        """What is wrong at this moment, or None."""
        if self._refusal is not None:
            return self._refusal
        silent_s = self._clock() - self._answered_at
        return f"the API server hasn't answered for {silent_s:.0f} s" if silent_s > STALE_S else None

    def traces(self) -> aiohttp.TraceConfig:
        """Hooks for kopf's session; of its requests only those for pods count, not what it wants to know besides."""
        config = aiohttp.TraceConfig()

        async def ended(_: object, __: object, request: aiohttp.TraceRequestEndParams) -> None:
            response = request.response
            if not request.url.path.endswith("/pods"):
                return
            if response.status != 200:
                self.failed(f"the API server answers {response.status} {response.reason or ''}".rstrip())
            elif request.url.query.get("watch") == "true":
                self.answered()

        async def failed(_: object, __: object, request: aiohttp.TraceRequestExceptionParams) -> None:
            if request.url.path.endswith("/pods") and not isinstance(request.exception, asyncio.CancelledError):
                self.failed(f"no answer from the API server: {request.exception!r}")

        config.on_request_end.append(ended)
        config.on_request_exception.append(failed)
        return config


@dataclass(slots=True)
class PodWatch:
    """One kopf operator, from its start to its end.

    Attributes:
        namespace: the only one that is watched.
        store: fed on the loop that calls `start`.
    """

    namespace: str
    store: PodStore
    health: WatchHealth = field(default_factory=WatchHealth)
    _ready: threading.Event = field(default_factory=threading.Event, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)
    _loop: asyncio.AbstractEventLoop | None = field(default=None, init=False)
    _stop: asyncio.Event | None = field(default=None, init=False)
    _ended: str | None = field(default=None, init=False)

    async def start(self) -> None:
        """Start the thread and wait until kopf watches, has ended, or READY_TIMEOUT_S is over; see `trouble`."""
        main = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, args=(main,), name="kopf", daemon=True)
        self._thread.start()
        for _ in range(int(READY_TIMEOUT_S / 0.05)):
            if self._ready.is_set() or self.ended:
                break
            await asyncio.sleep(0.05)

    @property
    def ended(self) -> str | None:
        """How kopf ended; None while it runs. Told when its operator ends: its thread may take longer."""
        return self._ended

    def trouble(self) -> str | None:
        """Why changes of pods aren't heard of at this moment; None while they are."""
        if self._thread is None:
            return "the watch on pods hasn't started"
        reason = self._ended or self.health.trouble()
        return None if reason is None else f"the watch on pods is down: {reason}"

    @property
    def alive(self) -> bool:
        """Whether its thread exists."""
        return self._thread is not None and self._thread.is_alive()

    async def stop(self) -> None:
        """Ask kopf to end and wait a little; see `alive`."""
        thread, loop, stop = self._thread, self._loop, self._stop
        if thread is None:
            return
        if loop is not None and stop is not None and thread.is_alive():
            try:
                loop.call_soon_threadsafe(stop.set)
            except RuntimeError:
                log.debug("watch_loop_closed")  # it has just ended by itself
        await asyncio.to_thread(thread.join, STOP_TIMEOUT_S)

    def _run(self, main: asyncio.AbstractEventLoop) -> None:
        try:
            asyncio.run(self._operate(main))
        except BaseException as error:
            self._end(error)

    def _end(self, error: BaseException | None) -> None:
        if self._ended is None:
            words = "kopf ended" if error is None else f"kopf ended: {error!r}"
            self._ended = clean_text(redact(words), TROUBLE_LIMIT, lines=False)

    async def _operate(self, main: asyncio.AbstractEventLoop) -> None:
        """Run kopf. Its end is told here, where it happens: what follows (closing the loop, its threads) can hang."""
        self._loop = asyncio.get_running_loop()
        # of this loop: kopf waits for a flag of another kind in a thread, which no exit of its own would end
        self._stop = asyncio.Event()
        try:
            await self._watch(main, self._stop)
        except BaseException as error:
            self._end(error)
            raise
        self._end(None)

    async def _watch(self, main: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
        registry = kopf.OperatorRegistry()
        refused: set[str] = set()

        @kopf.on.login(registry=registry)
        async def login(**context: Any) -> kopf.AiohttpSession | None:
            info = kopf.login_with_service_account(**context) or kopf.login_with_kubeconfig(**context)
            if info is None or repr(info) in refused:
                return None  # asked again, so these were refused: kopf ends, and the next watch tries again later
            refused.add(repr(info))
            return self._session(info)

        @kopf.on.event("v1", "pods", registry=registry)
        async def event(type: str | None, body: Mapping[str, Any], **_: Any) -> None:  # noqa: A002
            pod = read_pod(body)
            if pod is not None:
                main.call_soon_threadsafe(self._take, type, pod)

        await kopf.operator(
            registry=registry,
            settings=_settings(),
            standalone=True,
            namespaces=[self.namespace],
            stop_flag=stop,
            ready_flag=self._ready,
        )

    def _session(self, info: kopf.ConnectionInfo) -> kopf.AiohttpSession:
        return kopf.AiohttpSession(
            server=info.server,
            default_namespace=info.default_namespace,
            aiohttp_session=aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
                headers=info.as_http_headers(),
                proxy=info.proxy_url,
                trust_env=info.trust_env,
                trace_configs=[self.health.traces()],
            ),
        )

    def _take(self, kind: str | None, pod: PodFacts) -> None:
        if kind == "DELETED":
            self.store.remove(pod)
        else:
            self.store.put(pod)


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.watching.label_selectors["v1", "pods"] = SELECTOR
    settings.watching.server_timeout = WATCH_TIMEOUT_S
    settings.watching.inactivity_timeout = INACTIVITY_S
    settings.watching.connect_timeout = 3.0
    settings.networking.connect_timeout = 3.0
    settings.networking.error_backoffs = BACKOFFS
    settings.posting.enabled = False
    # there is nothing to discover: it would watch namespaces and custom resources, which the Role doesn't allow
    settings.scanning.disabled = True
    settings.process.ultimate_exiting_timeout = None
    logging.getLogger("kopf").setLevel(logging.WARNING)
    return settings


@dataclass(slots=True)
class WatchKeeper:
    """Keeps one watch alive: replaces it when it has ended or doesn't recover.

    Attributes:
        new: makes a watch that hasn't started.
        clock: monotonic seconds.
        told: called with the trouble when it begins, and with None when it is over.
        recovery_s: how long kopf may try to recover by itself.
    """

    new: Callable[[], PodWatch]
    clock: Callable[[], float] = time.monotonic
    told: Callable[[str | None], None] = lambda _: None
    recovery_s: float = RECOVERY_S
    _current: PodWatch | None = field(default=None, init=False)
    _task: asyncio.Task[None] | None = field(default=None, init=False)
    _up: bool | None = field(default=None, init=False)
    _begun_at: float = field(default=0.0, init=False)
    _trouble: str | None = field(default=None, init=False)
    _left: list[PodWatch] = field(default_factory=list, init=False)
    _restarts: int = field(default=0, init=False)

    async def start(self) -> None:
        """Start the first watch, and the task that keeps it."""
        self._begun_at = self.clock()
        await self._begin()
        self._task = asyncio.create_task(self._keep(), name="watch keeper")

    def trouble(self) -> str | None:
        """Why changes of pods aren't heard of at this moment; None while they are."""
        return self._current.trouble() if self._current is not None else None

    def fault(self) -> str | None:
        """Why this process must end; None while it needn't."""
        if len(self._left) >= STUCK_LIMIT:
            return f"{len(self._left)} watches on pods did not end when told to; {self._trouble}"
        if self._task is not None and self._task.done() and not self._task.cancelled():
            return f"the watch on pods isn't kept any more: {self._task.exception()!r}"
        return None

    async def stop(self) -> None:
        """End the watch; its thread dies with the process anyway."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._current is not None:
            await self._current.stop()

    async def _keep(self) -> None:
        since: float | None = None
        restarts = 0
        while True:
            await asyncio.sleep(0.25)
            trouble = self.trouble()
            self._tell(trouble)
            if trouble is None:
                since, restarts = None, 0
                continue
            since = self.clock() if since is None else since
            current = self._current
            assert current is not None
            if current.ended is None and self.clock() - since < self.recovery_s:
                continue
            restarts += 1
            await asyncio.sleep(nominal_s(restarts, first_s=RESTART_FIRST_S, most_s=RESTART_MAX_S))
            await current.stop()
            self._left = [watch for watch in (*self._left, current) if watch.alive]
            self._restarts += 1
            log.warning("watch_restarts", restarts=self._restarts, trouble=trouble)
            await self._begin()
            since = None

    async def _begin(self) -> None:
        self._current = self.new()
        await self._current.start()

    def _tell(self, trouble: str | None) -> None:
        up = trouble is None
        if self._up is None and not up and self.clock() - self._begun_at < STALE_S:
            return  # it has just begun
        if up != self._up:
            if up:
                log.info("watch_up")
            else:
                log.error("watch_down", error=trouble)
            self.told(trouble)
        self._up, self._trouble = up, trouble
