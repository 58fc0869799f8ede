"""Slippage and fees by hand; and what holds for any number."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botrunner.market.side import Side
from botrunner.trading.costs import Costs, base_fee, costs_of, fee, market_price
from fleet.config import SlippageModel
from tests.unit.botrunner.paper_world import MARKET, config

D = Decimal


def costs(**changes: Any) -> Costs:
    """Nothing costs anything, unless asked for."""
    return replace(costs_of(config(), MARKET), **changes)


def slipping(model: SlippageModel, slippage: str, **changes: Any) -> Costs:
    return costs(slippage_model=model, slippage=D(slippage), **changes)


@pytest.mark.parametrize(
    ("made", "side", "quantity", "expected"),
    [
        pytest.param(costs(), Side.BUY, 10, "100.00", id="none"),
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
def test_market_price(made: Costs, side: Side, quantity: int, expected: str) -> None:
    found = market_price(D(100), side=side, quantity=D(quantity), volume=D(1000), costs=made, market=MARKET)
    assert found == D(expected)


def test_a_candle_without_volume_costs_the_whole_impact() -> None:
    made = slipping(SlippageModel.VOLUME_SHARE, "0.1")
    assert market_price(D(100), side=Side.BUY, quantity=D(1), volume=D(0), costs=made, market=MARKET) == 110


def test_a_volume_of_less_than_one_is_a_volume() -> None:
    made = slipping(SlippageModel.VOLUME_SHARE, "0.1")
    found = market_price(D(100), side=Side.BUY, quantity=D("0.25"), volume=D("0.5"), costs=made, market=MARKET)
    assert found == D("102.50")


@given(
    st.sampled_from(SlippageModel), st.decimals("0", "0.1", places=4), st.sampled_from(Side),
    st.decimals("0.01", "999", places=4), st.decimals("0.01", "9999", places=2), st.decimals("0", "9999", places=2),
)  # fmt: skip
def test_never_better_than_quoted_and_on_the_tick(
    model: SlippageModel, slippage: Decimal, side: Side, quote: Decimal, quantity: Decimal, volume: Decimal
) -> None:
    made = costs(slippage_model=model, slippage=slippage)
    price = market_price(quote, side=side, quantity=quantity, volume=volume, costs=made, market=MARKET)
    assert price % MARKET.tick == 0
    assert price >= MARKET.tick
    assert price >= quote if side is Side.BUY else price <= quote


def test_fees_by_who_made_the_market() -> None:
    made = costs(maker_fee=D("0.0002"), taker_fee=D("0.001"))
    assert fee(price=D("99.99"), quantity=D("1.23"), maker=True, costs=made) == D("0.02459754")  # 0.0245975400
    assert fee(price=D("99.99"), quantity=D("1.23"), maker=False, costs=made) == D("0.12298770")
    assert base_fee(quantity=D("1.23456789"), maker=False, costs=made) == D("0.00123457")  # 0.00123456789
    assert base_fee(quantity=D("1.23456789"), maker=True, costs=made) == D("0.00024691")  # 0.000246913578
    assert [costs(maker_fee=D(a), taker_fee=D(b)).highest_fee for a, b in ((1, 2), (2, 1))] == [2, 2]
