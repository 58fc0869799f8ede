"""Ratios of daily returns, annualised by 365 days (crypto trades on all of them), with a risk-free rate of 0.

All take the returns of successive UTC days as fractions and answer None where the ratio isn't defined. Sums are
`math.fsum`, so the order of the days changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

DAYS_A_YEAR = 365


def sharpe(returns: Sequence[float]) -> float | None:
    """Mean over sample standard deviation (n - 1), annualised; None below two days or without deviation."""
    deviation = _deviation(returns)
    return _finite(_mean(returns) / deviation * math.sqrt(DAYS_A_YEAR)) if deviation else None


def sortino(returns: Sequence[float]) -> float | None:
    """Mean over the root mean square of the losing days' returns (over all days), annualised; None without a loss."""
    if len(returns) < 2:
        return None
    downside = math.sqrt(math.fsum(min(value, 0.0) ** 2 for value in returns) / len(returns))
    return _finite(_mean(returns) / downside * math.sqrt(DAYS_A_YEAR)) if downside else None


def volatility(returns: Sequence[float]) -> float | None:
    """Sample standard deviation (n - 1), annualised; None below two days."""
    deviation = _deviation(returns)
    return None if deviation is None else _finite(deviation * math.sqrt(DAYS_A_YEAR))


def compounded(returns: Sequence[float]) -> float | None:
    """The return of all days one after the other."""
    return _finite(math.prod(1 + value for value in returns) - 1)


def cagr(returns: Sequence[float]) -> float | None:
    """The yearly growth that gives the same in as many days; None below two days, or when nothing is left."""
    total = compounded(returns)
    if len(returns) < 2 or total is None or total <= -1:
        return None
    try:
        return _finite(math.pow(1 + total, DAYS_A_YEAR / len(returns)) - 1)
    except OverflowError:
        return None


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _deviation(values: Sequence[float]) -> float | None:
    if len(values) < 2:
        return None
    if min(values) == max(values):
        return 0.0  # what rounding would leave of it isn't a deviation
    mean = _mean(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
