"""The rows that follow from a bar."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from botrunner.ledger.bar_rows import BarRows, logic_params
from botrunner.market.side import Side
from botrunner.trading.account import Account
from botrunner.trading.order_ids import Leg
from botrunner.trading.orders import Order, OrderType
from fleet.config import LogicSpec
from fleet.states import OrderState
from tests.unit.botrunner.bars import BAR, CANDLE, CLOSED, FILL, TRADE, config, outcome

D = Decimal
ROWS = BarRows(bot_id=7, config=config(), exchange="paper-binance", quote_currency="BTC")
MIDNIGHT_MS = 1_515_542_400_000
"""2018-01-10 00:00:00 UTC."""


def test_a_bar_is_written_with_what_the_bot_saw_and_is_worth() -> None:
    account = Account(cash=D("9.85"), trade=TRADE, best_price=D("0.11"))
    bar = ROWS.bar(outcome(account=account, close=CANDLE.close, candle=CANDLE))
    assert bar == {
        "bar_at": BAR,
        "symbol": "ETHBTC",
        "interval": "5m",
        "open": D("0.10"),
        "high": D("0.12"),
        "low": D("0.09"),
        "close": D("0.11"),
        "volume": D("7.5"),
        "equity": D("10.015"),
        "position": D("1.5"),
    }


def test_a_short_position_is_negative_and_none_is_zero() -> None:
    short = replace(TRADE, side=Side.SELL)
    bars = [ROWS.bar(outcome(account=Account(cash=D(10), trade=trade), candle=CANDLE)) for trade in (short, None)]
    assert [bar["position"] for bar in bars if bar] == [D("-1.5"), 0]


def test_what_happens_between_bars_is_no_bar() -> None:
    assert ROWS.bar(outcome()) is None


def test_the_opening_of_a_market() -> None:
    opening = ROWS.opening(D(10), CANDLE)
    assert opening == {"symbol": "ETHBTC", "interval": "5m", "day": BAR.date(), "equity": 10, "at": BAR}


@pytest.mark.parametrize(
    ("open_ms", "day"),
    [(MIDNIGHT_MS, "2018-01-10"), (MIDNIGHT_MS - 300_000, "2018-01-10"), (MIDNIGHT_MS - 300_001, "2018-01-09")],
)
def test_the_day_of_a_markets_opening_is_the_one_in_which_its_first_bar_closes(open_ms: int, day: str) -> None:
    assert str(ROWS.opening(D(10), replace(CANDLE, open_ms=open_ms))["day"]) == day


def test_rows_of_a_closed_trade() -> None:
    position = ROWS.position(CLOSED)
    trade = position["trade"]
    assert (position["status"], position["qty_open"], position["closed_at"]) == ("closed", 0, CLOSED.exit_at)
    assert trade["net_pnl"] == D("0.02967")
    assert trade["gross_pnl"] == D("0.03")
    assert trade["exit_logic_params"]["max_bars"] == 20
    assert trade["exit_price"] == D("0.12")


def test_what_a_trade_has_no_column_for() -> None:
    dusty = replace(CLOSED, base_fee=D("0.0015"), base_fee_value=D("0.00015"), dust=D("0.0005"))
    position = ROWS.position(dusty)
    extras = position["trade"]["extra_metadata"]
    assert set(extras) == {"base_fee", "base_fee_value", "dust", "dust_value"}
    assert (extras["base_fee"], extras["dust"]) == ("0.0015", "0.0005")
    plain = ROWS.position(CLOSED)
    assert plain["trade"]["extra_metadata"] is None


def test_a_rejected_orders_row_says_why() -> None:
    refused = Order(
        client_order_id="a" * 32,
        signal_at=BAR,
        leg=Leg.ENTRY,
        attempt=0,
        side=Side.BUY,
        type=OrderType.LIMIT,
        quantity=D(1),
        price=D("0.1"),
        reason="rsi_bb",
        state=OrderState.REJECTED,
        rejection="no",
    )
    row = ROWS.order(refused)
    assert (row["state"], row["reason"], row["price"]) == ("rejected", "rsi_bb; rejected: no", D("0.1"))


def test_rows_of_an_open_trade_leave_open_what_its_end_decides() -> None:
    position = ROWS.position(TRADE)
    trade = position["trade"]
    assert (position["status"], position["closed_at"], position["realized_pnl"]) == ("open", None, TRADE.gross_pnl)
    ends = ("exit_time", "exit_value", "gross_pnl", "net_pnl", "pnl_percentage", "exit_reason")
    assert {key: trade[key] for key in ends} == dict.fromkeys(ends)
    assert (trade["status"], trade["quote_currency"], trade["entry_value"]) == ("open", "BTC", D("0.15"))
    closed = ROWS.position(CLOSED)
    assert closed["realized_pnl"] == CLOSED.net_pnl
    ended = closed["trade"]
    assert [ended[key] for key in ends] == [
        CLOSED.exit_at, CLOSED.exit_value, CLOSED.gross_pnl, CLOSED.net_pnl, CLOSED.pnl_percentage, "take_profit",
    ]  # fmt: skip
    assert ended["status"] == "closed"


def test_dust_is_worth_what_it_could_have_been_sold_for() -> None:
    closed = ROWS.position(replace(CLOSED, dust=D("0.5")))
    assert D(closed["trade"]["extra_metadata"]["dust_value"]) == D("0.09")  # 1 was sold for 0.18


def test_rows_of_fills() -> None:
    assert ROWS.fill(FILL) == {
        "client_order_id": "e" * 32,
        "exchange_trade_id": "t1",
        "price": D("0.1"),
        "quantity": D("1.5"),
        "fee": D("0.00015"),
        "fee_currency": "BTC",
        "filled_at": FILL.filled_at,
        "exchange": "paper-binance",
        "account": "bot-7",
    }


def test_parameters_of_a_mixin_that_a_package_brings_are_written_as_they_are() -> None:
    assert logic_params(LogicSpec(name="Gap", params={"gap": 1})) == {"gap": 1}
