from __future__ import annotations

from decimal import Decimal

import pytest

from sandbox_exchange.symbols import Pair, UnknownPair, pair_from_name, rules_for


@pytest.mark.parametrize(
    ("name", "pair"),
    [
        ("ETH_BTC", Pair("ETH", "BTC")),
        ("ETHBTC", Pair("ETH", "BTC")),
        ("BTCFDUSD", Pair("BTC", "FDUSD")),
        ("ABC_XYZ", Pair("ABC", "XYZ")),
    ],
)
def test_names_are_split_into_base_and_quote(name: str, pair: Pair) -> None:
    assert pair_from_name(name) == pair


@pytest.mark.parametrize("name", ["ABCXYZ", "BTC"])
def test_a_name_without_a_known_quote_is_refused(name: str) -> None:
    with pytest.raises(UnknownPair, match="write BASE_QUOTE"):
        pair_from_name(name)


@pytest.mark.parametrize(
    ("pair", "price", "lot_step"),
    [
        (Pair("BTC", "USDT"), "60000", "0.00001"),  # known
        (Pair("PEPE", "USDT"), "0.00001", "1"),  # a step worth next to nothing is one unit
        (Pair("YFI", "USDT"), "5000", "0.0001"),  # 5 / 10 / 5000 = 0.0001
        (Pair("GOLD", "BTC"), "70000", "0.00000001"),  # never finer than Binance's eight decimals
    ],
)
def test_lot_steps_are_plausible(pair: Pair, price: str, lot_step: str) -> None:
    assert rules_for(pair, tick=Decimal("0.01"), price=Decimal(price)).lot_step == Decimal(lot_step)


def test_filters_name_tick_step_and_minimum() -> None:
    rules = rules_for(Pair("ETH", "BTC"), tick=Decimal("0.00001"), price=Decimal("0.1"))
    filters = {str(entry["filterType"]): entry for entry in rules.filters()}

    assert filters["PRICE_FILTER"]["tickSize"] == "0.00001000"
    assert filters["LOT_SIZE"]["stepSize"] == "0.00010000"
    assert filters["NOTIONAL"]["minNotional"] == "0.00010000"
    assert "MARKET_LOT_SIZE" in filters
