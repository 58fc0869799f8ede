"""The paper venue: executes orders against one closed candle after the other, and reports at once.

It reads cash and position from the account as an exchange knows its own, and keeps nothing between two bars.
Guarantees: an order gets one chance per bar; a fill never exceeds its order, the position it closes or, for a purchase,
the cash; no fill is stamped before its order arrived or before an earlier fill of its trade. Chance is a function of
seed and order (`draws`). docs/user/paper-trading.md has the rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal

from botrunner.execution.paper.matching import (
    PaperRules,
    bankruptcy_price,
    fillable,
    latency,
    liquidation_price,
    marketable,
    paper_rules,
    rejected,
    resting_price,
    stop_quote,
    touched,
    triggered,
)
from botrunner.execution.port import Moment, Phase, ReportSink
from botrunner.market.candle import Candle
from botrunner.market.rules import Market
from botrunner.market.side import Side
from botrunner.trading.account import AccountView
from botrunner.trading.costs import base_fee, fee, market_price
from botrunner.trading.lost_entries import Loss
from botrunner.trading.order_ids import Leg, client_order_id
from botrunner.trading.orders import Order, OrderType
from botrunner.trading.reports import (
    Accepted,
    Amended,
    Canceled,
    Executed,
    Expired,
    Liquidated,
    Rejected,
    Sent,
    Working,
)
from botrunner.trading.risk import payable
from fleet.config import BotConfig, FillPrice
from fleet.states import OrderState

SURE = frozenset({Leg.FLATTEN, Leg.LIQUIDATION})
"""Legs that are never refused, late or partly filled: the bot is stopping, or the exchange itself acts."""

ATTACHED = frozenset({Leg.STOP_LOSS, Leg.TAKE_PROFIT})
"""Legs that arrive with the fill that they protect, as orders attached to an entry do at an exchange."""

REFUSED = "simulated (reject_probability)"

WITHIN = timedelta(milliseconds=1)
"""An entry that filled somewhere within a bar is stamped so much before its close, when the bar's own orders come."""


def paper_venue(config: BotConfig, market: Market, *, bot_id: int) -> PaperVenue:
    """The paper venue that a config asks for."""
    return PaperVenue(bot_id=bot_id, rules=paper_rules(config, market), market=market)


class PaperVenue:
    """Executes a bot's orders on paper (`execution.port.Venue`).

    Args:
        bot_id: names the orders of the venue's own, which are liquidations.
        rules, market: how orders fill.
    """

    def __init__(self, *, bot_id: int, rules: PaperRules, market: Market) -> None:
        self._bot_id = bot_id
        self._rules = rules
        self._market = market
        self._at_closes = rules.fill_price is FillPrice.CLOSE
        self._had_chance: set[str] = set()
        self._entered_within = False
        self._account: AccountView
        self._report: ReportSink
        self._candle: Candle
        self._opens_at: datetime
        self._closes_at: datetime
        self._now: datetime
        self._quote: Decimal

    @property
    def costs(self) -> PaperRules:
        """What executions cost."""
        return self._rules

    @property
    def entered_within(self) -> bool:
        """Whether some of an entry filled somewhere within this bar, not at its open."""
        return self._entered_within

    def begin(
        self, account: AccountView, report: ReportSink, *, candle: Candle, opens_at: datetime, closes_at: datetime
    ) -> None:
        """A step begins at the close of a bar; `walk` goes back to its open."""
        self._account, self._report, self._candle = account, report, candle
        self._opens_at, self._closes_at = opens_at, closes_at
        self._now, self._quote = closes_at, candle.close
        self._entered_within = False
        self._had_chance.clear()

    # --- the port --------------------------------------------------------------------------------------------------

    def submit(self, order: Order) -> None:
        """Take an order: it is accepted, is under way, or was refused. What is sure executes at once."""
        sure, attached = order.leg in SURE, order.leg in ATTACHED
        if not sure and rejected(order, self._rules):
            self._report(Rejected(client_order_id=order.client_order_id, at=self._now, reason=REFUSED))
            return
        late = timedelta(0) if sure or attached else latency(order, self._rules)
        arrives_at = None if attached else self._now + late
        self._report(Sent(client_order_id=order.client_order_id, at=self._now, arrives_at=arrives_at))
        if not late:
            self._accept(order)
        if order.leg is Leg.TAKE_PROFIT:
            self._rest(order)
        elif sure:
            self._execute_market(self._start(order), self._quote, at=self._now)

    def amend(self, order: Order, *, price: Decimal | None, quantity: Decimal) -> None:
        """Give an open order another price or quantity."""
        self._report(Amended(client_order_id=order.client_order_id, at=self._now, price=price, quantity=quantity))
        if order.leg is Leg.TAKE_PROFIT and price != order.price:
            self._rest(self._account.by_leg[order.leg])

    def cancel(self, order: Order) -> None:
        """Take back what is left of an open order."""
        self._report(Canceled(client_order_id=order.client_order_id, at=self._now))

    def walk(self) -> Iterator[Moment]:
        """Open, range, close, in the order of docs/user/paper-trading.md.

        In the range a stop is taken to come before a target, an entry before its stop, and a target only after the bar
        of an entry within it: a candle doesn't tell, the cautious answer costs only optimism.
        """
        candle = self._candle
        self._now, self._quote = self._opens_at, candle.open
        self._liquidate(reached=candle.open)
        yield Moment(Phase.OPEN, candle.open, self._opens_at)
        if self._work_at_open():
            yield Moment(Phase.EXECUTED, candle.open, self._opens_at)
        entered_at = self._enter_within()
        if entered_at is not None:
            self._quote = entered_at
            yield Moment(Phase.EXECUTED, entered_at, self._opens_at)
        stop = self._account.open_order(Leg.STOP_LOSS)
        if stop is not None and not stop.working and triggered(stop, candle):
            yield Moment(Phase.TRIGGERED, stop_quote(stop, candle), self._opens_at)
            self._execute_market(self._start(stop), stop_quote(stop, candle), at=self._closes_at)
        if not self._entered_within:
            self._leave_within()
        self._now, self._quote = self._closes_at, candle.close
        self._liquidate(reached=candle.high)
        self._expire()
        yield Moment(Phase.CLOSE, candle.close, self._closes_at)

    def at_close(self) -> None:
        """With fills at the close: what arrives before the next close executes at this one, the last price it knew."""
        if not self._at_closes:
            return
        next_close = self._closes_at + (self._closes_at - self._opens_at)
        for leg in (Leg.EXIT, Leg.ENTRY):
            order = self._account.open_order(leg)
            if order is None or order.working:
                continue
            if order.arrives_at is None or order.arrives_at < next_close:
                self._arrive(order, self._candle.close, at=self._closes_at)

    # --- at the open -----------------------------------------------------------------------------------------------

    def _work_at_open(self) -> bool:
        """What has arrived by now executes at the open; whether anything had a chance."""
        moved = False
        for leg in (Leg.EXIT, Leg.STOP_LOSS, Leg.TAKE_PROFIT, Leg.ENTRY):
            order = self._account.open_order(leg) if leg in self._account.by_leg else None
            if order is None:
                continue
            if order.type is OrderType.STOP:
                if order.working:
                    moved |= self._execute_market(order, self._candle.open, at=self._opens_at)
            elif not order.working:
                if order.arrives_at is None or order.arrives_at < self._closes_at:
                    moved |= self._arrive(order, self._candle.open, at=self._opens_at)
            elif order.type is OrderType.MARKET:
                moved |= self._execute_market(order, self._candle.open, at=self._opens_at)
        return moved

    # --- within the range ------------------------------------------------------------------------------------------

    def _enter_within(self) -> Decimal | None:
        """The price at which an entry's limit was executed; None when it wasn't."""
        order, candle = self._account.open_order(Leg.ENTRY), self._candle
        if order is None or order.type is not OrderType.LIMIT or not order.working or not touched(order, candle):
            return None
        at_open = marketable(order, candle.open)
        price = resting_price(order, candle)
        if not self._execute_resting(order, price, at=self._opens_at if at_open else self._closes_at - WITHIN):
            return None
        self._entered_within = not at_open
        return price

    def _leave_within(self) -> None:
        reached = []
        for leg in (Leg.EXIT, Leg.TAKE_PROFIT):
            order = self._account.open_order(leg) if leg in self._account.by_leg else None
            if order is not None and order.type is OrderType.LIMIT and order.working and touched(order, self._candle):
                reached.append(order)
        # on its way the price came to the nearer one first
        reached.sort(key=lambda order: -order.side.sign * (order.price or Decimal(0)))
        for order in reached:
            if self._account.trade is None:
                return
            self._execute_resting(order, resting_price(order, self._candle), at=self._closes_at)

    def _liquidate(self, *, reached: Decimal) -> None:
        """Take a short position away when its loss has eaten up the account's margin."""
        trade = self._account.trade
        if trade is None or trade.side is Side.BUY:
            return
        limit = liquidation_price(cash=self._account.cash, size=trade.size_open)
        if reached < limit:
            return
        for order in tuple(self._account.by_leg.values()):
            if order.is_open:
                self.cancel(order)
        name = client_order_id(bot_id=self._bot_id, signal_at=self._opens_at, leg=Leg.LIQUIDATION)
        quantity = self._market.round_quantity(trade.size_open)
        self._report(Liquidated(client_order_id=name, at=self._now, signal_at=self._opens_at, quantity=quantity))
        if quantity > 0:
            self._quote = max(self._candle.open, limit)
            self.submit(self._account.by_leg[Leg.LIQUIDATION])

    # --- at the close ----------------------------------------------------------------------------------------------

    def _expire(self) -> None:
        """Limits whose time is over."""
        for leg in (Leg.ENTRY, Leg.EXIT):
            order = self._account.open_order(leg) if leg in self._account.by_leg else None
            if order is not None and order.expires_at is not None and order.expires_at <= self._closes_at:
                self._report(Expired(client_order_id=order.client_order_id, at=self._now))

    # --- orders ----------------------------------------------------------------------------------------------------

    def _accept(self, order: Order) -> None:
        name = order.client_order_id
        self._report(Accepted(client_order_id=name, at=self._now, exchange_order_id=f"paper-{name}"))

    def _start(self, order: Order) -> Order:
        """The order reached the venue, or was triggered there: from now on it may be executed."""
        if self._account.by_leg[order.leg].state is OrderState.SENT:
            self._accept(order)
        self._report(Working(client_order_id=order.client_order_id, at=self._now))
        return self._account.by_leg[order.leg]

    def _arrive(self, order: Order, quote: Decimal, *, at: datetime) -> bool:
        """An order reaches the venue: it executes at the quote, or rests in the book; whether it had a chance."""
        order = self._start(order)
        if order.type is OrderType.MARKET or marketable(order, quote):
            return self._execute_market(order, quote, at=at)
        return False

    def _rest(self, order: Order) -> None:
        """A target rests where it was placed, unless the price has reached it: then it executes at the next open."""
        if not marketable(order, self._quote):
            self._report(Working(client_order_id=order.client_order_id, at=self._now))

    def _resized(self, order: Order, remaining: Decimal) -> Order:
        """The order, asking for no more than `remaining` besides what was executed of it."""
        quantity = order.filled_quantity + remaining
        if order.quantity == quantity:
            return order
        self.amend(order, price=order.price, quantity=quantity)
        return self._account.by_leg[order.leg]

    # --- execution -------------------------------------------------------------------------------------------------

    def _execute_market(self, order: Order, quote: Decimal, *, at: datetime) -> bool:
        """Execute as a taker what this bar allows of an order, at the quote and its slippage; a limit bounds the price.

        A purchase that the cash doesn't pay for is given up: the market rose since the decision.

        Returns:
            Whether it had a chance at all.
        """
        order = self._fitted(order)
        quantity = self._chance(order)
        if quantity <= 0:
            return False
        price = market_price(
            quote,
            side=order.side,
            quantity=quantity,
            volume=self._candle.volume,
            costs=self._rules,
            market=self._market,
        )
        if order.type is OrderType.LIMIT and order.price is not None:
            price = min(price, order.price) if order.side is Side.BUY else max(price, order.price)
        self._execute(order, price=price, quantity=quantity, at=at, maker=False)
        return True

    def _execute_resting(self, order: Order, price: Decimal, *, at: datetime) -> bool:
        """Execute as a maker what this bar allows of a limit that rested in the book; whether anything was."""
        order = self._fitted(order)
        quantity = self._chance(order)
        return quantity > 0 and self._execute(order, price=price, quantity=quantity, at=at, maker=True)

    def _execute(self, order: Order, *, price: Decimal, quantity: Decimal, at: datetime, maker: bool) -> bool:
        """One execution, if it can be paid for.

        Args:
            order: of which it is. price, quantity, maker: of the execution.
            at: when its price was there; the stamp is later where the order arrived later, or another fill was.
        """
        rules, is_purchase = self._rules, order.side is Side.BUY
        if is_purchase and order.leg is not Leg.ENTRY:
            price = self._payable(price)
        in_base = rules.fee_in_base and is_purchase and order.leg is Leg.ENTRY
        if in_base:
            paid, currency = base_fee(quantity=quantity, maker=maker, costs=rules), self._market.base
        else:
            paid, currency = fee(price=price, quantity=quantity, maker=maker, costs=rules), self._market.quote
        if is_purchase and order.leg is Leg.ENTRY:
            cash, cost = self._account.cash, price * quantity + (Decimal(0) if in_base else paid)
            if cost > cash:
                # an exchange would refuse for lack of funds
                self._report(Expired(client_order_id=order.client_order_id, at=self._now, loss=Loss.UNAFFORDABLE))
                return False
            order = self._affordable(order, price=price, quantity=quantity, cash=cash - cost)
        self._report(
            Executed(
                client_order_id=order.client_order_id,
                at=self._stamp(at, order),
                exchange_trade_id=f"{order.client_order_id}-{order.fill_count + 1}",
                price=price,
                quantity=quantity,
                fee=paid,
                fee_currency=currency,
            )
        )
        return True

    def _stamp(self, at: datetime, order: Order) -> datetime:
        """When something was executed that can't be before the trade's newest fill, nor before its order arrived."""
        moments = (at, self._account.filled_at, order.arrives_at)
        return max(moment for moment in moments if moment is not None)

    def _affordable(self, order: Order, *, price: Decimal, quantity: Decimal, cash: Decimal) -> Order:
        """A purchase of which a part fills, asking for no more than the cash after it pays for.

        Each part's fee is rounded, so that parts may cost a little more than the whole that was sized.
        """
        rest = order.leaves_quantity - quantity
        most = price if order.price is None else order.price
        rate = Decimal(0) if self._rules.fee_in_base else self._rules.highest_fee
        rest = payable(rest, cash=cash, price=most, fee_rate=rate, market=self._market)
        return self._resized(order, quantity + rest)

    def _fitted(self, order: Order) -> Order:
        """A closing order, asking for no more than is held."""
        if order.leg is Leg.ENTRY:
            return order
        trade = self._account.trade
        assert trade is not None
        held = self._market.round_quantity(trade.size_open)
        return self._resized(order, min(order.leaves_quantity, held))

    def _chance(self, order: Order) -> Decimal:
        """What this bar fills of an order: 0 when it had its chance at this bar already."""
        if order.client_order_id in self._had_chance:
            return Decimal(0)
        self._had_chance.add(order.client_order_id)
        if order.leg in SURE:
            return order.leaves_quantity
        return fillable(order, self._candle, rules=self._rules, market=self._market)

    def _payable(self, price: Decimal) -> Decimal:
        """A price for buying a short position back: at most what uses up the cash. Beyond it the exchange pays."""
        trade = self._account.trade
        assert trade is not None
        return min(
            price,
            bankruptcy_price(cash=self._account.cash, size=trade.size_open, rules=self._rules, market=self._market),
        )
