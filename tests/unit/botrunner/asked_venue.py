"""A venue that executes nothing by itself: what becomes of its orders is for the test's reports to say."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

from botrunner.execution.port import Moment, Phase, ReportSink
from botrunner.market.candle import Candle
from botrunner.market.rules import Market
from botrunner.trading.account import AccountView
from botrunner.trading.costs import Costs, costs_of
from botrunner.trading.orders import Order
from fleet.config import BotConfig


class AskedVenue:
    """A venue that does nothing by itself and remembers what it was asked for."""

    entered_within = False

    def __init__(self, made: BotConfig, market: Market) -> None:
        self.costs: Costs = costs_of(made, market)
        self.asked: list[tuple[Any, ...]] = []

    def begin(
        self, account: AccountView, report: ReportSink, *, candle: Candle, opens_at: datetime, closes_at: datetime
    ) -> None:
        self._now = (candle.close, closes_at)

    def submit(self, order: Order) -> None:
        self.asked.append(("submit", order.leg, order.attempt, order.quantity, order.price))

    def amend(self, order: Order, *, price: Decimal | None, quantity: Decimal) -> None:
        self.asked.append(("amend", order.leg, quantity, price))

    def cancel(self, order: Order) -> None:
        self.asked.append(("cancel", order.leg))

    def walk(self) -> Iterator[Moment]:
        yield Moment(Phase.OPEN, *self._now)
        yield Moment(Phase.CLOSE, *self._now)

    def at_close(self) -> None:
        """Nothing executes at a close."""
