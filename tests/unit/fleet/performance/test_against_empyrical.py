"""Ratios beside those of an independent library, on the same returns: real candles and generated ones."""

from __future__ import annotations

import csv
import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import empyrical
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fleet.performance import EquityPoint, Performance, measure
from fleet.times import from_ms
from fleet.trading_day import utc_day

DAY = timedelta(days=1)
START = datetime(2018, 1, 10, tzinfo=UTC)
RELATIVE = 1e-9
YEAR = {"annualization": 365}


def held(equity: list[tuple[datetime, Decimal]], *, start: Decimal, interval_s: int) -> Performance:
    points = [EquityPoint(at, value, in_position=True) for at, value in equity]
    return measure(trades=(), equity=points, start_equity=start, interval_s=interval_s)


def theirs(returns: np.ndarray) -> dict[str, float]:
    return {
        "sharpe": empyrical.sharpe_ratio(returns, **YEAR),
        "sortino": empyrical.sortino_ratio(returns, **YEAR),
        "volatility": empyrical.annual_volatility(returns, **YEAR),
        "cagr": empyrical.cagr(returns, **YEAR),
        "return_pct": 100 * empyrical.cum_returns_final(returns),
    }


def agree(ours: float | None, other: float) -> bool:
    return ours is not None and math.isclose(ours, other, rel_tol=RELATIVE, abs_tol=1e-12)


def differences(ours: Performance, others: dict[str, float]) -> dict[str, tuple[float | None, float]]:
    """Metrics that disagree; what is infinite or NaN there (no losing day, too large a number) is null here."""
    return {
        name: (getattr(ours, name), value)
        for name, value in others.items()
        if not (agree(getattr(ours, name), value) if math.isfinite(value) else getattr(ours, name) is None)
    }


@pytest.fixture(scope="module", params=["ETH_BTC-5m", "LTC_BTC-5m", "XRP_ETH-1m"])
def closes(request: pytest.FixtureRequest, candle_folder: Path) -> tuple[int, list[tuple[datetime, Decimal]]]:
    """Buy and hold: closes of a real file by the time of the close, gaps and all."""
    interval = timedelta(minutes=int(request.param.rpartition("-")[2][:-1]))
    with (candle_folder / f"{request.param}.csv").open() as file:
        rows = csv.reader(file)
        next(rows)
        found = [(from_ms(int(row[0])) + interval, Decimal(row[4])) for row in rows]
    return int(interval.total_seconds()), found


def test_buy_and_hold_of_real_candles(closes: tuple[int, list[tuple[datetime, Decimal]]]) -> None:
    interval_s, equity = closes
    start = equity[0][1]
    ours = held(equity, start=start, interval_s=interval_s)
    last = {utc_day(at): value for at, value in equity}
    days = [min(last) + n * DAY for n in range((max(last) - min(last)).days + 1)]
    daily = [start]
    for day in days:
        daily.append(last.get(day, daily[-1]))
    others = theirs(np.diff(np.array(daily, dtype=float)) / np.array(daily[:-1], dtype=float))
    assert ours.days == len(days) > 2
    assert differences(ours, others) == {}
    prices = np.array([start, *(value for _, value in equity)], dtype=float)
    by_bar = -empyrical.max_drawdown(np.diff(prices) / prices[:-1])
    assert agree(ours.max_drawdown, by_bar)
    assert agree(ours.calmar, others["cagr"] / by_bar)


@given(st.lists(st.integers(-900, 1_500), min_size=2, max_size=60), st.integers(1, 10**9))
def test_generated_returns(thousandths: list[int], start: int) -> None:
    assume(len(set(thousandths)) > 1)
    equity, value = [], Decimal(start)
    for number, change in enumerate(thousandths):
        value *= 1 + Decimal(change) / 1000
        equity.append((START + (number + 1) * DAY, value))
    ours = held(equity, start=Decimal(start), interval_s=86_400)
    returns = np.array(thousandths) / 1000
    others = theirs(returns)
    others["max_drawdown"] = -empyrical.max_drawdown(returns)
    if min(thousandths) >= 0:
        assert ours.sortino is None
        assert ours.calmar is None
        del others["sortino"]
    else:
        others["calmar"] = empyrical.calmar_ratio(returns, **YEAR)
    assert differences(ours, others) == {}
