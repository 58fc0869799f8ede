"""The execution port: what a bot says to the place where its orders execute, and what that place lets happen in a bar.

Two venues stand behind it. The paper venue (`execution.paper`) answers within the bar, from the candle alone. An
exchange (`execution.live`) answers between bars: nothing leaves before the intent is committed, and what comes back is
a stream of reports that may be late, repeated, out of order or missing. Both answer in `trading.reports`, which the
book (`trading.book`) applies in the same way (docs/decisions/0020-one-engine-two-venues.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import NamedTuple, Protocol, TypeAlias

from botrunner.market.candle import Candle
from botrunner.trading.account import AccountView
from botrunner.trading.costs import Costs
from botrunner.trading.orders import Order
from botrunner.trading.reports import Report

ReportSink: TypeAlias = Callable[[Report], None]
"""Takes a report of the step that is being worked on; it is in the account when this returns."""


class Phase(Enum):
    """Where in a bar the policy has its say."""

    OPEN = "open"
    """Before anything executes at the open: what was refused is sent again, changed limits move the stop."""
    EXECUTED = "executed"
    """Something may have been executed: the protective orders follow."""
    TRIGGERED = "triggered"
    """The stop was reached, and executes next."""
    CLOSE = "close"
    """Nothing more executes before the decision; what wasn't executed in time has expired."""


class Moment(NamedTuple):
    """A phase that has been reached. `price`: quote per base, of now. `at`: now."""

    phase: Phase
    price: Decimal
    at: datetime


class Venue(Protocol):
    """Where a bot's orders execute. Each order is submitted once; what became of it comes as reports.

    It keeps nothing of an account between two steps but what it has yet to send.
    """

    @property
    def costs(self) -> Costs:
        """What executions cost here; entries are sized by it."""

    @property
    def entered_within(self) -> bool:
        """Whether the position was entered within this bar, so that the bar's extremes may have come before."""

    def begin(
        self, account: AccountView, report: ReportSink, *, candle: Candle, opens_at: datetime, closes_at: datetime
    ) -> None:
        """A step begins, at the close of a bar.

        Args:
            account: of the step. report: takes reports in it.
            candle: the bar's, or of the last one for what happens between bars. opens_at, closes_at: of the candle.
        """

    def submit(self, order: Order) -> None:
        """Take an order in state INTENT. An exchange sends it after the commit, and only with the right to trade."""

    def amend(self, order: Order, *, price: Decimal | None, quantity: Decimal) -> None:
        """Give an open order another price, or another quantity (base currency, what was executed included)."""

    def cancel(self, order: Order) -> None:
        """Take back what is left of an open order. Asked for again in each step until it is confirmed."""

    def walk(self) -> Iterator[Moment]:
        """Work through the bar that has begun; between two moments orders execute, if they do so within a bar here."""

    def at_close(self) -> None:
        """After the decision: execute what executes at this very close."""
