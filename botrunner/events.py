"""From what a bar caused to what a person may be told. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from botrunner.accounting import Trade
from botrunner.risk import Counters, Denial
from fleet.events import Event, EventKind

BREACHES = (Denial.MAX_DAILY_LOSS, Denial.MAX_DAILY_TRADES, Denial.MAX_DRAWDOWN)
"""Denials that mean a limit was reached, not that one entry didn't fit."""


def events_of(
    *, bot_id: int, symbol: str, trades: Sequence[Trade], denial: Denial | None, counters: Counters
) -> Iterator[Event]:
    """What follows from the trades that a bar changed and from a denied entry."""
    for trade in trades:
        yield _opened(trade, symbol, bot_id) if trade.is_open else _closed(trade, symbol, bot_id)
    if denial is not None and denial in BREACHES:
        yield _breach(bot_id, denial, counters)


def _opened(trade: Trade, symbol: str, bot_id: int) -> Event:
    return Event(
        kind=EventKind.POSITION_OPENED,
        title=f"{trade.side.upper()} {trade.size} {symbol} @ {trade.entry_price:f}",
        body=f"Opened a {trade.direction} position of {trade.entry_value:f} (fees {trade.commission:f}).",
        facts={"entry_order_id": trade.entry_order_id, "size": str(trade.size)},
        dedupe_key=f"opened:{bot_id}:{trade.entry_order_id}",
    )


def _closed(trade: Trade, symbol: str, bot_id: int) -> Event:
    return Event(
        kind=EventKind.POSITION_CLOSED,
        title=f"Closed {trade.size} {symbol} @ {trade.exit_price:f}: {trade.net_pnl:+f} "
        f"({trade.pnl_percentage:+.2f} %)",
        body=f"Closed by {trade.exit_reason}; gross {trade.gross_pnl:+f}, fees {trade.commission:f}.",
        facts={"entry_order_id": trade.entry_order_id, "net_pnl": str(trade.net_pnl)},
        dedupe_key=f"closed:{bot_id}:{trade.entry_order_id}",
    )


def _breach(bot_id: int, denial: Denial, counters: Counters) -> Event:
    return Event(
        kind=EventKind.RISK_BREACH,
        title=f"No new positions: {denial}",
        body=f"risk_management.{denial} is reached; open positions are still managed.",
        facts={"limit": denial, "pnl_today": str(counters.pnl_today)},
        dedupe_key=f"breach:{bot_id}:{denial}:{counters.day}",
    )
