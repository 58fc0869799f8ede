"""Rules of a market that no exchange told."""

from __future__ import annotations

from decimal import Decimal

import pytest

from botrunner.market.rules import currencies, file_market


@pytest.mark.parametrize(
    ("symbol", "base", "quote"),
    [
        ("ETHBTC", "ETH", "BTC"),
        ("BTCUSDT", "BTC", "USDT"),
        ("BTCEUR", "BTC", "EUR"),
        ("USDCUSDT", "USDC", "USDT"),
        ("BTC", "BTC", "QUOTE"),
        ("AAPL", "AAPL", "QUOTE"),
    ],
)
def test_the_currencies_of_a_symbol(symbol: str, base: str, quote: str) -> None:
    assert currencies(symbol) == (base, quote)


def test_a_market_without_an_exchange_has_no_minimums_and_can_be_sold_short() -> None:
    market = file_market("ETHBTC", step=Decimal("0.001"))
    assert (market.tick, market.min_quantity, market.min_notional) == (Decimal("1e-8"), Decimal("0.001"), Decimal(0))
    assert market.can_short
