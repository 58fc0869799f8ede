"""The e2e cluster as tests see it: kubectl, the node, and waiting for what happens a moment later."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from fleet.labels import BOT_ID

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Kubectl:
    """kubectl on the e2e cluster, in the namespace of the installation."""

    namespace: str

    def __call__(self, *arguments: str, text: str | None = None, check: bool = True) -> str:
        """Standard output of one command.

        Raises:
            AssertionError: it failed; with its error output.
        """
        command = ["kubectl", "-n", self.namespace, *arguments]
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=120)
        assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def json(self, *arguments: str) -> dict[str, Any]:
        """The same as a parsed object."""
        found: dict[str, Any] = json.loads(self(*arguments, "-o", "json"))
        return found

    def pods(self, bot_id: int | None = None) -> list[dict[str, Any]]:
        """The bots' pods, or one bot's."""
        selector = "app.kubernetes.io/name=botrunner" if bot_id is None else f"{BOT_ID}={bot_id}"
        found: list[dict[str, Any]] = self.json("get", "pods", "-l", selector)["items"]
        return found


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where the installation is."""

    name: str
    namespace: str
    database_url: str
    sandbox_url: str
    kubectl: Kubectl

    @property
    def node(self) -> str:
        """The Docker container that is the node."""
        return f"{self.name}-control-plane"

    def on_node(self, *command: str) -> str:
        """Standard output of a command on the node; outside any pod, so it can signal a pod's first process.

        Raises:
            subprocess.CalledProcessError: the command failed.
        """
        done = subprocess.run(["docker", "exec", self.node, *command], capture_output=True, text=True, check=True)
        return done.stdout

    def bot_process(self, bot_id: int) -> int:
        """Process id, on the node, of the bot's running process."""
        return int(self.on_node("pgrep", "-o", "-f", f"^python -m botrunner --bot-id {bot_id} "))


def wait_for(what: str, probe: Callable[[], T | None], *, timeout_s: float, pause_s: float = 0.2) -> T:
    """The first answer of the probe that is not None or False.

    Raises:
        AssertionError: none came in time.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        answer = probe()
        if answer is not None and answer is not False:
            return answer
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        time.sleep(pause_s)
