"""Rows become pods, on a real kubelet: what users do to rows, and what the world does to pods."""

from __future__ import annotations

import json
import time
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.e2e.installation import Cluster, Kubectl, wait_for
from tests.e2e.rows import SLACK_S, Database, config, one_pod

pytestmark = pytest.mark.usefixtures("others_untouched")

CLAIM_S = 3.0
"""A row becomes a claimed pod within this, the image being present (asserted on an idle machine)."""


def test_the_sample_bots_trade(db: Database, kubectl: Kubectl) -> None:
    rows = db.execute("SELECT * FROM trading_bots WHERE name NOT LIKE 'e2e-%%' AND archived_at IS NULL").fetchall()
    assert len(rows) >= 5
    assert {row["status"] for row in rows} == {"running"}
    assert len({row["config"]["symbol"] for row in rows}) >= 3
    assert [len(kubectl.pods(row["id"])) for row in rows] == [1] * len(rows)

    def fresh() -> bool:
        ages = db.execute(
            "SELECT extract(epoch FROM now() - last_heartbeat)::float AS age FROM trading_bots WHERE status = 'running'"
        ).fetchall()
        return all(row["age"] < 15 for row in ages)

    wait_for("heartbeats under 15 s old", fresh, timeout_s=30)
    query = "SELECT count(*) AS closed FROM trading_trades WHERE status = 'closed'"
    wait_for("10 closed trades", lambda: db.execute(query).fetchall()[0]["closed"] >= 10, timeout_s=180)
    sums = db.execute(
        "SELECT t.net_pnl, t.commission, sum(f.fee) AS fees, "
        "sum(CASE o.side WHEN 'sell' THEN 1 ELSE -1 END * f.price * f.quantity) AS flow "
        "FROM trading_trades t JOIN trading_orders o ON o.client_order_id IN (t.entry_order_id, t.exit_order_id) "
        "JOIN trading_fills f USING (client_order_id) WHERE t.status = 'closed' GROUP BY t.id"
    ).fetchall()
    for row in sums:
        assert row["commission"] == row["fees"]
        assert abs(row["net_pnl"] - (row["flow"] - row["fees"])) < 1e-12


def test_a_row_becomes_a_claimed_pod(db: Database, kubectl: Kubectl, bots: Any) -> None:
    bot = bots()
    run = bot.running()
    took = (run["claimed_at"] - bot.row()["created_at"]).total_seconds()
    print(f"row → claim: {took:.2f} s")
    assert took < CLAIM_S + SLACK_S
    pod = one_pod(kubectl, bot, 1)
    assert pod["metadata"]["name"] == run["pod_name"]
    assert pod["metadata"]["name"].startswith(f"bot-{bot.id}-{bot.name}"[:40])
    assert pod["spec"]["restartPolicy"] == "Never"
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert pod["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
    text = json.dumps(pod)
    assert "postgresql://" not in text, "the database's password is in the pod's manifest"


def test_disabling_stops_within_the_grace_period(kubectl: Kubectl, bots: Any) -> None:
    bot = bots()
    bot.running()
    began = time.monotonic()
    bot.set("enabled = false")
    bot.has_status("stopped")
    wait_for("no pod", lambda: not kubectl.pods(bot.id), timeout_s=SLACK_S)
    assert time.monotonic() - began < 30
    assert [(run["exit_code"], run["exit_reason"]) for run in bot.runs()] == [(0, "stopped")]
    bot.set("enabled = true")
    assert bot.running()["epoch"] == 2
    bot.moves_on()


def test_a_changed_config_gets_a_new_epoch_and_never_two_claims(bots: Any) -> None:
    bot = bots()
    bot.running()
    bot.set("config = %s", Jsonb(config(trading={"position_size": 0.3})))
    run = bot.running(after_epoch=1)
    assert (run["epoch"], run["config"]["trading"]) == (2, {"position_size": 0.3})
    first, second = bot.runs()
    assert first["exit_reason"] == "superseded"
    assert first["ended_at"] <= second["claimed_at"]


def test_changed_limits_reach_the_running_bot(bots: Any) -> None:
    bot = bots()
    run = bot.running()
    bot.set("config = %s", Jsonb(config(risk_management={"max_daily_trades": 1})))
    wait_for("handed over", lambda: bot.runs()[-1]["config_version"] > run["config_version"], timeout_s=SLACK_S)
    bot.moves_on()
    assert [r["epoch"] for r in bot.runs()] == [1]


def test_a_broken_config_says_where_and_touches_nobody(kubectl: Kubectl, bots: Any) -> None:
    bot = bots(data={"interval": "7m"})
    bot.has_status("error")
    assert "data.interval" in bot.row()["error_message"]
    assert kubectl.pods(bot.id) == []
    bot.set("config = %s", Jsonb(config()))
    assert bot.running()["epoch"] == 1
    bot.set("config = %s", Jsonb({"strategy": 3}))
    bot.has_status("error")
    # a typo leaves no position unwatched: the last valid version goes on
    bot.moves_on()
    one_pod(kubectl, bot, 1)


def test_archiving_stops_and_keeps_history(db: Database, kubectl: Kubectl, bots: Any) -> None:
    bot = bots()
    bot.running()
    with pytest.raises(psycopg.errors.RestrictViolation, match="cannot be deleted"):
        db.execute("DELETE FROM trading_bots WHERE id = %s", (bot.id,))
    bot.set("archived_at = now()")
    bot.has_status("stopped")
    wait_for("no pod", lambda: not kubectl.pods(bot.id), timeout_s=SLACK_S)
    assert len(bot.runs()) == 1


def test_a_deleted_pod_comes_back_after_its_last_bar(kubectl: Kubectl, bots: Any) -> None:
    bot = bots()
    run = bot.running()
    bot.moves_on()
    kubectl("delete", "pod", run["pod_name"], "--wait=false")
    after = bot.running(after_epoch=1)
    assert bot.runs()[0]["exit_reason"] == "released"
    assert after["epoch"] == 2
    bot.moves_on()
    one_pod(kubectl, bot, 2)


def test_a_killed_process_comes_back_after_its_last_bar(cluster: Cluster, kubectl: Kubectl, bots: Any) -> None:
    bot = bots()
    bot.running()
    bot.moves_on()
    cluster.on_node("kill", "-9", str(cluster.bot_process(bot.id)))
    killed_at = time.monotonic()
    bot.running(after_epoch=1)
    first, second = bot.runs()
    live_s, claim_s = time.monotonic() - killed_at, (second["claimed_at"] - first["ended_at"]).total_seconds()
    print(f"SIGKILL → live again: {live_s:.1f} s; end → claim: {claim_s:.2f} s")
    assert (first["exit_code"], first["exit_reason"]) == (137, "failed")
    bars = bot.database.execute(
        "SELECT count(*) AS n, count(DISTINCT signal_at) AS d FROM trading_orders WHERE bot_id = %s AND leg = 'entry'",
        (bot.id,),
    ).fetchone()
    assert bars is not None
    assert bars["n"] == bars["d"]
    bot.moves_on()
    one_pod(kubectl, bot, 2)


def test_a_killed_controller_touches_no_healthy_pod(
    cluster: Cluster, db: Database, kubectl: Kubectl, bots: Any
) -> None:
    bot = bots()
    bot.running()
    wanted = db.execute("SELECT id FROM trading_bots WHERE enabled AND archived_at IS NULL").fetchall()
    uids = {pod["metadata"]["uid"] for row in wanted for pod in kubectl.pods(row["id"])}
    pids = cluster.on_node("pgrep", "-f", "python -m controller").split()
    cluster.on_node("kill", "-9", *pids)
    bot.moves_on()
    wait_for(
        "the controller is back",
        lambda: kubectl("get", "deployment", "botfleet-controller", "-o", "jsonpath={.status.readyReplicas}") == "1",
        timeout_s=120,
    )
    late = bots()
    late.running()
    assert uids <= {pod["metadata"]["uid"] for pod in kubectl.pods()}
    assert [run["epoch"] for run in bot.runs()] == [1]
