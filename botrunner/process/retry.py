"""Trying again, in one place: exponential backoff with jitter (tenacity), bounded, stoppable, alive to the watchdog.

Only what may succeed later is repeated (`TransientError`); everything else passes through at once. Waits grow from
`first_s` to `most_s`, each drawn between half of `first_s` and the grown value, so that bots which lost the same
server don't come back in step. A server that says when it wants to be asked again is taken at its word.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_never, wait_random_exponential

from botrunner.process.progress import Progress
from fleet.errors import TransientError
from fleet.log import get_logger

T = TypeVar("T")

log = get_logger("retry")

SLICE_S = 5.0
"""A long wait is cut into such pieces: a main loop that reports nothing for longer would be taken for hung."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How long to wait after how many failures.

    Attributes:
        first_s: upper bound after the first failure. most_s: upper bound of all.
    """

    first_s: float
    most_s: float

    def wait_s(self, failures: int) -> float:
        """Seconds after so many failures in a row, at least one."""
        state = RetryCallState(Retrying(), None, (), {})
        state.attempt_number = max(failures, 1)
        strategy = wait_random_exponential(multiplier=self.first_s, max=self.most_s, min=self.first_s / 2)
        return float(strategy(state))


EXCHANGE = Backoff(first_s=0.5, most_s=30.0)
"""A third of a second costs nothing; more than half a minute would miss candles of a minute."""

DATABASE = Backoff(first_s=0.1, most_s=2.0)
"""A failover takes seconds, and a bar waits for its commit."""

Pause = Callable[[float], bool]
"""Wait so many seconds; True: give up, somebody asked to stop."""


class _GivenUp(Exception):
    """Raised out of tenacity's sleep: no further attempt is wanted."""


class Patience:
    """Asks until it gets an answer.

    Args:
        on: what is worth another attempt.
        backoff: between attempts.
        pause: waits; says when to give up.
        alive: called before each attempt and each piece of a wait.
        failed: called with the error, how many failures there were in a row, and the coming wait, seconds.
    """

    def __init__(
        self,
        *,
        on: type[TransientError],
        backoff: Backoff,
        pause: Pause,
        alive: Callable[[], None],
        failed: Callable[[TransientError, int, float], None],
    ) -> None:
        self._on = on
        self._backoff = backoff
        self._pause = pause
        self._alive = alive
        self._failed = failed

    def ask(self, question: Callable[[], T]) -> T:
        """The answer.

        Raises:
            TransientError: the last one, when `pause` said to give up. Whatever else the question raises.
        """
        last: TransientError | None = None

        def note(state: RetryCallState) -> None:
            nonlocal last
            last = _error_of(state)
            self._failed(last, state.attempt_number, state.next_action.sleep if state.next_action else 0.0)

        retrying = Retrying(
            retry=retry_if_exception_type(self._on),
            stop=stop_never,
            wait=lambda state: max(self._backoff.wait_s(state.attempt_number), _error_of(state).retry_after_s),
            sleep=self._sleep,
            before=lambda _: self._alive(),
            before_sleep=note,
            reraise=True,
        )
        try:
            return retrying(question)
        except _GivenUp:
            assert last is not None
            raise last from None

    def _sleep(self, seconds: float) -> None:
        left = seconds
        while left > 0:
            self._alive()
            if self._pause(min(left, SLICE_S)):
                raise _GivenUp
            left -= SLICE_S


def exchange_away(progress: Progress, exchange: str) -> Callable[[TransientError, int, float], None]:
    """For Patience's `failed`: the log and the bot's row say that it waits for the exchange, and until when."""

    def failed(error: TransientError, failures: int, wait_s: float) -> None:
        log.warning("exchange_away", error=str(error), failures=failures, retry_in_s=round(wait_s, 1))
        progress.waits(f"waits for the exchange {exchange}, asks again within {max(wait_s, 1):.0f} s: {error}")

    return failed


def _error_of(state: RetryCallState) -> TransientError:
    error: Any = state.outcome.exception() if state.outcome else None
    assert isinstance(error, TransientError)
    return error
