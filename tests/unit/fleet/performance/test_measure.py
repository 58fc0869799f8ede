"""Each metric's definition by example, and null where a metric isn't defined."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.performance import ClosedTrade, EquityPoint, Performance, measure

D = Decimal
START = datetime(2018, 1, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)
DOCS = Path(__file__).parents[4] / "docs" / "user" / "performance.md"


def trade(
    net: str, *, at: datetime = START + HOUR, held: timedelta = HOUR, fee: str = "1", value: str = "100"
) -> ClosedTrade:
    return ClosedTrade(
        entry_at=at - held,
        exit_at=at,
        direction="long",
        entry_value=D(value),
        gross_pnl=D(net) + D(fee),
        net_pnl=D(net),
        commission=D(fee),
    )


def curve(*equity: str | int, step: timedelta = timedelta(days=1), held: Sequence[int] = ()) -> list[EquityPoint]:
    return [EquityPoint(START + step * (n + 1), D(value), n in held) for n, value in enumerate(equity)]


def measured(trades: Sequence[ClosedTrade] = (), equity: Sequence[EquityPoint] = (), start: int = 1000) -> Performance:
    return measure(trades=trades, equity=equity, start_equity=D(start), interval_s=86_400)


TRADES = [
    trade("30", at=START + 1 * HOUR),
    trade("-10", at=START + 3 * HOUR, held=2 * HOUR),
    trade("-20", at=START + 5 * HOUR, fee="3"),
    trade("0", at=START + 7 * HOUR),
    trade("50", at=START + 9 * HOUR, value="200"),
    trade("10", at=START + 11 * HOUR),
]


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("total_trades", 6),
        ("winning_trades", 3),
        ("losing_trades", 2),
        ("breakeven_trades", 1),
        ("win_rate", 0.5),
        ("net_pnl", D(60)),
        ("total_pnl", D(60)),
        ("gross_pnl", D(68)),
        ("fees", D(8)),
        ("total_pnl_pct", 6.0),
        ("gross_profit", D(90)),
        ("gross_loss", D(30)),
        ("profit_factor", 3.0),
        ("expectancy", D(10)),
        ("expectancy_pct", pytest.approx((30 - 10 - 20 + 0 + 25 + 10) / 6)),
        ("expectancy_r", pytest.approx(10 / 15)),
        ("average_win", D(30)),
        ("average_loss", D(15)),
        ("payoff_ratio", 2.0),
        ("largest_win", D(50)),
        ("largest_loss", D(20)),
        ("max_consecutive_wins", 2),
        ("max_consecutive_losses", 2),
        ("average_holding_s", 7 * 3600 / 6),
        ("fees_pct_of_gross", pytest.approx(800 / 68)),
        # 5 × (100 + 100) + 2 × 200, and what the exits brought more or less
        ("turnover", pytest.approx((1400 + 68) / 1000)),
    ],
)
def test_trades(metric: str, value: object) -> None:
    assert getattr(measured(TRADES), metric) == value
    assert getattr(measured(TRADES[::-1]), metric) == value


def test_a_short_trades_exit_is_cheaper_when_it_wins() -> None:
    won = trade("9")
    short = ClosedTrade(**{**{name: getattr(won, name) for name in won.__slots__}, "direction": "short"})
    assert (won.exit_value, short.exit_value) == (110, 90)


CURVE = curve(1100, 990, 1045, 1210, 1089, held=(1, 2))


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("equity_basis", "bars"),
        ("first_at", START),
        ("last_at", START + timedelta(days=5)),
        ("days", 5),
        ("bars", 5),
        ("exposure", 0.4),
        ("start_balance", D(1000)),
        ("current_balance", D(1089)),
        ("peak_balance", D(1210)),
        ("equity_change", D(89)),
        ("return_pct", pytest.approx(8.9)),
        ("max_drawdown", 0.1),
        ("max_drawdown_value", D(110)),
        ("max_drawdown_peak_at", START + timedelta(days=1)),
        ("max_drawdown_trough_at", START + timedelta(days=2)),
        ("max_drawdown_duration_s", 86_400.0),
        ("max_drawdown_recovered_on", date(2018, 1, 14)),
        ("current_drawdown", 0.1),
        ("current_drawdown_value", D(121)),
        ("current_drawdown_since", START + timedelta(days=4)),
        ("current_drawdown_duration_s", 86_400.0),
        ("recovery_factor", pytest.approx(89 / 110)),
        ("best_day", date(2018, 1, 14)),
        ("best_day_return", pytest.approx(1210 / 1045 - 1)),
        ("worst_day", date(2018, 1, 12)),
        ("worst_day_return", pytest.approx(-0.1)),
        ("cagr", pytest.approx(1.089**73 - 1)),
        ("calmar", pytest.approx((1.089**73 - 1) / 0.1)),
    ],
)
def test_curve(metric: str, value: object) -> None:
    assert getattr(measured(equity=CURVE), metric) == value


@pytest.mark.parametrize("hours", [4, 12, 24, 72, 168])
def test_a_bar_that_closes_at_midnight_is_the_new_days_as_is_a_trade_that_closes_with_it(hours: int) -> None:
    step = timedelta(hours=hours)
    points = curve(*[1000] * 83, 990, step=step)
    lost = trade("-10", at=points[-1].at)
    assert lost.exit_at.hour == 0
    done = measure(trades=[lost], equity=points, start_equity=D(1000), interval_s=hours * 3600)
    assert done.worst_day == lost.exit_at.date()
    assert done.worst_day_return == pytest.approx(-0.01)


def test_days_without_bars_returned_nothing() -> None:
    points = [curve(1010)[0], EquityPoint(START + timedelta(days=4), D(1010), False)]
    done = measured(equity=points)
    assert (done.days, done.sharpe) == (4, pytest.approx(0.0025 / 0.005 * math.sqrt(365)))


def test_without_a_curve_it_is_what_trades_realised() -> None:
    done = measured([trade("100"), trade("-220", at=START + timedelta(days=1, hours=5))])
    assert (done.equity_basis, done.bars, done.exposure) == ("trades", 0, None)
    assert (done.current_balance, done.max_drawdown, done.days) == (880, 0.2, 2)


NOTHING = {name for name in Performance.__slots__ if getattr(measured(), name) is None}


def test_without_trades_and_curve_everything_else_is_zero() -> None:
    done = measured()
    assert (done.equity_basis, done.peak_balance, done.current_balance, done.total_trades) == ("none", 1000, 1000, 0)
    assert {"win_rate", "profit_factor", "expectancy", "sharpe", "max_drawdown", "exposure", "cagr"} <= NOTHING


@pytest.mark.parametrize(
    ("points", "undefined"),
    [
        (curve(1100), ["sharpe", "sortino", "calmar", "cagr", "volatility"]),  # one day
        (curve(1000, 1000, 1000), ["sharpe", "sortino", "calmar", "recovery_factor"]),  # no deviation
        (curve(1100, 1210, 1331), ["sortino", "calmar", "max_drawdown_peak_at"]),  # no loss
        (curve(0, 0, 0), ["sharpe", "cagr", "calmar", "best_day"]),  # ruin
        (curve(10**12, 10**20), ["cagr", "calmar"]),  # larger than any float
    ],
)
def test_what_is_not_defined_is_null(points: list[EquityPoint], undefined: list[str]) -> None:
    done = measured(equity=points)
    assert [getattr(done, name) for name in undefined] == [None] * len(undefined)


def test_only_wins_have_no_profit_factor() -> None:
    done = measured([trade("1"), trade("2")])
    assert (done.profit_factor, done.payoff_ratio, done.expectancy_r, done.win_rate) == (None, None, None, 1.0)


def test_points_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="is older than the curve"):
        measured(equity=curve(1, 2)[::-1])
    with pytest.raises(ValueError, match="must be in order"):
        measured(equity=curve(1, 2, step=HOUR)[::-1])


money = st.decimals(min_value=-(10**15), max_value=10**15, places=18, allow_nan=False)


@st.composite
def any_trade(draw: st.DrawFn) -> ClosedTrade:
    entry_at = START + HOUR * draw(st.integers(0, 400))
    return ClosedTrade(
        entry_at=entry_at,
        exit_at=entry_at + HOUR * draw(st.integers(0, 100)),
        direction=draw(st.sampled_from(["long", "short"])),
        entry_value=abs(draw(money)),
        gross_pnl=draw(money),
        net_pnl=draw(money),
        commission=draw(money),
    )


trades_of_any_kind = st.lists(any_trade(), max_size=8)


@given(trades_of_any_kind, st.lists(money, max_size=12), money)
def test_whatever_comes_in_json_comes_out(trades: list[ClosedTrade], equity: list[Decimal], start: Decimal) -> None:
    done = measure(trades=trades, equity=curve(*map(str, equity), step=7 * HOUR), start_equity=start, interval_s=3600)
    text = json.dumps(done.as_json(), allow_nan=False)
    assert json.loads(text)["total_trades"] == len(trades)
    assert D(json.loads(text)["net_pnl"]) == done.net_pnl


@given(trades_of_any_kind)
def test_sums_are_exact(trades: list[ClosedTrade]) -> None:
    done = measured(trades)
    assert Fraction(done.net_pnl) == sum(Fraction(one.net_pnl) for one in trades)
    assert Fraction(done.gross_profit) - Fraction(done.gross_loss) == Fraction(done.net_pnl)
    assert done.winning_trades + done.losing_trades + done.breakeven_trades == done.total_trades == len(trades)


def test_every_metric_is_documented_once() -> None:
    rows = re.findall(r"^\| `([a-z_]+)` \|", DOCS.read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(measured().as_json())
