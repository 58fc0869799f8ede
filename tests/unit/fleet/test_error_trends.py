"""Rates now and before, from hourly counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from fleet.error_trends import Direction, ErrorHour, trends

NOW = datetime(2026, 11, 24, 16, 30, tzinfo=UTC)


def row(hours_ago: int, count: int, kind: str = "exchange_away") -> ErrorHour:
    hour = NOW.replace(minute=0) - timedelta(hours=hours_ago)
    return ErrorHour(
        hour=hour,
        kind=kind,
        part="bot",
        count=count,
        first_seen=hour,
        last_seen=hour,
        epoch=1,
        last_message=f"{hours_ago}",
    )


@pytest.mark.parametrize(
    ("rows", "now_per_hour", "before_per_hour", "direction"),
    [
        pytest.param([row(0, 3), row(1, 3)], 4.0, 0.0, Direction.NEW, id="six in an hour and a half"),
        pytest.param([row(0, 3), *(row(n, 1) for n in range(2, 26))], 2.0, 1.0, Direction.RISING, id="twice as many"),
        pytest.param([row(0, 1), *(row(n, 1) for n in range(1, 26))], 4 / 3, 1.0, Direction.STEADY, id="about as many"),
        pytest.param([row(1, 3), *(row(n, 4) for n in range(2, 26))], 2.0, 4.0, Direction.FALLING, id="half as many"),
        pytest.param([row(2, 24)], 0.0, 1.0, Direction.GONE, id="none any more"),
        pytest.param([row(26, 99)], 0.0, 0.0, Direction.GONE, id="longer ago than before"),
    ],
)
def test_directions(rows: list[ErrorHour], now_per_hour: float, before_per_hour: float, direction: Direction) -> None:
    [found] = trends(rows, now=NOW)
    assert (found.now_per_hour, found.before_per_hour) == (pytest.approx(now_per_hour), pytest.approx(before_per_hour))
    assert found.direction is direction


def test_the_most_frequent_now_comes_first_with_its_newest_message() -> None:
    found = trends([row(5, 1, "b"), row(0, 1, "a"), row(3, 90, "a"), row(1, 9, "b")], now=NOW)
    assert [(it.kind, it.total, it.last_message) for it in found] == [("b", 10, "1"), ("a", 91, "0")]
