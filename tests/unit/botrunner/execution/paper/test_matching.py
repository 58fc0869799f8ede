"""Prices, quantities and fees by hand; and what holds for any number."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botrunner.execution.paper import matching
from botrunner.execution.paper.matching import (
    PaperRules,
    bankruptcy_price,
    base_fee,
    fee,
    fillable,
    latency,
    limit_price,
    liquidation_price,
    market_price,
    paper_rules,
    rejected,
    sellable,
)
from botrunner.market.candle import Candle
from botrunner.market.side import Side
from botrunner.trading.order_ids import Leg
from botrunner.trading.orders import Order, OrderType
from fleet.config import SlippageModel
from tests.unit.botrunner.paper_world import MARKET, config

D = Decimal
AT = datetime(2018, 1, 10, tzinfo=UTC)


def rules(**changes: Any) -> PaperRules:
    """Nothing costs anything, takes time or happens by chance, unless asked for."""
    return replace(paper_rules(config(), MARKET), **changes)


def order(quantity: str = "10", side: Side = Side.BUY, **changes: Any) -> Order:
    made = Order(
        client_order_id="c" * 32, signal_at=AT, leg=Leg.ENTRY, attempt=0, side=side, type=OrderType.MARKET,
        quantity=D(quantity), price=None, reason="",
    )  # fmt: skip
    return replace(made, **changes)


def candle(*prices: Any, volume: str = "1000") -> Candle:
    return Candle(0, *map(D, map(str, prices)), D(volume))


def slipping(model: SlippageModel, slippage: str, **changes: Any) -> PaperRules:
    return rules(slippage_model=model, slippage=D(slippage), **changes)


@pytest.mark.parametrize(
    ("made", "side", "quantity", "expected"),
    [
        pytest.param(rules(), Side.BUY, 10, "100.00", id="none"),
        pytest.param(slipping(SlippageModel.FIXED, "0.25"), Side.BUY, 10, "100.25", id="fixed, buy"),
        pytest.param(slipping(SlippageModel.FIXED, "0.25"), Side.SELL, 10, "99.75", id="fixed, sell"),
        pytest.param(slipping(SlippageModel.FIXED, "250"), Side.SELL, 10, "0.01", id="never below a tick"),
        pytest.param(slipping(SlippageModel.PERCENTAGE, "0.00051"), Side.BUY, 10, "100.06", id="rounded against a buy"),
        pytest.param(slipping(SlippageModel.PERCENTAGE, "0.00051"), Side.SELL, 10, "99.94", id="and against a sale"),
        # a quarter of the volume: 100 × (1 + 0.1 × 0.25²) = 100.625
        pytest.param(slipping(SlippageModel.VOLUME_SHARE, "0.1"), Side.BUY, 250, "100.63", id="volume share, buy"),
        pytest.param(slipping(SlippageModel.VOLUME_SHARE, "0.1"), Side.SELL, 250, "99.37", id="volume share, sale"),
        # more than everything counts as everything
        pytest.param(slipping(SlippageModel.VOLUME_SHARE, "0.1"), Side.BUY, 5000, "110.00", id="share at most one"),
        pytest.param(
            slipping(SlippageModel.VOLUME_SHARE, "0.1", max_volume_share=D("0.5")), Side.BUY, 5000, "102.50",
            id="share at most what one order may take",
        ),
    ],
)  # fmt: skip
def test_market_price(made: PaperRules, side: Side, quantity: int, expected: str) -> None:
    found = market_price(D(100), side=side, quantity=D(quantity), volume=D(1000), rules=made, market=MARKET)
    assert found == D(expected)


def test_a_candle_without_volume_costs_the_whole_impact() -> None:
    made = slipping(SlippageModel.VOLUME_SHARE, "0.1")
    assert market_price(D(100), side=Side.BUY, quantity=D(1), volume=D(0), rules=made, market=MARKET) == 110


def test_a_volume_of_less_than_one_is_a_volume() -> None:
    made = slipping(SlippageModel.VOLUME_SHARE, "0.1")
    found = market_price(D(100), side=Side.BUY, quantity=D("0.25"), volume=D("0.5"), rules=made, market=MARKET)
    assert found == D("102.50")


@given(
    st.sampled_from(SlippageModel), st.decimals("0", "0.1", places=4), st.sampled_from(Side),
    st.decimals("0.01", "999", places=4), st.decimals("0.01", "9999", places=2), st.decimals("0", "9999", places=2),
)  # fmt: skip
def test_never_better_than_quoted_and_on_the_tick(
    model: SlippageModel, slippage: Decimal, side: Side, quote: Decimal, quantity: Decimal, volume: Decimal
) -> None:
    made = rules(slippage_model=model, slippage=slippage)
    price = market_price(quote, side=side, quantity=quantity, volume=volume, rules=made, market=MARKET)
    assert price % MARKET.tick == 0
    assert price >= MARKET.tick
    assert price >= quote if side is Side.BUY else price <= quote


@pytest.mark.parametrize(
    ("side", "close", "pct", "expected"),
    [
        (Side.BUY, "100", "1", "99.00"),
        (Side.SELL, "100", "1", "101.00"),
        (Side.BUY, "100", "10", "90.00"),
        (Side.BUY, "99.99", "0.5", "99.49"),  # 99.49005 down
        (Side.SELL, "99.99", "0.5", "100.49"),  # 100.48995 up
        (Side.BUY, "0.01", "50", "0.01"),  # at least a tick
    ],
)
def test_limit_price(side: Side, close: str, pct: str, expected: str) -> None:
    assert limit_price(D(close), side=side, offset_pct=D(pct), market=MARKET) == D(expected)


@pytest.mark.parametrize(
    ("share", "volume", "quantity", "expected"),
    [
        (None, "0", "10", "10"),
        ("0.1", "1000", "10", "10"),
        ("0.1", "50.59", "10", "5.05"),  # 5.059, down to the step
        ("0.1", "0", "10", "0"),
        ("0.1", "0.05", "10", "0"),  # 0.005 is less than a step
        ("1", "3", "10", "3"),
    ],
)
def test_a_bar_fills_a_share_of_its_volume(share: str | None, volume: str, quantity: str, expected: str) -> None:
    made = rules(max_volume_share=None if share is None else D(share))
    assert fillable(order(quantity), candle(1, 1, 1, 1, volume=volume), rules=made, market=MARKET) == D(expected)


def test_a_share_is_of_what_the_order_leaves() -> None:
    half_filled = order("10", filled_quantity=D(8))
    assert fillable(half_filled, candle(1, 1, 1, 1), rules=rules(), market=MARKET) == 2


LOW, AT_PRICE, HIGH = "99.99", "100", "100.01"


@pytest.mark.parametrize(
    ("rule", "side", "price", "expected"),
    [
        # a limit executes at once if the quote of 100 is no worse than its price
        ("marketable", Side.BUY, LOW, False),
        ("marketable", Side.BUY, AT_PRICE, True),
        ("marketable", Side.BUY, HIGH, True),
        ("marketable", Side.SELL, LOW, True),
        ("marketable", Side.SELL, AT_PRICE, True),
        ("marketable", Side.SELL, HIGH, False),
        # the candle's lowest price is 90, its highest 110
        ("touched", Side.BUY, "89.99", False),
        ("touched", Side.BUY, "90", True),
        ("touched", Side.BUY, "110.01", True),
        ("touched", Side.SELL, "110.01", False),
        ("touched", Side.SELL, "110", True),
        ("touched", Side.SELL, "89.99", True),
        ("triggered", Side.BUY, "110.01", False),
        ("triggered", Side.BUY, "110", True),
        ("triggered", Side.BUY, "89.99", True),
        ("triggered", Side.SELL, "89.99", False),
        ("triggered", Side.SELL, "90", True),
        ("triggered", Side.SELL, "110.01", True),
        # it opened at 100: a limit gets the better of open and price, a stop the worse
        ("resting_price", Side.BUY, LOW, LOW),
        ("resting_price", Side.BUY, HIGH, "100"),
        ("resting_price", Side.SELL, LOW, "100"),
        ("resting_price", Side.SELL, HIGH, HIGH),
        ("stop_quote", Side.BUY, LOW, "100"),
        ("stop_quote", Side.BUY, HIGH, HIGH),
        ("stop_quote", Side.SELL, LOW, LOW),
        ("stop_quote", Side.SELL, HIGH, "100"),
    ],
)
def test_what_a_candle_does_to_a_price(rule: str, side: Side, price: str, expected: bool | str) -> None:
    kind = OrderType.STOP if rule in ("triggered", "stop_quote") else OrderType.LIMIT
    given = order(side=side, type=kind, price=D(price))
    found: Any = getattr(matching, rule)(given, D(100) if rule == "marketable" else candle(100, 110, 90, 105))
    assert found == (expected if isinstance(expected, bool) else D(expected))


def test_partial_fills_take_every_size_and_at_least_a_step() -> None:
    made = rules(partial_fill=D(1))
    found = {
        fillable(order("0.05"), Candle(n * 60_000, D(1), D(1), D(1), D(1), D(1)), rules=made, market=MARKET)
        for n in range(100)
    }
    assert found == {D("0.01"), D("0.02"), D("0.03"), D("0.04"), D("0.05")}


def test_partial_fills_come_as_often_as_asked_for() -> None:
    made = rules(partial_fill=D("0.3"))
    candles = [Candle(n * 60_000, D(1), D(1), D(1), D(1), D(1)) for n in range(2000)]
    whole = sum(fillable(order("1000"), candle, rules=made, market=MARKET) == 1000 for candle in candles)
    assert 1330 < whole < 1470  # 1400 ± 3.4 standard deviations of 20


def test_fees_by_who_made_the_market() -> None:
    made = rules(maker_fee=D("0.0002"), taker_fee=D("0.001"))
    assert fee(price=D("99.99"), quantity=D("1.23"), maker=True, rules=made) == D("0.02459754")  # 0.0245975400
    assert fee(price=D("99.99"), quantity=D("1.23"), maker=False, rules=made) == D("0.12298770")
    assert base_fee(quantity=D("1.23456789"), maker=False, rules=made) == D("0.00123457")  # 0.00123456789
    assert base_fee(quantity=D("1.23456789"), maker=True, rules=made) == D("0.00024691")  # 0.000246913578
    assert [rules(maker_fee=D(a), taker_fee=D(b)).highest_fee for a, b in ((1, 2), (2, 1))] == [2, 2]


@pytest.mark.parametrize(
    ("quantity", "price", "smallest", "minimum", "expected"),
    [
        ("1.239", "100", "0.01", "0", "1.23"),
        ("0.009", "100", "0.01", "0", "0"),
        ("0.09", "100", "0.01", "10", "0"),
        ("0.1", "100", "0.01", "10", "0.1"),
        # enough by value, not by quantity
        ("0.49", "100", "0.5", "10", "0"),
        ("0.5", "100", "0.5", "10", "0.5"),
        ("19", "0.5", "0.01", "10", "0"),
        ("20", "0.5", "0.01", "10", "20"),
    ],
)
def test_sellable(quantity: str, price: str, smallest: str, minimum: str, expected: str) -> None:
    market = replace(MARKET, min_quantity=D(smallest), min_notional=D(minimum))
    assert sellable(D(quantity), price=D(price), market=market) == D(expected)


def test_latency_lies_within_its_bounds() -> None:
    made = rules(min_latency_ms=10, max_latency_ms=12)
    found = {latency(replace(order(), attempt=n), made).total_seconds() for n in range(50)}
    assert found == {0.010, 0.011, 0.012}
    assert latency(order(), rules()).total_seconds() == 0


def test_an_exchange_refuses_never_always_or_by_chance() -> None:
    orders = [order(attempt=number) for number in range(1000)]
    refused = [sum(rejected(each, rules(reject=D(chance))) for each in orders) for chance in ("0", "0.3", "1")]
    assert refused[0] == 0
    assert 250 < refused[1] < 350
    assert refused[2] == 1000


def test_margin_of_a_short_position() -> None:
    # sold 5 at 100 with 1000 in cash: 1500 in cash, a debt of 5
    assert liquidation_price(cash=D(1500), size=D(5)) == D(1500) / D("5.25")  # 285.71: equity 71.43 = 5 % of 1428.57
    made = rules(taker_fee=D("0.001"))
    assert bankruptcy_price(cash=D(1500), size=D(5), rules=made, market=MARKET) == D("299.70")


@pytest.mark.parametrize(
    ("paper", "expected"),
    [
        ({}, {"maker_fee": D("0.001"), "taker_fee": D("0.001"), "slippage": D(0), "seed": 0}),
        # a config that simulates nothing
        (
            {},
            {
                "fee_in_base": False, "max_volume_share": None,
                "partial_fill": D(0), "reject": D(0), "min_latency_ms": 0, "max_latency_ms": 0,
            },
        ),
        (
            {"partial_fill_probability": 0.3, "reject_probability": 0.2, "max_volume_share": 0.1, "seed": 4},
            {"partial_fill": D("0.3"), "reject": D("0.2"), "max_volume_share": D("0.1"), "seed": 4},
        ),
        ({"commission_rate": 0.002}, {"maker_fee": D("0.002"), "taker_fee": D("0.002")}),
        (
            {"commission_rate": 0.002, "maker_commission_rate": 0},
            {"maker_fee": D(0), "taker_fee": D("0.002")},
        ),
        ({"taker_commission_rate": 0.003}, {"maker_fee": D("0.001"), "taker_fee": D("0.003")}),
        ({"base_slippage": 0.0005}, {"slippage_model": SlippageModel.PERCENTAGE, "slippage": D("0.0005")}),
        ({"slippage_model": "none", "base_slippage": 0.0005}, {"slippage": D(0)}),
        ({"slippage_model": "fixed", "slippage_ticks": 3}, {"slippage": D("0.03")}),
        ({"slippage_model": "fixed", "fixed_slippage": 0.5}, {"slippage": D("0.5")}),
        ({"slippage_model": "volume_share"}, {"slippage": D("0.1")}),
        ({"slippage_model": "volume_share", "price_impact": 0.2}, {"slippage": D("0.2")}),
        ({"min_latency_ms": 10, "max_latency_ms": 100}, {"min_latency_ms": 10, "max_latency_ms": 100}),
        ({"min_latency_ms": 10}, {"min_latency_ms": 10, "max_latency_ms": 10}),
        ({"max_latency_ms": 100}, {"min_latency_ms": 0, "max_latency_ms": 100}),
        ({"fee_currency": "base"}, {"fee_in_base": True}),
    ],
)  # fmt: skip
def test_rules_of_a_config(paper: dict[str, Any], expected: dict[str, Any]) -> None:
    made = paper_rules(config({"commission_rate": None, **paper}), MARKET)
    assert {key: getattr(made, key) for key in expected} == expected


def test_the_seed_defaults_to_zero_and_the_broker_names_its_fees() -> None:
    market = replace(MARKET, maker_fee=D("0.0001"), taker_fee=D("0.0004"))
    made = paper_rules(config({"commission_rate": None}), market)
    assert (made.maker_fee, made.taker_fee) == (D("0.0001"), D("0.0004"))
