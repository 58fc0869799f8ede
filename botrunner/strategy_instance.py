"""StrategyInstance: one run of one bot — candles in, Backtrader engine, bars out — until it is asked to stop.

The engine (a Cerebro) lives for one block of candles (`feeds.candles.anchor_ms`) and is then built anew from the
checkpointed state, exactly as after a restart: so restarts change nothing, and nothing that Backtrader hoards grows.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

import backtrader as bt

from botrunner.brokers.errors import ExchangeAway
from botrunner.brokers.paper import Account
from botrunner.feeds.backtrader_feed import ClosedCandles, Feed
from botrunner.feeds.candles import Candle, anchor_ms, block_end_ms
from botrunner.feeds.source import CandleSource
from botrunner.fence import Fence, Progress, StopSwitch
from botrunner.memory import return_free_memory
from botrunner.risk import Denial, Market
from botrunner.strategies.base import StrategyHost
from botrunner.trading_bot import BarOutcome, BaseTradingBot, BotState
from fleet.clock import Clock
from fleet.config import BotConfig, OnStop
from fleet.errors import FencedError
from fleet.log import get_logger
from fleet.states import ExitReason
from fleet.times import from_ms, to_ms

log = get_logger("bot")

RETRY_MAX_S = 30.0
"""Longest wait between two questions to an exchange that doesn't answer."""


RIGHT_CHECK_S = 0.2
"""Between two looks whether a heartbeat gave the right to trade back."""


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


class StrategyInstance(StrategyHost):
    """Runs one bot until it is asked to stop or loses its run.

    Args:
        bot_id: of the row.
        config: of the run's snapshot.
        parts: collaborators.
    """

    def __init__(self, *, bot_id: int, config: BotConfig, parts: Collaborators) -> None:
        self._bot_id = bot_id
        self._config = config
        self._parts = parts
        self._interval_ms = config.interval_s * 1000
        self._pending: deque[Candle] = deque()
        self._warmup: Iterator[Candle] = iter(())
        self._recent: deque[Candle] = deque(maxlen=2 * config.lookback_bars)
        self._candle: Candle | None = None
        self._strategy: Any = None
        self._strategy_state: Mapping[str, Any] = {}
        self._after_ms: int | None = None
        self._block_end_ms = 0
        self._live = False
        self._polls_failed = 0
        self._next_poll_at = 0.0
        self._new_config: BotConfig | None = None
        self._bot: BaseTradingBot

    def replace_config(self, config: BotConfig) -> None:
        """Take over changed limits at the next bar; may be called from another thread."""
        self._new_config = config

    def run(self) -> ExitReason:
        """Trade until a stop is asked for.

        Returns:
            Why it ended.

        Raises:
            FencedError: the run is no longer current.
            CheckpointDamaged, ExchangeRefused: the bot can't go on without a change.
        """
        state, self._strategy_state = self._restore()
        self._after_ms = None if state.last_bar_at is None else to_ms(state.last_bar_at)
        self._bot = BaseTradingBot(
            bot_id=self._bot_id,
            config=self._config,
            market=self._parts.market,
            state=state,
            commit=self._commit,
            may_enter=lambda: not self._parts.stop.asked,
            reserve=self._parts.ledger.reserve,
        )
        if self._config.on_stop is OnStop.WAIT_FLAT:
            self._parts.stop.be_patient_while(lambda: self._bot.in_market)
        while not self._parts.stop.requested:
            self._run_block()
            if self._parts.fence.lost:
                raise FencedError(f"bot {self._bot_id} lost its run")
        if self._config.on_stop is OnStop.FLATTEN and self._strategy is not None:
            outcome = self._bot.flatten(self._strategy)
            if outcome:
                self._report(outcome)
        return self._parts.stop.reason

    # --- start -----------------------------------------------------------------------------------------------------

    def _restore(self) -> tuple[BotState, dict[str, Any]]:
        resumed = self._parts.ledger.resume()
        if resumed is not None and resumed[0].last_bar_at is not None:
            state, kept = resumed
            log.info("resumed", last_bar_at=state.last_bar_at, bars=state.bars, in_position=bool(state.account.trade))
            return resumed
        begin_ms = self._persistently(self._parts.source.latest_closed_ms)
        fresh = BotState(account=Account(cash=self._config.initial_cash))
        state, kept = resumed if resumed is not None else (fresh, {})
        begin_at = None if begin_ms is None else from_ms(begin_ms)
        begun = BotState(account=state.account, last_bar_at=begin_at, bars=state.bars)
        log.info("begins", after_bar_at=begun.last_bar_at, balance=str(begun.account.cash))
        return self._parts.ledger.begin(begun, kept)

    def _persistently(self, ask: Callable[[], Any]) -> Any:
        """Ask the exchange until it answers or a stop is requested (then: FencedError or the last error)."""
        failures = 0
        while True:
            self._parts.progress.made()
            try:
                return ask()
            except ExchangeAway as error:
                failures += 1
                log.warning("exchange_away", error=str(error), failures=failures)
                if self._parts.stop.wait(_retry_s(failures)):
                    raise

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
        self._parts.progress.made()
        self._parts.stop.wait(min(self._parts.source.wait_s(self._after_ms), 0.5))

    def _warmup_candles(self, anchor: int, first_ms: int) -> list[Candle]:
        if self._recent and self._recent[0].open_ms <= anchor:
            return [candle for candle in self._recent if anchor <= candle.open_ms < first_ms]
        candles: list[Candle] = self._persistently(lambda: self._parts.source.history(anchor, first_ms))
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
        self._parts.ledger.commit(outcome)

    # --- called by the engine --------------------------------------------------------------------------------------

    def attach(self, strategy: Any) -> None:
        """The engine made its strategy: give it back what it knew."""
        self._strategy = strategy
        strategy.import_state(self._strategy_state)

    def on_unready_bar(self, strategy: Any) -> None:
        """A candle is handed over while indicators lack candles: no decision, but fills and protection as ever."""
        self._on_candle(strategy, ready=False)

    def on_bar(self, strategy: Any) -> None:
        """The engine's lines stand at the candle that was handed over last."""
        self._on_candle(strategy, ready=True)

    def _on_candle(self, strategy: Any, *, ready: bool) -> None:
        candle = self._candle
        assert candle is not None
        if self._after_ms is not None and candle.open_ms <= self._after_ms:
            return
        if self._new_config is not None:
            self._bot.replace_config(self._new_config)
            self._new_config = None
        outcome = self._bot.on_bar(strategy, candle, ready=ready)
        self._after_ms = candle.open_ms
        self._parts.progress.made()
        self._report(outcome)

    def _next_candle(self, may_block_s: float) -> Candle | Feed:
        self._parts.stop.settle()
        if self._parts.stop.requested or self._parts.fence.lost:
            return Feed.END
        self._candle = next(self._warmup, None)
        if self._candle is not None:
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
            wait = min(may_block_s, max(self._next_poll_at - self._parts.clock.monotonic(), 0.01))
            self._parts.stop.wait(wait)
            return Feed.NOTHING
        if self._pending[0].open_ms >= self._block_end_ms:
            return Feed.END
        return self._pending.popleft()

    def _go_live(self) -> None:
        if not self._live:
            self._live = True
            return_free_memory()
            self._parts.on_live()

    def _poll(self) -> None:
        """Ask for new candles when the time has come; without an answer the waits get longer."""
        now = self._parts.clock.monotonic()
        if now < self._next_poll_at:
            return
        try:
            self._pending.extend(self._parts.source.poll(self._after_ms))
        except ExchangeAway as error:
            self._polls_failed += 1
            wait = _retry_s(self._polls_failed)
            log.warning("exchange_away", error=str(error), failures=self._polls_failed, retry_in_s=round(wait, 1))
        else:
            self._polls_failed = 0
            last_ms = self._pending[-1].open_ms if self._pending else self._after_ms
            wait = self._parts.source.wait_s(last_ms)
        self._next_poll_at = self._parts.clock.monotonic() + wait

    def _report(self, outcome: BarOutcome) -> None:
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


def _retry_s(failures: int) -> float:
    """Exponential backoff with jitter, seconds."""
    growing: float = 0.5 * 2 ** min(failures, 8)
    return min(RETRY_MAX_S, growing) * random.uniform(0.5, 1.0)
