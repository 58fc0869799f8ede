"""Entries that come to nothing again and again: counted over restarts, told once."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botrunner.trading.lost_entries import ADVICE, NOT_COUNTED, TOLD_AFTER, Loss, LostEntries, after_loss, event_of
from botrunner.trading.risk import Denial
from fleet.events import Event, EventKind, Severity
from tests.unit.botrunner.paper_world import FLAT, LONG, SHORT, World, bar, config, run

D = Decimal
AT = datetime(2018, 1, 10, tzinfo=UTC)
RISES = [bar(100 + n, 100 + n, 100 + n, 100 + n) for n in range(30)]
"""Each open is the close before: bought at the next open, with all of the cash, nothing is paid for."""
JUMPS = [bar(100 + 5 * n, 102 + 5 * n, 100 + 5 * n, 102 + 5 * n) for n in range(30)]
"""Each open is above the close before."""


def told(world: World) -> list[Event]:
    events = [event for outcome in world.outcomes for event in outcome.events]
    return [event for event in events if event.kind is EventKind.ENTRIES_LOST]


UNPAID = config({"fill_price": "next_open"}, trading={"position_size": 1})
FAR = config(trading={"order_type": "limit", "limit_offset_pct": 50, "limit_ttl_bars": 1})
REFUSED = config({"reject_probability": 1})
TINY = config(broker={"cash": 0.001})
WAYS = [
    pytest.param(UNPAID, JUMPS, LONG, "unaffordable", id="unaffordable"),
    pytest.param(FAR, JUMPS, LONG, "not_filled", id="not filled in time"),
    pytest.param(REFUSED, JUMPS, LONG, "rejected", id="refused by the exchange"),
    pytest.param(TINY, JUMPS, LONG, "below_min_quantity", id="denied for its size"),
    pytest.param(config(), JUMPS, SHORT, "short_not_allowed", id="denied for its side"),
]


@pytest.mark.parametrize("restarts", [False, True], ids=["", "restarted at each bar"])
@pytest.mark.parametrize(("made", "bars", "word", "reason"), WAYS)
def test_a_streak_is_told_once_whatever_the_reason(
    made: Any, bars: list[Any], word: str, reason: str, restarts: bool
) -> None:
    world = run(bars, [word] * len(bars), made, restarts=restarts)
    assert world.trades == []
    [event] = told(world)
    assert (event.facts["reason"], event.facts["entries"]) == (reason, str(TOLD_AFTER))
    assert event.urgency is Severity.WARNING
    assert world.account.lost is not None
    assert world.account.lost.count > 2 * TOLD_AFTER


def test_it_is_told_at_the_last_of_so_many() -> None:
    made = config({"reject_probability": 1})
    assert told(run(RISES, [LONG] * (TOLD_AFTER - 1), made)) == []
    assert len(told(run(RISES, [LONG] * TOLD_AFTER, made))) == 1


def test_what_is_not_counted_tells_nothing_again() -> None:
    made = config({"reject_probability": 1})
    world = run(RISES, [LONG] * 8, made, may_enter=[True] * TOLD_AFTER + [False] * 3)
    assert [outcome.denial for outcome in world.outcomes[TOLD_AFTER:8]] == [Denial.STOPPING] * 3
    assert len(told(world)) == 1


def test_an_opened_position_ends_the_streak_and_the_next_is_told_anew() -> None:
    """A limit that is touched once: the entry fills, is left by its time, and later ones aren't filled again."""
    dip = bar(100, 100, 40, 100)
    bars = [*[FLAT] * 8, dip, *[FLAT] * 12]
    says = [*[LONG] * 9, "exit", *[LONG] * 11]
    world = run(bars, says, FAR)
    assert len(world.trades) == 1
    assert [event.facts["entries"] for event in told(world)] == [str(TOLD_AFTER)] * 2
    assert len({event.dedupe_key for event in told(world)}) == 2


def test_another_reason_begins_anew() -> None:
    before = None
    for reason in (Loss.REJECTED, Loss.REJECTED, Loss.NOT_FILLED):
        before = after_loss(before, reason, at=AT)
    assert before == LostEntries("not_filled", 1, AT)


@given(st.lists(st.sampled_from([*Loss, *Denial]), max_size=60))
def test_each_streak_is_news_exactly_once(reasons: list[Loss | Denial]) -> None:
    """Against the plain definition: maximal runs of one reason, without what isn't counted."""
    lost, news = None, 0
    for reason in reasons:
        before, lost = lost, after_loss(lost, reason, at=AT)
        news += lost is not None and lost is not before and lost.is_news
    counted = [reason for reason in reasons if reason not in NOT_COUNTED]
    runs: list[list[Any]] = []
    for reason in counted:
        if runs and runs[-1][0] is reason:
            runs[-1].append(reason)
        else:
            runs.append([reason])
    assert news == sum(len(found) >= TOLD_AFTER for found in runs)


def test_what_the_owner_asked_for_and_hears_otherwise_is_not_counted() -> None:
    made = config(risk_management={"stop_loss_pct": 1, "cooldown_bars": 50})
    world = run([FLAT, bar(100, 100, 90, 100), *[FLAT] * 20], [LONG] * 22, made)
    assert [outcome.denial for outcome in world.outcomes][-1] is Denial.COOLDOWN
    assert world.account.lost is None


def test_each_counted_reason_says_what_to_do() -> None:
    assert set(ADVICE) == {*Loss, *Denial} - NOT_COUNTED
    for reason in ADVICE:
        event = event_of(LostEntries(reason, TOLD_AFTER, AT), bot_id=7, symbol="ETHBTC")
        assert reason in event.title
        assert event.dedupe_key == f"entries_lost:7:{reason}:2018-01-10T00:00:00+00:00"
