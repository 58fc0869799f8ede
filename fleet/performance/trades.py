"""What closed trades say: counts, sums, averages. Exact sums; quotients as floats."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from fleet.performance.equity import EquityPoint

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedTrade:
    """A finished round trip; money in quote currency.

    Attributes:
        direction: `long` or `short`.
        entry_value: sum of price × quantity of the entry.
        gross_pnl: before fees. net_pnl: after all fees. commission: the fees.
    """

    entry_at: datetime
    exit_at: datetime
    direction: str
    entry_value: Decimal
    gross_pnl: Decimal
    net_pnl: Decimal
    commission: Decimal

    @property
    def exit_value(self) -> Decimal:
        """Sum of price × quantity of the exit."""
        return self.entry_value + (self.gross_pnl if self.direction == "long" else -self.gross_pnl)


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeFigures:
    """Sums over trades; `losses` and everything named loss is a positive number."""

    count: int
    wins: int
    losses: int
    gross_pnl: Decimal
    net_pnl: Decimal
    fees: Decimal
    won: Decimal
    lost: Decimal
    largest_win: Decimal | None
    largest_loss: Decimal | None
    longest_wins: int
    longest_losses: int
    traded_value: Decimal
    mean_return: float | None
    mean_holding_s: float | None


def figures(trades: Iterable[ClosedTrade]) -> TradeFigures:
    """Add trades up, in the order of their exits."""
    ordered = sorted(trades, key=lambda trade: (trade.exit_at, trade.entry_at))
    nets = [trade.net_pnl for trade in ordered]
    wins = [net for net in nets if net > 0]
    losses = [-net for net in nets if net < 0]
    count = len(ordered)
    returns = [trade.net_pnl / trade.entry_value for trade in ordered if trade.entry_value > 0]
    held = sum((trade.exit_at - trade.entry_at for trade in ordered), timedelta())
    return TradeFigures(
        count=count,
        wins=len(wins),
        losses=len(losses),
        gross_pnl=sum((trade.gross_pnl for trade in ordered), ZERO),
        net_pnl=sum(nets, ZERO),
        fees=sum((trade.commission for trade in ordered), ZERO),
        won=sum(wins, ZERO),
        lost=sum(losses, ZERO),
        largest_win=max(wins, default=None),
        largest_loss=max(losses, default=None),
        longest_wins=_longest(net > 0 for net in nets),
        longest_losses=_longest(net < 0 for net in nets),
        traded_value=sum((trade.entry_value + trade.exit_value for trade in ordered), ZERO),
        mean_return=float(sum(returns, ZERO) / len(returns)) if returns else None,
        mean_holding_s=held.total_seconds() / count if count else None,
    )


def _longest(hits: Iterable[bool]) -> int:
    longest = running = 0
    for hit in hits:
        running = running + 1 if hit else 0
        longest = max(longest, running)
    return longest


def realised_points(trades: Sequence[ClosedTrade], *, start: Decimal) -> tuple[EquityPoint, ...]:
    """The equity curve as far as closed trades know it: a point at each exit. For times without bars."""
    points = []
    for trade in sorted(trades, key=lambda trade: (trade.exit_at, trade.entry_at)):
        start += trade.net_pnl
        points.append(EquityPoint(at=trade.exit_at, equity=start, in_position=False))
    return tuple(points)
