"""BaseTradingBot: what one closed candle does to a bot — fills, decision, order, trade, checkpoint — as one record.

Guarantees: a bar's record holds everything it caused and is committed before the next bar is looked at; the
strategy sees a position only after its fill; limits are checked here, outside the strategy; an open position has a
stop in the book wherever the config asks for one, or an order that closes it. The order of events in a bar is fixed
(open, range, decision, close: docs/user/paper-trading.md), so a backtest, a paper run and a run that was killed and
restarted give the same trades. Feeds, threads and the database are others' work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Protocol

from pydantic import JsonValue

from botrunner.execution.paper.desk import Desk
from botrunner.execution.paper.matching import (
    base_fee,
    limit_price,
    liquidation_price,
    market_price,
    marketable,
    paper_rules,
    resting_price,
    sellable,
    stop_quote,
    touched,
    triggered,
)
from botrunner.market.candle import Candle
from botrunner.market.rules import Market
from botrunner.market.side import Side
from botrunner.trading.account import Account
from botrunner.trading.lost_entries import Loss, event_of
from botrunner.trading.order_ids import Leg, client_order_id
from botrunner.trading.orders import Order, OrderType
from botrunner.trading.risk import (
    Denial,
    counters_at,
    entry_denial,
    entry_quantity,
    entry_too_small,
    in_force,
    protection,
    stop_loss,
)
from botrunner.trading.signal import Direction, OpenPosition, Signal, SignalKind
from botrunner.trading.state import BarOutcome, BotState
from botrunner.trading.trades import Trade
from fleet.config import BotConfig, FillPrice, OrderKind, RiskLimits, SlippageModel
from fleet.events import Event, EventKind, Severity
from fleet.exit_kinds import ExitKind
from fleet.states import OrderState
from fleet.times import to_ms

WITHIN = timedelta(milliseconds=1)
"""An entry that filled somewhere within a bar is stamped so much before its close, when the bar's own orders come."""

DUST = "dust"
"""Reason of a position that is too small to be sold."""

LEG_KINDS: Mapping[Leg, ExitKind] = MappingProxyType(
    {
        Leg.STOP_LOSS: ExitKind.STOP,
        Leg.TAKE_PROFIT: ExitKind.TARGET,
        Leg.FLATTEN: ExitKind.FLATTEN,
        Leg.LIQUIDATION: ExitKind.LIQUIDATION,
    }
)
"""What an order of a leg closes a position as; of an exit that the strategy asked for, its signal says it."""


ON_STOP = "flatten_on_stop"
"""Reason of the order that closes a position when its bot is stopped."""


class DecidesOnBars(Protocol):
    """The part of a strategy that a bot talks to (`botrunner.strategies.base.BaseStrategy`)."""

    def decide(self, position: OpenPosition | None) -> Signal | None:
        """What to do at the current bar's close."""

    def on_entered(self, position: OpenPosition) -> None:
        """A position was opened."""

    def on_exited(self) -> None:
        """The position was closed."""

    def export_state(self) -> dict[str, JsonValue]:
        """Everything that isn't an indicator line, as JSON."""


class BaseTradingBot:
    """Signals → orders → fills → trades of one bot.

    Args:
        bot_id: names the orders.
        config: limits can be replaced while running (`replace_config`), the rest stays.
        market: the exchange's rules for the symbol.
        state: where to go on.
        commit: makes an outcome durable; returns only when it is. Raises FencedError to end the run.
        may_enter: False once no new position may be opened (stopping).
        reserve: takes room in the owner's limits for an entry of this value (quote) decided at this time, or says
            which limit forbids it; asked last, when nothing else does. It is given the trades that the bar has closed,
            which no table knows yet.
        entry_denied: a reason of the feed's against an entry at a candle; None when there is none.
    """

    def __init__(
        self,
        *,
        bot_id: int,
        config: BotConfig,
        market: Market,
        state: BotState,
        commit: Callable[[BarOutcome], None],
        may_enter: Callable[[], bool] = lambda: True,
        reserve: Callable[[Decimal, datetime, Sequence[Trade]], Denial | None] = lambda _value, _at, _closed: None,
        entry_denied: Callable[[Candle], Denial | None] = lambda _: None,
    ) -> None:
        self.state = state
        self._bot_id = bot_id
        self._config = config
        self._market = market
        self._commit = commit
        self._may_enter = may_enter
        self._stopping = False
        self._reserve = reserve
        self._entry_denied = entry_denied
        self._interval = timedelta(seconds=config.interval_s)
        self._rules = paper_rules(config, market)
        self._at_closes = self._rules.fill_price is FillPrice.CLOSE
        self._guarded: tuple[Trade, Decimal | None, RiskLimits] | None = None
        self._last_exit_at = state.account.counters.last_exit_at

    @property
    def in_market(self) -> bool:
        """Whether a position is open, or an order waits that would open or close one."""
        return self.state.account.is_busy

    @property
    def last_exit_at(self) -> datetime | None:
        """When a position was closed last, the bar being worked on included; None before the first exit."""
        return self._last_exit_at

    def replace_config(self, config: BotConfig) -> None:
        """Take over changed limits from the next bar on; they amend the protective orders at its open."""
        self._config = config

    def on_bar(self, strategy: DecidesOnBars, candle: Candle, *, ready: bool) -> BarOutcome:
        """Work through one closed candle and commit what it caused.

        Args:
            strategy: with its lines at this candle.
            candle: newer than the last committed one.
            ready: False while indicators lack candles: no decision, but fills and protection as ever.

        Raises:
            FencedError: the run is no longer current; nothing of this bar happened.
        """
        # asked once: whatever a bar does follows from one answer
        self._stopping = not self._may_enter()
        desk = self._desk(candle, strategy)
        if desk.busy:
            self._at_open(desk)
            self._within(desk)
            self._give_up(desk)
        _age(desk)
        signal = strategy.decide(position_of(desk)) if ready else None
        denial = self._follow(desk, signal) if signal else None
        if denial is not None:
            desk.lose_entry(denial)
        if desk.busy:
            self._at_close(desk)
            self._guard(desk, now=candle.close)
        breaches = self._note_breaches(desk)
        return self._conclude(
            BarOutcome(
                follows=self.state.last_bar_at,
                bar_at=desk.opens_at,
                bars=self.state.bars + 1,
                close=candle.close,
                account=desk.account(),
                strategy_state=strategy.export_state(),
                orders=tuple(desk.orders.values()),
                fills=tuple(desk.fills),
                trades=tuple(desk.trades.values()),
                signal=signal,
                denial=denial,
                breaches=breaches,
                candle=candle,
                events=self._events(desk),
                config=self._config,
                stopping=self._stopping,
                volume=candle.volume,
            )
        )

    def flatten(
        self,
        strategy: DecidesOnBars,
        *,
        reason: str = ON_STOP,
        event: Callable[[Trade], Event] | None = None,
    ) -> BarOutcome | None:
        """Close the open position at the last close, between bars, and cancel all orders; None when there is neither.

        Never refused, late or filled in part, whatever is simulated: the bot ends here and couldn't try again.

        Args:
            strategy: is told of the exit.
            reason: for the trade's record.
            event: what a person is told of the closed trade, in the same transaction.

        Raises:
            FencedError: the run is no longer current; nothing happened.
        """
        state = self.state
        if not state.account.is_busy or state.last_bar_at is None or state.last_close is None:
            return None
        close = state.last_close
        desk = self._desk(Candle(to_ms(state.last_bar_at), close, close, close, close, state.last_volume), strategy)
        for leg in tuple(desk.book):
            desk.close(leg)
        if desk.trade is not None:
            self._close_at_once(desk, Leg.FLATTEN, reason=reason, quote=close, at=desk.closes_at)
        return self._conclude(
            BarOutcome(
                follows=state.last_bar_at,
                bar_at=state.last_bar_at,
                bars=state.bars,
                close=close,
                account=desk.account(),
                strategy_state=strategy.export_state(),
                orders=tuple(desk.orders.values()),
                fills=tuple(desk.fills),
                trades=tuple(desk.trades.values()),
                events=() if event is None else tuple(event(trade) for trade in desk.trades.values()),
                volume=state.last_volume,
            )
        )

    def _desk(self, candle: Candle, strategy: DecidesOnBars) -> Desk:
        def entered(desk: Desk) -> None:
            position = position_of(desk)
            assert position is not None
            strategy.on_entered(position)

        def exited(desk: Desk) -> None:
            self._last_exit_at = desk.counters.last_exit_at
            strategy.on_exited()

        opens_at = candle.open_at
        return Desk(
            self.state.account,
            candle=candle,
            opens_at=opens_at,
            closes_at=opens_at + self._interval,
            rules=self._rules,
            market=self._market,
            entered=entered,
            exited=exited,
        )

    # --- at the open -----------------------------------------------------------------------------------------------

    def _at_open(self, desk: Desk) -> None:
        """What was refused is sent again; what has arrived by now executes at the open."""
        self._liquidate(desk, reached=desk.candle.open, at=desk.opens_at)
        self._repeat_exit(desk)
        self._guard(desk, now=desk.candle.open)
        for leg in (Leg.EXIT, Leg.STOP_LOSS, Leg.TAKE_PROFIT, Leg.ENTRY):
            order = desk.open_order(leg)
            if order is not None:
                self._work_at_open(desk, order)
        self._guard(desk, now=desk.candle.open)

    def _work_at_open(self, desk: Desk, order: Order) -> None:
        if order.type is OrderType.STOP:
            if order.working:
                desk.execute_market(order, desk.candle.open, at=desk.opens_at)
        elif not order.working:
            if order.arrives_at is None or order.arrives_at < desk.closes_at:
                _arrive(desk, order, quote=desk.candle.open, at=desk.opens_at)
        elif order.type is OrderType.MARKET:
            desk.execute_market(order, desk.candle.open, at=desk.opens_at)

    def _repeat_exit(self, desk: Desk) -> None:
        refused = desk.book.get(Leg.EXIT)
        if refused is not None and refused.state is OrderState.REJECTED:
            self._leave(desk, refused, price=desk.candle.open, at=desk.opens_at)

    # --- within the range ------------------------------------------------------------------------------------------

    def _within(self, desk: Desk) -> None:
        """Limits and stops that the candle reached. A stop is taken to come before a target, an entry before its stop,
        and a target only after the bar of an entry within it: a candle doesn't tell, the cautious answer costs only
        optimism."""
        self._enter_within(desk)
        stop = desk.open_order(Leg.STOP_LOSS)
        if stop is not None and not stop.working and triggered(stop, desk.candle):
            for leg in (Leg.ENTRY, Leg.EXIT, Leg.TAKE_PROFIT):
                desk.close(leg)
            desk.execute_market(desk.start(stop), stop_quote(stop, desk.candle), at=desk.closes_at)
        if not desk.entered_within:
            self._leave_within(desk)
        self._liquidate(desk, reached=desk.candle.high, at=desk.closes_at)

    def _enter_within(self, desk: Desk) -> None:
        order = desk.open_order(Leg.ENTRY)
        if order is None or order.type is not OrderType.LIMIT or not order.working or not touched(order, desk.candle):
            return
        at_open = marketable(order, desk.candle.open)
        fills = len(desk.fills)
        price = resting_price(order, desk.candle)
        desk.execute_resting(order, price, at=desk.opens_at if at_open else desk.closes_at - WITHIN)
        if len(desk.fills) > fills:
            desk.entered_within = not at_open
            self._guard(desk, now=price)

    def _leave_within(self, desk: Desk) -> None:
        orders = (desk.open_order(Leg.EXIT), desk.open_order(Leg.TAKE_PROFIT))
        reached = [
            order
            for order in orders
            if order is not None and order.type is OrderType.LIMIT and order.working and touched(order, desk.candle)
        ]
        # on its way the price came to the nearer one first
        for order in sorted(reached, key=lambda order: -order.side.sign * (order.price or Decimal(0))):
            if desk.trade is None:
                return
            desk.execute_resting(order, resting_price(order, desk.candle), at=desk.closes_at)

    def _liquidate(self, desk: Desk, *, reached: Decimal, at: datetime) -> None:
        """Take a short position away when its loss has eaten up the account's margin."""
        trade = desk.trade
        if trade is None or trade.side is Side.BUY:
            return
        limit = liquidation_price(cash=desk.cash, size=trade.size_open)
        if reached >= limit:
            for leg in tuple(desk.book):
                desk.close(leg)
            quote = max(desk.candle.open, limit)
            self._close_at_once(desk, Leg.LIQUIDATION, reason=Leg.LIQUIDATION.value, quote=quote, at=at)

    def _close_at_once(self, desk: Desk, leg: Leg, *, reason: str, quote: Decimal, at: datetime) -> None:
        trade = desk.trade
        assert trade is not None
        quantity = self._market.round_quantity(trade.size_open)
        if quantity <= 0:
            desk.end_trade(reason=reason, kind=LEG_KINDS[leg], at=at)
            return
        order = self._order(desk.opens_at, leg, _other(trade.side), quantity, reason)
        desk.execute_market(desk.start(desk.send(order, at=at)), quote, at=at)

    # --- at the close ----------------------------------------------------------------------------------------------

    def _give_up(self, desk: Desk) -> None:
        """Limits whose time is over: an entry is lost, an exit becomes a market order."""
        entry, leave = desk.open_order(Leg.ENTRY), desk.open_order(Leg.EXIT)
        if entry is not None and entry.expires_at is not None and entry.expires_at <= desk.closes_at:
            desk.close(Leg.ENTRY, OrderState.EXPIRED)
            if not entry.fill_count:
                desk.lose_entry(Loss.NOT_FILLED)
        elif entry is not None and self._stopping:
            desk.close(Leg.ENTRY)
        if leave is not None and leave.expires_at is not None and leave.expires_at <= desk.closes_at:
            desk.close(Leg.EXIT, OrderState.EXPIRED)
            self._leave(desk, leave, price=desk.candle.close, at=desk.closes_at)

    def _at_close(self, desk: Desk) -> None:
        """With fills at the close: what arrives before the next close executes at this one, the last price it knew."""
        if not self._at_closes:
            return
        for leg in (Leg.EXIT, Leg.ENTRY):
            order = desk.open_order(leg)
            if order is None or order.working:
                continue
            if order.arrives_at is None or order.arrives_at < desk.closes_at + self._interval:
                _arrive(desk, order, quote=desk.candle.close, at=desk.closes_at)

    def _guard(self, desk: Desk, *, now: Decimal) -> None:
        """Bring the protective orders into line with position, best price and limits. `now`: the price, to tell
        whether a new target is beyond it already."""
        trade, best, risk = desk.trade, desk.best_price, self._config.risk
        if trade is None or best is None:
            return
        if self._guarded == (trade, best, risk):
            return
        stop = desk.open_order(Leg.STOP_LOSS)
        if stop is not None and stop.working:
            return  # it is closing the position
        remaining = self._market.round_quantity(trade.size_open)
        if remaining <= 0:
            if desk.open_order(Leg.ENTRY) is None:
                desk.end_trade(reason=DUST, kind=ExitKind.DUST, at=desk.closes_at)
            return
        wanted = protection(risk, market=self._market, side=trade.side, entry_price=trade.entry_price, best_price=best)
        done = [
            self._protect(desk, trade, Leg.STOP_LOSS, wanted.stop, remaining, now),
            self._protect(desk, trade, Leg.TAKE_PROFIT, wanted.target, remaining, now),
        ]
        self._guarded = (trade, best, risk) if all(done) else None

    def _protect(
        self, desk: Desk, trade: Trade, leg: Leg, price: Decimal | None, remaining: Decimal, now: Decimal
    ) -> bool:
        """Place, amend or cancel one protective order; False when it has to be tried again at the next bar."""
        order = desk.book.get(leg)
        if price is None:
            desk.close(leg)
            return True
        if order is None or order.state is OrderState.REJECTED:
            if leg in desk.tried:
                return False
            desk.tried.add(leg)
            made = replace(
                self._order(trade.signal_at, leg, _other(trade.side), remaining, leg.value, attempt=desk.sent[leg]),
                type=OrderType.STOP if leg is Leg.STOP_LOSS else OrderType.LIMIT,
                price=price,
            )
            desk.sent[leg] += 1
            # as an exchange does with orders attached to an entry: accepted with its fill
            placed = desk.send(made, at=desk.opens_at, instant=True)
            if placed.state is OrderState.REJECTED:
                return False
        else:
            placed = desk.amend(order, price=price, remaining=remaining)
            if order.price == price:
                return True
        rests = leg is Leg.TAKE_PROFIT and not marketable(placed, now)
        if placed.working != rests:
            desk.note(replace(placed, working=rests))
        return True

    # --- the decision ----------------------------------------------------------------------------------------------

    def _follow(self, desk: Desk, signal: Signal) -> Denial | None:
        if signal.kind is SignalKind.EXIT:
            self._follow_exit(desk, signal)
            return None
        if desk.busy:
            return None
        side = Side.BUY if signal.direction is Direction.LONG else Side.SELL
        close, limited = desk.candle.close, self._config.entry_order is OrderKind.LIMIT
        price = self._limit(close, side) if limited else None
        quantity = self._allowed(desk, side, price)
        if isinstance(quantity, Denial):
            return quantity
        order = self._order(desk.opens_at, Leg.ENTRY, side, quantity, signal.reason)
        desk.send(self._limited(order, price, desk) if price is not None else order, at=desk.closes_at)
        return None

    def _follow_exit(self, desk: Desk, signal: Signal) -> None:
        desk.close(Leg.ENTRY)
        trade, stop = desk.trade, desk.open_order(Leg.STOP_LOSS)
        if trade is None or Leg.EXIT in desk.book or (stop is not None and stop.working):
            return
        quantity = self._sellable(trade, desk.candle.close)
        if quantity <= 0:
            desk.end_trade(reason=signal.reason, kind=signal.exit_kind, at=desk.closes_at)
            return
        side = _other(trade.side)
        order = self._order(desk.opens_at, Leg.EXIT, side, quantity, signal.reason, kind=signal.exit_kind)
        if self._config.exit_order is OrderKind.LIMIT:
            order = self._limited(order, self._limit(desk.candle.close, order.side), desk)
        desk.send(order, at=desk.closes_at)

    def _leave(self, desk: Desk, failed: Order, *, price: Decimal, at: datetime) -> None:
        """After an exit that failed: the next attempt, at market."""
        trade = desk.trade
        if trade is None:
            desk.close(Leg.EXIT)
            return
        quantity = self._sellable(trade, price)
        if quantity <= 0:
            desk.end_trade(reason=failed.reason, kind=failed.exit_kind, at=at)
            return
        again = self._order(
            failed.signal_at,
            Leg.EXIT,
            failed.side,
            quantity,
            failed.reason,
            attempt=failed.attempt + 1,
            kind=failed.exit_kind,
        )
        desk.send(again, at=at)

    def _sellable(self, trade: Trade, price: Decimal) -> Decimal:
        """What the exchange would take; a debt has to be bought back whatever its size."""
        if trade.side is Side.SELL:
            return trade.size_open
        return sellable(trade.size_open, price=price, market=self._market)

    def _allowed(self, desk: Desk, side: Side, limit: Decimal | None) -> Decimal | Denial:
        if self._stopping:
            return Denial.STOPPING
        if denied := self._entry_denied(desk.candle):
            return denied
        if side is Side.SELL and not (self._config.allow_short and self._market.can_short):
            return Denial.SHORT_NOT_ALLOWED
        denial = entry_denial(
            self._config.risk,
            desk.counters,
            reached=self._in_force(desk),
            now=desk.closes_at,
            interval=self._interval,
        )
        if denial:
            return denial
        most = self._most(desk, side, desk.candle.close if limit is None else limit)
        price = self._expected(desk, side, most) if limit is None else limit
        quantity = self._quantity(desk, side, price, slipping=most)
        return self._too_small(quantity, side, price) or (
            self._reserve(quantity * price, desk.closes_at, desk.closed_trades) or quantity
        )

    def _expected(self, desk: Desk, side: Side, quantity: Decimal) -> Decimal:
        """The price that a market entry is sized for: what it would fill at here, and no less than the close, which is
        what the position is worth: a sale at a worse price must not be a larger one."""
        return max(self._slipped(desk, desk.candle.close, side, quantity), desk.candle.close)

    def _most(self, desk: Desk, side: Side, price: Decimal) -> Decimal:
        """Where slippage depends on the quantity, the most that could be entered with; 0 where it doesn't."""
        if self._rules.slippage_model is not SlippageModel.VOLUME_SHARE:
            return Decimal(0)
        return self._quantity(desk, side, price, slipping=Decimal(0))

    def _too_small(self, quantity: Decimal, side: Side, price: Decimal) -> Denial | None:
        fee = Decimal(0)
        if self._rules.fee_in_base and side is Side.BUY:
            costs_more_as_maker = self._rules.maker_fee > self._rules.taker_fee
            fee = base_fee(quantity=quantity, maker=costs_more_as_maker, rules=self._rules)
        begins = protection(self._config.risk, market=self._market, side=side, entry_price=price, best_price=price)
        return entry_too_small(quantity, market=self._market, price=price, kept=quantity - fee, stop=begins.stop)

    def _slipped(self, desk: Desk, quote: Decimal, side: Side, quantity: Decimal) -> Decimal:
        """What a market order would fill at in a candle like this one."""
        return market_price(
            quote, side=side, quantity=quantity, volume=desk.candle.volume, rules=self._rules, market=self._market
        )

    def _quantity(self, desk: Desk, side: Side, price: Decimal, *, slipping: Decimal) -> Decimal:
        """How much to enter with at a price. `slipping`: the quantity by which the stop's slippage is expected."""
        limits = self._config.risk
        stop = stop_loss(limits, market=self._market, side=side, entry_price=price)
        return entry_quantity(
            market=self._market,
            limits=limits,
            side=side,
            price=price,
            stop_fill=None if stop is None else self._slipped(desk, stop, _other(side), slipping),
            equity=desk.equity(desk.candle.close),
            cash=desk.cash,
            fraction=self._config.position_fraction,
            fee_rate=self._rules.highest_fee,
            fee_from_cash=side is Side.BUY and not self._rules.fee_in_base,
        )

    def _in_force(self, desk: Desk) -> tuple[Denial, ...]:
        return in_force(
            self._config.risk,
            desk.counters,
            equity=desk.equity(desk.candle.close),
            now=desk.closes_at,
            interval=self._interval,
        )

    def _note_breaches(self, desk: Desk) -> tuple[Denial, ...]:
        """The limits that weren't in force at the bar before; a limit is told about when it is reached, not when it
        first gets in the way."""
        before, reached = desk.counters.breached, self._in_force(desk)
        if reached != before:
            desk.counters = replace(desk.counters, breached=reached)
        return tuple(denial for denial in reached if denial not in before)

    # --- orders and records ----------------------------------------------------------------------------------------

    def _order(
        self,
        signal_at: datetime,
        leg: Leg,
        side: Side,
        quantity: Decimal,
        reason: str,
        *,
        attempt: int = 0,
        kind: ExitKind | None = None,
    ) -> Order:
        """An intent. `kind`: of an exit that the strategy asked for; those of the other legs follow from the leg."""
        return Order(
            client_order_id=client_order_id(bot_id=self._bot_id, signal_at=signal_at, leg=leg, attempt=attempt),
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

    def _limit(self, close: Decimal, side: Side) -> Decimal:
        return limit_price(close, side=side, offset_pct=self._config.limit_offset_pct, market=self._market)

    def _limited(self, order: Order, price: Decimal, desk: Desk) -> Order:
        expires_at = desk.closes_at + self._config.limit_ttl_bars * self._interval
        return replace(order, type=OrderType.LIMIT, price=price, expires_at=expires_at)

    def _events(self, desk: Desk) -> tuple[Event, ...]:
        lost = [event_of(lost, bot_id=self._bot_id, symbol=self._config.symbol) for lost in desk.told]
        if not desk.orders:
            return tuple(lost)
        refused = [_rejection_event(order, self._config.symbol) for order in desk.rejections]
        taken = [
            _liquidation_event(order, self._config.symbol)
            for order in desk.orders.values()
            if order.leg is Leg.LIQUIDATION
        ]
        return (*refused, *taken, *lost)

    def _conclude(self, outcome: BarOutcome) -> BarOutcome:
        self._commit(outcome)
        self.state = BotState(
            account=outcome.account,
            last_bar_at=outcome.bar_at,
            last_close=outcome.close,
            last_volume=outcome.volume,
            bars=outcome.bars,
        )
        return outcome


def _arrive(desk: Desk, order: Order, *, quote: Decimal, at: datetime) -> None:
    """An order reaches the exchange: it executes at the quote, or rests in the book."""
    order = desk.start(order)
    if order.type is OrderType.MARKET or marketable(order, quote):
        desk.execute_market(order, quote, at=at)


def _other(side: Side) -> Side:
    return Side.SELL if side is Side.BUY else Side.BUY


def _age(desk: Desk) -> None:
    """At the bar's close the position is a bar older, its best price and the counters are up to date."""
    candle = desk.candle
    desk.counters = counters_at(desk.counters, now=desk.closes_at, equity=desk.equity(candle.close))
    if desk.trade is None or desk.best_price is None:
        return
    desk.bars_held += 1
    if desk.entered_within:
        high = low = candle.close  # the extremes may have come before the entry
    else:
        high, low = candle.high, candle.low
    desk.best_price = max(desk.best_price, high) if desk.trade.side is Side.BUY else min(desk.best_price, low)


def position_of(holding: Account | Desk) -> OpenPosition | None:
    """An account's position as a strategy sees it."""
    trade = holding.trade
    if trade is None:
        return None
    return OpenPosition(
        direction=Direction.LONG if trade.side is Side.BUY else Direction.SHORT,
        size=trade.size_open,
        entry_price=trade.entry_price,
        entry_at=trade.entry_at,
        bars_held=holding.bars_held,
    )


def _rejection_event(order: Order, symbol: str) -> Event:
    then = "The signal is lost." if order.leg is Leg.ENTRY else "It is sent again at the next bar."
    return Event(
        kind=EventKind.ORDER_REJECTED,
        title=f"Rejected: {order.side} {order.quantity:f} {symbol} ({order.leg})",
        body=f"The exchange refused the order: {order.rejection}. {then}",
        facts={"client_order_id": order.client_order_id, "leg": order.leg, "attempt": order.attempt},
        dedupe_key=f"rejected:{order.client_order_id}",
    )


def _liquidation_event(order: Order, symbol: str) -> Event:
    return Event(
        kind=EventKind.RISK_BREACH,
        title=f"Liquidated: short {order.quantity:f} {symbol} @ {order.average_price:f}",
        body="The loss of the short position had eaten up the account's margin; the exchange bought it back.",
        facts={"client_order_id": order.client_order_id, "price": str(order.average_price)},
        dedupe_key=f"liquidated:{order.client_order_id}",
        severity=Severity.CRITICAL,
    )
