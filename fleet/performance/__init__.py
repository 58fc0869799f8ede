"""What a bot achieved: from closed trades and an equity curve to metrics. Pure; every metric: docs/user/performance.md.

Money is exact (Decimal); ratios and returns are floats, since roots and powers have no exact value. What isn't
defined for the data at hand is None, never NaN or infinite. Days, weeks and months are UTC.
"""

from fleet.performance.equity import EquityDay, EquityPoint, Fall, extended, opening
from fleet.performance.measure import Performance, measure, measure_days
from fleet.performance.periods import FIRST_DAY, Period, start_of
from fleet.performance.trades import ClosedTrade, realised_points

__all__ = [
    "FIRST_DAY",
    "ClosedTrade",
    "EquityDay",
    "EquityPoint",
    "Fall",
    "Performance",
    "Period",
    "extended",
    "measure",
    "measure_days",
    "opening",
    "realised_points",
    "start_of",
]
