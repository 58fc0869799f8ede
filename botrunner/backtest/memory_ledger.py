"""The tables that a bot would write, in memory: the same rows without a database."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from botrunner.backtest.stored_rows import as_stored
from botrunner.ledger.bar_rows import BarRows
from botrunner.ledger.checkpoint import checkpoint_after, checkpoint_of, restored
from botrunner.market.rules import Market
from botrunner.trading.risk import Denial
from botrunner.trading.state import BarOutcome, BotState
from botrunner.trading.trades import Trade
from fleet.bar_record import Checkpoint
from fleet.config import BotConfig

Rows = dict[str, dict[str, Any]]
"""Rows of one table by key."""


@dataclass(slots=True)
class Tables:
    """What a bot wrote, as its tables would hold it: orders by client_order_id, fills by exchange_trade_id, trades and
    positions by the order that opened them."""

    orders: Rows = field(default_factory=dict)
    fills: Rows = field(default_factory=dict)
    positions: Rows = field(default_factory=dict)
    trades: Rows = field(default_factory=dict)


class MemoryLedger:
    """A ledger without a database: the rows of the bot's ledger, kept in memory as the tables would hold them.

    Args:
        bot_id: names orders and accounts.
        config: for the names in rows. market: for the currency in rows.
        exchange: of fills, e.g. `paper-binance`.
        checkpoint: where to go on; None for a new bot.
        denied: decisions' times at which no position may be opened, for a reason outside the bot; none in a backtest,
            where the bot is its owner's only one.
        tables: to write on in; new ones without it.
        on_bar: called with each committed bar.
    """

    def __init__(
        self,
        *,
        bot_id: int,
        config: BotConfig,
        market: Market,
        exchange: str,
        checkpoint: Checkpoint | None = None,
        denied: Mapping[datetime, Denial] | None = None,
        tables: Tables | None = None,
        on_bar: Callable[[BarOutcome], None] = lambda _: None,
    ) -> None:
        self._rows = BarRows(bot_id=bot_id, config=config, exchange=exchange, quote_currency=market.quote)
        self.checkpoint = checkpoint
        self.tables = tables or Tables()
        self.denied = denied or {}
        self._interval = timedelta(seconds=config.interval_s)
        self._on_bar = on_bar

    def resume(self) -> tuple[BotState, dict[str, Any]] | None:
        """State and strategy state of the checkpoint, as the database's would be taken."""
        if self.checkpoint is None:
            return None
        found = restored(self.checkpoint, self._rows.config, bot_id=self._rows.bot_id)
        return found.state, found.strategy_state

    def begin(self, state: BotState, strategy_state: dict[str, Any]) -> tuple[BotState, dict[str, Any]]:
        """Keep where the bot begins."""
        self.checkpoint = checkpoint_of(state, strategy_state, self._rows.config)
        return state, strategy_state

    def asked_to_stop_at(self, bar_at: datetime) -> bool:
        """Whether the bot had been asked to stop when it decided at this bar."""
        return self.denied.get(bar_at + self._interval) is Denial.STOPPING

    def reserve(
        self,
        value: Decimal,  # noqa: ARG002 - as much as is asked for
        at: datetime,
        closed: Sequence[Trade],  # noqa: ARG002 - what the owner has lost is in `denied`
    ) -> Denial | None:
        """Whether an entry decided at that time is forbidden from outside."""
        return self.denied.get(at)

    def commit(self, outcome: BarOutcome) -> None:
        """Keep a bar's rows, later ones in place of earlier ones as the tables' upserts do."""
        assert self.checkpoint is not None
        assert self.checkpoint.last_bar_at == outcome.follows
        self.checkpoint, rows, tables = checkpoint_after(outcome, self._rows.config), self._rows, self.tables
        for order in outcome.orders:
            tables.orders[order.client_order_id] = as_stored(rows.order(order))
        for fill in outcome.fills:
            tables.fills.setdefault(fill.exchange_trade_id, as_stored(rows.fill(fill)))
        for trade in outcome.trades:
            position = rows.position(trade)
            tables.trades[trade.entry_order_id] = as_stored(position.pop("trade"))
            tables.positions[trade.entry_order_id] = as_stored(position)
        self._on_bar(outcome)
