"""What must be true of a world that has come to rest: the exchange's ledger and the bot's tables agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

from botrunner.backtest.stored_rows import as_stored
from botrunner.execution.live.transport import OrderStatus
from botrunner.trading.order_ids import Leg
from fleet.states import OrderState
from tests.scripted_exchange.exchange import Answer, Listed
from tests.scripted_exchange.world import World

STATES = {
    OrderStatus.OPEN: {OrderState.ACKED, OrderState.PARTIAL},
    OrderStatus.FILLED: {OrderState.FILLED},
    OrderStatus.CANCELED: {OrderState.CANCELED, OrderState.EXPIRED},
    OrderStatus.EXPIRED: {OrderState.EXPIRED},
}
"""What the bot has to call an order, by what the exchange calls it; what it cancelled for its time has expired."""


class Kind(StrEnum):
    """Which promise was broken."""

    LOST = "lost"
    """The exchange executed or holds something that the tables don't know, or otherwise."""
    DOUBLED = "doubled"
    """One decision was executed by two orders, or counted twice."""
    OVERSOLD = "oversold"
    """Closing orders could together have executed more than there was."""
    NO_RIGHT = "no_right"
    """A request left without the right to trade."""
    CRASHED = "crashed"
    """The bot ended by an error of its own."""
    UNPROTECTED = "unprotected"
    """A position at rest has no stop at the exchange, though the config asks for one."""


class Violation(NamedTuple):
    """A promise that wasn't kept, and how."""

    kind: Kind
    text: str


def violations(world: World) -> list[Violation]:
    """All of them; none for a world in order."""
    return [
        *(Violation(Kind.LOST, text) for text in (*_executions(world), *_orders(world))),
        *(Violation(Kind.DOUBLED, text) for text in _doubled(world)),
        *(Violation(Kind.LOST, text) for text in _position(world)),
        *(Violation(Kind.CRASHED, text) for text in world.crashes),
        *(Violation(Kind.OVERSOLD, text) for text in world.exchange.ledger.oversold),
        *(Violation(Kind.NO_RIGHT, f"{left}") for left in world.left if not left.right),
        *(Violation(Kind.UNPROTECTED, text) for text in _unprotected(world)),
    ]


def _executions(world: World) -> Iterator[str]:
    """Every execution is a fill, to the digit, and every fill an execution."""
    owners = {listed.exchange_order_id: listed.client_order_id for listed in world.exchange.ledger.orders}
    really = {
        execution.exchange_trade_id: as_stored(
            {
                "client_order_id": owners[execution.exchange_order_id],
                "price": execution.price,
                "quantity": execution.quantity,
                "fee": execution.fee,
                "fee_currency": execution.fee_currency,
                "filled_at": execution.at,
            }
        )
        for execution in world.exchange.ledger.executions
    }
    fills = world.tables.fills
    for trade_id in sorted(really.keys() | fills.keys()):
        expected, found = really.get(trade_id), fills.get(trade_id)
        if expected is None or found is None:
            yield f"execution {trade_id}: at the exchange {expected}, in the tables {found}"
        elif any(found[column] != value for column, value in expected.items()):
            yield f"execution {trade_id} is {expected}, the tables say {found}"


def _orders(world: World) -> Iterator[str]:
    """Every order of the exchange is in the tables as it is there; every other one of the tables never arrived."""
    rows = world.tables.orders
    for listed in world.exchange.ledger.orders:
        row = rows.get(listed.client_order_id)
        if row is None:
            yield f"order {_name(listed)} is unknown to the bot"
        elif row["state"] not in STATES[listed.status] or row["filled_quantity"] != listed.executed:
            yield f"order {_name(listed)} is {listed.status} with {listed.executed}, the bot says {row}"
    there = {listed.client_order_id for listed in world.exchange.ledger.orders}
    for about, row in rows.items():
        never_left = {OrderState.EXPIRED, OrderState.REJECTED, OrderState.INTENT}
        if about not in there and (row["state"] not in never_left or row["filled_quantity"]):
            yield f"the bot's order {row} was never at the exchange"


def _position(world: World) -> Iterator[str]:
    """The bot's position, with what it wrote off, is the exchange's, to the last digit; so is its money."""
    account, ledger = world.account, world.exchange.ledger
    held = account.trade.side.sign * account.trade.size_open if account.trade is not None else Decimal(0)
    if held + account.dust != ledger.position:
        yield f"the exchange holds {ledger.position}, the bot {held} and {account.dust} of dust"
    cash = world.plan.config.initial_cash + ledger.quote
    if account.cash != cash:
        yield f"the exchange has {cash} in quote currency, the bot {account.cash}"


def _doubled(world: World) -> Iterator[str]:
    """No id is accepted twice; the attempts at one decision never overlap; an entry has one."""
    orders = world.exchange.ledger.orders
    for about, times in Counter(listed.client_order_id for listed in orders).items():
        if times > 1:
            yield f"order {about} was accepted {times} times"
    if again := world.exchange.ledger.turned_away[Answer.DUPLICATE]:
        yield f"{again} orders were sent again while they were open"
    decisions: dict[tuple[object, Leg], list[Listed]] = {}
    for listed in orders:
        decisions.setdefault((listed.signal_at, listed.leg), []).append(listed)
    for (signal_at, leg), attempts in decisions.items():
        if leg is Leg.ENTRY and len(attempts) > 1:
            yield f"the entry of {signal_at} was sent {len(attempts)} times"
        for earlier, later in pairwise(attempts):
            if earlier.ended_ms is None or earlier.ended_ms > later.accepted_ms:
                yield f"{leg} of {signal_at}: {_name(later)} was there while {_name(earlier)} was open"


def _unprotected(world: World) -> Iterator[str]:
    trade, plan = world.account.trade, world.plan
    if trade is not None and plan.flattens:
        yield f"{trade.size_open} is held by a bot that was to close it"
    if trade is None or plan.config.risk.stop_loss_pct is None:
        return
    held = plan.market.round_quantity(trade.size_open)
    closing = [listed for listed in world.exchange.ledger.orders if listed.is_open and listed.leg is not Leg.ENTRY]
    if sum((listed.leaves for listed in closing), Decimal(0)) != held:
        yield f"{held} is held, {[(listed.leg, listed.leaves) for listed in closing]} would close it"


def _name(listed: Listed) -> str:
    return f"{listed.client_order_id} ({listed.leg} of {listed.signal_at}, {listed.exchange_order_id})"
