"""What happens to orders on paper, rule by rule, with examples worked out by hand.

Prices are around 100 in cents, quantities in hundredths; half of 1,000 in cash goes into a position: 5 at 100.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from botrunner.execution.paper.draws import What, draw, happens
from botrunner.market.candle import Candle
from botrunner.market.side import Side
from botrunner.trading.account import Account
from botrunner.trading.account_json import load
from botrunner.trading.order_ids import Leg
from botrunner.trading.orders import Order, OrderType
from botrunner.trading.risk import Denial
from botrunner.trading.state import BotState
from fleet.events import EventKind, Severity
from fleet.states import OrderState
from fleet.times import from_ms
from tests.unit.botrunner.accounts import V1
from tests.unit.botrunner.paper_world import (
    BAR_MS,
    EXIT,
    FLAT,
    LONG,
    MARKET,
    SHORT,
    Script,
    World,
    bar,
    config,
    paper_bot,
    run,
)

D = Decimal
NEXT_OPEN = {"fill_price": "next_open"}
INTERVAL = timedelta(milliseconds=BAR_MS)


def opens(number: int) -> Any:
    """When the script's bar of that number opens; the world's first candle is number 1."""
    return from_ms((number + 1) * BAR_MS)


def limit(ttl: int = 3, offset: float = 1, **more: Any) -> dict[str, Any]:
    return {"order_type": "limit", "limit_offset_pct": offset, "limit_ttl_bars": ttl, **more}


# --- market orders -------------------------------------------------------------------------------------------------


def test_a_market_order_fills_at_the_signals_close() -> None:
    world = run([FLAT, bar(100, 103, 99, 102)], [LONG, EXIT])
    [trade] = world.trades
    assert (trade.entry_at, trade.exit_at) == (opens(1), opens(2))
    assert (trade.size, trade.entry_price, trade.exit_price, trade.net_pnl) == (5, 100, 102, 10)
    assert world.account.cash == 1010
    assert world.script.told == [(0, "entered"), (1, "exited")]


def test_or_at_the_next_open() -> None:
    world = run([FLAT, bar(101, 103, 99, 102), bar(105, 105, 104, 104)], [LONG, EXIT], config(NEXT_OPEN))
    [trade] = world.trades
    assert (trade.entry_at, trade.exit_at) == (opens(1), opens(2))
    assert (trade.size, trade.entry_price, trade.exit_price) == (5, 101, 105)


def test_an_entry_that_the_next_open_makes_too_dear_expires() -> None:
    made = config(NEXT_OPEN, trading={"position_size": 1})
    world = run([FLAT, bar(101, 101, 101, 101)], [LONG], made)
    assert world.history() == [("entry", 0, "market", None, 10, 0, "expired")]
    assert world.account.cash == 1000


def test_a_sold_position_leaves_nothing_but_cash_and_counts() -> None:
    world = run([FLAT, FLAT, bar(100, 103, 99, 102)], [LONG, None, EXIT], config(risk_management=PROTECTED))
    after = world.account
    assert after == Account(cash=D(1010), counters=after.counters, total_pnl=D(10))
    assert [position and position.bars_held for position in world.script.seen] == [None, 1, 2]


def test_all_of_the_cash_may_be_spent() -> None:
    world = run([FLAT, FLAT], [LONG], config(NEXT_OPEN, trading={"position_size": 1}))
    assert (world.trades[0].size, world.account.cash) == (10, 0)


# --- limit entries -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("second", "price", "at"),
    [
        pytest.param(bar(100, 100, "98.99", 100), "99", opens(2) - timedelta(milliseconds=1), id="within the bar"),
        pytest.param(bar(100, 100, 99, 100), "99", opens(2) - timedelta(milliseconds=1), id="touched is reached"),
        pytest.param(bar("98.50", 100, 98, 100), "98.50", opens(1), id="at the better open"),
    ],
)
@pytest.mark.parametrize("fill_price", ["close", "next_open"])
def test_a_limit_entry_fills_at_its_price_or_better(second: Any, price: str, at: Any, fill_price: str) -> None:
    world = run([FLAT, second], [LONG], config({"fill_price": fill_price}, trading=limit()))
    [trade] = world.trades
    assert (trade.entry_price, trade.entry_at) == (D(price), at)
    assert trade.size == D("5.05")  # 500 / 99, rounded down


def test_a_limit_that_rested_is_a_maker_and_one_that_executes_at_once_a_taker() -> None:
    fees = {"maker_commission_rate": 0.001, "taker_commission_rate": 0.002}
    rested = run([FLAT, bar(100, 100, 99, 100)], [LONG], config(fees, trading=limit()))
    assert rested.fills[0].fee == D("0.49995")  # 99 × 5.05 × 0.001
    at_once = run([FLAT], [LONG], config(fees, trading=limit(offset=0)))
    assert at_once.fills[0].fee == D("1")  # 100 × 5 × 0.002
    opened_below = run([FLAT, bar(98, 99, 98, 99)], [LONG], config({**fees, **NEXT_OPEN}, trading=limit()))
    assert opened_below.fills[0].price == 98
    assert opened_below.fills[0].fee == (opened_below.fills[0].quantity * 98 * D("0.002")).quantize(D("1e-8"))


def test_a_limit_bounds_slippage() -> None:
    world = run([FLAT], [LONG], config({"base_slippage": 0.01}, trading=limit(offset=0)))
    assert world.fills[0].price == 100


def test_an_unfilled_entry_expires_and_the_next_signal_counts() -> None:
    world = run([FLAT] * 5, [LONG, LONG, LONG, LONG, None], config(trading=limit(ttl=2)))
    # the first lives in bars 1 and 2; the signal at bar 2's close is followed
    assert world.history() == [
        ("entry", 0, "limit", 99, D("5.05"), 0, "expired"),
        ("entry", 0, "limit", 99, D("5.05"), 0, "expired"),
    ]
    assert [o.signal_at for o in world.orders.values()] == [opens(0), opens(2)]
    assert world.account.orders == ()


def test_a_gap_in_the_candles_uses_up_the_time_to_live() -> None:
    reaching = bar(100, 100, 99, 100)
    assert len(run([FLAT, reaching], [LONG], config(trading=limit(ttl=2)), gaps={1: 1}).trades) == 1
    world = run([FLAT, FLAT, reaching], [LONG], config(trading=limit(ttl=2)), gaps={1: 1})
    assert world.trades == []


def test_an_exit_signal_withdraws_an_entry_that_waits() -> None:
    world = run([FLAT, FLAT, bar(100, 100, 98, 100)], [LONG, EXIT], config(trading=limit()))
    assert world.history() == [("entry", 0, "limit", 99, D("5.05"), 0, "canceled")]
    assert world.trades == []


def test_a_bot_that_is_stopping_withdraws_its_entry() -> None:
    world = run([FLAT, FLAT, bar(100, 100, 98, 100)], [LONG], config(trading=limit()), may_enter=[True, False, False])
    assert world.history()[0][-1] == "canceled"


# --- limit exits ---------------------------------------------------------------------------------------------------


def test_a_limit_exit_fills_at_its_price() -> None:
    made = config(trading={"exit_order_type": "limit", "limit_offset_pct": 1})
    world = run([FLAT, FLAT, bar(100, "101.50", 100, 100)], [LONG, EXIT], made)
    assert world.history()[1] == ("exit", 0, "limit", 101, 5, 5, "filled")
    assert world.trades[0].exit_price == 101


@pytest.mark.parametrize(("fill_price", "exit_price", "bars"), [("close", 97, 4), ("next_open", 96, 5)])
def test_an_unfilled_limit_exit_becomes_a_market_order(fill_price: str, exit_price: int, bars: int) -> None:
    trading = {"exit_order_type": "limit", "limit_offset_pct": 1, "limit_ttl_bars": 1}
    made = config({"fill_price": fill_price}, trading=trading)
    says = [LONG, EXIT] if fill_price == "close" else [LONG, None, EXIT]
    candles = [FLAT, FLAT, bar(100, 100, 97, 97), bar(96, 96, 96, 96)]
    if fill_price == "next_open":
        candles.insert(1, FLAT)
    world = run(candles[:bars], says, made)
    assert [row for row in world.history() if row[0] == "exit"] == [
        ("exit", 0, "limit", 101, 5, 0, "expired"),
        ("exit", 1, "market", None, 5, 5, "filled"),
    ]
    assert world.trades[0].exit_price == exit_price
    assert world.trades[0].exit_reason == "out"


def test_while_a_limit_exit_waits_the_stop_still_watches() -> None:
    made = config(trading={"exit_order_type": "limit", "limit_offset_pct": 5}, risk_management={"stop_loss_pct": 2})
    world = run([FLAT, FLAT, bar(100, 100, 97, 99)], [LONG, EXIT], made)
    assert world.trades[0].exit_reason == "stop_loss"
    assert [(row[0], row[-1]) for row in world.history()] == [
        ("entry", "filled"),
        ("stop_loss", "filled"),
        ("exit", "canceled"),
    ]


def test_of_two_limits_the_nearer_one_comes_first() -> None:
    made = config(trading={"exit_order_type": "limit", "limit_offset_pct": 1}, risk_management={"take_profit_pct": 6})
    world = run([FLAT, FLAT, bar(100, 107, 100, 107)], [LONG, EXIT], made)
    assert (world.trades[0].exit_reason, world.trades[0].exit_price) == ("out", 101)
    assert {row[0]: row[-1] for row in world.history()}["take_profit"] == "canceled"


# --- protective orders ---------------------------------------------------------------------------------------------

PROTECTED = {"stop_loss_pct": 3, "take_profit_pct": 6}


def test_stop_and_target_rest_in_the_book_from_the_entry_on() -> None:
    world = run([FLAT], [LONG], config(risk_management=PROTECTED))
    assert world.history()[1:] == [
        ("stop_loss", 0, "stop", 97, 5, 0, "acked"),
        ("take_profit", 0, "limit", 106, 5, 0, "acked"),
    ]
    stop = world.orders[world.account.orders[0].client_order_id]
    assert (stop.leg, stop.signal_at, stop.side) == (Leg.STOP_LOSS, opens(0), "sell")
    assert stop.exchange_order_id == f"paper-{stop.client_order_id}"


@pytest.mark.parametrize(
    ("second", "reason", "price", "other"),
    [
        pytest.param(bar(100, 101, "96.50", 99), "stop_loss", "97", "take_profit", id="stop"),
        pytest.param(bar(96, 101, 95, 99), "stop_loss", "96", "take_profit", id="opened beyond the stop"),
        pytest.param(bar(100, 107, 98, 99), "take_profit", "106", "stop_loss", id="target"),
        pytest.param(bar(108, 109, 98, 99), "take_profit", "108", "stop_loss", id="opened beyond the target"),
        pytest.param(bar(100, 107, 96, 99), "stop_loss", "97", "take_profit", id="both: the stop came first"),
    ],
)
def test_one_cancels_the_other(second: Any, reason: str, price: str, other: str) -> None:
    world = run([FLAT, second], [LONG], config(risk_management=PROTECTED))
    [trade] = world.trades
    assert (trade.exit_reason, trade.exit_price) == (reason, D(price))
    states = {row[0]: row[-1] for row in world.history()}
    assert (states[reason], states[other]) == ("filled", "canceled")
    assert world.account.orders == ()


def test_a_target_is_a_maker_a_stop_a_taker_with_slippage() -> None:
    costs = {"maker_commission_rate": 0.001, "taker_commission_rate": 0.002, "base_slippage": 0.01}
    made = config(costs, risk_management={"stop_loss_pct": 3, "take_profit_pct": 6})
    # entered at 101, 5 less the fee: 500 / 101 = 4.95; the stop at 97.97, the target at 107.06
    stopped = run([FLAT, bar(100, 100, 97, 99)], [LONG], made).fills[1]
    assert (stopped.price, stopped.fee) == (D("96.99"), D("0.960201"))  # 97.97 × 0.99, 4.95 × 0.002
    reached = run([FLAT, bar(100, 108, 99, 99)], [LONG], made).fills[1]
    assert (reached.price, reached.fee) == (D("107.06"), D("0.529947"))


def test_a_strategys_exit_cancels_both() -> None:
    world = run([FLAT, FLAT], [LONG, EXIT], config(risk_management=PROTECTED))
    assert [(row[0], row[-1]) for row in world.history()] == [
        ("entry", "filled"),
        ("stop_loss", "canceled"),
        ("take_profit", "canceled"),
        ("exit", "filled"),
    ]


def test_a_trailing_stop_is_one_order_whose_price_follows() -> None:
    bars = [FLAT, bar(100, 110, 100, 109), bar(109, 109, 108, 108), bar(108, 120, 108, 118), bar(118, 118, 107, 108)]
    world = run(bars, [LONG], config(risk_management={"trailing_stop_pct": 10}))
    stops = [[(o.price, o.state) for o in out.orders if o.leg is Leg.STOP_LOSS] for out in world.outcomes]
    assert stops == [
        [(90, OrderState.ACKED)],
        [(99, OrderState.ACKED)],
        [],  # nothing changed, nothing is written
        [(108, OrderState.ACKED)],
        [(108, OrderState.FILLED)],
    ]
    assert len({o.client_order_id for o in world.orders.values() if o.leg is Leg.STOP_LOSS}) == 1


def test_changed_limits_amend_place_and_cancel() -> None:
    configs = {
        1: config(risk_management={"stop_loss_pct": 5, "take_profit_pct": 6}),
        2: config(risk_management={"take_profit_pct": 4}),
        3: config(risk_management={"stop_loss_pct": 2, "take_profit_pct": 4}),
    }
    world = run([FLAT] * 4, [LONG], config(risk_management={"stop_loss_pct": 3}), configs=configs)
    assert world.history()[1:] == [
        ("stop_loss", 0, "stop", 95, 5, 0, "canceled"),
        ("take_profit", 0, "limit", 104, 5, 0, "acked"),
        ("stop_loss", 1, "stop", 98, 5, 0, "acked"),
    ]
    changed = [[(o.leg.value, o.price) for o in out.orders] for out in world.outcomes[1:]]
    assert changed == [
        [("stop_loss", 95), ("take_profit", 106)],
        [("stop_loss", 95), ("take_profit", 104)],
        [("stop_loss", 98)],
    ]


def test_a_target_set_behind_the_price_executes_at_the_next_open_as_a_taker() -> None:
    fees = {"maker_commission_rate": 0.001, "taker_commission_rate": 0.002}
    configs = {1: config(fees, risk_management={"take_profit_pct": 1})}
    rising = bar(105, 106, 104, 105)
    world = run([FLAT, rising], [LONG], config(fees), configs=configs)
    assert (world.trades[0].exit_price, world.trades[0].exit_reason) == (105, "take_profit")
    assert world.fills[1].fee == D("1.05")  # 105 × 5 × 0.002


def test_after_an_entry_within_a_bar_only_the_stop_counts_in_it() -> None:
    made = config(trading=limit(), risk_management={"stop_loss_pct": 2, "take_profit_pct": 2, "trailing_stop_pct": 50})
    # the high may have come before the price fell to the limit; the low came after it
    up = run([FLAT, bar(100, 110, 99, 100)], [LONG], made)
    assert up.account.trade is not None
    assert up.account.best_price == 100  # the close, not the high
    down = run([FLAT, bar(100, 110, 95, 100)], [LONG], made)
    assert (down.trades[0].exit_reason, down.trades[0].exit_price) == ("stop_loss", D("97.02"))
    # entered at the open: everything in the bar came after it
    at_open = run([FLAT, bar(98, 110, 98, 100)], [LONG], made)
    assert (at_open.trades[0].exit_reason, at_open.trades[0].exit_price) == ("take_profit", D("99.96"))


def test_two_entries_in_one_bar_are_two_positions() -> None:
    # the limit's fill is stamped before the close, where the next one comes
    made = config(trading=limit(offset=0), risk_management={"stop_loss_pct": 2})
    bars = [bar(100, 100, 100, 100), bar(100, 100, 97, 97)]
    world = run(bars, [LONG, LONG], made)
    assert [t.entry_at for t in world.trades] == [opens(1), opens(2)]
    made = config({"fill_price": "close"}, trading=limit(offset=1), risk_management={"stop_loss_pct": 2})
    first, second = run([FLAT, bar(100, 100, 95, 95), bar(94, 94, 94, 94)], [LONG, LONG], made).trades
    assert first.entry_at < second.entry_at


def test_a_position_entered_at_the_close_of_the_bar_that_stopped_the_last_one_is_protected_at_once() -> None:
    made = config(NEXT_OPEN, trading=limit(), risk_management={"stop_loss_pct": 2})
    in_close_mode = config(trading=limit(offset=0), risk_management={"stop_loss_pct": 2})
    # entered at the open and stopped within the bar; the signal at its close waits for the next open
    world = run([FLAT, bar(98, 100, 90, 95), bar(94, 95, 94, 95)], [LONG, LONG], made)
    assert [t.exit_reason for t in world.trades] == ["stop_loss", None]
    assert [o.leg for o in world.account.orders] == [Leg.STOP_LOSS]
    # a limit that came within the bar, stopped in it, and an entry at its close
    first = config(trading=limit(), risk_management={"stop_loss_pct": 2})
    world = run([FLAT, bar(100, 100, 90, 95)], [LONG, LONG], first, configs={1: in_close_mode})
    assert [t.exit_reason for t in world.trades] == ["stop_loss", None]
    assert [(o.leg, o.signal_at) for o in world.account.orders] == [(Leg.STOP_LOSS, opens(1))]


# --- volume, partial fills -----------------------------------------------------------------------------------------


def test_a_large_order_takes_its_share_of_each_bar() -> None:
    made = config({"max_volume_share": 0.1}, risk_management={"stop_loss_pct": 3})
    bars = [
        bar(100, 100, 100, 100, 20),
        bar(101, 101, 101, 101, 10),
        bar(102, 102, 102, 102, 0),
        bar(103, 103, 103, 103, 999),
    ]
    world = run(bars, [LONG], made)
    # 2 at the signal's close, the rest at the following opens: 1, nothing without volume, the last 2
    assert [(f.price, f.quantity, f.filled_at) for f in world.fills] == [
        (100, 2, opens(1)),
        (101, 1, opens(1)),
        (103, 2, opens(3)),
    ]
    assert [f.exchange_trade_id[-2:] for f in world.fills] == ["-1", "-2", "-3"]
    quantities = [[o.quantity for o in out.orders if o.leg is Leg.STOP_LOSS] for out in world.outcomes]
    assert quantities == [[2], [3], [], [5]]  # the stop follows the position
    assert world.script.told == [(0, "entered")]
    assert world.trades[0].entry_price == D("101.4")  # (200 + 101 + 206) / 5


@pytest.mark.parametrize(
    ("paper", "parts", "cash"),
    [
        # 10 at 100; after 2 at 100 and 2 at 101, 598 is left, which buys 5.92 more at 101
        pytest.param({}, ["2", "2", "5.92"], "0.08", id="no fees"),
        # 9.90 with its fee; 593.98 / 101.01 / 1.01 = 5.82
        pytest.param({"commission_rate": 0.01}, ["2", "2", "5.82"], "0.2818", id="the fee is paid too"),
        # a fee in what is bought costs no cash: 598 pays for all of the other 5.90
        pytest.param({"commission_rate": 0.01, "fee_currency": "base"}, ["2", "2", "5.90"], "2.1", id="fee in base"),
    ],
)
def test_the_leftover_of_an_entry_asks_for_no_more_than_the_cash_pays_for(
    paper: dict[str, Any], parts: list[str], cash: str
) -> None:
    made = config({"max_volume_share": 0.1, **paper}, trading={"position_size": 1})
    bars = [bar(100, 100, 100, 100, 20), bar(101, 101, 101, 101, 20), bar(101, 101, 101, 101)]
    world = run(bars, [LONG], made)
    assert [fill.quantity for fill in world.fills] == list(map(D, parts))
    assert world.history() == [("entry", 0, "market", None, sum(map(D, parts)), sum(map(D, parts)), "filled")]
    assert world.account.cash == D(cash)


def test_a_leftover_that_cannot_be_paid_for_expires_and_what_was_bought_stays() -> None:
    made = config({"max_volume_share": 0.1}, trading={"position_size": 1})
    world = run([bar(100, 100, 100, 100, 20), bar(200, 200, 200, 200)], [LONG], made)
    assert world.history() == [("entry", 0, "market", None, 10, 2, "expired")]
    assert world.account.trade is not None
    assert (world.account.trade.size, world.account.cash) == (2, 800)
    assert world.account.lost is None


def test_out_before_the_entry_is_whole() -> None:
    made = config({"max_volume_share": 0.1}, risk_management={"stop_loss_pct": 3})
    bars = [bar(100, 100, 100, 100, 20), bar(100, 100, 100, 100, 10), bar(101, 101, 101, 101, 15), FLAT]
    world = run(bars, [LONG, EXIT], made)
    assert [row for row in world.history() if row[0] != "stop_loss"] == [
        ("entry", 0, "market", None, 5, 3, "canceled"),
        ("exit", 0, "market", None, 3, 3, "filled"),
    ]
    # 1 of the exit at the signal's close, 1.5 and 0.5 at the next opens
    assert [(f.price, f.quantity) for f in world.fills[2:]] == [(100, 1), (101, D("1.5")), (100, D("0.5"))]
    assert world.script.told == [(0, "entered"), (3, "exited")]


def test_a_triggered_stop_sells_until_nothing_is_left() -> None:
    made = config({"max_volume_share": 0.1}, risk_management=PROTECTED)
    bars = [FLAT, bar(100, 100, 96, 96, 20), bar(110, 111, 110, 110, 20), bar(95, 95, 95, 95, 20)]
    world = run(bars, [LONG], made)
    # triggered is triggered: the target is gone, and the stop doesn't wait for its price again
    assert [(f.price, f.quantity) for f in world.fills[1:]] == [(97, 2), (110, 2), (95, 1)]
    assert [(row[0], row[-1]) for row in world.history()[1:]] == [("stop_loss", "filled"), ("take_profit", "canceled")]
    assert world.trades[0].exit_reason == "stop_loss"


def test_a_target_filled_in_part_leaves_the_stop_for_the_rest() -> None:
    made = config({"max_volume_share": 0.1}, risk_management=PROTECTED)
    world = run([FLAT, bar(100, 107, 100, 106, 30), bar(100, 100, 96, 96, 900)], [LONG], made)
    stops = [[(o.quantity, o.state) for o in out.orders if o.leg is Leg.STOP_LOSS] for out in world.outcomes]
    assert stops == [[(5, OrderState.ACKED)], [(2, OrderState.ACKED)], [(2, OrderState.FILLED)]]
    assert [(f.price, f.quantity) for f in world.fills[1:]] == [(106, 3), (97, 2)]
    assert world.trades[0].gross_pnl == 3 * 6 - 2 * 3


def test_a_stop_hit_while_the_entry_is_still_filling_ends_the_entry() -> None:
    made = config({"max_volume_share": 0.1}, risk_management=PROTECTED)
    world = run([bar(100, 100, 100, 100, 20), bar(100, 100, 90, 90, 10), FLAT], [LONG], made)
    assert next(row for row in world.history() if row[0] == "entry")[-2:] == (3, "canceled")
    # bar 1's volume buys 1 more at its open and sells 1 at the stop; bar 2 sells the rest
    held = world.outcomes[1].account.trade
    assert held is not None
    assert held.size_open == 2
    assert [(f.side.value, f.price, f.quantity) for f in world.fills] == [
        ("buy", 100, 2),
        ("buy", 100, 1),
        ("sell", 97, 1),
        ("sell", 100, 2),
    ]


def test_a_target_reached_while_the_entry_is_still_filling_ends_the_entry() -> None:
    made = config({"max_volume_share": 0.1}, risk_management=PROTECTED)
    configs = {2: config({"max_volume_share": 0.1}, risk_management={"take_profit_pct": 1})}
    bars = [bar(100, 100, 100, 100, 20), bar(100, 105, 100, 105, 10), bar(105, 105, 105, 105, 10), FLAT]
    # the target is set behind the price while 2 of 5 are still to be bought: it sells at once, nothing more is bought
    world = run(bars, [LONG], made, configs=configs)
    assert [(f.side.value, f.quantity) for f in world.fills] == [("buy", 2), ("buy", 1), ("sell", 1)]
    assert next(row for row in world.history() if row[0] == "entry")[-2:] == (3, "canceled")


def test_partial_fills_by_chance_end_too() -> None:
    made = config({"partial_fill_probability": 1})
    world = run([FLAT] * 200, [LONG, *[None] * 99, EXIT], made)
    assert len(world.fills) > 4
    assert world.account.trade is None
    assert sum(f.quantity for f in world.fills if f.side == "buy") == 5
    assert world.account.cash == 1000


def test_an_entry_is_sized_for_the_price_that_its_own_size_causes() -> None:
    made = config({"slippage_model": "volume_share"}, trading={"position_size": 1})
    # 10 at 100 would be half of the volume and cost 102.50; 1,000 buys 9.75 at that
    [fill] = run([bar(100, 100, 100, 100, 20)], [LONG], made).fills
    assert (fill.quantity, fill.price) == (D("9.75"), D("102.38"))  # 100 × (1 + 0.1 × 0.4875²) = 102.3766


# --- latency -------------------------------------------------------------------------------------------------------


def late(ms: int, **more: Any) -> dict[str, Any]:
    return {"min_latency_ms": ms, "max_latency_ms": ms, **more}


@pytest.mark.parametrize(
    ("paper", "price", "bar_number", "after_ms"),
    [
        pytest.param(late(250), 100, 0, 250, id="within the interval: the close stays the quote"),
        pytest.param(late(250, **NEXT_OPEN), 101, 1, 250, id="the open of the bar it arrives in"),
    ],
)
def test_latency(paper: dict[str, Any], price: int, bar_number: int, after_ms: int) -> None:
    bars = [FLAT, bar(101, 101, 101, 102), bar(103, 103, 103, 104), bar(105, 105, 105, 106)]
    world = run(bars, [LONG], config(paper))
    [fill] = world.fills
    assert (fill.price, fill.filled_at) == (price, opens(1) + timedelta(milliseconds=after_ms))
    assert [n for n, out in enumerate(world.outcomes) if out.fills] == [bar_number]


def test_protective_orders_are_accepted_with_the_fill_however_late_orders_are() -> None:
    world = run([FLAT, bar(100, 100, 96, 96)], [LONG], config(late(250), risk_management=PROTECTED))
    placed = [order for order in world.outcomes[0].orders if order.leg is not Leg.ENTRY]
    assert [(o.leg, o.state, o.arrives_at) for o in placed] == [
        (Leg.STOP_LOSS, OrderState.ACKED, None),
        (Leg.TAKE_PROFIT, OrderState.ACKED, None),
    ]
    assert world.trades[0].exit_at == opens(2)


def test_flatten_takes_no_time() -> None:
    world = run([FLAT, FLAT], [LONG], config(late(60_000)))
    outcome = world.bot.flatten(world.script)
    assert outcome is not None
    assert [(fill.filled_at, fill.price) for fill in outcome.fills] == [(opens(2), 100)]


@pytest.mark.parametrize(("fill_price", "price", "bar_number"), [("close", 102, 1), ("next_open", 103, 2)])
def test_latency_of_more_than_an_interval(fill_price: str, price: int, bar_number: int) -> None:
    # bars of one second; sent at the first one's close, 1.5 s later within the third bar: its open or the close before
    made = config(late(1500, fill_price=fill_price), data={"interval": "1s"})

    outcomes: list[Any] = []
    script = Script([LONG])
    bot = paper_bot(made, BotState(account=Account(cash=D(1000))), outcomes.append)
    for number, (open_, close) in enumerate([(100, 100), (101, 102), (103, 104), (105, 106)]):
        script.bar = number
        bot.on_bar(script, Candle(number * 1000, D(open_), D(close), D(open_), D(close), D(9)), ready=True)
    assert [n for n, out in enumerate(outcomes) if out.fills] == [bar_number]
    [fill] = outcomes[bar_number].fills
    assert (fill.price, fill.filled_at) == (price, from_ms(2500))
    assert [o.state for o in outcomes[0].orders] == [OrderState.SENT]


# --- rejections ----------------------------------------------------------------------------------------------------


def test_a_rejected_entry_is_a_lost_signal() -> None:
    world = run([FLAT, FLAT], [LONG], config({"reject_probability": 1}))
    [order] = world.orders.values()
    assert (order.state, order.rejection) == (OrderState.REJECTED, "simulated (reject_probability)")
    assert world.account == replace(world.account, trade=None, orders=(), cash=D(1000))
    [event] = world.outcomes[0].events
    assert (event.kind, event.dedupe_key) == (EventKind.ORDER_REJECTED, f"rejected:{order.client_order_id}")
    assert "signal is lost" in event.body
    assert world.outcomes[1].events == ()


def seed_where(wanted: dict[tuple[str, int, int], bool]) -> dict[str, Any]:
    """Paper settings of which exactly the named orders (leg, signal bar, attempt) are refused or taken."""
    template = Order(
        client_order_id="", signal_at=opens(0), leg=Leg.ENTRY, attempt=0, side=Side.BUY, type=OrderType.MARKET,
        quantity=D(1), price=None, reason="",
    )  # fmt: skip
    orders = {
        replace(template, leg=Leg(leg), signal_at=opens(number), attempt=attempt): refused
        for (leg, number, attempt), refused in wanted.items()
    }
    half = D("0.5")
    seeds = (
        seed
        for seed in range(100_000)
        if all(happens(draw(seed, order, What.REJECT), half) is refused for order, refused in orders.items())
    )
    return {"reject_probability": 0.5, "seed": next(seeds)}


def test_a_rejected_exit_is_sent_again_at_the_next_bar_until_it_is_taken() -> None:
    paper = seed_where({("entry", 0, 0): False, ("exit", 1, 0): True, ("exit", 1, 1): True, ("exit", 1, 2): False})
    world = run([FLAT, FLAT, bar(90, 95, 90, 95), bar(80, 85, 80, 85)], [LONG, EXIT], config(paper))
    assert world.history()[1:] == [
        ("exit", 0, "market", None, 5, 0, "rejected"),
        ("exit", 1, "market", None, 5, 0, "rejected"),
        ("exit", 2, "market", None, 5, 5, "filled"),
    ]
    assert [[o.attempt for o in out.orders] for out in world.outcomes[1:]] == [[0], [1], [2]]
    assert (world.trades[0].exit_price, world.trades[0].exit_at) == (80, opens(3))
    assert [len(out.events) for out in world.outcomes] == [0, 1, 1, 0]


def test_a_rejected_stop_is_placed_again_at_the_next_bar_and_watches_it() -> None:
    paper = seed_where({("entry", 0, 0): False, ("stop_loss", 0, 0): True, ("stop_loss", 0, 1): False})
    made = config(paper, risk_management={"stop_loss_pct": 3})
    world = run([FLAT, bar(100, 100, 96, 98)], [LONG], made)
    assert world.history()[1:] == [
        ("stop_loss", 0, "stop", 97, 5, 0, "rejected"),
        ("stop_loss", 1, "stop", 97, 5, 5, "filled"),
    ]
    assert [len(out.orders) for out in world.outcomes] == [2, 1]


def test_a_rejected_exit_is_forgotten_when_the_stop_closes_the_position() -> None:
    paper = seed_where({("entry", 0, 0): False, ("stop_loss", 0, 0): False, ("exit", 1, 0): True, ("exit", 1, 1): True})
    made = config(paper, risk_management={"stop_loss_pct": 3})
    world = run([FLAT, FLAT, bar(100, 100, 96, 96)], [LONG, EXIT], made)
    assert world.trades[0].exit_reason == "stop_loss"
    assert world.account.orders == ()


def test_a_stop_refused_for_ever_is_tried_once_a_bar() -> None:
    paper = seed_where({("entry", 0, 0): False, **{("stop_loss", 0, n): True for n in range(5)}})
    world = run([FLAT] * 5, [LONG], config(paper, risk_management={"stop_loss_pct": 3}))
    assert [(row[1], row[-1]) for row in world.history()[1:]] == [(n, "rejected") for n in range(5)]


# --- fees in the base currency, dust -------------------------------------------------------------------------------


def test_a_fee_in_the_base_currency_shrinks_what_can_be_sold() -> None:
    made = config({"commission_rate": 0.001, "fee_currency": "base"})
    world = run([FLAT, bar(100, 110, 100, 110)], [LONG, EXIT], made)
    bought, sold = world.fills
    # a fee of 0.1 % takes 0.005 of the 5 that were bought
    assert (bought.quantity, bought.fee, bought.fee_currency) == (5, D("0.005"), "ETH")
    assert (sold.quantity, sold.fee, sold.fee_currency) == (D("4.99"), D("0.5489"), "BTC")
    [trade] = world.trades
    # held 4.995, sold 4.99: 0.005 is less than a step
    assert (trade.dust, trade.base_fee, trade.size_open, trade.is_open) == (D("0.005"), D("0.005"), 0, False)
    assert world.account.dust == D("0.005")
    assert trade.commission == D("0.5") + D("0.5489")  # 0.005 at 100, and the sale's
    assert trade.net_pnl == D("548.9") - D("0.5489") - 500
    assert trade.gross_pnl == trade.net_pnl + trade.commission
    assert world.account.cash == 1000 + trade.net_pnl
    assert world.account.total_pnl == trade.net_pnl


def test_the_stop_rests_for_what_can_be_sold() -> None:
    made = config({"commission_rate": 0.001, "fee_currency": "base"}, risk_management={"stop_loss_pct": 3})
    world = run([FLAT], [LONG], made)
    assert world.account.orders[0].quantity == D("4.99")


def test_a_position_that_its_fee_makes_unsellable_is_not_entered() -> None:
    made = config(broker={"cash": 2, "paper_trading_config": {"commission_rate": 0.01, "fee_currency": "base"}})
    world = run([FLAT], [LONG], made)
    assert world.outcomes[0].denial is Denial.BELOW_MIN_QUANTITY


@pytest.mark.parametrize(
    ("fee_currency", "risk", "smallest", "denial"),
    [
        # 1 is bought at 98; 0.99 is left by a base fee of 0.1 %, and 97.02 is 1 % less
        pytest.param("base", {"stop_loss_pct": 1}, "97.02", Denial.BELOW_MIN_NOTIONAL, id="fee and stop: 96.05"),
        pytest.param("base", {"stop_loss_pct": 1}, "96.04", None, id="less than both leave"),
        pytest.param("quote", {"stop_loss_pct": 1}, "97.02", None, id="the stop alone"),
        pytest.param("base", {}, "97.02", None, id="the fee alone"),
        pytest.param("base", {}, "97.03", Denial.BELOW_MIN_NOTIONAL, id="too little value, not too little quantity"),
        pytest.param("quote", {"trailing_stop_pct": 1}, "97.03", Denial.BELOW_MIN_NOTIONAL, id="a trailing stop"),
        pytest.param("quote", {"trailing_stop_pct": 1, "stop_loss_pct": 9}, "97.02", None, id="the nearer of two"),
    ],
)
def test_an_entry_is_made_when_its_exit_is_possible_after_fee_and_stop(
    fee_currency: str, risk: dict[str, Any], smallest: str, denial: Denial | None
) -> None:
    paper = {"commission_rate": 0.001, "fee_currency": fee_currency}
    made = config(
        broker={"cash": 1000, "paper_trading_config": paper}, risk_management={"max_position_size": 98, **risk}
    )
    market = replace(MARKET, min_notional=D(smallest))
    world = run([bar(98, 98, 98, 98)], [LONG], made, market=market)
    assert world.outcomes[0].denial is denial
    assert [fill.quantity for fill in world.fills] == ([] if denial else [1])


def test_a_rest_that_the_exchange_does_not_take_is_written_off() -> None:
    market = replace(MARKET, min_notional=D(50))
    trading = {"exit_order_type": "limit", "limit_offset_pct": 1, "limit_ttl_bars": 1}
    made = config({"max_volume_share": 0.1}, trading=trading)
    # 4.60 of 5 sold at the limit; 0.40 at 100 is 40, below the minimum
    world = run([FLAT, FLAT, bar(100, 102, 100, 100, 46)], [LONG, EXIT], made, market=market)
    [trade] = world.trades
    assert (trade.sold, trade.dust, trade.exit_reason, trade.is_open) == (D("4.6"), D("0.4"), "out", False)
    assert trade.net_pnl == D("4.6") * 101 - 500
    assert trade.exit_price == 101
    assert world.account.cash == 1000 + trade.net_pnl
    assert [(row[0], row[-1]) for row in world.history()[1:]] == [("exit", "expired")]
    assert world.script.told == [(0, "entered"), (2, "exited")]


def test_a_position_too_small_to_be_sold_at_all_is_dust() -> None:
    market = replace(MARKET, min_notional=D(50))
    made = config({"max_volume_share": 0.1})
    world = run([bar(100, 100, 100, 100, 4), bar(100, 100, 100, 100, 0)], [LONG, EXIT], made, market=market)
    [trade] = world.trades
    assert (trade.dust, trade.exit_price, trade.exit_at, trade.net_pnl) == (D("0.4"), 0, opens(2), -40)


def test_only_a_purchase_that_opens_a_position_pays_in_what_it_buys() -> None:
    made = config({"commission_rate": 0.001, "fee_currency": "base"}, trading={"allow_short": True})
    world = run([FLAT, bar(100, 100, 90, 90)], [SHORT, EXIT], made)
    assert [(fill.quantity, fill.fee, fill.fee_currency) for fill in world.fills] == [
        (5, D("0.5"), "BTC"),
        (5, D("0.45"), "BTC"),
    ]
    assert (world.account.cash, world.trades[0].base_fee) == (D("1049.05"), 0)


# --- short ---------------------------------------------------------------------------------------------------------


def test_a_short_position_earns_when_the_price_falls() -> None:
    made = config({"commission_rate": 0.001}, trading={"allow_short": True})
    world = run([FLAT, bar(100, 100, 90, 90)], [SHORT, EXIT], made)
    [trade] = world.trades
    assert world.outcomes[0].account.cash == D("1499.5")  # proceeds of 500 less the fee
    assert world.outcomes[0].balance == D("999.5")
    assert (trade.direction, trade.gross_pnl, trade.commission) == ("short", 50, D("0.95"))
    assert world.account.cash == 1000 + trade.net_pnl


def test_its_stop_is_above_and_its_target_below() -> None:
    made = config(trading={"allow_short": True}, risk_management=PROTECTED)
    world = run([FLAT, bar(100, 104, 99, 100)], [SHORT], made)
    assert [row[:5] for row in world.history()[1:]] == [
        ("stop_loss", 0, "stop", 103, 5),
        ("take_profit", 0, "limit", 94, 5),
    ]
    assert (world.trades[0].exit_price, world.trades[0].exit_reason) == (103, "stop_loss")


def test_its_exit_at_the_stop_is_worth_more_than_its_entry() -> None:
    """So a short position worth exactly the smallest order is one that can be closed."""
    made = config(trading={"allow_short": True}, risk_management={"max_position_size": 98, "stop_loss_pct": 50})
    for smallest, denial in ((D(98), None), (D("98.01"), Denial.BELOW_MIN_NOTIONAL)):
        world = run([bar(98, 98, 98, 98)], [SHORT], made, market=replace(MARKET, min_notional=smallest))
        assert world.outcomes[0].denial is denial


@pytest.mark.parametrize(("allowed", "can"), [(False, True), (True, False)])
def test_short_needs_the_config_and_the_broker(allowed: bool, can: bool) -> None:
    made = config(trading={"allow_short": allowed})
    world = run([FLAT], [SHORT], made, market=replace(MARKET, can_short=can))
    assert world.outcomes[0].denial is Denial.SHORT_NOT_ALLOWED
    assert world.orders == {}


@pytest.mark.parametrize(
    ("second", "price"),
    [
        # 1,500 in cash, a debt of 5: at 285.72 the equity is down to 5 % of the debt
        pytest.param(bar(100, 290, 100, 200), "285.72", id="within the bar"),
        pytest.param(bar(290, 290, 280, 280), "290", id="at the open"),
        pytest.param(bar(400, 400, 400, 400), "299.99", id="beyond the account's money the exchange pays"),
    ],
)
def test_a_short_position_is_liquidated_before_the_account_is_empty(second: Any, price: str) -> None:
    world = run([FLAT, second], [SHORT], config(trading={"allow_short": True}))
    [trade] = world.trades
    assert (trade.exit_reason, trade.exit_price) == ("liquidation", D(price))
    assert 0 <= world.account.cash < 1000
    [event] = world.outcomes[1].events
    assert (event.kind, event.urgency) == (EventKind.RISK_BREACH, Severity.CRITICAL)


def test_liquidation_at_the_open_comes_before_an_exit_that_waits_for_it() -> None:
    made = config(NEXT_OPEN, trading={"allow_short": True})
    world = run([FLAT, FLAT, bar(290, 290, 290, 290)], [SHORT, EXIT], made)
    assert (world.trades[0].exit_reason, world.trades[0].exit_at) == ("liquidation", opens(2))
    assert [row[-1] for row in world.history() if row[0] == "exit"] == ["canceled"]


# --- chance, stopping, checkpoints ---------------------------------------------------------------------------------

REAL = {
    "base_slippage": 0.0005, "max_volume_share": 0.01, "partial_fill_probability": 0.3, "reject_probability": 0.2,
    "min_latency_ms": 10, "max_latency_ms": 1000, "commission_rate": 0.001, "fee_currency": "base",
}  # fmt: skip


def wild(seed: int | None, **more: Any) -> World:
    paper = dict(REAL) if seed is None else {**REAL, "seed": seed}
    bars = [bar(100 + n % 3, 104, 97, 101 - n % 2, 100 + n % 7) for n in range(60)]
    says = ([LONG] + [None] * 4 + [EXIT] + [None] * 2) * 8
    return run(bars, says, config(paper, risk_management=PROTECTED), **more)


def test_the_same_seed_gives_the_same_trades_another_one_different_ones() -> None:
    first, again, none, other = wild(1), wild(1), wild(None), wild(2)
    assert (first.orders, first.fills, first.account) == (again.orders, again.fills, again.account)
    assert first.fills != other.fills
    assert none.fills == wild(0).fills
    assert len(first.trades) > 3


def test_a_restart_after_every_bar_changes_nothing() -> None:
    assert wild(3, restarts=True).outcomes == wild(3).outcomes


def test_flatten_cancels_everything_and_is_never_refused() -> None:
    for seed in range(20):
        made = config(
            {"reject_probability": 0.3, "partial_fill_probability": 1, "seed": seed}, risk_management=PROTECTED
        )
        world = run([FLAT], [LONG], made)
        outcome = world.bot.flatten(world.script)
        if world.trades:
            assert outcome is not None
            assert outcome.trades[0].exit_reason == "flatten_on_stop"
        assert world.account.trade is None
        assert world.account.orders == ()


def test_flatten_withdraws_an_entry_that_waits() -> None:
    world = run([FLAT], [LONG], config(trading=limit()))
    outcome = world.bot.flatten(world.script)
    assert outcome is not None
    assert [o.state for o in outcome.orders] == [OrderState.CANCELED]
    assert world.bot.flatten(world.script) is None


def going_on(state: dict[str, Any], made: Any, second: Any) -> World:

    outcomes: list[Any] = []
    script = Script([None])
    bot = paper_bot(made, BotState(account=load(state)), outcomes.append)
    script.bar = 0
    bot.on_bar(script, Candle(1515561600000, *second), ready=True)
    return World(bot, script, outcomes)


def test_a_checkpoint_of_the_first_version_goes_on() -> None:
    world = going_on(V1, config(NEXT_OPEN), bar(102, 103, 101, 102))
    assert (world.trades[0].exit_price, world.trades[0].exit_reason) == (102, "out")
    assert world.account.cash == 1010
    assert world.account.counters.trades_today == 2


def test_its_position_is_protected_before_anything_else() -> None:
    state = {**V1, "waiting": []}
    world = going_on(state, config(risk_management={"stop_loss_pct": 3}), bar(100, 100, 96, 98))
    assert (world.trades[0].exit_reason, world.trades[0].exit_price) == ("stop_loss", 97)
