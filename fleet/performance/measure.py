"""Trades and a curve in, all metrics out: what `trading_performance_metrics` holds and the command line shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta
from decimal import Decimal, localcontext

from pydantic import JsonValue

from fleet.performance import ratios
from fleet.performance.equity import EquityDay, EquityPoint, Fall, deepest_fall, extended, last_peak, opening
from fleet.performance.trades import ClosedTrade, TradeFigures, figures, realised_points
from fleet.trading_day import utc_day

DIGITS = 60
"""Of intermediate results: sums of NUMERIC(38, 18) stay exact."""
SCALE = Decimal("1e-18")


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """All metrics of a period; docs/user/performance.md defines each. Decimals are money in quote currency."""

    equity_basis: str
    first_at: datetime | None
    last_at: datetime | None
    days: int
    bars: int
    total_trades: int
    winning_trades: int
    losing_trades: int
    breakeven_trades: int
    win_rate: float | None
    gross_pnl: Decimal
    fees: Decimal
    net_pnl: Decimal
    total_pnl: Decimal
    total_pnl_pct: float | None
    gross_profit: Decimal
    gross_loss: Decimal
    profit_factor: float | None
    expectancy: Decimal | None
    expectancy_pct: float | None
    expectancy_r: float | None
    average_win: Decimal | None
    average_loss: Decimal | None
    payoff_ratio: float | None
    largest_win: Decimal | None
    largest_loss: Decimal | None
    max_consecutive_wins: int
    max_consecutive_losses: int
    average_holding_s: float | None
    fees_pct_of_gross: float | None
    turnover: float | None
    start_balance: Decimal
    current_balance: Decimal
    peak_balance: Decimal
    equity_change: Decimal
    return_pct: float | None
    max_drawdown: float | None
    max_drawdown_value: Decimal
    max_drawdown_peak_at: datetime | None
    max_drawdown_trough_at: datetime | None
    max_drawdown_duration_s: float | None
    max_drawdown_recovered_on: date | None
    current_drawdown: float | None
    current_drawdown_value: Decimal
    current_drawdown_since: datetime | None
    current_drawdown_duration_s: float | None
    recovery_factor: float | None
    exposure: float | None
    sharpe: float | None
    sortino: float | None
    calmar: float | None
    cagr: float | None
    volatility: float | None
    best_day: date | None
    best_day_return: float | None
    worst_day: date | None
    worst_day_return: float | None

    def as_json(self) -> dict[str, JsonValue]:
        """By name: money as text without exponent, times and days as ISO 8601, None as null."""
        return {field.name: _json(getattr(self, field.name)) for field in fields(self)}


def measure(
    *, trades: Sequence[ClosedTrade], equity: Sequence[EquityPoint], start_equity: Decimal, interval_s: int
) -> Performance:
    """All metrics of one stretch of trading.

    Args:
        trades: closed in it, in any order.
        equity: one point per bar, ascending; without any, the curve is what the trades realised.
        start_equity: before the first bar.
        interval_s: of a bar: the curve begins that long before the first point.

    Raises:
        ValueError: points aren't in order.
    """
    with localcontext(prec=DIGITS):
        days = _days(trades, equity, start_equity, interval_s)
        return measure_days(trades=trades, days=days, start_equity=start_equity)


def _days(
    trades: Sequence[ClosedTrade], equity: Sequence[EquityPoint], start: Decimal, interval_s: int
) -> tuple[EquityDay, ...]:
    if equity:
        began = equity[0].at - timedelta(seconds=interval_s)
        return extended([opening(start, at=began, day=utc_day(equity[0].at))], equity)
    points = realised_points(trades, start=start)
    if not points:
        return ()
    began = min(trade.entry_at for trade in trades)
    return extended([opening(start, at=began, day=utc_day(points[0].at))], points, bars=False)


def measure_days(*, trades: Sequence[ClosedTrade], days: Sequence[EquityDay], start_equity: Decimal) -> Performance:
    """All metrics of successive days of a curve.

    Args:
        trades: closed in them, in any order.
        days: ascending; may be empty.
        start_equity: the equity there is when there are no days.
    """
    with localcontext(prec=DIGITS):
        return _performance(figures(trades), _Curve(days, start_equity))


def _performance(sums: TradeFigures, curve: _Curve) -> Performance:
    returns = [value for _, value in curve.returns] if curve.returns is not None else []
    growth = ratios.cagr(returns)
    average_win = _over(sums.won, sums.wins)
    average_loss = _over(sums.lost, sums.losses)
    expectancy = _over(sums.net_pnl, sums.count)
    compounded = ratios.compounded(returns) if returns else None
    best = max(curve.returns or (), key=lambda pair: pair[1], default=None)
    worst = min(curve.returns or (), key=lambda pair: pair[1], default=None)
    return Performance(
        equity_basis=curve.basis,
        first_at=curve.first_at,
        last_at=curve.last_at,
        days=len(returns),
        bars=curve.bars,
        total_trades=sums.count,
        winning_trades=sums.wins,
        losing_trades=sums.losses,
        breakeven_trades=sums.count - sums.wins - sums.losses,
        win_rate=sums.wins / sums.count if sums.count else None,
        gross_pnl=_money(sums.gross_pnl),
        fees=_money(sums.fees),
        net_pnl=_money(sums.net_pnl),
        total_pnl=_money(sums.net_pnl),
        total_pnl_pct=_ratio(100 * sums.net_pnl, curve.start),
        gross_profit=_money(sums.won),
        gross_loss=_money(sums.lost),
        profit_factor=_ratio(sums.won, sums.lost),
        expectancy=expectancy,
        expectancy_pct=None if sums.mean_return is None else 100 * sums.mean_return,
        expectancy_r=_ratio(expectancy, average_loss),
        average_win=average_win,
        average_loss=average_loss,
        payoff_ratio=_ratio(average_win, average_loss),
        largest_win=sums.largest_win,
        largest_loss=sums.largest_loss,
        max_consecutive_wins=sums.longest_wins,
        max_consecutive_losses=sums.longest_losses,
        average_holding_s=sums.mean_holding_s,
        fees_pct_of_gross=_ratio(100 * sums.fees, sums.gross_pnl),
        turnover=_ratio(sums.traded_value, curve.start),
        start_balance=_money(curve.start),
        current_balance=_money(curve.end),
        peak_balance=_money(curve.peak),
        equity_change=_money(curve.change),
        return_pct=None if compounded is None else 100 * compounded,
        max_drawdown=curve.max_drawdown,
        max_drawdown_value=_money(curve.worst.value if curve.worst else Decimal(0)),
        max_drawdown_peak_at=curve.worst.peak_at if curve.worst else None,
        max_drawdown_trough_at=curve.worst.trough_at if curve.worst else None,
        max_drawdown_duration_s=_seconds(curve.worst.peak_at, curve.worst.trough_at) if curve.worst else None,
        max_drawdown_recovered_on=curve.recovered_on,
        current_drawdown=_ratio(curve.peak - curve.end, curve.peak) if curve.last_at else None,
        current_drawdown_value=_money(curve.peak - curve.end),
        current_drawdown_since=curve.peak_at if curve.peak > curve.end else None,
        current_drawdown_duration_s=curve.under_water_s,
        recovery_factor=_ratio(curve.change, curve.worst.value) if curve.worst else None,
        exposure=curve.exposure,
        sharpe=ratios.sharpe(returns),
        sortino=ratios.sortino(returns),
        calmar=growth / curve.max_drawdown if growth is not None and curve.max_drawdown else None,
        cagr=growth,
        volatility=ratios.volatility(returns),
        best_day=best[0] if best else None,
        best_day_return=best[1] if best else None,
        worst_day=worst[0] if worst else None,
        worst_day_return=worst[1] if worst else None,
    )


class _Curve:
    """What the days say together."""

    def __init__(self, days: Sequence[EquityDay], start: Decimal) -> None:
        self.start = days[0].open if days else start
        self.first_at = days[0].open_at if days else None
        self.last_at = days[-1].close_at if days else None
        self.end = days[-1].close if days else start
        self.change = sum((day.close - day.open for day in days), Decimal(0))
        self.bars = sum(day.bars for day in days)
        held = sum(day.bars_in_position for day in days)
        self.exposure = held / self.bars if self.bars else None
        self.basis = _basis(days)
        self.returns = _returns(days)
        self.worst = deepest_fall(days)
        peak = last_peak(days)
        self.peak = peak[0] if peak else start
        self.peak_at = peak[1] if peak else None
        self.max_drawdown = (float(self.worst.fraction) if self.worst else 0.0) if days else None
        self.recovered_on = _recovered_on(days, self.worst)

    @property
    def under_water_s(self) -> float | None:
        if self.last_at is None or self.peak_at is None:
            return None
        return _seconds(self.peak_at, self.last_at) if self.peak > self.end else 0.0


def _seconds(start: datetime, end: datetime) -> float:
    return (end - start).total_seconds()


def _basis(days: Sequence[EquityDay]) -> str:
    with_bars = sum(day.bars > 0 for day in days)
    if not days:
        return "none"
    return "bars" if with_bars == len(days) else "trades" if with_bars == 0 else "mixed"


def _returns(days: Sequence[EquityDay]) -> list[tuple[date, float]] | None:
    """Of every calendar day from the first to the last; a day without a bar returned 0. None after a ruin."""
    returns: list[tuple[date, float]] = []
    for day in days:
        if day.open <= 0:
            return None
        while returns and returns[-1][0] + timedelta(days=1) < day.day:
            returns.append((returns[-1][0] + timedelta(days=1), 0.0))
        returns.append((day.day, float((day.close - day.open) / day.open)))
    return returns


def _recovered_on(days: Sequence[EquityDay], worst: Fall | None) -> date | None:
    if worst is None:
        return None
    return next((day.day for day in days if day.close_at > worst.trough_at and day.close >= worst.peak), None)


def _money(value: Decimal) -> Decimal:
    return value.quantize(SCALE)


def _over(value: Decimal, count: int) -> Decimal | None:
    return _money(value / count) if count else None


def _ratio(value: Decimal | None, by: Decimal | None) -> float | None:
    """None when a side is missing or the divisor isn't positive."""
    if value is None or by is None or by <= 0:
        return None
    return float(value / by)


def _json(value: object) -> JsonValue:
    if isinstance(value, Decimal):
        text = f"{value:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    if isinstance(value, date):  # a datetime is one too
        return value.isoformat()
    assert value is None or isinstance(value, str | int | float)
    return value
