"""What the cluster does to pods is heard in seconds, said on the row, and stops nobody else."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.e2e.installation import Cluster, Kubectl, wait_for
from tests.e2e.rows import SLACK_S, Bot, Database

NOTICED_S = 10.0
"""A refused watch is noticed within this; said within, by a bot that dies meanwhile."""


def message(bot: Bot) -> str:
    return bot.row()["error_message"] or ""


@contextmanager
def without_verb(kubectl: Kubectl, verb: str) -> Iterator[None]:
    """The controller's Role without one verb on pods."""
    role = kubectl.json("get", "role", "botfleet-controller")
    verbs = next(rule["verbs"] for rule in role["rules"] if rule["resources"] == ["pods"])
    number = next(n for n, rule in enumerate(role["rules"]) if rule["resources"] == ["pods"])

    def set_verbs(wanted: list[str]) -> None:
        change = [{"op": "replace", "path": f"/rules/{number}/verbs", "value": wanted}]
        kubectl("patch", "role", "botfleet-controller", "--type=json", "-p", json.dumps(change))

    set_verbs([each for each in verbs if each != verb])
    try:
        yield
    finally:
        set_verbs(verbs)


def test_a_refused_watch_is_noticed_and_costs_seconds(
    cluster: Cluster, kubectl: Kubectl, bots: Callable[..., Bot]
) -> None:
    bot = bots()
    bot.running()
    logs = ("logs", "deployment/botfleet-controller", "--since=60s")
    with without_verb(kubectl, "watch"):
        began = time.monotonic()
        wait_for("the dead watch is noticed", lambda: "watch_down" in kubectl(*logs), timeout_s=SLACK_S, pause_s=0.5)
        noticed_s = time.monotonic() - began
        cluster.on_node("kill", "-9", str(cluster.bot_process(bot.id)))
        killed_at = time.monotonic()
        wait_for("the next claim", lambda: len(bot.runs()) > 1 and bot.runs()[1]["claimed_at"], timeout_s=SLACK_S)
        claimed_s = time.monotonic() - killed_at
    print(f"watch refused → noticed {noticed_s:.1f} s; SIGKILL without a watch → next claim {claimed_s:.1f} s")
    assert noticed_s < NOTICED_S + 5
    assert claimed_s < NOTICED_S + 5
    bot.running(after_epoch=1)


def test_a_refusal_of_the_api_server_is_on_the_row_within_seconds(kubectl: Kubectl, bots: Callable[..., Bot]) -> None:
    with without_verb(kubectl, "create"):
        bot = bots()
        wait_for("the refusal", lambda: "cannot create resource" in message(bot), timeout_s=SLACK_S)
        print(message(bot))
    bot.running()
    assert message(bot) == ""


def test_a_quota_is_named_and_the_bot_starts_when_it_is_gone(kubectl: Kubectl, bots: Callable[..., Bot]) -> None:
    kubectl("create", "quota", "e2e-none", "--hard=pods=1")
    try:
        bot = bots()
        wait_for("the quota", lambda: "exceeded quota" in message(bot), timeout_s=SLACK_S)
        print(message(bot))
    finally:
        kubectl("delete", "quota", "e2e-none")
    bot.running()


def test_an_eviction_says_so(kubectl: Kubectl, bots: Callable[..., Bot]) -> None:
    bot = bots()
    run = bot.running()
    evict = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": run["pod_name"]}}
    path = f"/api/v1/namespaces/{kubectl.namespace}/pods/{run['pod_name']}/eviction"
    kubectl("create", "--raw", path, "-f", "-", text=json.dumps(evict))
    bot.running(after_epoch=1)
    first = bot.runs()[0]
    print(first["exit_reason"], first["error_message"])
    assert first["exit_reason"] == "released"
    wait_for("its own words", lambda: "evict" in (bot.runs()[0]["error_message"] or "").lower(), timeout_s=SLACK_S)


def test_the_controllers_events_are_on_the_pod(kubectl: Kubectl, bots: Callable[..., Bot]) -> None:
    bot = bots()
    run = bot.running()
    bot.set("enabled = false")

    def reasons() -> set[str]:
        selector = f"involvedObject.name={run['pod_name']}"
        return {event["reason"] for event in kubectl.json("get", "events", "--field-selector", selector)["items"]}

    wait_for("the stop is told", lambda: "StopRequested" in reasons(), timeout_s=SLACK_S)
    bot.has_status("stopped")


FILLER = """
apiVersion: v1
kind: Pod
metadata: {name: e2e-filler}
spec:
  terminationGracePeriodSeconds: 0
  priorityClassName: PRIORITY
  automountServiceAccountToken: false
  securityContext: {runAsNonRoot: true, runAsUser: 10001, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: rest
    image: IMAGE
    command: [sleep, "3600"]
    resources: {requests: {cpu: CPU, memory: 1Mi}}
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
"""


def millis(quantity: str) -> int:
    return int(quantity[:-1]) if quantity.endswith("m") else int(float(quantity) * 1000)


def free_millis(kubectl: Kubectl) -> int:
    """CPU of the one node that nobody has asked for."""
    [node] = kubectl.json("get", "nodes")["items"]
    asked = 0
    for pod in kubectl.json("get", "pods", "-A")["items"]:
        if pod["status"]["phase"] in ("Running", "Pending"):
            for container in pod["spec"]["containers"]:
                asked += millis(container.get("resources", {}).get("requests", {}).get("cpu", "0"))
    return millis(node["status"]["allocatable"]["cpu"]) - asked


@pytest.fixture
def full_node(kubectl: Kubectl) -> Iterator[Callable[[], Any]]:
    """Takes all the CPU that is left, as a bot on paper would; call it, and call what it returns to give it back."""

    def fill() -> Callable[[], Any]:
        # pods of earlier tests go on asking for CPU until they are gone
        wait_for("no pod is leaving", lambda: not leaving(kubectl), timeout_s=SLACK_S)
        cpu = free_millis(kubectl) - 2
        image = next(
            container["image"]
            for pod in kubectl.json("get", "pods")["items"]
            for container in pod["spec"]["containers"]
            if "botfleet/tools:" in container["image"]
        )
        manifest = FILLER.replace("CPU", f"{cpu}m").replace("IMAGE", image).replace("PRIORITY", "botfleet-bot")
        kubectl("apply", "-f", "-", text=manifest)
        kubectl("wait", "--for=condition=Ready", "pod/e2e-filler", "--timeout=60s")
        return lambda: kubectl("delete", "pod", "e2e-filler", "--ignore-not-found", "--wait=true")

    yield fill
    kubectl("delete", "pod", "e2e-filler", "--ignore-not-found", "--wait=true")


def controllers(kubectl: Kubectl, *, ready: bool = False) -> set[str]:
    """Names of the controller's pods."""
    pods = kubectl.json("get", "pods", "-l", "app.kubernetes.io/name=controller")["items"]
    return {
        pod["metadata"]["name"]
        for pod in pods
        if not ready
        or any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions", []))
    }


def leaving(kubectl: Kubectl) -> list[str]:
    pods = kubectl.json("get", "pods")["items"]
    return [pod["metadata"]["name"] for pod in pods if pod["metadata"].get("deletionTimestamp")]


def test_on_a_full_node_bots_wait_in_place_and_the_controller_finds_room(
    kubectl: Kubectl, db: Database, bots: Callable[..., Bot], full_node: Callable[[], Callable[[], Any]]
) -> None:
    give_back = full_node()
    waiting = [bots() for _ in range(3)]
    for bot in waiting:
        wait_for("says what it waits for", lambda bot=bot: "waits for a node" in message(bot), timeout_s=SLACK_S)
    print(message(waiting[0]))
    [before] = controllers(kubectl)
    began = time.monotonic()
    kubectl("delete", "pod", before, "--wait=false")
    wait_for("another controller is ready", lambda: bool(controllers(kubectl, ready=True) - {before}), timeout_s=120)
    print(f"controller deleted on a full node → another one ready {time.monotonic() - began:.1f} s")
    assert [[(run["epoch"], run["ended_at"]) for run in bot.runs()] for bot in waiting] == [[(1, None)]] * 3
    give_back()
    for bot in waiting:
        bot.running()
    assert [[run["epoch"] for run in bot.runs()] for bot in waiting] == [[1]] * 3
