"""The ground that everything else stands on: the pod network, the images, the security of pods, `make up`'s result."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from collections import Counter
from typing import Any

import pytest

from tests.e2e.installation import Cluster, Kubectl

SIZE_LIMIT_MB = {"controller": 300, "botrunner": 280, "tools": 300}
BUILD_TOOLS = ("pip", "pip3", "uv", "gcc", "cc", "make", "apt-get", "ensurepip")

TWO_ENDPOINTS = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: two-endpoints}
spec:
  replicas: 2
  selector: {matchLabels: {app: two-endpoints}}
  template:
    metadata: {labels: {app: two-endpoints}}
    spec:
      terminationGracePeriodSeconds: 1
      automountServiceAccountToken: false
      securityContext: {runAsNonRoot: true, runAsUser: 10001, seccompProfile: {type: RuntimeDefault}}
      containers:
      - name: web
        image: IMAGE
        command: [sh, -c, 'cd /tmp && hostname > name 2> /dev/null || cp /etc/hostname name; exec python -m http.server 8000']
        readinessProbe: {httpGet: {path: /name, port: 8000}, periodSeconds: 1}
        securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
---
apiVersion: v1
kind: Service
metadata: {name: two-endpoints}
spec:
  selector: {app: two-endpoints}
  ports: [{port: 80, targetPort: 8000}]
"""

ASK = """
import time, urllib.request
for _ in range(100):  # kube-proxy follows the endpoints within a second or two
    try:
        urllib.request.urlopen("http://two-endpoints/name", timeout=5)
        break
    except OSError:
        time.sleep(0.2)
for _ in range(40):
    print(urllib.request.urlopen("http://two-endpoints/name", timeout=5).read().decode().strip())
"""


def image_of(kubectl: Kubectl, part: str) -> str:
    """The image that the installation uses for this part."""
    pods = kubectl.json("get", "pods")["items"]
    names = {container["image"] for pod in pods for container in pod["spec"]["containers"]}
    return next(name for name in names if f"botfleet/{part}:" in name)


def in_image(image: str, *command: str) -> subprocess.CompletedProcess[str]:
    run = ["docker", "run", "--rm", "--read-only", "--tmpfs", "/tmp", "--network", "none"]
    return subprocess.run([*run, image, *command], capture_output=True, text=True, timeout=120)


@pytest.fixture
def two_endpoints(kubectl: Kubectl) -> Any:
    """A Service with two endpoints, removed afterwards."""
    manifest = TWO_ENDPOINTS.replace("IMAGE", image_of(kubectl, "tools"))
    kubectl("apply", "-f", "-", text=manifest)
    yield
    kubectl("delete", "--wait=false", "-f", "-", text=manifest)


def test_service_answers_from_both_endpoints(kubectl: Kubectl, two_endpoints: None) -> None:
    """kube-proxy without libxt_statistic leaves every Service with two endpoints dead, while nodes look healthy."""
    kubectl("rollout", "status", "deployment/two-endpoints", "--timeout=60s")
    deadline = time.monotonic() + 30
    while True:
        answers = Counter(kubectl("exec", "botfleet-database-0", "--", "python", "-c", ASK).split())
        assert sum(answers.values()) == 40
        # a ready pod becomes an endpoint of the node's rules a little later
        if len(answers) == 2 or time.monotonic() > deadline:
            break
    assert len(answers) == 2, answers


def test_every_pod_meets_the_restricted_standard(cluster: Cluster, kubectl: Kubectl) -> None:
    namespace = kubectl.json("get", "namespace", cluster.namespace)
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for pod in kubectl.json("get", "pods", "-l", "app.kubernetes.io/name")["items"]:
        for container in pod["spec"]["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, pod["metadata"]["name"]


def test_bots_have_no_api_token(kubectl: Kubectl) -> None:
    pods = kubectl.pods()
    assert pods
    for pod in pods:
        assert pod["spec"]["automountServiceAccountToken"] is False
        mounts = [mount["mountPath"] for mount in pod["spec"]["containers"][0]["volumeMounts"]]
        assert mounts == ["/tmp"]


@pytest.mark.parametrize("part", SIZE_LIMIT_MB)
def test_image_is_small_and_not_root(kubectl: Kubectl, part: str) -> None:
    image = image_of(kubectl, part)
    inspected = subprocess.run(["docker", "image", "inspect", image], capture_output=True, text=True, check=True)
    facts = json.loads(inspected.stdout)[0]
    assert facts["Size"] / 1e6 < SIZE_LIMIT_MB[part]
    assert facts["Config"]["User"] == "10001:10001"
    assert in_image(image, "id", "-u").stdout.strip() == "10001"


@pytest.mark.parametrize("part", SIZE_LIMIT_MB)
def test_image_has_no_build_tools(kubectl: Kubectl, part: str) -> None:
    image = image_of(kubectl, part)
    words = " ".join(BUILD_TOOLS)
    found = in_image(image, "sh", "-c", f"for word in {words}; do command -v $word; done; true").stdout.split()
    assert found == []
    assert in_image(image, "python", "-c", "import pip").returncode != 0


@pytest.mark.parametrize(
    ("part", "present", "absent"),
    [
        ("controller", ("kopf", "kubernetes", "controller"), ("backtrader", "ccxt", "sqlalchemy", "botrunner", "cli")),
        (
            "botrunner",
            ("backtrader", "ccxt", "botrunner"),
            ("kopf", "kubernetes", "sqlalchemy", "alembic", "controller"),
        ),
        ("tools", ("cli", "alembic", "sandbox_exchange"), ("kopf", "kubernetes", "ccxt", "controller")),
    ],
)
def test_image_contains_its_part_only(
    kubectl: Kubectl, part: str, present: tuple[str, ...], absent: tuple[str, ...]
) -> None:
    code = "import importlib.util, sys; print(*[name for name in sys.argv[1:] if importlib.util.find_spec(name)])"
    found = in_image(image_of(kubectl, part), "python", "-c", code, *present, *absent).stdout.split()
    assert found == list(present)


def test_sandbox_answers_on_this_host(cluster: Cluster) -> None:
    with urllib.request.urlopen(f"{cluster.sandbox_url}/api/v3/time", timeout=5) as answer:
        assert json.load(answer)["serverTime"] > 0
