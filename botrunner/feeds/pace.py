"""When to ask the exchange for candles again. Pure: the monotonic time is an argument.

A stream's word that a candle has closed makes the next question immediate; the exchange's REST servers may know it a
moment later, so some quick ones follow, and then the normal pace. A candle that is overdue is asked for ever more
slowly: a market that doesn't trade must not be polled five times a second for hours.
"""

from __future__ import annotations

import random

from botrunner.process.backoff import EXCHANGE, Backoff

QUICK_S = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Waits after a stream's word while REST doesn't serve the candle yet; 1.5 s altogether."""

PATIENT_POLLS = 10
"""Questions for an overdue candle at the source's own pace before they slow down."""

SLOWEST_S = 10.0


class PollPace:
    """The next question's time.

    Args:
        failures: how to wait after unanswered questions.
    """

    def __init__(self, failures: Backoff = EXCHANGE) -> None:
        self._backoff = failures
        self._next_at = 0.0
        self._quick = len(QUICK_S)
        self._empty = 0
        self.failures = 0

    def due(self, now: float) -> bool:
        """Whether to ask now."""
        return now >= self._next_at

    def left_s(self, now: float) -> float:
        """Seconds until it is due."""
        return max(self._next_at - now, 0.0)

    def hinted(self, now: float, *, after_s: float = 0.0) -> None:
        """A stream says that a candle closed. After unanswered questions the backoff counts, not the stream.

        Args:
            after_s: until it is this bot's turn to ask.
        """
        if not self.failures:
            self._next_at = min(self._next_at, now + after_s)
            self._quick = 0

    def found(self, now: float, *, wait_s: float) -> None:
        """Candles came; the next one is due in so many seconds."""
        self.failures = self._empty = 0
        self._quick = len(QUICK_S)
        self._next_at = now + wait_s

    def nothing(self, now: float, *, wait_s: float, overdue: bool, least_s: float = 0.0) -> None:
        """The answer held no new candle.

        Args:
            wait_s: what the source proposes. overdue: whether one should have been there.
            least_s: between two quick questions: what many bots together can afford.
        """
        self.failures = 0
        self._empty = self._empty + 1 if overdue else 0
        if self._quick < len(QUICK_S):
            wait_s = min(wait_s, max(QUICK_S[self._quick], least_s))
            self._quick += 1
        elif self._empty > PATIENT_POLLS:
            wait_s = max(wait_s, min(wait_s * 1.5 ** (self._empty - PATIENT_POLLS), SLOWEST_S))
        self._next_at = now + wait_s

    def failed(self, now: float, *, paused_s: float = 0.0) -> float:
        """No answer. Returns the wait until the next question, seconds; an open circuit is asked in vain, for free.

        Args:
            paused_s: until the exchange may be asked again, if it wasn't asked for that reason: not to miss the moment.
        """
        self.failures += 1
        wait_s = self._backoff.wait_s(self.failures, draw=random.random())
        if paused_s:
            wait_s = min(wait_s, paused_s)
        self._next_at = now + wait_s
        return wait_s
