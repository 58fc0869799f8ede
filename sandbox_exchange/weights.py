"""Request weight by client address: 6000 a minute, then 429, then 418, as at Binance.

Minutes are those of the clock it is given (`clock.PacedSeconds`: simulated ones, when time runs faster than real).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

WINDOW_S = 60
DEFAULT_LIMIT = 6000
# Binance bans "repeatedly violating" addresses for 2 minutes to 3 days without giving the count.
_REFUSALS_BEFORE_BAN = 10
_FIRST_BAN_S = 120
_LONGEST_BAN_S = 3 * 24 * 3600
_MINUTES_KEPT = 120


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to answer: `status` 200, 429 or 418, the weight used in this minute, and how long to stay away, by the
    limiter's clock."""

    status: int
    used: int
    retry_after_s: float = 0


@dataclass(slots=True)
class _Client:
    window: int = 0
    used: int = 0
    refusals: int = 0
    bans: int = 0
    banned_until_s: float = field(default=-math.inf)
    minutes: deque[int] = field(default_factory=lambda: deque(maxlen=_MINUTES_KEPT))

    def turn(self, window: int) -> None:
        """Begin this window, if it isn't the current one."""
        if self.window != window:
            if self.used:
                self.minutes.append(self.used)
            self.window, self.used, self.refusals = window, 0, 0


class WeightLimiter:
    """Counts weight per address and calendar minute of a clock.

    Args:
        limit: weight a minute; 0 counts without refusing.
        now_s: the clock, seconds from any origin.
    """

    def __init__(self, *, limit: int, now_s: Callable[[], float]) -> None:
        self.limit = limit
        self._now_s = now_s
        self._clients: dict[str, _Client] = {}

    def charge(self, address: str, weight: int) -> Verdict:
        """Account a request and judge it. A refused request costs no weight but counts towards a ban."""
        now_s = self._now_s()
        client = self._clients.setdefault(address, _Client())
        window = int(now_s // WINDOW_S)
        client.turn(window)
        if now_s < client.banned_until_s:
            return Verdict(418, client.used, math.ceil(client.banned_until_s - now_s))
        if not self.limit or client.used + weight <= self.limit:
            client.used += weight
            return Verdict(200, client.used)
        client.refusals += 1
        if client.refusals <= _REFUSALS_BEFORE_BAN:
            return Verdict(429, client.used, math.ceil((window + 1) * WINDOW_S - now_s))
        ban_s = min(_LONGEST_BAN_S, _FIRST_BAN_S * 2**client.bans)
        client.bans += 1
        client.banned_until_s = now_s + ban_s
        return Verdict(418, client.used, ban_s)

    def minutes(self) -> dict[str, list[int]]:
        """Weight by address in each of the newest minutes in which there was any, the running one last."""
        window = int(self._now_s() // WINDOW_S)
        for client in self._clients.values():
            client.turn(window)
        return {address: [*client.minutes, client.used] for address, client in self._clients.items()}
