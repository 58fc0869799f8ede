"""No foreign text is ever markup: every command that prints rows, with hostile rows in a real PostgreSQL.

Rows are what a tenant, a strategy, an exchange or a cluster can write: every text column of theirs that has no list of
allowed values holds a hostile text.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb
from sqlalchemy import Boolean, Date, DateTime, Integer, Numeric, Table, Text
from sqlalchemy.dialects.postgresql import JSONB
from typer.testing import CliRunner

from cli.main import app
from fleet import tables
from tests.integration.worker_process import CONFIG

REPOSITORY = Path(__file__).resolve().parents[2]
LONG = "x" * 10_000
HOSTILE = (
    "[/x]",
    "[long]",
    ":fire:",
    "a\x1b[2Jb",
    "a\u202eb",
    "a\nb\r\nc\td",
    "[link=http://x]y",
    "€ 🔥 漢字",
    "\\[b]",
    LONG,
)
SHOWN = {"a\x1b[2Jb": "ab", "a\u202eb": "a\ufffdb", "a\nb\r\nc\td": "a b c d", LONG: "x" * 1_900}
"""What stands in a table in the place of what can't stand there."""

NOW = datetime.now(UTC)
METRICS = {
    **dict.fromkeys(
        (*("total_trades", "win_rate", "net_pnl", "return_pct", "profit_factor", "expectancy", "max_drawdown"),), 1.0
    ),
    **dict.fromkeys(("current_drawdown", "sharpe", "sortino", "calmar", "exposure", "average_holding_s", "fees"), 1.0),
    **dict.fromkeys(("current_balance", "gross_pnl", "payoff_ratio", "volatility", "cagr"), 1.0),
}


def add(connection: psycopg.Connection[Any], table: Table, text: str, **given: Any) -> None:
    """A row with the text in every column that takes one."""
    values = dict(given)
    for column in table.columns:
        if (
            column.name in values
            or column.identity is not None
            or (column.nullable and not isinstance(column.type, Text))
        ):
            continue
        if column.server_default is not None:
            continue
        kinds = (
            (DateTime, NOW),
            (Date, NOW.date()),
            (Boolean, True),
            (Integer, 1),
            (Numeric, Decimal(1)),
            (JSONB, Jsonb({})),
        )
        values[column.name] = next((value for kind, value in kinds if isinstance(column.type, kind)), text)
    names = list(values)
    connection.execute(
        f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({', '.join(f'%({name})s' for name in names)})".encode(),
        values,
    )


def fill(url: str, text: str) -> None:
    """One bot with a row in each table that the command line shows."""
    with psycopg.connect(url, autocommit=True) as connection:
        # rows as a hostile or an old writer could have left them: references and triggers aside
        connection.execute("SET session_replication_role = replica")
        connection.execute("INSERT INTO users (id, name) VALUES (7, %s)", (text,))
        config = {**CONFIG, "symbol": text, "data": {"interval": text}, "broker": {"trading_mode": text}}
        add(
            connection,
            tables.trading_bots,
            text,
            id=7,
            user_id=7,
            name=text[:200],
            config=Jsonb(config),
            status="running",
            managed_by="sql",
        )
        ended = {"ended_at": NOW, "exit_reason": "failed", "stop_reason": None, "config": Jsonb(config)}
        add(connection, tables.trading_runs, text, waits_for=text[:500], bot_id=7, epoch=1, **ended)
        add(connection, tables.trading_errors, text, bot_id=7, hour=NOW, count=1, epoch=1)
        one = {"bot_id": 7, "direction": "long", "status": "closed"}
        add(connection, tables.trading_trades, text, trade_type="paper", entry_time=NOW, **one)
        add(connection, tables.trading_bars, text, bot_id=7)
        add(connection, tables.trading_equity, text, bot_id=7, bars=1, bars_in_position=0)
        metrics = Jsonb({**METRICS, "equity_basis": text})
        add(connection, tables.trading_performance_metrics, text, bot_id=7, period="all", metrics=metrics)
        add(connection, tables.tenant_limits, text, user_id=7, trade_type="paper")
        told = {"kind": "bot_error", "severity": "info", "state": "failed", "facts": Jsonb({text: [text]})}
        add(connection, tables.trading_notifications, text, id=7, bot_id=7, user_id=7, **told)
        add(
            connection,
            tables.notification_deliveries,
            text,
            notification_id=7,
            message_id=7,
            bot_id=7,
            channel="webhook",
            state="failed",
            kind="bot_error",
        )


LISTS = (
    *(
        ("bots", "list"),
        ("bots", "runs", "7"),
        ("bots", "errors", "7"),
        ("bots", "trades"),
        ("bots", "performance", "7"),
    ),
    *(("bots", "equity", "7"), ("bots", "equity", "7", "--daily"), ("notify", "list"), ("limits", "list")),
)


@pytest.fixture
def filled(database_url: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database whose rows hold the test's text."""
    fill(database_url, request.param)
    monkeypatch.setenv("BOTFLEET_DATABASE_URL", database_url)
    return str(request.param)


each_text = pytest.mark.parametrize("filled", HOSTILE, indirect=True, ids=lambda text: ascii(text)[:20])


@each_text
def test_every_list_shows_foreign_text_as_it_is(filled: str) -> None:
    for command in LISTS:
        for form in ("table", "wide"):
            done = CliRunner().invoke(app, [*command, "-o", form])
            assert (done.exit_code, done.exception) == (0, None), (command, done.output)
            if command != ("bots", "trades") or "[" in filled:
                shown = SHOWN.get(filled, filled)
                assert shown in done.stdout or (command[0] == "notify" and filled == LONG), (command, done.stdout[:500])
            rows = done.stdout.splitlines()
            assert len(rows) == 2, (command, rows)
            assert not any(sign in done.stdout for sign in ("\x1b", "\u202e", "\x00"))


@each_text
def test_json_and_yaml_are_exact_and_ascii(filled: str) -> None:
    exact = {"bots": ("symbol", "pod_name", "kind", "exit_reason"), "notify": ("title", "bot"), "limits": ("currency",)}
    for command in LISTS:
        for form, load in (("json", json.loads), ("yaml", yaml.safe_load)):
            done = CliRunner().invoke(app, [*command, "-o", form])
            assert (done.exit_code, done.exception) == (0, None), (command, done.output)
            assert done.stdout.isascii()
            [row] = load(done.stdout)
            values = [row[name] for name in exact[command[0]] if name in row]
            assert filled in values or filled[:200] in values, (command, row)


@each_text
def test_single_rows_and_messages(filled: str) -> None:
    for command in (
        ("bots", "show", "7"),
        *(("notify", "preview", "7", "--channel", channel) for channel in ("telegram", "email", "webhook")),
        ("notify", "retry", "7"),
        ("bots", "stop", filled[:200]),
        ("bots", "start", "7"),
        ("bots", "show", "no such [/x] \x1b[2J"),
    ):
        done = CliRunner().invoke(app, command)
        assert done.exception is None or type(done.exception).__name__ in ("NotFound", "SystemExit"), done.exception
        assert not any(sign in done.stdout for sign in ("\x1b", "\u202e", "\x00"))


texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=40) | st.lists(
    st.sampled_from(("[", "/", "]", "[/", ":", "fire", "\x1b[", "m", "\\", "b", "=", "\u202e", "\n", "link", "@click")),
    min_size=1,
    max_size=12,
).map("".join)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=texts)
def test_no_name_breaks_the_list_of_all_bots(database_url: str, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("BOTFLEET_DATABASE_URL", database_url)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DELETE FROM trading_bots")
        for named in (name, "an innocent one"):
            connection.execute("INSERT INTO trading_bots (name, config) VALUES (%s, %s)", (named, Jsonb(CONFIG)))
    done = CliRunner().invoke(app, ["bots", "list"])
    assert (done.exit_code, done.exception) == (0, None)
    assert len(done.stdout.splitlines()) == 3
    assert "an innocent one" in done.stdout


# --- real processes ------------------------------------------------------------------------------------------------


def botfleet(*arguments: str, url: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    return subprocess.run(
        [sys.executable, "-m", "cli", *arguments],
        capture_output=True,
        cwd=REPOSITORY,
        env={**kept, "BOTFLEET_DATABASE_URL": url, **environment},
        timeout=60,
        check=False,
    )


TERMINALS = (
    {"LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "cp1252"},
    {"PYTHONIOENCODING": "ascii:strict", "LANG": "C"},
)


@pytest.fixture
def with_emoji(database_url: str) -> str:
    """A database whose bot has a name that few encodings have."""
    fill(database_url, "[/x] € 🔥 漢字 :fire:")
    return database_url


@pytest.mark.parametrize("environment", TERMINALS, ids=lambda it: "-".join(it.values()))
def test_a_terminal_that_lacks_a_character_shows_a_replacement(with_emoji: str, environment: dict[str, str]) -> None:
    for command in (("bots", "list"), ("notify", "list"), ("notify", "preview", "7"), ("bots", "show", "nobody 🔥")):
        done = botfleet(*command, url=with_emoji, **environment)
        assert b"Traceback" not in done.stderr, done.stderr.decode("latin-1")
        assert done.returncode == (1 if "show" in command else 0)
        if "show" not in command:
            assert b"[/x]" in done.stdout
            assert b":fire:" in done.stdout
    exact = botfleet("bots", "list", "-o", "json", url=with_emoji, **environment)
    assert json.loads(exact.stdout)[0]["name"] == "[/x] € 🔥 漢字 :fire:"


@pytest.mark.parametrize("arguments", ["bots list", "bots list -o json", "bots list -o yaml", "--help"])
def test_a_reader_that_goes_away_is_no_failure(database_url: str, arguments: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO trading_bots (name, config) SELECT 'bot ' || n, %s FROM generate_series(1, 2000) n",
            (Jsonb(CONFIG),),
        )
    done = subprocess.run(
        ["/bin/bash", "-c", f"set -o pipefail; {sys.executable} -m cli {arguments} | head -n 1"],
        capture_output=True,
        cwd=REPOSITORY,
        env={**os.environ, "BOTFLEET_DATABASE_URL": database_url},
        timeout=60,
        check=False,
    )
    assert done.stderr == b""
    assert done.stdout.count(b"\n") == 1
    assert done.returncode == 0 or arguments == "--help"


def test_messages_about_files_and_options_are_literal(database_url: str, tmp_path: Path) -> None:
    config = tmp_path / "[b]x[" / "[/x].json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps({"name": "[/x] :fire:", "config": {**CONFIG, "[/y]": 1}}))
    for command in (
        ("config", "validate", str(config)),
        ("bots", "apply", "-f", str(config)),
        ("bots", "apply", "-f", f"{config}-none"),
        ("bots", "list", "-o", "[/x]"),
        ("[/x]",),
        ("notify", "list", "--state", "[/x]"),
        ("limits", "set", "[/x]", "--max-exposure", "[/x]"),
        ("limits", "clear", "[/x]"),
        ("strategies", "show", "[/x]"),
        ("parity", "[/x]"),
    ):
        done = botfleet(*command, url=database_url)
        said = done.stdout + done.stderr
        assert done.returncode in (1, 2), (command, said)
        assert b"Traceback" not in said
        assert b"[/" in said, (command, said)


def test_a_crash_of_the_command_line_names_no_secret(tmp_path: Path) -> None:
    """A certificate that can't be read makes psycopg repeat what it was given."""
    url = "postgresql://bot:in-the-url-1@127.0.0.1:1/fleet?sslpassword=in-the-url-2&connect_timeout=x"
    done = botfleet("bots", "list", url=url, BOTFLEET_SMTP_PASSWORD="in-the-url-3")
    assert done.returncode == 1
    for secret in (b"in-the-url-1", b"in-the-url-2", b"in-the-url-3"):
        assert secret not in done.stdout + done.stderr
