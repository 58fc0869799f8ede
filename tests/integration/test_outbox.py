"""Events written with the change that they tell, summaries once, the worker's role, and the commands of people."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from botrunner.ledger.ledger import Ledger
from botrunner.market.side import Side
from botrunner.trading.account import Account
from botrunner.trading.order_ids import Leg
from botrunner.trading.orders import Order, OrderType
from botrunner.trading.state import BotState
from fleet.config import RunningConfig, parse_config
from fleet.errors import FencedError
from fleet.states import BotStatus, ExitReason, OrderState
from fleet.trading_service import bots, runs, shards
from fleet.trading_service.bots import Notification
from fleet.trading_service.db import Pool
from fleet.trading_service.lease import RunId, claim, mark_live, release
from tests.integration.receivers import SECRET, receivers
from tests.integration.worker_process import CONFIG, REPOSITORY, Outbox, wait_until, worker
from tests.support import FakeClock
from tests.unit.botrunner.bars import CLOSED, outcome
from worker.channels.signature import signing_secret
from worker.health import HealthWatch
from worker.jobs.summaries import Summaries

ORDER = Order(
    client_order_id="a" * 32,
    signal_at=datetime(2018, 1, 10, tzinfo=UTC),
    leg=Leg.ENTRY,
    attempt=0,
    side=Side.BUY,
    type=OrderType.MARKET,
    quantity=Decimal("1.5"),
    price=None,
    reason="r",
    state=OrderState.FILLED,
)


@pytest.fixture
def outbox(database_url: str) -> Iterator[Outbox]:
    made = Outbox(database_url)
    yield made
    made.connection.close()


def told(outbox: Outbox) -> list[tuple[str, str, str]]:
    rows = outbox.rows("SELECT kind, title, body FROM trading_notifications ORDER BY id")
    return [(row["kind"], row["title"], row["body"]) for row in rows]


async def start(url: str, bot_id: int, epoch: int, version: int) -> RunId:
    async with await AsyncConnection.connect(url, autocommit=True) as connection:
        assert await runs.start_run(
            connection,
            None,
            bot_id=bot_id,
            epoch=epoch,
            config_version=version,
            controller="c",
            runtime="process",
            pod_name=f"p{epoch}",
        )
    return RunId(bot_id, epoch, f"t{epoch}")


def live(outbox: Outbox, bot_id: int, epoch: int, version: int = 2) -> RunId:
    run = asyncio.run(start(outbox.url, bot_id, epoch, version))
    with psycopg.connect(outbox.url, autocommit=True) as connection:
        claim(connection, run)
        mark_live(connection, run)
        mark_live(connection, run)  # a repeated call tells nothing
    return run


def ended(outbox: Outbox, run: RunId, reason: ExitReason, message: str | None = None) -> None:
    with psycopg.connect(outbox.url, autocommit=True) as connection:
        assert release(connection, run, exit_code=1, reason=reason, error_message=message)
        assert not release(connection, run, exit_code=1, reason=reason, error_message=message)


def enabled_bot(outbox: Outbox) -> int:
    bot_id = outbox.bot()
    outbox.connection.execute("UPDATE trading_bots SET enabled = true WHERE id = %s", (bot_id,))
    return bot_id


def test_a_runs_life_is_told_with_its_reasons(outbox: Outbox) -> None:
    bot_id = enabled_bot(outbox)
    ended(outbox, live(outbox, bot_id, 1), ExitReason.FAILED, "KeyError: 'x'")
    ended(outbox, live(outbox, bot_id, 2), ExitReason.SUPERSEDED)
    ended(outbox, live(outbox, bot_id, 3), ExitReason.STOPPED)
    live(outbox, bot_id, 4)
    assert told(outbox) == [
        ("bot_started", "Started", "Run 1, config version 2."),
        ("bot_error", "Run 1 ended: failed", "KeyError: 'x'"),
        ("bot_restarted", "Started again after: failed", "Run 2, config version 2. Before: KeyError: 'x'"),
        ("config_applied", "Config version 2 is in effect", "Run 3, config version 2."),
        ("bot_stopped", "Stopped", ""),
        ("bot_started", "Started", "Run 4, config version 2."),
    ]


def test_a_change_that_isn_t_made_isn_t_told(outbox: Outbox) -> None:
    bot_id = enabled_bot(outbox)
    run = live(outbox, bot_id, 1)
    before = told(outbox)
    with psycopg.connect(outbox.url, autocommit=True) as connection:
        mark_live(connection, RunId(bot_id, 1, "somebody else"))
        assert not release(connection, RunId(bot_id, 1, "else"), exit_code=0, reason=ExitReason.FAILED)
        with pytest.raises(FencedError):
            claim(connection, RunId(bot_id, 9, "t"))
        # and one that is rolled back takes its event along
        with connection.transaction(force_rollback=True):
            assert release(connection, run, exit_code=1, reason=ExitReason.FAILED)
    assert told(outbox) == before


def test_a_fence_is_told_and_waits_for_nobody_who_holds_the_bots_row(outbox: Outbox) -> None:
    bot_id = enabled_bot(outbox)
    live(outbox, bot_id, 1)
    outbox.connection.execute("UPDATE trading_runs SET heartbeat_at = now() - interval '1 hour'")
    with psycopg.connect(outbox.url) as person:
        person.execute("SELECT FROM trading_bots WHERE id = %s FOR UPDATE", (bot_id,))
        person.execute("SELECT FROM users FOR UPDATE")

        async def fence() -> bool:
            pool = Pool(outbox.url, application="test", connections=2)
            await pool.open()
            try:
                async with pool.connection() as connection:
                    (now,) = await (await connection.execute("SELECT clock_timestamp()")).fetchone() or (None,)
                    return await runs.fence_silent(
                        connection,
                        None,
                        bot_id,
                        1,
                        reason=ExitReason.FENCED_SILENT,
                        message="no heartbeat",
                        decided_at=now,
                        silent_s=35,
                    )
            finally:
                await pool.close()

        assert asyncio.run(fence())
        person.rollback()
    assert told(outbox)[-1] == ("bot_error", "Run 1 ended: fenced_silent", "no heartbeat")


async def controllers_life(url: str, bot_id: int) -> None:
    async with await AsyncConnection.connect(url, autocommit=True) as connection:
        lease = await shards.acquire_shard(connection, 0, holder="host-a", ttl_s=15)
        assert lease is not None
        assert await runs.adopt_config(connection, lease, bot_id, 1, config_version=7, limits={})
        assert not await runs.adopt_config(connection, lease, bot_id, 1, config_version=7, limits={})
        seen = BotStatus.STOPPED
        for message in ("version 3 is invalid", "version 3 is invalid", "version 4 is invalid"):
            assert await bots.update_bot_status(
                connection, bot_id, seen=seen, status=BotStatus.ERROR, message=message, error_count=0
            )
            seen = BotStatus.ERROR
        assert not await bots.update_bot_status(
            connection, bot_id, seen=BotStatus.RUNNING, status=BotStatus.ERROR, message="not written", error_count=0
        )
        assert await bots.update_bot_status(
            connection, bot_id, seen=BotStatus.ERROR, status=BotStatus.RUNNING, message="no heartbeat", error_count=0
        )
        for _ in range(2):
            await bots.add_notification(
                connection,
                Notification(bot_id=bot_id, kind="bot_disabled", severity="critical", title="t", body="b", key="d"),
            )
        await bots.add_notification(
            connection,
            Notification(bot_id=None, kind="observer_suspicious", severity="critical", title="t", body="b", key="o"),
        )
        await shards.release_shard(connection, lease)
        await shards.release_shard(connection, lease)


def test_the_controllers_own_events(outbox: Outbox) -> None:
    bot_id = enabled_bot(outbox)
    live(outbox, bot_id, 1)
    outbox.connection.execute(
        "INSERT INTO trading_positions (bot_id, symbol, direction, opened_at, qty_open, avg_price, status)"
        " VALUES (%s, 'BTCUSDT', 'long', now(), 1, 1, 'open')",
        (bot_id,),
    )
    asyncio.run(controllers_life(outbox.url, bot_id))
    assert [(kind, title) for kind, title, _ in told(outbox)[1:]] == [
        ("service_started", "Controller host-a took over"),
        ("config_applied", "Config version 7 is in effect"),
        ("config_rejected", "The config is rejected"),
        ("config_rejected", "The config is rejected"),
        ("bot_disabled", "t"),
        ("observer_suspicious", "t"),
        ("service_stopped", "Controller host-a stopped"),
    ]
    assert told(outbox)[5][2] == "b. A POSITION IS OPEN and nobody manages it"
    owners = outbox.rows("SELECT kind, user_id, bot_id FROM trading_notifications WHERE bot_id IS NULL ORDER BY id")
    assert [(row["kind"], row["user_id"]) for row in owners] == [
        ("service_started", None),
        ("observer_suspicious", None),
        ("service_stopped", None),
    ]


def test_a_round_number_of_trades_is_told_in_the_bar_that_reaches_it(outbox: Outbox) -> None:
    """Eight trades before, one more in each of two bars: the second reaches ten."""
    bot_id = enabled_bot(outbox)
    run = live(outbox, bot_id, 1)
    bar_at = datetime(2018, 1, 10, tzinfo=UTC)
    for number in range(8):
        closed_trade(outbox, bot_id, number, bar_at - timedelta(hours=number + 1), "1")
    config = parse_config({**CONFIG, "symbol": "ETHBTC"})
    ledger = Ledger(
        url=outbox.url,
        run=run,
        config=RunningConfig(config),
        exchange="paper",
        owner=1,
        clock=FakeClock(),
        waiting=lambda: None,
    )
    ledger.set_quote_currency("BTC")
    begun = BotState(account=Account(cash=Decimal(10)))
    ledger.begin(begun, {})
    follows, milestones = None, []
    for bar in range(2):
        trade = replace(
            CLOSED,
            entry_order_id=f"{bar}" * 32,
            exit_order_id=f"{bar}e" * 16,
            entry_at=bar_at + timedelta(minutes=5 * bar),
        )
        entry = replace(ORDER, client_order_id=trade.entry_order_id, signal_at=trade.entry_at)
        leave = replace(entry, client_order_id=trade.exit_order_id, leg=Leg.EXIT)
        at = bar_at + timedelta(minutes=5 * bar)
        done = outcome(
            follows=follows, bar_at=at, bars=bar + 1, orders=(entry, leave), trades=(trade,), account=begun.account
        )
        ledger.commit(done)
        ledger.commit(done)  # the answer to the first got lost
        follows = at
        milestones.append([title for kind, title, _ in told(outbox) if kind == "milestone"])
    ledger.close()
    assert milestones == [[], ["10 trades"]]


def closed_trade(outbox: Outbox, bot_id: int, number: int, exit_time: datetime, net: str) -> None:
    outbox.connection.execute(
        """
        WITH o AS (INSERT INTO trading_orders (client_order_id, bot_id, epoch, symbol, signal_at, leg, side, type,
                       quantity, state, reason)
                   VALUES (%(id)s, %(bot)s, 1, 'BTCUSDT', %(at)s, 'entry', 'buy', 'market', 1, 'filled', 'r')),
             p AS (INSERT INTO trading_positions (bot_id, symbol, direction, opened_at, qty_open, avg_price, status)
                   VALUES (%(bot)s, 'BTCUSDT', 'long', %(at)s, 0, 1, 'closed') RETURNING id)
        INSERT INTO trading_trades (bot_id, position_id, trade_type, strategy_name, symbol, interval, direction,
            entry_order_id, signal_at, entry_time, exit_time, entry_price, entry_value, size, net_pnl, status)
        SELECT %(bot)s, p.id, 'paper', 's', 'BTCUSDT', '1h', 'long', %(id)s, %(at)s, %(at)s, %(at)s, 1, 1, 1, %(net)s,
            'closed' FROM p
        """,
        {"id": f"{bot_id}-{number}", "bot": bot_id, "at": exit_time, "net": net},
    )


def test_a_summary_is_written_once_for_each_period_by_any_number_of_workers(outbox: Outbox) -> None:
    bot_id = outbox.bot(daily_summary=True, telegram_enabled=True)
    outbox.connection.execute("UPDATE trading_bots SET enabled = true, created_at = now() - interval '9 days'")
    live(outbox, bot_id, 1)
    now = datetime(2026, 11, 24, 12, tzinfo=UTC)
    outbox.connection.execute("UPDATE trading_bots SET created_at = '2026-11-01'")
    for number, (at, net) in enumerate(
        [
            ("2026-11-22 23:59", "9"),
            ("2026-11-23 00:00", "1.5"),
            ("2026-11-23 23:59", "-0.5"),
            ("2026-11-24 00:00", "9"),
        ]
    ):
        closed_trade(outbox, bot_id, number, datetime.fromisoformat(at).replace(tzinfo=UTC), net)

    async def turn(*moments: datetime) -> list[int]:
        pool = Pool(outbox.url, application="test", connections=4)
        await pool.open()
        try:
            return list(await asyncio.gather(*(Summaries(pool=pool, hour=8).write(moment) for moment in moments)))
        finally:
            await pool.close()

    assert sum(asyncio.run(turn(now, now, now))) == 1
    assert asyncio.run(turn(now + timedelta(hours=3))) == [0]
    assert asyncio.run(turn(now + timedelta(days=1))) == [1]
    [first, _] = [row for row in told(outbox) if row[0] == "daily_summary"]
    assert first[1] == "Day 2026-11-23: 2 trades, 1 won"
    assert "net +1, fees 0, best +1.5, worst -0.5" in first[2]


def test_an_outage_of_the_database_is_told_when_it_is_back(outbox: Outbox) -> None:
    begin = datetime(2026, 11, 24, 12, tzinfo=UTC)

    async def run() -> None:
        pool = Pool(outbox.url, application="test", connections=2)
        await pool.open()
        watches = [HealthWatch(pool=pool, backlog_s=600) for _ in range(2)]
        for watch in watches:
            await watch.answered(begin)
            await watch.answered(begin + timedelta(seconds=300))  # a quiet time without a failed call is no outage
            watch.missed()
            await watch.answered(begin + timedelta(seconds=310))
            watch.missed()
            await watch.answered(begin + timedelta(seconds=390))
        await pool.close()

    asyncio.run(run())
    assert [(kind, title) for kind, title, _ in told(outbox)] == [("health", "The database is back after 80 s")]


def test_the_workers_role_can_do_its_work_and_nothing_else(outbox: Outbox, tmp_path: Path) -> None:
    outbox.connection.execute("ALTER ROLE botfleet_worker LOGIN PASSWORD 'w'")
    url = outbox.url.replace("//botfleet@", "//botfleet_worker:w@")
    with receivers() as servers:
        outbox.owner(webhook_url=servers.webhook_url, email="nobody@example.com")
        bot_id = outbox.bot(webhook_enabled=True, email_enabled=True, daily_summary=True)
        outbox.connection.execute("UPDATE trading_bots SET created_at = now() - interval '9 days'")
        outbox.event(bot_id, "one")
        with worker(url, tmp_path / "log", servers.environment) as made:
            # the event and the summary, each by webhook; the mail is refused
            wait_until(lambda: outbox.states() == {"delivered": 2}, within_s=20, say=made.log.read_text)
            assert made.stop() == 0
        assert "permission denied" not in made.log.read_text()
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in (
            "UPDATE trading_bots SET enabled = true",
            "UPDATE trading_notifications SET title = 'x'",
            "DELETE FROM trading_notifications",
            "DELETE FROM notification_deliveries",
            "UPDATE trading_runs SET ended_at = now()",
            "INSERT INTO trading_orders DEFAULT VALUES",
            "SELECT * FROM broker_accounts",
            "SELECT * FROM api_tokens",
            "UPDATE users SET email = 'x'",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())


def botfleet(url: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli", *arguments],
        cwd=REPOSITORY,
        env={"PATH": "", "BOTFLEET_DATABASE_URL": url, "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_what_people_type(outbox: Outbox, tmp_path: Path) -> None:
    with receivers() as servers:
        bot_id = outbox.bot(telegram_enabled=True, notify_telegram_chat_id="404")
        number = outbox.event(bot_id, "one", title="secret api_key=hunter2")
        with worker(outbox.url, tmp_path / "log", servers.environment):
            wait_until(lambda: outbox.states() == {"failed": 1}, within_s=20)
            listed = botfleet(outbox.url, "notify", "list", "-o", "json", "--state", "failed")
            assert '"state": "failed"' in listed.stdout
            assert "hunter2" not in listed.stdout
            assert "chat not found" in botfleet(outbox.url, "notify", "list").stdout
            missing = botfleet(outbox.url, "notify", "test", "--channel", "webhook", "--bot", "eth")
            assert missing.returncode == 1
            assert "nobody to send to: set notifications.webhook_url" in missing.stderr
            outbox.connection.execute(
                "UPDATE trading_bots SET config = jsonb_set(config, '{notifications,notify_telegram_chat_id}', '\"5\"')"
            )
            assert botfleet(outbox.url, "notify", "test", "--channel", "telegram", "--bot", "eth").returncode == 0
            again = botfleet(outbox.url, "notify", "retry", str(number))
            assert again.stdout == f"notification {number} is tried again on telegram\n"
            wait_until(
                lambda: outbox.rows("SELECT FROM trading_notifications WHERE id = %s AND state = 'delivered'", number),
                within_s=20,
            )
        nothing = botfleet(outbox.url, "notify", "retry", str(number))
        assert f"nothing of notification {number} failed: telegram delivered" in nothing.stderr
    shown = botfleet(outbox.url, "notify", "preview", str(number), "--channel", "email").stdout
    assert shown.startswith("Subject: 🟢 INFO default/eth · secret api_key=***\n")
    unknown = botfleet(outbox.url, "notify", "preview", "999")
    assert "there is no notification 999" in unknown.stderr
    assert "BOTFLEET_WEBHOOK_SECRET is not set" in botfleet(outbox.url, "notify", "key").stderr
    key = botfleet(outbox.url, "notify", "key", "--user", "default", BOTFLEET_WEBHOOK_SECRET=SECRET)
    assert key.stdout == signing_secret(SECRET, 1) + "\n"


def test_a_config_says_where_messages_go_or_what_is_wrong() -> None:
    def errors(**notifications: Any) -> str:
        try:
            parse_config({**CONFIG, "notifications": notifications})
        except Exception as error:
            return str(error)
        return ""

    assert not errors(webhook_enabled=True, webhook_url="https://hooks.example.com/a?b=c", notify_email="a@b.c")
    assert "notifications.webhook_url" in errors(webhook_url="https://user:password@example.com/")
    assert "notifications.webhook_url" in errors(webhook_url="ftp://example.com/")
    assert "notifications.notify_email" in errors(notify_email="a@b.c\nBcc: d@e.f")
    assert "notifications.notify_telegram_chat_id" in errors(notify_telegram_chat_id="my chat")
