"""Makes the guards of a run's strategies, all from the same checkpointed state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from botrunner.engine.budget import STATE_KEY, BudgetLimits, ErrorBudget, load_budget
from botrunner.engine.failures import FailureCounts
from botrunner.engine.strategy_guard import AbsentStrategy, GuardedStrategy, own_state
from fleet.events import Event


class Guards:
    """The newest committed state of a run's strategy, and guards that go on from it.

    Args:
        bot_id: names events. version: of the config, whose failures count together. limits: how many are too many.
        interval_ms: of the bars. bar_ms: open time of the bar that is worked on.
        report: given what people should be told; it is committed with the bar.
        failures: where they are counted for whoever runs this.

    Attributes:
        state: as the checkpoint has it, the count of failures included.
    """

    def __init__(
        self,
        *,
        bot_id: int,
        version: int,
        limits: BudgetLimits,
        interval_ms: int,
        bar_ms: Callable[[], int],
        report: Callable[[Event], None],
        failures: FailureCounts,
    ) -> None:
        self.state: Mapping[str, Any] = {}
        self._bot_id = bot_id
        self._version = version
        self._limits = limits
        self._interval_ms = interval_ms
        self._bar_ms = bar_ms
        self._report = report
        self._failures = failures

    @property
    def budget(self) -> ErrorBudget:
        """How often the strategy has failed."""
        return load_budget(self.state, version=self._version)

    def around(self, strategy: Any) -> GuardedStrategy:
        """The guard of a strategy that was made."""
        return GuardedStrategy(
            strategy,
            bot_id=self._bot_id,
            state=self.state,
            budget=self.budget,
            limits=self._limits,
            interval_ms=self._interval_ms,
            bar_ms=self._bar_ms,
            report=self._report,
            failures=self._failures,
        )

    def absent(self) -> GuardedStrategy:
        """In place of a strategy that can't be asked: it decides nothing, and its own state stays as it is."""
        return self.around(AbsentStrategy(own_state(self.state)))

    def forget(self) -> None:
        """Drop the strategy's own state: it begins anew. The count of failures stays."""
        self.state = {key: kept for key, kept in self.state.items() if key == STATE_KEY}
