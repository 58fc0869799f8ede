"""StrategyInstance: one run of one bot, from its checkpoint until it is asked to stop.

A candle goes one way: source → poller → loop (`_bars`) → engine, which moves the strategy's lines → bot → ledger.
The engine lives for one block of candles (`engine.blocks`) and is then built anew from the checkpointed state, exactly
as after a restart: so restarts change nothing, and nothing that Backtrader hoards grows.

A bar is worked through beside the strategy, not inside it: what fails in its constructor, in an indicator or in a hook
costs a decision, and the bar's fills, stops and limits come about without it. While flat, a strategy that can't be
built ends the run; with a position or an order, the bot goes on without it, tries again at each bar, and each time
counts as a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import localcontext
from typing import NoReturn

from structlog.contextvars import bound_contextvars

from botrunner.engine.backtrader_adapter import BacktraderEngine, BarLoop, Broken, Moved
from botrunner.engine.blocks import anchor_ms, block_end_ms
from botrunner.engine.budget import ErrorBudget, GaveUp, failing
from botrunner.engine.collaborators import Collaborators
from botrunner.engine.commit import FencedCommit
from botrunner.engine.guards import Guards
from botrunner.engine.reporting import gave_up_event, gave_up_open_event, log_outcome
from botrunner.engine.starting_point import Resumed, starting_point
from botrunner.engine.strategy_guard import (
    GuardedStrategy,
    StateRefused,
    message_of,
    type_of,
)
from botrunner.engine.trading_bot import ON_STOP, BaseTradingBot
from botrunner.exchange.errors import ExchangeAway
from botrunner.feeds.health import is_late
from botrunner.feeds.poller import CandlePoller
from botrunner.feeds.warmup import WarmupCandles
from botrunner.market.candle import Candle
from botrunner.process.backoff import EXCHANGE
from botrunner.process.memory import return_free_memory
from botrunner.process.retry import Retrier, exchange_away
from botrunner.process.stop import FLATTEN_S
from botrunner.strategies.isolation import DECIMALS
from botrunner.trading.account import Account
from botrunner.trading.order_ids import Leg
from botrunner.trading.risk import Denial
from botrunner.trading.state import BotState
from botrunner.trading.trades import Trade
from fleet.config import OnFailure, OnStop, RunningConfig
from fleet.errors import ConfigUnusable, FencedError, PermanentError
from fleet.events import Event
from fleet.log import get_logger
from fleet.states import ExitReason
from fleet.times import to_ms

log = get_logger("bot")

ON_FAILURE = "flatten_on_failure"
"""Reason of the order that closes a position when its bot gives up."""

CONFIRMED_WITHIN_S = FLATTEN_S - 2.0
"""How long a bot that closes its position at its end waits for the exchange's word."""

REST_S = 0.5
"""Longest rest of the loop while there is no candle: how soon it sees that its right to trade is lost."""


class StrategyUnbuildable(PermanentError):
    """The strategy can't be made, and there is no position to watch without it."""


class StrategyInstance:
    """Runs one bot until it is asked to stop or loses its run.

    Args:
        bot_id: of the row.
        config: of the run; its limits are asked for at each bar.
        parts: collaborators.
    """

    def __init__(self, *, bot_id: int, config: RunningConfig, parts: Collaborators) -> None:
        self._bot_id = bot_id
        self._running = config
        self._config = config.now
        self._parts = parts
        self._interval_ms = self._config.interval_s * 1000
        self._poller = CandlePoller(
            parts.source,
            clock=parts.clock,
            interval_ms=self._interval_ms,
            exchange_ms=parts.exchange_ms,
            turn=parts.turn,
            watch=parts.watch,
            note=parts.note,
            stream=parts.stream,
            wake=parts.stop.wake,
        )
        self._warmup = WarmupCandles(self._history, most=2 * self._config.lookback_bars)
        self._commit = FencedCommit(
            parts.ledger.commit,
            bot_id=bot_id,
            fence=parts.fence,
            stop=parts.stop,
            progress=parts.progress,
            clock=parts.clock,
        )
        self._retrier = Retrier(
            on=ExchangeAway,
            backoff=EXCHANGE,
            pause=parts.stop.wait,
            alive=parts.progress.made,
            failed=exchange_away(parts.progress, parts.exchange),
        )
        self._guards = Guards(
            bot_id=bot_id,
            version=parts.config_version,
            limits=parts.budget,
            interval_ms=self._interval_ms,
            bar_ms=self._bar_ms,
            report=self._commit.tell,
            failures=parts.failures,
        )
        self._live = False
        self._orders_known = parts.between_bars is None
        self._strategy: GuardedStrategy | None = None
        self._candle: Candle | None = None
        self._bot: BaseTradingBot

    def run(self) -> ExitReason:
        """Trade until a stop is asked for.

        Returns:
            Why it ended.

        Raises:
            FencedError: the run is no longer current.
            CheckpointDamaged, ExchangeRefused: the bot can't go on without a change.
            StrategyFailing: the strategy failed too often. StrategyUnbuildable: it can't be made while flat.
            GaveUp: it failed again, or this run was to close what is open: `trading.on_failure` has been obeyed.
        """
        try:
            with localcontext(DECIMALS):
                return self._run()
        finally:
            self._poller.close()

    def give_up(self, why: str) -> NoReturn:
        """End the bot for good: close what is open at the last close, without the strategy, if the config says so.

        Closed and durable before anything is raised; a run that was killed in between finds nothing open any more.
        The strategy's state ends with the position, as there is no strategy to tell: the next version begins anew.

        Raises:
            GaveUp: always. FencedError: the run is no longer current; nothing happened.
        """
        held = self._bot.state.account.trade
        if self._config.on_failure is OnFailure.FLATTEN and self._bot.in_market:
            strategy = self._without_state()
            self._close(
                strategy,
                reason=ON_FAILURE,
                event=lambda trade: gave_up_event(self._bot_id, self._config.symbol, trade, why),
            )
            became = "its position was closed at the last close" if held is not None else "its orders were cancelled"
            if self._bot.in_market:
                became = "its position was to be closed, which the exchange hasn't confirmed"
                self._tell_it_may_be_open(strategy, why)
            raise GaveUp(f"{why}; {became} (trading.on_failure is flatten)")
        if held is not None:
            raise GaveUp(f"{why}; its position stays open and nobody watches it (trading.on_failure is hold)")
        raise GaveUp(why)

    def _tell_it_may_be_open(self, strategy: GuardedStrategy, why: str) -> None:
        """Tell people of a position that the exchange hasn't closed yet. Of a lost run the next one tells."""
        trade = self._bot.state.account.trade
        if trade is not None and not self._parts.fence.lost:
            self._bot.tell(strategy, gave_up_open_event(self._bot_id, self._config.symbol, trade, why))

    # --- start and end ---------------------------------------------------------------------------------------------

    def _run(self) -> ExitReason:
        stop, on_stop = self._parts.stop, self._config.on_stop
        self._parts.progress.enter("reads its checkpoint")
        resumed = self._parts.ledger.resume()
        if self._parts.close_out is not None:
            self._go_on_from(resumed)
            self.give_up(self._parts.close_out)
        budget = self._go_on_from(
            starting_point(
                resumed,
                cash=self._config.initial_cash,
                newest_closed_ms=self._newest_closed_ms,
                ledger=self._parts.ledger,
            )
        )
        if budget.spent_for_good(self._parts.budget):
            self.give_up(str(failing(budget, self._parts.budget)))
        if on_stop is OnStop.WAIT_FLAT:
            stop.wait_while(lambda: self._bot.in_market)
        if on_stop is OnStop.FLATTEN:
            stop.leave_within_s = FLATTEN_S
        try:
            while not stop.requested:
                self._run_block()
                if self._parts.fence.lost:
                    raise FencedError(f"bot {self._bot_id} lost its run")
        except ExchangeAway:
            # it was asked to stop while it waited for candles; closing at the last close needs none
            if on_stop is not OnStop.FLATTEN:
                raise
        if on_stop is OnStop.FLATTEN:
            self._close(self._strategy or self._without_state(), reason=ON_STOP)
        return stop.reason

    def _close(self, strategy: GuardedStrategy, *, reason: str, event: Callable[[Trade], Event] | None = None) -> None:
        """Close what is open; at an exchange until it has confirmed that, or for as long as a bot may take to end."""
        parts, bot = self._parts, self._bot
        until_s = parts.clock.monotonic() + CONFIRMED_WITHIN_S
        asks = True
        while True:
            if asks:
                outcome = bot.flatten(strategy, reason=reason, event=event)
                if outcome is not None:
                    log_outcome(outcome, ready=False)
            self._take_reports(strategy)
            account = bot.state.account
            asks = account.trade is not None and all(order.leg is not Leg.FLATTEN for order in account.orders)
            if parts.between_bars is None or not bot.in_market or parts.fence.lost:
                return
            if parts.clock.monotonic() >= until_s:
                log.warning("close_unconfirmed", bot_id=self._bot_id)
                return
            parts.progress.made()
            parts.clock.sleep(REST_S)

    def _newest_closed_ms(self) -> int | None:
        self._parts.progress.enter("looks for its first candle")
        return self._retrier.call(self._parts.source.latest_closed_ms)

    def _go_on_from(self, resumed: Resumed | None) -> ErrorBudget:
        state, self._guards.state = resumed or (BotState(account=Account(cash=self._config.initial_cash)), {})
        self._poller.follow(None if state.last_bar_at is None else to_ms(state.last_bar_at))
        self._bot = BaseTradingBot(
            bot_id=self._bot_id,
            config=self._config,
            market=self._parts.market,
            venue=self._parts.venue,
            state=state,
            commit=self._commit,
            may_enter=self._may_enter,
            reserve=self._parts.ledger.reserve,
            entry_denied=self._entry_denied,
        )
        return self._guards.budget

    # --- one block -------------------------------------------------------------------------------------------------

    def _run_block(self) -> None:
        """Build an engine, and let it and the loop go through the block's candles."""
        first_ms = self._poller.next_open_ms()
        if first_ms is None:
            self._parts.progress.waits("waits for its first candle")
            self._parts.stop.rest(self._poller.wait_s(REST_S))
            return
        block = {"interval_ms": self._interval_ms, "lookback": self._config.lookback_bars}
        warmup, end_ms = self._warmup.between(anchor_ms(first_ms, **block), first_ms), block_end_ms(first_ms, **block)
        engine = BacktraderEngine(
            self._parts.strategy,
            parameters=self._config.strategy_parameters,
            interval_s=self._config.interval_s,
            last_exit_at=lambda: self._bot.last_exit_at,
            guard=self._guards.around,
            bars=lambda strategy: self._bars(strategy, warmup, end_ms),
        )
        self._strategy, bars_before = None, self._bot.state.bars
        broken = engine.run()
        del engine
        return_free_memory()
        if broken is not None:
            self._go_on_without(broken, end_ms, has_worked=self._bot.state.bars > bars_before)

    def _bars(self, strategy: GuardedStrategy, warmup: Sequence[Candle], end_ms: int) -> BarLoop:
        """The loop: each candle goes to the engine, and when its lines have moved, the bar is worked through."""
        self._strategy = strategy
        for candle in warmup:
            if self._is_over():
                return
            self._parts.progress.made()
            yield candle
        self._go_live()
        while (next_candle := self._next_candle(strategy, end_ms)) is not None:
            moved = yield next_candle
            assert moved is not None, "the engine says how the lines moved"
            self._work_through(next_candle, strategy, moved)

    def _next_candle(self, strategy: GuardedStrategy, end_ms: int) -> Candle | None:
        """Wait for the next candle of the block, and take the exchange's reports meanwhile; None when this engine is to
        end."""
        while True:
            self._take_reports(strategy)
            if self._is_over() or strategy.needs_rebuild:
                return None
            self._parts.progress.made()
            candle = self._poller.next_candle() if self._orders_known else None
            if candle is not None:
                return candle if candle.open_ms < end_ms else None
            self._parts.stop.rest(self._poller.wait_s(REST_S))

    def _take_reports(self, strategy: GuardedStrategy) -> None:
        """Apply and commit what the exchange says, batch by batch, until it says nothing: before the next bar is looked
        at, and before the run ends.

        No bar comes before the fate of every order of an earlier run is known.

        Raises:
            FencedError: the run is no longer current; the batch is not applied.
            StrategyFailing, GaveUp: a batch is committed, and the strategy has failed too often.
        """
        source, bot = self._parts.between_bars, self._bot
        if source is None:
            return
        while not self._parts.fence.lost and (reports := source.carry_out(bot.state.account.orders)):
            outcome = bot.take_reports(strategy, reports)
            self._parts.progress.made()
            if outcome is not None:
                self._guards.state = outcome.strategy_state
                log_outcome(outcome, ready=False)
                self._end_if_spent(strategy)
        self._orders_known = self._orders_known or not source.unresolved(bot.state.account.orders)

    def _work_through(
        self, candle: Candle, strategy: GuardedStrategy, moved: Moved, *, where: str = "indicators"
    ) -> None:
        """Work through one bar: fills, decision, orders, commit.

        Raises:
            FencedError: the run is no longer current; nothing of the bar happened.
            StrategyFailing, GaveUp: the bar is committed, and the strategy has failed too often.
        """
        self._candle = candle
        with bound_contextvars(signal_at=candle.open_at):
            if self._parts.on_bar is not None:
                self._parts.on_bar(candle, moved)
            if moved.failure is not None:
                strategy.failed(where, moved.failure)
            self._bot.replace_config(self._running.now)
            outcome = self._bot.on_bar(strategy, candle, ready=moved.ready)
            self._poller.committed(candle)
            self._warmup.committed(candle)
            self._guards.state = outcome.strategy_state
            self._parts.progress.made()
            log_outcome(outcome, ready=moved.ready)
            self._end_if_spent(strategy)

    def _end_if_spent(self, strategy: GuardedStrategy) -> None:
        budget, limits = strategy.budget, self._parts.budget
        if strategy.failed_now and budget.spent(limits):
            error = failing(budget, limits, last=strategy.last_error)
            if budget.spent_for_good(limits):
                self.give_up(str(error))
            raise error

    def _is_over(self) -> bool:
        """Whether the run is to end now."""
        self._parts.stop.settle()
        return self._parts.stop.requested or self._parts.fence.lost

    def _go_live(self) -> None:
        if not self._live:
            self._live = True
            return_free_memory()
            self._parts.on_live()
            self._poller.listen()

    def _history(self, start_ms: int, end_ms: int) -> list[Candle]:
        if not self._live:
            self._parts.progress.enter("fetches candles to warm up")
        candles = self._retrier.call(lambda: self._parts.source.history(start_ms, end_ms))
        if not self._live:
            self._parts.progress.enter(f"warms up over {len(candles)} candles")
        return candles

    # --- asked for at a bar ----------------------------------------------------------------------------------------

    def _may_enter(self) -> bool:
        if self._parts.may_enter is None or self._candle is None:
            return not self._parts.stop.asked
        return self._parts.may_enter(self._candle)

    def _entry_denied(self, candle: Candle) -> Denial | None:
        """A reason of the feed's against an entry: with real money, none on a candle that is no longer news.

        On paper late candles are traded like any other: a bot that was away must end like one that never was.
        """
        server_ms = self._parts.exchange_ms()
        if self._config.trading_mode != "live" or server_ms is None:
            return None
        late = is_late(candle.open_ms, server_ms, interval_ms=self._interval_ms)
        return Denial.LATE_CANDLE if late else None

    # --- without a strategy ----------------------------------------------------------------------------------------

    def _go_on_without(self, broken: Broken, end_ms: int, *, has_worked: bool) -> None:
        """The engine broke by an error of the strategy's: go on without it for a bar, if there is a reason to.

        Args:
            has_worked: whether the engine got through a bar before.
        """
        failure, candle = broken.failure, broken.candle
        if candle is not None and self._is_new(candle):
            self._work_without(candle, failure, "engine")
        elif has_worked or broken.at_end:
            # all its bars are done: a hook failed, and the next engine goes on behind them
            name, words = type_of(failure), message_of(failure)
            log.warning("strategy_error", where="engine", type=name, error=words)
            self._parts.failures.note("engine", name, words, bar_ms=self._bar_ms())
        elif isinstance(failure, StateRefused):
            # to begin anew costs a decision; not to would cost all of them
            why = failure.__cause__ or failure
            log.warning("strategy_state_reset", bot_id=self._bot_id, reason=message_of(why))
            self._guards.forget()
            self._next_without(why, "import_state", end_ms)
        elif self._bot.in_market:
            self._next_without(failure, "build", end_ms)
        elif isinstance(failure, ConfigUnusable):
            raise failure
        else:
            raise StrategyUnbuildable(_why_unbuildable(failure)) from failure

    def _next_without(self, failure: BaseException, where: str, end_ms: int) -> None:
        """Wait for the next candle of this block and work through it without a strategy."""
        self._go_live()
        candle = self._next_candle(self._guards.absent(), end_ms)
        if candle is not None:
            self._work_without(candle, failure, where)

    def _work_without(self, candle: Candle, failure: BaseException, where: str) -> None:
        self._strategy = self._guards.absent()
        self._work_through(candle, self._strategy, Moved(ready=False, failure=failure), where=where)

    def _without_state(self) -> GuardedStrategy:
        """In place of a strategy at the end of a position of which it can't be told: its state ends with it."""
        self._guards.forget()
        return self._guards.absent()

    def _is_new(self, candle: Candle) -> bool:
        last_bar_at = self._bot.state.last_bar_at
        return last_bar_at is None or candle.open_at > last_bar_at

    def _bar_ms(self) -> int:
        """Open time of the bar that is worked on, or of the last one."""
        if self._candle is not None:
            return self._candle.open_ms
        last_bar_at = self._bot.state.last_bar_at
        return 0 if last_bar_at is None else to_ms(last_bar_at)


def _why_unbuildable(failure: BaseException) -> str:
    words = f"the strategy can't be built: {type_of(failure)}: {message_of(failure)}"
    if isinstance(failure, Exception):
        return words
    return f"{words}: it or a package tried to end the bot; a constructor that fails must raise an Exception"
