"""Prices, quantities and times by hand; and what holds for any number."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from botrunner.execution.paper import matching
from botrunner.execution.paper.matching import (
    PaperRules,
    bankruptcy_price,
    fillable,
    latency,
    liquidation_price,
    paper_rules,
    rejected,
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
