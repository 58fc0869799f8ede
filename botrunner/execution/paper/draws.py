"""Chance in paper trading: a pure function of what is being decided, not of what was drawn before.

A draw is a hash of (seed, signal bar, leg, attempt, what, bar), so a restarted bot, a backtest and a bot that was never
interrupted draw the same, in any order. The bot's id is no part of it: the same config draws the same anywhere. Pure.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from hashlib import blake2b

from botrunner.trading.orders import Order
from fleet.times import to_ms

_BYTES = 8
_RANGE = 1 << (8 * _BYTES)


class What(StrEnum):
    """What is left to chance."""

    LATENCY = "latency"
    REJECT = "reject"
    PARTIAL = "partial"
    """Whether only a part is filled at a bar."""
    PART = "part"
    """How large that part is."""


def draw(seed: int, order: Order, what: What, *, bar_at: datetime | None = None) -> int:
    """A whole number, uniform over 0 … 2**64 - 1.

    Args:
        seed: of the config.
        order: its signal bar, leg and attempt count.
        what: is being decided.
        bar_at: open time of the bar at which, for what is drawn again at each bar.
    """
    bar = "" if bar_at is None else to_ms(bar_at)
    key = f"{seed}:{to_ms(order.signal_at)}:{order.leg}:{order.attempt}:{what}:{bar}"
    return int.from_bytes(blake2b(key.encode(), digest_size=_BYTES).digest(), "big")


def happens(drawn: int, probability: Decimal) -> bool:
    """Whether a draw means yes: never at probability 0, always at 1."""
    return drawn < int(probability * _RANGE)


def between(drawn: int, low: int, high: int) -> int:
    """A draw as a whole number from low to high, both included."""
    return low + drawn * (high - low + 1) // _RANGE


def part_of(drawn: int, whole: int) -> int:
    """A draw as a share of a whole number: 1 … whole."""
    return 1 + drawn * whole // _RANGE
