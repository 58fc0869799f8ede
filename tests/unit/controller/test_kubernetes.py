"""Requests about pods when the API server is slow, busy, forgetful or surprising: against a small stand-in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from controller.facts import PodPhase
from controller.metrics import Metrics
from controller.observe.pods import PodStore
from controller.podspec import PodRequest, PodTemplate
from controller.runtime import CreateRefused, RuntimeAway
from controller.runtime import kubernetes as module
from controller.runtime.kubernetes import KubernetesRuntime, TokenBucket
from tests.unit.controller.make import pod

REQUEST = PodRequest(bot_id=7, epoch=5, name="bot-7-x-e5", user_id=1, config_version=1, mode="paper")
TEMPLATE = PodTemplate(namespace="bots", image="i", pull_policy="Never", command=["python"], database_secret="s")
BASE = "/api/v1/namespaces/bots/pods"
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class StandIn:
    """An API server whose next answers are set by the test; keeps what it was asked."""

    def __init__(self) -> None:
        self.pods: dict[str, dict[str, Any]] = {}
        self.asked: list[tuple[str, str, Any]] = []
        self.instead: list[Answer] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.text() or "null")
        self.asked.append((request.method, request.path.removeprefix(BASE), body))
        if request.method == "POST":
            self.pods.setdefault(body["metadata"]["name"], _stored(body, uid=f"u{len(self.pods)}"))
        if self.instead:
            return await self.instead.pop(0)(request)
        name = request.path.rpartition("/")[2]
        if request.method == "POST":
            return web.json_response(self.pods[body["metadata"]["name"]], status=201)
        if request.method == "GET" and name == "pods":
            return web.json_response({"items": list(self.pods.values()), "metadata": {}})
        if name not in self.pods:
            return web.json_response({"kind": "Status", "message": "not found"}, status=404)
        return web.json_response(self.pods[name])


def _stored(body: dict[str, Any], *, uid: str) -> dict[str, Any]:
    return {**body, "metadata": {**body["metadata"], "uid": uid}, "status": {"phase": "Pending"}}


def answer(status: int, message: str = "", **headers: str) -> Answer:
    async def give(_: web.Request) -> web.StreamResponse:
        return web.json_response({"kind": "Status", "message": message}, status=status, headers=headers)

    return give


async def no_answer(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def hang(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(60)
    return web.Response()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[tuple[StandIn, KubernetesRuntime]]:
    stand_in = StandIn()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", stand_in.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        json.dumps(
            {
                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
                "users": [{"name": "u", "user": {"token": "secret"}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )
    )
    runtime = KubernetesRuntime(
        template=TEMPLATE,
        store=PodStore(lambda _: None),
        qps=1000,
        burst=1000,
        metrics=Metrics(),
        clock=asyncio.get_running_loop().time,
        kubeconfig=str(kubeconfig),
    )
    await runtime.connect()
    yield stand_in, runtime
    await runtime.close()
    await runner.cleanup()


async def test_a_created_pod_is_known_at_once(server: tuple[StandIn, KubernetesRuntime]) -> None:
    _, runtime = server
    created = await runtime.create(REQUEST)
    assert (created.epoch, created.phase) == (5, PodPhase.PENDING)
    assert runtime.pods(7) == (created,)


@pytest.mark.parametrize("lost", [no_answer, answer(504), answer(409, "already exists"), answer(500, "etcd")])
async def test_a_create_without_a_clear_answer_is_never_blindly_repeated(
    server: tuple[StandIn, KubernetesRuntime], lost: Answer
) -> None:
    stand_in, runtime = server
    stand_in.instead = [lost]
    try:
        await runtime.create(REQUEST)
    except RuntimeAway:
        stand_in.instead = [answer(409, "already exists")]  # what the real one says to the next attempt
        await runtime.create(REQUEST)
    assert len(stand_in.pods) == 1
    assert [pod.uid for pod in runtime.pods(7)] == ["u0"]


async def test_a_hanging_server_is_given_up(
    server: tuple[StandIn, KubernetesRuntime], monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in, runtime = server
    monkeypatch.setitem(
        KubernetesRuntime._request.__kwdefaults__ or {},  # the time-out of every request without its own
        "limits",
        module.aiohttp.ClientTimeout(total=0.05),
    )
    stand_in.instead = [hang, hang]
    with pytest.raises(RuntimeAway, match="no answer"):
        await runtime.create(REQUEST)


async def test_a_name_taken_by_another_pod_is_refused(server: tuple[StandIn, KubernetesRuntime]) -> None:
    stand_in, runtime = server
    foreign = {"metadata": {"name": REQUEST.name, "labels": {"botfleet.dev/bot-id": "8"}}}
    stand_in.pods[REQUEST.name] = _stored(foreign, uid="foreign")
    stand_in.instead = [answer(409, "already exists")]
    with pytest.raises(CreateRefused, match="delete it"):
        await runtime.create(REQUEST)


@pytest.mark.parametrize("status", [400, 403, 422])
async def test_a_refusal_says_why(server: tuple[StandIn, KubernetesRuntime], status: int) -> None:
    stand_in, runtime = server
    stand_in.instead = [answer(status, "exceeded quota")]
    with pytest.raises(CreateRefused, match="exceeded quota"):
        await runtime.create(REQUEST)


async def test_a_busy_server_is_left_alone_as_long_as_it_says(
    server: tuple[StandIn, KubernetesRuntime],
) -> None:
    stand_in, runtime = server
    stand_in.instead = [answer(429, "busy", **{"Retry-After": "3"})]
    with pytest.raises(RuntimeAway, match="busy"):
        await runtime.delete(pod())
    assert 2.5 < runtime._bucket.reserve() <= 3


async def test_a_delete_names_the_object(server: tuple[StandIn, KubernetesRuntime]) -> None:
    stand_in, runtime = server
    created = await runtime.create(REQUEST)
    stand_in.pods[REQUEST.name]["metadata"]["deletionTimestamp"] = "2026-11-24T00:00:00Z"
    await runtime.delete(created)
    method, path, body = stand_in.asked[-1]
    assert (method, path) == ("DELETE", f"/{REQUEST.name}")
    assert body["preconditions"] == {"uid": "u0"}
    assert "gracePeriodSeconds" not in body
    assert runtime.pods(7)[0].deleting


@pytest.mark.parametrize("status", [404, 409])
async def test_an_object_that_is_gone_is_gone(server: tuple[StandIn, KubernetesRuntime], status: int) -> None:
    stand_in, runtime = server
    created = await runtime.create(REQUEST)
    stand_in.instead = [answer(status, "uid precondition")]
    await runtime.delete(created)
    assert runtime.existing() == []


async def test_html_of_a_proxy_is_no_list(server: tuple[StandIn, KubernetesRuntime]) -> None:
    stand_in, runtime = server
    created = await runtime.create(REQUEST)

    async def proxy(_: web.Request) -> web.StreamResponse:
        return web.Response(status=504, text="<html>", content_type="text/html")

    stand_in.instead = [proxy]
    with pytest.raises(RuntimeAway):
        await runtime.relist()
    assert runtime.existing() == [created]
    stand_in.pods.clear()
    await runtime.relist()
    assert runtime.existing() == []


@pytest.mark.parametrize(
    "raw",
    [
        b"<html>", b"", b"[]", b"null", b'"x"', b"[" * 100_000, b"9" * 5000, b'{"items": 3}', b'{"items": {"a": 1}}',
        b'{"items": null}', b'{"kind": "PodList", "items": [], "metadata": 3}', b"\xff",
        b'{"items": [null, 3, [], {"metadata": 1}, {"metadata": {"labels": ["x"]}}, {"status": "x"}]}',
        b'{"message": {"a": 1}, "kind": "Status"}',
    ],
)  # fmt: skip
@pytest.mark.parametrize("status", [200, 201, 409, 500])
async def test_any_answer_is_an_answer(server: tuple[StandIn, KubernetesRuntime], raw: bytes, status: int) -> None:
    """Whatever comes back: done, refused or unknown, and nothing else is raised; the message can be stored."""
    stand_in, runtime = server
    said: list[str] = []
    for call in (runtime.relist, lambda: runtime.create(REQUEST), lambda: runtime.delete(pod())):

        async def reply(_: web.Request) -> web.StreamResponse:
            return web.Response(status=status, body=raw, headers={"Retry-After": "²"})

        stand_in.instead = [reply, reply]
        try:
            await call()
        except (RuntimeAway, CreateRefused) as error:
            said.append(str(error))
    assert "\x00" not in "".join(said)


async def test_what_the_server_says_is_cleaned_and_says_what_to_do(
    server: tuple[StandIn, KubernetesRuntime],
) -> None:
    stand_in, runtime = server
    said = "a\x00b \x1b[31mpostgresql://me:hunter2@db/x"
    stand_in.instead = [answer(403, said), answer(401, "Unauthorized"), answer(401, "Unauthorized")]
    with pytest.raises(CreateRefused) as refused:
        await runtime.create(REQUEST)
    assert str(refused.value) == (
        "pod bot-7-x-e5 was refused: the API server answers 403 a\ufffdb postgresql://me:***@db/x; ask the cluster's "
        "administrator what forbids it"
    )
    with pytest.raises(RuntimeAway, match="answers 401 Unauthorized; the controller's service account token"):
        await runtime.create(REQUEST)


async def test_one_bad_pod_spoils_no_list(server: tuple[StandIn, KubernetesRuntime]) -> None:
    stand_in, runtime = server
    await runtime.create(REQUEST)
    stand_in.pods |= {"x": {"metadata": None}, "y": {"status": []}}
    await runtime.relist()
    assert [each.uid for each in runtime.existing()] == ["u0"]


def test_the_bucket_spaces_requests() -> None:
    now = 100.0
    bucket = TokenBucket(10, 2, lambda: now)
    assert [round(bucket.reserve(), 3) for _ in range(4)] == [0, 0, 0.1, 0.2]
    now += 10
    assert [round(bucket.reserve(), 3) for _ in range(3)] == [0, 0, 0.1]
    bucket.suspend(5)
    assert bucket.reserve() == 5
