"""What the worker does on a timer, with the role it has: metrics, figures for Prometheus, retention."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from worker.jobs.performance import PerformanceJob
from worker.jobs.retention import RetentionJob
from worker.metrics import Metrics

pytestmark = pytest.mark.postgres

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FIRST = datetime(2018, 1, 10, 12, tzinfo=UTC)


@pytest.fixture
def worker_url(database_url: str) -> str:
    """A bot with 600 hourly bars, a breach and old errors; the worker logs in as its own role."""
    with psycopg.connect(database_url) as database:
        database.execute("ALTER ROLE botfleet_worker LOGIN PASSWORD 'w'")
        database.execute("INSERT INTO trading_bots (id, name, config) OVERRIDING SYSTEM VALUE VALUES (7, 'b', '{}')")
        database.execute(
            "INSERT INTO trading_runs (bot_id, epoch, config, config_version, controller, runtime, pod_name) "
            "VALUES (7, 1, '{}', 1, 'c', 'process', 'p')"
        )
        database.execute(
            "INSERT INTO trading_checkpoints (bot_id, epoch, symbol, interval, last_bar_at, bars, balance, "
            "broker_state, strategy_state) VALUES (7, 1, 'ETHBTC', '1h', %s, 600, 609, "
            """'{"account": {"cash": "609"}, "last_close": "1"}', '{}')""",
            (FIRST + timedelta(hours=599),),
        )
        database.execute(
            "INSERT INTO trading_bars (bot_id, bar_at, symbol, interval, open, high, low, close, volume, equity, "
            "position) SELECT 7, %s + number * interval '1 hour', 'ETHBTC', '1h', 1, 1, 1, 1, 1, 10 + number, 0 "
            "FROM generate_series(0, 599) number",
            (FIRST,),
        )
        for day in (1, 2):
            database.execute(
                "INSERT INTO trading_notifications (bot_id, user_id, kind, severity, title, body, facts, dedupe_key, "
                "state) VALUES (7, 1, 'risk_breach', 'warning', 't', 'b', '{\"limit\": \"max_daily_loss\"}', %s, "
                "'suppressed')",
                (f"k{day}",),
            )
        for hours in (1, 24 * 100):
            database.execute(
                "INSERT INTO trading_errors (bot_id, hour, kind, part, count, first_seen, last_seen, epoch, "
                "last_message) VALUES (7, date_trunc('hour', now()) - make_interval(hours => %s), 'k', 'p', 1, now(), "
                "now(), 1, 'm')",
                (hours,),
            )
    return database_url.replace("//botfleet@", "//botfleet_worker:w@")


def one(database_url: str, query: str) -> object:
    with psycopg.connect(database_url) as database:
        row = database.execute(query).fetchone()
    return row and row[0]


async def test_figures_reach_the_tables_and_prometheus(worker_url: str, database_url: str) -> None:
    job = PerformanceJob(url=worker_url, metrics=Metrics())
    await job.turn(NOW)
    assert one(database_url, "SELECT count(*) FROM trading_performance_metrics WHERE period = 'all'") == 1
    text = job.metrics.exposition().decode()
    assert 'botfleet_bot_equity{bot_id="7",name="b",symbol="ETHBTC"} 609.0' in text
    assert 'botfleet_risk_breaches{bot_id="7",limit="max_daily_loss"} 2.0' in text


async def test_figures_of_a_bot_that_is_gone_disappear(worker_url: str, database_url: str) -> None:
    job = PerformanceJob(url=worker_url, metrics=Metrics())
    await job.turn(NOW)
    with psycopg.connect(database_url) as database:
        database.execute("UPDATE trading_bots SET archived_at = now()")
    await job.turn(NOW)
    text = job.metrics.exposition().decode()
    assert 'bot_id="7"' not in text


async def test_what_is_old_goes_once_it_is_summarised(worker_url: str, database_url: str) -> None:
    job = PerformanceJob(url=worker_url, metrics=Metrics())
    await job.turn(NOW)
    await RetentionJob(url=worker_url, keep_bars=timedelta(days=10), keep_errors=timedelta(days=90)).turn(NOW)
    kept = one(database_url, "SELECT count(*) FROM trading_bars")
    assert isinstance(kept, int)
    assert 240 <= kept < 300
    assert one(database_url, "SELECT count(*) FROM trading_errors") == 1
    assert one(database_url, "SELECT count(*) FROM trading_equity") == 26
