"""The desk: a paper account while one bar is worked on. It executes; what to do is `trading_bot`'s decision.

Guarantees: at most one open order per leg; an order gets one chance per bar; a fill never exceeds its order, the
position it closes or, for a purchase, the cash; no fill is stamped before its order
arrived or before an earlier fill of its trade; whatever happened is recorded once, as rows to write.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from botrunner.execution.paper.matching import (
    PaperRules,
    bankruptcy_price,
    base_fee,
    fee,
    fillable,
    latency,
    market_price,
    rejected,
)
from botrunner.market.candle import Candle
from botrunner.market.rules import Market
from botrunner.market.side import Side
from botrunner.trading.account import Account
from botrunner.trading.lost_entries import Loss, LostEntries, after_loss
from botrunner.trading.order_ids import Leg
from botrunner.trading.orders import Fill, Order, OrderType, filled, moved
from botrunner.trading.risk import Denial, counted_entry, counted_exit, payable
from botrunner.trading.trades import Trade, apply_fill, cash_flow, written_off
from fleet.exit_kinds import ExitKind
from fleet.states import OrderState

SURE = frozenset({Leg.FLATTEN, Leg.LIQUIDATION})
"""Legs that are never refused, late or partly filled: the bot is stopping, or the exchange itself acts."""

REPEATED = frozenset({Leg.EXIT, Leg.STOP_LOSS, Leg.TAKE_PROFIT})
"""Legs of which a rejected order is sent again: without them a position would be left alone."""

REFUSED = "simulated (reject_probability)"


class Desk:
    """One bar's working copy of an account.

    Args:
        account: before the bar.
        candle: the bar.
        opens_at, closes_at: of the bar.
        rules, market: how orders fill.
        entered, exited: told when a position was opened or closed.

    Attributes:
        cash, trade, best_price, bars_held, counters, total_pnl, lost: as in the account.
        book: open orders by leg, and rejected ones that will be repeated.
        orders, fills, trades: what changed, to be written.
        rejections: orders refused at this bar. tried: legs that were sent at this bar.
        told: lost entries that a person hears of.
        sent: protective orders of this trade so far.
        entered_within: the entry filled somewhere within the bar, not at its open.
    """

    def __init__(
        self,
        account: Account,
        *,
        candle: Candle,
        opens_at: datetime,
        closes_at: datetime,
        rules: PaperRules,
        market: Market,
        entered: Callable[[Desk], None],
        exited: Callable[[Desk], None],
    ) -> None:
        self.candle = candle
        self.opens_at = opens_at
        self.closes_at = closes_at
        self.cash = account.cash
        self.trade = account.trade
        self.best_price = account.best_price
        self.bars_held = account.bars_held
        self.counters = account.counters
        self.total_pnl = account.total_pnl
        self.dust = account.dust
        self.lost = account.lost
        self.book: dict[Leg, Order] = {order.leg: order for order in account.orders} if account.orders else {}
        self.sent: dict[Leg, int] = {Leg.STOP_LOSS: account.stops_sent, Leg.TAKE_PROFIT: account.targets_sent}
        self.orders: dict[str, Order] = {}
        self.fills: list[Fill] = []
        self.trades: dict[str, Trade] = {}
        self.rejections: list[Order] = []
        self.told: list[LostEntries] = []
        self.tried: set[Leg] = set()
        self.entered_within = False
        self._rules = rules
        self._market = market
        self._entered = entered
        self._exited = exited
        self._had_chance: set[str] = set()
        self._filled_at = account.filled_at
        if account.filled_at is None and account.trade is not None:  # of a checkpoint that didn't keep it yet
            self._filled_at = account.trade.exit_at or account.trade.entry_at

    # --- what there is ---------------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether there is a position or an order."""
        return self.trade is not None or bool(self.book)

    def open_order(self, leg: Leg) -> Order | None:
        """The leg's order, when anything can still happen to it."""
        order = self.book.get(leg)
        return order if order is not None and order.state is not OrderState.REJECTED else None

    @property
    def closed_trades(self) -> tuple[Trade, ...]:
        """What this bar has closed so far, oldest first."""
        return tuple(trade for trade in self.trades.values() if not trade.is_open)

    def equity(self, price: Decimal) -> Decimal:
        """Cash plus the position at a price, quote currency."""
        if self.trade is None:
            return self.cash
        return self.cash + self.trade.side.sign * self.trade.size_open * price

    def account(self) -> Account:
        """The account after the bar."""
        return Account(
            cash=self.cash,
            trade=self.trade,
            best_price=self.best_price,
            bars_held=self.bars_held,
            orders=tuple(self.book.values()),
            stops_sent=self.sent[Leg.STOP_LOSS],
            targets_sent=self.sent[Leg.TAKE_PROFIT],
            counters=self.counters,
            total_pnl=self.total_pnl,
            dust=self.dust,
            filled_at=self._filled_at,
            lost=self.lost,
        )

    # --- orders ----------------------------------------------------------------------------------------------------

    def send(self, order: Order, *, at: datetime, instant: bool = False) -> Order:
        """Send an intent: it is accepted, is under way, or was refused.

        Args:
            order: with state INTENT.
            at: when. instant: without latency, as an order attached to an entry at the exchange.
        """
        order = moved(order, OrderState.SENT)
        if order.leg not in SURE and rejected(order, self._rules):
            order = replace(moved(order, OrderState.REJECTED), rejection=REFUSED)
            self.rejections.append(order)
            if order.leg is Leg.ENTRY:
                self.lose_entry(Loss.REJECTED)
            return self.note(order)
        late = latency(order, self._rules) if order.leg not in SURE and not instant else None
        order = order if instant else replace(order, arrives_at=at + late if late else at)
        return self.note(order if late else _acknowledged(order))

    def start(self, order: Order) -> Order:
        """The order reached the exchange, or was triggered there: from now on it may be executed."""
        order = _acknowledged(order) if order.state is OrderState.SENT else order
        return self.note(replace(order, working=True))

    def amend(self, order: Order, *, price: Decimal | None, remaining: Decimal) -> Order:
        """Give an open order another price, and a quantity that leaves `remaining`."""
        quantity = order.filled_quantity + remaining
        if order.price == price and order.quantity == quantity:
            return order
        return self.note(replace(order, price=price, quantity=quantity))

    def close(self, leg: Leg, state: OrderState = OrderState.CANCELED) -> None:
        """Cancel or expire the leg's order, if it has an open one; forget a rejected one."""
        order = self.open_order(leg)
        if order is None:
            self.book.pop(leg, None)
        else:
            self.note(moved(order, state))

    def lose_entry(self, reason: Loss | Denial) -> None:
        """Count an entry that came to nothing: of what it wanted, nothing was filled."""
        before, self.lost = self.lost, after_loss(self.lost, reason, at=self.opens_at)
        if self.lost is not None and self.lost is not before and self.lost.is_news:
            self.told.append(self.lost)

    def note(self, order: Order) -> Order:
        """Record what an order is now."""
        self.orders[order.client_order_id] = order
        kept = order.is_open or (order.state is OrderState.REJECTED and order.leg in REPEATED)
        if kept:
            self.book[order.leg] = order
        else:
            self.book.pop(order.leg, None)
        return order

    # --- execution -------------------------------------------------------------------------------------------------

    def execute_market(self, order: Order, quote: Decimal, *, at: datetime) -> None:
        """Execute as a taker what this bar allows of it, at the quote and its slippage; a limit bounds the price.

        A purchase that the cash doesn't pay for is given up: the market rose since the decision.
        """
        order = self._fitted(order)
        quantity = self._chance(order)
        if quantity <= 0:
            return
        price = market_price(
            quote,
            side=order.side,
            quantity=quantity,
            volume=self.candle.volume,
            rules=self._rules,
            market=self._market,
        )
        if order.type is OrderType.LIMIT and order.price is not None:
            price = min(price, order.price) if order.side is Side.BUY else max(price, order.price)
        self.fill(order, price=price, quantity=quantity, at=at, maker=False)

    def execute_resting(self, order: Order, price: Decimal, *, at: datetime) -> None:
        """Execute as a maker what this bar allows of a limit that rested in the book."""
        order = self._fitted(order)
        quantity = self._chance(order)
        if quantity > 0:
            self.fill(order, price=price, quantity=quantity, at=at, maker=True)

    def fill(self, order: Order, *, price: Decimal, quantity: Decimal, at: datetime, maker: bool) -> None:
        """One execution: order, cash, position, counters.

        Args:
            order: of which it is. price, quantity, maker: of the execution.
            at: when its price was there; the stamp is later where the order arrived later, or another fill was.

        Raises:
            IllegalTransition: the order can't fill any more. BookError: it doesn't fit the position.
        """
        at = self._stamp(at, order)
        if order.leg is not Leg.ENTRY and order.side is Side.BUY:
            price = self._payable(price)
        in_base = self._rules.fee_in_base and order.side is Side.BUY and order.leg is Leg.ENTRY
        paid_base = base_fee(quantity=quantity, maker=maker, rules=self._rules) if in_base else Decimal(0)
        paid_quote = (
            paid_base * price if in_base else fee(price=price, quantity=quantity, maker=maker, rules=self._rules)
        )
        if order.leg is Leg.ENTRY and order.side is Side.BUY:
            cost = price * quantity + (Decimal(0) if in_base else paid_quote)
            if cost > self.cash:
                # an exchange would refuse for lack of funds
                self.note(moved(order, OrderState.EXPIRED))
                if not order.fill_count:
                    self.lose_entry(Loss.UNAFFORDABLE)
                return
            order = self._affordable(order, price=price, quantity=quantity, cash=self.cash - cost)
        fill = Fill(
            client_order_id=order.client_order_id,
            exchange_trade_id=f"{order.client_order_id}-{order.fill_count + 1}",
            side=order.side,
            price=price,
            quantity=quantity,
            fee=paid_base if in_base else paid_quote,
            fee_currency=self._market.base if in_base else self._market.quote,
            filled_at=at,
        )
        before = self.trade
        self.trade = apply_fill(
            before,
            fill,
            signal_at=order.signal_at,
            reason=order.reason,
            kind=order.exit_kind,
            fee_quote=paid_quote,
            fee_base=paid_base,
        )
        self.cash += cash_flow(fill, fee_quote=Decimal(0) if in_base else paid_quote)
        self.fills.append(fill)
        self._filled_at = at
        order = self.note(filled(order, fill))
        if before is None:
            self.best_price, self.bars_held, self.lost = price, 0, None
            self.counters = counted_entry(self.counters, at=at)
            self._entered(self)
        elif order.leg is not Leg.ENTRY:
            # once it is being left, no more is bought
            self.close(Leg.ENTRY)
            if self._market.round_quantity(self.trade.size_open) <= 0:
                self.end_trade(at=at)
        if self.trade is not None:
            self.trades[self.trade.entry_order_id] = self.trade

    def end_trade(self, *, at: datetime, reason: str | None = None, kind: ExitKind | None = None) -> None:
        """The position is closed: what is left is too little to sell and written off, all open orders are cancelled.

        Args:
            at: when, or the newest fill's time if that is later.
            reason, kind: why, if no exit has sold any of it; those of one that did stay.
        """
        trade, at = self.trade, self._stamp(at)
        assert trade is not None
        if trade.is_open:
            trade = written_off(trade, reason=reason, kind=kind, at=at)
            self.dust += trade.dust
        assert trade.exit_kind is not None
        self.trades[trade.entry_order_id] = trade
        self.total_pnl += trade.net_pnl
        self.counters = counted_exit(self.counters, net_pnl=trade.net_pnl, kind=trade.exit_kind, at=at)
        self.trade, self.best_price, self.bars_held, self._filled_at = None, None, 0, None
        for leg in tuple(self.book):
            self.close(leg)
        # a position opened at this very bar has protective orders of its own
        self.sent = {Leg.STOP_LOSS: 0, Leg.TAKE_PROFIT: 0}
        self.tried.clear()
        self._exited(self)

    def _stamp(self, at: datetime, order: Order | None = None) -> datetime:
        """When something happened that can't be before the trade's newest fill, nor before its order arrived."""
        moments = (at, self._filled_at, order.arrives_at if order else None)
        return max(moment for moment in moments if moment is not None)

    def _affordable(self, order: Order, *, price: Decimal, quantity: Decimal, cash: Decimal) -> Order:
        """A purchase of which a part fills, asking for no more than the cash after it pays for.

        Each part's fee is rounded, so that parts may cost a little more than the whole that was sized.
        """
        rest = order.leaves_quantity - quantity
        most = price if order.price is None else order.price
        rate = Decimal(0) if self._rules.fee_in_base else self._rules.highest_fee
        rest = payable(rest, cash=cash, price=most, fee_rate=rate, market=self._market)
        return self.amend(order, price=order.price, remaining=quantity + rest)

    def _fitted(self, order: Order) -> Order:
        """A closing order, asking for no more than is held."""
        if order.leg is Leg.ENTRY:
            return order
        assert self.trade is not None
        held = self._market.round_quantity(self.trade.size_open)
        return self.amend(order, price=order.price, remaining=min(order.leaves_quantity, held))

    def _chance(self, order: Order) -> Decimal:
        """What this bar fills of an order: 0 when it had its chance at this bar already."""
        if order.client_order_id in self._had_chance:
            return Decimal(0)
        self._had_chance.add(order.client_order_id)
        if order.leg in SURE:
            return order.leaves_quantity
        return fillable(order, self.candle, rules=self._rules, market=self._market)

    def _payable(self, price: Decimal) -> Decimal:
        """A price for buying a short position back: at most what uses up the cash. Beyond it the exchange pays."""
        assert self.trade is not None
        return min(
            price,
            bankruptcy_price(cash=self.cash, size=self.trade.size_open, rules=self._rules, market=self._market),
        )


def _acknowledged(order: Order) -> Order:
    """An order that the paper exchange accepted."""
    return moved(order, OrderState.ACKED, exchange_order_id=f"paper-{order.client_order_id}")
