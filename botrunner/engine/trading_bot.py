"""BaseTradingBot: what one step does to a bot (a closed candle, reports between bars, its end) as one record.

It brings four parts together: the venue executes and reports, the book applies the reports, the policy answers with
intents, and the strategy is asked at the close. Guarantees: a step's record holds everything it caused and is committed
before the next step begins; the strategy sees a position only after its fill; limits are checked outside the strategy;
an open position has a stop in the book wherever the config asks for one, or an order that closes it. The order of
events in a bar is fixed (open, range, decision, close: docs/user/paper-trading.md), so a backtest, a paper run and a
run that was killed and restarted give the same trades. Feeds, threads and the database are others' work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol

from pydantic import JsonValue

from botrunner.execution.port import Moment, Phase, Venue
from botrunner.market.candle import Candle
from botrunner.market.rules import Market
from botrunner.trading.book import Book, Effect
from botrunner.trading.events import liquidated, order_refused
from botrunner.trading.lost_entries import event_of
from botrunner.trading.order_ids import Leg
from botrunner.trading.orders import Order
from botrunner.trading.policy.entry import enter, limits_in_force, withdrawn
from botrunner.trading.policy.exit import (
    fitted,
    flatten,
    leave,
    leave_again,
    may_execute,
    rejected_exit,
    still_written_off,
    when_closed,
    when_stopped,
    written_off,
)
from botrunner.trading.policy.intents import Amend, Cancel, Intent, Submit, WriteOff
from botrunner.trading.policy.protection import is_in_line, protect
from botrunner.trading.policy.terms import Close, Terms
from botrunner.trading.reports import Report
from botrunner.trading.risk import Denial
from botrunner.trading.signal import OpenPosition, Signal, SignalKind, position_of
from botrunner.trading.state import BarOutcome, BotState
from botrunner.trading.trades import Trade
from fleet.config import BotConfig, RiskLimits
from fleet.events import Event
from fleet.states import OrderState
from fleet.times import to_ms

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
        venue: where its orders execute.
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
        venue: Venue,
        state: BotState,
        commit: Callable[[BarOutcome], None],
        may_enter: Callable[[], bool] = lambda: True,
        reserve: Callable[[Decimal, datetime, Sequence[Trade]], Denial | None] = lambda _value, _at, _closed: None,
        entry_denied: Callable[[Candle], Denial | None] = lambda _: None,
    ) -> None:
        self.state = state
        self._market = market
        self._venue = venue
        self._commit = commit
        self._may_enter = may_enter
        self._reserve = reserve
        self._entry_denied = entry_denied
        self._interval = timedelta(seconds=config.interval_s)
        self._terms = Terms(bot_id=bot_id, config=config, market=market, costs=venue.costs, interval=self._interval)
        self._told_when_closed: Callable[[Trade], Event] | None = None
        self._protected: tuple[Trade, Decimal | None, RiskLimits] | None = None
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
        if config is not self._terms.config:
            self._terms = replace(self._terms, config=config)

    # --- steps -----------------------------------------------------------------------------------------------------

    def on_bar(self, strategy: DecidesOnBars, candle: Candle, *, ready: bool) -> BarOutcome:
        """Work through one closed candle and commit what it caused.

        With a venue that answers between bars, orders that were decided are in state INTENT in the outcome: the venue
        sends them after the commit.

        Args:
            strategy: with its lines at this candle.
            candle: newer than the last committed one.
            ready: False while indicators lack candles: no decision, but fills and protection as ever.

        Raises:
            FencedError: the run is no longer current; nothing of this bar happened.
        """
        # asked once: whatever a bar does follows from one answer
        stopping = not self._may_enter()
        step = self._begin(strategy, candle)
        book, close = step.book, step.close
        if book.is_busy:
            step.ask_again(self.state.account.orders)
            for moment in self._venue.walk():
                self._react(step, moment, stopping=stopping)
        # after an entry within the bar only its close counts: its extremes may have come before
        high, low = (close.price,) * 2 if self._venue.entered_within else (candle.high, candle.low)
        book.age(high=high, low=low, close=close.price, at=close.at)
        signal = strategy.decide(position_of(book.trade, bars_held=book.bars_held)) if ready else None
        denial = self._follow(step, signal, candle, stopping=stopping) if signal else None
        if denial is not None:
            book.lose_entry(denial)
        if book.is_busy:
            self._venue.at_close()
            self._protect(step)
        breaches = book.note_breaches(limits_in_force(book, self._terms, close))
        return self._conclude(
            BarOutcome(
                follows=self.state.last_bar_at,
                bar_at=close.opens_at,
                bars=self.state.bars + 1,
                close=candle.close,
                account=book.account(),
                strategy_state=strategy.export_state(),
                orders=tuple(book.orders.values()),
                fills=tuple(book.fills),
                trades=tuple(book.trades.values()),
                signal=signal,
                denial=denial,
                breaches=breaches,
                candle=candle,
                events=self._events(book),
                config=self._terms.config,
                stopping=stopping,
                volume=candle.volume,
            )
        )

    def take_reports(self, strategy: DecidesOnBars, reports: Iterable[Report]) -> BarOutcome | None:
        """Apply what a venue reported between bars, answer to it, and commit both; None when nothing is new.

        What was refused isn't sent again here but at the next bar: once a bar, however quick the refusals are.

        Args:
            strategy: is told of what was opened or closed.
            reports: in any order, repeated or not; none to ask again for what isn't confirmed.

        Raises:
            IllegalTransition, BookError: a report contradicts the book. FencedError: the run is no longer current.
        """
        step = self._begin_between(strategy)
        if step is None:
            return None
        for report in reports:
            step.receive(report)
        book = step.book
        if book.is_busy:
            self._answer(step)
        if not book.orders and not book.trades:
            return None
        return self._conclude(self._between(step))

    def flatten(
        self,
        strategy: DecidesOnBars,
        *,
        reason: str = ON_STOP,
        event: Callable[[Trade], Event] | None = None,
    ) -> BarOutcome | None:
        """Close the open position at the last close, between bars, and cancel all orders; None when there is neither.

        On paper never refused, late or filled in part, whatever is simulated: the bot ends here and couldn't try again.

        Args:
            strategy: is told of the exit.
            reason: for the trade's record.
            event: what a person is told of the closed trade, in the transaction in which it closes: this one, or a
                later one where a venue answers between bars.

        Raises:
            FencedError: the run is no longer current; nothing happened.
        """
        self._told_when_closed = event
        step = self._begin_between(strategy) if self.state.account.is_busy else None
        if step is None:
            return None
        step.ask_again(self.state.account.orders)
        step.carry_out(flatten(step.book, self._terms, step.close, reason=reason))
        return self._conclude(self._between(step))

    def tell(self, strategy: DecidesOnBars, event: Event) -> BarOutcome | None:
        """Commit something that people should be told, between bars; None before the first bar.

        Args:
            strategy: whose state the outcome holds.
            event: what is told.

        Raises:
            FencedError: the run is no longer current; nothing happened.
        """
        step = self._begin_between(strategy)
        if step is None:
            return None
        outcome = self._between(step)
        return self._conclude(replace(outcome, events=(*outcome.events, event)))

    def _begin(self, strategy: DecidesOnBars, candle: Candle) -> _Step:
        opens_at = candle.open_at
        close = Close(opens_at, opens_at + self._interval, candle.close, candle.volume)
        step = _Step(
            Book(self.state.account, bar_at=opens_at, market=self._market), self._venue, strategy, close, self._exited
        )
        self._venue.begin(step.book, step.receive, candle=candle, opens_at=opens_at, closes_at=close.at)
        return step

    def _begin_between(self, strategy: DecidesOnBars) -> _Step | None:
        """A step between bars, at the last bar's close; None before the first bar, when nothing can have been sent."""
        state = self.state
        if state.last_bar_at is None or state.last_close is None:
            return None
        close = state.last_close
        return self._begin(strategy, Candle(to_ms(state.last_bar_at), close, close, close, close, state.last_volume))

    def _exited(self, at: datetime | None) -> None:
        self._last_exit_at = at

    # --- reactions -------------------------------------------------------------------------------------------------

    def _react(self, step: _Step, moment: Moment, *, stopping: bool) -> None:
        """The policy's say at a moment of a bar."""
        book, phase = step.book, moment.phase
        if phase is Phase.TRIGGERED:
            step.carry_out(when_stopped(book))
        elif phase is Phase.CLOSE:
            if stopping:
                step.carry_out(withdrawn(book))
            self._leave_again(step, price=moment.price, at=moment.at)
        else:
            failed = rejected_exit(book) if phase is Phase.OPEN else None
            if failed is not None:
                step.carry_out(leave_again(failed, book, self._terms, price=moment.price, at=moment.at))
            self._protect(step)

    def _answer(self, step: _Step) -> None:
        """The policy's say to reports between bars."""
        book, close = step.book, step.close
        step.ask_again(self.state.account.orders)
        stop = book.open_order(Leg.STOP_LOSS)
        if stop is not None and stop.working:
            step.carry_out(when_stopped(book))
        step.carry_out(fitted(book, self._market))
        self._leave_again(step, price=close.price, at=close.at)
        book.tried.update(order.leg for order in book.by_leg.values() if order.state is OrderState.REJECTED)
        self._protected = None  # an order may be gone that was there
        self._protect(step)

    def _leave_again(self, step: _Step, *, price: Decimal, at: datetime) -> None:
        failed = step.book.expired_exit
        if failed is not None:
            step.carry_out(leave_again(failed, step.book, self._terms, price=price, at=at))

    def _protect(self, step: _Step) -> None:
        """Bring the protective orders into line; nothing to do while nothing has changed that they follow."""
        book, risk = step.book, self._terms.config.risk
        if book.trade is None:
            return
        if leaving := still_written_off(book, at=step.close.at):
            step.carry_out(leaving)
            self._protected = None
            return
        follows = (book.trade, book.best_price, risk)
        if self._protected == follows:
            return
        intents = protect(book, self._terms, at=step.close.at)
        if intents is not None:
            step.carry_out(intents)
            self._protected = follows if is_in_line(book, intents) else None

    def _follow(self, step: _Step, signal: Signal, candle: Candle, *, stopping: bool) -> Denial | None:
        """Do what the strategy wants, or say why not."""
        book = step.book
        if signal.kind is SignalKind.EXIT:
            step.carry_out(leave(signal, book, self._terms, step.close))
            return None
        if book.is_busy:
            return None
        denied = Denial.STOPPING if stopping else self._entry_denied(candle)
        wanted = enter(signal, book, self._terms, step.close, denied=denied)
        if isinstance(wanted, Denial):
            return wanted
        if denied := self._reserve(wanted.value, step.close.at, book.closed_trades):
            return denied
        step.carry_out((wanted.submit,))
        return None

    # --- records ---------------------------------------------------------------------------------------------------

    def _between(self, step: _Step) -> BarOutcome:
        """What a step between bars caused: the bar stays the last one."""
        book, state, tell = step.book, self.state, self._told_when_closed
        told = () if tell is None else tuple(tell(trade) for trade in book.closed_trades)
        return BarOutcome(
            follows=state.last_bar_at,
            bar_at=state.last_bar_at,
            bars=state.bars,
            close=step.close.price,
            account=book.account(),
            strategy_state=step.strategy.export_state(),
            orders=tuple(book.orders.values()),
            fills=tuple(book.fills),
            trades=tuple(book.trades.values()),
            events=(*self._events(book), *told),
            volume=state.last_volume,
        )

    def _events(self, book: Book) -> tuple[Event, ...]:
        bot_id, symbol = self._terms.bot_id, self._terms.config.symbol
        lost = tuple(event_of(lost, bot_id=bot_id, symbol=symbol) for lost in book.told)
        if not book.orders:
            return lost
        refused = [order_refused(order, symbol) for order in book.rejections]
        taken = [liquidated(order, symbol) for order in book.orders.values() if order.leg is Leg.LIQUIDATION]
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


class _Step:
    """One step: the book that is worked on, and what follows at once from a report.

    Args:
        book: of the step. venue: has begun it. strategy: hears of positions. close: of the step's bar.
        exited: is told when a position was closed, before the strategy is.
    """

    __slots__ = ("_exited", "_venue", "book", "close", "strategy")

    def __init__(
        self, book: Book, venue: Venue, strategy: DecidesOnBars, close: Close, exited: Callable[[datetime | None], None]
    ) -> None:
        self.book = book
        self.strategy = strategy
        self.close = close
        self._venue = venue
        self._exited = exited

    def receive(self, report: Report) -> None:
        """Apply a report, and do what can't wait."""
        book = self.book
        effect = book.apply(report)
        if effect is Effect.OPENED:
            position = position_of(book.trade, bars_held=book.bars_held)
            assert position is not None
            self.strategy.on_entered(position)
        elif effect is Effect.REDUCED:
            self.carry_out(withdrawn(book))
            self.carry_out(written_off(book, book.market, at=report.at))
        elif effect is Effect.CLOSED:
            self._closed()

    def carry_out(self, intents: Iterable[Intent]) -> None:
        """Hand intents to the book and the venue."""
        for intent in intents:
            if isinstance(intent, Amend):
                self._venue.amend(intent.order, price=intent.price, quantity=intent.quantity)
            elif isinstance(intent, Submit):
                self.book.place(intent.order)
                self._venue.submit(intent.order)
            elif isinstance(intent, Cancel):
                self._cancel(intent.order)
            else:
                self._write_off(intent)

    def ask_again(self, before: Iterable[Order]) -> None:
        """Ask once more for each cancellation that an earlier step wanted and nobody has confirmed: who was asked may
        have died. `before`: the orders as they were before this step."""
        for order in before:
            left = self.book.open_order(order.leg) if order.cancel_wanted else None
            if left is not None and left.client_order_id == order.client_order_id:
                self._venue.cancel(left)

    def _write_off(self, intent: WriteOff) -> None:
        """End the position, or see to it that it can end: an order that may be at the venue may sell what is left."""
        book = self.book
        if book.open_order(Leg.ENTRY) is not None:
            return  # what the entry still brings would begin a second trade of the same name
        self.carry_out(when_closed(book))
        if may_execute(book):
            book.want_write_off(reason=intent.reason, kind=intent.kind)
            return
        book.write_off(at=intent.at, reason=intent.reason, kind=intent.kind)
        self._closed()

    def _cancel(self, order: Order) -> None:
        book = self.book
        if not order.is_open:
            book.forget(order)
            return
        if order.cancel_wanted:
            return  # it was asked for, and each further step asks again
        self._venue.cancel(order)
        left = book.open_order(order.leg)
        if left is not None and left.client_order_id == order.client_order_id:
            book.want_cancel(left)

    def _closed(self) -> None:
        """The position is over."""
        self.carry_out(when_closed(self.book))
        self._exited(self.book.counters.last_exit_at)
        self.strategy.on_exited()
