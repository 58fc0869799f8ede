from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from sandbox_exchange.book import Book, make_book

LOT = Decimal("0.001")


def _book(price: Decimal, *, tick: Decimal, now: int = 5_000, depth: int = 20) -> Book:
    return make_book(
        symbol="ETHBTC", price=price, tick=tick, lot_step=LOT, min_notional=Decimal("0.0001"), now=now, depth=depth
    )


@given(ticks=st.integers(1, 10**9), decimals=st.integers(0, 8))
def test_levels_are_ordered_on_the_grid_and_around_the_price(ticks: int, decimals: int) -> None:
    tick = Decimal(1).scaleb(-decimals)
    price = ticks * tick

    book = _book(price, tick=tick)

    assert all(better.price > worse.price for better, worse in pairwise(book.bids))
    assert all(better.price < worse.price for better, worse in pairwise(book.asks))
    assert all(level.price < price for level in book.bids)
    assert all(level.price > price for level in book.asks)
    assert len(book.asks) == 20
    for level in (*book.bids, *book.asks):
        assert level.price > 0
        assert level.price % tick == 0
        assert level.quantity > 0
        assert level.quantity % LOT == 0


def test_a_book_is_stable_within_a_second_and_changes_afterwards() -> None:
    price, tick = Decimal("0.1"), Decimal("0.00001")

    assert _book(price, tick=tick, now=5_000) == _book(price, tick=tick, now=5_999)
    assert _book(price, tick=tick, now=5_000) != _book(price, tick=tick, now=6_000)
    assert _book(price, tick=tick, now=5_000).update_id < _book(price, tick=tick, now=6_000).update_id


def test_a_shallow_book_is_the_top_of_the_deep_one() -> None:
    price, tick = Decimal("0.1"), Decimal("0.00001")

    assert _book(price, tick=tick, depth=100).bids[:5] == _book(price, tick=tick, depth=5).bids
