"""A strategy that fails costs its bot a decision, not its life; one that fails too often ends the run.

`GuardedStrategy` stands between the bot and its strategy: an exception out of `decide` means no decision at that bar,
while fills, stops and limits go on, as they are no part of the strategy. The count of failures is part of the
checkpoint, beside the strategy's own state: it follows from the bars alone, so a bot killed anywhere counts what one
never killed counts. Outages (`TransientError`) are nobody's mistake and never count.

Spent, the budget ends the run as failed, and the controller starts it again, in case a fresh process helps: the
next failure ends that run at its first bar. From then on a start fails at once, whatever the candles' interval, so
that the controller's own rule (too many failed restarts) disables the bot within minutes. A new config version,
which switching the bot off and on makes too, begins with a fresh budget.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import JsonValue

from botrunner.budget import STATE_KEY, BudgetLimits, ErrorBudget, failing
from botrunner.copies import end_if_copy
from botrunner.strategies.base import OpenPosition, Signal
from botrunner.trading_bot import DecidesOnBars
from fleet.errors import FencedError, TransientError
from fleet.events import Event, EventKind
from fleet.log import get_logger
from fleet.redaction import safe_text
from fleet.times import from_ms

T = TypeVar("T")

log = get_logger("strategy")

MESSAGE_MAX = 300

ENDS_OF_PROCESSES = (SystemExit, KeyboardInterrupt, GeneratorExit)
"""What no `except Exception` catches. Out of a strategy they are its failures: nobody asked the bot to end, and no
signal raises KeyboardInterrupt here (`botrunner.signals`)."""

HOUR_MS = 3_600_000


class GuardedStrategy:
    """A strategy as the bot uses it.

    Args:
        strategy: the real one, anew at each rebuild of the engine.
        budget: where counting goes on.
        bar_ms: open time of the bar being worked on.
        report: given what people should be told; it is committed with the bar.
    """

    def __init__(
        self,
        strategy: DecidesOnBars,
        *,
        bot_id: int,
        budget: ErrorBudget,
        limits: BudgetLimits,
        interval_ms: int,
        bar_ms: Callable[[], int],
        report: Callable[[Event], None],
    ) -> None:
        self.budget = budget
        self.last_error: str | None = None
        self._strategy = strategy
        self._bot_id = bot_id
        self._limits = limits
        self._interval_ms = interval_ms
        self._bar_ms = bar_ms
        self._report = report

    def __getattr__(self, name: str) -> Any:
        """What a bot may ask beyond the four below is the strategy's own affair."""
        return getattr(self._strategy, name)

    def decide(self, position: OpenPosition | None) -> Signal | None:
        """The strategy's answer; None when it failed."""
        try:
            signal = _answer(self._strategy.decide, position)
        except FencedError:
            raise
        except TransientError as error:
            log.warning("strategy_waits", type=type(error).__name__, error=_message(error))
            return None
        except (Exception, *ENDS_OF_PROCESSES) as error:
            self._failed("decide", error)
            return None
        self.budget = self.budget.decided(self._bar_ms(), interval_ms=self._interval_ms, limits=self._limits)
        return signal

    def on_entered(self, position: OpenPosition) -> None:
        """Tell the strategy; that it fails doesn't undo a fill."""
        try:
            _answer(self._strategy.on_entered, position)
        except (Exception, *ENDS_OF_PROCESSES) as error:
            self._failed("on_entered", error)

    def on_exited(self) -> None:
        """Tell the strategy; that it fails doesn't undo a fill."""
        try:
            _answer(self._strategy.on_exited)
        except (Exception, *ENDS_OF_PROCESSES) as error:
            self._failed("on_exited", error)

    def export_state(self) -> dict[str, JsonValue]:
        """The strategy's state and the count. A failure passes through: without its state no bar can be committed."""
        state = _answer(self._strategy.export_state)
        return {**state, STATE_KEY: self.budget.dump()} if self.budget.at else state

    def check(self) -> None:
        """End the run if the budget is spent; called after the bar was committed.

        Raises:
            StrategyFailing.
        """
        if self.budget.spent(self._limits):
            raise failing(self.budget, self._limits, last=self.last_error)

    def _failed(self, where: str, error: BaseException) -> None:
        bar_ms = self._bar_ms()
        self.budget = self.budget.failed(bar_ms, interval_ms=self._interval_ms, limits=self._limits)
        name = type(error).__name__
        self.last_error = f"{name}: {_message(error)}"
        log.warning(
            "strategy_error",
            type=name,
            where=where,
            error=_message(error),
            in_a_row=self.budget.in_a_row,
            in_window=len(self.budget.at),
            exc_info=self.budget.in_a_row == 1,
        )
        hour_ms = bar_ms // HOUR_MS * HOUR_MS
        self._report(
            Event(
                kind=EventKind.BOT_ERROR,
                title=f"The strategy failed: {name}",
                body=f"No decision at the bar of {from_ms(bar_ms):%Y-%m-%d %H:%M:%S} UTC; stops and limits go on. "
                f"{_message(error)}",
                facts={
                    "type": name,
                    "where": where,
                    "error": _message(error),
                    "in_a_row": str(self.budget.in_a_row),
                },
                # once per kind of failure and hour
                dedupe_key=f"error:{self._bot_id}:{name}:{hour_ms}",
            )
        )


def _answer(ask: Callable[..., T], *arguments: Any) -> T:
    """What the strategy says to the bot; a copy that it forked says nothing."""
    try:
        return ask(*arguments)
    finally:
        end_if_copy()


def _message(error: BaseException) -> str:
    return safe_text(error, MESSAGE_MAX)
