"""From fills to positions and trades: the book of one bot. Pure, exact, reproducible.

A trade is a round trip: from flat to flat. Everything in `trading_trades` and `trading_positions` follows from the
fills in order, so replaying them gives the same rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from botrunner.market.side import Side
from botrunner.trading.orders import Fill
from fleet.errors import PermanentError
from fleet.exit_kinds import ExitKind


class BookError(PermanentError):
    """A fill would flip a position or reduce one that doesn't exist; the book and the orders disagree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """A round trip, open or closed; also the position while it is open.

    Attributes:
        side: of the entry: BUY is a long trade.
        signal_at: open time of the candle that caused the entry.
        size: everything bought on entry (base currency). size_open: what is held of it.
        entry_value, exit_value: sums of price × quantity (quote currency).
        commission: sum of all fees in quote currency; one taken in the base currency at its fill's price.
        base_fee: what the exchange kept of the bought quantity. base_fee_value: its part of the commission.
        dust: what couldn't be sold and was written off when the trade closed, base currency.
        exit_at: when it was closed; while open, of the newest exit's fill.
        exit_reason, exit_kind: of the order that closed it.
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
    exit_kind: ExitKind | None = None
    base_fee: Decimal = Decimal(0)
    base_fee_value: Decimal = Decimal(0)
    dust: Decimal = Decimal(0)

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
        """Average price of what was sold so far; 0 when all of it was written off."""
        sold = self.sold
        if sold:
            return self.exit_value / sold
        return None if self.is_open else Decimal(0)

    @property
    def sold(self) -> Decimal:
        """What exits have closed so far, base currency: neither held, nor kept as a fee, nor written off."""
        return self.size - self.base_fee - self.dust - self.size_open

    @property
    def gross_pnl(self) -> Decimal:
        """Profit of the closed part before fees, quote currency; dust is worth nothing."""
        cost = self.entry_value - self.base_fee_value
        if self.is_open:
            cost = cost * self.sold / (self.size - self.base_fee)
        return self.side.sign * (self.exit_value - cost)

    @property
    def net_pnl(self) -> Decimal:
        """Profit of the closed part after all fees so far, quote currency."""
        return self.gross_pnl - self.commission

    @property
    def pnl_percentage(self) -> Decimal:
        """Net profit in percent of the entry's value."""
        return self.net_pnl / self.entry_value * 100


@dataclass(frozen=True, slots=True)
class WriteOffWanted:
    """What is left of a trade is to be written off, once nothing that closes it may still execute.

    Attributes:
        reason, kind: why it was to be closed, if no exit has sold any of it.
    """

    reason: str | None
    kind: ExitKind | None


def apply_fill(
    trade: Trade | None,
    fill: Fill,
    *,
    signal_at: datetime,
    reason: str,
    kind: ExitKind | None = None,
    fee_quote: Decimal,
    fee_base: Decimal = Decimal(0),
) -> Trade:
    """The trade after one more fill; fills may come in any order, but no exit before what it sells was bought.

    Args:
        trade: the open trade, or None while flat.
        fill: the execution.
        signal_at: of the order that was filled. reason, kind: why that order was sent; no kind for an entry.
        fee_quote: the fill's fee converted to quote currency.
        fee_base: the same fee where a buy pays it in what it bought; 0 otherwise.

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
            size_open=fill.quantity - fee_base,
            entry_value=value,
            commission=fee_quote,
            base_fee=fee_base,
            base_fee_value=fee_quote if fee_base else Decimal(0),
        )
    if fill.side is trade.side:
        return replace(
            trade,
            entry_at=min(trade.entry_at, fill.filled_at),
            size=trade.size + fill.quantity,
            size_open=trade.size_open + fill.quantity - fee_base,
            entry_value=trade.entry_value + value,
            commission=trade.commission + fee_quote,
            base_fee=trade.base_fee + fee_base,
            base_fee_value=trade.base_fee_value + (fee_quote if fee_base else Decimal(0)),
        )
    if fill.quantity > trade.size_open:
        raise BookError(
            f"fill {fill.exchange_trade_id} of {fill.quantity} is larger than the position of {trade.size_open}: "
            "the account was traded by somebody else, or a fill is missing"
        )
    reduced = replace(
        trade,
        size_open=trade.size_open - fill.quantity,
        exit_value=trade.exit_value + value,
        commission=trade.commission + fee_quote,
    )
    if trade.exit_at is not None and fill.filled_at < trade.exit_at:
        return reduced  # it came late: a later one has said already why and when
    return replace(
        reduced,
        exit_order_id=fill.client_order_id,
        exit_at=fill.filled_at,
        exit_reason=reason,
        exit_kind=kind,
    )


def written_off(trade: Trade, *, reason: str | None, kind: ExitKind | None, at: datetime) -> Trade:
    """The trade closed with what is left of it as dust: too little for the exchange to take.

    Args:
        trade: open.
        reason, kind: why it was being closed; those of an exit that sold some of it stay, and needn't be given.
        at: when that was given up: the trade's end, for every count by time.
    """
    return replace(
        trade,
        size_open=Decimal(0),
        dust=trade.dust + trade.size_open,
        exit_at=at,
        exit_reason=trade.exit_reason or reason,
        exit_kind=trade.exit_kind or kind,
    )


def cash_flow(fill: Fill, *, fee_quote: Decimal) -> Decimal:
    """What a fill adds to the quote balance (negative for a buy). `fee_quote`: 0 when it is paid in base currency."""
    return -fill.side.sign * fill.price * fill.quantity - fee_quote
