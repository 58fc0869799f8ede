"""The book: whatever the fills, cash and trades agree."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botrunner.market.side import Side
from botrunner.trading.orders import Fill
from botrunner.trading.trades import BookError, Trade, apply_fill, cash_flow, written_off
from fleet.exit_kinds import ExitKind

START = datetime(2018, 1, 10, tzinfo=UTC)
D = Decimal


def fill(side: Side, quantity: str | Decimal, price: str | Decimal, *, number: int = 1) -> Fill:
    return Fill(
        client_order_id=f"order{number}", exchange_trade_id=f"t{number}", side=side, price=D(price),
        quantity=D(quantity), fee=D(0), fee_currency="BTC", filled_at=START + timedelta(minutes=number),
    )  # fmt: skip


def book(trade: Trade | None, one: Fill, fee: str = "0", reason: str = "r", kind: ExitKind = ExitKind.SIGNAL) -> Trade:
    return apply_fill(trade, one, signal_at=START, reason=reason, kind=kind, fee_quote=D(fee))


def test_a_long_round_trip() -> None:
    trade = book(None, fill(Side.BUY, 2, "100"), fee="0.2")
    assert trade.is_open
    trade = book(trade, fill(Side.SELL, 2, "110", number=2), fee="0.22", reason="take_profit")
    assert not trade.is_open
    assert (trade.entry_price, trade.exit_price) == (100, 110)
    assert trade.gross_pnl == 20
    assert trade.net_pnl == D("19.58")
    assert trade.pnl_percentage == D("9.79")
    assert trade.exit_reason == "take_profit"


def test_a_short_round_trip_earns_when_the_price_falls() -> None:
    trade = book(book(None, fill(Side.SELL, 2, "100")), fill(Side.BUY, 2, "90", number=2))
    assert trade.gross_pnl == 20


def test_adding_and_reducing_average_the_prices() -> None:
    trade = book(book(None, fill(Side.BUY, 1, "100")), fill(Side.BUY, 3, "120", number=2))
    assert trade.entry_price == 115
    trade = book(trade, fill(Side.SELL, 1, "130", number=3))
    assert trade.is_open
    assert (trade.size, trade.size_open, trade.gross_pnl) == (4, 3, 15)


def test_more_than_the_position_is_never_closed() -> None:
    with pytest.raises(BookError, match="larger than the position of 1"):
        book(book(None, fill(Side.BUY, 1, "100")), fill(Side.SELL, 2, "100", number=2))


def test_a_fee_taken_from_what_was_bought() -> None:
    trade = apply_fill(None, fill(Side.BUY, 10, "100"), signal_at=START, reason="r", fee_quote=D(1), fee_base=D("0.01"))
    assert (trade.size, trade.size_open, trade.entry_price, trade.commission) == (10, D("9.99"), 100, 1)
    trade = book(trade, fill(Side.SELL, 9, "110", number=2), fee="0.99", reason="out", kind=ExitKind.STOP)
    assert (trade.sold, trade.gross_pnl) == (9, 90)
    given_up_at = START + timedelta(days=1)
    closed = written_off(trade, reason="late", kind=ExitKind.DUST, at=given_up_at)
    assert (closed.size_open, closed.dust, closed.exit_reason) == (0, D("0.99"), "out")
    # until then it was a position
    assert (closed.exit_kind, closed.exit_at) == (ExitKind.STOP, given_up_at)
    # the cash: 990 - 0.99 came in, 1,000 went out
    assert closed.net_pnl == D("-10.99")
    assert closed.gross_pnl == D("-9")  # before the fees of 1.99; the dust is worth nothing
    assert closed.exit_price == 110


def test_a_position_written_off_whole_was_sold_for_nothing() -> None:
    closed = written_off(book(None, fill(Side.BUY, 1, "5")), reason="dust", kind=ExitKind.DUST, at=START)
    assert (closed.exit_price, closed.net_pnl, closed.exit_at, closed.exit_reason) == (0, -5, START, "dust")
    assert closed.exit_kind is ExitKind.DUST


steps = st.lists(
    st.tuples(st.sampled_from(Side), st.decimals("0.01", "9", places=2), st.decimals("1", "200", places=2)),
    min_size=1,
    max_size=20,
)


@given(steps)
def test_cash_plus_position_equals_the_sum_of_pnl(moves: list[tuple[Side, Decimal, Decimal]]) -> None:
    """Invariant: after every fill, the cash that flowed = net P&L of closed parts - cost of what is still open."""
    cash, trade, closed_pnl = D(0), None, D(0)
    for number, (side, quantity, price) in enumerate(moves):
        if trade is not None and side is not trade.side:
            quantity = min(quantity, trade.size_open)
        one = fill(side, quantity, price, number=number)
        cash += cash_flow(one, fee_quote=D("0.1"))
        after = book(trade, one, fee="0.1")
        if after.is_open:
            trade = after
        else:
            closed_pnl += after.net_pnl
            trade = None
    open_cost = trade.side.sign * trade.entry_price * trade.size_open if trade else D(0)
    open_pnl = trade.net_pnl if trade else D(0)
    assert abs(cash - (closed_pnl + open_pnl - open_cost)) < D("1e-18")
