"""The equity curve, day by day: a summary that can be continued and still gives the exact drawdown.

A day keeps its highest and lowest equity and its own deepest fall. The deepest fall of several days is the deepest of
theirs and of those from the highest equity of earlier days to a later day's lowest, so no bar has to be kept for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from fleet.trading_day import utc_day


@dataclass(frozen=True, slots=True)
class EquityPoint:
    """A bot's worth at a bar's close.

    Attributes:
        at: the bar's close, aware UTC.
        equity: cash plus position at the close, quote currency.
        in_position: whether a position was open then.
    """

    at: datetime
    equity: Decimal
    in_position: bool


@dataclass(frozen=True, slots=True)
class Fall:
    """From a peak of the equity down to a later trough."""

    peak: Decimal
    peak_at: datetime
    trough: Decimal
    trough_at: datetime

    @property
    def value(self) -> Decimal:
        """Depth in quote currency, positive."""
        return self.peak - self.trough

    @property
    def fraction(self) -> Decimal:
        """Depth as a fraction of the peak; 0 for a peak that isn't positive."""
        return self.value / self.peak if self.peak > 0 else Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class EquityDay:
    """One UTC day of an equity curve.

    Attributes:
        open: equity when the day began: the close before, at open_at, or what the market was begun with.
        high, low: of the day's points; high_at is the last time, low_at the first.
        close: of the last point, which was at close_at.
        fall: the deepest fall between two of the day's points.
        bars: closed in it; 0 for a day known from trades only. bars_in_position: with a position at their close.
    """

    day: date
    open: Decimal
    open_at: datetime
    high: Decimal
    high_at: datetime
    low: Decimal
    low_at: datetime
    close: Decimal
    close_at: datetime
    fall: Fall | None = None
    bars: int = 0
    bars_in_position: int = 0


def opening(equity: Decimal, *, at: datetime, day: date) -> EquityDay:
    """The day a curve begins, before its first bar.

    Args:
        equity: what it begins with.
        at: when.
        day: of the first bar.
    """
    return EquityDay(
        day=day,
        open=equity,
        open_at=at,
        high=equity,
        high_at=at,
        low=equity,
        low_at=at,
        close=equity,
        close_at=at,
    )


class _Day:
    """A day being written."""

    def __init__(self, known: EquityDay) -> None:
        self.day = known.day
        self.open, self.open_at = known.open, known.open_at
        self.high, self.high_at = known.high, known.high_at
        self.low, self.low_at = known.low, known.low_at
        self.close, self.close_at = known.close, known.close_at
        self.fall = known.fall
        self.depth = known.fall.fraction if known.fall else Decimal(0)
        self.bars = known.bars
        self.bars_in_position = known.bars_in_position

    def add(self, point: EquityPoint, *, is_bar: bool) -> None:
        equity, at = point.equity, point.at
        if at < self.close_at:
            raise ValueError(f"equity points must be in order: {at.isoformat()} after {self.close_at.isoformat()}")
        if equity >= self.high:
            self.high, self.high_at = equity, at
        else:
            fall = Fall(self.high, self.high_at, equity, at)
            if fall.fraction > self.depth:
                self.fall, self.depth = fall, fall.fraction
        if equity < self.low:
            self.low, self.low_at = equity, at
        self.close, self.close_at = equity, at
        self.bars += is_bar
        self.bars_in_position += is_bar and point.in_position

    def done(self) -> EquityDay:
        return EquityDay(
            day=self.day,
            open=self.open,
            open_at=self.open_at,
            high=self.high,
            high_at=self.high_at,
            low=self.low,
            low_at=self.low_at,
            close=self.close,
            close_at=self.close_at,
            fall=self.fall,
            bars=self.bars,
            bars_in_position=self.bars_in_position,
        )


def extended(days: Sequence[EquityDay], points: Iterable[EquityPoint], *, bars: bool = True) -> tuple[EquityDay, ...]:
    """The curve with more points. Continuing it in parts gives the same as all at once.

    Args:
        days: so far, ascending; not empty (see `opening`).
        points: ascending, none before what its day knows already.
        bars: False for points that are no bars: they count for nothing but the equity.

    Raises:
        ValueError: points aren't in order, or are older than the curve.
    """
    known = {day.day: day for day in days}
    current: _Day | None = None
    for point in points:
        day = utc_day(point.at)
        if current is None or current.day != day:
            if current is not None:
                known[current.day] = current.done()
            current = _Day(known[day]) if day in known else _begun(known, day, point)
        current.add(point, is_bar=bars)
    if current is not None:
        known[current.day] = current.done()
    return tuple(known[day] for day in sorted(known))


def _begun(known: dict[date, EquityDay], day: date, point: EquityPoint) -> _Day:
    before = max((other for other in known if other < day), default=None)
    if before is None:
        raise ValueError(f"an equity point of {day} is older than the curve, which begins on {min(known)}")
    begun = _Day(opening(point.equity, at=point.at, day=day))
    begun.open, begun.open_at = known[before].close, known[before].close_at
    return begun


def deepest_fall(days: Sequence[EquityDay]) -> Fall | None:
    """The deepest fall, as a fraction of its peak, since the first day began; None when the equity never fell."""
    if not days:
        return None
    peak, peak_at = days[0].open, days[0].open_at
    worst: Fall | None = None
    for day in days:
        across = Fall(peak, peak_at, day.low, day.low_at)
        for fall in (day.fall, across):
            if fall is not None and fall.fraction > (worst.fraction if worst else 0):
                worst = fall
        if day.high >= peak:
            peak, peak_at = day.high, day.high_at
    return worst


def last_peak(days: Sequence[EquityDay]) -> tuple[Decimal, datetime] | None:
    """The highest equity since the first day began, and when it was reached last; None without days."""
    if not days:
        return None
    peak, peak_at = days[0].open, days[0].open_at
    for day in days:
        if day.high >= peak:
            peak, peak_at = day.high, day.high_at
    return peak, peak_at
