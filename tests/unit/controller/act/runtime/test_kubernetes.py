"""Requests about pods when the API server is slow, busy, forgetful or surprising: against a small stand-in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from controller.act.runtime import CreateRefused, RuntimeAway
from controller.act.runtime import kubernetes as module
from controller.act.runtime.kubernetes import KubernetesRuntime, TokenBucket, load_configuration
from controller.decide.facts import PodPhase
from controller.decide.pod_events import PodEvent
from controller.decide.podspec import PodRequest, PodTemplate
from controller.metrics import Metrics
from controller.observe.pods import PodStore
from fleet.labels import BOT_ID, EPOCH
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
    foreign = {"metadata": {"name": REQUEST.name, "labels": {BOT_ID: "8"}}}
    stand_in.pods[REQUEST.name] = _stored(foreign, uid="foreign")
    stand_in.instead = [answer(409, "already exists")]
    with pytest.raises(CreateRefused, match="delete it"):
        await runtime.create(REQUEST)


@pytest.mark.parametrize("status", [400, 403, 404, 405, 413, 415, 422])
async def test_a_refusal_says_why(server: tuple[StandIn, KubernetesRuntime], status: int) -> None:
    stand_in, runtime = server
    stand_in.instead = [answer(status, "exceeded quota")]
    with pytest.raises(CreateRefused, match="exceeded quota"):
        await runtime.create(REQUEST)


@pytest.mark.parametrize("status", [200, 201, 202])
async def test_a_pod_in_the_answer_was_created(server: tuple[StandIn, KubernetesRuntime], status: int) -> None:
    stand_in, runtime = server
    stand_in.instead = [pods_answer(status, uid="u9")]
    assert (await runtime.create(REQUEST)).uid == "u9"
    assert runtime._metrics.pod_operations.labels("create", str(status))._value.get() == 1


@pytest.mark.parametrize("status", [203, 408, 429, 500, 503])
async def test_an_unclear_answer_to_a_create_is_no_refusal(
    server: tuple[StandIn, KubernetesRuntime], status: int
) -> None:
    stand_in, runtime = server
    stand_in.instead = [answer(status, "what now")]
    with pytest.raises(RuntimeAway, match="what now"):
        await runtime.create(REQUEST)
    assert runtime.pods(7) == ()


async def test_a_created_pod_whose_answer_was_lost_is_the_one_that_is_found(
    server: tuple[StandIn, KubernetesRuntime],
) -> None:
    stand_in, runtime = server
    stand_in.instead = [no_answer]
    assert (await runtime.create(REQUEST)).uid == "u0"
    assert [(method, path) for method, path, _ in stand_in.asked] == [("POST", ""), ("GET", f"/{REQUEST.name}")]
    assert runtime._metrics.pod_operations.labels("create", "none")._value.get() == 1


@pytest.mark.parametrize("lost", [no_answer, answer(409, "already exists")])
@pytest.mark.parametrize("found", [404, 500])
async def test_a_create_that_is_not_found_or_cannot_be_looked_up_is_unknown(
    server: tuple[StandIn, KubernetesRuntime], lost: Answer, found: int
) -> None:
    stand_in, runtime = server
    stand_in.instead = [lost, answer(found, "not now")]
    with pytest.raises(RuntimeAway):
        await runtime.create(REQUEST)
    assert runtime.pods(7) == ()


async def test_what_is_found_under_the_name_but_is_no_pod_is_refused(
    server: tuple[StandIn, KubernetesRuntime],
) -> None:
    stand_in, runtime = server
    stand_in.instead = [answer(409, "already exists"), answer(200, "no pod")]
    with pytest.raises(CreateRefused, match="delete it"):
        await runtime.create(REQUEST)


@pytest.mark.parametrize("labels", [{BOT_ID: "7", EPOCH: "4"}, {BOT_ID: "8"}])
async def test_an_answer_with_another_runs_pod_is_refused(
    server: tuple[StandIn, KubernetesRuntime], labels: dict[str, str]
) -> None:
    stand_in, runtime = server
    stand_in.instead = [pods_answer(201, uid="x", labels=labels)]
    with pytest.raises(CreateRefused, match="run 5"):
        await runtime.create(REQUEST)
    assert runtime.existing() == []


MINE = {BOT_ID: "7", EPOCH: "5"}


def pods_answer(status: int, *, uid: str, labels: dict[str, str] = MINE, **metadata: object) -> Answer:
    async def give(_: web.Request) -> web.StreamResponse:
        shape = {"kind": "Pod", "metadata": {"name": REQUEST.name, "uid": uid, "labels": labels, **metadata}}
        return web.json_response(shape, status=status)

    return give


DELETED = {"deletionTimestamp": "2026-11-24T00:00:00Z"}


@pytest.mark.parametrize("status", [200, 202])
@pytest.mark.parametrize(
    ("left", "exists", "deleting"),
    [
        ("the object, being deleted", True, True),
        ("the object, not yet marked", True, False),
        ("a successor, being deleted", True, False),  # not this object's state: the watch will tell
        ("done", False, False),
    ],
)
async def test_what_a_delete_leaves(
    server: tuple[StandIn, KubernetesRuntime], status: int, left: str, exists: bool, deleting: bool
) -> None:
    stand_in, runtime = server
    created = await runtime.create(REQUEST)
    stand_in.instead = [
        {
            "the object, being deleted": pods_answer(status, uid="u0", **DELETED),
            "the object, not yet marked": pods_answer(status, uid="u0"),
            "a successor, being deleted": pods_answer(status, uid="u1", **DELETED),
            "done": answer(status),
        }[left]
    ]
    await runtime.delete(created)
    assert [each.uid for each in runtime.existing()] == (["u0"] if exists else [])
    assert runtime.pods(7)[0].deleting is deleting


@pytest.mark.parametrize("status", [201, 204, 403, 500])
async def test_a_delete_without_a_clear_answer_is_to_be_repeated(
    server: tuple[StandIn, KubernetesRuntime], status: int
) -> None:
    stand_in, runtime = server
    created = await runtime.create(REQUEST)
    stand_in.instead = [answer(status, "no")]
    with pytest.raises(RuntimeAway, match=f"delete of pod {REQUEST.name}"):
        await runtime.delete(created)
    assert runtime.existing() == [created]


def page(*uids: str, proceed: object = None, kind: str = "PodList") -> Answer:
    async def give(_: web.Request) -> web.StreamResponse:
        items = [{"metadata": {"name": uid, "uid": uid, "labels": MINE}} for uid in uids]
        return web.json_response({"kind": kind, "items": items, "metadata": {"continue": proceed}})

    return give


class Pages:
    """Hands pages out and keeps what was asked for."""

    def __init__(self, stand_in: StandIn, *answers: Answer) -> None:
        self.asked: list[dict[str, str]] = []
        stand_in.instead = [self._noting(each) for each in answers]

    def _noting(self, give: Answer) -> Answer:
        async def noting(request: web.Request) -> web.StreamResponse:
            self.asked.append(dict(request.query))
            return await give(request)

        return noting


async def test_a_long_list_comes_in_pages(server: tuple[StandIn, KubernetesRuntime]) -> None:
    stand_in, runtime = server
    pages = Pages(stand_in, page("a", "b", proceed="p2"), page("c", proceed="p3"), page("d", proceed=3))
    await runtime.relist()
    assert {each.uid for each in runtime.existing()} == {"a", "b", "c", "d"}
    assert [query.get("continue") for query in pages.asked] == [None, "p2", "p3"]
    assert {query["limit"] for query in pages.asked} == {"500"}
    assert {query["labelSelector"] for query in pages.asked} == {module.SELECTOR}


async def test_a_list_that_expires_begins_anew(server: tuple[StandIn, KubernetesRuntime]) -> None:
    """What an expired list said may be wrong by now."""
    stand_in, runtime = server
    pages = Pages(stand_in, page("old", proceed="p2"), answer(410, "expired"), page("new"))
    await runtime.relist()
    assert [each.uid for each in runtime.existing()] == ["new"]
    assert [query.get("continue") for query in pages.asked] == [None, "p2", None]


@pytest.mark.parametrize(
    ("shape", "fine"),
    [
        ({"kind": "PodList", "items": None}, True),  # how Go writes an empty list
        ({"kind": "PodList"}, True),
        ({"items": None}, False),
        ({"kind": "Status"}, False),
        ({"kind": "PodList", "items": {}}, False),
        ({"kind": "PodList", "items": ""}, False),
    ],
)
async def test_only_a_list_says_that_pods_are_gone(
    server: tuple[StandIn, KubernetesRuntime], shape: dict[str, Any], fine: bool
) -> None:
    stand_in, runtime = server
    created = await runtime.create(REQUEST)

    async def give(_: web.Request) -> web.StreamResponse:
        return web.json_response(shape)

    stand_in.instead = [give]
    if fine:
        await runtime.relist()
        assert runtime.existing() == []
    else:
        with pytest.raises(RuntimeAway, match="the answer is no list"):
            await runtime.relist()
        assert runtime.existing() == [created]


@pytest.mark.parametrize("status", [201, 401, 403, 500])
async def test_a_list_that_is_refused_removes_nothing(server: tuple[StandIn, KubernetesRuntime], status: int) -> None:
    stand_in, runtime = server
    created = await runtime.create(REQUEST)
    stand_in.instead = [answer(status, "no")]
    with pytest.raises(RuntimeAway, match="list of pods"):
        await runtime.relist()
    assert runtime.existing() == [created]


class Keeper:
    """Stands for the watch on pods, which has tests of its own."""

    def __init__(self, begun: Callable[[], None]) -> None:
        self.calls: list[str] = []
        self._begun = begun

    async def start(self) -> None:
        self.calls.append("start")
        self._begun()

    async def stop(self) -> None:
        self.calls.append("stop")

    def fault(self) -> str | None:
        return "the watch ended"

    def trouble(self) -> str | None:
        return "the watch hears nothing"


async def test_what_happens_between_the_list_and_the_watch_is_seen(
    server: tuple[StandIn, KubernetesRuntime],
) -> None:
    stand_in, runtime = server

    def appear() -> None:
        assert [each.uid for each in runtime.existing()] == ["before"]  # the watch begins with what is there
        stand_in.pods["x"] = {"metadata": {"name": "x", "uid": "meanwhile", "labels": MINE}}
        del stand_in.pods["y"]

    stand_in.pods["y"] = {"metadata": {"name": "y", "uid": "before", "labels": MINE}}
    keeper = Keeper(appear)
    assert (runtime._keeper.new().namespace, runtime._keeper.new().store) == ("bots", runtime._store)
    runtime._keeper = keeper  # type: ignore[assignment]
    await runtime.start()
    assert [each.uid for each in runtime.existing()] == ["meanwhile"]
    assert (runtime.fault(), runtime.watch_trouble()) == ("the watch ended", "the watch hears nothing")
    session, writer = runtime._session, runtime._writer
    await runtime.close()
    assert writer is not None
    assert writer.cancelling()
    assert keeper.calls == ["start", "stop"]
    assert session is not None
    assert session.closed


async def test_a_start_connects_by_itself_and_a_close_without_a_start_is_nothing(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    user = {"users": [{"name": "u", "user": {}}], "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}]}
    cluster = {"clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}], "current-context": "x"}
    kubeconfig.write_text(json.dumps({**user, **cluster}))
    runtime = KubernetesRuntime(
        template=TEMPLATE,
        store=PodStore(lambda _: None),
        qps=1,
        burst=1,
        metrics=Metrics(),
        clock=lambda: 0.0,
        kubeconfig=str(kubeconfig),
    )
    runtime._keeper = Keeper(lambda: None)  # type: ignore[assignment]
    await runtime.close()
    with pytest.raises(RuntimeAway, match="no answer"):
        await runtime.start()
    await runtime.close()


async def test_notes_become_events(server: tuple[StandIn, KubernetesRuntime]) -> None:
    stand_in, runtime = server
    runtime._keeper = Keeper(lambda: None)  # type: ignore[assignment]
    await runtime.start()
    runtime.record_event(pod(), PodEvent("Fenced", "why"))
    for _ in range(500):
        events = [(method, path, body) for method, path, body in stand_in.asked if "events" in path]
        if events:
            break
        await asyncio.sleep(0.01)
    [(method, path, body)] = events
    assert (method, path) == ("POST", "/api/v1/namespaces/bots/events")
    assert (body["reason"], body["involvedObject"]["uid"]) == ("Fenced", "u5")
    stand_in.instead = [answer(409, "it is there")]
    assert await runtime._post(body) == 409


def test_a_watch_that_is_down_is_counted() -> None:
    metrics = Metrics()
    runtime = KubernetesRuntime(
        template=TEMPLATE, store=PodStore(lambda _: None), qps=1, burst=1, metrics=metrics, clock=lambda: 0.0
    )
    for trouble, down in (("refused", 1), (None, 0)):
        runtime._watch_told(trouble)
        assert metrics.watch_down._value.get() == down


async def test_a_write_waits_for_the_bucket_and_a_read_does_not(
    server: tuple[StandIn, KubernetesRuntime], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, runtime = server
    runtime._bucket = TokenBucket(4, 1, lambda: 0.0)
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(module.asyncio, "sleep", sleep)
    await runtime.create(REQUEST)
    assert slept == []
    await runtime.relist()
    await runtime.create(REQUEST)
    assert slept == [0.25]


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, 1.0),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "3600"}, 30.0),
        ({"Retry-After": "soon"}, 1.0),
        ({"Retry-After": "Sun, 06 Nov 1994 08:49:37 GMT"}, 0.0),  # over already
        ({"Retry-After": "Sun, 06 Nov 2094 08:49:37 GMT"}, 30.0),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
async def test_how_long_a_busy_server_is_left_alone(
    server: tuple[StandIn, KubernetesRuntime], status: int, headers: dict[str, str], wait: float
) -> None:
    stand_in, runtime = server
    runtime._bucket = TokenBucket(1000, 1000, lambda: 50.0)
    stand_in.instead = [answer(status, "busy", **headers)]
    with pytest.raises(RuntimeAway, match="busy"):
        await runtime.relist()
    assert runtime._bucket.reserve() == wait


async def test_requests_carry_the_credentials(server: tuple[StandIn, KubernetesRuntime]) -> None:
    stand_in, runtime = server
    seen: list[str | None] = []

    async def note(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers.get("Authorization"))
        return web.json_response({"kind": "PodList", "items": []})

    stand_in.instead = [note]
    await runtime.relist()
    assert seen == ["Bearer secret"]


async def test_a_created_pod_that_is_found_under_its_name_is_the_answer(
    server: tuple[StandIn, KubernetesRuntime],
) -> None:
    stand_in, runtime = server
    stand_in.instead = [answer(409, "already exists")]
    assert (await runtime.create(REQUEST)).uid == "u0"
    assert runtime._metrics.pod_operations.labels("get", "200")._value.get() == 1
    await runtime.delete(pod(name="nobody"))
    assert runtime._metrics.pod_operations.labels("delete", "404")._value.get() == 1


async def test_a_success_without_a_pod_is_no_success(server: tuple[StandIn, KubernetesRuntime]) -> None:
    stand_in, runtime = server
    stand_in.instead = [answer(201)]
    with pytest.raises(RuntimeAway, match="the answer is no pod"):
        await runtime.create(REQUEST)


def test_rate_and_burst_are_those_of_the_settings() -> None:
    runtime = KubernetesRuntime(
        template=TEMPLATE, store=PodStore(lambda _: None), qps=7, burst=3, metrics=Metrics(), clock=lambda: 0.0
    )
    assert [round(runtime._bucket.reserve(), 3) for _ in range(4)] == [0, 0, 0, round(1 / 7, 3)]
    for said, wait in (("²", 1.0), ("", 1.0), (None, 1.0), ("0", 0.0)):
        runtime._bucket = TokenBucket(1000, 1000, lambda: 0.0)
        runtime._suspend(said)
        assert runtime._bucket.reserve() == wait


def test_an_answers_words_are_one_line() -> None:
    assert "\n" not in module.Answer(500, {"message": "a\nb"}).message
    assert "a b" in module.Answer(500, {"message": "a\nb"}).message


def test_how_long_requests_may_take() -> None:
    """Shorter than the manager's patience, connecting included; a list of 10,000 pods takes its time."""
    assert (module.REQUEST_TIMEOUT.total, module.REQUEST_TIMEOUT.connect) == (10, 3)
    assert (module.LOOK_UP_TIMEOUT.total, module.LOOK_UP_TIMEOUT.connect) == (3, 3)
    assert (module.LIST_TIMEOUT.total, module.LIST_TIMEOUT.connect) == (60, 3)


async def test_in_a_cluster_the_service_account_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[str] = []

    async def kubeconfig(*, config_file: str | None, client_configuration: object) -> None:
        used.append(f"kubeconfig {config_file}")

    def service_account(*, client_configuration: object) -> None:
        used.append("service account")

    monkeypatch.setattr(module.config, "load_kube_config", kubeconfig)
    monkeypatch.setattr(module.config, "load_incluster_config", service_account)
    await load_configuration(module.Configuration())
    await load_configuration(module.Configuration(), "mine")

    def outside(*, client_configuration: object) -> None:
        raise module.config.ConfigException("not in a cluster")

    monkeypatch.setattr(module.config, "load_incluster_config", outside)
    await load_configuration(module.Configuration())
    assert used == ["service account", "kubeconfig mine", "kubeconfig None"]


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
    bucket.suspend(3)  # the longest word counts
    assert bucket.reserve() == 5
    now += 6
    assert bucket.reserve() == 0
