"""Which period a summary is about, by the owner's wall clock, and who shares a message."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from worker.jobs.summaries import Span, ended_period, grouped, lines, title

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("span", "now", "name", "begin", "end"),
    [
        (Span.DAY, "2026-11-24 06:59", "2026-11-22", "2026-11-21 23:00", "2026-11-22 23:00"),  # 7:59 in Berlin
        (Span.DAY, "2026-11-24 07:00", "2026-11-23", "2026-11-22 23:00", "2026-11-23 23:00"),
        (Span.DAY, "2026-03-30 06:00", "2026-03-29", "2026-03-28 23:00", "2026-03-29 22:00"),  # a day of 23 hours
        (Span.WEEK, "2026-11-23 06:59", "2026-W46", "2026-11-08 23:00", "2026-11-15 23:00"),  # Monday, before eight
        (Span.WEEK, "2026-11-23 07:00", "2026-W47", "2026-11-15 23:00", "2026-11-22 23:00"),
        (Span.WEEK, "2027-01-04 08:00", "2026-W53", "2026-12-27 23:00", "2027-01-03 23:00"),
        (Span.MONTH, "2026-11-01 06:59", "2026-09", "2026-08-31 22:00", "2026-09-30 22:00"),
        (Span.MONTH, "2026-11-01 07:00", "2026-10", "2026-09-30 22:00", "2026-10-31 23:00"),
    ],
)
def test_periods(span: Span, now: str, name: str, begin: str, end: str) -> None:
    period = ended_period(span, at(now), BERLIN, hour=8)
    assert (period.name, period.begin, period.end) == (name, at(begin), at(end))


def bot(number: int, user_id: int = 1, **notifications: Any) -> dict[str, Any]:
    return {
        "id": number,
        "user_id": user_id,
        "name": f"b{number}",
        "config": {"notifications": notifications},
        "status": "running",
        "in_position": False,
        "current_balance": Decimal("10.5"),
        "total_pnl": Decimal("0.5"),
    }


def test_an_owners_bots_share_a_message_and_a_bot_with_its_own_receivers_has_its_own() -> None:
    bots = [
        bot(1, daily_summary=True, telegram_enabled=True),
        bot(2, performance_summaries="daily", email_enabled=True),
        bot(3, performance_summaries="weekly", email_enabled=True),
        bot(4, daily_summary=True, email_enabled=True, notify_email="desk@example.com"),
        bot(5, user_id=2, daily_summary=True, email_enabled=True),
        bot(6),
    ]
    groups = {group.key: group for group in grouped(bots, Span.DAY)}
    assert {key: [b["id"] for b in group.bots] for key, group in groups.items()} == {
        "bot:4": [4],
        "user:1": [1, 2],
        "user:2": [5],
    }
    assert groups["user:1"].channels == ("email", "telegram")
    assert [group.key for group in grouped(bots, Span.WEEK)] == ["user:1"]


def test_words() -> None:
    trades = [
        {
            "bot_id": 1,
            "symbol": "ETHBTC",
            "trades": 3,
            "wins": 2,
            "net_pnl": Decimal("0.012"),
            "fees": Decimal("0.003"),
            "best": Decimal("0.02"),
            "worst": Decimal("-0.01"),
        }
    ]
    period = ended_period(Span.DAY, at("2026-11-24 12:00"), UTC, hour=8)
    assert title(period, trades) == "Day 2026-11-23: 3 trades, 2 won"
    first, second = lines([bot(1), bot(2)], trades)
    assert first == (
        "b1 (running): ETHBTC 3 trades, 67 % won, net +0.012, fees 0.003, best +0.02, worst -0.01, balance 10.5, "
        "total +0.5"
    )
    assert second == "b2 (running): no trades, balance 10.5, total +0.5"
