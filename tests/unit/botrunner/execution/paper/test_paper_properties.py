"""What holds for any candles, any signals and any paper settings.

Each example is a whole run. The books are kept a second time here, from the fills alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from botrunner.market.side import Side
from botrunner.trading.order_ids import Leg
from botrunner.trading.orders import Order
from botrunner.trading.trades import Trade, apply_fill
from fleet.config import BotConfig
from fleet.states import ORDER_TRANSITIONS, OrderState
from tests.unit.botrunner.paper_world import EXIT, LONG, MARKET, SHORT, World, config, run

D = Decimal
START = D(1000)
EXACT = D("1e-18")
TINY = replace(MARKET, min_notional=D(20))


@st.composite
def candles(draw: st.DrawFn) -> list[tuple[Decimal, ...]]:
    """Sound candles: up to a third up or down from bar to bar, often without volume."""
    price, found = D(100), []
    for _ in range(draw(st.integers(5, 25))):
        open_ = price * D(draw(st.sampled_from([97, 100, 100, 100, 104]))) / 100
        close = open_ * D(draw(st.integers(70, 140))) / 100
        high = max(open_, close) * D(draw(st.integers(100, 110))) / 100
        low = min(open_, close) * D(draw(st.integers(90, 100))) / 100
        volume = D(draw(st.sampled_from([0, 1, 20, 500])))
        rounded = [value.quantize(MARKET.tick) for value in (open_, high, low, close)]
        found.append((*(max(value, MARKET.tick) for value in rounded), volume))
        price = rounded[3]
    return found


scripts = st.lists(st.sampled_from([None, None, LONG, LONG, SHORT, EXIT]), min_size=25, max_size=25)
probabilities = st.sampled_from([0, 0.3, 0.9])
percents = st.none() | st.sampled_from([0.5, 3, 20])


@st.composite
def settings_of_paper(draw: st.DrawFn) -> BotConfig:
    model = draw(st.sampled_from(["none", "fixed", "percentage", "volume_share"]))
    paper: dict[str, Any] = {
        "slippage_model": model,
        "base_slippage": 0.002,
        "maker_commission_rate": draw(st.sampled_from([0, 0.001])),
        "taker_commission_rate": draw(st.sampled_from([0, 0.0025])),
        "fee_currency": draw(st.sampled_from(["quote", "base"])),
        "fill_price": draw(st.sampled_from(["close", "next_open"])),
        "max_volume_share": draw(st.sampled_from([None, 0.05, 1])),
        "partial_fill_probability": draw(probabilities),
        "reject_probability": draw(probabilities),
        "min_latency_ms": draw(st.sampled_from([0, 300])),
        "max_latency_ms": draw(st.sampled_from([None, 60_000])),
        "seed": draw(st.integers(0, 3)),
        **({"slippage_ticks": 7} if model == "fixed" else {}),
    }
    kinds = st.sampled_from(["market", "limit"])
    return config(
        paper,
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
    )


runs = given(candles(), scripts, settings_of_paper())


@settings(max_examples=120)
@runs
def test_the_books_balance(bars: list[Any], says: list[Any], made: BotConfig) -> None:
    """From the fills alone: cash, holdings and dust; from closed trades: the cash of a flat account."""
    world = run(bars, says, made, market=TINY)
    cash, held = START, D(0)
    for fill in world.fills:
        cash -= fill.side.sign * fill.price * fill.quantity
        held += fill.side.sign * fill.quantity
        if fill.fee_currency == MARKET.quote:
            cash -= fill.fee
        else:
            held -= fill.fee
    account = world.account
    position = account.trade.side.sign * account.trade.size_open if account.trade else D(0)
    assert account.cash == cash
    assert position + account.dust == held
    if account.trade is None:
        assert abs(account.cash - START - sum((t.net_pnl for t in world.trades), D(0))) < EXACT
    assert abs(account.total_pnl - sum((t.net_pnl for t in world.trades if not t.is_open), D(0))) < EXACT
    for trade in world.trades:
        assert abs(trade.gross_pnl - trade.commission - trade.net_pnl) < EXACT
        assert trade.size == trade.base_fee + trade.dust + trade.size_open + trade.sold
        assert 0 <= trade.dust * (trade.exit_price or 0) <= max(TINY.min_notional, bars_high(bars) * TINY.step) * 2


def bars_high(bars: list[Any]) -> Decimal:
    return max(D(bar[1]) for bar in bars)


@settings(max_examples=100)
@runs
def test_trades_follow_from_orders_and_fills(bars: list[Any], says: list[Any], made: BotConfig) -> None:
    world = run(bars, says, made, market=TINY)
    replayed = list(replay(world))
    assert [t.entry_order_id for t in replayed] == [t.entry_order_id for t in world.trades]
    for again, trade in zip(replayed, world.trades, strict=True):
        if trade.dust or trade.is_open:
            again = replace(again, dust=trade.dust, size_open=again.size_open - trade.dust)
            again = replace(again, exit_at=trade.exit_at, exit_reason=trade.exit_reason, exit_kind=trade.exit_kind)
        assert again == trade


def replay(world: World) -> Iterator[Trade]:
    """The trades of the fills, an entry order each."""
    orders, trade = world.orders, None
    for fill in world.fills:
        order = orders[fill.client_order_id]
        if order.leg is Leg.ENTRY and trade is not None and trade.entry_order_id != order.client_order_id:
            yield trade
            trade = None
        in_base = fill.fee_currency != MARKET.quote
        trade = apply_fill(
            trade,
            fill,
            signal_at=order.signal_at,
            reason=order.reason,
            kind=order.exit_kind,
            fee_quote=fill.fee * fill.price if in_base else fill.fee,
            fee_base=fill.fee if in_base else D(0),
        )
    if trade is not None:
        yield trade


@settings(max_examples=100)
@runs
def test_a_restart_at_every_bar_changes_nothing(bars: list[Any], says: list[Any], made: BotConfig) -> None:
    whole, restarted = run(bars, says, made), run(bars, says, made, restarts=True)
    assert restarted.outcomes == whole.outcomes
    assert restarted.script.told == whole.script.told
    assert restarted.script.seen == whole.script.seen


@settings(max_examples=120)
@runs
def test_no_account_is_ever_overdrawn(bars: list[Any], says: list[Any], made: BotConfig) -> None:
    for outcome in run(bars, says, made).outcomes:
        assert outcome.account.cash >= 0
        trade = outcome.account.trade
        assert trade is None or trade.size_open > 0


@settings(max_examples=120)
@runs
def test_orders_move_legally_and_never_fill_too_much(bars: list[Any], says: list[Any], made: BotConfig) -> None:
    world = run(bars, says, made)
    last: dict[str, Order] = {}
    for outcome in world.outcomes:
        for order in outcome.orders:
            before = last.get(order.client_order_id)
            if before is not None:
                assert before.state is order.state or order.state in reachable(before.state)
                assert before.filled_quantity <= order.filled_quantity
            assert 0 <= order.filled_quantity <= order.quantity
            assert (order.state is OrderState.FILLED) == (order.filled_quantity == order.quantity)
            last[order.client_order_id] = order
        refused = Counter((o.leg, o.signal_at) for o in outcome.orders if o.state is OrderState.REJECTED)
        assert all(count == 1 for count in refused.values()), "tried twice at one bar"
    for order in last.values():
        parts = [fill.quantity for fill in world.fills if fill.client_order_id == order.client_order_id]
        assert (sum(parts), len(parts)) == (order.filled_quantity, order.fill_count)
    left: set[str] = set()
    for fill in world.fills:
        order = last[fill.client_order_id]
        assert not (order.leg is Leg.ENTRY and order.client_order_id in left), "bought more while leaving"
        if order.leg is Leg.ENTRY:
            entry = order.client_order_id
        else:
            left.add(entry)
    assert len({fill.exchange_trade_id for fill in world.fills}) == len(world.fills)
    assert len({(o.signal_at, o.leg, o.attempt) for o in last.values()}) == len(last)
    assert len({trade.entry_at for trade in world.trades}) == len(world.trades)


def reachable(state: OrderState) -> set[OrderState]:
    found: set[OrderState] = set()
    todo = {state}
    while todo:
        following = set().union(*(ORDER_TRANSITIONS[one] for one in todo)) - found
        found |= following
        todo = following
    return found


@settings(max_examples=120)
@runs
def test_a_position_is_always_watched(bars: list[Any], says: list[Any], made: BotConfig) -> None:
    """At each bar's end a position is covered by a stop for all that can be sold, is being closed, or its stop was
    refused at this very bar."""
    for outcome in run(bars, says, made).outcomes:
        account = outcome.account
        orders = {order.leg: order for order in account.orders}
        assert len(orders) == len(account.orders)
        if account.trade is None:
            assert set(orders) <= {Leg.ENTRY}
            continue
        sellable = MARKET.round_quantity(account.trade.size_open)
        stop, exit_ = orders.get(Leg.STOP_LOSS), orders.get(Leg.EXIT)
        risk = made.risk
        if sellable and (risk.stop_loss_pct or risk.trailing_stop_pct):
            assert stop is not None
            assert stop.state is OrderState.REJECTED or stop.leaves_quantity == sellable
        if stop is not None and stop.working:
            assert set(orders) == {Leg.STOP_LOSS}
        if exit_ is not None:
            assert Leg.ENTRY not in orders


@settings(max_examples=80)
@runs
def test_no_order_takes_more_of_a_bar_than_its_share(bars: list[Any], says: list[Any], made: BotConfig) -> None:
    world = run(bars, says, made)
    share = made.document.broker.paper_trading_config.max_volume_share
    for outcome in world.outcomes:
        taken = Counter(fill.client_order_id for fill in outcome.fills)
        assert all(count == 1 for count in taken.values())
        for fill in outcome.fills:
            assert outcome.candle is not None
            if share is not None and world.orders[fill.client_order_id].leg is not Leg.LIQUIDATION:
                assert fill.quantity <= outcome.candle.volume * share


@settings(max_examples=80)
@runs
def test_a_limit_is_kept_and_a_fill_lies_on_the_tick(bars: list[Any], says: list[Any], made: BotConfig) -> None:
    world = run(bars, says, made)
    for outcome in world.outcomes:
        prices = {o.client_order_id: o for o in outcome.orders}
        for fill in outcome.fills:
            order = prices[fill.client_order_id]
            assert fill.price % MARKET.tick == 0
            if order.type == "limit" and not short_cover(order):
                assert order.price is not None
                assert fill.price <= order.price if fill.side is Side.BUY else fill.price >= order.price


def short_cover(order: Order) -> bool:
    return order.side is Side.BUY and order.leg is not Leg.ENTRY
