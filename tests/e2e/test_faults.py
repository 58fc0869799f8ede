"""What people, nodes and the database do to a fleet on a real cluster: no bot is stranded, fenced or lost for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.e2e.installation import Cluster, Kubectl, wait_for
from tests.e2e.rows import SLACK_S, Bot, Database, config, one_pod

CLAIM_AFTER_FORCE_S = 3.0
"""From a forced deletion to the next claim, on an idle machine."""
LOCK_S = 50.0
"""Longer than T_dead (35 s): a controller that believed the silence would fence."""
READ_ONLY_S = 60.0


@pytest.fixture
def other(cluster: Cluster) -> Iterator[psycopg.Connection[Any]]:
    """A person's session beside the test's own."""
    with psycopg.connect(cluster.database_url) as connection:
        yield connection


def epochs(db: Database) -> list[dict[str, Any]]:
    """Epoch and fate of every bot's newest run: what must not change."""
    return db.execute(
        "SELECT DISTINCT ON (bot_id) bot_id, epoch, ended_at, exit_reason FROM trading_runs JOIN trading_bots b "
        "ON b.id = bot_id WHERE b.enabled AND b.archived_at IS NULL ORDER BY bot_id, epoch DESC"
    ).fetchall()


def all_beat(db: Database) -> bool:
    """Whether every claimed run has a heartbeat of the last seconds."""
    late = db.execute(
        "SELECT bot_id FROM trading_runs WHERE ended_at IS NULL AND claimed_by IS NOT NULL "
        "AND heartbeat_at < clock_timestamp() - interval '8 seconds'"
    ).fetchall()
    return not late


@contextmanager
def nobody_is_fenced(db: Database) -> Iterator[None]:
    """The same runs go on after what happens inside, with heartbeats, and nobody was told of an end."""
    wait_for("all bots have heartbeats", lambda: all_beat(db), timeout_s=SLACK_S)
    before, told = epochs(db), alarms(db)
    yield
    began = time.monotonic()
    wait_for("all bots have heartbeats again", lambda: all_beat(db), timeout_s=SLACK_S)
    print(f"heartbeats of all bots again after {time.monotonic() - began:.1f} s")
    time.sleep(8)  # several looks of the watch and a heartbeat of each
    assert epochs(db) == before
    assert alarms(db) == told


def alarms(db: Database) -> int:
    row = db.execute("SELECT count(*) AS n FROM trading_notifications WHERE kind IN ('bot_error', 'bot_disabled')")
    return int(row.fetchall()[0]["n"])


def test_a_forced_deletion_costs_three_seconds(kubectl: Kubectl, bots: Callable[..., Bot]) -> None:
    bot = bots()
    run = bot.running()
    bot.moves_on()
    began = time.monotonic()
    kubectl("delete", "pod", run["pod_name"], "--force", "--grace-period=0", "--wait=false")
    wait_for("the next claim", lambda: len(bot.runs()) > 1 and bot.runs()[1]["claimed_at"], timeout_s=SLACK_S)
    took = time.monotonic() - began
    first, second = bot.runs()
    gap = (second["claimed_at"] - first["ended_at"]).total_seconds()
    print(f"kubectl delete --force → next claim {took:.1f} s; end ({first['exit_reason']}) → claim {gap:.2f} s")
    assert first["ended_at"] <= second["claimed_at"]
    assert took < CLAIM_AFTER_FORCE_S + 7, "noticed by a poll only"
    bot.running(after_epoch=1)
    bot.moves_on()
    one_pod(kubectl, bot, 2)


def test_a_read_only_database_fences_nobody(db: Database, bots: Callable[..., Bot]) -> None:
    bots().running()
    with nobody_is_fenced(db):
        db.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        db.execute("SELECT pg_reload_conf()")
        try:
            time.sleep(READ_ONLY_S)
        finally:
            db.execute("SET default_transaction_read_only = off")
            db.execute("ALTER SYSTEM RESET default_transaction_read_only")
            db.execute("SELECT pg_reload_conf()")


def test_a_locked_table_of_runs_fences_nobody(
    db: Database, other: psycopg.Connection[Any], bots: Callable[..., Bot]
) -> None:
    bots().running()
    with nobody_is_fenced(db):
        other.execute("LOCK TABLE trading_runs IN ACCESS EXCLUSIVE MODE")
        time.sleep(LOCK_S)
        other.rollback()


def test_locked_bots_and_a_locked_run_fence_nobody(
    cluster: Cluster, db: Database, other: psycopg.Connection[Any], bots: Callable[..., Bot]
) -> None:
    """One person holds the table of bots, another one bot's run."""
    bot = bots()
    bot.running()
    with nobody_is_fenced(db), psycopg.connect(cluster.database_url) as third:
        third.execute("SELECT FROM trading_runs WHERE bot_id = %s FOR UPDATE", (bot.id,))
        other.execute("LOCK TABLE trading_bots IN ACCESS EXCLUSIVE MODE")
        time.sleep(LOCK_S)
        other.rollback()
        third.rollback()


UNREADABLE = {
    "a number of 5,000 digits": '{"symbol": ' + "9" * 5000 + "}",
    "1,500 brackets": '{"symbol": ' + "[" * 1500 + "]" * 1500 + "}",
}


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_an_unreadable_config_is_an_error_and_can_be_stopped(
    db: Database, kubectl: Kubectl, bots: Callable[..., Bot], text: str
) -> None:
    bot = bots()
    bot.running()
    db.execute("UPDATE trading_bots SET config = %s::text::jsonb WHERE id = %s", (text, bot.id))
    bot.has_status("error")
    print(bot.row()["error_message"])
    one_pod(kubectl, bot, 1)
    began = time.monotonic()
    bot.set("enabled = false")
    bot.has_status("stopped")
    wait_for("no pod", lambda: not kubectl.pods(bot.id), timeout_s=SLACK_S)
    assert time.monotonic() - began < 30


def test_a_config_that_is_no_object_is_refused(db: Database, bots: Callable[..., Bot]) -> None:
    bot = bots()
    with pytest.raises(psycopg.errors.CheckViolation):
        bot.set("config = 'null'::jsonb")
    with pytest.raises(psycopg.errors.CheckViolation):
        bot.set("config = %s", Jsonb(config(trading={"comment": "x" * 2_000_000})))


def test_shouting_on_the_channel_ends_nobody(cluster: Cluster, db: Database, kubectl: Kubectl) -> None:
    def restarts() -> dict[str, int]:
        """Of every container but those of bots, whose pods come and go."""
        pods = kubectl.json("get", "pods", "-l", "app.kubernetes.io/part-of=botfleet")["items"]
        return {
            f"{pod['metadata']['name']}/{status['name']}": status["restartCount"]
            for pod in pods
            for status in pod["status"]["containerStatuses"]
        }

    before = restarts()
    assert before
    for payload in ("9" * 5000, "-1", "0", "99999999999999999999", "\x01", "[/x]", "NaN"):
        db.execute("SELECT pg_notify('botfleet_bots', %s)", (payload,))
    time.sleep(3)
    assert restarts() == before
