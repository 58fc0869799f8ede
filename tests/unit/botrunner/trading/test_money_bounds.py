"""What an entry may cost, what a position may lose, and when a fill may be: for any candles and paper settings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from botrunner.market.side import Side
from botrunner.trading.order_ids import Leg
from botrunner.trading.orders import Order
from botrunner.trading.state import BarOutcome
from botrunner.trading.trades import Trade
from fleet.config import BotConfig
from fleet.states import OrderState
from tests.unit.botrunner.paper_world import BAR_MS, EXIT, LONG, MARKET, SHORT, World, config, run

D = Decimal
BAR, SECOND = timedelta(milliseconds=BAR_MS), timedelta(seconds=1)
SECOND_MS = 1000
FINE = replace(MARKET, tick=D("1e-8"), step=D("1e-8"), min_quantity=D("1e-8"))
"""So fine that the rounding of a fee decides whether the last step is paid for."""


def paper(draw: st.DrawFn, **settings_: Any) -> dict[str, Any]:
    model = draw(st.sampled_from(["none", "fixed", "percentage", "volume_share"]))
    return {
        "slippage_model": model,
        "base_slippage": draw(st.sampled_from([0.002, 0.01])),
        "maker_commission_rate": draw(st.sampled_from([0, 0.001, 0.00075, 0.0012345])),
        "taker_commission_rate": draw(st.sampled_from([0, 0.001, 0.0025, 0.0012345])),
        "fee_currency": draw(st.sampled_from(["quote", "quote", "base"])),
        "fill_price": draw(st.sampled_from(["close", "next_open"])),
        "max_volume_share": draw(st.sampled_from([None, None, 0.1])),
        "partial_fill_probability": draw(st.sampled_from([0, 0, 0.9])),
        "seed": draw(st.integers(0, 5)),
        **({"slippage_ticks": 7} if model == "fixed" else {}),
        **settings_,
    }


# --- an entry is paid for --------------------------------------------------------------------------------------------


@st.composite
def at_one_price(draw: st.DrawFn) -> tuple[list[tuple[Decimal, ...]], list[str | None], BotConfig]:
    """A market that stands still, and a bot that puts in all that it has."""
    price = draw(st.integers(1, 10**9)) * D("1e-8") * draw(st.sampled_from([1, 1, 1000]))
    cash = draw(st.integers(1, 10**6)) * D("0.01")
    volume = draw(st.sampled_from([1, 3, 100])) * cash / price
    bars = [(price, price, price, price, volume.quantize(D("1e-8")))] * 12
    word = draw(st.sampled_from([LONG, LONG, SHORT]))
    says = [word, None, None, None, None, EXIT, word, word, word, word, EXIT, word]
    made = config(
        paper(draw),
        broker={"cash": float(cash)},
        trading={
            "position_size": 1,
            "allow_short": True,
            "order_type": draw(st.sampled_from(["market", "limit"])),
            "limit_offset_pct": draw(st.sampled_from([0, 0, 1])),
            "limit_ttl_bars": draw(st.integers(1, 4)),
        },
        risk_management=draw(st.sampled_from([{}, {"stop_loss_pct": 3, "max_portfolio_risk": 50}])),
    )
    return bars, says, made


@settings(max_examples=400)
@given(at_one_price())
def test_an_entry_that_fills_at_the_price_it_was_sized_for_never_expires(
    drawn: tuple[list[tuple[Decimal, ...]], list[str | None], BotConfig],
) -> None:
    bars, says, made = drawn
    world = run(bars, says, made, market=FINE)
    for outcome in world.outcomes:
        for order in outcome.orders:
            if order.leg is Leg.ENTRY and order.state is OrderState.EXPIRED:
                assert order.expires_at is not None, "a market order expired: it wasn't paid for"
                assert order.expires_at <= closes_at(outcome), "a limit expired before its time"
        assert outcome.account.cash >= 0


def closes_at(outcome: BarOutcome) -> datetime:
    assert outcome.bar_at is not None
    return outcome.bar_at + BAR


def test_all_of_the_cash_is_put_in_at_a_price_whose_fee_is_rounded_up() -> None:
    """10 / 1.001 / 0.00004608 = 216,797.30858146: with its fee, rounded to 0.00999001, it costs 10.000000000000054."""
    bars = [tuple(map(D, ("0.00004608",) * 4 + ("10",)))] * 3
    made = config({"commission_rate": 0.001}, broker={"cash": 10}, trading={"position_size": 1})
    world = run(bars, [LONG], made, market=FINE)
    [trade] = world.trades
    assert trade.size == D("216797.09158029")  # of 9.99999999
    assert world.account.cash == 10 - trade.entry_value - trade.commission >= 0


# --- a fill has its time ---------------------------------------------------------------------------------------------


@st.composite
def candles(draw: st.DrawFn) -> list[tuple[Decimal, ...]]:
    """Up to a third up or down from bar to bar, with gaps, often without volume."""
    price, found = D(100), []
    for _ in range(draw(st.integers(5, 20))):
        open_ = price * D(draw(st.sampled_from([90, 97, 100, 100, 100, 104, 112]))) / 100
        close = open_ * D(draw(st.sampled_from([75, 96, 99, 100, 100, 101, 104, 140]))) / 100
        high = max(open_, close) * D(draw(st.integers(100, 110))) / 100
        low = min(open_, close) * D(draw(st.integers(90, 100))) / 100
        rounded = [max(value.quantize(MARKET.tick), MARKET.tick) for value in (open_, high, low, close)]
        found.append((*rounded, D(draw(st.sampled_from([0, 20, 500, 500])))))
        price = rounded[3]
    return found


scripts = st.lists(st.sampled_from([None, None, LONG, LONG, SHORT, EXIT]), min_size=20, max_size=20)
percents = st.none() | st.sampled_from([0.5, 3, 20])


@st.composite
def late(draw: st.DrawFn) -> BotConfig:
    """Orders that take from no time to more than two bars."""
    least = draw(st.sampled_from([0, 1, 400, 999, 1000, 2300]))
    kinds = st.sampled_from(["market", "limit"])
    return config(
        paper(
            draw,
            min_latency_ms=least,
            max_latency_ms=least + draw(st.sampled_from([0, 0, 1600])),
            reject_probability=draw(st.sampled_from([0, 0.4])),
        ),
        trading={
            "position_size": draw(st.sampled_from([0.05, 0.5, 1])),
            "allow_short": True,
            "order_type": draw(kinds),
            "exit_order_type": draw(kinds),
            "limit_offset_pct": draw(st.sampled_from([0, 0.5, 5])),
            "limit_ttl_bars": draw(st.integers(1, 4)),
        },
        risk_management={
            "stop_loss_pct": draw(percents),
            "take_profit_pct": draw(percents),
            "trailing_stop_pct": draw(percents),
        },
        data={"interval": "1s"},
    )


@settings(max_examples=400)
@given(candles(), scripts, late(), st.dictionaries(st.integers(1, 19), st.integers(1, 3), max_size=3))
def test_no_fill_is_before_its_order_arrived_or_after_its_bar(
    bars: list[Any], says: list[Any], made: BotConfig, gaps: dict[int, int]
) -> None:
    """Later than the bar's close only as far as the order was late, which is less than a bar; and never before another
    fill: so an entry is before its exits, and an order's parts are in order."""
    world = run(bars, says, made, gaps=gaps, bar_ms=SECOND_MS)
    newest: datetime | None = None
    for outcome in world.outcomes:
        orders = {order.client_order_id: order for order in outcome.orders}
        for fill in outcome.fills:
            arrived = orders[fill.client_order_id].arrives_at
            assert arrived is None or fill.filled_at >= arrived
            assert newest is None or fill.filled_at >= newest
            assert outcome.bar_at is not None
            assert fill.filled_at >= outcome.bar_at
            latest = max(at for at in (outcome.bar_at + SECOND, arrived, newest) if at is not None)
            assert fill.filled_at <= latest < outcome.bar_at + 2 * SECOND
            newest = fill.filled_at
    for trade in world.trades:
        assert trade.exit_at is None or trade.exit_at >= trade.entry_at


@settings(max_examples=60)
@given(candles(), scripts, late())
def test_stamps_are_the_same_after_a_restart_at_every_bar(bars: list[Any], says: list[Any], made: BotConfig) -> None:
    whole, restarted = (run(bars, says, made, restarts=restarts, bar_ms=SECOND_MS) for restarts in (False, True))
    assert restarted.fills == whole.fills
    assert restarted.account == whole.account


def test_the_leftover_of_a_late_limit_is_not_filled_before_it_arrived() -> None:
    made = config(
        {"min_latency_ms": 900, "max_latency_ms": 900, "max_volume_share": 0.1},
        trading={"order_type": "limit", "limit_ttl_bars": 3},
    )
    world = run([tuple(map(D, (100, 100, 100, 100, 20)))] * 4, [LONG], made)
    [order] = [order for order in world.orders.values() if order.leg is Leg.ENTRY]
    assert order.arrives_at is not None
    # 2 at the close, as far as it was known on arrival; 2 and 1 at the following opens, the first of which was before
    late_ms = [(fill.filled_at - order.arrives_at) / timedelta(milliseconds=1) for fill in world.fills]
    assert [fill.quantity for fill in world.fills] == [2, 2, 1]
    assert late_ms == [0, 0, BAR_MS - 900]


def test_a_late_short_is_not_liquidated_before_it_was_sold() -> None:
    """It is sold at the close, 900 ms after it; the open of the next bar, which takes it away, was sooner."""
    made = config({"min_latency_ms": 900, "max_latency_ms": 900}, trading={"position_size": 1, "allow_short": True})
    bars = [tuple(map(D, (price, price, price, price, 1000))) for price in (100, 300)]
    entry, leave = run(bars, [SHORT], made).fills
    assert leave.quantity == entry.quantity
    assert leave.filled_at == entry.filled_at


# --- what a position may be worth, and lose --------------------------------------------------------------------------


@st.composite
def limited(draw: st.DrawFn) -> BotConfig:
    kinds = st.sampled_from(["market", "market", "limit"])
    return config(
        paper(draw, min_latency_ms=draw(st.sampled_from([0, 0, 60_000]))),
        trading={
            "position_size": draw(st.sampled_from([0.3, 1])),
            "allow_short": True,
            "order_type": draw(kinds),
            "exit_order_type": draw(kinds),
            "limit_offset_pct": draw(st.sampled_from([0, 2])),
        },
        risk_management={
            "stop_loss_pct": draw(st.sampled_from([1, 5, 20])),
            "max_portfolio_risk": draw(st.sampled_from([0.5, 1, 10])),
            "max_exposure": draw(st.sampled_from([0.1, 0.5, 1])),
            "max_position_size": draw(st.sampled_from([50, 400, 5000])),
        },
    )


def rounded(price: Decimal, side: Side) -> Decimal:
    """To the tick against an order of that side, and at least one tick."""
    steps = (price / MARKET.tick).to_integral_value(ROUND_CEILING if side is Side.BUY else ROUND_FLOOR)
    return max(steps * MARKET.tick, MARKET.tick)


def slipped(made: BotConfig, quote: Decimal, side: Side, quantity: Decimal, volume: Decimal) -> Decimal:
    """docs/user/paper-trading.md, "Slippage"."""
    settings_ = made.document.broker.paper_trading_config
    match settings_.slippage_model:
        case "percentage":
            price = quote * (1 + side.sign * D(str(settings_.base_slippage)))
        case "fixed":
            price = quote + side.sign * 7 * MARKET.tick
        case "volume_share":
            most = D(settings_.max_volume_share or 1)
            share = min(quantity / volume, most) if volume else most
            price = quote * (1 + side.sign * D("0.1") * share * share)
        case _:
            price = quote
    return rounded(price, side)


def entries(world: World, made: BotConfig) -> Iterator[tuple[Trade, Decimal, Order, Decimal, Decimal]]:
    """Each trade with the equity before it, its entry as it was sent, and the prices expected for entry and stop."""
    sent: dict[str, tuple[Order, BarOutcome]] = {}
    for outcome in world.outcomes:
        for order in outcome.orders:
            sent.setdefault(order.client_order_id, (order, outcome))
    cash, before = D(1000), {}
    for fill in world.fills:
        before.setdefault(fill.client_order_id, cash)
        cash -= fill.side.sign * fill.price * fill.quantity + (fill.fee if fill.fee_currency == MARKET.quote else 0)
    for trade in world.trades:
        order, outcome = sent[trade.entry_order_id]
        candle, percent = outcome.candle, made.risk.stop_loss_pct
        assert candle is not None
        assert percent is not None
        side, other = trade.side, Side.SELL if trade.side is Side.BUY else Side.BUY
        quantity = order.quantity
        # a sale isn't made larger by its own slippage
        price = order.price or max(candle.close, slipped(made, candle.close, side, quantity, candle.volume))
        stop = rounded(price * (1 - side.sign * percent / 100), other)
        yield trade, before[order.client_order_id], order, price, slipped(made, stop, other, quantity, candle.volume)


@settings(max_examples=300)
@given(candles(), scripts, limited())
def test_a_position_is_worth_and_loses_no_more_than_docs_risk_says(
    bars: list[Any], says: list[Any], made: BotConfig
) -> None:
    world, risk = run(bars, says, made), made.risk
    assert risk.max_exposure is not None
    assert risk.max_position_size is not None
    assert risk.max_portfolio_risk_pct is not None
    document, size = made.document.broker.paper_trading_config, made.position_fraction
    fee = max(D(str(document.maker_commission_rate)), D(str(document.taker_commission_rate)))
    for trade, equity, order, price, stop in entries(world, made):
        worse = max(D(1), trade.entry_price / price)
        assert trade.entry_value <= equity * risk.max_exposure * worse + D("1e-12")
        assert trade.entry_value <= risk.max_position_size * worse + D("1e-12")
        counted = order.quantity * price
        assert counted <= min(equity * risk.max_exposure, equity * size, risk.max_position_size) + D("1e-12")
        if trade.is_open or trade.exit_price is None:
            continue
        sign, fills = trade.side.sign, [f for f in world.fills if f.filled_at >= trade.entry_at]
        worse_entry = max(D(0), sign * (trade.entry_price - price))
        worse_exit = max(D(0), sign * (stop - trade.exit_price))
        bound = (
            equity * risk.max_portfolio_risk_pct / 100
            + max(order.quantity, trade.size) * (1 + fee) * (worse_entry + worse_exit)
            + trade.dust * trade.entry_price
            + len(fills) * D("1e-8")
        )
        assert -trade.net_pnl <= bound


def lossy(risk: dict[str, Any], paper_: dict[str, Any], bars: list[tuple[Any, ...]]) -> Trade:
    made = config(paper_, trading={"position_size": 1}, risk_management=risk)
    [trade] = run([tuple(map(D, bar)) for bar in bars], [LONG], made).trades
    return trade


def test_the_slippage_of_the_stop_is_part_of_the_portfolio_risk() -> None:
    """1 % of 1,000 is 10, with a stop 1 % away that sells 1 % below its price."""
    paper_ = {"slippage_model": "percentage", "base_slippage": 0.01}
    bars = [(100, 100, 100, 100, 1000), (100, 100, 98, 98, 1000)]
    trade = lossy({"stop_loss_pct": 1, "max_portfolio_risk": 1}, paper_, bars)
    assert (trade.entry_price, trade.exit_price) == (101, D("98.99"))  # 99.99 less 1 %, on the tick
    assert trade.size == D("4.97")  # 10 / 2.01
    assert D("9.9") < -trade.net_pnl <= 10


@pytest.mark.parametrize(
    ("paper_", "sold_at"),
    [
        pytest.param({"slippage_model": "percentage", "base_slippage": 0.1}, D(90), id="percentage"),
        pytest.param({"slippage_model": "fixed", "fixed_slippage": 99.99}, D("0.01"), id="fixed, down to one tick"),
        pytest.param({"slippage_model": "fixed", "fixed_slippage": 500}, D("0.01"), id="fixed, beyond zero"),
        pytest.param({"slippage_model": "volume_share", "price_impact": 3}, D("0.01"), id="volume_share, beyond zero"),
    ],
)
@pytest.mark.parametrize("fill_price", ["close", "next_open"])
@pytest.mark.parametrize(
    ("risk", "most"),
    [
        pytest.param({}, 1000, id="equity"),
        pytest.param({"max_position_size": 300}, 300, id="max_position_size"),
        pytest.param({"max_exposure": 0.2}, 200, id="max_exposure"),
    ],
)
def test_slippage_never_makes_a_short_position_larger(
    paper_: dict[str, Any], sold_at: Decimal, fill_price: str, risk: dict[str, Any], most: int
) -> None:
    """Sold for less than the close, it is sized by the close, which is what it costs to buy it back."""
    made = config(
        {"fill_price": fill_price, **paper_},
        trading={"position_size": 1, "allow_short": True},
        risk_management=risk,
    )
    bars = [tuple(map(D, (100, 100, 100, 100, 1)))] * 2
    entry = run(bars, [SHORT], made).fills[0]
    assert entry.price == sold_at
    assert entry.quantity * 100 == most


def test_a_short_position_by_its_stop_and_the_slippage_there() -> None:
    """2 % of 1,000 is 20; counted from 100: the stop at 101 buys at 102.01, so 2.01 are lost with each."""
    made = config(
        {"slippage_model": "percentage", "base_slippage": 0.01},
        trading={"position_size": 1, "allow_short": True},
        risk_management={"stop_loss_pct": 1, "max_portfolio_risk": 2},
    )
    bars = [(100, 100, 100, 100, 1000), (99, 100, 99, 100, 1000)]
    [trade] = run([tuple(map(D, bar)) for bar in bars], [SHORT], made).trades
    # sold at 99, its stop at 99.99 buys at 100.99
    assert (trade.size, trade.entry_price, trade.exit_price) == (D("9.95"), 99, D("100.99"))
    assert D("19.8") < -trade.net_pnl <= 20


def test_beyond_it_a_gap_costs_as_much_as_docs_risk_says() -> None:
    paper_ = {"slippage_model": "percentage", "base_slippage": 0.01}
    trade = lossy(
        {"stop_loss_pct": 1, "max_portfolio_risk": 1}, paper_, [(100, 100, 100, 100, 1000), (90, 90, 90, 90, 1000)]
    )
    assert (trade.size, trade.exit_price) == (D("4.97"), D("89.10"))
    assert D("59.14") < -trade.net_pnl <= 10 + D("4.97") * D("9.89") < D("59.16")


def test_an_exposure_grows_with_the_gap_that_the_entry_pays() -> None:
    """Sized for a tenth at 100; the next open is 120."""
    trade = lossy(
        {"max_exposure": 0.1}, {"fill_price": "next_open"}, [(100, 100, 100, 100, 1000), (120, 120, 120, 120, 1000)]
    )
    assert (trade.size, trade.entry_value) == (1, 120)
