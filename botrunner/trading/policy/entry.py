"""Whether and with how much a position is entered: the strategy's wish, the limits, the size. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from botrunner.market.side import Side
from botrunner.trading.account import AccountView
from botrunner.trading.costs import base_fee, market_price
from botrunner.trading.order_ids import Leg
from botrunner.trading.policy.intents import Cancel, Intent, Submit
from botrunner.trading.policy.terms import Close, Terms, limit_at, limited, new_order
from botrunner.trading.risk import (
    Denial,
    entry_denial,
    entry_quantity,
    entry_too_small,
    in_force,
    protection,
    stop_loss,
)
from botrunner.trading.signal import Direction, Signal
from fleet.config import OrderKind, SlippageModel


@dataclass(frozen=True, slots=True)
class Enter:
    """An entry that nothing here forbids. `value`: quote currency, which must have room in the owner's limits."""

    submit: Submit
    value: Decimal


def enter(
    signal: Signal, account: AccountView, terms: Terms, close: Close, *, denied: Denial | None = None
) -> Enter | Denial:
    """What an entry signal leads to at a close, with neither a position nor an order there.

    Args:
        signal: the strategy's. account, terms, close: at which.
        denied: a reason from outside against any entry.
    """
    side = Side.BUY if signal.direction is Direction.LONG else Side.SELL
    denial = denied or _forbidden(side, account, terms, close)
    if denial:
        return denial
    limit = limit_at(close, side, terms) if terms.config.entry_order is OrderKind.LIMIT else None
    most = _most(side, close.price if limit is None else limit, account, terms, close)
    price = _expected(side, most, terms, close) if limit is None else limit
    quantity = _quantity(side, price, account, terms, close, slipping=most)
    if denial := _too_small(quantity, side, price, terms):
        return denial
    order = new_order(terms, close.opens_at, Leg.ENTRY, side, quantity, signal.reason)
    if limit is not None:
        order = limited(order, limit, close, terms)
    return Enter(Submit(order), quantity * price)


def withdrawn(account: AccountView) -> tuple[Intent, ...]:
    """Of a bot that is stopping, or whose strategy wants to leave: a waiting entry is taken back."""
    order = account.open_order(Leg.ENTRY)
    return () if order is None else (Cancel(order),)


def limits_in_force(account: AccountView, terms: Terms, close: Close) -> tuple[Denial, ...]:
    """The bot's limits that have been reached and forbid new positions for the time being."""
    return in_force(
        terms.config.risk,
        account.counters,
        equity=account.equity(close.price),
        now=close.at,
        interval=terms.interval,
    )


def _forbidden(side: Side, account: AccountView, terms: Terms, close: Close) -> Denial | None:
    if side is Side.SELL and not (terms.config.allow_short and terms.market.can_short):
        return Denial.SHORT_NOT_ALLOWED
    return entry_denial(
        terms.config.risk,
        account.counters,
        reached=limits_in_force(account, terms, close),
        now=close.at,
        interval=terms.interval,
    )


def _expected(side: Side, quantity: Decimal, terms: Terms, close: Close) -> Decimal:
    """The price that a market entry is sized for: what it would fill at here, and no less than the close, which is
    what the position is worth: a sale at a worse price must not be a larger one."""
    return max(_slipped(close.price, side, quantity, terms, close), close.price)


def _most(side: Side, price: Decimal, account: AccountView, terms: Terms, close: Close) -> Decimal:
    """Where slippage depends on the quantity, the most that could be entered with; 0 where it doesn't."""
    if terms.costs.slippage_model is not SlippageModel.VOLUME_SHARE:
        return Decimal(0)
    return _quantity(side, price, account, terms, close, slipping=Decimal(0))


def _too_small(quantity: Decimal, side: Side, price: Decimal, terms: Terms) -> Denial | None:
    fee, costs = Decimal(0), terms.costs
    if costs.fee_in_base and side is Side.BUY:
        costs_more_as_maker = costs.maker_fee > costs.taker_fee
        fee = base_fee(quantity=quantity, maker=costs_more_as_maker, costs=costs)
    begins = protection(terms.config.risk, market=terms.market, side=side, entry_price=price, best_price=price)
    return entry_too_small(quantity, market=terms.market, price=price, kept=quantity - fee, stop=begins.stop)


def _slipped(quote: Decimal, side: Side, quantity: Decimal, terms: Terms, close: Close) -> Decimal:
    """What a market order would fill at in a candle like this one."""
    return market_price(
        quote, side=side, quantity=quantity, volume=close.volume, costs=terms.costs, market=terms.market
    )


def _quantity(
    side: Side, price: Decimal, account: AccountView, terms: Terms, close: Close, *, slipping: Decimal
) -> Decimal:
    """How much to enter with at a price. `slipping`: the quantity by which the stop's slippage is expected."""
    limits, costs = terms.config.risk, terms.costs
    stop = stop_loss(limits, market=terms.market, side=side, entry_price=price)
    return entry_quantity(
        market=terms.market,
        limits=limits,
        side=side,
        price=price,
        stop_fill=None if stop is None else _slipped(stop, side.other, slipping, terms, close),
        equity=account.equity(close.price),
        cash=account.cash,
        fraction=terms.config.position_fraction,
        fee_rate=costs.highest_fee,
        fee_from_cash=side is Side.BUY and not costs.fee_in_base,
    )
