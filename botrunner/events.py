"""From what a bar caused to what a person may be told. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from botrunner.accounting import Trade
from botrunner.risk import TENANT_LIMITS, Counters, Denial
from fleet.events import Event, EventKind


def events_of(
    *,
    bot_id: int,
    owner: int,
    symbol: str,
    trades: Sequence[Trade],
    breaches: Sequence[Denial],
    denial: Denial | None,
    counters: Counters,
) -> Iterator[Event]:
    """What follows from the trades that a bar changed, from limits that came into force and from a denied entry."""
    for trade in trades:
        yield _opened(trade, symbol, bot_id) if trade.is_open else _closed(trade, symbol, bot_id)
    for breach in breaches:
        yield _breach(bot_id, breach, counters)
    if denial in TENANT_LIMITS:
        yield _tenant_breach(owner, denial, counters)


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


def _breach(bot_id: int, limit: Denial, counters: Counters) -> Event:
    return Event(
        kind=EventKind.RISK_BREACH,
        title=f"No new positions: {limit}",
        body=f"risk_management.{limit} is reached; open positions are still managed.",
        facts={"limit": limit, "pnl_today": str(counters.pnl_today)},
        dedupe_key=f"breach:{bot_id}:{limit}:{counters.day}",
    )


def _tenant_breach(owner: int, limit: Denial, counters: Counters) -> Event:
    column = limit.removeprefix("tenant_")
    return Event(
        kind=EventKind.RISK_BREACH,
        title=f"No new positions in any bot: {column} is reached",
        body=f"tenant_limits.{column} is reached; open positions are still managed.",
        facts={"limit": limit},
        # once for all bots of the owner
        dedupe_key=f"breach:tenant-{owner}:{limit}:{counters.day}",
    )
