"""The controller against a real database, with bots as real processes."""

from __future__ import annotations

import os
import signal
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.integration.controller_process import Fleet, command_of, config

pytestmark = pytest.mark.postgres


@pytest.fixture
def fleet(database_url: str, tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(database_url, tmp_path)
    yield fleet
    fleet.close()


def ended(fleet: Fleet, bot_id: int, epoch: int) -> Any:
    return next((r["exit_reason"] for r in fleet.runs(bot_id) if r["epoch"] == epoch), None)


def test_the_life_of_a_bot(fleet: Fleet) -> None:
    fleet.start()
    fleet.wait(lambda: "rows_listening" in fleet.logs())
    bot = fleet.add_bot("RSI & Co.")
    fleet.wait(lambda: fleet.running(bot), within_s=5)
    run = fleet.runs(bot)[0]
    assert (run["claimed_at"] - fleet.bot(bot)["created_at"]).total_seconds() < 3
    assert (run["created_at"] - fleet.bot(bot)["created_at"]).total_seconds() < 0.5  # told by NOTIFY, not by the poll
    assert (run["pod_name"], run["runtime"], run["epoch"]) == (f"bot-{bot}-rsi-co-e1", "process", 1)
    assert run["config"] == config()

    first = fleet.pid(bot)
    fleet.update(bot, config=config(risk_management={"max_daily_trades": 9}))
    fleet.wait(lambda: fleet.runs(bot)[-1]["config_version"] == 2)
    assert fleet.runs(bot)[-1]["limits"] == {"risk_management": {"max_daily_trades": 9}}
    assert fleet.pid(bot) == first

    fleet.update(bot, config=config(description="another one"))
    fleet.wait(lambda: fleet.running(bot, epoch=2))
    assert ended(fleet, bot, 1) == "superseded"
    assert fleet.runs(bot)[1]["config"] == config(description="another one")

    fleet.update(bot, enabled=False)
    fleet.wait(lambda: fleet.bot(bot)["status"] == "stopped", within_s=4)
    assert ended(fleet, bot, 2) == "stopped"
    fleet.update(bot, enabled=True)
    fleet.wait(lambda: fleet.running(bot, epoch=3))
    fleet.update(bot, archived_at=datetime.now(UTC))
    fleet.wait(lambda: fleet.bot(bot)["status"] == "stopped", within_s=4)
    assert len(fleet.runs(bot)) == 3
    assert fleet.never_two_claimed(bot)
    with pytest.raises(psycopg.errors.RestrictViolation, match="has history"):
        fleet.connection.execute("DELETE FROM trading_bots WHERE id = %s", [bot])


def test_a_broken_config_is_named_and_touches_nobody_else(fleet: Fleet) -> None:
    broken = fleet.add_bot("broken", data={"interval": "7h"})
    good = fleet.add_bot("good")
    fleet.start()
    fleet.wait(lambda: fleet.running(good))
    fleet.wait(lambda: fleet.bot(broken)["status"] == "error")
    assert "version 1 is invalid: data.interval" in fleet.bot(broken)["error_message"]
    assert fleet.runs(broken) == []
    pid = fleet.pid(good)
    fleet.update(good, config=config(risk="typo"))
    fleet.wait(lambda: fleet.bot(good)["status"] == "error")
    assert "still running version 1" in fleet.bot(good)["error_message"]
    assert fleet.pid(good) == pid
    fleet.update(good, config=config())
    fleet.wait(lambda: fleet.running(good, epoch=1))
    assert fleet.bot(good)["error_message"] is None
    fleet.update(broken, config=config())
    fleet.wait(lambda: fleet.running(broken, epoch=1))


def test_a_killed_bot_is_back_within_3_s(fleet: Fleet) -> None:
    fleet.start()
    bot = fleet.add_bot()
    fleet.wait(lambda: fleet.running(bot))
    os.kill(fleet.pid(bot), signal.SIGKILL)
    took_s = fleet.wait(lambda: fleet.running(bot, epoch=2))
    assert took_s < 3
    first = fleet.runs(bot)[0]
    assert (first["exit_reason"], first["exit_code"]) == ("failed", 137)
    assert "SIGKILL" in first["error_message"]
    os.kill(fleet.pid(bot), signal.SIGTERM)  # a drain: not the bot's fault
    fleet.wait(lambda: fleet.running(bot, epoch=3))
    assert ended(fleet, bot, 2) == "released"


def test_a_restarted_controller_adopts_and_touches_nothing(fleet: Fleet) -> None:
    first = fleet.start()
    bots = [fleet.add_bot(f"bot {number}") for number in range(3)]
    for bot in bots:
        fleet.wait(lambda bot=bot: fleet.running(bot))
    pids = [fleet.pid(bot) for bot in bots]
    first.kill()
    first.wait()
    os.kill(pids[2], signal.SIGKILL)  # dies while nobody looks
    second = fleet.start()
    fleet.wait(lambda: fleet.running(bots[2], epoch=2), within_s=5)
    assert [fleet.pid(bot) for bot in bots[:2]] == pids[:2]
    os.kill(pids[0], signal.SIGKILL)  # an adopted process is watched like an own one
    assert fleet.wait(lambda: fleet.running(bots[0], epoch=2)) < 3
    fleet.update(bots[1], enabled=False)
    fleet.wait(lambda: ended(fleet, bots[1], 1) == "stopped")

    second.terminate()
    assert second.wait(10) == 0
    assert Path(f"/proc/{fleet.pid(bots[0])}").exists()
    fleet.start()
    fleet.wait(lambda: fleet.logs().count("rows_listening") == 3)
    assert [len(fleet.runs(bot)) for bot in bots] == [2, 1, 2]


def test_a_crashing_bot_is_given_up_and_its_owner_told(fleet: Fleet) -> None:
    fleet.start()
    bot = fleet.add_bot(description="crash")
    fleet.wait(lambda: fleet.bot(bot)["status"] == "disabled", within_s=25)
    assert len(fleet.runs(bot)) == 6
    assert fleet.bot(bot)["error_count"] == 6
    assert "something broke" in fleet.bot(bot)["error_message"]
    notices = fleet.connection.execute(
        "SELECT kind, severity, dedupe_key FROM trading_notifications ORDER BY id"
    ).fetchall()
    keys = [(notice["kind"], notice["severity"], notice["dedupe_key"]) for notice in notices]
    assert keys == [
        ("service_started", "info", "service_started:0:1"),
        *(("bot_error", "warning", f"ended:{bot}:{epoch}") for epoch in range(1, 7)),
        ("bot_disabled", "critical", f"bot_disabled/{bot}/1"),
    ]
    time.sleep(1)
    assert len(fleet.runs(bot)) == 6
    fleet.update(bot, config=config())
    fleet.wait(lambda: fleet.running(bot, epoch=7))
    assert fleet.bot(bot)["error_message"] is None


def test_a_refused_config_waits_for_another(fleet: Fleet) -> None:
    fleet.start()
    bot = fleet.add_bot(description="refuse")
    fleet.wait(lambda: fleet.bot(bot)["status"] == "error")
    assert fleet.bot(bot)["error_message"] == "no such market"
    time.sleep(1)
    assert len(fleet.runs(bot)) == 1
    fleet.update(bot, config=config())
    fleet.wait(lambda: fleet.running(bot, epoch=2))


def test_hung_and_silent_bots_are_fenced(fleet: Fleet) -> None:
    fleet.start()
    hung = fleet.add_bot("hung", description="hang")
    mute = fleet.add_bot("mute", description="mute")
    fleet.wait(lambda: ended(fleet, hung, 1), within_s=15)
    run = fleet.runs(hung)[0]
    assert run["exit_reason"] == "fenced_hung"
    assert run["stop_reason"] == "hung"
    fleet.wait(lambda: ended(fleet, mute, 1), within_s=20)
    run = fleet.runs(mute)[0]
    assert run["exit_reason"] == "fenced_silent"
    silent_s = (run["fenced_at"] - run["heartbeat_at"]).total_seconds()
    assert 11.5 <= silent_s < 11.5 + 3  # T_dead + 3 s
    assert fleet.never_two_claimed(mute)


def test_a_slow_start_is_not_hung(fleet: Fleet) -> None:
    """Two seconds without progress make a live bot hung here; a start has a deadline of its own."""
    fleet.start()
    slow = fleet.add_bot("slow", description="slow 5")
    away = fleet.add_bot("away", description="exchange 6")
    fleet.wait(lambda: "waits" not in (fleet.bot(slow)["error_message"] or "") and fleet.runs(slow))
    fleet.wait(lambda: "exchange start" in (fleet.bot(away)["error_message"] or ""), within_s=15)
    fleet.wait(lambda: fleet.running(slow) and fleet.running(away), within_s=25)
    assert [len(fleet.runs(bot)) for bot in (slow, away)] == [1, 1]
    fleet.wait(lambda: fleet.bot(away)["error_message"] is None)


def test_a_start_that_never_ends_is_stopped_and_told_why(fleet: Fleet) -> None:
    fleet.start(BOTFLEET_START_DEADLINE_S="3")
    bot = fleet.add_bot(description="slow 600")
    fleet.wait(lambda: ended(fleet, bot, 1), within_s=20)
    # it obeyed its stop, so it is released or, killed, fenced as hung; never live, it waits before the next try
    assert ended(fleet, bot, 1) in ("released", "fenced_hung")


def test_many_bots_start_a_few_at_a_time_whatever_happens_to_the_controller(fleet: Fleet) -> None:
    bots = [fleet.add_bot(f"bot {number}", description="slow 1") for number in range(16)]
    fleet.connection.execute(
        "INSERT INTO trading_positions (bot_id, symbol, direction, opened_at, qty_open, avg_price, status)"
        " SELECT unnest(%s::bigint[]), 'BTCUSDT', 'long', now(), 1, 1, 'open'",
        [bots[-3:]],
    )
    first = fleet.start(BOTFLEET_STARTS_AT_ONCE="2", BOTFLEET_START_TARGET_S="0.5")
    fleet.wait(lambda: sum(bool(fleet.running(bot)) for bot in bots) >= 4, within_s=40)
    waiting = [fleet.bot(bot) for bot in bots if not fleet.runs(bot)]
    assert waiting
    assert {row["status"] for row in waiting} == {"starting"}
    assert all("waits to start: place" in row["error_message"] for row in waiting)
    off = waiting[-1]["id"]
    fleet.update(off, enabled=False)
    fleet.wait(lambda: fleet.bot(off)["status"] == "stopped", within_s=3)
    assert fleet.runs(off) == []
    first.kill()
    first.wait()
    fleet.start(BOTFLEET_STARTS_AT_ONCE="2", BOTFLEET_START_TARGET_S="0.5")
    fleet.wait(lambda: all(fleet.running(bot) for bot in bots if bot != off), within_s=60)
    rows = [fleet.runs(bot) for bot in bots if bot != off]
    assert [len(runs) for runs in rows] == [1] * 15
    edges = sorted(edge for (run,) in rows for edge in ((run["created_at"], 1), (run["live_at"], -1)))
    level = most = 0
    for _, step in edges:
        level += step
        most = max(most, level)
    assert most <= 2
    order = sorted(rows, key=lambda runs: runs[0]["created_at"])
    # the third takes one of two slots that become free together, the fourth bot the other
    assert {runs[0]["bot_id"] for runs in order[:4]} >= set(bots[-3:])
    fleet.wait(lambda: all(fleet.bot(bot)["error_message"] is None for bot in bots), within_s=20)
    told = fleet.connection.execute("SELECT kind FROM trading_notifications WHERE severity <> 'info'").fetchall()
    assert [row for row in told if row["kind"] == "bot_error"] == []


def test_a_second_controller_waits_and_takes_over(fleet: Fleet) -> None:
    first = fleet.start(BOTFLEET_CONTROLLER_NAME="first")
    bot = fleet.add_bot()
    fleet.wait(lambda: fleet.running(bot))
    fleet.start(BOTFLEET_CONTROLLER_NAME="second", BOTFLEET_STATE_DIR=str(fleet.folder / "other"))
    fleet.wait(lambda: "shard_waiting" in fleet.logs())
    pid = fleet.pid(bot)
    first.kill()
    first.wait()
    fleet.wait(lambda: '"holder": "second' in fleet.logs().split("shard_acquired")[-1], within_s=6)
    assert fleet.running(bot, epoch=1)
    fleet.update(bot, enabled=False)  # known to the second only from the database: it asks by heartbeat
    fleet.wait(lambda: ended(fleet, bot, 1) == "stopped")
    fleet.wait(lambda: not command_of(pid))


def test_an_open_transaction_on_the_row_delays_only_what_is_shown(fleet: Fleet) -> None:
    fleet.start()
    bot = fleet.add_bot()
    fleet.wait(lambda: fleet.running(bot))
    with psycopg.connect(fleet.url) as person:
        person.execute("UPDATE trading_bots SET description = 'let me think' WHERE id = %s", [bot])
        os.kill(fleet.pid(bot), signal.SIGKILL)
        assert fleet.wait(lambda: len(fleet.runs(bot)) == 2 and fleet.runs(bot)[1]["claimed_at"]) < 3
        time.sleep(0.5)
        person.rollback()
    fleet.wait(lambda: fleet.running(bot, epoch=2))


def test_health_and_metrics(fleet: Fleet) -> None:
    fleet.start(BOTFLEET_HTTP_PORT="0")
    bot = fleet.add_bot()
    fleet.wait(lambda: fleet.running(bot))
    port = fleet.logs().split('"port": ')[1].split(",")[0].split("}")[0]
    base = f"http://127.0.0.1:{port}"

    def read(path: str) -> str:
        with urllib.request.urlopen(f"{base}/{path}") as answer:
            return str(answer.read().decode())

    assert read("healthz") == "ok\n"
    assert read("readyz") == "ok\n"
    metrics = read("metrics")
    assert "botfleet_runs_started_total 1.0" in metrics
    assert 'botfleet_pod_operations_total{code="ok",operation="create"} 1.0' in metrics
    assert "botfleet_leading 1.0" in metrics


def test_wrong_settings_end_with_2_and_a_name(fleet: Fleet) -> None:
    controller = fleet.start(BOTFLEET_T_DEAD_S="1")
    assert controller.wait(20) == 2
    assert "BOTFLEET_T_DEAD_S is 1" in fleet.logs()
