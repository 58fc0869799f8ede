"""Why a position was closed, as programs read it; an order's reason is for people."""

from __future__ import annotations

from enum import StrEnum


class ExitKind(StrEnum):
    """What closed a position; set where the exit is decided, carried by the order and the trade.

    The stop-loss guard counts `STOP` alone, and people are told by it: nothing reads a reason's text.
    """

    SIGNAL = "signal"
    """A rule of the strategy that is none of the others; what a signal is that doesn't say."""
    STOP = "stop"
    """A price that limits a loss or keeps a gain was reached: the risk management's stop or trailing stop, or an exit
    rule's own."""
    TARGET = "target"
    """A price or a ratio at which the gain is taken."""
    TIME = "time"
    """The position was held for as long as it was to be."""
    FLATTEN = "flatten"
    """The bot closed it because the bot itself ends."""
    LIQUIDATION = "liquidation"
    """The exchange closed a short position that had eaten up its margin."""
    DUST = "dust"
    """Nothing was left that could be sold."""
