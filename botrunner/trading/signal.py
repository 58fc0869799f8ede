"""What a strategy wants, and the position that it is told of. Pure values.

A strategy imports them from `botrunner.strategies.base`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from botrunner.market.side import Side
from botrunner.trading.trades import Trade
from fleet.exit_kinds import ExitKind


class Direction(StrEnum):
    """Side of a position."""

    LONG = "long"
    SHORT = "short"


class SignalKind(StrEnum):
    """What a signal asks for."""

    ENTER = "enter"
    EXIT = "exit"


@dataclass(frozen=True, slots=True)
class Signal:
    """What a strategy wants at the close of one bar."""

    kind: SignalKind
    reason: str
    """A stable word for the trade's record: `rsi_bb_volume`, `atr_stop`, `take_profit`; for people alone, at
    most 100 characters."""
    direction: Direction = Direction.LONG
    exit_kind: ExitKind = ExitKind.SIGNAL
    """What the exit is to limits and messages; of no meaning for an entry."""

    def __post_init__(self) -> None:
        """A kind by its name is one, too.

        Raises:
            ValueError: there is no such kind.
        """
        object.__setattr__(self, "exit_kind", ExitKind(self.exit_kind))


@dataclass(frozen=True, slots=True)
class OpenPosition:
    """The bot's position as a strategy sees it; None while flat."""

    direction: Direction
    size: Decimal
    """Base currency."""
    entry_price: Decimal
    """Average price of the entry's fills, quote currency."""
    entry_at: datetime
    """When it was filled, UTC."""
    bars_held: int
    """Closed bars since the entry's bar."""


def position_of(trade: Trade | None, *, bars_held: int) -> OpenPosition | None:
    """An account's position as a strategy sees it; None without one, and while the end of a sold one is confirmed."""
    if trade is None or not trade.is_open:
        return None
    return OpenPosition(
        direction=Direction.LONG if trade.side is Side.BUY else Direction.SHORT,
        size=trade.size_open,
        entry_price=trade.entry_price,
        entry_at=trade.entry_at,
        bars_held=bars_held,
    )
