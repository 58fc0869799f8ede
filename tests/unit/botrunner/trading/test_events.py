"""What a bar tells people: milestones, once each, from nothing but the bar's changes."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from botrunner.trading.events import TRADE_COUNTS, events_of, trade_milestones
from botrunner.trading.risk import Counters
from fleet.events import EventKind
from tests.unit.botrunner.bars import CLOSED

D = Decimal


def milestones(*, before: str, gain: str, initial: str = "100") -> list[str]:
    # net = exit value - entry value - commission
    trade = replace(CLOSED, commission=D(0), exit_value=CLOSED.entry_value + D(gain))
    events = events_of(
        bot_id=7,
        owner=1,
        symbol="ETHBTC",
        trades=[trade],
        breaches=(),
        denial=None,
        counters=Counters(),
        total_pnl=D(before) + D(gain),
        initial_balance=D(initial),
    )
    return [event.dedupe_key for event in events if event.kind is EventKind.MILESTONE]


@pytest.mark.parametrize(
    ("before", "gain", "told"),
    [
        ("0", "4.99", []),
        ("4.99", "0.01", ["5"]),
        ("5", "4", []),
        ("4", "22", ["5", "10", "25"]),
        ("30", "-26", []),  # falling through a target is none
        ("-3", "8", ["5"]),
    ],
)
def test_profit_targets(before: str, gain: str, told: list[str]) -> None:
    assert milestones(before=before, gain=gain) == [f"milestone:7:profit:{percent}" for percent in told]


def test_a_target_reached_twice_has_the_same_key() -> None:
    assert milestones(before="4", gain="2") == milestones(before="4.5", gain="1")


def test_without_an_initial_balance_there_are_no_targets() -> None:
    assert milestones(before="0", gain="10", initial="0") == []


def test_each_round_number_of_trades_has_its_key() -> None:
    made = trade_milestones(7)
    assert tuple(made) == TRADE_COUNTS
    assert TRADE_COUNTS[:6] == (10, 50, 100, 500, 1000, 5000)
    assert len({event.dedupe_key for event in made.values()}) == len(TRADE_COUNTS)


def test_a_losing_trade_is_written_with_short_numbers() -> None:
    trade = replace(CLOSED, exit_value=D("0.149999999999999999"))
    [event] = events_of(
        bot_id=7, owner=1, symbol="ETHBTC", trades=[trade], breaches=(), denial=None, counters=Counters()
    )
    assert event.title == "Closed 1.5 ETHBTC @ 0.1: -0.00033 (-0.22 %)"
