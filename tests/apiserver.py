"""A real Kubernetes API server with etcd, as two processes on loopback: for tests that need no kubelet.

The binaries are those of the cluster's nodes; hack/tools.sh is asked for them, which is instant when they are cached.
Admission of service accounts is off, since no controller manager makes their tokens; everything else, RBAC and Pod
Security among it, is what a cluster has. A start takes 2 to 4 s, all data is gone afterwards.

    with ApiServer(folder).start() as server: ... server.kubeconfig ...

By hand: `python -m tests.apiserver FOLDER` prints the kubeconfig's path and serves until SIGINT or SIGTERM.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

REPOSITORY = Path(__file__).resolve().parents[1]
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Running:
    """How to reach a server."""

    url: str
    token: str
    kubeconfig: Path


def binary(name: str) -> Path:
    """Where the program is; it is built first if it never was, which takes minutes."""
    subprocess.run([REPOSITORY / "hack" / "tools.sh", name], check=True)
    cache = os.environ.get("BOTFLEET_CACHE")
    base = Path(cache) if cache else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "botfleet"
    return base / "bin" / name


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all different."""
    with_sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [entry.getsockname()[1] for entry in with_sockets]
    for entry in with_sockets:
        entry.close()
    return ports


class ApiServer:
    """One server and its etcd in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def start(self) -> Iterator[Running]:
        """Serve until the block ends.

        Raises:
            RuntimeError: the server ended or did not become ready; the message has its log's last lines.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        token = secrets.token_hex(16)
        etcd_port, peer_port, port = free_ports(3)
        processes: list[subprocess.Popen[bytes]] = []
        try:
            processes.append(self._launch("etcd", _etcd_flags(self.folder, etcd_port, peer_port)))
            processes.append(self._launch("kube-apiserver", self._flags(token, etcd_port, port)))
            running = Running(f"https://127.0.0.1:{port}", token, self._kubeconfig(port, token))
            self._wait(running, processes)
            yield running
        finally:
            for process in reversed(processes):
                _end(process)

    def _launch(self, name: str, flags: list[str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen([binary(name), *flags], stdout=log, stderr=log, start_new_session=True)

    def _flags(self, token: str, etcd_port: int, port: int) -> list[str]:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        key_file = self.folder / "service-accounts.key"
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        tokens = self.folder / "tokens.csv"
        tokens.write_text(f'{token},admin,admin,"system:masters"\n')
        return [
            f"--etcd-servers=http://127.0.0.1:{etcd_port}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",  # refuses a loopback address
            f"--secure-port={port}",
            f"--cert-dir={self.folder / 'certificates'}",
            f"--token-auth-file={tokens}",
            f"--service-account-key-file={key_file}",
            f"--service-account-signing-key-file={key_file}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--authorization-mode=RBAC",
            "--disable-admission-plugins=ServiceAccount",
            "--profiling=false",
        ]

    def _kubeconfig(self, port: int, token: str) -> Path:
        cluster = {"server": f"https://127.0.0.1:{port}", "insecure-skip-tls-verify": True}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
            "current-context": "test",
        }
        path = self.folder / "kubeconfig"
        path.write_text(json.dumps(document))
        return path

    def _wait(self, running: Running, processes: list[subprocess.Popen[bytes]]) -> None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # the server signs its own certificate at each start
        request = urllib.request.Request(f"{running.url}/readyz", headers={"Authorization": f"Bearer {running.token}"})
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if any(process.poll() is not None for process in processes):
                break
            with suppress(OSError), urllib.request.urlopen(request, timeout=2, context=context):
                return
            time.sleep(0.1)
        tails = {path.name: path.read_text()[-500:] for path in self.folder.glob("*.log")}
        raise RuntimeError(f"the API server in {self.folder} did not become ready: {tails}")


def _etcd_flags(folder: Path, port: int, peer_port: int) -> list[str]:
    peer = f"http://127.0.0.1:{peer_port}"
    return [
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls=http://127.0.0.1:{port}",
        f"--advertise-client-urls=http://127.0.0.1:{port}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",  # the data does not outlive the test
    ]


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main() -> None:
    """Serve in the foreground."""
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))
    with suppress(KeyboardInterrupt), ApiServer(Path(sys.argv[1])).start() as running:
        print(running.kubeconfig, flush=True)
        signal.pause()


if __name__ == "__main__":
    main()
