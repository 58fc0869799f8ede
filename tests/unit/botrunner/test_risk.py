from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botrunner.orders.machine import Side
from botrunner.risk import Counters, Denial, Market, counters_at, entry_denial, entry_quantity, protection
from fleet.config import RiskLimits

D = Decimal
MARKET = Market(
    symbol="ETHBTC", base="ETH", quote="BTC", tick=D("0.000001"), step=D("0.0001"), min_quantity=D("0.0001"),
    min_notional=D("0.0001"),
)  # fmt: skip
NOW = datetime(2018, 1, 10, 12, tzinfo=UTC)


def quantity(**changes: object) -> Decimal | Denial:
    defaults: dict[str, object] = {
        "market": MARKET, "limits": RiskLimits(), "price": D("0.1"), "equity": D(10), "cash": D(10),
        "fraction": D("0.1"), "fee_rate": D("0.001"),
    }  # fmt: skip
    return entry_quantity(**{**defaults, **changes})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, D(10), id="a tenth of 10 BTC at 0.1"),
        pytest.param({"limits": RiskLimits(max_position_size=D("0.5"))}, D(5), id="capped by value"),
        pytest.param({"fraction": D(1)}, D("99.9000"), id="the fee must be paid too: 10 / 1.001 / 0.1, rounded down"),
        pytest.param({"cash": D("0.2")}, D("1.9980"), id="only free cash"),
        pytest.param({"equity": D("0.0005")}, Denial.BELOW_MIN_NOTIONAL, id="too small a value"),
        pytest.param({"equity": D("0.00000001")}, Denial.BELOW_MIN_QUANTITY, id="rounds to nothing"),
        pytest.param({"cash": D(-1)}, Denial.BELOW_MIN_QUANTITY, id="no cash at all"),
    ],
)
def test_entry_quantity(changes: dict[str, object], expected: Decimal | Denial) -> None:
    assert quantity(**changes) == expected


def test_the_exit_after_the_worst_loss_must_be_possible_too() -> None:
    # 0.0011 ETH at 0.1 is 0.00011, above the minimum; after a loss of half it would be stuck
    tight = {"equity": D("0.0011"), "fraction": D("0.1")}
    assert quantity(**tight) == D("0.0011")
    assert quantity(**tight, limits=RiskLimits(stop_loss_pct=D(50))) is Denial.BELOW_MIN_NOTIONAL


@given(st.decimals("0.00001", "1000", places=5), st.decimals("0", "100", places=4), st.decimals("0.01", "1", places=2))
def test_an_entry_is_always_affordable_and_on_the_step(price: Decimal, cash: Decimal, fraction: Decimal) -> None:
    found = quantity(price=price, cash=cash, equity=cash, fraction=fraction)
    if isinstance(found, Decimal):
        assert found * price * D("1.001") <= cash
        assert found % MARKET.step == 0
        assert found >= MARKET.min_quantity


@pytest.mark.parametrize(
    ("limits", "counters", "expected"),
    [
        (RiskLimits(), Counters(trades_today=999, pnl_today=D(-999)), None),
        (RiskLimits(max_daily_trades=5), Counters(trades_today=4), None),
        (RiskLimits(max_daily_trades=5), Counters(trades_today=5), Denial.MAX_DAILY_TRADES),
        (RiskLimits(max_daily_loss=D(200)), Counters(pnl_today=D("-199.99")), None),
        (RiskLimits(max_daily_loss=D(200)), Counters(pnl_today=D(-200)), Denial.MAX_DAILY_LOSS),
        (RiskLimits(max_drawdown_pct=D(10)), Counters(peak_equity=D(111)), None),
        (RiskLimits(max_drawdown_pct=D(10)), Counters(peak_equity=D("111.2")), Denial.MAX_DRAWDOWN),
        (RiskLimits(cooldown_bars=3), Counters(bars_since_exit=None), None),
        (RiskLimits(cooldown_bars=3), Counters(bars_since_exit=3), Denial.COOLDOWN),
        (RiskLimits(cooldown_bars=3), Counters(bars_since_exit=4), None),
        (RiskLimits(cooldown_bars=0), Counters(bars_since_exit=0), None),
    ],
)
def test_entry_denial(limits: RiskLimits, counters: Counters, expected: Denial | None) -> None:
    assert entry_denial(limits, counters, equity=D(100)) is expected


def test_daily_counters_follow_the_utc_day_and_the_peak_stays() -> None:
    counters = Counters(day=NOW.date(), trades_today=3, pnl_today=D(-7), peak_equity=D(50), bars_since_exit=1)
    same_day = counters_at(counters, now=NOW.replace(hour=23, minute=59), equity=D(60))
    assert (same_day.trades_today, same_day.pnl_today, same_day.peak_equity) == (3, -7, 60)
    next_day = counters_at(same_day, now=NOW.replace(day=11, hour=0), equity=D(10))
    assert (next_day.trades_today, next_day.pnl_today, next_day.peak_equity) == (0, 0, 60)
    assert next_day.bars_since_exit == 3


@pytest.mark.parametrize(
    ("side", "limits", "best", "stop", "target"),
    [
        (Side.BUY, RiskLimits(), "0.1", None, None),
        (Side.BUY, RiskLimits(stop_loss_pct=D(3), take_profit_pct=D(6)), "0.1", "0.097000", "0.106000"),
        (Side.BUY, RiskLimits(trailing_stop_pct=D(2)), "0.11", "0.107800", None),
        (Side.BUY, RiskLimits(stop_loss_pct=D(3), trailing_stop_pct=D(10)), "0.1", "0.097000", None),
        (Side.SELL, RiskLimits(stop_loss_pct=D(3), take_profit_pct=D(6)), "0.1", "0.103000", "0.094000"),
        (Side.SELL, RiskLimits(trailing_stop_pct=D(2)), "0.09", "0.091800", None),
    ],
)
def test_protection(side: Side, limits: RiskLimits, best: str, stop: str | None, target: str | None) -> None:
    found = protection(limits, market=MARKET, side=side, entry_price=D("0.1"), best_price=D(best))
    assert found.stop == (D(stop) if stop else None)
    assert found.target == (D(target) if target else None)
