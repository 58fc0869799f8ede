from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botrunner.market.rules import Market
from botrunner.market.side import Side
from botrunner.trading.risk import (
    Counters,
    Denial,
    counted_entry,
    counted_exit,
    counters_at,
    entry_denial,
    entry_quantity,
    entry_too_small,
    in_force,
    protection,
    stop_loss,
)
from fleet.config import RiskLimits, StopLossGuard
from fleet.config.values import INTERVAL_SECONDS
from fleet.exit_kinds import ExitKind
from fleet.trading_day import utc_day

D = Decimal
MARKET = Market(
    symbol="ETHBTC", base="ETH", quote="BTC", tick=D("0.000001"), step=D("0.0001"), min_quantity=D("0.0001"),
    min_notional=D("0.0001"),
)  # fmt: skip
NOW = datetime(2018, 1, 10, 12, tzinfo=UTC)
FIVE_MINUTES = timedelta(minutes=5)
MOMENT = timedelta(microseconds=1)


def quantity(**changes: object) -> Decimal | Denial:
    defaults: dict[str, Any] = {
        "market": MARKET, "limits": RiskLimits(), "price": D("0.1"), "equity": D(10), "cash": D(10),
        "fraction": D("0.1"), "fee_rate": D("0.001"), "side": Side.BUY, "fee_from_cash": True,
    }  # fmt: skip
    given = {**defaults, **changes}
    stop = stop_loss(entry_price=given["price"], **{name: given[name] for name in ("market", "limits", "side")})
    found = entry_quantity(**{"stop_fill": stop, **given})
    return entry_too_small(found, market=given["market"], price=given["price"], kept=found, stop=stop) or found


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, D(10), id="a tenth of 10 BTC at 0.1"),
        pytest.param({"limits": RiskLimits(max_position_size=D("0.5"))}, D(5), id="capped by value"),
        pytest.param({"fraction": D(1)}, D("99.9000"), id="the fee must be paid too: 10 / 1.001 / 0.1, rounded down"),
        pytest.param({"cash": D("0.2")}, D("1.9980"), id="only free cash"),
        pytest.param({"limits": RiskLimits(max_exposure=D("0.05"))}, D(5), id="a twentieth of the equity"),
        pytest.param(
            {"limits": RiskLimits(max_portfolio_risk_pct=D(1), stop_loss_pct=D(20)), "fee_rate": D(0)},
            D(5),
            id="a fifth of 0.5 BTC is a hundredth of 10 BTC",
        ),
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


ONE_AT_98 = {
    "market": replace(MARKET, tick=D("0.01"), step=D("0.01"), min_quantity=D("0.01"), min_notional=D("97.02")),
    "quantity": D(1), "price": D(98), "kept": D(1), "stop": D("97.02"),
}  # fmt: skip
"""Bought for 98, a stop 1 % below, the smallest order worth as much as the stop's."""


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, None, id="the exit at the stop is worth exactly enough"),
        pytest.param({"stop": D("97.01")}, Denial.BELOW_MIN_NOTIONAL, id="a cent less"),
        pytest.param({"kept": D("0.999")}, Denial.BELOW_MIN_NOTIONAL, id="0.99 at 97.02: fee and stop together"),
        pytest.param({"kept": D("0.999"), "stop": None, "price": D(98)}, None, id="0.99 at 98 is 97.02"),
        pytest.param({"kept": D("0.009"), "quantity": D("0.01")}, Denial.BELOW_MIN_QUANTITY, id="nothing left to sell"),
        pytest.param({"quantity": D(0), "kept": D(0)}, Denial.BELOW_MIN_QUANTITY, id="nothing"),
        pytest.param({"stop": D("98.98")}, None, id="short: bought back for more than it was sold for"),
        pytest.param({"stop": D("98.98"), "price": D(97)}, Denial.BELOW_MIN_NOTIONAL, id="short: too little to sell"),
    ],
)
def test_an_entry_is_too_small_when_it_or_its_exit_at_the_stop_is(
    changes: dict[str, Any], expected: Denial | None
) -> None:
    assert entry_too_small(**{**ONE_AT_98, **changes}) is expected


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
        (RiskLimits(max_drawdown_pct=D(20)), Counters(peak_equity=D(125)), Denial.MAX_DRAWDOWN),
        (RiskLimits(max_drawdown_pct=D(10)), Counters(peak_equity=D(90)), None),
        # the first that is in force, in the order in which people are told
        (
            RiskLimits(max_daily_trades=1, max_daily_loss=D(1)),
            Counters(trades_today=1, pnl_today=D(-1)),
            Denial.MAX_DAILY_TRADES,
        ),
        (
            RiskLimits(max_daily_loss=D(1), cooldown_bars=3),
            Counters(pnl_today=D(-1), last_exit_at=NOW),
            Denial.MAX_DAILY_LOSS,
        ),
        (RiskLimits(cooldown_bars=3), Counters(last_exit_at=None), None),
        (RiskLimits(cooldown_bars=3), Counters(last_exit_at=NOW), Denial.COOLDOWN),
        (RiskLimits(cooldown_bars=3), Counters(last_exit_at=NOW - 3 * FIVE_MINUTES), Denial.COOLDOWN),
        (RiskLimits(cooldown_bars=3), Counters(last_exit_at=NOW - 3 * FIVE_MINUTES - MOMENT), None),
        (RiskLimits(cooldown_bars=0), Counters(last_exit_at=NOW), None),
        # the bot has moved to a market with older candles
        (RiskLimits(cooldown_bars=3), Counters(last_exit_at=NOW + MOMENT), None),
    ],
)
def test_entry_denial(limits: RiskLimits, counters: Counters, expected: Denial | None) -> None:
    reached = in_force(limits, counters, equity=D(100), now=NOW, interval=FIVE_MINUTES)
    assert entry_denial(limits, counters, reached=reached, now=NOW, interval=FIVE_MINUTES) is expected


@pytest.mark.parametrize(
    ("peak", "equity", "reached"),
    [
        pytest.param("0", "0", False, id="nothing was ever there"),
        pytest.param("0.5", "0.46", False, id="less than one"),
        pytest.param("0.5", "0.45", True, id="less than one, a tenth lost"),
    ],
)
def test_a_drawdown_is_a_share_of_the_peak_however_small(peak: str, equity: str, reached: bool) -> None:
    found = in_force(
        RiskLimits(max_drawdown_pct=D(10)), Counters(peak_equity=D(peak)), equity=D(equity), now=NOW, interval=MOMENT
    )
    assert found == ((Denial.MAX_DRAWDOWN,) if reached else ())


def test_a_market_is_bought_first_unless_it_says_otherwise() -> None:
    assert not MARKET.can_short


def test_several_limits_are_in_force_at_once() -> None:
    limits = RiskLimits(max_daily_trades=2, max_daily_loss=D(5), max_drawdown_pct=D(1))
    counters = Counters(trades_today=2, pnl_today=D(-5), peak_equity=D(200))
    found = in_force(limits, counters, equity=D(100), now=NOW, interval=FIVE_MINUTES)
    assert found == (Denial.MAX_DAILY_TRADES, Denial.MAX_DAILY_LOSS, Denial.MAX_DRAWDOWN)


def test_a_new_day_ends_what_a_day_limits_and_nothing_else() -> None:
    told = (Denial.MAX_DAILY_TRADES, Denial.MAX_DAILY_LOSS, Denial.MAX_DRAWDOWN, Denial.STOP_LOSS_GUARD)
    counters = Counters(day=NOW.date(), trades_today=2, pnl_today=D(-5), breached=told, stops=(NOW,))
    begun = counters_at(counters, now=NOW + timedelta(days=1), equity=D(1))
    assert (begun.day, begun.trades_today, begun.pnl_today) == ((NOW + timedelta(days=1)).date(), 0, 0)
    assert (begun.breached, begun.stops) == (told[2:], (NOW,))
    assert counters_at(counters, now=NOW, equity=D(1)).breached == told


def test_entries_and_results_of_a_day_add_up() -> None:
    counters = Counters()
    for pnl in (3, -5, 1):
        counters = counted_exit(counted_entry(counters, at=NOW), net_pnl=D(pnl), kind=ExitKind.TIME, at=NOW)
    assert (counters.trades_today, counters.pnl_today) == (3, -1)


def ago(*bars: int) -> tuple[datetime, ...]:
    return tuple(NOW - back * FIVE_MINUTES for back in bars)


@pytest.mark.parametrize(
    ("stops", "guarded"),
    [
        pytest.param((), False, id="no stops"),
        pytest.param(ago(9, 1), False, id="one too few"),
        pytest.param(ago(11, 5, 1), True, id="three within ten bars"),
        pytest.param(ago(12, 5, 1), False, id="three within eleven bars"),
        pytest.param(ago(50, 11, 5, 1), True, id="older ones don't matter"),
        pytest.param(ago(14, 7, 6), True, id="the last bar of the pause"),
        pytest.param(ago(15, 8, 7), False, id="the pause is over"),
    ],
)
def test_stop_loss_guard(stops: tuple[datetime, ...], guarded: bool) -> None:
    limits = RiskLimits(stop_loss_guard=StopLossGuard(max_stops=3, within_bars=10, pause_bars=6))
    found = in_force(limits, Counters(stops=stops), equity=D(1), now=NOW, interval=FIVE_MINUTES)
    assert found == ((Denial.STOP_LOSS_GUARD,) if guarded else ())


@pytest.mark.parametrize(("back", "guarded"), [(0, True), (6, True), (7, False)])
def test_a_guard_of_one_stop_looks_at_the_newest_alone(back: int, guarded: bool) -> None:
    limits = RiskLimits(stop_loss_guard=StopLossGuard(max_stops=1, within_bars=1, pause_bars=6))
    found = in_force(limits, Counters(stops=ago(99, back)), equity=D(1), now=NOW, interval=FIVE_MINUTES)
    assert bool(found) is guarded


@pytest.mark.parametrize(
    ("net_pnl", "kind", "counts"),
    [(-1, kind, kind is ExitKind.STOP) for kind in ExitKind] + [(0, ExitKind.STOP, False), (1, ExitKind.STOP, False)],
)
def test_only_losing_stops_count_for_the_guard(net_pnl: int, kind: ExitKind, counts: bool) -> None:
    after = counted_exit(Counters(day=NOW.date(), pnl_today=D(5)), net_pnl=D(net_pnl), kind=kind, at=NOW)
    assert after.stops == ((NOW,) if counts else ())
    assert (after.pnl_today, after.last_exit_at) == (5 + net_pnl, NOW)


def test_counters_remember_a_bounded_number_of_stops() -> None:
    counters = Counters()
    for number in range(60):
        counters = counted_exit(counters, net_pnl=D(-1), kind=ExitKind.STOP, at=NOW + number * FIVE_MINUTES)
    assert len(counters.stops) == 50
    assert counters.stops[-1] == NOW + 59 * FIVE_MINUTES


@given(
    st.decimals("0.1", "50", places=1), st.decimals("0.1", "90", places=1), st.decimals("0", "0.01", places=4),
    st.decimals("10", "10000", places=2),
)  # fmt: skip
def test_a_position_loses_at_its_stop_no_more_than_the_portfolio_risk(
    risk: Decimal, stop: Decimal, fee: Decimal, equity: Decimal
) -> None:
    limits = RiskLimits(max_portfolio_risk_pct=risk, stop_loss_pct=stop)
    size = quantity(limits=limits, equity=equity, cash=equity, fraction=D(1), fee_rate=fee)
    if isinstance(size, Decimal):
        entry = size * D("0.1")
        leave = entry * (1 - stop / 100)
        assert entry - leave + fee * (entry + leave) <= equity * risk / 100


def test_daily_counters_follow_the_utc_day_and_the_peak_stays() -> None:
    counters = Counters(day=NOW.date(), trades_today=3, pnl_today=D(-7), peak_equity=D(50), last_exit_at=NOW)
    same_day = counters_at(counters, now=NOW.replace(hour=23, minute=59), equity=D(60))
    assert (same_day.trades_today, same_day.pnl_today, same_day.peak_equity) == (3, -7, 60)
    next_day = counters_at(same_day, now=NOW.replace(day=11, hour=0), equity=D(10))
    assert (next_day.trades_today, next_day.pnl_today, next_day.peak_equity) == (0, 0, 60)
    assert next_day.last_exit_at == NOW


MIDNIGHT = datetime(2018, 1, 11, tzinfo=UTC)


@pytest.mark.parametrize("interval", INTERVAL_SECONDS)
@pytest.mark.parametrize(
    ("at", "counted"),
    [
        pytest.param(MIDNIGHT - MOMENT, False, id="just before"),
        pytest.param(MIDNIGHT, True, id="at midnight, as a stop in the range of the day's last bar"),
        pytest.param(MIDNIGHT + MOMENT, True, id="just after"),
    ],
)
def test_what_happens_at_midnight_belongs_to_the_day_that_begins(interval: str, at: datetime, counted: bool) -> None:
    """Whatever the interval: a bar closes at midnight, its fills are counted before its decision."""
    before = MIDNIGHT - timedelta(seconds=INTERVAL_SECONDS[interval])
    counters = counters_at(Counters(), now=before, equity=D(100))
    counters = counted_exit(counted_entry(counters, at=at), net_pnl=D(-3), kind=ExitKind.STOP, at=at)
    assert counters.day == utc_day(at)
    assert (counters.trades_today, counters.pnl_today) == (1, -3)
    counters = counters_at(counters, now=max(MIDNIGHT, at), equity=D(97))
    assert (counters.trades_today, counters.pnl_today) == ((1, -3) if counted else (0, 0))


def test_a_fill_before_the_counters_day_counts_for_no_later_day() -> None:
    counters = counters_at(Counters(), now=MIDNIGHT, equity=D(100))
    late = counted_exit(
        counted_entry(counters, at=MIDNIGHT - MOMENT), net_pnl=D(-3), kind=ExitKind.TIME, at=MIDNIGHT - MOMENT
    )
    assert (late.day, late.trades_today, late.pnl_today, late.last_exit_at) == (
        MIDNIGHT.date(),
        0,
        0,
        MIDNIGHT - MOMENT,
    )


def test_a_market_with_older_candles_begins_a_day() -> None:
    counters = counted_entry(Counters(), at=MIDNIGHT)
    assert counters_at(counters, now=NOW.replace(year=2017), equity=D(1)).trades_today == 0


@pytest.mark.parametrize(
    ("side", "limits", "best", "stop", "target"),
    [
        (Side.BUY, RiskLimits(), "0.1", None, None),
        (Side.BUY, RiskLimits(stop_loss_pct=D(3), take_profit_pct=D(6)), "0.1", "0.097000", "0.106000"),
        (Side.BUY, RiskLimits(trailing_stop_pct=D(2)), "0.11", "0.107800", None),
        (Side.BUY, RiskLimits(stop_loss_pct=D(3), trailing_stop_pct=D(10)), "0.1", "0.097000", None),
        (Side.SELL, RiskLimits(stop_loss_pct=D(3), take_profit_pct=D(6)), "0.1", "0.103000", "0.094000"),
        (Side.SELL, RiskLimits(trailing_stop_pct=D(2)), "0.09", "0.091800", None),
        # the tighter of two stops
        (Side.BUY, RiskLimits(stop_loss_pct=D(3), trailing_stop_pct=D(2)), "0.11", "0.107800", None),
        (Side.SELL, RiskLimits(stop_loss_pct=D(3), trailing_stop_pct=D(2)), "0.09", "0.091800", None),
        (Side.SELL, RiskLimits(stop_loss_pct=D(3), trailing_stop_pct=D(10)), "0.1", "0.103000", None),
        # rounded away from the entry: 0.0999995 and 0.1000005
        (Side.BUY, RiskLimits(stop_loss_pct=D("0.0005"), take_profit_pct=D("0.0005")), "0.1", "0.099999", "0.100001"),
        (Side.SELL, RiskLimits(stop_loss_pct=D("0.0005"), take_profit_pct=D("0.0005")), "0.1", "0.100001", "0.099999"),
        (Side.BUY, RiskLimits(stop_loss_pct=D(50), take_profit_pct=D(50)), "0.1", "0.050000", "0.150000"),
    ],
)
def test_protection(side: Side, limits: RiskLimits, best: str, stop: str | None, target: str | None) -> None:
    found = protection(limits, market=MARKET, side=side, entry_price=D("0.1"), best_price=D(best))
    assert found.stop == (D(stop) if stop else None)
    assert found.target == (D(target) if target else None)
