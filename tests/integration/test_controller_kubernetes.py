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
import typer

from cli.main import app
from fleet.labels import BOT_ID, EPOCH, SETTINGS_HASH
from tests.apiserver import ApiServer, Running
from tests.integration.controller_process import Fleet
from tests.integration.fake_kubelet import NAMESPACE, NO_ROOM, Api, FakeKubelet, kill

botfleet = typer.main.get_command(app)
pytestmark = [pytest.mark.postgres, pytest.mark.apiserver]

VERBS = ["get", "list", "watch", "create", "delete"]
EVENTS = {"apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]}
RULES = [{"apiGroups": [""], "resources": ["pods"], "verbs": VERBS}, EVENTS]
RBAC = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}"
WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"


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
    return account(server, api, "controller")


def account(server: Running, api: Api, name: str) -> Path:
    """The kubeconfig of a new service account with a Role of its own name."""
    subject = {"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}
    api.call("POST", f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts", {"metadata": {"name": name}})
    api.call("POST", f"{RBAC}/roles", {"metadata": {"name": name}, "rules": RULES})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    binding = {"metadata": {"name": name}, "roleRef": reference, "subjects": [subject]}
    api.call("POST", f"{RBAC}/rolebindings", binding)
    token = api.call("POST", f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{name}/token", {"spec": {}})
    document = json.loads(server.kubeconfig.read_text())
    document["users"][0]["user"] = {"token": token["status"]["token"]}
    path = server.kubeconfig.with_name(f"{name}.kubeconfig")
    path.write_text(json.dumps(document))
    return path


def begin(fleet: Fleet, **environment: str) -> None:
    """Start a controller and wait until it watches: what is measured comes after that."""
    fleet.start(**environment)
    fleet.wait(lambda: "watch_up" in fleet.logs(), within_s=60)


def begin_with_a_bot(fleet: Fleet, **environment: str) -> int:
    begin(fleet, **environment)
    bot = fleet.add_bot()
    fleet.wait(lambda: fleet.running(bot), within_s=60)
    return bot


@contextmanager
def without(api: Api, verb: str) -> Iterator[None]:
    """The controller's Role lacks a verb on pods."""

    def set_verbs(verbs: list[str]) -> None:
        rules = [{**RULES[0], "verbs": verbs}, EVENTS]
        api.call("PATCH", f"{RBAC}/roles/controller", {"rules": rules}, "application/merge-patch+json")

    set_verbs([each for each in VERBS if each != verb])
    try:
        yield
    finally:
        set_verbs(VERBS)


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
    assert pod["metadata"]["labels"][EPOCH] == "1"
    assert "finalizers" not in pod["metadata"]
    ours = {"argocd.argoproj.io/ignore-restart-policy", SETTINGS_HASH}
    assert set(pod["metadata"]["annotations"]) == ours  # and nothing of kopf's
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
    labels = {**stray["metadata"]["labels"], BOT_ID: "999"}
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


UNHURRIED = {"BOTFLEET_POLL_INTERVAL_S": "60", "BOTFLEET_RELIST_INTERVAL_S": "45"}
"""The defaults: nothing is found by looking around."""


def test_a_pod_deleted_by_force_is_back_within_3_s(fleet: Fleet, kubelet: FakeKubelet, api: Api) -> None:
    """Its object is gone at once and proves nothing; the node ends the process with its grace, which releases its run."""
    fleet.start(**UNHURRIED)
    bot = fleet.add_bot()
    fleet.wait(lambda: fleet.running(bot), within_s=90)
    api.delete(fleet.runs(bot)[0]["pod_name"], grace_s=0)
    fleet.wait(lambda: fleet.running(bot, epoch=2))
    first, second = fleet.runs(bot)
    assert first["exit_reason"] == "released"
    assert (second["claimed_at"] - first["ended_at"]).total_seconds() < 3
    assert fleet.never_two_claimed(bot)


def test_a_pod_that_is_hidden_by_its_labels_goes_on_and_obeys(fleet: Fleet, kubelet: FakeKubelet, api: Api) -> None:
    fleet.start(**UNHURRIED)
    bot = fleet.add_bot()
    fleet.wait(lambda: fleet.running(bot), within_s=90)
    name, claimant = fleet.runs(bot)[0]["pod_name"], fleet.runs(bot)[0]["claimed_by"]
    api.label(name, "app.kubernetes.io/name", None)
    fleet.update(bot, config={**fleet.bot(bot)["config"], "risk_management": {"max_daily_trades": 3}})
    fleet.wait(lambda: fleet.runs(bot)[0]["config_version"] == 2)  # it was looked at since
    (run,) = fleet.runs(bot)
    assert (run["claimed_by"], run["ended_at"]) == (claimant, None)
    fleet.update(bot, enabled=False)
    fleet.wait(lambda: fleet.bot(bot)["status"] == "stopped", within_s=5)  # by the reply to its heartbeat
    assert [run["exit_reason"] for run in fleet.runs(bot)] == ["stopped"]


@pytest.mark.parametrize("label", [BOT_ID, EPOCH])
def test_a_pod_that_claims_to_be_another_is_replaced(fleet: Fleet, kubelet: FakeKubelet, api: Api, label: str) -> None:
    fleet.start(**UNHURRIED)
    bot = fleet.add_bot()
    fleet.wait(lambda: fleet.running(bot), within_s=90)
    api.label(fleet.runs(bot)[0]["pod_name"], label, "999")
    fleet.wait(lambda: fleet.running(bot, epoch=2), within_s=30)
    assert fleet.runs(bot)[0]["exit_reason"] == "released"
    assert fleet.never_two_claimed(bot)


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


def message(fleet: Fleet, bot: int) -> str:
    return fleet.bot(bot)["error_message"] or ""


def test_a_refused_pod_says_why(fleet: Fleet, kubelet: FakeKubelet, api: Api) -> None:
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    api.call("POST", f"/api/v1/namespaces/{NAMESPACE}/resourcequotas", quota)
    status = {"status": {"hard": {"pods": "0"}, "used": {"pods": "0"}}}  # no controller manager fills it here
    path = f"/api/v1/namespaces/{NAMESPACE}/resourcequotas/none"
    api.call("PATCH", f"{path}/status", status, "application/merge-patch+json")
    try:
        begin(fleet)
        bot = fleet.add_bot()
        fleet.wait(lambda: "exceeded quota" in message(fleet, bot), within_s=5)
        assert "raise the namespace's ResourceQuota" in message(fleet, bot)
        assert fleet.runs(bot)[0]["exit_reason"] == "not_claimed"
    finally:
        api.call("DELETE", path)
    fleet.wait(lambda: fleet.running(bot), within_s=20)


def test_a_role_that_lacks_a_verb_is_named(fleet: Fleet, kubelet: FakeKubelet, api: Api) -> None:
    begin(fleet)
    with without(api, "create"):
        bot = fleet.add_bot()
        fleet.wait(lambda: 'cannot create resource "pods"' in message(fleet, bot), within_s=5)
        assert "give the controller's ServiceAccount its Role back" in message(fleet, bot)
        assert fleet.bot(bot)["status"] == "starting"
    fleet.wait(lambda: fleet.running(bot), within_s=20)
    assert message(fleet, bot) == ""


def test_a_dead_admission_webhook_is_named(fleet: Fleet, kubelet: FakeKubelet, api: Api) -> None:
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    webhook = {
        "name": "dead.example.com",
        "clientConfig": {"url": "https://127.0.0.1:9/"},
        "rules": [rule],
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 1,
    }
    begin(fleet)
    api.call("POST", WEBHOOKS, {"metadata": {"name": "dead"}, "webhooks": [webhook]})
    time.sleep(1)  # the API server reads its webhooks from a cache
    try:
        bot = fleet.add_bot()
        fleet.wait(lambda: 'failed calling webhook "dead.example.com"' in message(fleet, bot), within_s=5)
        assert "repair the admission webhook named here" in message(fleet, bot)
        assert fleet.bot(bot)["status"] == "starting"
    finally:
        api.call("DELETE", f"{WEBHOOKS}/dead")
    fleet.wait(lambda: fleet.running(bot), within_s=40)
    assert message(fleet, bot) == ""


def test_a_token_that_is_refused_is_named(fleet: Fleet, kubelet: FakeKubelet, api: Api, server: Running) -> None:
    begin(fleet, KUBECONFIG=str(account(server, api, "expiring")))
    api.call("DELETE", f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/expiring")
    # the API server believes a token it has seen for ten seconds more
    fleet.wait(lambda: "watch_down" in fleet.logs(), within_s=20)
    bot = fleet.add_bot()
    fleet.wait(lambda: "answers 401 Unauthorized" in message(fleet, bot), within_s=5)
    assert "the controller's service account token is refused" in message(fleet, bot)
    assert fleet.bot(bot)["status"] == "starting"


def test_an_api_server_without_an_answer_is_named(
    fleet: Fleet, kubelet: FakeKubelet, api: Api, server: Running
) -> None:
    begin(fleet)
    with stopped(f"--secure-port={server.url.rpartition(':')[2]}"):
        bot = fleet.add_bot()
        fleet.wait(lambda: "no answer from the API server" in message(fleet, bot), within_s=18)
        assert "watch_down" in fleet.logs()
    fleet.wait(lambda: fleet.running(bot), within_s=40)


def test_a_dead_watch_is_noticed_and_costs_seconds(fleet: Fleet, kubelet: FakeKubelet, api: Api) -> None:
    bot = begin_with_a_bot(fleet, BOTFLEET_RELIST_INTERVAL_S="600")
    with without(api, "watch"):
        assert fleet.wait(lambda: "watch_down" in fleet.logs(), within_s=10) <= 10
        kill(kubelet.process_of(uid(fleet, bot)))
        fleet.wait(lambda: fleet.running(bot, epoch=2), within_s=8)
        fleet.wait(lambda: "watch_restarts" in fleet.logs(), within_s=20)
    fleet.wait(lambda: fleet.logs().count("watch_up") == 2, within_s=25)
    kill(kubelet.process_of(uid(fleet, bot)))
    fleet.wait(lambda: len(fleet.runs(bot)) == 3, within_s=3)


def test_an_evicted_bot_says_so(fleet: Fleet, kubelet: FakeKubelet, api: Api) -> None:
    bot = begin_with_a_bot(fleet)
    name = fleet.runs(bot)[0]["pod_name"]
    low = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 52Mi. "
    process = kubelet.process_of(uid(fleet, bot))
    api.patch_status(name, {"reason": "Evicted", "message": low})
    process.terminate()
    fleet.wait(lambda: fleet.runs(bot)[0]["error_message"], within_s=10)
    first = fleet.runs(bot)[0]
    assert (first["exit_reason"], first["error_message"]) == (
        "released",
        (
            f"pod {name} was evicted by its node: {low.strip().rstrip('.')}; the bot starts again elsewhere by itself; if it "
            "comes back, request what bots really use (bots.resources)"
        ),
    )
    fleet.wait(lambda: fleet.running(bot, epoch=2), within_s=20)


@pytest.mark.parametrize("words", ["one\x00two", "\x1b[31mone\u202etwo", "x" * 4096])
def test_no_last_words_keep_an_end_from_being_recorded(
    fleet: Fleet, kubelet: FakeKubelet, api: Api, words: str
) -> None:
    bot = begin_with_a_bot(fleet)
    kubelet.reporting = False
    kill(kubelet.process_of(uid(fleet, bot)))
    ended = {"exitCode": 1, "reason": "Error", "message": words}
    api.patch_status(
        fleet.runs(bot)[0]["pod_name"],
        {
            "phase": "Failed",
            "containerStatuses": [
                {
                    "name": "bot",
                    "image": "i",
                    "imageID": "",
                    "restartCount": 0,
                    "ready": False,
                    "state": {"terminated": ended},
                }
            ],
        },
    )
    fleet.wait(lambda: fleet.runs(bot)[0]["ended_at"], within_s=5)
    assert fleet.runs(bot)[0]["exit_reason"] == "failed"
    kubelet.reporting = True
    fleet.wait(lambda: fleet.running(bot, epoch=2), within_s=20)


def test_what_the_controller_does_is_told_on_the_pod(fleet: Fleet, kubelet: FakeKubelet, api: Api) -> None:
    bot = begin_with_a_bot(fleet)
    kill(kubelet.process_of(uid(fleet, bot)))
    fleet.wait(lambda: fleet.running(bot, epoch=2), within_s=10)
    fleet.update(bot, enabled=False)
    fleet.wait(lambda: fleet.bot(bot)["status"] == "stopped")

    def told() -> set[tuple[str, str, str]]:
        events = api.call("GET", f"/api/v1/namespaces/{NAMESPACE}/events")["items"]
        names = {run["pod_name"]: run["epoch"] for run in fleet.runs(bot)}
        ours = [event for event in events if event["involvedObject"]["name"] in names]
        return {(names[e["involvedObject"]["name"]], e["reason"], e["message"].partition(":")[0]) for e in ours}

    expected = {
        (1, "RunEnded", "run 1 ended (failed)"),
        (1, "Deleting", "the controller deletes it"),
        (2, "StopRequested", "asked to stop"),
        (2, "Deleting", "the controller deletes it"),
    }
    fleet.wait(lambda: expected <= told(), within_s=5)


def test_runs_of_older_settings_are_shown_and_restarted(
    fleet: Fleet, kubelet: FakeKubelet, api: Api, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOTFLEET_DATABASE_URL", fleet.url)
    bot = begin_with_a_bot(fleet)
    (first,) = fleet.controllers

    def listed() -> list[dict[str, Any]]:
        botfleet(["bots", "list", "-o", "json"], standalone_mode=False)
        rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
        return rows

    assert [row["outdated"] for row in listed()] == [False]
    first.terminate()
    first.wait()
    fleet.start(BOTFLEET_BOT_IMAGE="botrunner:next")
    fleet.wait(lambda: '"event": "runs_outdated"' in fleet.logs(), within_s=20)
    assert [row["outdated"] for row in listed()] == [True]
    told = fleet.connection.execute("SELECT title FROM trading_notifications WHERE dedupe_key LIKE 'runs_outdated/%'")
    assert [row["title"] for row in told] == ["1 bot runs with older settings"]

    botfleet(["bots", "restart", "a bot"], standalone_mode=False)
    assert "run 1 was asked to end" in capsys.readouterr().out
    fleet.wait(lambda: fleet.running(bot, epoch=2), within_s=20)
    assert fleet.runs(bot)[0]["exit_reason"] == "superseded"
    assert [row["outdated"] for row in listed()] == [False]
    assert [pod["spec"]["containers"][0]["image"] for pod in named(api, fleet.runs(bot)[1]["pod_name"])] == [
        "botrunner:next"
    ]
    assert fleet.never_two_claimed(bot)


def test_the_database_goes_away_and_comes_back(fleet: Fleet, kubelet: FakeKubelet, api: Api) -> None:
    """Longer than T_stop, shorter than T_dead: nobody is restarted, and the controller finds its way back."""
    bot = begin_with_a_bot(fleet)
    with psycopg.connect(fleet.url, autocommit=True) as person:
        person.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'botfleet%'")
    fleet.wait(lambda: fleet.logs().count("rows_listening") == 2)
    fleet.update(bot, enabled=False)
    fleet.wait(lambda: fleet.bot(bot)["status"] == "stopped")
    assert [run["exit_reason"] for run in fleet.runs(bot)] == ["stopped"]
