from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botrunner.execution.paper.draws import What, between, draw, happens, part_of
from botrunner.market.side import Side
from botrunner.trading.order_ids import Leg
from botrunner.trading.orders import Order, OrderType

AT = datetime(2018, 1, 10, tzinfo=UTC)
MOST = 2**64 - 1


def order(leg: Leg = Leg.ENTRY, attempt: int = 0, minute: int = 0) -> Order:
    return Order(
        client_order_id="c" * 32, signal_at=AT + timedelta(minutes=minute), leg=leg, attempt=attempt, side=Side.BUY,
        type=OrderType.MARKET, quantity=Decimal(1), price=None, reason="",
    )  # fmt: skip


def test_a_draw_is_the_same_in_every_version() -> None:
    # a changed draw would let a bot that was updated go on differently from its backtest
    assert draw(0, order(), What.REJECT) == 10226977306596786440
    assert draw(0, order(), What.PART, bar_at=AT) == 20463789464842675


drawn = st.tuples(
    st.integers(0, 2**53), st.sampled_from(Leg), st.integers(0, 9), st.integers(0, 9), st.sampled_from(What)
)


@given(drawn, drawn)
def test_different_decisions_are_drawn_apart(one: tuple[object, ...], other: tuple[object, ...]) -> None:
    def found(key: tuple[object, ...]) -> int:
        seed, leg, attempt, minute, what = key
        return draw(seed, order(leg, attempt, minute), what)

    assert (found(one) == found(other)) == (one == other)


def test_draws_are_uniform_enough() -> None:
    hits = sum(happens(draw(0, order(minute=n), What.REJECT), Decimal("0.1")) for n in range(5000))
    assert 430 < hits < 570  # 500 ± 3.3 standard deviations of 21


@pytest.mark.parametrize(("probability", "low", "high"), [("0", False, False), ("1", True, True), ("0.5", True, False)])
def test_happens(probability: str, low: bool, high: bool) -> None:
    assert (happens(0, Decimal(probability)), happens(MOST, Decimal(probability))) == (low, high)


def test_ranges_include_both_ends() -> None:
    assert (between(0, 10, 100), between(MOST, 10, 100), between(MOST, 7, 7)) == (10, 100, 7)
    assert (part_of(0, 5), part_of(MOST, 5), part_of(MOST, 1)) == (1, 5, 1)
