"""A bot between its parts: what it asks for, what it hands on, and the edges of its rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from botrunner.engine.trading_bot import BaseTradingBot
from botrunner.market.candle import Candle
from botrunner.strategies.base import OpenPosition, Signal, SignalKind
from botrunner.trading.account import Account
from botrunner.trading.order_ids import Leg
from botrunner.trading.orders import OrderType
from botrunner.trading.risk import Denial
from botrunner.trading.state import BarOutcome, BotState
from botrunner.trading.trades import Trade
from fleet.events import Event, EventKind
from fleet.exit_kinds import ExitKind
from fleet.states import OrderState
from fleet.times import from_ms
from tests.unit.botrunner.paper_world import (
    BAR_MS,
    EXIT,
    FLAT,
    LONG,
    MARKET,
    SHORT,
    Script,
    bar,
    config,
    paper_bot,
    run,
)

D = Decimal
BAR = timedelta(milliseconds=BAR_MS)
STOPS = {"stop_loss_pct": 3}


def bot_of(state: BotState | None = None, made: Any = None, **asked: Any) -> tuple[BaseTradingBot, list[BarOutcome]]:
    outcomes: list[BarOutcome] = []
    state = state or BotState(account=Account(cash=D(1000)))
    return paper_bot(made or config(), state, outcomes.append, **asked), outcomes


def candle(number: int, prices: tuple[Decimal, ...] = FLAT) -> Candle:
    return Candle((number + 1) * BAR_MS, *prices)


# --- what it is asked ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("says", "sections", "expected"),
    [
        pytest.param([None], {}, False, id="neither position nor order"),
        pytest.param([LONG], {}, True, id="a position"),
        pytest.param([LONG], {"paper": {"fill_price": "next_open"}}, True, id="an entry that waits"),
    ],
)
def test_a_bot_is_in_the_market_with_a_position_or_an_order(says: Any, sections: Any, expected: bool) -> None:
    assert run([FLAT], says, config(**sections)).bot.in_market is expected


def test_the_time_of_the_last_exit_is_known_to_a_strategy_that_hears_of_it() -> None:
    heard: list[datetime | None] = []

    class Asking(Script):
        def on_exited(self) -> None:
            heard.append(bot.last_exit_at)

    bot, outcomes = bot_of()
    script = Asking([LONG, EXIT])
    for number in range(2):
        assert bot.last_exit_at is None
        script.bar = number
        bot.on_bar(script, candle(number), ready=True)
    assert heard == [outcomes[1].trades[0].exit_at] == [bot.last_exit_at]
    again, _ = bot_of(bot.state)
    assert again.last_exit_at == heard[0]


def test_without_ready_indicators_nothing_is_decided_but_protection_works() -> None:
    bot, outcomes = bot_of(made=config(risk_management=STOPS))
    script = Script([LONG, LONG])
    for number, (prices, ready) in enumerate([(FLAT, False), (FLAT, True), (bar(100, 100, 90, 95), False)]):
        script.bar = min(number, 1)
        bot.on_bar(script, candle(number, prices), ready=ready)
    assert [len(outcome.fills) for outcome in outcomes] == [0, 1, 1]
    assert [outcome.signal is None for outcome in outcomes] == [True, False, True]
    assert len(script.seen) == 1


# --- whom it asks --------------------------------------------------------------------------------------------------


def test_room_in_the_owners_limits_is_asked_for_last_and_told_what_the_bar_has_closed() -> None:
    asked: list[tuple[Decimal, datetime, Any]] = []

    def reserve(value: Decimal, at: datetime, closed: Any) -> Denial | None:
        asked.append((value, at, tuple(closed)))
        return Denial.TENANT_MAX_EXPOSURE if len(asked) > 1 else None

    bot, outcomes = bot_of(made=config(risk_management=STOPS), reserve=reserve)
    script = Script([LONG, LONG, LONG])
    for number, prices in enumerate([FLAT, bar(100, 100, 90, 50)]):
        script.bar = number
        bot.on_bar(script, candle(number, prices), ready=True)
    [stopped] = outcomes[1].trades
    # 985 at the stop, half of it at 50
    assert asked == [(D(500), from_ms(2 * BAR_MS), ()), (D("492.5"), from_ms(3 * BAR_MS), (stopped,))]
    assert outcomes[1].denial is Denial.TENANT_MAX_EXPOSURE
    assert bot.in_market is False


@pytest.mark.parametrize(
    ("made", "says", "asked", "expected"),
    [
        ({}, LONG, {"entry_denied": lambda _: Denial.LATE_CANDLE}, Denial.LATE_CANDLE),
        ({}, SHORT, {}, Denial.SHORT_NOT_ALLOWED),
        ({}, LONG, {"may_enter": lambda: False}, Denial.STOPPING),
        ({"risk_management": {"max_position_size": 0.001}}, LONG, {}, Denial.BELOW_MIN_QUANTITY),
    ],
)
def test_what_is_denied_otherwise_asks_for_no_room(made: Any, says: str, asked: Any, expected: Denial) -> None:
    def reserve(*_: Any) -> None:
        raise AssertionError

    bot, [*outcomes] = bot_of(made=config(**made), reserve=reserve, **asked)
    script = Script([says])
    script.bar = 0
    outcome = bot.on_bar(script, candle(0), ready=True)
    assert (outcome.denial, outcome.orders, outcomes) == (expected, (), [])
    assert outcome.stopping is (expected is Denial.STOPPING)


@pytest.mark.parametrize(("maker", "taker"), [(0.02, 0), (0, 0.02)])
def test_a_position_that_either_fee_makes_unsellable_is_not_entered(maker: float, taker: float) -> None:
    """0.01 is bought, or 0.0098 kept of it: less than the smallest order."""
    paper = {"maker_commission_rate": maker, "taker_commission_rate": taker, "fee_currency": "base"}
    world = run([FLAT], [LONG], config(paper, risk_management={"max_position_size": 1}))
    assert world.outcomes[0].denial is Denial.BELOW_MIN_QUANTITY
    quote = {**paper, "fee_currency": "quote"}
    assert run([FLAT], [LONG], config(quote, risk_management={"max_position_size": 1})).trades != []
    # a sale pays in what it brings
    short = config(paper, trading={"allow_short": True}, risk_management={"max_position_size": 1})
    assert run([FLAT], [SHORT], short).trades != []


SMALLEST, LEAST = Denial.BELOW_MIN_QUANTITY, Denial.BELOW_MIN_NOTIONAL


@pytest.mark.parametrize(
    ("minimums", "sections", "expected"),
    [
        # half of 1,000 buys 5 at 100
        pytest.param({"min_quantity": "5"}, {}, None, id="the smallest quantity"),
        pytest.param({"min_quantity": "5.01"}, {}, SMALLEST, id="a step less"),
        pytest.param({"min_notional": "500"}, {}, None, id="the least value"),
        pytest.param({"min_notional": "500.01"}, {}, LEAST, id="a cent less"),
        pytest.param({"min_notional": "250"}, {"risk_management": {"stop_loss_pct": 50}}, None, id="also at its stop"),
        pytest.param({"min_notional": "250.01"}, {"risk_management": {"stop_loss_pct": 50}}, LEAST, id="not there"),
        pytest.param(
            {"min_quantity": "0"}, {"broker": {"cash": 1}}, SMALLEST, id="nothing, where anything is accepted"
        ),
    ],
)
def test_what_an_exchange_accepts_is_entered_to_the_step(
    minimums: dict[str, str], sections: dict[str, Any], expected: Denial | None
) -> None:
    market = replace(MARKET, **{key: D(value) for key, value in minimums.items()})
    [outcome] = run([FLAT], [LONG], config(**sections), market=market).outcomes
    assert (outcome.denial, bool(outcome.fills)) == (expected, expected is None)


def test_at_a_price_of_one_tick_nothing_can_be_lost() -> None:
    """No stop is below it, so that a limit of the portfolio's risk is none of the size."""
    made = config(risk_management={"stop_loss_pct": 50, "max_portfolio_risk": 1})
    world = run([bar("0.01", "0.01", "0.01", "0.01", 10**9)], [LONG], made)
    assert world.trades[0].size == 50_000


# --- the end of a bot ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state",
    [
        pytest.param({"last_close": D(100)}, id="no bar was committed"),
        pytest.param({"last_bar_at": from_ms(BAR_MS)}, id="no price is known"),
    ],
)
def test_without_a_price_nothing_can_be_flattened(state: dict[str, Any]) -> None:
    held = run([FLAT], [LONG]).account
    bot, outcomes = bot_of(BotState(account=held, **state))
    assert bot.flatten(Script([])) is None
    assert outcomes == []


def test_flatten_says_what_it_is_told_to_say_and_nothing_else() -> None:
    def event(trade: Trade) -> Event:
        return Event(kind=EventKind.RISK_BREACH, title=f"{trade.exit_reason}", body="", facts={}, dedupe_key="k")

    world = run([FLAT, FLAT], [LONG], config(risk_management=STOPS))
    before = world.bot.state
    outcome = world.bot.flatten(world.script, reason="failed", event=event)
    assert outcome is not None
    assert [each.title for each in outcome.events] == ["failed"]
    assert (outcome.follows, outcome.bar_at, outcome.bars) == (before.last_bar_at, before.last_bar_at, 2)
    assert (outcome.signal, outcome.denial, outcome.breaches) == (None, None, ())
    assert (outcome.candle, outcome.config, outcome.stopping) == (None, None, False)
    assert outcome.balance == 1000
    assert world.script.told[-1] == (1, "exited")
    assert {order.leg: order.state for order in outcome.orders} == {
        Leg.STOP_LOSS: OrderState.CANCELED,
        Leg.FLATTEN: OrderState.FILLED,
    }
    assert world.bot.state == replace(before, account=outcome.account)


@pytest.mark.parametrize(
    ("made_of", "price"),
    [
        # 0.49 of the last bar's volume of 1: 100 × (1 - 0.1 × 0.49²) = 97.599
        pytest.param(lambda state: None, "97.59", id="as a share of the last bar's volume"),
        pytest.param(lambda state: state, "97.59", id="after a restart too"),
        # of an earlier checkpoint; what isn't known is taken to be nothing: the whole impact
        pytest.param(lambda state: replace(state, last_volume=D(0)), "90.00", id="its volume is not known"),
    ],
)
def test_flatten_slips_like_a_market_order(made_of: Callable[[BotState], BotState | None], price: str) -> None:
    made = config({"slippage_model": "volume_share"}, trading={"position_size": 0.05})
    world = run([bar(100, 100, 100, 100, 10**9), bar(100, 100, 100, 100, 1)], [LONG], made)
    state = made_of(world.bot.state)
    bot = world.bot if state is None else bot_of(state, made)[0]
    outcome = bot.flatten(world.script)
    assert outcome is not None
    assert outcome.fills[0].price == D(price)


# --- edges of the rules --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("high", "liquidated"), [("199.99", False), ("200", True)])
def test_a_short_is_liquidated_from_its_price_on(high: str, liquidated: bool) -> None:
    """10 sold at 100 with 1,100: 2,100 / 10.5 = 200."""
    made = config(
        broker={"cash": 1100}, trading={"position_size": 1, "allow_short": True},
        risk_management={"max_position_size": 1000},
    )  # fmt: skip
    world = run([FLAT, bar(100, high, 100, 100)], [SHORT], made)
    assert world.trades[0].size == 10
    assert (world.account.trade is None) is liquidated


@pytest.mark.parametrize(("fill_price", "price", "bar_number"), [("close", 102, 1), ("next_open", 103, 2)])
def test_what_arrives_at_a_close_comes_after_it(fill_price: str, price: int, bar_number: int) -> None:
    """Bars of a second, an order that takes one: it arrives when the second bar ends and the third begins."""
    paper = {"min_latency_ms": 1000, "max_latency_ms": 1000, "fill_price": fill_price}
    bars = [bar(p, p + 1, p, p + 1) for p in (99, 101, 103, 105)]
    world = run(bars, [LONG], config(paper, data={"interval": "1s"}), bar_ms=1000)
    assert [number for number, outcome in enumerate(world.outcomes) if outcome.fills] == [bar_number]
    assert (world.fills[0].price, world.fills[0].filled_at) == (price, from_ms(3000))


@pytest.mark.parametrize(
    ("word", "second", "best", "stop"),
    [(LONG, bar(100, 110, 95, 100), 110, 99), (SHORT, bar(100, 105, 90, 100), 90, 99)],
)
def test_a_trailing_stop_follows_the_best_price_of_its_side(word: str, second: Any, best: int, stop: int) -> None:
    made = config(trading={"allow_short": True}, risk_management={"trailing_stop_pct": 10})
    world = run([FLAT, second], [word], made)
    assert world.outcomes[1].account.best_price == best
    assert [order.price for order in world.account.orders] == [stop]
    assert [held and held.direction for held in world.script.seen] == [None, word]


def test_a_limit_under_way_is_no_limit_in_the_book() -> None:
    """An exit that takes a bar and a half: the bar that it doesn't see reaches its price, the next one too."""
    paper = {"min_latency_ms": 1500, "max_latency_ms": 1500, "fill_price": "next_open"}
    trading = {"exit_order_type": "limit", "limit_offset_pct": 5, "limit_ttl_bars": 9}
    bars = [FLAT, FLAT, FLAT, FLAT, bar(100, 106, 100, 100), bar(100, 106, 100, 100)]
    world = run(bars, [LONG, None, None, EXIT], config(paper, trading=trading, data={"interval": "1s"}), bar_ms=1000)
    assert [number for number, outcome in enumerate(world.outcomes) if outcome.fills] == [2, 5]
    assert world.trades[0].exit_price == 105


@pytest.mark.parametrize("fill_price", ["close", "next_open"])
def test_an_order_that_rests_is_written_once(fill_price: str) -> None:
    trading = {"order_type": "limit", "limit_offset_pct": 1, "limit_ttl_bars": 9}
    world = run([FLAT] * 5, [LONG], config({"fill_price": fill_price}, trading=trading))
    assert [len(outcome.orders) for outcome in world.outcomes][2:] == [0, 0, 0]


def test_a_limit_that_is_touched_where_nobody_trades_is_no_entry_within_the_bar() -> None:
    """2 of 5 were bought; the limit for the others is touched without volume, and the target is reached."""
    trading = {"order_type": "limit", "limit_offset_pct": 0, "limit_ttl_bars": 9}
    made = config({"max_volume_share": 0.1}, trading=trading, risk_management={"trailing_stop_pct": 10})
    bars = [bar(100, 100, 100, 100, 20), bar(101, 110, 100, 102, 0)]
    world = run(bars, [LONG], made)
    assert world.account.best_price == 110
    assert len(world.fills) == 1


def test_of_two_limits_the_nearer_one_comes_first_also_when_it_is_the_target() -> None:
    made = config(trading={"exit_order_type": "limit", "limit_offset_pct": 6}, risk_management={"take_profit_pct": 1})
    world = run([FLAT, FLAT, bar(100, 107, 100, 107)], [LONG, EXIT], made)
    assert (world.trades[0].exit_reason, world.trades[0].exit_price) == ("take_profit", 101)
    made = config(
        trading={"exit_order_type": "limit", "limit_offset_pct": 6, "allow_short": True},
        risk_management={"take_profit_pct": 1},
    )
    world = run([FLAT, FLAT, bar(100, 100, 90, 90)], [SHORT, EXIT], made)
    assert (world.trades[0].exit_reason, world.trades[0].exit_price) == ("take_profit", 99)


def test_an_exit_is_asked_for_once() -> None:
    trading = {"exit_order_type": "limit", "limit_offset_pct": 5, "limit_ttl_bars": 9}
    world = run([FLAT] * 4, [LONG, EXIT, EXIT, EXIT], config(trading=trading))
    assert [row[:2] for row in world.history()] == [("entry", 0), ("exit", 0)]


def test_while_a_stop_sells_nothing_else_does() -> None:
    made = config({"max_volume_share": 0.1}, risk_management=STOPS)
    bars = [FLAT, bar(100, 100, 96, 96, 20), bar(96, 96, 96, 96, 20), bar(96, 96, 96, 96)]
    world = run(bars, [LONG, EXIT, EXIT], made)
    assert [(row[0], row[-1]) for row in world.history()] == [("entry", "filled"), ("stop_loss", "filled")]
    assert world.trades[0].exit_kind is ExitKind.STOP


@pytest.mark.parametrize(("ttl", "filled"), [(1, False), (2, True)])
def test_a_limit_lives_so_many_bars(ttl: int, filled: bool) -> None:
    trading = {"order_type": "limit", "limit_offset_pct": 1, "limit_ttl_bars": ttl}
    world = run([FLAT, FLAT, bar(100, 100, 99, 100)], [LONG], config(trading=trading))
    assert bool(world.fills) is filled
    entry = next(iter(world.orders.values()))
    assert (entry.type, entry.expires_at) == (OrderType.LIMIT, from_ms((2 + ttl) * BAR_MS))


def test_a_debt_is_bought_back_whatever_its_size() -> None:
    market = replace(MARKET, min_notional=D(50))
    made = config({"max_volume_share": 0.1}, trading={"allow_short": True})
    bars = [bar(100, 100, 100, 100, 4), bar(100, 100, 100, 100, 0), FLAT]
    world = run(bars, [SHORT, EXIT], made, market=market)
    [trade] = world.trades
    assert (trade.size, trade.dust, trade.is_open) == (D("0.4"), 0, False)


def test_a_debt_is_bought_back_in_parts_with_all_of_the_cash() -> None:
    """5 for 1,500 in two parts: a maker would pay more, this one is a taker."""
    paper = {"max_volume_share": 0.1, "maker_commission_rate": 0.1, "taker_commission_rate": 0}
    made = config(paper, trading={"allow_short": True})
    world = run([FLAT, bar(100, 285, 100, 285, 20), bar(285, 285, 285, 285)], [SHORT, EXIT], made)
    assert [fill.quantity for fill in world.fills] == [5, 2, 3]
    assert world.account.cash == 1500 - 5 * 285


# --- kinds of exits ------------------------------------------------------------------------------------------------


@dataclass
class InTime(Script):
    """Whose exits are by time."""

    def decide(self, position: OpenPosition | None) -> Signal | None:
        signal = super().decide(position)
        return replace(signal, exit_kind=ExitKind.TIME) if signal and signal.kind is SignalKind.EXIT else signal


LIMIT_EXIT = {"trading": {"exit_order_type": "limit", "limit_offset_pct": 5, "limit_ttl_bars": 1}}


@pytest.mark.parametrize(
    ("bars", "sections", "exits"),
    [
        pytest.param([FLAT, FLAT], {}, ["filled"], id="at market"),
        pytest.param([FLAT, FLAT, FLAT], LIMIT_EXIT, ["expired", "filled"], id="a limit that became a market order"),
        pytest.param([bar(100, 100, 100, 100, 4), bar(100, 100, 100, 100, 0)], {}, [], id="too little to sell"),
        pytest.param([FLAT, FLAT, bar(100, 100, 9, 9)], LIMIT_EXIT, ["expired"], id="worth too little by then"),
        pytest.param(
            [FLAT, FLAT, bar(100, 105, 100, 100, 46)], LIMIT_EXIT, ["expired"], id="a limit with too little left"
        ),
    ],
)
def test_an_exit_stays_what_its_signal_said(bars: list[Any], sections: Any, exits: list[str]) -> None:
    made = config({"max_volume_share": 0.1}, **sections)
    market = replace(MARKET, min_notional=D(50))
    outcomes: list[BarOutcome] = []
    state = BotState(account=Account(cash=D(1000)))
    bot = paper_bot(made, state, outcomes.append, market=market)
    script = InTime([LONG, EXIT])
    for number, prices in enumerate(bars):
        script.bar = number
        bot.on_bar(script, candle(number, prices), ready=True)
    trade = outcomes[-1].trades[-1]
    assert (trade.is_open, trade.exit_reason, trade.exit_kind) == (False, "out", ExitKind.TIME)
    orders = {order.client_order_id: order for outcome in outcomes for order in outcome.orders}
    found = [order for order in orders.values() if order.leg is Leg.EXIT]
    assert [order.state for order in found] == exits
    assert {order.exit_kind for order in found} <= {ExitKind.TIME}
    assert {order.exit_kind for order in orders.values() if order.leg is Leg.ENTRY} == {None}
