"""From what a bar caused to what a person may be told. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType

from botrunner.trading.order_ids import Leg
from botrunner.trading.orders import Fill, Order
from botrunner.trading.risk import TENANT_LIMITS, Counters, Denial
from botrunner.trading.trades import Trade
from fleet.events import Event, EventKind, Severity, number
from fleet.exit_kinds import ExitKind

EVENTS_OF_EXITS: Mapping[ExitKind, EventKind] = MappingProxyType(
    {ExitKind.STOP: EventKind.STOP_LOSS, ExitKind.TARGET: EventKind.TAKE_PROFIT}
)
"""What a close is announced as, be it a limit's or an exit mixin's; all others are POSITION_CLOSED."""

PROFIT_TARGETS_PCT = (5, 10, 25, 50, 100, 200, 500, 1000)
"""Realised profit in percent of the initial balance that is worth a message, once for each bot."""

TRADE_COUNTS = tuple(first * 10**zeros for zeros in range(1, 6) for first in (1, 5))
"""Closed trades that are worth a message: 10, 50, 100, 500, ... 500,000."""


def events_of(
    *,
    bot_id: int,
    owner: int,
    symbol: str,
    trades: Sequence[Trade],
    breaches: Sequence[Denial],
    denial: Denial | None,
    counters: Counters,
    fills: Sequence[Fill] = (),
    total_pnl: Decimal = Decimal(0),
    initial_balance: Decimal = Decimal(0),
) -> Iterator[Event]:
    """What follows from a bar.

    Args:
        bot_id: whose bar. owner: users.id of the bot's owner. symbol: its market.
        trades: that the bar changed, as they are after it.
        breaches: limits that came into force. denial: why a wanted entry wasn't made. counters: of the limits.
        fills: of the bar.
        total_pnl: realised, net, quote currency, after the bar.
        initial_balance: quote currency; profit targets are percentages of it. 0: there are none.
    """
    filled = {fill.client_order_id for fill in fills}
    for fill in fills:
        yield _filled(fill, symbol, bot_id)
    for trade in trades:
        # an entry that its own bar closed again was opened all the same
        if trade.is_open or trade.entry_order_id in filled:
            yield _opened(trade, symbol, bot_id)
        if not trade.is_open:
            yield _closed(trade, symbol, bot_id)
    for breach in breaches:
        yield _breach(bot_id, breach, counters)
    if denial in TENANT_LIMITS:
        yield _tenant_breach(owner, denial, counters)
    gained = sum((trade.net_pnl for trade in trades if not trade.is_open), Decimal(0))
    yield from _profit_targets(bot_id, before=total_pnl - gained, after=total_pnl, initial=initial_balance)


def order_refused(order: Order, symbol: str) -> Event:
    """What is told of an order that the exchange refused."""
    then = "The signal is lost." if order.leg is Leg.ENTRY else "It is sent again at the next bar."
    return Event(
        kind=EventKind.ORDER_REJECTED,
        title=f"Rejected: {order.side} {order.quantity:f} {symbol} ({order.leg})",
        body=f"The exchange refused the order: {order.rejection}. {then}",
        facts={"client_order_id": order.client_order_id, "leg": order.leg, "attempt": order.attempt},
        dedupe_key=f"rejected:{order.client_order_id}",
    )


def liquidated(order: Order, symbol: str) -> Event:
    """What is told of a short position that the exchange took away, by this order."""
    return Event(
        kind=EventKind.RISK_BREACH,
        title=f"Liquidated: short {order.quantity:f} {symbol} @ {order.average_price:f}",
        body="The loss of the short position had eaten up the account's margin; the exchange bought it back.",
        facts={"client_order_id": order.client_order_id, "price": str(order.average_price)},
        dedupe_key=f"liquidated:{order.client_order_id}",
        severity=Severity.CRITICAL,
    )


def trade_milestones(bot_id: int) -> dict[int, Event]:
    """The events of round numbers of closed trades, by number; who counts the trades knows which is reached."""
    return {
        count: Event(
            kind=EventKind.MILESTONE,
            title=f"{count:,} trades",
            body=f"The bot has closed {count:,} trades.",
            facts={"trades": str(count)},
            dedupe_key=f"milestone:{bot_id}:trades:{count}",
        )
        for count in TRADE_COUNTS
    }


def _filled(fill: Fill, symbol: str, bot_id: int) -> Event:
    return Event(
        kind=EventKind.ORDER_FILLED,
        title=f"Filled: {fill.side} {number(fill.quantity)} {symbol} @ {number(fill.price)}",
        body=f"Value {number(fill.price * fill.quantity)}, fee {number(fill.fee)} {fill.fee_currency}.",
        facts={
            "client_order_id": fill.client_order_id,
            "exchange_trade_id": fill.exchange_trade_id,
            "side": str(fill.side),
            "price": str(fill.price),
            "quantity": str(fill.quantity),
            "fee": str(fill.fee),
        },
        dedupe_key=f"filled:{bot_id}:{fill.exchange_trade_id}",
    )


def _opened(trade: Trade, symbol: str, bot_id: int) -> Event:
    return Event(
        kind=EventKind.POSITION_OPENED,
        title=f"{trade.side.upper()} {number(trade.size)} {symbol} @ {number(trade.entry_price)}",
        body=f"Opened a {trade.direction} position of {number(trade.entry_value)} (fees {number(trade.commission)}).",
        facts={
            "entry_order_id": trade.entry_order_id,
            "direction": trade.direction,
            "size": str(trade.size),
            "price": str(trade.entry_price),
        },
        dedupe_key=f"opened:{bot_id}:{trade.entry_order_id}",
    )


def _closed(trade: Trade, symbol: str, bot_id: int) -> Event:
    kind = EVENTS_OF_EXITS.get(trade.exit_kind or ExitKind.SIGNAL, EventKind.POSITION_CLOSED)
    price = "-" if trade.exit_price is None else number(trade.exit_price)
    return Event(
        kind=kind,
        title=f"Closed {number(trade.size)} {symbol} @ {price}: {number(trade.net_pnl, signed=True)} "
        f"({trade.pnl_percentage:+.2f} %)",
        body=f"Closed by {trade.exit_reason}; gross {number(trade.gross_pnl, signed=True)}, "
        f"fees {number(trade.commission)}.",
        facts={
            "entry_order_id": trade.entry_order_id,
            "direction": trade.direction,
            "size": str(trade.size),
            "net_pnl": str(trade.net_pnl),
            "exit_reason": trade.exit_reason,
            "exit_kind": trade.exit_kind,
        },
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


def _profit_targets(bot_id: int, *, before: Decimal, after: Decimal, initial: Decimal) -> Iterator[Event]:
    if initial <= 0:
        return
    for percent in PROFIT_TARGETS_PCT:
        target = initial * percent / 100
        if before < target <= after:
            yield Event(
                kind=EventKind.MILESTONE,
                title=f"Profit of {percent} %",
                body=f"Realised profit is {number(after, signed=True)}, {percent} % of the initial {number(initial)}.",
                facts={"profit_pct": str(percent), "total_pnl": str(after)},
                dedupe_key=f"milestone:{bot_id}:profit:{percent}",
            )
