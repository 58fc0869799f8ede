"""How often a strategy may fail: an error budget as a value that goes into the checkpoint. Pure.

See `strategy_guard` for what spends it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fleet.errors import PermanentError

STATE_KEY = "_errors"
"""In the strategy's state; absent while nothing failed."""


class StrategyFailing(PermanentError):
    """The strategy failed too often: the run ends, in case a fresh process helps."""


class GaveUp(PermanentError):
    """The bot has given up for good, and `trading.on_failure` has been obeyed; the message says what became of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetLimits:
    """How many failures are too many.

    Attributes:
        in_a_row: a strategy that failed at ten bars running won't decide at the eleventh.
        in_window: of the last `window_bars` bars: one that fails at every third can't be trusted with the others.
    """

    in_a_row: int = 10
    in_window: int = 30
    window_bars: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorBudget:
    """Failures so far, as a value.

    Attributes:
        version: of the config they belong to.
        in_a_row: up to the last decision. at: open times of the bars that failed, ms, oldest first.
    """

    version: int
    in_a_row: int = 0
    at: tuple[int, ...] = ()

    def failed(self, bar_ms: int, *, interval_ms: int, limits: BudgetLimits) -> ErrorBudget:
        """Another bar at which something failed; however much does at one bar, it counts once."""
        if self.at and self.at[-1] == bar_ms:
            return self
        kept = self._recent(bar_ms, interval_ms, limits)
        return replace(self, in_a_row=self.in_a_row + 1, at=(*kept, bar_ms))

    def decided(self, bar_ms: int, *, interval_ms: int, limits: BudgetLimits) -> ErrorBudget:
        """The strategy decided."""
        return replace(self, in_a_row=0, at=self._recent(bar_ms, interval_ms, limits)) if self.at else self

    def spent(self, limits: BudgetLimits) -> bool:
        """Whether the run has to end."""
        return self.in_a_row >= limits.in_a_row or len(self.at) >= limits.in_window

    def spent_for_good(self, limits: BudgetLimits) -> bool:
        """Whether a fresh process has failed as well, so that another start is vain."""
        return self.in_a_row > limits.in_a_row or len(self.at) > limits.in_window

    def dump(self) -> dict[str, Any]:
        """As JSON, for the checkpoint."""
        return {"version": self.version, "in_a_row": self.in_a_row, "at": [*self.at]}

    def _recent(self, bar_ms: int, interval_ms: int, limits: BudgetLimits) -> tuple[int, ...]:
        begin_ms = bar_ms - (limits.window_bars - 1) * interval_ms
        return tuple(at for at in self.at if at >= begin_ms)


def load_budget(state: Mapping[str, Any], *, version: int) -> ErrorBudget:
    """What a checkpoint's strategy state says; a fresh one when it belongs to another config, or is none."""
    fresh = ErrorBudget(version=version)
    saved = state.get(STATE_KEY)
    if not isinstance(saved, dict) or saved.get("version") != version:
        return fresh
    in_a_row, at = saved.get("in_a_row"), saved.get("at")
    if not isinstance(in_a_row, int) or not isinstance(at, list) or not all(isinstance(ms, int) for ms in at):
        return fresh
    return ErrorBudget(version=version, in_a_row=in_a_row, at=tuple(at))


def failing(budget: ErrorBudget, limits: BudgetLimits, *, last: str | None = None) -> StrategyFailing:
    """The error that ends a run; says what to do."""
    message = (
        f"the strategy failed at {budget.in_a_row} bars in a row and at {len(budget.at)} of the last "
        f"{limits.window_bars}: see `botfleet bots errors`, mend the strategy or its parameters, then switch the bot "
        "off and on"
    )
    return StrategyFailing(f"{message}; last: {last}" if last else message)


def without_budget(state: Mapping[str, Any]) -> dict[str, Any]:
    """A strategy's own state."""
    return {key: value for key, value in state.items() if key != STATE_KEY}
