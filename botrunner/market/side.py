"""Buy or sell. Pure."""

from __future__ import annotations

from enum import StrEnum


class Side(StrEnum):
    """Direction of an order."""

    BUY = "buy"
    SELL = "sell"

    @property
    def sign(self) -> int:
        """+1 for buy, -1 for sell."""
        return 1 if self is Side.BUY else -1

    @property
    def other(self) -> Side:
        """The opposite one."""
        return Side.SELL if self is Side.BUY else Side.BUY
