"""StrategyInstance: one run of one bot — candles in, Backtrader engine, bars out — until it is asked to stop.

The engine (a Cerebro) lives for one block of candles (`market.candle.anchor_ms`) and is then built anew from the
checkpointed state, exactly as after a restart: so restarts change nothing, and nothing that Backtrader hoards grows.

The strategy and its indicators are code of others. The engine calls them here and nowhere else, and a bar is worked
through beside them, not inside them: what fails in the constructor, in an indicator or in a hook costs a decision, and
the bar's fills, stops and limits come about without it. While flat, a strategy that can't be built ends the run;
with a position or an order, the bot goes on without it, tries again at each bar, and each time counts as a failure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal, localcontext
from functools import partial
from typing import Any, NoReturn, Protocol

import backtrader as bt
from structlog.contextvars import bound_contextvars

from botrunner.engine.backtrader_feed import QCHECK_S, ClosedCandles, Feed
from botrunner.engine.budget import STATE_KEY, BudgetLimits, ErrorBudget, GaveUp, failing, load_budget
from botrunner.engine.failures import FailureBook
from botrunner.engine.strategy_guard import GuardedStrategy, NoStrategy, StateRefused, message_of, own_state, type_of
from botrunner.engine.trading_bot import BaseTradingBot
from botrunner.exchange.errors import CircuitOpen, ExchangeAway
from botrunner.exchange.stream import CandleStream
from botrunner.execution.port import Venue
from botrunner.feeds.health import FeedWatch, is_late, overdue_ms
from botrunner.feeds.pace import PollPace
from botrunner.feeds.source import CandleSource, LocalTurn
from botrunner.market.candle import Candle, anchor_ms, block_end_ms
from botrunner.market.rules import Market
from botrunner.process.copies import end_if_copy
from botrunner.process.fence import Fence
from botrunner.process.memory import return_free_memory
from botrunner.process.progress import Progress
from botrunner.process.retry import EXCHANGE, Patience, exchange_away
from botrunner.process.stop import FLATTEN_S, StopSwitch
from botrunner.strategies.base import StrategyHost
from botrunner.strategies.isolation import DECIMALS, foreign, ours
from botrunner.trading.account import Account
from botrunner.trading.risk import Denial
from botrunner.trading.state import BarOutcome, BotState
from botrunner.trading.trades import Trade
from fleet.clock import Clock
from fleet.config import OnFailure, OnStop, RunningConfig
from fleet.errors import ConfigUnusable, FencedError, PermanentError
from fleet.events import Event, EventKind, Severity, number
from fleet.log import get_logger
from fleet.states import ExitReason
from fleet.times import from_ms, to_ms

log = get_logger("bot")

RIGHT_CHECK_S = 0.2
"""Between two looks whether a heartbeat gave the right to trade back."""


ON_FAILURE = "flatten_on_failure"
"""Reason of the order that closes a position when its bot gives up."""

REST_S = 0.5
"""Longest rest of a main loop that waits for its first candle."""


class StrategyUnbuildable(PermanentError):
    """The strategy can't be made, and there is no position to watch without it."""


class EngineEnded(Exception):
    """The engine ended, or took another candle, though nobody had told it to: the strategy made it."""


class BarLedger(Protocol):
    """What makes bars durable (`botrunner.ledger.ledger.Ledger`)."""

    def resume(self) -> tuple[BotState, dict[str, Any]] | None:
        """State and strategy state of the last checkpoint."""

    def begin(self, state: BotState, strategy_state: dict[str, Any]) -> tuple[BotState, dict[str, Any]]:
        """Store the first checkpoint."""

    def commit(self, outcome: BarOutcome) -> None:
        """Make a bar durable."""

    def reserve(self, value: Decimal, at: datetime, closed: Sequence[Trade]) -> Denial | None:
        """Take room in the owner's limits for an entry, or say which one forbids it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collaborators:
    """Everything a run needs from outside.

    Attributes:
        strategy: a Backtrader strategy class that decides (`strategies.base.BaseStrategy`).
        venue: where its orders execute.
        on_live: called once, when warm-up is over.
        exchange: its name, for people.
        note: puts what happened between bars into the outbox. Raises FencedError.
        exchange_ms: what the exchange's clock shows; None where there is none, e.g. for files.
        turn: when to ask for the candle of this open, among the bots that share the exchange.
        watch: tells when candles stay away; None where they can't.
        stream: makes a stream that calls back, from its thread, with each candle that closed; None without streams.
        config_version: whose failures of the strategy count together. budget: how many are too many.
        failures: where they are noted, for whoever runs this.
        close_out: why this run only closes what is open, without the strategy, and gives up; None: it trades.
    """

    strategy: type[Any]
    source: CandleSource
    ledger: BarLedger
    market: Market
    venue: Venue
    fence: Fence
    progress: Progress
    stop: StopSwitch
    clock: Clock
    on_live: Callable[[], None]
    exchange: str = ""
    note: Callable[[Iterable[Event]], None] = lambda _: None
    exchange_ms: Callable[[], int | None] = lambda: None
    turn: Callable[[int], LocalTurn] = lambda _: LocalTurn()
    watch: FeedWatch | None = None
    stream: Callable[[Callable[[int], None]], CandleStream] | None = None
    config_version: int = 0
    budget: BudgetLimits = field(default_factory=BudgetLimits)
    failures: FailureBook = field(default_factory=FailureBook)
    close_out: str | None = None


class StrategyInstance(StrategyHost):
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
        self._pending: deque[Candle] = deque()
        self._warmup: Iterator[Candle] = iter(())
        self._recent: deque[Candle] = deque(maxlen=2 * self._config.lookback_bars)
        self._candle: Candle | None = None
        self._strategy: GuardedStrategy | None = None
        self._strategy_state: Mapping[str, Any] = {}
        self._after_ms: int | None = None
        self._block_end_ms = 0
        self._live = False
        self._pace = PollPace()
        self._hint_ms = -1
        self._events: list[Event] = []
        self._stream: CandleStream | None = None
        self._patience = Patience(
            on=ExchangeAway,
            backoff=EXCHANGE,
            pause=parts.stop.wait,
            alive=parts.progress.made,
            failed=exchange_away(parts.progress, parts.exchange),
        )
        self._own_error: BaseException | None = None
        self._handed_out = False
        self._at_end = False
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
            if self._stream is not None:
                self._stream.stop()

    def _run(self) -> ExitReason:
        self._parts.progress.enter("reads its checkpoint")
        resumed = self._parts.ledger.resume()
        if self._parts.close_out is not None:
            self._go_on_from(resumed)
            self.give_up(self._parts.close_out)
        resumed = self._restore(resumed)
        budget = self._go_on_from(resumed)
        if budget.spent_for_good(self._parts.budget):
            self.give_up(str(failing(budget, self._parts.budget)))
        if self._config.on_stop is OnStop.WAIT_FLAT:
            self._parts.stop.be_patient_while(lambda: self._bot.in_market)
        if self._config.on_stop is OnStop.FLATTEN:
            self._parts.stop.leave_within_s = FLATTEN_S
        flattens = self._config.on_stop is OnStop.FLATTEN
        try:
            while not self._parts.stop.requested:
                self._run_block()
                if self._parts.fence.lost:
                    raise FencedError(f"bot {self._bot_id} lost its run")
        except ExchangeAway:
            # it was asked to stop while it waited for candles; closing at the last close needs none
            if not flattens:
                raise
        if flattens:
            outcome = self._bot.flatten(self._strategy or self._nobody())
            if outcome:
                self._report(outcome, ready=False)
        return self._parts.stop.reason

    def give_up(self, why: str) -> NoReturn:
        """End the bot for good: close what is open at the last close, without the strategy, if the config says so.

        Closed and durable before anything is raised; a run that was killed in between finds nothing open any more.
        The strategy's state ends with the position, as nobody told it: the next version begins anew.

        Raises:
            GaveUp: always. FencedError: the run is no longer current; nothing happened.
        """
        held = self._bot.state.account.trade
        if self._config.on_failure is OnFailure.FLATTEN and self._bot.in_market:
            outcome = self._bot.flatten(
                self._nobody(),
                reason=ON_FAILURE,
                event=lambda trade: _closed_out(self._bot_id, self._config.symbol, trade, why),
            )
            if outcome is not None:
                self._report(outcome, ready=False)
            became = "its position was closed at the last close" if held is not None else "its orders were cancelled"
            raise GaveUp(f"{why}; {became} (trading.on_failure is flatten)")
        if held is not None:
            raise GaveUp(f"{why}; its position stays open and nobody watches it (trading.on_failure is hold)")
        raise GaveUp(why)

    # --- start -----------------------------------------------------------------------------------------------------

    def _go_on_from(self, resumed: tuple[BotState, dict[str, Any]] | None) -> ErrorBudget:
        state, self._strategy_state = resumed or (BotState(account=Account(cash=self._config.initial_cash)), {})
        self._after_ms = None if state.last_bar_at is None else to_ms(state.last_bar_at)
        self._bot = BaseTradingBot(
            bot_id=self._bot_id,
            config=self._config,
            market=self._parts.market,
            venue=self._parts.venue,
            state=state,
            commit=self._commit,
            may_enter=lambda: not self._parts.stop.asked,
            reserve=self._parts.ledger.reserve,
            entry_denied=self._entry_denied,
        )
        return load_budget(self._strategy_state, version=self._parts.config_version)

    def _restore(self, resumed: tuple[BotState, dict[str, Any]] | None) -> tuple[BotState, dict[str, Any]]:
        if resumed is not None and resumed[0].last_bar_at is not None:
            state, kept = resumed
            log.info("resumed", last_bar_at=state.last_bar_at, bars=state.bars, in_position=bool(state.account.trade))
            return resumed
        self._parts.progress.enter("looks for its first candle")
        begin_ms = self._patience.ask(self._parts.source.latest_closed_ms)
        fresh = BotState(account=Account(cash=self._config.initial_cash))
        state, kept = resumed if resumed is not None else (fresh, {})
        begin_at = None if begin_ms is None else from_ms(begin_ms)
        begun = BotState(account=state.account, last_bar_at=begin_at, bars=state.bars)
        log.info("begins", after_bar_at=begun.last_bar_at, balance=str(begun.account.cash))
        return self._parts.ledger.begin(begun, kept)

    # --- one block -------------------------------------------------------------------------------------------------

    def _run_block(self) -> None:
        first_ms = self._first_ms()
        if first_ms is None:
            self._wait_for_candles()
            return
        lookback = self._config.lookback_bars
        anchor = anchor_ms(first_ms, interval_ms=self._interval_ms, lookback=lookback)
        self._block_end_ms = block_end_ms(first_ms, interval_ms=self._interval_ms, lookback=lookback)
        self._warmup = iter(self._warmup_candles(anchor, first_ms))
        cerebro = bt.Cerebro(stdstats=False, exactbars=1, quicknotify=True)
        cerebro.adddata(
            ClosedCandles(
                next_candle=self._next_candle,
                timeframe=bt.TimeFrame.Seconds if self._config.interval_s < 60 else bt.TimeFrame.Minutes,
                compression=self._config.interval_s // 60 or self._config.interval_s,
            )
        )
        cerebro.addstrategy(self._build)
        self._strategy, self._handed_out, self._at_end = None, False, False
        failure: BaseException | None = None
        try:
            with foreign():
                cerebro.run()
        except BaseException as error:
            if error is self._own_error:
                raise
            failure = error
        else:
            if not self._at_end or self._is_unworked():
                failure = EngineEnded("it stopped the engine, took itself out of it, or moved on its data by itself")
        finally:
            end_if_copy()
        del cerebro
        return_free_memory()
        if failure is not None:
            self._broke(failure)

    def _first_ms(self) -> int | None:
        """Open time of the next bar to trade, as far as it is known."""
        if self._pending:
            return self._pending[0].open_ms
        if self._after_ms is not None:
            return self._after_ms + self._interval_ms
        self._poll()
        return self._pending[0].open_ms if self._pending else None

    def _wait_for_candles(self) -> None:
        self._parts.progress.waits("waits for its first candle")
        self._parts.stop.rest(min(self._pace.left_s(self._parts.clock.monotonic()), REST_S))

    def _warmup_candles(self, anchor: int, first_ms: int) -> list[Candle]:
        if self._recent and self._recent[0].open_ms <= anchor:
            return [candle for candle in self._recent if anchor <= candle.open_ms < first_ms]
        if not self._live:
            self._parts.progress.enter("fetches candles to warm up")
        candles = self._patience.ask(lambda: self._parts.source.history(anchor, first_ms))
        if not self._live:
            self._parts.progress.enter(f"warms up over {len(candles)} candles")
        self._recent.clear()
        self._recent.extend(candles)
        return candles

    def _commit(self, outcome: BarOutcome) -> None:
        """Make a bar durable; one with orders only while the right to trade is fresh.

        Raises:
            FencedError: the run is lost, or a stop came while the right was: nothing of the bar happened.
        """
        fence, clock = self._parts.fence, self._parts.clock
        while outcome.orders and not fence.may_send(clock.monotonic()):
            if fence.lost or self._parts.stop.requested:
                raise FencedError(f"bot {self._bot_id} has no right to trade: no heartbeat was acknowledged in time")
            self._parts.progress.made()
            clock.sleep(RIGHT_CHECK_S)
        events, self._events = self._events, []
        self._parts.ledger.commit(replace(outcome, events=(*outcome.events, *events)) if events else outcome)

    def _entry_denied(self, candle: Candle) -> Denial | None:
        """A reason of the feed's against an entry: with real money, none on a candle that is no longer news.

        On paper late candles are traded like any other: a bot that was away must end like one that never was.
        """
        server_ms = self._parts.exchange_ms()
        if self._config.trading_mode != "live" or server_ms is None:
            return None
        late = is_late(candle.open_ms, server_ms, interval_ms=self._interval_ms)
        return Denial.LATE_CANDLE if late else None

    # --- called by the engine --------------------------------------------------------------------------------------

    @property
    def last_exit_at(self) -> datetime | None:
        """When the bot closed a position last."""
        return self._bot.last_exit_at

    def _build(self, *datas: Any) -> Any:
        """Make the strategy; called by the engine where it would call the class, and its exceptions are the class's.

        What the engine calls on it afterwards is ours: so the bar doesn't depend on what the strategy overrides.
        """
        # its own copy: what it changes there must not be what the next one gets, nor what a trade's row says
        parameters = deepcopy(self._config.strategy_parameters)
        strategy = self._parts.strategy(*datas, bot=self, parameters=parameters)
        for name, ours_instead in (("_start", self._start), ("_next", self._step)):
            # past whatever the class does with attributes
            object.__setattr__(strategy, name, partial(ours_instead, strategy))
        return strategy

    def _start(self, strategy: Any) -> None:
        type(strategy)._start(strategy)
        guarded = self._guarded(strategy, self._strategy_state)
        guarded.restore()
        self._strategy = guarded

    def _step(self, strategy: Any) -> None:
        """The engine has a new candle: move the lines, then work through the bar, whatever the lines did."""
        failure = None
        try:
            type(strategy)._next(strategy)
        except BaseException as error:
            failure = error
            catch_up(strategy)
        finally:
            end_if_copy()
        with self._ours():
            self._on_candle(ready=failure is None and strategy._minperstatus <= 0, failure=failure)

    @contextmanager
    def _ours(self) -> Iterator[None]:
        """Around what the engine calls of ours: its errors pass, those of the strategy don't."""
        end_if_copy()
        with ours():
            try:
                yield
            except BaseException as error:
                self._own_error = error
                raise

    def _nobody(self) -> GuardedStrategy:
        """Where the strategy's state ends with its position, as there is nobody to be told of the exit."""
        return self._guarded(NoStrategy({}), self._count_alone())

    def _count_alone(self) -> dict[str, Any]:
        """The checkpointed state without the strategy's own."""
        return {key: kept for key, kept in self._strategy_state.items() if key == STATE_KEY}

    def _guarded(self, strategy: Any, state: Mapping[str, Any]) -> GuardedStrategy:
        return GuardedStrategy(
            strategy,
            bot_id=self._bot_id,
            state=state,
            budget=load_budget(state, version=self._parts.config_version),
            limits=self._parts.budget,
            interval_ms=self._interval_ms,
            bar_ms=lambda: self._candle.open_ms if self._candle else self._after_ms or 0,
            report=lambda event: self._events.append(event),
            book=self._parts.failures,
        )

    def _on_candle(self, *, ready: bool, failure: BaseException | None = None, where: str = "indicators") -> None:
        candle, strategy = self._candle, self._strategy
        assert candle is not None
        assert strategy is not None, "the engine starts its strategy before the first bar"
        if self._after_ms is not None and candle.open_ms <= self._after_ms:
            return
        with bound_contextvars(signal_at=candle.open_at):
            if failure is not None:
                strategy.failed(where, failure)
            self._work_through(candle, ready=ready)

    # --- without a strategy ----------------------------------------------------------------------------------------

    def _broke(self, failure: BaseException) -> None:
        """The engine ended by an error of the strategy's: go on without it for a bar, if there is a reason to."""
        if self._is_unworked():
            self._work_without(failure, "engine")
        elif self._handed_out or self._at_end:
            # all its bars are done: a hook failed, and the next engine goes on behind them
            name, words = type_of(failure), message_of(failure)
            log.warning("strategy_error", where="engine", type=name, error=words)
            self._parts.failures.note("engine", name, words, bar_ms=self._after_ms or 0)
        elif isinstance(failure, StateRefused):
            # to begin anew costs a decision; not to would cost all of them
            why = failure.__cause__ or failure
            log.warning("strategy_state_reset", bot_id=self._bot_id, reason=message_of(why))
            self._strategy_state = self._count_alone()
            self._next_without(why, "import_state")
        elif self._bot.in_market:
            self._next_without(failure, "build")
        elif isinstance(failure, ConfigUnusable):
            raise failure
        else:
            raise StrategyUnbuildable(_why_unbuildable(failure)) from failure

    def _is_unworked(self) -> bool:
        """Whether a new candle was handed out and the engine broke before it was worked through."""
        candle = self._candle
        return self._handed_out and candle is not None and (self._after_ms is None or candle.open_ms > self._after_ms)

    def _next_without(self, failure: BaseException, where: str) -> None:
        """Wait for the next candle of this block and work through it without a strategy."""
        self._go_live()
        while True:
            self._parts.stop.settle()
            if self._parts.stop.requested or self._parts.fence.lost:
                return
            found = self._next_new(QCHECK_S)
            if found is Feed.END:
                return
            if isinstance(found, Candle):
                self._take(found)
                self._work_without(failure, where)
                return

    def _work_without(self, failure: BaseException, where: str) -> None:
        kept = self._strategy_state
        self._strategy = self._guarded(NoStrategy(own_state(kept)), kept)
        self._on_candle(ready=False, failure=failure, where=where)

    def _work_through(self, candle: Candle, *, ready: bool) -> None:
        strategy = self._strategy
        assert strategy is not None, "the engine attaches its strategy before the first bar"
        self._bot.replace_config(self._running.now)
        outcome = self._bot.on_bar(strategy, candle, ready=ready)
        self._after_ms = candle.open_ms
        self._strategy_state = outcome.strategy_state
        self._parts.progress.made()
        self._report(outcome, ready=ready)
        budget, limits = strategy.budget, self._parts.budget
        if strategy.failed_now and budget.spent(limits):
            error = failing(budget, limits, last=strategy.last_error)
            if budget.spent_for_good(limits):
                self.give_up(str(error))
            raise error

    def _next_candle(self, may_block_s: float) -> Candle | Feed:
        with self._ours():
            return self._next_of_block(may_block_s)

    def _next_of_block(self, may_block_s: float) -> Candle | Feed:
        if self._is_unworked():
            # a bar is worked through before the next: whoever asks for that now gets nothing, and the engine ends
            return Feed.END
        self._parts.stop.settle()
        if self._parts.stop.requested or self._parts.fence.lost:
            return self._end()
        if self._strategy is not None and self._strategy.stale:
            return self._end()
        warming = next(self._warmup, None)
        if warming is not None:
            self._candle = warming
            self._parts.progress.made()
            return warming
        self._go_live()
        found = self._next_new(may_block_s)
        if isinstance(found, Candle):
            self._take(found)
        return self._end() if found is Feed.END else found

    def _end(self) -> Feed:
        """The engine's run is over."""
        self._at_end = True
        return Feed.END

    def _take(self, candle: Candle) -> None:
        self._candle, self._handed_out = candle, True
        self._recent.append(candle)

    def _next_new(self, may_block_s: float) -> Candle | Feed:
        self._parts.progress.made()
        if not self._pending:
            self._poll()
        if not self._pending:
            wait = min(may_block_s, max(self._pace.left_s(self._parts.clock.monotonic()), 0.01))
            self._parts.stop.rest(wait)
            return Feed.NOTHING
        if self._pending[0].open_ms >= self._block_end_ms:
            return Feed.END
        return self._pending.popleft()

    def _go_live(self) -> None:
        if not self._live:
            self._live = True
            return_free_memory()
            self._parts.on_live()
            self._listen()

    def _listen(self) -> None:
        if self._parts.stream is not None:
            self._stream = self._parts.stream(self._candle_closed)
            self._stream.start()

    def _candle_closed(self, open_ms: int) -> None:
        """The stream says so; called from its thread."""
        self._hint_ms = max(self._hint_ms, open_ms)
        self._parts.stop.wake()

    def _poll(self) -> None:
        """Ask for new candles when the time has come, or the stream says so; without an answer the waits get longer."""
        source, last_ms = self._parts.source, self._newest_ms()
        now = self._parts.clock.monotonic()
        hint_ms, self._hint_ms = self._hint_ms, -1
        if hint_ms > (-1 if last_ms is None else last_ms):
            self._pace.hinted(now, after_s=self._parts.turn(hint_ms).after_s)
        if not self._pace.due(now):
            return
        try:
            found = source.poll(self._after_ms)
        except ExchangeAway as error:
            paused_s = error.retry_after_s if isinstance(error, CircuitOpen) else 0.0
            wait_s = self._pace.failed(self._parts.clock.monotonic(), paused_s=paused_s)
            log.warning("exchange_away", error=str(error), failures=self._pace.failures, retry_in_s=round(wait_s, 1))
            return
        self._pending.extend(found)
        now = self._parts.clock.monotonic()
        if found:
            self._pace.found(now, wait_s=source.wait_s(self._newest_ms()))
        else:
            self._pace.nothing(
                now,
                wait_s=source.wait_s(last_ms),
                overdue=self._overdue_ms(last_ms) > 0,
                least_s=self._parts.turn(last_ms or 0).least_s,
            )
        self._watch_feed(found, last_ms)

    def _newest_ms(self) -> int | None:
        return self._pending[-1].open_ms if self._pending else self._after_ms

    def _overdue_ms(self, last_ms: int | None) -> int:
        server_ms = self._parts.exchange_ms()
        if last_ms is None or server_ms is None:
            return 0
        return overdue_ms(last_ms, server_ms, interval_ms=self._interval_ms)

    def _watch_feed(self, found: list[Candle], last_ms: int | None) -> None:
        watch, server_ms = self._parts.watch, self._parts.exchange_ms()
        if watch is None or server_ms is None:
            return
        event = watch.came() if found else None
        if not found and last_ms is not None:
            event = watch.looked(last_open_ms=last_ms, server_ms=server_ms)
        if event is not None:
            tell = log.warning if watch.stale else log.info
            tell("feed_stale" if watch.stale else "feed_recovered", last_bar_at=last_ms and from_ms(last_ms))
            self._parts.note([event])

    def _report(self, outcome: BarOutcome, *, ready: bool) -> None:
        self._tell_decision(outcome, ready=ready)
        orders = {order.client_order_id: order for order in outcome.orders}
        for fill in outcome.fills:
            order = orders[fill.client_order_id]
            log.info(
                "filled",
                client_order_id=order.client_order_id,
                signal_at=order.signal_at,
                leg=order.leg,
                side=order.side,
                quantity=str(fill.quantity),
                price=str(fill.price),
                reason=order.reason,
                balance=f"{outcome.balance:.8f}",
            )
        if outcome.denial:
            log.info("entry_denied", signal_at=outcome.bar_at, denial=outcome.denial)

    def _tell_decision(self, outcome: BarOutcome, *, ready: bool) -> None:
        """All that a decision was made of, in one line: at INFO when something was wanted, else at DEBUG."""
        candle, signal, account = outcome.candle, outcome.signal, outcome.account
        if candle is None:
            return
        tell = log.info if signal else log.debug
        trade, counters = account.trade, account.counters
        tell(
            "decided",
            ready=ready,
            signal=signal.kind if signal else None,
            direction=signal.direction if signal else None,
            reason=signal.reason if signal else None,
            denial=outcome.denial,
            client_order_ids=[order.client_order_id for order in outcome.orders],
            open=str(candle.open),
            high=str(candle.high),
            low=str(candle.low),
            close=str(candle.close),
            volume=str(candle.volume),
            position=str(trade.size_open) if trade else "0",
            bars_held=account.bars_held,
            balance=f"{outcome.balance:.8f}",
            trades_today=counters.trades_today,
            pnl_today=str(counters.pnl_today),
        )


def catch_up(node: Any) -> None:
    """Move on every line below that an exception kept from its bar; what fails has no value there (NaN).

    Each line must have its place for every candle: one that is a bar behind would be read against the wrong ones.
    """
    for indicator in node._lineiterators[bt.LineIterator.IndType]:
        if len(indicator) < len(indicator._clock):
            with suppress(BaseException):
                indicator._next()
        if hasattr(indicator, "_lineiterators"):
            catch_up(indicator)


def _why_unbuildable(failure: BaseException) -> str:
    words = f"the strategy can't be built: {type_of(failure)}: {message_of(failure)}"
    if isinstance(failure, Exception):
        return words
    return f"{words}: it or a package tried to end the bot; a constructor that fails must raise an Exception"


def _closed_out(bot_id: int, symbol: str, trade: Trade, why: str) -> Event:
    price = "-" if trade.exit_price is None else number(trade.exit_price)
    return Event(
        kind=EventKind.BOT_DISABLED,
        title=f"Gave up and closed {number(trade.size)} {symbol} @ {price}",
        body=f"{why}. Its {trade.direction} position was closed at the last close, as trading.on_failure says; net "
        f"{number(trade.net_pnl, signed=True)}.",
        facts={"entry_order_id": trade.entry_order_id, "net_pnl": str(trade.net_pnl), "price": price},
        dedupe_key=f"gave_up:{bot_id}:{trade.entry_order_id}",
        severity=Severity.CRITICAL,
    )
