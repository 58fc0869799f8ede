"""Drives StrategyInstance over a list of candles: no database, no network, no waiting.

Guarantees: the bars go through the code that a bot's process runs, block by block, and the rows are made by what
makes those that a bot writes to PostgreSQL. The same arguments give the same rows, always.
"""

from __future__ import annotations

import gc
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from botrunner.backtest.memory_ledger import MemoryLedger
from botrunner.engine.backtrader_adapter import Moved
from botrunner.engine.budget import BudgetLimits, GaveUp, StrategyFailing
from botrunner.engine.collaborators import Collaborators
from botrunner.engine.failures import Failure, FailureCounts
from botrunner.engine.strategy_instance import StrategyInstance
from botrunner.execution.paper.venue import paper_venue
from botrunner.market.candle import Candle
from botrunner.market.rules import Market
from botrunner.process.fence import Deadlines, Fence
from botrunner.process.progress import Progress
from botrunner.process.stop import StopRequest, StopSwitch
from fleet.config import BotConfig, RunningConfig
from fleet.states import ExitReason

NEVER_SPENT = BudgetLimits(in_a_row=2**31, in_window=2**31)
"""Of a record: failures are counted, as in a bot's checkpoint, and end nothing."""

_BOT = BudgetLimits()
UNTIL_IT_GIVES_UP = replace(_BOT, in_a_row=_BOT.in_a_row + 1, in_window=_BOT.in_window + 1)
"""Of a bot over all its runs: a spent budget ends a run, and the fresh process's first failure ends the bot."""


class StillClock:
    """A clock that never moves: nothing here may depend on time."""

    def monotonic(self) -> float:
        """Always 0."""
        return 0.0

    def now(self) -> datetime:
        """Always 1970."""
        return datetime(1970, 1, 1, tzinfo=UTC)

    def sleep(self, seconds: float) -> None:
        """Return at once."""


class ListedCandles:
    """A CandleSource over candles in memory; asks to stop when they are used up.

    Args:
        candles: in order, each once.
        stop: is told when nothing follows.
        begin_after_ms: a new bot begins after this candle, warmed up by those before; None: with the first.
    """

    def __init__(self, candles: Sequence[Candle], *, stop: StopSwitch, begin_after_ms: int | None = None) -> None:
        self._candles = candles
        self._opens = [candle.open_ms for candle in candles]
        self._stop = stop
        self._begin_after_ms = begin_after_ms

    def latest_closed_ms(self) -> int | None:
        """Where a new bot begins."""
        return self._begin_after_ms

    def history(self, start_ms: int, end_ms: int) -> list[Candle]:
        """Candles with start ≤ open < end."""
        return list(self._candles[bisect_left(self._opens, start_ms) : bisect_left(self._opens, end_ms)])

    def poll(self, after_ms: int | None) -> list[Candle]:
        """All candles that follow."""
        found = list(self._candles if after_ms is None else self._candles[bisect_left(self._opens, after_ms + 1) :])
        if not found:
            self._stop.request(StopRequest(ExitReason.RELEASED, urgent=True))
        return found

    def wait_s(self, after_ms: int | None) -> float:  # noqa: ARG002 - there is nothing to wait for
        """No wait."""
        return 0.0


class _Readiness:
    """Sees whether the strategy's indicators ever had candles enough."""

    ever = False

    def __call__(self, _candle: Candle, moved: Moved) -> None:
        """The lines stand at a bar."""
        if moved.ready or moved.failure is not None:
            self.ever = True


@dataclass(frozen=True, slots=True)
class Ran:
    """What a replay has to say besides its rows.

    Attributes:
        ready: whether the strategy's indicators had candles enough at any bar.
        failures: what the strategy failed at, by kind.
        gave_up: whether the bot failed too often; what was open was left to `trading.on_failure`.
    """

    ready: bool
    failures: tuple[Failure, ...]
    gave_up: bool


def replay(
    *,
    config: BotConfig,
    bot_id: int,
    strategy: type[Any],
    market: Market,
    ledger: MemoryLedger,
    candles: Sequence[Candle],
    begin_after_ms: int | None = None,
    budget: BudgetLimits | None = None,
    failures: FailureCounts | None = None,
    gives_up: bool = False,
) -> Ran:
    """Run a bot over candles until they are used up; what it did is in the ledger.

    Args:
        config: `trading.on_stop` decides about a position that is open at the end: see `holding`.
        bot_id: names the orders.
        strategy: the class that decides.
        market: the exchange's rules.
        ledger: where to go on, and where to write.
        candles: those to trade, after those to warm up with.
        begin_after_ms: for a new bot, see `ListedCandles`.
        budget: how often the strategy may fail before the bot gives up there; None: without end, a record says where.
        failures: takes up what the strategy failed at.
        gives_up: after the candles the bot gives up, and `trading.on_failure` decides about an open position.

    Raises:
        CheckpointDamaged: the ledger's checkpoint can't be gone on from.
        StrategyUnbuildable, ConfigUnusable: the strategy can't be made.
    """
    clock, stop, readiness = StillClock(), StopSwitch(), _Readiness()
    counts = FailureCounts() if failures is None else failures
    parts = Collaborators(
        strategy=strategy,
        source=ListedCandles(candles, stop=stop, begin_after_ms=begin_after_ms),
        ledger=ledger,
        market=market,
        venue=paper_venue(config, market, bot_id=bot_id),
        fence=Fence(Deadlines(), claimed_at=clock.monotonic()),
        progress=Progress(clock),
        stop=stop,
        clock=clock,
        on_live=lambda: None,
        budget=budget or NEVER_SPENT,
        failures=counts,
        may_enter=(lambda candle: not ledger.asked_to_stop_at(candle.open_at)) if ledger.denied else None,
        on_bar=readiness,
    )
    instance = StrategyInstance(bot_id=bot_id, config=RunningConfig(config), parts=parts)
    failed = "as recorded" if gives_up else None
    with _little_garbage():
        try:
            instance.run()
        except StrategyFailing as error:
            failed = str(error)
    if failed is not None:
        with suppress(GaveUp):
            instance.give_up(failed)
    return Ran(ready=readiness.ever, failures=counts.failures, gave_up=failed is not None)


def holding(config: BotConfig) -> BotConfig:
    """The config of a bot that isn't stopped where its candles end: an open position stays open."""
    trading = config.document.trading.model_copy(update={"on_stop": "hold"})
    return replace(config, document=config.document.model_copy(update={"trading": trading}))


@contextmanager
def _little_garbage() -> Iterator[None]:
    """Let the collection at each block's end look at the block's own objects, not at all modules again."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
