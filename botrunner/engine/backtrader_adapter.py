"""The only module that runs Backtrader: moves a strategy's lines from candle to candle for one block.

Backtrader's loop (`Cerebro.run`) can't be stepped from outside. So the bot's loop is handed over as a generator, which
gives the next candle and gets back how the lines moved; `_advance` is the one place where the engine turns to it
(docs/decisions/0024-the-loop-is-a-generator.md).

The strategy and its indicators are untrusted code, and called nowhere else than here and in `strategy_guard`. What they
raise ends the engine at worst, never the bot: `run` says what happened, and the loop goes on without a strategy.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import backtrader as bt

from botrunner.engine.strategy_guard import GuardedStrategy
from botrunner.market.candle import Candle
from botrunner.process.forked_copies import end_if_copy
from botrunner.strategies.base import StrategyHost
from botrunner.strategies.isolation import trusted_code, untrusted_code


@dataclass(frozen=True, slots=True)
class Moved:
    """The engine has moved its lines to the candle that it was given.

    Attributes:
        ready: whether the indicators have had candles enough for a decision.
        failure: what an indicator or a hook of the strategy raised meanwhile.
    """

    ready: bool
    failure: BaseException | None = None


BarLoop = Generator[Candle, Moved | None, None]
"""The bot's loop over the bars of one engine: yields candles in order, is sent how the lines moved, returns when the
engine is to end."""


@dataclass(frozen=True, slots=True)
class Broken:
    """The engine ended before the loop did, or with an error.

    Attributes:
        failure: what was raised in it.
        candle: that it had taken without moving its lines to it; None when there is none.
        at_end: whether the loop was over: a hook failed at the very end.
    """

    failure: BaseException
    candle: Candle | None
    at_end: bool


class EngineEnded(Exception):
    """The engine ended though nobody had told it to: the strategy made it."""


class ClosedCandles(bt.feed.DataBase):
    """Live feed: no preloading, bar after bar.

    Params:
        take: gives the next candle; None: there is none any more.
    """

    params = (("take", None),)

    def islive(self) -> bool:
        """Switches Backtrader's preload and runonce off."""
        return True

    def _load(self) -> bool:
        candle: Candle | None = self.p.take()
        if candle is None:
            return False
        self.lines.datetime[0] = bt.date2num(candle.open_at.astimezone(UTC).replace(tzinfo=None))
        self.lines.open[0] = float(candle.open)
        self.lines.high[0] = float(candle.high)
        self.lines.low[0] = float(candle.low)
        self.lines.close[0] = float(candle.close)
        self.lines.volume[0] = float(candle.volume)
        self.lines.openinterest[0] = 0.0
        return True


class BacktraderEngine:
    """One Cerebro with one feed and one strategy; runs once.

    Args:
        strategy: the class.
        parameters: its own copy is what the strategy gets.
        interval_s: of the candles.
        last_exit_at: when the bot closed a position last.
        guard: wraps the strategy that was made.
        bars: begins the loop for it, once it has its state back.
    """

    def __init__(
        self,
        strategy: type[Any],
        *,
        parameters: Any,
        interval_s: int,
        last_exit_at: Callable[[], datetime | None],
        guard: Callable[[Any], GuardedStrategy],
        bars: Callable[[GuardedStrategy], BarLoop],
    ) -> None:
        self._strategy_class = strategy
        self._parameters = parameters
        self._interval_s = interval_s
        self._host = _Host(last_exit_at)
        self._guard = guard
        self._begin_bars = bars
        self._bars: BarLoop | None = None
        self._next: Candle | None = None
        self._taken: Candle | None = None
        self._at_end = False
        self._error_of_bars: BaseException | None = None

    def run(self) -> Broken | None:
        """Run until the loop ends; None, or how the engine broke before that.

        Raises:
            BaseException: what the loop raised, and nothing else.
        """
        cerebro = bt.Cerebro(stdstats=False, exactbars=1, quicknotify=True)
        cerebro.adddata(
            ClosedCandles(
                take=self._take,
                timeframe=bt.TimeFrame.Seconds if self._interval_s < 60 else bt.TimeFrame.Minutes,
                compression=self._interval_s // 60 or self._interval_s,
            )
        )
        cerebro.addstrategy(self._build)
        failure: BaseException | None = None
        try:
            with untrusted_code():
                cerebro.run()
        except BaseException as error:
            failure = error
        finally:
            end_if_copy()
            if self._bars is not None:
                self._bars.close()
        if self._error_of_bars is not None:
            raise self._error_of_bars
        if failure is None and not self._at_end:
            failure = EngineEnded("it stopped the engine, took itself out of it, or moved on its data by itself")
        return None if failure is None else Broken(failure, self._taken, self._at_end)

    # --- called by Backtrader --------------------------------------------------------------------------------------

    def _build(self, *datas: Any) -> Any:
        """Make the strategy; called where the class would be, and its exceptions are the class's.

        Two of its methods are replaced, so that a bar doesn't depend on what the strategy overrides.
        """
        # its own copy: what it changes there must not be what the next one gets, nor what a trade's row says
        strategy = self._strategy_class(*datas, bot=self._host, parameters=deepcopy(self._parameters))
        for name, instead in (("_start", self._start), ("_next", self._move)):
            # past whatever the class does with attributes
            object.__setattr__(strategy, name, partial(instead, strategy))
        return strategy

    def _start(self, strategy: Any) -> None:
        """The strategy was made: give it its state back, and begin the loop."""
        type(strategy)._start(strategy)
        guarded = self._guard(strategy)
        guarded.restore()
        self._bars = self._begin_bars(guarded)
        self._advance(None)

    def _take(self) -> Candle | None:
        """The feed wants the next candle; there is one only after the last one's bar."""
        candle, self._next = self._next, None
        if candle is not None:
            self._taken = candle
        return candle

    def _move(self, strategy: Any) -> None:
        """There is a new candle: move the lines, and tell the loop, whatever the lines did."""
        failure = None
        try:
            type(strategy)._next(strategy)
        except BaseException as error:
            failure = error
            catch_up(strategy)
        finally:
            end_if_copy()
        # nothing was taken when a strategy called this itself
        if self._taken is not None:
            self._taken = None
            self._advance(Moved(failure is None and strategy._minperstatus <= 0, failure))

    # --- the way back ----------------------------------------------------------------------------------------------

    def _advance(self, moved: Moved | None) -> None:
        """Tell the loop how the lines moved, and get the next candle: the only call from the engine to the bot."""
        assert self._bars is not None, "a strategy is started before its lines move"
        end_if_copy()
        with trusted_code():
            try:
                self._next = self._bars.send(moved)
            except StopIteration:
                self._at_end = True
            except BaseException as error:
                self._error_of_bars = error
                raise


class _Host(StrategyHost):
    """The bot as its strategy sees it."""

    def __init__(self, last_exit_at: Callable[[], datetime | None]) -> None:
        self._last_exit_at = last_exit_at

    @property
    def last_exit_at(self) -> datetime | None:
        """When the bot closed a position last."""
        return self._last_exit_at()


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
