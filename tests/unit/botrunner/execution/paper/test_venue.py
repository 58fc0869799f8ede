"""The paper venue in a bot: stamps and days of what it executes, and what closes a position as what."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from botrunner.market.candle import Candle
from fleet.exit_kinds import ExitKind
from tests.unit.botrunner.paper_world import EXIT, FLAT, LONG, MARKET, SHORT, bar, config, run

D = Decimal

# --- days ----------------------------------------------------------------------------------------------------------

DAY = timedelta(days=1)
DAY_MS = 86_400_000
NEXT_OPEN = {"fill_price": "next_open"}
LIMIT = {"order_type": "limit", "limit_offset_pct": 1, "limit_ttl_bars": 2}


@pytest.mark.parametrize(
    ("prices", "says", "sections", "counted"),
    [
        # the second bar of a day each opens at the midnight of a day that its close ends: (entries, result) of the next
        pytest.param([FLAT, FLAT], [None, LONG], {}, (1, 0), id="entered at the close"),
        pytest.param([FLAT, FLAT], [LONG], {"paper": NEXT_OPEN}, (0, 0), id="entered at the open"),
        pytest.param([FLAT, bar(100, 100, 98, 99)], [LONG], {"trading": LIMIT}, (0, 0), id="entered within the bar"),
        pytest.param([FLAT, bar(100, 100, 90, 90)], [LONG, EXIT], {}, (0, -50), id="left at the close"),
        pytest.param([FLAT, FLAT, bar(90, 90, 90, 90)], [LONG, EXIT], {"paper": NEXT_OPEN}, (0, 0), id="at the open"),
        pytest.param(
            [FLAT, bar(100, 100, 90, 99)], [LONG], {"risk_management": {"stop_loss_pct": 5}}, (0, -25), id="by its stop"
        ),
        pytest.param(
            [FLAT, bar(94, 94, 94, 94)], [LONG], {"risk_management": {"take_profit_pct": 5}}, (0, 0), id="still held"
        ),
    ],
)
def test_a_fill_counts_for_the_day_of_its_own_stamp(
    prices: list[Any], says: list[Any], sections: dict[str, Any], counted: tuple[int, int]
) -> None:
    made = config(**sections, data={"interval": "1d"})
    counters = run(prices, says, made, bar_ms=DAY_MS).account.counters
    assert counters.day == date(1970, 1, 2) + len(prices) * DAY
    assert (counters.trades_today, counters.pnl_today) == counted


# --- what closes a position ----------------------------------------------------------------------------------------

PROTECTED = {"risk_management": {"stop_loss_pct": 3, "take_profit_pct": 6}}
SELLS_SHORT = {"trading": {"allow_short": True}}
SMALL = replace(MARKET, min_notional=D(50))


@pytest.mark.parametrize(
    ("prices", "says", "sections", "reason", "kind"),
    [
        pytest.param([FLAT, bar(100, 100, 96, 99)], [LONG], PROTECTED, "stop_loss", ExitKind.STOP, id="stop"),
        pytest.param([FLAT, bar(90, 90, 90, 90)], [LONG], PROTECTED, "stop_loss", ExitKind.STOP, id="gap"),
        pytest.param(
            [FLAT, bar(100, 110, 100, 110), bar(110, 110, 90, 90)], [LONG],
            {"risk_management": {"trailing_stop_pct": 10}}, "stop_loss", ExitKind.STOP, id="trailing stop, with a gain",
        ),
        pytest.param([FLAT, bar(100, 110, 100, 99)], [LONG], PROTECTED, "take_profit", ExitKind.TARGET, id="target"),
        pytest.param([FLAT, FLAT], [LONG, EXIT], PROTECTED, "out", ExitKind.SIGNAL, id="signal"),
        pytest.param([FLAT, bar(100, 290, 100, 100)], [SHORT], SELLS_SHORT, "liquidation", ExitKind.LIQUIDATION,
                     id="liquidated within the bar"),
        pytest.param([FLAT, bar(290, 290, 290, 290)], [SHORT], SELLS_SHORT, "liquidation", ExitKind.LIQUIDATION,
                     id="liquidated at the open"),
        pytest.param([bar(100, 100, 100, 100, 4), bar(100, 100, 100, 100, 0)], [LONG, EXIT],
                     {"paper": {"max_volume_share": 0.1}}, "out", ExitKind.SIGNAL, id="a signal with too little to sell"),
    ],
)  # fmt: skip
def test_what_closed_a_position(
    prices: list[Any], says: list[Any], sections: dict[str, Any], reason: str, kind: ExitKind
) -> None:
    """In the trade's row, in the order's, and to the guard, which counts losing stops."""
    world = run(prices, says, config(**sections), market=SMALL if "paper" in sections else replace(MARKET))
    [trade] = world.trades
    assert (trade.is_open, trade.exit_reason, trade.exit_kind) == (False, reason, kind)
    closing = [order for order in world.orders.values() if order.client_order_id == trade.exit_order_id]
    assert [order.exit_kind for order in closing] == ([kind] if trade.sold else [])
    assert bool(world.account.counters.stops) == (kind is ExitKind.STOP and trade.net_pnl < 0)


@pytest.mark.parametrize(
    ("size", "kind", "orders"),
    [
        pytest.param("5", ExitKind.FLATTEN, ["flatten"], id="sold"),
        pytest.param("0.01", ExitKind.FLATTEN, ["flatten"], id="as little as can be sold"),
        pytest.param("0.005", ExitKind.FLATTEN, [], id="too little to sell"),
    ],
)
def test_a_bot_that_ends_flattens_whatever_it_holds(size: str, kind: ExitKind, orders: list[str]) -> None:
    world = run([FLAT], [LONG])
    assert world.account.trade is not None
    held = replace(world.account.trade, size_open=D(size))
    world.bot.state = replace(world.bot.state, account=replace(world.account, trade=held))
    outcome = world.bot.flatten(world.script)
    assert outcome is not None
    [trade] = outcome.trades
    assert (trade.is_open, trade.exit_reason, trade.exit_kind) == (False, "flatten_on_stop", kind)
    assert [order.leg for order in outcome.orders] == orders


@pytest.mark.parametrize("stop", [None, 3])
def test_a_position_that_nobody_can_sell_ends_as_dust(stop: int | None) -> None:
    """Half of it was lost otherwise: what is left is less than a step."""
    made = config(risk_management={"stop_loss_pct": stop})
    world = run([FLAT], [LONG], made)
    assert world.account.trade is not None
    held = replace(world.account.trade, size_open=D("0.005"))
    world.bot.state = replace(world.bot.state, account=replace(world.account, trade=held))
    world.script.bar = 1
    world.bot.on_bar(world.script, Candle(2 * 300_000, D(100), D(100), D(100), D(100), D(1000)), ready=True)
    [trade] = world.outcomes[-1].trades
    assert (trade.exit_reason, trade.exit_kind) == ("dust", ExitKind.DUST)
    assert world.account.trade is None
    assert world.account.orders == ()
