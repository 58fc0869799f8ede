"""Whose turn it is: bots that share an exchange and an address don't ask all at once. Pure.

After a candle closes, every bot of its interval wants it. Each waits for a part of a window that is its own for ever:
bot ids times the golden ratio fall evenly into it, however many bots there are and whichever of them run. The window
grows with the number of bots, so that the requests per second don't: ASKING_PER_S bots times POLL_WEIGHT is 60 a
second, 3,600 a minute, of Binance's 6,000; no more than FEW bots need no window, and a bot alone loses no time.

Times are the exchange's, so that a simulated one that runs at 60 times the speed sees the same picture.
"""

from __future__ import annotations

from dataclasses import dataclass

FEW = 5
"""So many bots may ask at the same instant: 15 of 6,000."""

POLL_WEIGHT = 3
"""Of one look for candles: Binance's `time` 1 and `klines` 2."""

ASKING_PER_S = 20.0
"""Bots per second after a close."""

WINDOW_SHARE = 0.1
WINDOW_MOST_MS = 20_000
"""A window never takes more of an interval, nor longer: a decision should be on fresh news."""

INTERVAL_LEAST_MS = 60_000
"""Shorter candles have no window: a tenth of them is no time to spread anything over."""

BUDGET_PER_S = 50.0
"""Weight that all bots together may spend on candles that are overdue: half of 6,000 a minute."""

RETURN_PER_S = 10.0
RETURN_MOST_S = 30.0
"""After a pause bots come back at this rate, within this time: each has candles to catch up with."""


@dataclass(frozen=True, slots=True)
class Turn:
    """When one bot asks.

    Attributes:
        after_ms: after a candle's close, of the exchange's time.
        least_ms: between two questions for a candle that is overdue, of the exchange's time.
    """

    after_ms: int = 0
    least_ms: int = 0


ALONE = Turn()


def place(bot_id: int) -> float:
    """A bot's part of every window, in [0, 1)."""
    # Fibonacci hashing: 2^64 divided by the golden ratio
    return (bot_id * 11_400_714_819_323_198_485 % 2**64) / 2**64


def turn_of(bot_id: int, *, sharing: int, interval_ms: int) -> Turn:
    """The bot's turn.

    Args:
        sharing: bots that ask the same exchange from the same address, this one included.
    """
    if sharing <= FEW:
        return ALONE
    least_ms = int(1000 * sharing * POLL_WEIGHT / BUDGET_PER_S)
    if interval_ms < INTERVAL_LEAST_MS:
        return Turn(0, min(least_ms, interval_ms))
    window_ms = min(1000 * sharing / ASKING_PER_S, WINDOW_SHARE * interval_ms, WINDOW_MOST_MS)
    return Turn(int(place(bot_id) * window_ms), min(least_ms, interval_ms))


def return_s(bot_id: int, *, sharing: int) -> float:
    """How long after a pause's end the bot asks again, seconds."""
    return 0.0 if sharing <= 1 else place(bot_id) * min(sharing / RETURN_PER_S, RETURN_MOST_S)
