"""Makes bars durable: from a BarOutcome to the rows of one transaction, repeated until it is certain.

Guarantees: `commit` returns only when the bar is in the database; it raises FencedError when the run is no longer
current, and never gives up for any other reason (while it waits nothing is traded, since the next bar is not looked
at). What a person may be told is written in the same transaction as the event (the outbox).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

import psycopg

from botrunner.accounting import Trade
from botrunner.brokers.paper import Account, dump, load
from botrunner.copies import end_if_copy
from botrunner.events import events_of, trade_milestones
from botrunner.feeds.candles import Candle
from botrunner.orders.machine import Fill, Order
from botrunner.retry import DATABASE, Patience
from botrunner.risk import Denial
from botrunner.trading_bot import BarOutcome, BotState
from botrunner.witness import Witness
from fleet.clock import Clock
from fleet.config import BotConfig, LogicSpec, RunningConfig
from fleet.config.values import INTERVAL_SECONDS
from fleet.errors import ConfigUnusable, DatabaseAway, FencedError, TransientError
from fleet.events import Event, wanted
from fleet.foreign import Unreadable, clean_text
from fleet.log import get_logger
from fleet.states import TradeStatus
from fleet.times import utc_day
from fleet.trading_service.adapt import object_read
from fleet.trading_service.db import connect
from fleet.trading_service.lease import RunId
from fleet.trading_service.ledger import (
    BarRecord,
    Checkpoint,
    commit_bar,
    first_checkpoint,
    load_checkpoint,
    write_notifications,
)
from fleet.trading_service.tenants import ClosedInBar, EntryRequest, reserve_entry

log = get_logger("ledger")

T = TypeVar("T")

ABANDON_S = 1.0
"""How long the server may take to note that a statement is cancelled."""

PENDING_MAX = 100
"""Events kept while the database is away; older ones are dropped, since their logs are not."""


class CheckpointDamaged(ConfigUnusable):
    """The stored checkpoint can't be gone on from; the message says why and what to do."""


def _whole(document: object) -> Mapping[str, Any]:
    """A part of a checkpoint, which must be an object: going on without it would forget a position."""
    found = object_read(document)
    if isinstance(found, Unreadable):
        raise ValueError(found.reason)
    return found


def _length(interval: str) -> timedelta:
    return timedelta(seconds=INTERVAL_SECONDS[interval])


class Ledger:
    """The bot's connection for what must not be lost. One thread, one connection, made anew when it breaks.

    Args:
        url: of the database.
        run: the claimed run.
        config: for the names in trades, and for what a person wants to be told as things are now.
        exchange: of fills, e.g. `paper-binance`.
        owner: users.id of the bot's owner.
        clock: for waiting between attempts.
        waiting: called before every wait, so that the watchdog sees life.
        witness: of what the run takes from outside; None: nothing is noted.
    """

    def __init__(
        self,
        *,
        url: str,
        run: RunId,
        config: RunningConfig,
        exchange: str,
        owner: int,
        clock: Clock,
        waiting: Callable[[], None],
        witness: Witness | None = None,
    ) -> None:
        self._url = url
        self._run = run
        self._running = config
        self._config = config.now
        self._exchange = exchange
        self._owner = owner
        self._quote_currency = ""
        self._clock = clock
        self._witness = witness
        self._begins = False
        self._abandoned = False
        self._connection: psycopg.Connection[Any] | None = None
        self._stored: Checkpoint | None = None
        self._opening: Decimal | None = None
        self._pending: deque[Event] = deque(maxlen=PENDING_MAX)
        self._patience = Patience(
            on=DatabaseAway, backoff=DATABASE, pause=self._pause, alive=waiting, failed=self._interrupted
        )

    def close(self) -> None:
        """Close the connection."""
        end_if_copy()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def abandon(self) -> None:
        """Write nothing any more, and end what is under way, which may hold the run's row; from any thread."""
        self._abandoned = True
        connection = self._connection
        if connection is not None:
            with suppress(psycopg.Error):
                connection.cancel_safe(timeout=ABANDON_S)

    def denominate(self, quote_currency: str) -> None:
        """Say in which currency the market counts money, before the first bar: the market is asked only after there
        is a ledger to tell a person that it doesn't answer."""
        self._quote_currency = quote_currency

    def resume(self) -> tuple[BotState, dict[str, Any]] | None:
        """State and strategy state of the last checkpoint; None for a bot that never traded.

        A state without last_bar_at needs `begin` before its first bar.

        Raises:
            CheckpointDamaged: it can't be read, or belongs to another market while a position is open.
        """
        self._stored = self._insist(lambda connection: load_checkpoint(connection, self._run.bot_id))
        return None if self._stored is None else self._restore(self._stored)

    def begin(self, state: BotState, strategy_state: dict[str, Any]) -> tuple[BotState, dict[str, Any]]:
        """Store where a bot begins; if another process of it did meanwhile, go on from there.

        Raises:
            FencedError: the run isn't current.
        """
        self._begins = True
        first = self._checkpoint(
            account=state.account,
            last_bar_at=state.last_bar_at,
            bars=state.bars,
            close=state.last_close,
            volume=state.last_volume,
            strategy_state=strategy_state,
        )
        if self._stored is None:
            return self._restore(self._insist(lambda connection: first_checkpoint(connection, self._run, first)))
        # a flat bot that moved to another market goes on from where that market is now
        self._opening = state.account.cash
        move = BarRecord(expected_last_bar_at=self._stored.last_bar_at, checkpoint=first)
        self._insist(lambda connection: commit_bar(connection, self._run, move))
        return state, strategy_state

    def commit(self, outcome: BarOutcome) -> None:
        """Make a bar durable; blocks while the database is away.

        Raises:
            FencedError: the run is no longer current; nothing was written.
            CheckpointConflict: another process moved the checkpoint; nothing was written.
        """
        record = self.record(outcome)
        self._insist(lambda connection: commit_bar(connection, self._run, record))
        if record.opening is not None:
            self._opening = None
        if self._witness is not None:
            self._witness.committed(outcome)
        if self._pending:
            self.note([])

    def reserve(self, value: Decimal, at: datetime, closed: Sequence[Trade]) -> Denial | None:
        """Take room in the owner's limits for an entry; blocks while the database is away.

        Args:
            value: of the position, quote currency.
            at: the decision's time, by the exchange's clock.
            closed: trades that the decision's bar has closed; they are committed with the bar only.

        Returns:
            The limit that forbids it, or None.

        Raises:
            FencedError: the run is no longer current.
        """
        request = EntryRequest(
            trade_type=self._config.trading_mode,
            currency=self._quote_currency,
            value=value,
            at=at,
            closed=tuple(
                ClosedInBar(entry_order_id=trade.entry_order_id, exit_at=trade.exit_at, net_pnl=trade.net_pnl)
                for trade in closed
                if trade.exit_at is not None
            ),
        )
        reached = self._insist(lambda connection: reserve_entry(connection, self._run, request))
        return None if reached is None else Denial(f"tenant_{reached}")

    def consult(self, question: Callable[[psycopg.Connection[Any]], T]) -> T:
        """Ask something of the database that is no part of a bar. One attempt.

        Raises:
            DatabaseAway: no answer.
        """
        try:
            return question(self._connected())
        except DatabaseAway:
            self.close()
            raise

    def note(self, events: Iterable[Event]) -> None:
        """Put what happened between bars into the outbox. One attempt: without an answer the events are kept and
        written with the next ones, or after the next bar.

        Raises:
            FencedError: the run is no longer current.
        """
        self._pending.extend(events)
        rows = [self._notification_row(event) for event in self._pending]
        try:
            write_notifications(self._connected(), self._run, rows)
        except DatabaseAway as error:
            log.warning("events_unwritten", events=len(rows), error=str(error))
            self.close()
        else:
            self._pending.clear()

    def record(self, outcome: BarOutcome) -> BarRecord:
        """The rows of a bar."""
        return BarRecord(
            expected_last_bar_at=outcome.follows,
            checkpoint=self._checkpoint(
                account=outcome.account,
                last_bar_at=outcome.bar_at,
                bars=outcome.bars,
                close=outcome.close,
                volume=outcome.volume,
                strategy_state=outcome.strategy_state,
            ),
            orders=[self._order_row(order) for order in outcome.orders],
            fills=[self._fill_row(fill) for fill in outcome.fills],
            positions=[self._position_row(trade) for trade in outcome.trades],
            notifications=self._notifications(outcome),
            inputs=None if self._witness is None else self._witness.inputs(outcome, begins=self._is_first(outcome)),
            bar=None if outcome.candle is None else self._bar_row(outcome, outcome.candle),
            opening=None if outcome.candle is None else self._opening_row(outcome.candle),
            trade_milestones=self._milestones(outcome),
        )

    # --- rows ------------------------------------------------------------------------------------------------------

    def _checkpoint(
        self,
        *,
        account: Account,
        last_bar_at: datetime | None,
        bars: int,
        close: Decimal | None,
        volume: Decimal,
        strategy_state: dict[str, Any],
    ) -> Checkpoint:
        return Checkpoint(
            symbol=self._config.symbol,
            interval=self._config.interval,
            last_bar_at=last_bar_at,
            bars=bars,
            balance=account.cash if close is None else account.equity(close),
            total_pnl=account.total_pnl,
            broker_state={
                "account": dump(account),
                "last_close": None if close is None else str(close),
                "last_volume": str(volume),
            },
            strategy_state={"identity": identity(self._config), "state": strategy_state},
        )

    def _restore(self, stored: Checkpoint) -> tuple[BotState, dict[str, Any]]:
        try:
            broker, strategy = _whole(stored.broker_state), _whole(stored.strategy_state)
            account = load(
                broker["account"],
                last_close_at=None if stored.last_bar_at is None else stored.last_bar_at + _length(stored.interval),
                interval=_length(stored.interval),
            )
            close = None if broker["last_close"] is None else Decimal(broker["last_close"])
            volume = Decimal(broker.get("last_volume", 0))  # of a checkpoint that didn't keep it yet: the worst
            kept = dict(_whole(strategy["state"]))
            same_strategy = strategy["identity"] == identity(self._config)
        except (KeyError, ValueError, TypeError, ArithmeticError) as error:
            raise CheckpointDamaged(
                f"trading_checkpoints of bot {self._run.bot_id} can't be read ({type(error).__name__}: {error}): "
                "restore it from a backup"
            ) from error
        last_bar_at = stored.last_bar_at
        if (stored.symbol, stored.interval) != (self._config.symbol, self._config.interval):
            if account.is_busy:
                raise CheckpointDamaged(
                    f"bot {self._run.bot_id} still holds a position or an open order in {stored.symbol} "
                    f"({stored.interval}): set symbol and data.interval back and let it close the position "
                    "before changing them"
                )
            # dust is counted in the market's base currency
            last_bar_at, close, volume, account = None, None, Decimal(0), replace(account, dust=Decimal(0))
        self._opening = account.cash if close is None else None
        state = BotState(
            account=account,
            last_bar_at=last_bar_at,
            last_close=close,
            last_volume=volume,
            bars=stored.bars,
        )
        if not same_strategy:
            log.warning("strategy_state_reset", bot_id=self._run.bot_id, had=clean_text(strategy["identity"], 300))
        return state, kept if same_strategy else {}

    def _is_first(self, outcome: BarOutcome) -> bool:
        """Whether the bot had no bar in this market before; a process may have died between begin and the first."""
        return self._begins or outcome.bars == 1

    def _order_row(self, order: Order) -> dict[str, Any]:
        return {
            "client_order_id": order.client_order_id,
            "symbol": self._config.symbol,
            "signal_at": order.signal_at,
            "leg": order.leg,
            "attempt": order.attempt,
            "side": order.side,
            "type": order.type,
            "price": order.price,
            "quantity": order.quantity,
            "state": order.state,
            "exchange_order_id": order.exchange_order_id,
            "filled_quantity": order.filled_quantity,
            "average_price": order.average_price,
            "reason": order.reason if order.rejection is None else f"{order.reason}; rejected: {order.rejection}",
        }

    def _fill_row(self, fill: Fill) -> dict[str, Any]:
        row = asdict(fill)
        del row["side"]
        # a paper account is the bot's own: its trade ids are unique within it
        return {**row, "exchange": self._exchange, "account": f"bot-{self._run.bot_id}"}

    def _position_row(self, trade: Trade) -> dict[str, Any]:
        closed = not trade.is_open
        return {
            "symbol": self._config.symbol,
            "direction": trade.direction,
            "opened_at": trade.entry_at,
            "closed_at": trade.exit_at if closed else None,
            "qty_open": trade.size_open,
            "avg_price": trade.entry_price,
            "realized_pnl": trade.net_pnl if closed else trade.gross_pnl,
            "status": TradeStatus.CLOSED if closed else TradeStatus.OPEN,
            "trade": self._trade_row(trade),
        }

    def _trade_row(self, trade: Trade) -> dict[str, Any]:
        closed = not trade.is_open
        entry, leave = self._config.entry, self._config.exit
        return {
            "trade_type": self._config.trading_mode,
            "strategy_name": self._config.strategy_type,
            "symbol": self._config.symbol,
            "interval": self._config.interval,
            "direction": trade.direction,
            "entry_order_id": trade.entry_order_id,
            "exit_order_id": trade.exit_order_id,
            "signal_at": trade.signal_at,
            "entry_time": trade.entry_at,
            "exit_time": trade.exit_at if closed else None,
            "entry_price": trade.entry_price,
            "exit_price": trade.exit_price,
            "entry_value": trade.entry_value,
            "exit_value": trade.exit_value if closed else None,
            "size": trade.size,
            "commission": trade.commission,
            "gross_pnl": trade.gross_pnl if closed else None,
            "net_pnl": trade.net_pnl if closed else None,
            "pnl_percentage": trade.pnl_percentage if closed else None,
            "entry_logic_name": entry.name,
            "entry_logic_params": logic_params(entry),
            "exit_logic_name": leave.name,
            "exit_logic_params": logic_params(leave),
            "exit_reason": trade.exit_reason if closed else None,
            "status": TradeStatus.CLOSED if closed else TradeStatus.OPEN,
            "quote_currency": self._quote_currency,
            "extra_metadata": _extras(trade),
        }

    def _bar_row(self, outcome: BarOutcome, candle: Candle) -> dict[str, Any]:
        trade = outcome.account.trade
        return {
            "bar_at": candle.open_at,
            "symbol": self._config.symbol,
            "interval": self._config.interval,
            "open": candle.open,
            "high": candle.high,
            "low": candle.low,
            "close": candle.close,
            "volume": candle.volume,
            "equity": outcome.balance,
            "position": Decimal(0) if trade is None else trade.side.sign * trade.size_open,
        }

    def _opening_row(self, candle: Candle) -> dict[str, Any] | None:
        """What a market was begun with: no bar shows it, as the first one may trade already."""
        if self._opening is None:
            return None
        closes_at = candle.open_at + timedelta(seconds=self._config.interval_s)
        return {
            "symbol": self._config.symbol,
            "interval": self._config.interval,
            "day": utc_day(closes_at),
            "equity": self._opening,
            "at": candle.open_at,
        }

    def _notifications(self, outcome: BarOutcome) -> list[dict[str, Any]]:
        follows = events_of(
            bot_id=self._run.bot_id,
            symbol=self._config.symbol,
            trades=outcome.trades,
            breaches=outcome.breaches,
            denial=outcome.denial,
            owner=self._owner,
            counters=outcome.account.counters,
            fills=outcome.fills,
            total_pnl=outcome.account.total_pnl,
            initial_balance=self._config.initial_cash,
        )
        return [self._notification_row(event) for event in (*follows, *outcome.events)]

    def _milestones(self, outcome: BarOutcome) -> dict[int, dict[str, Any]]:
        if all(trade.is_open for trade in outcome.trades):
            return {}
        return {count: self._notification_row(event) for count, event in trade_milestones(self._run.bot_id).items()}

    def _notification_row(self, event: Event) -> dict[str, Any]:
        return {
            "kind": event.kind,
            "severity": event.urgency,
            "title": event.title,
            "body": event.body,
            "facts": dict(event.facts),
            "dedupe_key": event.dedupe_key,
            "state": "pending" if wanted(event.kind, self._running.now.notifications) else "suppressed",
        }

    # --- certainty -------------------------------------------------------------------------------------------------

    def _insist(self, action: Callable[[psycopg.Connection[Any]], T]) -> T:
        return self._patience.ask(lambda: action(self._connected()))

    def _connected(self) -> psycopg.Connection[Any]:
        if self._abandoned:
            raise FencedError(f"bot {self._run.bot_id} is being released")
        end_if_copy()
        if self._connection is None or self._connection.closed:
            name = f"bot-{self._run.bot_id}-e{self._run.epoch} ledger"
            self._connection = connect(self._url, application=name)
        return self._connection

    def _pause(self, seconds: float) -> bool:
        self._clock.sleep(seconds)
        return False

    def _interrupted(self, error: TransientError, failures: int, wait_s: float) -> None:
        log.warning("database_away", failures=failures, error=str(error), retry_in_s=round(wait_s, 1))
        self.close()


def _extras(trade: Trade) -> dict[str, str] | None:
    """What of a trade has no column of its own: fees taken in the base currency, and dust that was written off."""
    extras: dict[str, str] = {}
    if trade.base_fee:
        extras |= {"base_fee": f"{trade.base_fee:f}", "base_fee_value": f"{trade.base_fee_value:f}"}
    if trade.dust:
        price = trade.exit_price or trade.entry_price
        extras |= {"dust": f"{trade.dust:f}", "dust_value": f"{trade.dust * price:f}"}
    return extras or None


def identity(config: BotConfig) -> list[str]:
    """What a strategy's state belongs to: another strategy or mixin can't go on from it."""
    return [config.strategy_type, config.entry.name, config.exit.name]


def logic_params(spec: LogicSpec) -> dict[str, Any]:
    """A mixin's parameters as JSON, defaults included."""
    params = spec.params
    return params.model_dump(mode="json") if hasattr(params, "model_dump") else dict(params)
