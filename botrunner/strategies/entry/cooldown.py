"""A pause after an exit, by the one rule of `botrunner.trading.pauses`."""

from __future__ import annotations

from abc import abstractmethod
from datetime import timedelta
from typing import Any

from botrunner.strategies.base import Signal
from botrunner.strategies.mixins import EntryMixin, P
from botrunner.strategies.times import bar_seconds, closes_at
from botrunner.trading.pauses import pausing


class PausingEntryMixin(EntryMixin[P]):
    """An entry that stays out until more than `cooldown_bars` bars' time has passed since an exit, whatever closed it.

    It has no state of its own: when the last exit was is the bot's to remember.
    """

    def __init__(self, strategy: Any, params: P, *, cooldown_bars: int) -> None:
        super().__init__(strategy, params)
        self._strategy = strategy
        self._cooldown_bars = cooldown_bars
        self._interval = timedelta(seconds=bar_seconds(self.data))

    @abstractmethod
    def signal_after_pause(self) -> Signal | None:
        """Whether to enter at the close of this bar, the pause being over."""

    def signal(self) -> Signal | None:
        """Judge this bar, unless it falls into the pause."""
        since, now = self._strategy.last_exit_at, closes_at(self.data)
        if pausing(since, now=now, bars=self._cooldown_bars, interval=self._interval):
            return None
        return self.signal_after_pause()
