"""The execution port: what a bot says to the place where its orders execute.

Two venues stand behind it. The paper venue (`execution.paper`) answers within the bar, from the candle alone. An
exchange (`execution.live`) answers between bars: nothing leaves before the intent is committed, and what comes back is
a stream of reports that may be late, repeated, out of order or missing. Both answer in `trading.reports`, which the
book (`trading.book`) applies in the same way (docs/decisions/0020-one-engine-two-venues.md).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Protocol

from botrunner.trading.orders import Order


class Venue(Protocol):
    """Where a bot's orders execute. Each order is submitted once; what became of it comes as reports."""

    def submit(self, order: Order) -> None:
        """Take an order in state INTENT. An exchange sends it after the commit, and only with the right to trade."""

    def amend(self, order: Order, *, price: Decimal | None, quantity: Decimal) -> None:
        """Give an open order another price, or another quantity (base currency, what was executed included)."""

    def cancel(self, order: Order) -> None:
        """Take back what is left of an open order."""
