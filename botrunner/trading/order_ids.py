"""Names of orders: the same decision always gets the same client order id.

What escapes every other guard (two processes that both believe they may trade) then meets a duplicate id at the
exchange instead of a second order. Pure.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from uuid import UUID, uuid5

from fleet.times import to_ms

NAMESPACE = UUID("6f1d3a52-4a0e-5c7e-9a55-0b07f1ee7000")
"""Of all client order ids of Botfleet; changing it would break duplicates' detection across versions."""


class Leg(StrEnum):
    """Which order of a signal bar: at most one of each per attempt."""

    ENTRY = "entry"
    EXIT = "exit"
    STOP_LOSS = "stop_loss"
    TAKE_PROFIT = "take_profit"
    FLATTEN = "flatten"
    LIQUIDATION = "liquidation"
    """The exchange's own: a short position whose loss eats up the account."""


def client_order_id(*, bot_id: int, signal_at: datetime, leg: Leg, attempt: int = 0) -> str:
    """32 lowercase hex characters, which every exchange of interest accepts (Binance ≤ 36, OKX ≤ 32, Kraken a UUID).

    Args:
        bot_id: the bot.
        signal_at: open time of the closed candle that caused the decision, aware UTC, exact to the millisecond.
        leg: which order of that bar.
        attempt: 0 for the first; counted up only after proof that the one before can't fill any more.
    """
    return uuid5(NAMESPACE, f"{bot_id}:{to_ms(signal_at)}:{leg}:{attempt}").hex
