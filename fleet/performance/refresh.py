"""A market's curve and metrics brought up to date: which days and which periods change, and to what. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal, localcontext

from fleet.performance.equity import EquityDay, EquityPoint, extended, opening
from fleet.performance.measure import DIGITS, Performance, measure_days
from fleet.performance.periods import FIRST_DAY, Period, start_of
from fleet.performance.trades import ClosedTrade, realised_points
from fleet.trading_day import utc_day


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodPerformance:
    """A row of metrics."""

    period: Period
    start: date
    performance: Performance


def summarised_to(days: Sequence[EquityDay]) -> datetime | None:
    """Close of the last bar that the days know; None when they know none."""
    return max((day.close_at for day in days if day.bars), default=None)


def unrecorded_start(
    trades: Sequence[ClosedTrade], *, first: EquityPoint | None, interval: timedelta, start_equity: Decimal
) -> tuple[EquityDay, ...]:
    """The curve of a market whose beginning wasn't recorded: what trades realised until the first bar.

    Args:
        trades: all closed ones.
        first: the first bar's; None without bars.
        interval: of a bar.
        start_equity: before the first trade.
    """
    old = [trade for trade in trades if first is None or trade.exit_at <= first.at - interval]
    points = realised_points(old, start=start_equity)
    if points:
        began = min(trade.entry_at for trade in old)
        return extended([opening(start_equity, at=began, day=utc_day(points[0].at))], points, bars=False)
    return () if first is None else (opening(start_equity, at=first.at - interval, day=utc_day(first.at)),)


def with_newest_balance(days: Sequence[EquityDay], *, balance: Decimal) -> tuple[EquityDay, ...]:
    """The curve when the newest balance is another than at the last bar's close: something happened after it."""
    if not days or days[-1].close == balance:
        return tuple(days)
    return extended(days, [EquityPoint(at=days[-1].close_at, equity=balance, in_position=False)], bars=False)


def performances(
    *, days: Sequence[EquityDay], trades: Sequence[ClosedTrade], start_equity: Decimal, since: datetime | None
) -> list[PeriodPerformance]:
    """Metrics of all time and of each period that isn't over before a moment.

    Args:
        days: the whole curve.
        trades: all closed ones, each counted on the UTC day of its exit.
        start_equity: for a market without a curve.
        since: what happened before is final; None when nothing is.
    """
    with localcontext(prec=DIGITS):
        active = {day.day for day in days} | {utc_day(trade.exit_at) for trade in trades}
        changed = sorted(day for day in active if since is None or day >= utc_day(since))
        periods = dict.fromkeys(
            (period, start_of(period, day)) for period in Period if period is not Period.ALL for day in changed
        )
        rows = [_performance(period, start, days, trades, start_equity) for period, start in periods]
        return [*rows, _performance(Period.ALL, FIRST_DAY, days, trades, start_equity)]


def _performance(
    period: Period, start: date, days: Sequence[EquityDay], trades: Sequence[ClosedTrade], start_equity: Decimal
) -> PeriodPerformance:
    before = next((day.close for day in reversed(days) if day.day < start), start_equity)
    performance = measure_days(
        trades=[trade for trade in trades if start_of(period, utc_day(trade.exit_at)) == start],
        days=[day for day in days if start_of(period, day.day) == start],
        start_equity=before,
    )
    return PeriodPerformance(period=period, start=start, performance=performance)
