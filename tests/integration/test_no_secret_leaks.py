"""A fault inside every program, with its URL, tokens, keys and passwords in scope: none of them is in anything that the
program prints, writes to the database, serves as metrics or answers."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from cli.embedded import free_port
from tests.integration.controller_process import FAST as FAST_CONTROLLER
from tests.integration.leaky import echo, install_mixin, refusing_mail_server
from tests.integration.sandbox_bot import CONFIG, exchange
from tests.integration.sandbox_server import Server
from tests.integration.worker_process import FAST as FAST_WORKER

__all__ = ["exchange"]

pytestmark = pytest.mark.postgres

REPOSITORY = Path(__file__).resolve().parents[2]
DATABASE_PASSWORD = "Db/Pass@w0rd of 'mine'"
BOT_PASSWORD = "b0t-Pass:word%"
SECRETS = {
    "database": DATABASE_PASSWORD,
    "bot": BOT_PASSWORD,
    "smtp": 'sm+p "Passw0rd" here',
    "telegram": "987654321:AAnotARealTokenButOneOfItsForm_123-x",
    "webhook": "the-installations-own-secret-8",
    "api key": "Key0fAnExchange77",
    "api secret": "Secr3t/of+an=exchange",
    "migration": "r0le-password-9",
}
HOOK_PATH = "the-path-is-the-password"
"""Of a webhook; masked targets show the host alone."""
API = {"MY_EXCHANGE_API_KEY": SECRETS["api key"], "MY_EXCHANGE_API_SECRET": SECRETS["api secret"]}


def with_password(url: str, password: str) -> str:
    """The URL with a password, which a server that trusts loopback doesn't ask for."""
    return url.replace("://botfleet@", f"://botfleet:{quote(password, safe='')}@")


def traces(text: str) -> list[str]:
    """Which secrets are in a text, in which form."""
    found = []
    for name, secret in SECRETS.items():
        forms = {
            "raw": secret,
            "quoted": quote(secret, safe=""),
            "JSON": json.dumps(secret)[1:-1],
            "repr": repr(secret)[1:-1],
            "base64": base64.b64encode(secret.encode()).decode().rstrip("="),
            "half": secret[: len(secret) // 2 + 2],
        }
        found += [
            f"{name} ({form}) near {text[max(0, text.find(it) - 90) : text.find(it) + 60]!r}"
            for form, it in forms.items()
            if it in text
        ]
    return found


def everything_in(url: str) -> str:
    """Every row of every table, as text; configs are what their owners wrote."""
    parts: list[str] = []
    with psycopg.connect(url, row_factory=dict_row) as connection:
        names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        for name in names:
            rows = connection.execute(f"SELECT * FROM {name['tablename']}".encode()).fetchall()
            told = ({key: value for key, value in row.items() if key != "config"} for row in rows)
            parts.extend(json.dumps(row, default=str, ensure_ascii=False) for row in told)
    return "\n".join(parts)


def wait_for(condition: Callable[[], Any], say: Callable[[], str], *, within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, say()[-6000:]
        time.sleep(0.1)


class Program:
    """One program with its output in a file."""

    def __init__(self, folder: Path, *command: str, **environment: str) -> None:
        self.log = folder / f"{command[1].replace('/', '_')}.log"
        self.port = free_port()
        settings = {
            "BOTFLEET_HTTP_HOST": "127.0.0.1",
            "BOTFLEET_HTTP_PORT": str(self.port),
            "PYTHONPATH": str(REPOSITORY),
        }
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                stdout=output,
                stderr=output,
                cwd=folder,
                env={**os.environ, **settings, **API, **environment},
            )

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def failed(self) -> bool:
        return "error" in self.said() or self.process.poll() is not None

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
            return str(answer.read().decode())

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        self.process.kill()
        self.process.wait()


@pytest.fixture(params=["json", "console"])
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def admin(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True, row_factory=dict_row) as connection:
        yield connection


def add_bot(admin: psycopg.Connection[Any], config: dict[str, Any], name: str = "leaky") -> int:
    row = admin.execute(
        "INSERT INTO trading_bots (name, enabled, config) VALUES (%s, true, %s) RETURNING id", (name, Jsonb(config))
    ).fetchone()
    assert row is not None
    return int(row["id"])


def count(admin: psycopg.Connection[Any], query: str) -> int:
    row = admin.execute(query.encode()).fetchone()
    assert row is not None
    return int(row["count"])


# --- the programs --------------------------------------------------------------------------------------------------


def test_worker(database_url: str, admin: psycopg.Connection[Any], tmp_path: Path, form: str) -> None:
    """Jobs that raise, a mail server and a chat that repeat what they were sent."""
    with refusing_mail_server() as mail, echo(code=401) as chat, echo(code=400, besides=SECRETS["webhook"]) as hook:
        admin.execute(
            "UPDATE users SET email = 'o@example.com', telegram_chat_id = '1', webhook_url = %s WHERE id = 1",
            (f"{hook}/in/{HOOK_PATH}",),
        )
        switches = {"telegram_enabled": True, "email_enabled": True, "webhook_enabled": True}
        bot_id = add_bot(admin, {**CONFIG, "notifications": switches})
        admin.execute(
            "INSERT INTO trading_notifications (bot_id, user_id, kind, severity, title, body, dedupe_key) "
            "VALUES (%s, 1, 'bot_error', 'critical', 't', 'b', 'k')",
            (bot_id,),
        )
        # a job of the worker that raises with everything in scope
        admin.execute("ALTER TABLE trading_performance_metrics RENAME TO gone")
        program = Program(
            tmp_path,
            *("-m", "worker"),
            **FAST_WORKER,
            BOTFLEET_DATABASE_URL=with_password(database_url, DATABASE_PASSWORD),
            BOTFLEET_LOG_FORMAT=form,
            BOTFLEET_LOG_LEVEL="DEBUG",
            BOTFLEET_PERFORMANCE_EVERY_S="1",
            BOTFLEET_TELEGRAM_TOKEN=SECRETS["telegram"],
            BOTFLEET_TELEGRAM_API_URL=chat,
            BOTFLEET_SMTP_HOST="127.0.0.1",
            BOTFLEET_SMTP_PORT=str(mail),
            BOTFLEET_SMTP_TLS="none",
            BOTFLEET_SMTP_USER="sender",
            BOTFLEET_SMTP_PASSWORD=SECRETS["smtp"],
            BOTFLEET_SMTP_FROM="b@example.com",
            BOTFLEET_WEBHOOK_SECRET=SECRETS["webhook"],
            BOTFLEET_WEBHOOK_ALLOW_PRIVATE="true",
            BOTFLEET_WEBHOOK_HTTP_HOSTS='["127.0.0.1"]',
        )
        try:
            told = "SELECT count(*) FROM notification_deliveries WHERE last_error IS NOT NULL"
            wait_for(lambda: count(admin, told) == 3 and "job_failed" in program.said(), program.said, within_s=90)
            metrics = program.metrics()
        finally:
            program.end()
    said, rows = program.said(), everything_in(database_url)
    errors = admin.execute("SELECT last_error FROM notification_deliveries").fetchall()
    assert HOOK_PATH not in said + str(errors)
    assert "is wrong for sender" in rows, "the mail server's words reach people"
    assert "UndefinedTable" in said
    assert traces(said + rows + metrics) == []


def test_controller(database_url: str, admin: psycopg.Connection[Any], tmp_path: Path, form: str) -> None:
    """A bot's process that dies telling all, a config that names secrets, and the loss of a table at the end."""
    add_bot(admin, CONFIG)
    wrong = {**CONFIG, "notifications": {"webhook_url": f"https://u:{quote(SECRETS['api key'])}@h x"}}
    add_bot(admin, {**wrong, f"token={SECRETS['api secret']}": 1}, "wrong")
    program = Program(
        tmp_path,
        *("-m", "controller"),
        **FAST_CONTROLLER,
        BOTFLEET_DATABASE_URL=with_password(database_url, DATABASE_PASSWORD),
        BOTFLEET_BOT_DATABASE_URL=with_password(database_url, BOT_PASSWORD),
        BOTFLEET_LOG_FORMAT=form,
        BOTFLEET_LOG_LEVEL="DEBUG",
        BOTFLEET_RUNTIME="process",
        BOTFLEET_STATE_DIR=str(tmp_path / "state"),
        BOTFLEET_BOT_COMMAND=json.dumps(["python", "-m", "tests.integration.leaky"]),
    )
    try:
        ended = "SELECT count(*) FROM trading_runs WHERE error_message LIKE '%could not connect with%'"
        shown = "SELECT count(*) FROM trading_bots WHERE error_message IS NOT NULL"
        wait_for(lambda: count(admin, ended) >= 2 and count(admin, shown) == 2, program.said)
        metrics = program.metrics()
        rows = everything_in(database_url)
        admin.execute("ALTER TABLE trading_bots RENAME TO gone")
        wait_for(lambda: "does not exist" in program.said(), program.said)
    finally:
        program.end()
    assert "could not connect with" in rows
    assert traces(program.said() + rows + metrics) == []


def run_of(admin: psycopg.Connection[Any], config: dict[str, Any]) -> None:
    add_bot(admin, config)
    admin.execute(
        "INSERT INTO trading_runs (bot_id, epoch, config, config_version, controller, runtime, pod_name) "
        "SELECT id, 1, config, config_version, 'test', 'process', 'p' FROM trading_bots"
    )


def bot(folder: Path, url: str, form: str, **environment: str) -> Program:
    return Program(
        folder,
        *("-m", "botrunner", "--bot-id", "1", "--epoch", "1"),
        **{
            "BOTFLEET_DATABASE_URL": with_password(url, BOT_PASSWORD),
            "BOTFLEET_LOG_FORMAT": form,
            "BOTFLEET_LOG_LEVEL": "DEBUG",
            "BOTFLEET_EXCHANGE_AWAY_S": "1",
            **environment,
        },
    )


def test_bot_with_a_strategy_that_tells_its_environment(
    database_url: str, admin: psycopg.Connection[Any], exchange: Server, tmp_path: Path, form: str
) -> None:
    logic = {"entry_logic": {"name": "LeakyEntryMixin"}, "exit_logic": {"name": "TimeBasedExitMixin"}}
    run_of(admin, {**CONFIG, "strategy": {"type": "CustomStrategy", "parameters": logic}})
    program = bot(
        tmp_path,
        database_url,
        form,
        PYTHONPATH=f"{REPOSITORY}:{install_mixin(tmp_path / 'site')}",
        BOTFLEET_EXCHANGE_URLS=json.dumps({"binance": exchange.url}),
        BOTFLEET_STRATEGY_ERRORS_IN_A_ROW="2",
    )
    try:
        wait_for(lambda: program.process.poll() is not None, program.said)
    finally:
        program.end()
    said, rows = program.said(), everything_in(database_url)
    for told in (said, rows, str(admin.execute("SELECT error_message FROM trading_runs").fetchone())):
        assert "can't go on with" in told
    assert traces(said + rows) == []


def test_bot_with_an_exchange_that_repeats_the_request(
    database_url: str, admin: psycopg.Connection[Any], tmp_path: Path, form: str
) -> None:
    run_of(admin, CONFIG)
    sent = f"X-MBX-APIKEY: {SECRETS['api key']} &signature={'a1' * 32} {SECRETS['api secret']} {BOT_PASSWORD}"
    with echo(besides=sent) as url:
        program = bot(tmp_path, database_url, form, BOTFLEET_EXCHANGE_URLS=json.dumps({"binance": url}))
        try:
            # told once the exchange was away for a second, or the bot gave up
            outbox = "SELECT count(*) FROM trading_notifications"
            wait_for(lambda: count(admin, outbox) > 0 or program.process.poll() is not None, program.said)
        finally:
            program.end()
    said, rows = program.said(), everything_in(database_url)
    assert "-1022" in said
    assert "a1a1a1" not in said + rows
    assert traces(said + rows) == []


def test_bot_without_a_database(tmp_path: Path, form: str) -> None:
    """Every kind of URL that can't be used: nobody there, not a URL, an option that doesn't exist."""
    for number, url in enumerate(
        (
            f"postgresql://botfleet:{quote(BOT_PASSWORD, safe='')}@127.0.0.1:1/x?connect_timeout=1",
            f"postgresql://botfleet:{BOT_PASSWORD}@[::1/x",
            f"postgresql://botfleet:{quote(BOT_PASSWORD, safe='')}@127.0.0.1/x?password_of={quote(BOT_PASSWORD)}",
            f"host=127.0.0.1 port=1 user=b password='{BOT_PASSWORD}'",
            f"host=127.0.0.1 port=x password='{BOT_PASSWORD}' nonsense",
        )
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        program = bot(folder, url, form, BOTFLEET_DATABASE_URL=url)
        try:
            wait_for(program.failed, program.said)
        finally:
            program.process.kill()
            program.process.wait()
        assert program.said()
        assert traces(program.said()) == []


def test_settings_that_are_refused(tmp_path: Path) -> None:
    url = with_password("postgresql://botfleet@127.0.0.1:1/x", DATABASE_PASSWORD)
    for program in ("controller", "worker", "botrunner"):
        arguments = ["--bot-id", "1", "--epoch", "1"] if program == "botrunner" else []
        done = subprocess.run(
            [sys.executable, "-m", program, *arguments],
            capture_output=True,
            text=True,
            cwd=REPOSITORY,
            env={
                **os.environ,
                **API,
                "BOTFLEET_DATABASE_URL": url,
                "BOTFLEET_LOG_FORMAT": SECRETS["api key"],
                "BOTFLEET_EXCHANGE_URLS": f"not JSON but {url} {SECRETS['api secret']}",
                "BOTFLEET_WEBHOOK_HTTP_HOSTS": f"[{SECRETS['api secret']}",
                "BOTFLEET_TELEGRAM_TOKEN": SECRETS["telegram"],
            },
            timeout=60,
            check=False,
        )
        assert done.returncode == 2
        assert done.stderr
        assert traces(done.stdout + done.stderr) == []


MISTYPED = ("postgres//botfleet:{}@db/x", "postgresql://botfleet:{}@[::1/x", "postgresql:/botfleet:{}@db", "my{}")


@pytest.mark.parametrize("mistyped", MISTYPED)
@pytest.mark.parametrize(
    "command",
    [
        ("controller",),
        ("worker",),
        ("botrunner", "--bot-id", "1", "--epoch", "1"),
        *(("cli", *words) for words in (("bots", "list"), ("db", "migrate"), ("notify", "list"))),
    ],
    ids=lambda command: " ".join(command[:3]),
)
def test_a_mistyped_database_url_is_refused_in_one_line(command: tuple[str, ...], mistyped: str) -> None:
    url = mistyped.format(quote(DATABASE_PASSWORD, safe=""))
    done = subprocess.run(
        [sys.executable, "-m", *command],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "BOTFLEET_DATABASE_URL": url},
        timeout=60,
        check=False,
    )
    assert done.returncode == (1 if command[0] == "cli" else 2)
    assert "BOTFLEET_DATABASE_URL" in done.stderr
    assert "can't be read: write postgresql://" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert traces(done.stdout + done.stderr) == []


@pytest.mark.parametrize(
    "arguments", [("bots", "list"), ("bots", "performance", "1", "--now"), ("db", "migrate"), ("notify", "list")]
)
def test_command_line(arguments: tuple[str, ...], database_url: str, admin: psycopg.Connection[Any]) -> None:
    """Tables that are gone, and roles that can't be made to log in."""
    add_bot(admin, CONFIG)
    admin.execute("ALTER TABLE trading_trades DROP COLUMN status CASCADE")
    admin.execute("ALTER TABLE trading_notifications DROP COLUMN body CASCADE")
    for url in (
        with_password(database_url, DATABASE_PASSWORD),
        with_password("postgresql://botfleet@127.0.0.1:1/x", DATABASE_PASSWORD),
        f"postgresql://botfleet:{DATABASE_PASSWORD}@[::1/x",
    ):
        done = subprocess.run(
            [sys.executable, "-m", "cli", *arguments],
            capture_output=True,
            text=True,
            cwd=REPOSITORY,
            env={
                **os.environ,
                **API,
                "BOTFLEET_DATABASE_URL": url,
                "BOTFLEET_BOT_PASSWORD": SECRETS["migration"] + "\n';--",
            },
            timeout=60,
            check=False,
        )
        assert done.stderr
        assert traces(done.stdout + done.stderr) == []


def test_sandbox_exchange(tmp_path: Path, form: str) -> None:
    """Requests that carry keys, a handler's crash, and a port that is taken."""
    port = free_port()
    common = ("--candles", "synthetic:1", "--log-format", form)
    program = Program(tmp_path, "-m", "sandbox_exchange", "--port", str(port), *common)
    try:
        wait_for(lambda: "sandbox_started" in program.said(), program.said)
        for path in ("/api/v3/klines?symbol=X", "/api/v3/nothing?", "/_sandbox/faults?", "/api/v3/depth?limit=x"):
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}{path}&signature={quote(SECRETS['api secret'], safe='')}",
                headers={"X-MBX-APIKEY": SECRETS["api key"]},
                data=None,
            )
            with suppress(OSError):
                urllib.request.urlopen(request, timeout=5)
        taken = Program(tmp_path / "..", "-m", "sandbox_exchange", "--port", str(port), *common)
        taken.process.wait(30)
    finally:
        program.end()
    assert traces(program.said() + taken.said()) == []


def test_processes_of_a_checkout(tmp_path: Path) -> None:
    """What a command that ends at once said is repeated to people."""
    url = with_password("postgresql://botfleet@127.0.0.1:1/x", DATABASE_PASSWORD)
    done = subprocess.run(
        [
            *(
                sys.executable,
                str(REPOSITORY / "hack/processes.py"),
                "start",
                "leaky",
                "--env",
                f"BOTFLEET_DATABASE_URL={url}",
            ),
            *("--", sys.executable, "-S", "-c", "import os, sys; sys.exit(f'could not connect with {os.environ}')"),
        ],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, **API, "STATE": str(tmp_path)},
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "could not connect with" in done.stderr
    assert traces(done.stdout + done.stderr) == []
