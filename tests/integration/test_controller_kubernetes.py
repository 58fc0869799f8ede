"""The controller against a real API server, under the rights of the chart's Role, with a stand-in for the kubelet."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.apiserver import ApiServer, Running
from tests.integration.controller_process import Fleet
from tests.integration.fake_kubelet import NAMESPACE, NO_ROOM, Api, FakeKubelet, kill

pytestmark = [pytest.mark.postgres, pytest.mark.apiserver]

RULES = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch", "create", "delete"]}]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with ApiServer(tmp_path_factory.mktemp("apiserver")).start() as running:
        api = Api(running)
        api.call("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        yield running


@pytest.fixture(scope="module")
def api(server: Running) -> Api:
    return Api(server)


@pytest.fixture(scope="module")
def kubeconfig(server: Running, api: Api) -> Path:
    """Of the controller's service account, which may do what the chart's Role says and nothing else."""
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}"
    account = {"kind": "ServiceAccount", "name": "controller", "namespace": NAMESPACE}
    api.call("POST", f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts", {"metadata": {"name": "controller"}})
    api.call("POST", f"{rbac}/roles", {"metadata": {"name": "controller"}, "rules": RULES})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "controller"}
    binding = {"metadata": {"name": "controller"}, "roleRef": reference, "subjects": [account]}
    api.call("POST", f"{rbac}/rolebindings", binding)
    token = api.call("POST", f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/controller/token", {"spec": {}})
    document = json.loads(server.kubeconfig.read_text())
    document["users"][0]["user"] = {"token": token["status"]["token"]}
    path = server.kubeconfig.with_name("controller.kubeconfig")
    path.write_text(json.dumps(document))
    return path


@pytest.fixture
def fleet(database_url: str, tmp_path: Path, kubeconfig: Path) -> Iterator[Fleet]:
    fleet = Fleet(
        database_url,
        tmp_path,
        BOTFLEET_RUNTIME="kubernetes",
        BOTFLEET_NAMESPACE=NAMESPACE,
        BOTFLEET_BOT_IMAGE="botrunner:test",
        BOTFLEET_BOT_DATABASE_SECRET="bots",
        BOTFLEET_RELIST_INTERVAL_S="2",
        KUBECONFIG=str(kubeconfig),
    )
    yield fleet
    fleet.close()


@pytest.fixture
def kubelet(api: Api, database_url: str, fleet: Fleet) -> Iterator[FakeKubelet]:
    kubelet = FakeKubelet(
        api, {"BOTFLEET_DATABASE_URL": database_url, "BOTFLEET_HEARTBEAT_INTERVAL_S": "0.4", "PYTHONPATH": "."}
    )
    kubelet.start()
    yield kubelet
    fleet.close()
    kubelet.stop()
    for pod in api.pods():
        api.delete(pod["metadata"]["name"], grace_s=0)


def uid(fleet: Fleet, bot: int) -> str:
    return str(fleet.runs(bot)[-1]["claimed_by"]).partition("/")[0]


def named(api: Api, prefix: str) -> list[dict[str, Any]]:
    return [pod for pod in api.pods() if pod["metadata"]["name"].startswith(prefix)]


def test_rows_become_pods_and_back(fleet: Fleet, kubelet: FakeKubelet, api: Api) -> None:
    fleet.start()
    fleet.wait(lambda: "rows_listening" in fleet.logs(), within_s=20)
    bot = fleet.add_bot("RSI & Co.")
    assert fleet.wait(lambda: fleet.running(bot)) < 3
    (pod,) = api.pods()
    assert pod["metadata"]["name"] == f"bot-{bot}-rsi-co-e1"
    assert pod["metadata"]["labels"]["botfleet.dev/epoch"] == "1"
    assert "finalizers" not in pod["metadata"]
    assert list(pod["metadata"]["annotations"]) == ["argocd.argoproj.io/ignore-restart-policy"]
    assert fleet.runs(bot)[0]["pod_uid"] == pod["metadata"]["uid"]

    kill(kubelet.process_of(uid(fleet, bot)))
    assert fleet.wait(lambda: fleet.running(bot, epoch=2)) < 3
    assert (fleet.runs(bot)[0]["exit_reason"], fleet.runs(bot)[0]["exit_code"]) == ("failed", 137)
    fleet.wait(lambda: len(api.pods()) == 1)

    api.delete(f"bot-{bot}-rsi-co-e2")
    fleet.wait(lambda: fleet.running(bot, epoch=3))
    assert fleet.runs(bot)[1]["exit_reason"] == "released"
    fleet.update(bot, enabled=False)
    fleet.wait(lambda: fleet.bot(bot)["status"] == "stopped")
    # its container has ended; the node takes the object away a moment later
    fleet.wait(lambda: api.pods() == [])
    assert fleet.never_two_claimed(bot)


def test_a_restarted_controller_touches_no_healthy_pod(fleet: Fleet, kubelet: FakeKubelet, api: Api) -> None:
    first = fleet.start()
    bots = [fleet.add_bot(f"bot {number}") for number in range(3)]
    for bot in bots:
        fleet.wait(lambda bot=bot: fleet.running(bot), within_s=20)
    before = {pod["metadata"]["uid"] for pod in api.pods()}
    first.kill()
    first.wait()
    dead = uid(fleet, bots[2])
    kill(kubelet.process_of(dead))
    stray = api.call("GET", api.pod_path(f"bot-{bots[0]}-bot-0-e1"))
    labels = {**stray["metadata"]["labels"], "botfleet.dev/bot-id": "999"}
    spec = {"containers": [{"name": "bot", "image": "i", "args": ["--bot-id", "999", "--epoch", "1"]}]}
    api.call(
        "POST", f"/api/v1/namespaces/{NAMESPACE}/pods", {"metadata": {"name": "s", "labels": labels}, "spec": spec}
    )
    fleet.start()
    fleet.wait(lambda: fleet.running(bots[2], epoch=2), within_s=20)
    fleet.wait(lambda: named(api, "s") == [])  # a pod of no row
    after = {pod["metadata"]["uid"] for pod in api.pods()}
    assert before - {dead} <= after
    assert len(after) == 3
    assert [len(fleet.runs(bot)) for bot in bots] == [1, 1, 2]


def test_what_keeps_a_pod_from_starting_is_shown(fleet: Fleet, kubelet: FakeKubelet, api: Api) -> None:
    kubelet.broken_image = True
    fleet.start(BOTFLEET_CLAIM_DEADLINE_S="4")
    bot = fleet.add_bot()
    fleet.wait(lambda: "ErrImagePull: no such image" in (fleet.bot(bot)["error_message"] or ""), within_s=20)
    assert fleet.bot(bot)["status"] == "starting"
    fleet.wait(lambda: len(fleet.runs(bot)) > 1)
    assert fleet.runs(bot)[0]["exit_reason"] == "not_claimed"
    assert fleet.bot(bot)["error_count"] == 0
    kubelet.broken_image = False
    fleet.wait(lambda: fleet.running(bot), within_s=20)


def test_pods_of_a_full_cluster_wait_in_place(fleet: Fleet, kubelet: FakeKubelet, api: Api) -> None:
    kubelet.full = True
    fleet.start(BOTFLEET_CLAIM_DEADLINE_S="10", BOTFLEET_STARTS_AT_ONCE="2")
    bots = [fleet.add_bot(f"bot {number}") for number in range(6)]

    def words(bot: int) -> str:
        return fleet.bot(bot)["error_message"] or ""

    def waiting() -> list[int]:
        return [bot for bot in bots if "waits for a node for" in words(bot) and NO_ROOM[:-1] in words(bot)]

    fleet.wait(lambda: len(waiting()) >= 2, within_s=90)
    made = {pod["metadata"]["uid"] for pod in api.pods()}
    time.sleep(12)  # more than the time to claim
    assert {pod["metadata"]["uid"] for pod in api.pods()} >= made
    assert 2 <= len(api.pods()) <= 4  # a few tell the scheduler as much as many
    assert all(run["ended_at"] is None for bot in bots for run in fleet.runs(bot))
    fleet.wait(lambda: all(words(bot) for bot in bots), within_s=60)
    behind = [bot for bot in bots if not fleet.runs(bot)]
    assert behind
    assert all("pods wait for a node already" in words(bot) for bot in behind[1:])
    assert {fleet.bot(bot)["status"] for bot in bots} == {"starting"}
    fleet.update(behind[-1], enabled=False)
    fleet.wait(lambda: fleet.bot(behind[-1])["status"] == "stopped", within_s=20)
    kubelet.full = False
    wanted = [bot for bot in bots if bot != behind[-1]]
    fleet.wait(lambda: all(fleet.running(bot) for bot in wanted), within_s=90)
    assert [len(fleet.runs(bot)) for bot in wanted] == [1] * 5
    fleet.wait(lambda: not any(words(bot) for bot in bots), within_s=60)


def test_a_pod_removed_by_force_is_no_proof_of_death(fleet: Fleet, kubelet: FakeKubelet, api: Api) -> None:
    fleet.start()
    bot = fleet.add_bot()
    fleet.wait(lambda: fleet.running(bot), within_s=20)
    kubelet.reporting = False  # its node is cut off, but not from the database
    process = kubelet.process_of(uid(fleet, bot))
    api.delete(fleet.runs(bot)[0]["pod_name"], grace_s=0)
    fleet.wait(lambda: api.pods() == [])
    with pytest.raises(AssertionError, match="not within"):
        fleet.wait(lambda: len(fleet.runs(bot)) > 1, within_s=4)
    kill(process)
    silent_s = fleet.wait(lambda: len(fleet.runs(bot)) > 1, within_s=20)
    assert silent_s > 9  # T_dead 11.5 s, less the age of the last heartbeats
    assert fleet.runs(bot)[0]["exit_reason"] == "fenced_silent"


@contextmanager
def stopped(name: str) -> Iterator[None]:
    """The API server of this test answers nothing, like a host behind a cut line."""
    (pid,) = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _is(entry, name))
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _is(process: Path, name: str) -> bool:
    try:
        return name in process.joinpath("cmdline").read_bytes().decode().split("\0")
    except OSError:
        return False


def test_without_the_api_server_bots_still_stop(fleet: Fleet, kubelet: FakeKubelet, api: Api, server: Running) -> None:
    fleet.start()
    bot = fleet.add_bot()
    fleet.wait(lambda: fleet.running(bot), within_s=20)
    with stopped(f"--secure-port={server.url.rpartition(':')[2]}"):
        fleet.update(bot, enabled=False)
        fleet.wait(lambda: fleet.runs(bot)[0]["exit_reason"] == "stopped", within_s=5)
    fleet.wait(lambda: fleet.bot(bot)["status"] == "stopped", within_s=30)
    fleet.wait(lambda: api.pods() == [])


def test_a_refused_pod_says_why(fleet: Fleet, kubelet: FakeKubelet, api: Api) -> None:
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    api.call("POST", f"/api/v1/namespaces/{NAMESPACE}/resourcequotas", quota)
    status = {"status": {"hard": {"pods": "0"}, "used": {"pods": "0"}}}  # no controller manager fills it here
    path = f"/api/v1/namespaces/{NAMESPACE}/resourcequotas/none"
    api.call("PATCH", f"{path}/status", status, "application/merge-patch+json")
    try:
        fleet.start()
        bot = fleet.add_bot()
        fleet.wait(lambda: "exceeded quota" in (fleet.bot(bot)["error_message"] or ""), within_s=20)
        assert fleet.runs(bot)[0]["exit_reason"] == "not_claimed"
    finally:
        api.call("DELETE", path)
    fleet.wait(lambda: fleet.running(bot), within_s=20)


def test_the_database_goes_away_and_comes_back(fleet: Fleet, kubelet: FakeKubelet, api: Api) -> None:
    """Longer than T_stop, shorter than T_dead: nobody is restarted, and the controller finds its way back."""
    fleet.start()
    bot = fleet.add_bot()
    fleet.wait(lambda: fleet.running(bot), within_s=20)
    with psycopg.connect(fleet.url, autocommit=True) as person:
        person.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'botfleet%'")
    fleet.wait(lambda: fleet.logs().count("rows_listening") == 2)
    fleet.update(bot, enabled=False)
    fleet.wait(lambda: fleet.bot(bot)["status"] == "stopped")
    assert [run["exit_reason"] for run in fleet.runs(bot)] == ["stopped"]
