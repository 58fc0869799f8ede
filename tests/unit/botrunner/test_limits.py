"""Limits at work in a bot: what is denied, what is told, and that a restart forgets nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from botrunner.market.candle import Candle
from botrunner.market.rules import Market
from botrunner.strategies.base import OpenPosition, Signal, SignalKind
from botrunner.trading.account import Account
from botrunner.trading.account_json import dump, load
from botrunner.trading.risk import Denial
from botrunner.trading.state import BarOutcome, BotState
from fleet.config import parse_config
from fleet.times import to_ms
from tests.unit.botrunner.paper_world import paper_bot

D = Decimal
MARKET = Market(
    symbol="ETHBTC", base="ETH", quote="BTC", tick=D("0.000001"), step=D("0.0001"), min_quantity=D("0.0001"),
    min_notional=D("0.0001"),
)  # fmt: skip
FIRST_MS = to_ms(datetime(2018, 1, 10, 12, tzinfo=UTC))
BAR_MS = 300_000


class Eager:
    """Always wants a position, never leaves one."""

    def decide(self, position: OpenPosition | None) -> Signal | None:
        return Signal(SignalKind.ENTER, "eager") if position is None else None

    def on_entered(self, position: OpenPosition) -> None:
        """Nothing to remember."""

    def on_exited(self) -> None:
        """Nothing to forget."""

    def export_state(self) -> dict[str, Any]:
        return {}


def trade(
    risk: Mapping[str, Any], lows: Sequence[str], *, first_ms: int = FIRST_MS, restart_each_bar: bool = False
) -> list[BarOutcome]:
    """Bars that open and close at 1 BTC and fall to the given lows; a stop loss of 3 % is hit below 0.97."""
    config = parse_config(
        {
            "symbol": "ETHBTC",
            "broker": {"cash": 100, "commission": 0},
            "strategy": {
                "parameters": {
                    "entry_logic": {"name": "RSIOrBBEntryMixin"},
                    "exit_logic": {"name": "TimeBasedExitMixin"},
                }
            },
            "data": {"interval": "5m"},
            "risk_management": {"stop_loss_pct": 3, **risk},
        }
    )
    outcomes: list[BarOutcome] = []
    state = BotState(account=Account(cash=D(100)))
    bot = paper_bot(config, state, outcomes.append, market=MARKET)
    for number, low in enumerate(lows):
        candle = Candle(first_ms + number * BAR_MS, D(1), D(1), D(low), D(1), D(1000))
        bot.on_bar(Eager(), candle, ready=True)
        if restart_each_bar:
            state = replace(bot.state, account=load(dump(bot.state.account)))
            bot = paper_bot(config, state, outcomes.append, market=MARKET)
    return outcomes


STOPPED = "0.5"
CALM = "1"
LIMITS = [
    pytest.param({"max_daily_trades": 2}, Denial.MAX_DAILY_TRADES, id="trades"),
    pytest.param({"max_daily_loss": 0.5}, Denial.MAX_DAILY_LOSS, id="loss"),
    pytest.param({"max_drawdown_pct": 0.5}, Denial.MAX_DRAWDOWN, id="drawdown"),
    pytest.param({"stop_loss_guard": {"max_stops": 2}}, Denial.STOP_LOSS_GUARD, id="guard"),
]


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize(("risk", "limit"), LIMITS)
def test_a_reached_limit_is_told_once_and_ends_entries(risk: dict[str, Any], limit: Denial, restart: bool) -> None:
    found = trade(risk, [CALM, *[STOPPED] * 8], restart_each_bar=restart)
    assert [outcome.breaches for outcome in found if outcome.breaches] == [(limit,)]
    reached = next(number for number, outcome in enumerate(found) if outcome.breaches)
    assert not any(order.leg == "entry" for outcome in found[reached + 1 :] for order in outcome.orders)
    assert any(order.leg == "entry" for outcome in found[:reached] for order in outcome.orders)
    assert {outcome.denial for outcome in found[reached + 1 :] if outcome.denial} <= {limit}
    assert found[-1].denial is limit


@pytest.mark.parametrize(("risk", "limit"), LIMITS)
def test_without_the_limit_the_bot_goes_on(risk: dict[str, Any], limit: Denial) -> None:
    entries = [
        order for outcome in trade({}, [CALM, *[STOPPED] * 8]) for order in outcome.orders if order.leg == "entry"
    ]
    assert len(entries) == 9


def test_daily_limits_end_with_the_utc_day_and_are_told_again_the_next() -> None:
    before_midnight = to_ms(datetime(2018, 1, 10, 23, 40, tzinfo=UTC))
    found = trade({"max_daily_trades": 1}, [CALM, STOPPED, STOPPED, CALM, STOPPED, STOPPED], first_ms=before_midnight)
    # the bar that opens at 23:55 closes at 00:00, on the next day: so do its stop and its entry
    assert [outcome.breaches for outcome in found] == [
        (Denial.MAX_DAILY_TRADES,), (), (), (Denial.MAX_DAILY_TRADES,), (), (),
    ]  # fmt: skip
    assert [len([o for o in outcome.orders if o.leg == "entry"]) for outcome in found] == [1, 0, 0, 1, 0, 0]


def test_the_guards_pause_ends() -> None:
    risk = {"stop_loss_guard": {"max_stops": 1, "within_bars": 1, "pause_bars": 3}}
    found = trade(risk, [CALM, STOPPED, *[CALM] * 5])
    entered = [bool([order for order in outcome.orders if order.leg == "entry"]) for outcome in found]
    # the stop falls at the second bar's close; three bars pass after it
    assert entered == [True, False, False, False, False, True, False]
