"""Stands for a node: runs `fake_bot.py` for each pod, and reports to the API server what a kubelet would."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.apiserver import Running

BOT = Path(__file__).with_name("fake_bot.py")
NAMESPACE = "bots"
PERIOD_S = 0.05
NO_ROOM = "0/1 nodes are available: 1 Insufficient cpu."


@dataclass
class Container:
    """A pod's process."""

    name: str
    process: subprocess.Popen[bytes]
    grace_s: float = 30.0
    kill_at: float | None = None
    reported: bool = False


class Api:
    """The API server, as an administrator sees it."""

    def __init__(self, server: Running) -> None:
        self._server = server
        self._tls = ssl.create_default_context()
        self._tls.check_hostname = False
        self._tls.verify_mode = ssl.CERT_NONE

    def call(self, method: str, path: str, body: object = None, kind: str = "application/json") -> Any:
        """Raises urllib.error.HTTPError."""
        request = urllib.request.Request(
            f"{self._server.url}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._server.token}", "Content-Type": kind},
        )
        with urllib.request.urlopen(request, timeout=5, context=self._tls) as answer:
            return json.load(answer)

    def pods(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.call("GET", f"/api/v1/namespaces/{NAMESPACE}/pods")["items"]
        return found

    def pod_path(self, name: str) -> str:
        return f"/api/v1/namespaces/{NAMESPACE}/pods/{name}"

    def delete(self, name: str, *, grace_s: int | None = None) -> None:
        self.call("DELETE", self.pod_path(name), {} if grace_s is None else {"gracePeriodSeconds": grace_s})

    def label(self, name: str, label: str, value: str | None) -> None:
        """Change a label; None removes it."""
        body = {"metadata": {"labels": {label: value}}}
        self.call("PATCH", self.pod_path(name), body, "application/merge-patch+json")

    def patch_status(self, name: str, status: dict[str, Any]) -> None:
        self.call("PATCH", f"{self.pod_path(name)}/status", {"status": status}, "application/merge-patch+json")


class FakeKubelet:
    """Runs until stopped.

    Attributes:
        full: pods get no node, as a scheduler of a full cluster reports it.
        broken_image: pods report that their image can't be pulled, and don't start.
        reporting: False: what happens isn't reported, like a node that was cut off.
    """

    def __init__(self, api: Api, environment: dict[str, str]) -> None:
        self._api = api
        self._environment = environment
        self._containers: dict[str, Container] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.full = False
        self.broken_image = False
        self.reporting = True

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(10)
        for container in self._containers.values():
            container.process.kill()
            container.process.wait()

    def process_of(self, uid: str) -> subprocess.Popen[bytes]:
        return self._containers[uid].process

    def _run(self) -> None:
        while not self._stopped.wait(PERIOD_S):
            with suppress(OSError):
                pods = {pod["metadata"]["uid"]: pod for pod in self._api.pods()}
                for uid, pod in pods.items():
                    self._sync(uid, pod)
                for uid, container in self._containers.items():
                    if uid not in pods and self.reporting:
                        self._end(container, container.grace_s)  # its object was deleted by force

    def _end(self, container: Container, grace_s: float) -> None:
        """SIGTERM now, SIGKILL later: with the pod's own grace period even where its object was deleted with 0."""
        if container.kill_at is None:
            container.kill_at = time.monotonic() + grace_s
            container.process.terminate()
        if time.monotonic() > container.kill_at:
            container.process.kill()

    def _sync(self, uid: str, pod: dict[str, Any]) -> None:
        name = pod["metadata"]["name"]
        if uid not in self._containers:
            self._begin(uid, pod)
            return
        container = self._containers[uid]
        code = container.process.poll()
        if not self.reporting:
            return
        deleting = pod["metadata"].get("deletionTimestamp") is not None
        if deleting and code is None:
            self._end(container, pod["metadata"]["deletionGracePeriodSeconds"])
        if code is not None and not container.reported:
            ended = {"exitCode": code if code >= 0 else 128 - code, "reason": "Error" if code else "Completed"}
            self._report(name, "Failed" if code else "Succeeded", {"terminated": ended})
            container.reported = True
        if container.reported and deleting:
            self._api.delete(name, grace_s=0)

    def _begin(self, uid: str, pod: dict[str, Any]) -> None:
        name = pod["metadata"]["name"]
        if self.full and not pod["spec"].get("nodeName"):
            condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": NO_ROOM}
            self._api.patch_status(name, {"phase": "Pending", "conditions": [condition]})
            return
        if not pod["spec"].get("nodeName"):
            target = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}}
            self._api.call("POST", f"{self._api.pod_path(name)}/binding", {**target, "target": {"name": "node-1"}})
        if self.broken_image:
            self._report(name, "Pending", {"waiting": {"reason": "ErrImagePull", "message": "no such image"}})
            return
        command = [sys.executable, str(BOT), *pod["spec"]["containers"][0]["args"]]
        environment = {**os.environ, **self._environment, "BOTFLEET_POD_UID": uid}
        process = subprocess.Popen(command, env=environment, start_new_session=True)
        self._containers[uid] = Container(name, process, pod["spec"].get("terminationGracePeriodSeconds", 30))
        self._report(name, "Running", {"running": {"startedAt": "2026-11-24T00:00:00Z"}})

    def _report(self, name: str, phase: str, state: dict[str, Any]) -> None:
        container = {
            "name": "bot", "image": "i", "imageID": "", "restartCount": 0, "ready": "running" in state, "state": state
        }  # fmt: skip
        self._api.patch_status(name, {"phase": phase, "containerStatuses": [container]})


def kill(process: subprocess.Popen[bytes]) -> None:
    os.kill(process.pid, signal.SIGKILL)
