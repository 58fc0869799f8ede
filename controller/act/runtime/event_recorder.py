"""Kubernetes Events on pods, posted in the background.

An Event is for people: it may be late, and nothing depends on it. One is posted per pod and reason, slowly enough
that a hundred bots that stop together don't compete with their own deletions; what doesn't fit the queue is dropped.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import Any

from controller.act.runtime import RuntimeAway
from controller.decide.facts import PodFacts
from controller.decide.pod_events import PodEvent
from controller.metrics import Metrics
from fleet.foreign import clean_text
from fleet.log import get_logger
from fleet.redaction import redact

log = get_logger("notes")

MESSAGE_LIMIT = 1_024
"""Bytes of an Event's message that Kubernetes takes; a quarter of them is the most characters of any kind."""

WAITING_LIMIT = 1_000
KNOWN_LIMIT = 20_000
"""Pods and reasons that are remembered, so that nothing is posted twice."""

INTERVAL_S = 0.05
"""Between two Events: twenty a second."""

COMPONENT = "botfleet-controller"


@dataclass(slots=True)
class EventRecorder:
    """The queue of Events and its writer.

    Attributes:
        namespace: of the pods.
        post: sends an Event; may raise RuntimeAway.
        now: the time shown with it, UTC.
        metrics: counts what was posted and dropped.
    """

    namespace: str
    post: Callable[[Mapping[str, Any]], Awaitable[int]]
    now: Callable[[], datetime]
    metrics: Metrics
    _queue: asyncio.Queue[dict[str, Any]] = field(default_factory=lambda: asyncio.Queue(WAITING_LIMIT), init=False)
    _known: OrderedDict[tuple[str, str], None] = field(default_factory=OrderedDict, init=False)

    def add(self, pod: PodFacts, event: PodEvent) -> None:
        """Have it posted, unless the pod has one of that reason."""
        key = (pod.uid, event.reason)
        if not pod.name or key in self._known:
            return
        try:
            self._queue.put_nowait(manifest_of(self.namespace, pod, event, self.now()))
        except asyncio.QueueFull:
            self.metrics.pod_notes.labels("dropped").inc()
            return
        self._known[key] = None
        if len(self._known) > KNOWN_LIMIT:
            self._known.popitem(last=False)

    async def write(self) -> None:
        """Post until cancelled."""
        while True:
            body = await self._queue.get()
            try:
                status = await self.post(body)
            except RuntimeAway as error:
                log.info("note_unposted", reason=body["reason"], error=str(error)[:300])
                self.metrics.pod_notes.labels("none").inc()
            else:
                self.metrics.pod_notes.labels(str(status)).inc()
                if status >= 400 and status != 409:
                    log.info("note_refused", reason=body["reason"], pod=body["involvedObject"]["name"], status=status)
            await asyncio.sleep(INTERVAL_S)


def manifest_of(namespace: str, pod: PodFacts, event: PodEvent, now: datetime) -> dict[str, Any]:
    """The Event. Its name is computed, so that another controller's repetition is a conflict, not a second one."""
    digest = blake2b(f"{pod.uid}/{event.reason}".encode(), digest_size=8).hexdigest()
    moment = f"{now:%Y-%m-%dT%H:%M:%SZ}"
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{pod.name}.{digest}", "namespace": namespace},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": namespace,
            "name": pod.name,
            "uid": pod.uid,
        },
        "reason": event.reason,
        "message": _fit(event.message),
        "type": "Warning" if event.warning else "Normal",
        "source": {"component": COMPONENT},
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
    }


def _fit(message: str) -> str:
    text = clean_text(redact(message), MESSAGE_LIMIT, lines=False)
    while len(text.encode()) > MESSAGE_LIMIT:
        text = clean_text(text, len(text) * 3 // 4)
    return text
