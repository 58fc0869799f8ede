"""`make up` and `make down` on a machine that others use too: down ends what this checkout began, and nothing else.

kind, docker, kubectl and helm are stand-ins that note their calls; the scripts and the processes are real.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
STAND_IN = Path(__file__).with_name("stand_in.sh")
PROGRAMS = ("kind", "docker", "kubectl", "helm")

pytestmark = pytest.mark.timeout(60)


@dataclass(frozen=True)
class Machine:
    """What all checkouts share."""

    folder: Path

    @property
    def world(self) -> Path:
        return self.folder / "world"

    def clusters(self) -> list[str]:
        return sorted(path.name for path in (self.world / "clusters").iterdir())

    def calls(self, program: str) -> list[str]:
        file = self.world / "calls"
        lines = file.read_text().splitlines() if file.exists() else []
        return [line for line in lines if line.startswith(program)]

    def others_cluster(self, name: str, made_by: str | None = "/home/other/checkout/.botfleet") -> None:
        folder = self.world / "clusters" / name
        folder.mkdir()
        (folder / "id").write_text("other")
        if made_by:
            (folder / "botfleet-made-by").write_text(made_by)

    def checkout(self, name: str) -> Checkout:
        root = self.folder / name
        shutil.copytree(REPOSITORY / "hack", root / "hack")
        (root / "fleet").symlink_to(REPOSITORY / "fleet")
        noted = 'echo "tools $* for 1.${SERVER_MINOR-}" >> "$WORLD/calls"\n'
        for script, text in (("tools.sh", noted), ("node-image.sh", "echo node:1\n")):
            (root / "hack" / script).write_text(f"#!/bin/sh\n{text}")
        return Checkout(self, root)


@dataclass(frozen=True)
class Checkout:
    machine: Machine
    root: Path

    @property
    def state(self) -> Path:
        return self.root / ".botfleet"

    def run(self, script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        ports = {"DB_PORT": "1", "SANDBOX_PORT": "2"}
        return subprocess.run(
            [self.root / "hack" / script, *arguments],
            env={
                **kept,
                **ports,
                "BOTFLEET_CACHE": str(self.machine.folder / "cache"),
                "WORLD": str(self.machine.world),
                **environment,
            },
            capture_output=True,
            text=True,
        )

    def up(self, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.run("cluster.sh", "up", **environment)

    def down(self, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.run("down.sh", **environment)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    for folder in ("world/clusters", "world/api/namespaces", "world/api/releases", "cache/bin"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "world/api/uid").write_text("uid-1")
    for program in PROGRAMS:
        (tmp_path / "cache/bin" / program).symlink_to(STAND_IN)
    return Machine(tmp_path)


@pytest.fixture
def ours(machine: Machine) -> Checkout:
    return machine.checkout("ours")


def ok(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_down_deletes_what_up_made_whatever_runtime_is_named(machine: Machine, ours: Checkout) -> None:
    ok(ours.up())
    assert machine.clusters() == ["botfleet"]
    assert "deleted cluster botfleet" in ok(ours.down(RUNTIME="process"))
    assert machine.clusters() == []
    before = len(machine.calls("kind delete"))
    ok(ours.down())
    assert len(machine.calls("kind delete")) == before


@pytest.mark.parametrize("made_by", ["/home/other/checkout/.botfleet", None])
@pytest.mark.parametrize("runtime", ["process", "kubernetes"])
def test_down_leaves_a_cluster_of_the_same_name(
    machine: Machine, ours: Checkout, runtime: str, made_by: str | None
) -> None:
    machine.others_cluster("botfleet", made_by)
    said = ok(ours.down(RUNTIME=runtime))
    assert machine.clusters() == ["botfleet"]
    assert f"cluster botfleet was made by {made_by or 'another program'}" in said
    assert "left. To delete it: kind delete cluster --name botfleet" in said


def test_down_knows_the_name_that_up_was_given(machine: Machine, ours: Checkout) -> None:
    ok(ours.up(CLUSTER="mine"))
    machine.others_cluster("botfleet")
    ok(ours.down())
    assert machine.clusters() == ["botfleet"]


def test_up_refuses_a_strangers_cluster_and_takes_it_over_when_told(machine: Machine, ours: Checkout) -> None:
    machine.others_cluster("botfleet")
    refused = ours.up()
    assert refused.returncode == 1
    assert "a kind cluster named botfleet is here already, made by /home/other/checkout/.botfleet" in refused.stderr
    assert "CLUSTER=<name>" in refused.stderr
    ok(ours.down())
    assert machine.clusters() == ["botfleet"]
    assert "taking it over (ADOPT=1)" in ok(ours.up(ADOPT="1"))
    ok(ours.up())
    ok(ours.down())
    assert machine.clusters() == []


def test_two_checkouts_one_name(machine: Machine, ours: Checkout) -> None:
    """Each has its turn; the copy of a checkout, records and all, is another checkout."""
    ok(ours.up())
    shutil.copytree(ours.root, machine.folder / "copy")
    copy = Checkout(machine, machine.folder / "copy")
    assert copy.up().returncode == 1
    assert "left" in ok(copy.down())
    assert machine.clusters() == ["botfleet"]
    ok(ours.down())
    ok(copy.up())
    assert "left" in ok(ours.down())
    assert machine.clusters() == ["botfleet"]


def test_a_cluster_made_anew_by_another_is_not_ours_any_more(machine: Machine, ours: Checkout) -> None:
    ok(ours.up())
    shutil.rmtree(machine.world / "clusters" / "botfleet")
    machine.others_cluster("botfleet")
    said = ok(ours.down())
    assert "no longer the one that was made here" in said
    assert machine.clusters() == ["botfleet"]


def test_a_cluster_deleted_by_hand_is_no_trouble(machine: Machine, ours: Checkout) -> None:
    ok(ours.up())
    shutil.rmtree(machine.world / "clusters" / "botfleet")
    ok(ours.down())
    assert not (ours.state / "records").exists()


def test_a_checkout_that_lost_its_records_still_knows_its_cluster(machine: Machine, ours: Checkout) -> None:
    """`git clean -xfd`: the node holds who made it."""
    ok(ours.up())
    shutil.rmtree(ours.state)
    ok(ours.up())
    ok(ours.down())
    assert machine.clusters() == []


def test_an_up_that_was_killed_while_kind_worked_is_ended_by_down(machine: Machine, ours: Checkout) -> None:
    ok(ours.up())
    (machine.world / "clusters" / "botfleet" / "botfleet-made-by").unlink()
    (ours.state / "records" / "cluster-botfleet").write_text("node=pending\n")
    ok(ours.down())
    assert machine.clusters() == []


def test_a_failed_creation_leaves_nothing(machine: Machine, ours: Checkout) -> None:
    (machine.world / "create-fails").touch()
    assert ours.up().returncode == 1
    assert machine.clusters() == []
    assert list((ours.state / "records").iterdir()) == []


def test_without_docker_down_says_what_it_leaves_and_a_later_one_ends_it(machine: Machine, ours: Checkout) -> None:
    ok(ours.up())
    (machine.world / "docker-down").touch()
    done = ours.down()
    assert done.returncode == 1
    assert "cluster botfleet: left, since Docker or kind does not answer" in done.stderr
    (machine.world / "docker-down").unlink()
    ok(ours.down())
    assert machine.clusters() == []


def test_the_node_takes_as_many_pods_as_it_has_addresses(machine: Machine, ours: Checkout) -> None:
    ok(ours.up())
    assert "maxPods: 250" in (machine.world / "clusters" / "botfleet" / "config").read_text()


@pytest.mark.parametrize("version", ["v1.34.4", "v1.37.0"])
def test_kubectl_is_one_for_the_clusters_own_server(machine: Machine, ours: Checkout, version: str) -> None:
    """Those of kind's own node image, a node built here, one made by hand."""
    ok(ours.up())
    (machine.world / "clusters" / "botfleet" / "version").write_text(version)
    ok(ours.up())
    assert machine.calls("tools kubectl")[-1] == f"tools kubectl for {version.rpartition('.')[0].removeprefix('v')}"


# --- USE_CURRENT_CONTEXT=1: a cluster that was there before


def install(ours: Checkout) -> None:
    """What `up` does around the chart, without building images."""
    script = f"""
        set -euo pipefail
        source <(sed -n '/^record_release()/,/^}}/p' {REPOSITORY}/hack/up.sh)
        . {ours.root}/hack/common.sh
        . {ours.root}/hack/records.sh
        export KUBECONFIG=$STATE/kubeconfig
        mkdir -p "$STATE" && echo credentials > "$KUBECONFIG"
        record_release
        touch "$WORLD/api/namespaces/$NAMESPACE" "$WORLD/api/releases/$NAMESPACE"
    """
    (ours.root / "hack" / "install.sh").write_text(f"#!/bin/bash\n{script}")
    (ours.root / "hack" / "install.sh").chmod(0o755)
    ok(ours.run("install.sh", USE_CURRENT_CONTEXT="1"))


def there(machine: Machine, what: str) -> list[str]:
    return sorted(path.name for path in (machine.world / "api" / what).iterdir())


@pytest.mark.parametrize(
    ("before", "left"),
    [
        pytest.param([], ([], []), id="an empty cluster"),
        pytest.param(["namespaces"], (["botfleet"], []), id="a namespace of somebody's"),
        pytest.param(["namespaces", "releases"], (["botfleet"], ["botfleet"]), id="a release of somebody's"),
    ],
)
def test_in_anothers_cluster_only_what_was_not_there_before_is_removed(
    machine: Machine, ours: Checkout, before: list[str], left: tuple[list[str], list[str]]
) -> None:
    for kind in before:
        (machine.world / "api" / kind / "botfleet").touch()
    install(ours)
    install(ours)  # a repeated up: what the first one made is still ours
    ok(ours.down())
    assert (there(machine, "namespaces"), there(machine, "releases")) == left
    assert bool(machine.calls("kubectl -n botfleet delete pods")) == ("releases" not in before)


def test_a_context_that_leads_elsewhere_now_is_left(machine: Machine, ours: Checkout) -> None:
    install(ours)
    (machine.world / "api/uid").write_text("uid-2")
    assert "another cluster" in ok(ours.down())
    assert there(machine, "releases") == ["botfleet"]


def test_an_api_server_that_is_away_is_asked_again_later(machine: Machine, ours: Checkout) -> None:
    install(ours)
    (machine.world / "api/uid").rename(machine.world / "api/away")
    done = ours.down()
    assert done.returncode == 1
    assert "left, its API server does not answer" in done.stderr
    (machine.world / "api/away").rename(machine.world / "api/uid")
    ok(ours.down())
    assert there(machine, "releases") == []


# --- processes


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """Somebody else's process."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def processes(ours: Checkout, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ours.root / "hack" / "processes.py", *arguments],
        env={**os.environ, "STATE": str(ours.state)},
        capture_output=True,
        text=True,
    )


def test_down_ends_recorded_processes_and_no_other(ours: Checkout, sleeper: subprocess.Popen[bytes]) -> None:
    assert processes(ours, "start", "worker", "--", "sleep", "600").returncode == 0
    record = ours.state / "run" / "worker.json"
    mine = json.loads(record.read_text())["pid"]
    stale = {"pid": sleeper.pid, "started": "an earlier boot/1"}
    (ours.state / "run" / "sandbox.json").write_text(json.dumps(stale))
    ok(ours.down())
    assert sleeper.poll() is None
    assert not Path(f"/proc/{mine}/cmdline").exists() or not Path(f"/proc/{mine}/cmdline").read_bytes()
    assert list((ours.state / "run").iterdir()) == []


def test_a_running_process_with_other_settings_is_named(ours: Checkout) -> None:
    assert processes(ours, "start", "worker", "--", "sleep", "600").returncode == 0
    try:
        assert "is running already" in ok(processes(ours, "start", "worker", "--", "sleep", "600"))
        other = processes(ours, "start", "worker", "--", "sleep", "601")
        assert other.returncode == 1
        assert "with other settings" in other.stderr
        assert "make down" in other.stderr
    finally:
        ok(processes(ours, "stop"))


@pytest.mark.parametrize("stale", [False, True], ids=["no record", "record of a dead process"])
def test_a_port_of_another_checkout_is_noticed(ours: Checkout, stale: bool) -> None:
    if stale:
        (ours.state / "run").mkdir(parents=True)
        (ours.state / "run" / "database.json").write_text(json.dumps({"pid": 1, "started": "an earlier boot/1"}))
    check = ours.root / "hack" / "check.sh"
    check.write_text(
        f"""#!/bin/bash
        set -euo pipefail
        . {ours.root}/hack/common.sh
        PYTHON={sys.executable}
        source <(sed -n '/^port_is_free()/,/^}}/p' {REPOSITORY}/hack/up.sh)
        port_is_free DB_PORT database
        """
    )
    check.chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        done = ours.run("check.sh", DB_PORT=port)
    assert done.returncode == 1
    assert f"port {port} of 127.0.0.1 is taken" in done.stderr
