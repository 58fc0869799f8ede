"""StrategyInstance: one run of one bot — candles in, Backtrader engine, bars out — until it is asked to stop.

The engine (a Cerebro) lives for one block of candles (`feeds.candles.anchor_ms`) and is then built anew from the
checkpointed state, exactly as after a restart: so restarts change nothing, and nothing that Backtrader hoards grows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

import backtrader as bt
from structlog.contextvars import bound_contextvars

from botrunner.brokers.errors import CircuitOpen, ExchangeAway
from botrunner.brokers.paper import Account
from botrunner.budget import BudgetLimits, failing, load_budget, without_budget
from botrunner.feeds.backtrader_feed import ClosedCandles, Feed
from botrunner.feeds.candles import Candle, anchor_ms, block_end_ms
from botrunner.feeds.health import FeedWatch, is_late, overdue_ms
from botrunner.feeds.pace import PollPace
from botrunner.feeds.source import CandleSource, LocalTurn
from botrunner.feeds.stream import CandleStream
from botrunner.fence import FLATTEN_S, Fence, Progress, StopSwitch
from botrunner.memory import return_free_memory
from botrunner.retry import EXCHANGE, Patience, exchange_away
from botrunner.risk import Denial, Market
from botrunner.strategies.base import StrategyHost
from botrunner.strategy_guard import GuardedStrategy
from botrunner.trading_bot import BarOutcome, BaseTradingBot, BotState
from fleet.clock import Clock
from fleet.config import OnStop, RunningConfig
from fleet.errors import FencedError
from fleet.events import Event
from fleet.log import get_logger
from fleet.states import ExitReason
from fleet.times import from_ms, to_ms

log = get_logger("bot")

RIGHT_CHECK_S = 0.2
"""Between two looks whether a heartbeat gave the right to trade back."""


REST_S = 0.5
"""Longest rest of a main loop that waits for its first candle."""


class BarLedger(Protocol):
    """What makes bars durable (`botrunner.ledger.Ledger`)."""

    def resume(self) -> tuple[BotState, dict[str, Any]] | None:
        """State and strategy state of the last checkpoint."""

    def begin(self, state: BotState, strategy_state: dict[str, Any]) -> tuple[BotState, dict[str, Any]]:
        """Store the first checkpoint."""

    def commit(self, outcome: BarOutcome) -> None:
        """Make a bar durable."""

    def reserve(self, value: Decimal, at: datetime) -> Denial | None:
        """Take room in the owner's limits for an entry, or say which one forbids it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collaborators:
    """Everything a run needs from outside.

    Attributes:
        strategy: a Backtrader strategy class that decides (`strategies.base.BaseStrategy`).
        on_live: called once, when warm-up is over.
        exchange: its name, for people.
        note: puts what happened between bars into the outbox. Raises FencedError.
        exchange_ms: what the exchange's clock shows; None where there is none, e.g. for files.
        turn: when to ask for the candle of this open, among the bots that share the exchange.
        watch: tells when candles stay away; None where they can't.
        stream: makes a stream that calls back, from its thread, with each candle that closed; None without streams.
        config_version: whose failures of the strategy count together. budget: how many are too many.
    """

    strategy: type[Any]
    source: CandleSource
    ledger: BarLedger
    market: Market
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
        self._bot: BaseTradingBot

    def run(self) -> ExitReason:
        """Trade until a stop is asked for.

        Returns:
            Why it ended.

        Raises:
            FencedError: the run is no longer current.
            CheckpointDamaged, ExchangeRefused: the bot can't go on without a change.
            StrategyFailing: the strategy failed too often.
        """
        try:
            return self._run()
        finally:
            if self._stream is not None:
                self._stream.stop()

    def _run(self) -> ExitReason:
        state, self._strategy_state = self._restore()
        budget = load_budget(self._strategy_state, version=self._parts.config_version)
        if budget.spent_for_good(self._parts.budget):
            raise failing(budget, self._parts.budget)
        self._after_ms = None if state.last_bar_at is None else to_ms(state.last_bar_at)
        self._bot = BaseTradingBot(
            bot_id=self._bot_id,
            config=self._config,
            market=self._parts.market,
            state=state,
            commit=self._commit,
            may_enter=lambda: not self._parts.stop.asked,
            reserve=self._parts.ledger.reserve,
            entry_denied=self._entry_denied,
        )
        if self._config.on_stop is OnStop.WAIT_FLAT:
            self._parts.stop.be_patient_while(lambda: self._bot.in_market)
        if self._config.on_stop is OnStop.FLATTEN:
            self._parts.stop.leave_within_s = FLATTEN_S
        while not self._parts.stop.requested:
            self._run_block()
            if self._parts.fence.lost:
                raise FencedError(f"bot {self._bot_id} lost its run")
        if self._config.on_stop is OnStop.FLATTEN and self._strategy is not None:
            outcome = self._bot.flatten(self._strategy)
            if outcome:
                self._report(outcome, ready=False)
        return self._parts.stop.reason

    # --- start -----------------------------------------------------------------------------------------------------

    def _restore(self) -> tuple[BotState, dict[str, Any]]:
        self._parts.progress.enter("reads its checkpoint")
        resumed = self._parts.ledger.resume()
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
        cerebro.addstrategy(self._parts.strategy, bot=self, parameters=self._config.strategy_parameters)
        cerebro.run()
        if self._strategy is not None:
            self._strategy_state = self._strategy.export_state()
        del cerebro
        return_free_memory()

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

    def attach(self, strategy: Any) -> None:
        """The engine made its strategy: give it back what it knew."""
        self._strategy = GuardedStrategy(
            strategy,
            bot_id=self._bot_id,
            budget=load_budget(self._strategy_state, version=self._parts.config_version),
            limits=self._parts.budget,
            interval_ms=self._interval_ms,
            bar_ms=lambda: self._candle.open_ms if self._candle else 0,
            report=lambda event: self._events.append(event),
        )
        strategy.import_state(without_budget(self._strategy_state))

    def on_unready_bar(self, _: Any) -> None:
        """A candle is handed over while indicators lack candles: no decision, but fills and protection as ever."""
        self._on_candle(ready=False)

    def on_bar(self, _: Any) -> None:
        """The engine's lines stand at the candle that was handed over last."""
        self._on_candle(ready=True)

    def _on_candle(self, *, ready: bool) -> None:
        candle = self._candle
        assert candle is not None
        if self._after_ms is not None and candle.open_ms <= self._after_ms:
            return
        with bound_contextvars(signal_at=candle.open_at):
            self._work_through(candle, ready=ready)

    def _work_through(self, candle: Candle, *, ready: bool) -> None:
        strategy = self._strategy
        assert strategy is not None, "the engine attaches its strategy before the first bar"
        self._bot.replace_config(self._running.now)
        outcome = self._bot.on_bar(strategy, candle, ready=ready)
        self._after_ms = candle.open_ms
        self._parts.progress.made()
        self._report(outcome, ready=ready)
        strategy.check()

    def _next_candle(self, may_block_s: float) -> Candle | Feed:
        self._parts.stop.settle()
        if self._parts.stop.requested or self._parts.fence.lost:
            return Feed.END
        self._candle = next(self._warmup, None)
        if self._candle is not None:
            self._parts.progress.made()
            return self._candle
        self._go_live()
        found = self._next_new(may_block_s)
        if isinstance(found, Candle):
            self._candle = found
            self._recent.append(found)
        return found

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
