"""What every decision starts from besides the account: the bot's config, its market, and what executing costs. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from botrunner.market.rules import Market
from botrunner.market.side import Side
from botrunner.trading.costs import Costs
from botrunner.trading.order_ids import Leg, client_order_id
from botrunner.trading.orders import Order, OrderType
from botrunner.trading.policy.intents import LEG_KINDS
from fleet.config import BotConfig
from fleet.exit_kinds import ExitKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The terms on which a bot trades.

    Attributes:
        bot_id: names the orders. config: with the limits in force. market: the exchange's rules for the symbol.
        costs: what its venue takes. interval: a bar's length.
    """

    bot_id: int
    config: BotConfig
    market: Market
    costs: Costs
    interval: timedelta


class Close(NamedTuple):
    """The close of a bar, at which the strategy is asked.

    Attributes:
        opens_at, at: of the bar. price: its close, quote per base. volume: base currency.
    """

    opens_at: datetime
    at: datetime
    price: Decimal
    volume: Decimal


def new_order(
    terms: Terms,
    signal_at: datetime,
    leg: Leg,
    side: Side,
    quantity: Decimal,
    reason: str,
    *,
    attempt: int = 0,
    kind: ExitKind | None = None,
) -> Order:
    """A market order, not sent yet. `kind`: of an exit that the strategy asked for; of other legs it follows."""
    return Order(
        client_order_id=client_order_id(bot_id=terms.bot_id, signal_at=signal_at, leg=leg, attempt=attempt),
        signal_at=signal_at,
        leg=leg,
        attempt=attempt,
        side=side,
        type=OrderType.MARKET,
        quantity=quantity,
        price=None,
        reason=reason,
        exit_kind=None if leg is Leg.ENTRY else kind or LEG_KINDS.get(leg, ExitKind.SIGNAL),
    )


def limit_price(close: Decimal, *, side: Side, offset_pct: Decimal, market: Market) -> Decimal:
    """A limit on the better side of a close, rounded away from it: a buy's below, a sell's above."""
    price = close * (1 - side.sign * offset_pct / 100)
    return max(market.round_price(price, up=side is Side.SELL), market.tick)


def limit_at(close: Close, side: Side, terms: Terms) -> Decimal:
    """The price of a limit that is sent at a close."""
    return limit_price(close.price, side=side, offset_pct=terms.config.limit_offset_pct, market=terms.market)


def limited(order: Order, price: Decimal, close: Close, terms: Terms) -> Order:
    """The order as a limit at a price, given up `trading.limit_ttl_bars` after the close."""
    expires_at = close.at + terms.config.limit_ttl_bars * terms.interval
    return replace(order, type=OrderType.LIMIT, price=price, expires_at=expires_at)
