"""Trying again, in one place: after a backoff, stoppable, alive to the watchdog.

Only what may succeed later is repeated (`TransientError`); everything else passes through at once. A server that says
when it wants to be asked again is taken at its word.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeVar

from botrunner.process.backoff import Backoff
from botrunner.process.progress import Progress
from fleet.errors import TransientError
from fleet.log import get_logger

T = TypeVar("T")

log = get_logger("retry")

SLICE_S = 5.0
"""A long wait is cut into such pieces: a main loop that reports nothing for longer would be taken for hung."""

Pause = Callable[[float], bool]
"""Wait so many seconds; True: give up, somebody asked to stop."""


class Retrier:
    """Calls until there is an answer.

    Args:
        on: what is worth another attempt.
        backoff: between attempts.
        pause: waits; says when to give up.
        alive: called before each attempt and each piece of a wait.
        failed: called with the error, how many failures there were in a row, and the coming wait, seconds.
        draw: a number in [0, 1), for the backoff's jitter.
    """

    def __init__(
        self,
        *,
        on: type[TransientError],
        backoff: Backoff,
        pause: Pause,
        alive: Callable[[], None],
        failed: Callable[[TransientError, int, float], None],
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._on = on
        self._backoff = backoff
        self._pause = pause
        self._alive = alive
        self._failed = failed
        self._draw = draw

    def call(self, question: Callable[[], T]) -> T:
        """The answer.

        Raises:
            TransientError: the last one, when `pause` said to give up. Whatever else the question raises.
        """
        failures = 0
        while True:
            self._alive()
            try:
                return question()
            except self._on as error:
                failures += 1
                wait_s = max(self._backoff.wait_s(failures, draw=self._draw()), error.retry_after_s)
                self._failed(error, failures, wait_s)
                if self._told_to_give_up_within(wait_s):
                    raise

    def _told_to_give_up_within(self, seconds: float) -> bool:
        left = seconds
        while left > 0:
            self._alive()
            if self._pause(min(left, SLICE_S)):
                return True
            left -= SLICE_S
        return False


def exchange_away(progress: Progress, exchange: str) -> Callable[[TransientError, int, float], None]:
    """For Retrier's `failed`: the log and the bot's row say that it waits for the exchange, and until when."""

    def failed(error: TransientError, failures: int, wait_s: float) -> None:
        log.warning("exchange_away", error=str(error), failures=failures, retry_in_s=round(wait_s, 1))
        progress.waits(f"waits for the exchange {exchange}, asks again within {max(wait_s, 1):.0f} s: {error}")

    return failed
