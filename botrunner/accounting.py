"""From fills to positions and trades: the book of one bot. Pure, exact, reproducible.

A trade is a round trip: from flat to flat. Everything in `trading_trades` and `trading_positions` follows from the
fills in order, so replaying them gives the same rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from botrunner.orders.machine import Fill, Side
from fleet.errors import PermanentError


class BookError(PermanentError):
    """A fill would flip a position or reduce one that doesn't exist; the book and the orders disagree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """A round trip, open or closed; also the position while it is open.

    Attributes:
        side: of the entry: BUY is a long trade.
        signal_at: open time of the candle that caused the entry.
        size: everything bought on entry (base currency). size_open: what is left of it.
        entry_value, exit_value: sums of price × quantity (quote currency).
        commission: sum of all fees in quote currency.
        exit_reason: of the order that closed it.
    """

    side: Side
    entry_order_id: str
    signal_at: datetime
    entry_at: datetime
    size: Decimal
    size_open: Decimal
    entry_value: Decimal
    commission: Decimal
    exit_value: Decimal = Decimal(0)
    exit_order_id: str | None = None
    exit_at: datetime | None = None
    exit_reason: str | None = None

    @property
    def direction(self) -> str:
        """`long` or `short`, as tables and messages have it."""
        return "long" if self.side is Side.BUY else "short"

    @property
    def is_open(self) -> bool:
        """Whether some of it is still held."""
        return self.size_open > 0

    @property
    def entry_price(self) -> Decimal:
        """Average price of the entry."""
        return self.entry_value / self.size

    @property
    def exit_price(self) -> Decimal | None:
        """Average price of what was closed so far."""
        closed = self.size - self.size_open
        return self.exit_value / closed if closed else None

    @property
    def gross_pnl(self) -> Decimal:
        """Profit of the closed part before fees, quote currency."""
        return self.side.sign * (self.exit_value - self.entry_price * (self.size - self.size_open))

    @property
    def net_pnl(self) -> Decimal:
        """Profit of the closed part after all fees so far, quote currency."""
        return self.gross_pnl - self.commission

    @property
    def pnl_percentage(self) -> Decimal:
        """Net profit in percent of the entry's value."""
        return self.net_pnl / self.entry_value * 100


def apply_fill(trade: Trade | None, fill: Fill, *, signal_at: datetime, reason: str, fee_quote: Decimal) -> Trade:
    """The trade after one more fill.

    Args:
        trade: the open trade, or None while flat.
        fill: the execution.
        signal_at: of the order that was filled. reason: why that order was sent.
        fee_quote: the fill's fee converted to quote currency.

    Raises:
        BookError: the fill is larger than the position it reduces.
    """
    value = fill.price * fill.quantity
    if trade is None:
        return Trade(
            side=fill.side,
            entry_order_id=fill.client_order_id,
            signal_at=signal_at,
            entry_at=fill.filled_at,
            size=fill.quantity,
            size_open=fill.quantity,
            entry_value=value,
            commission=fee_quote,
        )
    if fill.side is trade.side:
        return replace(
            trade,
            size=trade.size + fill.quantity,
            size_open=trade.size_open + fill.quantity,
            entry_value=trade.entry_value + value,
            commission=trade.commission + fee_quote,
        )
    if fill.quantity > trade.size_open:
        raise BookError(
            f"fill {fill.exchange_trade_id} of {fill.quantity} is larger than the position of {trade.size_open}: "
            "the account was traded by somebody else, or a fill is missing"
        )
    return replace(
        trade,
        size_open=trade.size_open - fill.quantity,
        exit_value=trade.exit_value + value,
        commission=trade.commission + fee_quote,
        exit_order_id=fill.client_order_id,
        exit_at=fill.filled_at,
        exit_reason=reason,
    )


def cash_flow(fill: Fill, *, fee_quote: Decimal) -> Decimal:
    """What a fill adds to the quote balance (negative for a buy)."""
    return -fill.side.sign * fill.price * fill.quantity - fee_quote
