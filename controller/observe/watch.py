"""The watch on pods: kopf in a thread and loop of its own, reporting to a PodStore on the main loop.

kopf gives what is hard about watches (bookmarks, inactivity, 410, reconnects); it decides nothing here. Only
event handlers, so there are no finalizers and no annotations. It must not share our loop: when it ends, it cancels
every task that was born after it. If its thread ends unasked, `fault` says so and the process must end as well.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import kopf

from controller.facts import PodFacts
from controller.observe.pods import PodStore, read_pod
from controller.podspec import SELECTOR
from fleet.errors import TransientError
from fleet.log import get_logger

log = get_logger("watch")

READY_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0
WATCH_TIMEOUT_S = 600
"""Belt to kopf's own 70 s inactivity time-out: no stream lives longer."""


@dataclass(slots=True)
class PodWatch:
    """The watch.

    Attributes:
        namespace: the only one that is watched.
        store: fed on the loop that calls `start`.
    """

    namespace: str
    store: PodStore
    _stop: threading.Event = field(default_factory=threading.Event, init=False)
    _ready: threading.Event = field(default_factory=threading.Event, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)
    _error: BaseException | None = field(default=None, init=False)

    async def start(self) -> None:
        """Start the thread and wait until kopf watches.

        Raises:
            TransientError: it isn't watching within READY_TIMEOUT_S.
        """
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, args=(loop,), name="kopf", daemon=True)
        self._thread.start()
        for _ in range(int(READY_TIMEOUT_S / 0.05)):
            if self._ready.is_set() or not self._thread.is_alive():
                break
            await asyncio.sleep(0.05)
        if not self._ready.is_set():
            raise TransientError(f"the watch on pods did not start: {self.fault() or 'no answer'}")

    def fault(self) -> str | None:
        """Why the watch is no longer running, or None while it is."""
        if self._thread is None or self._thread.is_alive() or self._stop.is_set():
            return None
        return f"the watch on pods ended: {self._error!r}"

    async def stop(self) -> None:
        """Ask kopf to end and wait a little; its thread dies with the process anyway."""
        self._stop.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, STOP_TIMEOUT_S)

    def _run(self, main: asyncio.AbstractEventLoop) -> None:
        try:
            asyncio.run(self._operate(main))
        except BaseException as error:
            self._error = error
            log.error("watch_failed", error=repr(error))

    async def _operate(self, main: asyncio.AbstractEventLoop) -> None:
        registry = kopf.OperatorRegistry()
        settings = kopf.OperatorSettings()
        settings.watching.label_selectors["v1", "pods"] = SELECTOR
        settings.watching.server_timeout = WATCH_TIMEOUT_S
        settings.posting.enabled = False
        # there is nothing to discover: it would watch namespaces and custom resources, which the Role doesn't allow
        settings.scanning.disabled = True
        settings.process.ultimate_exiting_timeout = None
        logging.getLogger("kopf").setLevel(logging.WARNING)

        @kopf.on.login(registry=registry)
        def login(**context: Any) -> kopf.ConnectionInfo | None:
            # asked again whenever the token has expired
            return kopf.login_with_service_account(**context) or kopf.login_with_kubeconfig(**context)

        @kopf.on.event("v1", "pods", registry=registry)
        async def event(type: str | None, body: Mapping[str, Any], **_: Any) -> None:  # noqa: A002
            pod = read_pod(body)
            if pod is not None:
                main.call_soon_threadsafe(self._take, type, pod)

        await kopf.operator(
            registry=registry,
            settings=settings,
            standalone=True,
            namespaces=[self.namespace],
            stop_flag=self._stop,
            ready_flag=self._ready,
        )

    def _take(self, kind: str | None, pod: PodFacts) -> None:
        if kind == "DELETED":
            self.store.remove(pod)
        else:
            self.store.put(pod)
