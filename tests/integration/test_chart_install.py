"""The chart's manifests and the controller's Role, judged by a real API server."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.apiserver import REPOSITORY, ApiServer, binary

pytestmark = pytest.mark.apiserver

NAMESPACE = "trading"
CONTROLLER = f"system:serviceaccount:{NAMESPACE}:fleet-controller"

Kubectl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """kubectl against a server whose namespace `trading` has the chart and enforces restricted pods."""
    program = binary("kubectl")
    with ApiServer(tmp_path_factory.mktemp("apiserver")).start() as server:

        def run(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
            command = [program, "--kubeconfig", server.kubeconfig, "-n", NAMESPACE, *arguments]
            return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)

        assert run("create", "namespace", NAMESPACE).returncode == 0
        restricted = [f"pod-security.kubernetes.io/{mode}=restricted" for mode in ("enforce", "warn")]
        assert run("label", "namespace", NAMESPACE, *restricted).returncode == 0
        yield run


@pytest.fixture(scope="module")
def applied(kubectl: Kubectl) -> str:
    """What kubectl says when everything the chart can make is applied."""
    flags = ["database.evaluation.enabled=true", "sandbox.enabled=true", "networkPolicy.enabled=true"]
    command = [binary("helm"), "template", "fleet", REPOSITORY / "charts" / "botfleet", "-n", NAMESPACE]
    chart = subprocess.run([*command, "--set", ",".join(flags)], capture_output=True, text=True, check=True)
    done = kubectl("apply", "-f", "-", text=chart.stdout)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_server_takes_everything_without_a_pod_security_warning(applied: str) -> None:
    assert "deployment.apps/fleet-controller created" in applied
    assert "Warning" not in applied


@pytest.mark.parametrize("verb", ["get", "list", "watch", "create", "delete"])
def test_controller_may_handle_pods(kubectl: Kubectl, applied: str, verb: str) -> None:
    assert kubectl("auth", "can-i", verb, "pods", "--as", CONTROLLER).stdout.strip() == "yes"


@pytest.mark.parametrize(
    "request_",
    [
        ("get", "secrets"),
        ("list", "secrets"),
        ("patch", "pods"),
        ("create", "pods", "--subresource=exec"),
        ("get", "configmaps"),
        ("create", "deployments"),
        ("list", "pods", "-A"),
        ("list", "namespaces"),
    ],
    ids=" ".join,
)
def test_controller_may_do_nothing_else(kubectl: Kubectl, applied: str, request_: tuple[str, ...]) -> None:
    assert kubectl("auth", "can-i", *request_, "--as", CONTROLLER).stdout.strip() == "no"
