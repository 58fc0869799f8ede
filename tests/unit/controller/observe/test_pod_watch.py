"""The watch on pods with the real kopf, against a small API server that refuses, fails, hangs, cuts and recovers."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from controller.observe import pod_watch as module
from controller.observe.pod_watch import STALE_S, STUCK_LIMIT, WATCH_TIMEOUT_S, PodWatch, WatchHealth, WatchKeeper
from controller.observe.pods import PodStore
from fleet.labels import BOT_ID, EPOCH

PODS = "/api/v1/namespaces/bots/pods"
RESOURCES = {
    "kind": "APIResourceList",
    "groupVersion": "v1",
    "resources": [
        {"name": f"{kind.lower()}s", "singularName": kind.lower(), "namespaced": kind != "Namespace", "kind": kind,
         "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"]}
        for kind in ("Pod", "Namespace", "Event")
    ],
}  # fmt: skip


def body(number: int) -> dict[str, Any]:
    labels = {BOT_ID: "7", EPOCH: str(number)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"p{number}",
            "namespace": "bots",
            "uid": f"u{number}",
            "labels": labels,
            "resourceVersion": str(number),
        },
        "status": {"phase": "Pending"},
    }


class ApiServer:
    """Lists nothing, and streams what the test puts in; `mode` is how it answers from now on."""

    def __init__(self) -> None:
        self.mode = "ok"
        self.events: list[dict[str, Any]] = []
        self.watches = 0
        self.streams: set[web.StreamResponse] = set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        documents = {
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/apis": {"kind": "APIGroupList", "groups": []},
            "/api/v1": RESOURCES,
        }
        if request.path in documents:
            return web.json_response(documents[request.path])
        if self.mode.isdigit():
            return web.json_response({"kind": "Status", "message": "no"}, status=int(self.mode))
        if self.mode == "hang":
            await asyncio.sleep(600)
        if self.mode == "cut":
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        if request.query.get("watch") != "true":
            return web.json_response({"kind": "PodList", "items": [], "metadata": {"resourceVersion": "1"}})
        return await self._stream(request)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        """Ends after timeoutSeconds, as a real one does; a hanging one keeps what is open and says nothing more."""
        self.watches += 1
        response = web.StreamResponse()
        await response.prepare(request)
        self.streams.add(response)
        deadline = time.monotonic() + float(request.query["timeoutSeconds"])
        sent = 0
        try:
            while time.monotonic() < deadline or self.mode == "hang":
                for event in self.events[sent:] if self.mode == "ok" else ():
                    await response.write(json.dumps(event).encode() + b"\n")
                sent = len(self.events)
                await asyncio.sleep(0.02)
        finally:
            self.streams.discard(response)
        return response


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ApiServer]:
    api = ApiServer()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", api.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        json.dumps(
            {
                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{runner.addresses[0][1]}"}}],
                "users": [{"name": "u", "user": {"token": "secret"}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )
    )
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    # a fifth of the real times, in the same order
    monkeypatch.setattr(module, "WATCH_TIMEOUT_S", 1)
    monkeypatch.setattr(module, "INACTIVITY_S", 1.6)
    monkeypatch.setattr(module, "STALE_S", 1.8)
    monkeypatch.setattr(module, "BACKOFFS", (0.1, 0.2))
    monkeypatch.setattr(module, "RESTART_FIRST_S", 0.2)
    yield api
    await runner.cleanup()


async def until(condition: Callable[[], object], within_s: float) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.fixture
async def keeper(server: ApiServer) -> AsyncIterator[tuple[WatchKeeper, PodStore, list[PodWatch]]]:
    store = PodStore(lambda _: None)
    made: list[PodWatch] = []

    def new() -> PodWatch:
        made.append(PodWatch("bots", store))
        return made[-1]

    keeper = WatchKeeper(new, recovery_s=3)
    await keeper.start()
    await until(lambda: keeper.trouble() is None, 10)
    yield keeper, store, made
    await keeper.stop()


def test_silence_is_noticed_within_ten_seconds() -> None:
    assert WATCH_TIMEOUT_S < module.INACTIVITY_S < STALE_S < 10
    now = 0.0
    health = WatchHealth(lambda: now)
    assert "nothing was heard yet" in (health.trouble() or "")
    health.answered()
    now = STALE_S
    assert health.trouble() is None
    now = 10.0
    assert "hasn't answered for 10 s" in (health.trouble() or "")
    health.answered()
    health.failed("a\x00b postgresql://me:hunter2@db/x")
    assert health.trouble() == "a\ufffdb postgresql://me:***@db/x"
    health.answered()
    assert health.trouble() is None


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("403", "answers 403"),
        ("401", "answers 401"),
        ("429", "answers 429"),
        ("500", "answers 500"),
        ("503", "answers 503"),
        ("cut", "no answer from the API server"),
        ("hang", "hasn't answered"),
    ],
)
async def test_a_watch_that_hears_nothing_says_so_and_recovers(
    server: ApiServer, keeper: tuple[WatchKeeper, PodStore, list[PodWatch]], mode: str, words: str
) -> None:
    watch, store, _ = keeper
    server.events = [{"type": "ADDED", "object": body(1)}]
    await until(lambda: store.of(7), 2)
    server.mode = mode
    await until(lambda: words in (watch.trouble() or ""), 3)
    await asyncio.sleep(1)  # kopf ends meanwhile, or tries on
    assert watch.trouble() is not None
    server.events.append({"type": "ADDED", "object": body(2)})
    server.mode = "ok"
    await until(lambda: watch.trouble() is None, 10)
    await until(lambda: len(store.of(7)) == 2, 3)
    assert watch.fault() is None


async def test_a_quiet_watch_is_no_trouble(
    server: ApiServer, keeper: tuple[WatchKeeper, PodStore, list[PodWatch]]
) -> None:
    watch, _, made = keeper
    begun = server.watches
    for _ in range(100):
        assert watch.trouble() is None
        await asyncio.sleep(0.04)
    assert server.watches > begun + 2
    assert len(made) == 1


async def test_an_operator_that_ended_leaves_no_thread(
    server: ApiServer, keeper: tuple[WatchKeeper, PodStore, list[PodWatch]]
) -> None:
    watch, _, made = keeper
    server.mode = "403"
    await until(lambda: len(made) >= 3, 15)
    assert made[0].ended
    assert "kopf ended" in made[0].ended
    assert not made[0].alive
    assert watch.fault() is None


class Stuck(PodWatch):
    """A watch that has ended but whose thread doesn't."""

    async def start(self) -> None:
        self._thread = None

    @property
    def ended(self) -> str | None:
        return "kopf ended"

    @property
    def alive(self) -> bool:
        return True

    def trouble(self) -> str | None:
        return "down"


async def test_watches_that_do_not_end_end_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESTART_FIRST_S", 0.01)
    monkeypatch.setattr(module, "RESTART_MAX_S", 0.01)
    made: list[Stuck] = []

    def new() -> PodWatch:
        made.append(Stuck("bots", PodStore(lambda _: None)))
        return made[-1]

    keeper = WatchKeeper(new)
    await keeper.start()
    await until(keeper.fault, 10)
    assert f"{STUCK_LIMIT} watches on pods did not end" in (keeper.fault() or "")
    await keeper.stop()
