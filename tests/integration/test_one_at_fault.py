"""What one row does to its own handling stays there: routing, sending, measuring and summaries go on for the others."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from fleet.trading_service.db import Pool, connect_async
from fleet.trading_service.outbox import StoredNotification
from fleet.trading_service.performance import refresh
from tests.integration.performance_rows import ANY_AGE, add_bars, new_bot
from tests.integration.worker_process import Outbox
from worker.channels.messages import Message
from worker.channels.outcome import Channel, Delivered, Outcome
from worker.channels.routing import Contact, Installed
from worker.dispatch import Dispatcher
from worker.jobs.summaries import Group, Span, Summaries
from worker.metrics import Metrics
from worker.router import BATCH, Router

pytestmark = pytest.mark.postgres

INSTALLED = Installed(
    missing={Channel.EMAIL: "no", Channel.TELEGRAM: "no"}, allow_private=True, http_hosts=("localhost",)
)
OPERATOR = Contact(webhook_url="http://localhost/ops")


@pytest.fixture
def outbox(database_url: str) -> Iterator[Outbox]:
    made = Outbox(database_url)
    made.owner(webhook_url="http://localhost/me")
    yield made
    made.connection.close()


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    made = Pool(database_url, application="test", connections=3)
    await made.open()
    yield made
    await made.close()


class Stumbling(Router):
    """Routes, but for what is titled `bad`, as if a row had found a mistake in it or in a statement."""

    async def _route(self, connection: Any, notification: StoredNotification, now: datetime) -> None:
        if notification.title == "bad":
            raise KeyError("what nobody thought of")
        if notification.title == "refused":
            await connection.execute("SELECT %s::int", (notification.body,))
        await super()._route(connection, notification, now)


async def test_notifications_that_cannot_be_routed_say_so_and_hold_nobody_up(outbox: Outbox, pool: Pool) -> None:
    bot_id = outbox.bot(webhook_enabled=True)
    titles = {3: "bad", 50: "refused", BATCH: "bad", BATCH + 1: "refused"}
    for number in range(1, BATCH + 21):
        outbox.event(bot_id, f"n{number}", title=titles.get(number, "good"))
    router = Stumbling(pool=pool, installed=INSTALLED, operator=OPERATOR, max_age_s=60)
    assert await router.route_all() == BATCH + 20
    rows = outbox.rows("SELECT title, state, routed_at, last_error FROM trading_notifications ORDER BY id")
    assert all(row["routed_at"] for row in rows)
    assert {row["state"] for row in rows if row["title"] == "good"} == {"pending"}
    wrong = [row for row in rows if row["title"] != "good"]
    assert {row["state"] for row in wrong} == {"suppressed"}
    assert wrong[0]["last_error"] == "can't be routed: KeyError('what nobody thought of')"
    assert wrong[1]["last_error"].startswith("can't be routed: InvalidTextRepresentation(")
    assert len(outbox.deliveries()) == BATCH + 20 - len(titles)


class Broken:
    """A channel that raises for one message, whatever its contract says."""

    async def send(self, message: Message, *, address: str) -> Outcome:
        if message.items[0].title == "bad":
            raise ValueError("what nobody \0thought of")
        return Delivered()

    async def close(self) -> None:
        pass


async def test_a_message_that_cannot_be_sent_is_given_up_in_its_time(outbox: Outbox, pool: Pool) -> None:
    bad = outbox.event(outbox.bot("a", webhook_enabled=True), "one", title="bad", severity="critical")
    other = outbox.bot("b", webhook_enabled=True, webhook_url="http://localhost/other")
    good = outbox.event(other, "two", title="good", severity="critical")
    await Router(pool=pool, installed=INSTALLED, operator=OPERATOR, max_age_s=600).route_all()
    dispatcher = Dispatcher(
        pool=pool,
        senders={Channel.WEBHOOK: Broken()},
        installed=INSTALLED,
        operator=OPERATOR,
        metrics=Metrics(),
        concurrency=4,
        send_timeout_s=1,
        lease_s=60,
        per_minute=dict.fromkeys(Channel, 1000),
        chance=random.Random(1),
    )
    assert await dispatcher.send_due() == 2
    await dispatcher.drain(within_s=10)
    assert outbox.states() == {"pending": 1, "delivered": 1}
    [row] = outbox.rows("SELECT * FROM notification_deliveries WHERE notification_id = %s", bad)
    assert row["last_error"] == "could not be sent: ValueError('what nobody \\x00thought of')"
    assert timedelta(0) < row["next_attempt_at"] - datetime.now(UTC) < timedelta(seconds=10), "not after its lease"
    outbox.connection.execute(
        "UPDATE notification_deliveries SET next_attempt_at = now(), expires_at = now() WHERE notification_id = %s",
        (bad,),
    )
    assert await dispatcher.send_due() == 1
    await dispatcher.drain(within_s=10)
    states = {
        row["id"]: (row["state"], row["last_error"]) for row in outbox.rows("SELECT * FROM trading_notifications")
    }
    assert states[good][0] == "delivered"
    assert states[bad][0] == "failed"
    assert "given up after 2 attempts" in (states[bad][1] or "")


async def test_a_bot_whose_rows_do_not_answer_costs_only_its_own_metrics(database_url: str) -> None:
    async with (
        await connect_async(database_url, "test") as connection,
        await connect_async(database_url, "holder") as holder,
    ):
        stuck, well = [await new_bot(connection) for _ in range(2)]
        for bot in (stuck, well):
            await add_bars(connection, bot, [1000, 1010])
        assert (await refresh(connection, fresh_for=ANY_AGE)).bots == 2
        for bot in (stuck, well):
            await add_bars(connection, bot, [1020], first=2)
        await connection.execute("SET lock_timeout = '200ms'")
        async with holder.transaction():
            await holder.execute("SELECT FROM trading_performance_metrics WHERE bot_id = %s FOR UPDATE", (stuck,))
            done = await refresh(connection, fresh_for=ANY_AGE)
        assert (done.bots, done.failed) == (1, (stuck,))
        assert (await refresh(connection, fresh_for=ANY_AGE)).bots == 1


@pytest.mark.parametrize("close", ["x", "NaN", "-1", "9" * 5000, "1e999999", "1; DROP TABLE", None])
async def test_a_checkpoint_that_is_damaged_is_measured_without_its_last_close(
    database_url: str, close: str | None
) -> None:
    async with await connect_async(database_url, "test") as connection:
        bot = await new_bot(connection)
        await add_bars(connection, bot, [1000])
        await connection.execute(
            "UPDATE trading_checkpoints SET broker_state = jsonb_build_object('last_close', %s::text)", (close,)
        )
        await connection.execute(
            """
            INSERT INTO trading_orders (client_order_id, bot_id, epoch, symbol, signal_at, leg, side, type, quantity,
                state, reason) VALUES ('o', 1, 1, 'ETHBTC', now(), 'entry', 'buy', 'market', 1, 'filled', 'r');
            INSERT INTO trading_positions (bot_id, symbol, direction, opened_at, qty_open, avg_price, status)
            VALUES (1, 'ETHBTC', 'long', now(), 1, 5, 'open');
            INSERT INTO trading_trades (bot_id, position_id, trade_type, strategy_name, symbol, interval, direction,
                entry_order_id, signal_at, entry_time, entry_price, entry_value, size, status)
            VALUES (1, 1, 'paper', 's', 'ETHBTC', '1h', 'long', 'o', now(), now(), 5, 5, 1, 'open');
            """
        )
        done = await refresh(connection, fresh_for=ANY_AGE)
    assert (done.bots, done.failed) == (1, ())


class Forgetful(Summaries):
    """Writes summaries, but for one group, as if its rows could not be added up."""

    async def _write(self, group: Group, span: Span, now: datetime) -> bool:
        if group.key == "user:1":
            raise ArithmeticError(Decimal("NaN"))
        return await super()._write(group, span, now)


async def test_a_summary_that_cannot_be_made_keeps_no_other_owner_waiting(outbox: Outbox, pool: Pool) -> None:
    outbox.connection.execute("INSERT INTO users (id, name) VALUES (2, 'b'), (3, 'c')")
    for user_id in (1, 2, 3):
        bot_id = outbox.bot(f"b{user_id}", daily_summary=True)
        outbox.connection.execute(
            "UPDATE trading_bots SET user_id = %s, created_at = now() - interval '9 days' WHERE id = %s",
            (user_id, bot_id),
        )
    assert await Forgetful(pool=pool, hour=0).write(datetime.now(UTC)) == 2
