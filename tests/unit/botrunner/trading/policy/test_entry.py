"""Whether and with how much a position is entered."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botrunner.market.side import Side
from botrunner.trading.account import Account
from botrunner.trading.costs import fee, market_price
from botrunner.trading.order_ids import Leg, client_order_id
from botrunner.trading.orders import OrderType
from botrunner.trading.policy.entry import Enter, enter, limits_in_force, withdrawn
from botrunner.trading.policy.intents import Cancel
from botrunner.trading.policy.terms import limit_price
from botrunner.trading.risk import Counters, Denial
from botrunner.trading.signal import Direction, Signal, SignalKind
from fleet.states import OrderState
from tests.unit.botrunner.paper_world import MARKET
from tests.unit.botrunner.trading.policy.policy_world import AT, BAR, account, close, order, terms

D = Decimal
LONG = Signal(SignalKind.ENTER, "in")
SHORT = Signal(SignalKind.ENTER, "in", Direction.SHORT)
MAY_SHORT = {"trading": {"allow_short": True}}
NO_SHORT = replace(MARKET, can_short=False)
TRADED = Counters(day=(AT + BAR).date(), trades_today=1)
COOLING = Counters(last_exit_at=AT)


@pytest.mark.parametrize(
    ("signal", "on", "price", "side", "quantity", "value"),
    [
        # half of 1,000
        pytest.param(LONG, terms(), 100, Side.BUY, 5, 500, id="long"),
        pytest.param(SHORT, terms(**MAY_SHORT), 100, Side.SELL, 5, 500, id="short"),
        pytest.param(LONG, terms(), "99.99", Side.BUY, 5, "499.95", id="on the step"),
        # at 101, which it is expected to cost
        pytest.param(LONG, terms(paper={"base_slippage": 0.01}), 100, Side.BUY, "4.95", "499.95", id="slipping"),
        # a sale at 99 owes what it is worth at 100
        pytest.param(
            SHORT, terms(paper={"base_slippage": 0.01}, **MAY_SHORT), 100, Side.SELL, 5, 500,
            id="a sale at a worse price isn't larger",
        ),
        pytest.param(LONG, terms(risk_management={"max_position_size": 200}), 100, Side.BUY, 2, 200, id="limited"),
    ],
)  # fmt: skip
def test_an_entry(signal: Signal, on: Any, price: Any, side: Side, quantity: Any, value: Any) -> None:
    found = enter(signal, account(), on, close(price))
    assert isinstance(found, Enter)
    made = found.submit.order
    assert (made.leg, made.side, made.type, made.price) == (Leg.ENTRY, side, OrderType.MARKET, None)
    assert (made.quantity, found.value) == (D(str(quantity)), D(str(value)))
    assert (made.reason, made.exit_kind, made.state) == ("in", None, OrderState.INTENT)
    assert made.client_order_id == client_order_id(bot_id=7, signal_at=AT, leg=Leg.ENTRY)


def test_a_limit_is_sized_for_its_own_price() -> None:
    on = terms(trading={"order_type": "limit", "limit_offset_pct": 50, "limit_ttl_bars": 2})
    found = enter(LONG, account(), on, close())
    assert isinstance(found, Enter)
    made = found.submit.order
    assert (made.type, made.price, made.quantity, found.value) == (OrderType.LIMIT, 50, 10, 500)
    assert made.expires_at == AT + 3 * BAR


@pytest.mark.parametrize(
    ("signal", "on", "counters", "denied", "expected"),
    [
        pytest.param(LONG, terms(), Counters(), Denial.STOPPING, Denial.STOPPING, id="from outside"),
        pytest.param(SHORT, terms(), Counters(), Denial.LATE_CANDLE, Denial.LATE_CANDLE, id="which comes first"),
        pytest.param(SHORT, terms(), Counters(), None, Denial.SHORT_NOT_ALLOWED, id="short isn't wanted"),
        pytest.param(
            SHORT, terms(NO_SHORT, **MAY_SHORT), Counters(), None, Denial.SHORT_NOT_ALLOWED, id="or can't be"
        ),
        pytest.param(
            LONG, terms(risk_management={"max_daily_trades": 1}), TRADED, None, Denial.MAX_DAILY_TRADES, id="a limit"
        ),
        pytest.param(LONG, terms(risk_management={"cooldown_bars": 1}), COOLING, None, Denial.COOLDOWN, id="a pause"),
        pytest.param(
            LONG, terms(replace(MARKET, min_quantity=D(6))), Counters(), None, Denial.BELOW_MIN_QUANTITY, id="too small"
        ),
        pytest.param(
            LONG, terms(replace(MARKET, min_notional=D(501))), Counters(), None, Denial.BELOW_MIN_NOTIONAL,
            id="worth too little",
        ),
        pytest.param(
            LONG, terms(replace(MARKET, min_notional=D(490)), risk_management={"stop_loss_pct": 3}), Counters(), None,
            Denial.BELOW_MIN_NOTIONAL, id="or at its stop",
        ),
        pytest.param(
            LONG, terms(replace(MARKET, min_quantity=D(5)), {"fee_currency": "base", "commission_rate": 0.01}),
            Counters(), None, Denial.BELOW_MIN_QUANTITY, id="or after its fee",
        ),
    ],
)  # fmt: skip
def test_what_is_denied(signal: Signal, on: Any, counters: Counters, denied: Denial | None, expected: Denial) -> None:
    assert enter(signal, account(counters=counters), on, close(), denied=denied) is expected


def test_limits_in_force_look_at_the_close() -> None:
    on = terms(risk_management={"max_drawdown_pct": 10})
    given_account = account(cash=900, counters=Counters(peak_equity=D(1000)))
    assert limits_in_force(given_account, on, close()) == (Denial.MAX_DRAWDOWN,)
    assert limits_in_force(account(counters=Counters(peak_equity=D(1000))), on, close()) == ()


@pytest.mark.parametrize(
    ("orders", "expected"), [((), ()), ((order(Leg.EXIT),), ()), ((order(Leg.ENTRY),), (Cancel(order(Leg.ENTRY)),))]
)
def test_only_a_waiting_entry_is_withdrawn(orders: Any, expected: Any) -> None:
    assert withdrawn(account(*orders)) == expected


@given(
    st.sampled_from([LONG, SHORT]), st.decimals("0.05", "900", places=2), st.decimals("1", "100000", places=2),
    st.decimals("0", "0.05", places=4), st.decimals("0", "0.01", places=4), st.sampled_from(["percentage", "volume_share"]),
    st.integers(0, 5000), st.decimals("0.1", "1", places=1),
)  # fmt: skip
def test_any_entry_can_be_paid_for_at_its_expected_price(
    signal: Signal,
    price: Decimal,
    cash: Decimal,
    slippage: Decimal,
    rate: Decimal,
    model: str,
    volume: int,
    size: Decimal,
) -> None:
    paper = {
        "commission_rate": float(rate),
        "slippage_model": model,
        "price_impact": float(slippage),
        "base_slippage": float(slippage),
    }
    trading = {"allow_short": True, "position_size": float(size)}
    on = terms(paper=paper, trading=trading, risk_management={"max_position_size": 10**9})
    at = close(price, volume)
    found = enter(signal, account(cash=cash), on, at)
    if not isinstance(found, Enter):
        assert found in (Denial.BELOW_MIN_QUANTITY, Denial.BELOW_MIN_NOTIONAL)
        return
    made = found.submit.order
    assert made.quantity % MARKET.step == 0
    assert found.value <= Account(cash=cash).equity(price) * size
    if made.side is Side.BUY:
        paid = market_price(
            price, side=Side.BUY, quantity=made.quantity, volume=at.volume, costs=on.costs, market=MARKET
        )
        assert paid * made.quantity + fee(price=paid, quantity=made.quantity, maker=False, costs=on.costs) <= cash


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
