"""How long a bot waits after how many failures: exponential backoff with jitter. Pure: the draw is an argument.

Waits grow from `first_s` to `most_s`, each drawn between half of `first_s` and the grown value, so that bots which
lost the same server don't come back in step.
"""

from __future__ import annotations

from dataclasses import dataclass

from fleet.backoff import between_s, nominal_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How long to wait after how many failures.

    Attributes:
        first_s: upper bound after the first failure. most_s: upper bound of all.
    """

    first_s: float
    most_s: float

    def bound_s(self, failures: int) -> float:
        """Longest wait after so many failures in a row, at least one."""
        return nominal_s(failures, first_s=self.first_s, most_s=self.most_s)

    def wait_s(self, failures: int, *, draw: float) -> float:
        """The wait after so many failures in a row, seconds.

        Args:
            draw: at random in [0, 1).
        """
        return between_s(self.first_s / 2, self.bound_s(failures), draw)


EXCHANGE = Backoff(first_s=0.5, most_s=30.0)
"""A third of a second costs nothing; more than half a minute would miss candles of a minute."""

DATABASE = Backoff(first_s=0.1, most_s=2.0)
"""A failover takes seconds, and a bar waits for its commit."""
