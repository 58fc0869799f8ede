"""One tenant's row must not reach another: rows that nobody can read beside a bot that is well, in every program.

The constraints are dropped first: rows from before them exist, and whoever owns the database may write anything.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb
from typer.testing import CliRunner

from cli.embedded import free_port
from cli.main import app
from controller.observe.bot_rows import RowWatch
from fleet.errors import BotfleetError, DatabaseAway
from fleet.foreign import Unreadable
from fleet.ids import LARGEST_ID
from fleet.migrations import upgrade
from fleet.states import BotStatus, ExitReason
from fleet.trading_service import (
    admin,
    bots,
    error_counts,
    exchanges,
    lease,
    ledger,
    notifications,
    outbox,
    runs,
    shards,
    starts,
)
from fleet.trading_service.adapt import EARLIEST, LATEST
from fleet.trading_service.db import connect, connect_async
from fleet.trading_service.lease import RunId
from tests.hostile_json import HOSTILE_JSON
from tests.integration.controller_process import REPOSITORY, Fleet, config
from tests.integration.receivers import Receivers, receivers
from tests.integration.worker_process import Outbox, wait_until, worker

pytestmark = pytest.mark.postgres

DROP_CHECKS = """
    ALTER TABLE trading_bots DROP CONSTRAINT IF EXISTS trading_bots_config_check,
        DROP CONSTRAINT IF EXISTS trading_bots_id_check
"""
GARBAGE = "a\0b \ud800 \x1b[31mred\x1b[0m"
IDS = (0, -5, LARGEST_ID + 1, 10**18, 2**63 - 1)


@pytest.fixture
def unguarded(database_url: str) -> str:
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(DROP_CHECKS)
    return database_url


@pytest.fixture
def fleet(unguarded: str, tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(unguarded, tmp_path)
    yield made
    made.close()


def spoil(fleet: Fleet, bot_id: int, text: str) -> None:
    fleet.connection.execute("UPDATE trading_bots SET config = %s::jsonb WHERE id = %s", (text, bot_id))


def add_bad(fleet: Fleet, name: str, text: str) -> int:
    row = fleet.connection.execute(
        "INSERT INTO trading_bots (name, enabled, config) VALUES (%s, true, %s::jsonb) RETURNING id", (name, text)
    ).fetchone()
    assert row is not None
    return int(row["id"])


def shown(fleet: Fleet, bot_id: int) -> tuple[str, str | None]:
    row = fleet.connection.execute("SELECT status, error_message FROM trading_bots WHERE id = %s", (bot_id,)).fetchone()
    assert row is not None
    return row["status"], row["error_message"]


def open_run(fleet: Fleet, bot_id: int) -> dict[str, Any] | None:
    return fleet.connection.execute(
        "SELECT epoch, claimed_at, stop_reason FROM trading_runs WHERE bot_id = %s AND ended_at IS NULL", (bot_id,)
    ).fetchone()


def end_of(fleet: Fleet, bot_id: int) -> str | None:
    row = fleet.connection.execute(
        "SELECT exit_reason FROM trading_runs WHERE bot_id = %s ORDER BY epoch DESC LIMIT 1", (bot_id,)
    ).fetchone()
    return row["exit_reason"] if row else None


# --- the controller ------------------------------------------------------------------------------------------------


def test_a_bot_is_stopped_disabled_archived_and_fenced_whatever_its_config_is(fleet: Fleet) -> None:
    fleet.start()
    fleet.wait(lambda: "rows_listening" in fleet.logs(), within_s=60)
    texts = list(HOSTILE_JSON.values())
    born_bad = [add_bad(fleet, f"born {number}", text) for number, text in enumerate(texts)]
    live = [fleet.add_bot(f"live {number}") for number, _ in enumerate(texts)]
    deaf = fleet.add_bot("deaf", description="hang")
    fleet.wait(lambda: all(fleet.running(bot) for bot in [*live, deaf]), within_s=40)
    for bot, text in zip(live, texts, strict=True):
        spoil(fleet, bot, text)
    spoil(fleet, deaf, texts[0])

    fleet.wait(lambda: all(shown(fleet, bot)[0] == "error" for bot in [*born_bad, *live]), within_s=20)
    for bot in (*born_bad, *live):
        assert " is invalid: " in (shown(fleet, bot)[1] or "")
    assert all(open_run(fleet, bot) is None for bot in born_bad)
    assert all(open_run(fleet, bot) for bot in live), "the run of the last valid config goes on"

    # the snapshots of half of them can't be read either, and a new controller knows nothing by heart
    for bot, text in zip(live[::2], texts[::2], strict=True):
        fleet.connection.execute("UPDATE trading_runs SET config = %s::jsonb WHERE bot_id = %s", (text, bot))
    fleet.controllers[-1].terminate()
    fleet.controllers[-1].wait(20)
    fleet.start()
    for bot in live[: len(live) // 2]:
        fleet.update(bot, enabled=False)
    for bot in live[len(live) // 2 :]:
        fleet.update(bot, archived_at=datetime.now(UTC))
    fleet.update(deaf, enabled=False)
    fleet.wait(lambda: all(shown(fleet, bot)[0] == "stopped" for bot in live), within_s=20)
    assert {end_of(fleet, bot) for bot in live} == {"stopped"}
    # hung by now as well, and deaf to SIGTERM: killed or fenced, it ends
    fleet.wait(lambda: shown(fleet, deaf) == ("stopped", None), within_s=30)

    good = fleet.add_bot("good")
    fleet.wait(lambda: fleet.running(good), within_s=10)
    assert fleet.controllers[-1].poll() is None


def test_no_payload_of_a_notification_ends_the_controller(fleet: Fleet) -> None:
    controller = fleet.start()
    fleet.wait(lambda: "rows_listening" in fleet.logs(), within_s=60)
    for payload in ("9" * 5000, "-1", "0", "", "1 ", "٣", "'; --", "\x1b]0;x\x07", str(2**63), "9" * 18):
        fleet.connection.execute("SELECT pg_notify('botfleet_bots', %s)", (payload,))
        fleet.connection.execute("SELECT pg_notify('botfleet_outbox', %s)", (payload,))
    bot = fleet.add_bot("good")
    fleet.wait(lambda: fleet.running(bot), within_s=5)
    assert controller.poll() is None
    assert fleet.logs().count("rows_listening") == 1, "the connection survived too"
    assert "\x1b]0;" not in fleet.logs()


def test_ids_that_no_pod_can_carry_start_nothing_and_say_why(fleet: Fleet) -> None:
    fleet.start()
    for number in IDS:
        fleet.connection.execute(
            "INSERT INTO trading_bots (id, name, enabled, config) VALUES (%s, %s, true, %s)",
            (number, f"bot {number}", Jsonb(config())),
        )
    good = fleet.add_bot("good")
    fleet.wait(lambda: fleet.running(good) and all(shown(fleet, bot)[0] == "error" for bot in IDS), within_s=15)
    for bot in IDS:
        assert "can't be that of a bot" in (shown(fleet, bot)[1] or "")
    row = fleet.connection.execute("SELECT array_agg(DISTINCT bot_id) AS bots FROM trading_runs").fetchone()
    assert row == {"bots": [good]}
    assert len(list((fleet.folder / "state" / "runs").glob("*.json"))) == 1
    for bot in IDS:
        fleet.update(bot, enabled=False)
    fleet.wait(lambda: all(shown(fleet, bot) == ("stopped", None) for bot in IDS), within_s=10)


async def test_the_watch_on_rows_outlives_whatever_a_poll_raises(database_url: str) -> None:
    outcomes: list[Exception | None] = [
        psycopg.DataError("one row"),
        RuntimeError("another"),
        DatabaseAway("away"),
        None,
    ]
    polls, seen = 0, asyncio.Event()

    async def poll() -> None:
        nonlocal polls
        polls += 1
        outcome = outcomes.pop(0) if outcomes else None
        if outcome is not None:
            raise outcome

    watch = RowWatch(url=database_url, poll_interval_s=0.1, changed=lambda bot: bot == 7 and seen.set(), poll=poll)
    tasks = [asyncio.create_task(work) for work in watch.work().values()]
    try:
        async with await AsyncConnection.connect(database_url, autocommit=True) as connection, asyncio.timeout(10):
            while outcomes or polls < 6:
                await asyncio.sleep(0.05)
            while not seen.is_set():
                await connection.execute("SELECT pg_notify('botfleet_bots', repeat('9', 5000))")
                await connection.execute("SELECT pg_notify('botfleet_bots', '7')")
                await asyncio.sleep(0.05)
        assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()


# --- the worker ----------------------------------------------------------------------------------------------------


@pytest.fixture
def servers() -> Iterator[Receivers]:
    with receivers() as made:
        yield made


def test_a_row_that_cannot_be_read_keeps_nobody_from_being_told(
    unguarded: str, servers: Receivers, tmp_path: Path
) -> None:
    box = Outbox(unguarded)
    box.owner(webhook_url=servers.webhook_url)
    box.connection.execute("INSERT INTO users (name, timezone) VALUES ('odd', 'no\\such/zone')")
    good = box.bot("good", webhook_enabled=True, daily_summary=True)
    bad = []
    for number, text in enumerate(HOSTILE_JSON.values()):
        row = box.connection.execute(
            "INSERT INTO trading_bots (name, user_id, config) VALUES (%s, %s, %s::jsonb) RETURNING id",
            (f"bad {number}", 1 + number % 2, text),
        ).fetchone()
        assert row is not None
        bad.append(int(row["id"]))
    box.connection.execute("UPDATE trading_bots SET created_at = now() - interval '40 days'")
    for bot in bad:
        box.event(bot, f"bad {bot}")
    for number, text in enumerate(HOSTILE_JSON.values()):
        note = box.event(good, f"facts {number}", kind=f"kind {number}")
        box.connection.execute("UPDATE trading_notifications SET facts = %s::jsonb WHERE id = %s", (text, note))
    loud = box.event(good, "loud", severity="critical")
    environment = {**servers.environment, "BOTFLEET_SUMMARY_HOUR": "0"}
    with worker(unguarded, tmp_path / "worker.log", environment) as made:
        wait_until(lambda: "pending" not in box.states(), within_s=30, say=box.deliveries)
        wait_until(
            lambda: box.rows("SELECT FROM trading_notifications WHERE kind = 'daily_summary' AND state = 'delivered'"),
            within_s=20,
            say=lambda: made.log.read_text()[-3000:],
        )
        box.connection.execute("SELECT pg_notify('botfleet_outbox', repeat('9', 5000))")
        late = box.event(good, "late", severity="critical")
        wait_until(
            lambda: box.rows("SELECT FROM trading_notifications WHERE id = %s AND state = 'delivered'", late),
            within_s=10,
        )
        assert made.stop() == 0
    told = {note["id"] for document in servers.webhook.taken for note in document["notifications"]}
    assert {loud, late} <= told
    states = {row["bot_id"]: row["state"] for row in box.rows("SELECT bot_id, state FROM trading_notifications")}
    assert {states[bot] for bot in bad} == {"suppressed"}, "their configs ask for no channel"
    assert states[good] == "delivered"
    box.connection.close()


def test_times_that_no_program_has_keep_nobody_from_being_told(database_url: str, tmp_path: Path) -> None:
    with receivers() as servers:
        box = Outbox(database_url)
        box.connection.execute("UPDATE users SET telegram_chat_id = '11111'")
        # midnight, as people write the end of a day; PostgreSQL has such a time, Python has not
        box.connection.execute(
            "INSERT INTO users (name, telegram_chat_id, quiet_from, quiet_until) VALUES ('night', '2', '24:00', '24:00')"
        )
        # rows of before the constraint, or of whoever owns the database
        box.connection.execute("ALTER TABLE trading_notifications DROP CONSTRAINT trading_notifications_moments_check")
        good, quiet = (box.bot(name, telegram_enabled=True) for name in ("good", "quiet"))
        box.connection.execute("UPDATE trading_bots SET user_id = 2 WHERE id = %s", (quiet,))
        for moment in ("infinity", "-infinity", "294276-12-31", "4714-11-24 BC"):
            note = box.event(good, moment, severity="critical")
            box.connection.execute(
                "UPDATE trading_notifications SET created_at = %s::timestamptz WHERE id = %s", (moment, note)
            )
        box.event(quiet, "quiet", user_id=2)
        last = box.event(good, "last", severity="critical")
        with worker(database_url, tmp_path / "worker.log", servers.environment) as made:
            wait_until(
                lambda: box.rows("SELECT FROM trading_notifications WHERE id = %s AND state = 'delivered'", last),
                within_s=20,
                say=lambda: made.log.read_text()[-3000:],
            )
            wait_until(lambda: "pending" not in box.states(), within_s=20, say=box.deliveries)
            assert made.stop() == 0
        box.connection.close()


async def test_metrics_that_cannot_be_read_cost_one_bot_its_figures(database_url: str) -> None:
    from fleet.trading_service.performance import gauges

    good = {
        "current_balance": "10.5", "net_pnl": "0.5", "total_trades": 2, "current_drawdown": None, "max_drawdown": 0.1,
    }  # fmt: skip
    texts = [*HOSTILE_JSON.values(), json.dumps({**good, "net_pnl": "x"}), json.dumps({**good, "total_trades": "1e9"})]
    async with await connect_async(database_url, "test") as db:
        for number, text in enumerate([*texts, json.dumps(good)]):
            values = {"bot": number + 1, "metrics": text}
            await db.execute("INSERT INTO trading_bots (name, config) VALUES (%(bot)s::text, '{}')", values)
            await db.execute(
                "INSERT INTO trading_checkpoints (bot_id, epoch, symbol, interval, balance, broker_state, strategy_state)"
                " VALUES (%(bot)s, 1, 'BTCUSDT', '1h', 1, '{}', '{}')",
                values,
            )
            await db.execute(
                "INSERT INTO trading_performance_metrics (bot_id, symbol, interval, period, period_start, metrics,"
                " calculated_at) VALUES (%(bot)s, 'BTCUSDT', '1h', 'all', '2026-01-01', %(metrics)s::jsonb, now())",
                values,
            )
        found = await gauges(db)
    assert [(gauge.bot_id, gauge.net_pnl, gauge.drawdown_ratio) for gauge in found] == [(len(texts) + 1, 0.5, 0.0)]


# --- the command line ----------------------------------------------------------------------------------------------


def botfleet(url: str, *arguments: str) -> str:
    """What a command prints; it must end well or with an error that its user is told in one line."""
    done = CliRunner().invoke(app, arguments, env={"BOTFLEET_DATABASE_URL": url})
    assert done.exception is None or isinstance(done.exception, BotfleetError | SystemExit), (arguments, done.exception)
    return done.stdout


def test_the_command_line_shows_what_it_can(unguarded: str) -> None:
    with psycopg.connect(unguarded, autocommit=True) as owner:
        owner.execute("INSERT INTO trading_bots (name, config) VALUES ('good', %s)", (Jsonb(config()),))
        for number, text in enumerate(HOSTILE_JSON.values()):
            owner.execute(
                "INSERT INTO trading_bots (name, config, user_id) VALUES (%s, %s::jsonb, 1)", (f"bad{number}", text)
            )
            owner.execute(
                "INSERT INTO trading_notifications (bot_id, user_id, kind, severity, title, body, facts, dedupe_key)"
                " VALUES (%s, 1, 'bot_error', 'info', 't', 'b', %s::jsonb, %s)",
                (number + 2, text, str(number)),
            )
            owner.execute(
                "INSERT INTO trading_performance_metrics (bot_id, symbol, interval, period, period_start, metrics,"
                " calculated_at) VALUES (%s, 'BTCUSDT', '1h', 'all', '2026-01-01', %s::jsonb, now())",
                (number + 2, text),
            )
    listed = botfleet(unguarded, "bots", "list")
    lines = {line.split()[1]: line.split() for line in listed.splitlines()[1:]}
    assert lines["good"][2:5] == ["paper", "BTCUSDT", "1h"]
    assert all(lines[f"bad{number}"][3] == "unreadable" for number, _ in enumerate(HOSTILE_JSON))
    for arguments in (
        *(("bots", "list", "-o", "json"), ("bots", "list", "-o", "yaml"), ("notify", "list"), ("limits", "list")),
        *(("notify", "list", "-o", "json"), ("notify", "list", "-o", "yaml"), ("bots", "trades")),
    ):
        assert botfleet(unguarded, *arguments) or arguments[:2] in (("limits", "list"), ("bots", "trades"))
    for number, _ in enumerate(HOSTILE_JSON):
        one = botfleet(unguarded, "bots", "show", f"bad{number}")
        assert len(one) < 10_000
        assert json.loads(one)["symbol"] == "unreadable"
    assert '"config": "unreadable: ' in botfleet(unguarded, "bots", "show", "bad2")
    assert "unreadable" in botfleet(unguarded, "bots", "performance", "bad2")
    assert "bot bad2 was disabled already" in botfleet(unguarded, "bots", "stop", "bad2")
    for arguments in (("notify", "preview", "1"), ("notify", "preview", str(10**30)), ("parity", "bad2")):
        botfleet(unguarded, *arguments)
    for command in (("errors",), ("performance", "-o", "json"), ("runs",), ("equity",), ("trades",)):
        botfleet(unguarded, "bots", command[0], "bad2", *command[1:])
    whole = subprocess.run(
        [sys.executable, "-m", "cli", "bots", "list"],
        env={**os.environ, "BOTFLEET_DATABASE_URL": unguarded},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (whole.returncode, whole.stdout.count("unreadable") >= len(HOSTILE_JSON)) == (0, True), whole.stderr


# --- the bot -------------------------------------------------------------------------------------------------------


def started(connection: psycopg.Connection[Any], text: str = "{}") -> RunId:
    connection.execute("INSERT INTO trading_bots (id, name, enabled, config) VALUES (1, 'a', true, '{}')")
    connection.execute("SELECT nextval(pg_get_serial_sequence('trading_bots', 'id'))")
    connection.execute(
        "INSERT INTO trading_runs (bot_id, epoch, config, config_version, controller, runtime, pod_name)"
        " VALUES (1, 1, %s::jsonb, 1, 'c', 'process', 'p')",
        (text,),
    )
    return RunId(1, 1, "me")


@pytest.mark.parametrize("text", HOSTILE_JSON.values(), ids=HOSTILE_JSON.keys())
def test_a_bot_claims_beats_and_gives_back_a_run_that_it_cannot_read(unguarded: str, text: str) -> None:
    with connect(unguarded, application="test") as connection:
        run = started(connection, text)
        connection.execute("UPDATE trading_runs SET limits = %s::jsonb", (text,))
        connection.execute(
            "INSERT INTO trading_checkpoints (bot_id, epoch, symbol, interval, balance, broker_state, strategy_state)"
            " VALUES (1, 1, 'BTCUSDT', '1h', 1, %(it)s::jsonb, %(it)s::jsonb)",
            {"it": text},
        )
        claimed = lease.claim(connection, run)
        readable = isinstance(claimed.config, Unreadable)
        assert readable or text.startswith("{")
        lease.heartbeat(connection, run, progress_age_s=0)
        assert ledger.load_checkpoint(connection, 1) is not None
        assert lease.release(connection, run, exit_code=2, reason=ExitReason.CONFIG_ERROR, error_message="bad")


def test_the_real_bot_says_what_is_wrong_with_its_config(unguarded: str) -> None:
    with connect(unguarded, application="test") as connection:
        started(connection, "9" * 5000)
        done = subprocess.run(
            [sys.executable, "-m", "botrunner", "--bot-id", "1", "--epoch", "1"],
            env={**os.environ, "BOTFLEET_DATABASE_URL": unguarded},
            cwd=REPOSITORY,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 2, done.stderr
        row = connection.execute("SELECT exit_reason, error_message FROM trading_runs").fetchone()
    assert row is not None
    assert row[0] == "config_error"
    assert "a number of 5000 characters" in row[1]


# --- what is written -----------------------------------------------------------------------------------------------


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[AsyncConnection[Any]]:
    async with await connect_async(database_url, "test") as connection:
        yield connection


async def test_no_text_makes_a_statement_of_the_controller_or_the_worker_fail(db: AsyncConnection[Any]) -> None:
    await db.execute("INSERT INTO trading_bots (id, name, enabled, config) VALUES (1, 'a', true, '{}')")

    async def start(epoch: int) -> None:
        assert await runs.start_run(
            db, None, bot_id=1, epoch=epoch, config_version=1, controller=GARBAGE, runtime=GARBAGE, pod_name=GARBAGE
        )
        assert await runs.record_pod(db, None, 1, epoch, uid=GARBAGE)
        assert await runs.request_stop(db, None, 1, epoch, reason=GARBAGE)

    await start(1)
    assert await runs.end_run(db, None, 1, 1, reason=ExitReason.FAILED, exit_code=2**40, message=GARBAGE)
    await start(2)
    now = datetime.now(UTC)
    assert await runs.fence_unclaimed(db, None, 1, 2, reason=ExitReason.NOT_CLAIMED, message=GARBAGE, decided_at=now)
    assert await bots.update_bot_status(
        db, 1, seen=BotStatus.STOPPED, status=BotStatus.ERROR, message=GARBAGE * 5000, error_count=0
    )
    note = bots.Notification(
        bot_id=1, kind="k", severity="info", title=GARBAGE, body=GARBAGE, key=GARBAGE, facts={GARBAGE: [GARBAGE]}
    )
    assert await bots.add_notification(db, note)
    assert await outbox.add(
        db, kind="k", severity="info", title=GARBAGE, body=GARBAGE, dedupe_key=GARBAGE + "2", facts={"a": GARBAGE}
    )
    await outbox.mark_routed(db, 1, state="suppressed", reason=GARBAGE)
    cursor = await db.execute("SELECT error_message, exit_code FROM trading_runs ORDER BY epoch")
    assert await cursor.fetchall() == [("a\ufffdb \ufffd red", None), ("a\ufffdb \ufffd red", None)]
    cursor = await db.execute("SELECT title, body, facts FROM trading_notifications WHERE title LIKE 'a%%' LIMIT 1")
    row = await cursor.fetchone()
    assert row is not None
    assert row[:2] == ("a\ufffdb \ufffd red",) * 2


def test_no_text_makes_a_statement_of_a_bot_or_a_person_fail(database_url: str) -> None:
    with connect(database_url, application="test") as connection:
        run = started(connection)
        lease.claim(connection, run, node=GARBAGE)
        count = error_counts.ErrorCount(
            kind=GARBAGE, part=GARBAGE, count=1, first_age_s=0, last_age_s=0, message=GARBAGE
        )
        error_counts.add_errors(connection, run, [count])
        note = {
            "kind": GARBAGE, "severity": "info", "title": GARBAGE, "body": GARBAGE, "facts": {"a": GARBAGE},
            "dedupe_key": GARBAGE, "state": "pending",
        }  # fmt: skip
        ledger.write_notifications(connection, run, [note])
        state = ledger.Checkpoint(
            symbol=GARBAGE, interval=GARBAGE, last_bar_at=None, bars=0, balance=1, total_pnl=0,
            broker_state={"a": GARBAGE}, strategy_state={GARBAGE: 1e-120},
        )  # fmt: skip
        assert (
            ledger.first_checkpoint(connection, run, state).strategy_state["a\ufffdb \ufffd \x1b[31mred\x1b[0m"]
            == 1e-120
        )
        assert lease.release(connection, run, exit_code=1, reason=ExitReason.FAILED, error_message=GARBAGE)
        admin.apply_bot(connection, name=GARBAGE, config={"description": GARBAGE}, enabled=False, description=GARBAGE)
        notifications.add_test(connection, channels=["email"], bot_id=None, user_id=None, key=GARBAGE + "t")
        assert notifications.list_notifications(connection)
        with pytest.raises(Exception, match="there is no bot"):
            admin.bot_id_of(connection, "x\0")


@pytest.mark.parametrize(
    ("what", "document"),
    [
        ("NaN", {"a": float("nan")}),
        ("levels deep", {"a": json.loads("[" * 70 + "]" * 70)}),
        ("bytes long", {"a": "x" * 2**20}),
    ],
)
def test_a_state_that_could_not_be_read_again_is_refused_when_it_is_written(
    database_url: str, what: str, document: dict[str, Any]
) -> None:
    from fleet.trading_service.adapt import NotStorable

    with connect(database_url, application="test") as connection, pytest.raises(NotStorable, match=what):
        connection.execute("SELECT %s::jsonb", (Jsonb(document),))


# --- the schema ----------------------------------------------------------------------------------------------------


RUN = "1, 1, '{}', 1, 'c', 'process', 'p', 't'"
PAUSE = "'binance', '', '', now(), 'r', now(), 1"
WRITTEN = (
    *(
        ("botfleet_bot", "trading_runs", f"{what}_at")
        for what in ("claimed", "live", "heartbeat", "progress", "waited")
    ),
    ("botfleet_bot", "trading_bots", "last_heartbeat"),
    ("botfleet_bot", "trading_bots", "started_at"),
    ("botfleet_bot", "exchange_pauses", "until"),
    ("botfleet_bot", "exchange_markets", "claimed_at"),
    ("botfleet_user", "trading_bots", "archived_at"),
    ("botfleet_controller", "trading_runs", "created_at"),
    ("botfleet_controller", "controller_shards", "renewed_at"),
)


async def test_no_moment_of_one_row_spoils_the_look_at_all(db: AsyncConnection[Any], database_url: str) -> None:
    """Each role is refused to write what no program can reckon with; whatever it may write leaves all looks possible."""
    await db.execute("INSERT INTO trading_bots (id, name, enabled, config) VALUES (1, 'b', true, '{}')")
    for table, columns, values in (
        ("trading_runs", "bot_id, epoch, config, config_version, controller, runtime, pod_name, claimed_by", RUN),
        ("exchange_pauses", "exchange, venue, address, until, reason, told_at, told_by", PAUSE),
        ("exchange_markets", "exchange, venue, symbol", "'binance', '', 'S'"),
    ):
        await db.execute(f"INSERT INTO {table} ({columns}) VALUES ({values})".encode())
    assert await shards.acquire_shard(db, 0, holder="c", ttl_s=15)
    address = exchanges.Address(exchange="binance", venue="", origin="")
    limits = runs.WatchLimits(quiet_s=15, dead_s=35, stalled_s=30, asked_s=30, claim_s=120, start_s=600)
    for role, table, column in WRITTEN:
        for moment in ("infinity", "-infinity", "294276-12-31", "4714-11-24 BC", "8999-12-31", "1000-01-02"):
            statement = f"UPDATE {table} SET {column} = '{moment}'"
            await db.execute(f"SET ROLE {role}".encode())
            refused = False
            try:
                await db.execute(statement.encode())
            except psycopg.errors.CheckViolation:
                refused = True
            assert refused or moment in ("8999-12-31", "1000-01-02"), statement
            await db.execute("RESET ROLE")
            await runs.watch_runs(db, limits)
            assert all(live_s >= 0 for _, live_s in (await starts.start_facts(db)).spans)
            assert await bots.load_bot(db, 1) is not None
            with connect(database_url, application="test") as bot:
                exchanges.read_pause(bot, address)
                exchanges.read_rules(bot, address, "S")
                assert len(admin.list_bots(bot, archived=True)) == 1


def test_an_upgrade_takes_moments_that_no_program_has(postgres_url: str) -> None:
    head = postgres_url.rpartition("/")[0]
    name = f"old{os.getpid()}_{free_port()}"
    with psycopg.connect(f"{head}/postgres", autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}".encode())
    url = f"{head}/{name}"
    upgrade(url, revision="0011")
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute("INSERT INTO trading_bots (name, config, archived_at) VALUES ('b', '{}', 'infinity')")
        owner.execute("INSERT INTO trading_bots (name, config, updated_at) VALUES ('c', '{}', '-infinity')")
        owner.execute(
            "INSERT INTO exchange_pauses (exchange, venue, address, until, reason, told_at, told_by)"
            " VALUES ('binance', '', '', 'infinity', 'r', 'infinity', 1)"
        )
        upgrade(url)
        times = owner.execute("SELECT archived_at, updated_at FROM trading_bots ORDER BY id").fetchall()
        assert times[0][0] == LATEST
        assert times[1] == (None, EARLIEST)
        assert owner.execute("SELECT until, told_at FROM exchange_pauses").fetchone() == (LATEST, LATEST)
        with pytest.raises(psycopg.errors.CheckViolation, match="trading_bots_moments_check"):
            owner.execute("UPDATE trading_bots SET archived_at = 'infinity'")
    with psycopg.connect(f"{head}/postgres", autocommit=True) as server:
        server.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def test_new_rows_are_refused_and_old_ones_stay_stoppable(postgres_url: str) -> None:
    head = postgres_url.rpartition("/")[0]
    name = f"old{os.getpid()}_{free_port()}"
    with psycopg.connect(f"{head}/postgres", autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}".encode())
    url = f"{head}/{name}"
    upgrade(url, revision="0006")
    texts = list(HOSTILE_JSON.values())
    with psycopg.connect(url, autocommit=True) as owner:
        for number, text in enumerate(texts, start=1):
            owner.execute(
                "INSERT INTO trading_bots (id, name, enabled, config) VALUES (%s, %s, true, %s::jsonb)",
                (number, f"b{number}", text),
            )
        for number in IDS:
            owner.execute(
                "INSERT INTO trading_bots (id, name, enabled, config) VALUES (%s, %s, true, '{}')",
                (number, f"b{number}"),
            )
        for epoch, ended in ((10**16, None), (10**17, "now()")):
            owner.execute(
                "INSERT INTO trading_runs (bot_id, epoch, config, config_version, controller, runtime, pod_name, ended_at,"
                f" exit_reason) VALUES (1, %s, '{{}}', 1, 'c', 'process', 'p', {ended or 'NULL'},"
                f" {'NULL' if ended is None else repr('failed')})".encode(),
                (epoch,),
            )
        upgrade(url)
        refused = [1, 2, 3, 6, 8]
        aside = owner.execute(
            "SELECT subject, before::text FROM audit_log WHERE action = 'config moved aside'"
        ).fetchall()
        assert {subject for subject, _ in aside} == {f"trading_bots/{number}" for number in refused}
        assert dict(aside)["trading_bots/3"] == texts[2]
        kept = owner.execute(
            "SELECT id, config->>'description' FROM trading_bots WHERE id = ANY(%s)", (refused,)
        ).fetchall()
        assert all("kept in audit_log.before, id" in text for _, text in kept)
        off = owner.execute("SELECT id FROM trading_bots WHERE NOT enabled").fetchall()
        assert {number for (number,) in off} == set(IDS)
        assert owner.execute("SELECT exit_reason FROM trading_runs WHERE epoch = 10^16").fetchone() == ("failed",)
        # status, heartbeat, stop, name and archive: everything can still be written to all of them
        done = owner.execute(
            "UPDATE trading_bots SET status = 'stopping', error_message = 'x', last_heartbeat = now(), enabled = false,"
            " name = name || '!', archived_at = now()"
        )
        assert done.rowcount == len(texts) + len(IDS)
        owner.execute("UPDATE trading_runs SET heartbeat_at = now()")
        for constraint, statement in (
            *(
                ("config", f"UPDATE trading_bots SET config = '{text}'::jsonb WHERE id = 4")
                for text in (texts[0], texts[1], texts[7])
            ),
            ("config", "INSERT INTO trading_bots (name, config) VALUES ('n', 'null')"),
            *(
                ("id", f"INSERT INTO trading_bots (id, name, enabled, config) VALUES ({number} + 3, 'n', true, '{{}}')")
                for number in IDS[2:4]
            ),
            ("id", "UPDATE trading_bots SET enabled = true WHERE id = 0"),
        ):
            with pytest.raises(psycopg.errors.CheckViolation) as refusal:
                owner.execute(statement.encode())
            assert refusal.value.diag.constraint_name == f"trading_bots_{constraint}_check"
    with psycopg.connect(f"{head}/postgres", autocommit=True) as server:
        server.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
