"""Makes bars durable: writes the rows of a bar in one transaction, repeated until it is certain.

Guarantees: `commit` returns only when the bar is in the database; it raises FencedError when the run is no longer
current, and never gives up for any other reason (while it waits nothing is traded, since the next bar is not looked
at). What a person may be told is written in the same transaction as the event (the outbox). What the rows say is
decided in `rows`, `checkpoint`, `notifications` and `inputs`, which are pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

import psycopg

from botrunner.ledger.bar_rows import BarRows
from botrunner.ledger.checkpoint import checkpoint_after, checkpoint_of, restored
from botrunner.ledger.inputs import InputRecorder
from botrunner.ledger.notifications import milestones_of, notification, notifications_of
from botrunner.process.backoff import DATABASE
from botrunner.process.forked_copies import end_if_copy
from botrunner.process.retry import Retrier
from botrunner.trading.risk import Denial
from botrunner.trading.state import BarOutcome, BotState
from botrunner.trading.trades import Trade
from fleet.bar_record import BarRecord, Checkpoint
from fleet.clock import Clock
from fleet.config import RunningConfig
from fleet.errors import DatabaseAway, FencedError, TransientError
from fleet.events import Event
from fleet.foreign import clean_text
from fleet.log import get_logger
from fleet.trading_service.db import connect
from fleet.trading_service.lease import RunId
from fleet.trading_service.ledger import commit_bar, first_checkpoint, load_checkpoint, write_notifications
from fleet.trading_service.tenants import ClosedInBar, EntryRequest, reserve_entry

log = get_logger("ledger")

T = TypeVar("T")

ABANDON_S = 1.0
"""How long the server may take to note that a statement is cancelled."""

PENDING_MAX = 100
"""Events kept while the database is away; older ones are dropped, since their logs are not."""


class Ledger:
    """The bot's connection for what must not be lost. One thread, one connection, made anew when it breaks.

    Args:
        url: of the database.
        run: the claimed run.
        config: for the names in rows, and for what a person wants to be told as things are now.
        exchange: of fills, e.g. `paper-binance`.
        owner: users.id of the bot's owner.
        clock: for waiting between attempts.
        waiting: called before every wait, so that the watchdog sees life.
        inputs: records what the run takes from outside; None: nothing is recorded.
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
        inputs: InputRecorder | None = None,
    ) -> None:
        self._url = url
        self._run = run
        self._running = config
        self._rows = BarRows(bot_id=run.bot_id, config=config.now, exchange=exchange)
        self._owner = owner
        self._clock = clock
        self._inputs = inputs
        self._begins = False
        self._abandoned = False
        self._connection: psycopg.Connection[Any] | None = None
        self._stored: Checkpoint | None = None
        self._opening: Decimal | None = None
        self._pending: deque[Event] = deque(maxlen=PENDING_MAX)
        self._retrier = Retrier(
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

    def set_quote_currency(self, quote_currency: str) -> None:
        """Say in which currency the market counts money, before the first bar: the market is asked only after there
        is a ledger to tell a person that it doesn't answer."""
        self._rows = replace(self._rows, quote_currency=quote_currency)

    def resume(self) -> tuple[BotState, dict[str, Any]] | None:
        """State and strategy state of the last checkpoint; None for a bot that never traded.

        A state without last_bar_at needs `begin` before its first bar.

        Raises:
            CheckpointDamaged: it can't be read, or belongs to another market while a position is open.
        """
        self._stored = self._until_answered(lambda connection: load_checkpoint(connection, self._run.bot_id))
        return None if self._stored is None else self._restore(self._stored)

    def begin(self, state: BotState, strategy_state: dict[str, Any]) -> tuple[BotState, dict[str, Any]]:
        """Store where a bot begins; if another process of it did meanwhile, go on from there.

        Raises:
            FencedError: the run isn't current.
        """
        self._begins = True
        first = checkpoint_of(state, strategy_state, self._rows.config)
        if self._stored is None:
            return self._restore(
                self._until_answered(lambda connection: first_checkpoint(connection, self._run, first))
            )
        # a flat bot that moved to another market goes on from where that market is now
        self._opening = state.account.cash
        move = BarRecord(expected_last_bar_at=self._stored.last_bar_at, checkpoint=first)
        self._until_answered(lambda connection: commit_bar(connection, self._run, move))
        return state, strategy_state

    def commit(self, outcome: BarOutcome) -> None:
        """Make a bar durable; blocks while the database is away.

        Raises:
            FencedError: the run is no longer current; nothing was written.
            CheckpointConflict: another process moved the checkpoint; nothing was written.
        """
        record = self.record(outcome)
        self._until_answered(lambda connection: commit_bar(connection, self._run, record))
        if record.opening is not None:
            self._opening = None
        if self._inputs is not None:
            self._inputs.committed(outcome)
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
            trade_type=self._rows.config.trading_mode,
            currency=self._rows.quote_currency,
            value=value,
            at=at,
            closed=tuple(
                ClosedInBar(entry_order_id=trade.entry_order_id, exit_at=trade.exit_at, net_pnl=trade.net_pnl)
                for trade in closed
                if trade.exit_at is not None
            ),
        )
        reached = self._until_answered(lambda connection: reserve_entry(connection, self._run, request))
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
        rows = [notification(event, self._running.now) for event in self._pending]
        try:
            write_notifications(self._connected(), self._run, rows)
        except DatabaseAway as error:
            log.warning("events_unwritten", events=len(rows), error=str(error))
            self.close()
        else:
            self._pending.clear()

    def record(self, outcome: BarOutcome) -> BarRecord:
        """The rows of a bar."""
        rows, now, first = self._rows, self._running.now, outcome.candle
        return BarRecord(
            expected_last_bar_at=outcome.follows,
            checkpoint=checkpoint_after(outcome, rows.config),
            orders=[rows.order(order) for order in outcome.orders],
            fills=[rows.fill(fill) for fill in outcome.fills],
            positions=[rows.position(trade) for trade in outcome.trades],
            notifications=notifications_of(outcome, now, bot_id=self._run.bot_id, owner=self._owner),
            inputs=None if self._inputs is None else self._inputs.row(outcome, begins=self._is_first(outcome)),
            bar=rows.bar(outcome),
            opening=None if first is None or self._opening is None else rows.opening(self._opening, first),
            trade_milestones=milestones_of(outcome, now, bot_id=self._run.bot_id),
        )

    def _is_first(self, outcome: BarOutcome) -> bool:
        """Whether the bot had no bar in this market before; a process may have died between begin and the first."""
        return self._begins or outcome.bars == 1

    def _restore(self, stored: Checkpoint) -> tuple[BotState, dict[str, Any]]:
        found = restored(stored, self._rows.config, bot_id=self._run.bot_id)
        if found.dropped is not None:
            log.warning("strategy_state_reset", bot_id=self._run.bot_id, had=clean_text(found.dropped, 300))
        self._opening = found.opening
        return found.state, found.strategy_state

    # --- certainty -------------------------------------------------------------------------------------------------

    def _until_answered(self, action: Callable[[psycopg.Connection[Any]], T]) -> T:
        return self._retrier.call(lambda: action(self._connected()))

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
