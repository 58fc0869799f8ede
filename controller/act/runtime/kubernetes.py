"""Pods in one namespace, over plain JSON.

The official client gives configuration and authentication; requests are dicts on its aiohttp session, which costs a
third of the generated models. Every request has a time-out; writes pass a token bucket, and a Retry-After of the
server suspends all of them. A create that answers 409, or doesn't answer, is looked up and verified by its labels.
Deletes carry the uid, so they never hit a successor of the same name.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTClientObject

from controller.act.runtime import CreateRefused, RuntimeAway
from controller.act.runtime.event_recorder import EventRecorder
from controller.decide.facts import PodFacts
from controller.decide.pod_events import PodEvent
from controller.decide.podspec import PodRequest, PodTemplate, build_pod
from controller.decide.reasons import NO_ANSWER, answer_words
from controller.metrics import Metrics
from controller.observe.pod_watch import PodWatch, WatchKeeper
from controller.observe.pods import PodStore, read_pod
from fleet.foreign import clean_text, object_of
from fleet.labels import SELECTOR
from fleet.log import get_logger
from fleet.redaction import redact, safe_text
from fleet.retry_after import retry_after_s

log = get_logger("kubernetes")

REQUEST_TIMEOUT = aiohttp.ClientTimeout(total=10, connect=3)
LOOK_UP_TIMEOUT = aiohttp.ClientTimeout(total=3, connect=3)
"""After a create that got no answer; the row is to say so soon, and the next try looks again."""
LIST_TIMEOUT = aiohttp.ClientTimeout(total=60, connect=3)
PAGE = 500
CONNECTIONS = 64
DEFAULT_RETRY_AFTER_S = 1.0
LONGEST_RETRY_AFTER_S = 30.0
MESSAGE_LIMIT = 1_000
"""Characters of what the API server says that are kept."""


@dataclass(slots=True)
class TokenBucket:
    """Limits the rate of requests: `rate` a second on average, `burst` at once.

    A suspension by the server holds everybody back, as asked.
    """

    rate: float
    burst: int
    clock: Callable[[], float]
    _tokens: float = field(init=False)
    _at: float = field(init=False)
    _suspended_until: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._tokens = float(self.burst)
        self._at = self.clock()

    def suspend(self, seconds: float) -> None:
        """Let nothing pass for so long."""
        self._suspended_until = max(self._suspended_until, self.clock() + seconds)

    def reserve(self) -> float:
        """Take a token; the seconds to wait before using it. Tokens may be taken ahead, in order."""
        now = self.clock()
        self._tokens = min(float(self.burst), self._tokens + (now - self._at) * self.rate)
        self._at = now
        self._tokens -= 1
        wait = -self._tokens / self.rate if self._tokens < 0 else 0.0
        return max(wait, self._suspended_until - now, 0.0)


@dataclass(slots=True)
class Answer:
    """Status and JSON body of a response."""

    status: int
    body: Mapping[str, Any]

    @property
    def message(self) -> str:
        """What the server says about it, and what to do, in one clean sentence."""
        said = safe_text(self.body.get("message"), MESSAGE_LIMIT, lines=False)
        return answer_words(self.status, said)


class KubernetesRuntime:
    """Pods of one namespace.

    Args:
        template: what all pods share, the namespace among it.
        store: the last known state of every pod.
        qps, burst: of writes.
        metrics: counts operations by answer.
        clock: monotonic seconds.
        kubeconfig: path; by default the service account's credentials, or else the user's kubeconfig.
    """

    name = "kubernetes"

    def __init__(
        self,
        *,
        template: PodTemplate,
        store: PodStore,
        qps: float,
        burst: int,
        metrics: Metrics,
        clock: Callable[[], float],
        kubeconfig: str | None = None,
    ) -> None:
        self._kubeconfig = kubeconfig
        self._template = template
        self._store = store
        self._bucket = TokenBucket(qps, burst, clock)
        self._metrics = metrics
        self._configuration = Configuration()
        self._session: aiohttp.ClientSession | None = None
        namespace = template.namespace
        self._keeper = WatchKeeper(lambda: PodWatch(namespace, store), told=self._watch_told)
        self._recorder = EventRecorder(namespace, self._post, lambda: datetime.now(UTC), metrics)
        self._writer: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect, list all pods, and watch them from then on."""
        if self._session is None:
            await self.connect()
        await self.relist()
        await self._keeper.start()
        self._writer = asyncio.create_task(self._recorder.write(), name="notes")
        # what happened between the list and the watch
        await self.relist()

    async def connect(self) -> None:
        """Load credentials and prepare the session; no request yet."""
        await load_configuration(self._configuration, self._kubeconfig)
        tls = RESTClientObject(self._configuration).ssl_context
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS, ssl=tls))

    async def close(self) -> None:
        """Stop watching and disconnect; pods go on."""
        if self._writer is not None:
            self._writer.cancel()
        await self._keeper.stop()
        if self._session is not None:
            await self._session.close()

    def fault(self) -> str | None:
        """Why it can't go on, or None."""
        return self._keeper.fault()

    def watch_trouble(self) -> str | None:
        """See RunningRuntime."""
        return self._keeper.trouble()

    def record_event(self, pod: PodFacts, event: PodEvent) -> None:
        """See Runtime."""
        self._recorder.add(pod, event)

    def _watch_told(self, trouble: str | None) -> None:
        self._metrics.watch_down.set(trouble is not None)

    def pods(self, bot_id: int) -> tuple[PodFacts, ...]:
        """See Runtime."""
        return self._store.of(bot_id)

    def existing(self) -> list[PodFacts]:
        """See RunningRuntime."""
        return self._store.existing()

    async def create(self, request: PodRequest) -> PodFacts:
        """See Runtime."""
        body = build_pod(request, self._template)
        try:
            answer = await self._write("create", "POST", self._path(), body)
        except RuntimeAway:
            # it may exist: never create again without looking
            found = await self._look_up(request)
            if found is None:
                raise
            return found
        if answer.status == 409:
            found = await self._look_up(request)
            if found is None:
                raise RuntimeAway(f"pod {request.name}: {answer.message}")
            return found
        if answer.status in (200, 201, 202):
            if read_pod(answer.body) is None:
                raise RuntimeAway(f"pod {request.name}: the answer is no pod; check the proxies before the API server")
            return self._took(answer.body, request)
        if answer.status in (400, 403, 404, 405, 413, 415, 422):
            raise CreateRefused(f"pod {request.name} was refused: {answer.message}")
        raise RuntimeAway(f"pod {request.name}: {answer.message}")

    async def delete(self, pod: PodFacts) -> None:
        """See Runtime."""
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": pod.uid}}
        answer = await self._write("delete", "DELETE", self._path(pod.name), options)
        if answer.status in (200, 202):
            left = read_pod(answer.body)
            if left is not None and left.uid == pod.uid and left.deleting:
                self._store.put(left)
            elif answer.body.get("kind") == "Status":
                self._store.remove(pod)
        elif answer.status in (404, 409):
            # 404: no object of that name; 409: another uid. Either way, this object is gone
            self._store.remove(pod)
        else:
            raise RuntimeAway(f"delete of pod {pod.name}: {answer.message}")

    async def relist(self) -> None:
        """See RunningRuntime."""
        before = [pod.uid for pod in self._store.existing()]
        listed: list[PodFacts] = []
        proceed = ""
        while True:
            query = {"labelSelector": SELECTOR, "limit": str(PAGE), **({"continue": proceed} if proceed else {})}
            answer = await self._request("list", "GET", self._path(), query=query, limits=LIST_TIMEOUT)
            if answer.status == 410:
                listed, proceed = [], ""
                continue
            if answer.status != 200:
                raise RuntimeAway(f"list of pods: {answer.message}")
            items = answer.body.get("items")
            if not isinstance(items, list):
                # null is how Go writes an empty list; anything else no API server wrote
                if items is not None or answer.body.get("kind") != "PodList":
                    raise RuntimeAway("list of pods: the answer is no list; check the proxies before the API server")
                items = []
            listed.extend(pod for item in items if (pod := read_pod(item)) is not None)
            following = object_of(answer.body.get("metadata")).get("continue")
            proceed = following if isinstance(following, str) else ""
            if not proceed:
                break
        self._store.replace_all(listed, before=before)

    async def _look_up(self, request: PodRequest) -> PodFacts | None:
        """The pod of that name if it is this run's; None when there is none.

        Raises:
            CreateRefused: the name is taken by something else.
        """
        answer = await self._request("get", "GET", self._path(request.name), limits=LOOK_UP_TIMEOUT)
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise RuntimeAway(f"pod {request.name}: {answer.message}")
        return self._took(answer.body, request)

    def _took(self, body: Mapping[str, Any], request: PodRequest) -> PodFacts:
        pod = read_pod(body)
        if pod is None or (pod.bot_id, pod.epoch) != (request.bot_id, request.epoch):
            raise CreateRefused(
                f"a pod named {request.name} exists that is not the one of run {request.epoch}: delete it"
            )
        self._store.put(pod)
        return pod

    async def _post(self, event: Mapping[str, Any]) -> int:
        """Not through the bucket: an Event must never delay a pod."""
        path = f"/api/v1/namespaces/{self._template.namespace}/events"
        return (await self._request("event", "POST", path, body=event)).status

    async def _write(self, operation: str, method: str, path: str, body: Mapping[str, Any]) -> Answer:
        wait = self._bucket.reserve()
        if wait:
            await asyncio.sleep(wait)
        return await self._request(operation, method, path, body=body)

    async def _request(
        self,
        operation: str,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        limits: aiohttp.ClientTimeout = REQUEST_TIMEOUT,
    ) -> Answer:
        assert self._session is not None, "start() comes first"
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        try:
            for setting in (await self._configuration.auth_settings()).values():
                headers[setting["key"]] = setting["value"]
            async with self._session.request(
                method,
                f"{self._configuration.host}{path}",
                params=query,
                data=None if body is None else json.dumps(body),
                headers=headers,
                timeout=limits,
            ) as response:
                answer = Answer(response.status, _object(await response.read()))
                self._metrics.pod_operations.labels(operation, str(response.status)).inc()
                if response.status in (429, 503):
                    self._suspend(response.headers.get("Retry-After"))
                return answer
        except (aiohttp.ClientError, TimeoutError, OSError, config.ConfigException) as error:
            self._metrics.pod_operations.labels(operation, "none").inc()
            why = clean_text(redact(f"{error!r}"), MESSAGE_LIMIT, lines=False)
            raise RuntimeAway(f"{operation} {path}: no answer from the API server: {why}; {NO_ANSWER}") from error

    def _suspend(self, retry_after: str | None) -> None:
        asked_s = retry_after_s(retry_after, now_s=time.time(), most_s=LONGEST_RETRY_AFTER_S)
        seconds = DEFAULT_RETRY_AFTER_S if asked_s is None else asked_s
        self._bucket.suspend(seconds)
        log.warning("api_server_busy", retry_after_s=seconds)

    def _path(self, name: str = "") -> str:
        base = f"/api/v1/namespaces/{self._template.namespace}/pods"
        return f"{base}/{name}" if name else base


def _object(raw: bytes) -> Mapping[str, Any]:
    """The body as an object; anything else (HTML of a proxy, nothing) as an empty one.

    Not `load_json`: a page of pods is larger than any foreign document may be, and it is the API server's own.
    """
    try:
        return object_of(json.loads(raw))
    except (ValueError, RecursionError, MemoryError):
        return {}


async def load_configuration(configuration: Configuration, kubeconfig: str | None = None) -> None:
    """Credentials of the pod's service account, or else of a kubeconfig: the given one, or the user's."""
    if kubeconfig is None:
        try:
            config.load_incluster_config(client_configuration=configuration)
        except config.ConfigException:
            pass
        else:
            return
    await config.load_kube_config(config_file=kubeconfig, client_configuration=configuration)
