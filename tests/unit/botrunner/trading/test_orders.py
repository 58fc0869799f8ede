from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botrunner.market.side import Side
from botrunner.trading.order_ids import Leg
from botrunner.trading.orders import Fill, IllegalTransition, Order, OrderType, filled, moved
from fleet.states import ORDER_TRANSITIONS, OrderState

NOW = datetime(2018, 1, 10, tzinfo=UTC)
D = Decimal
TWO = D(2)


def order(state: OrderState = OrderState.ACKED, quantity: str = "10") -> Order:
    return Order(
        client_order_id="c" * 32, signal_at=NOW, leg=Leg.ENTRY, attempt=0, side=Side.BUY, type=OrderType.MARKET,
        quantity=D(quantity), price=None, reason="test", state=state,
    )  # fmt: skip


def fill(quantity: Decimal, *, price: Decimal = TWO, number: int = 1) -> Fill:
    return Fill(
        client_order_id="c" * 32, exchange_trade_id=f"t{number}", side=Side.BUY, price=price, quantity=quantity,
        fee=D(0), fee_currency="USDT", filled_at=NOW,
    )  # fmt: skip


@pytest.mark.parametrize("start", list(OrderState))
@pytest.mark.parametrize("end", list(OrderState))
def test_only_listed_moves_are_legal(start: OrderState, end: OrderState) -> None:
    if end in ORDER_TRANSITIONS[start]:
        assert moved(order(start), end).state is end
    else:
        with pytest.raises(IllegalTransition, match=f"from {start} to {end}"):
            moved(order(start), end)


@given(st.lists(st.decimals("0.001", "5", places=3), min_size=1, max_size=8))
def test_partial_fills_add_up(parts: list[Decimal]) -> None:
    total = sum(parts, D(0))
    current = order(quantity=str(total))
    for number, part in enumerate(parts):
        current = filled(current, fill(part, price=D(number + 1), number=number))
    assert current.state is OrderState.FILLED
    assert current.leaves_quantity == 0
    expected = sum((part * (number + 1) for number, part in enumerate(parts)), D(0)) / total
    assert current.average_price is not None
    assert abs(current.average_price - expected) < D("1e-20")


def test_a_fill_beyond_the_order_is_refused() -> None:
    with pytest.raises(IllegalTransition, match="leaves 10"):
        filled(order(), fill(D(11)))


def test_a_closed_order_fills_no_more() -> None:
    done = filled(order(), fill(D(10)))
    with pytest.raises(IllegalTransition):
        filled(done, fill(D(1)))
