"""States of bots, runs and orders, and which transitions are legal.

Pure: no I/O, no clock. The strings are the values in the database; renaming one needs a migration.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class BotStatus(StrEnum):
    """Actual state of a bot (`trading_bots.status`); the desired one is `enabled` and `config`."""

    STOPPED = "stopped"
    """No run, and none is wanted."""
    STARTING = "starting"
    """A run exists but isn't trading yet, or the next one waits for its backoff."""
    RUNNING = "running"
    """The run is live: it warmed up and decides on every closed candle."""
    STOPPING = "stopping"
    """The run was asked to end and hasn't yet."""
    ERROR = "error"
    """The config is invalid; `error_message` says where. A run of the last valid config may go on."""
    DISABLED = "disabled"
    """Given up after too many failed restarts; changing the row (config or enabled) tries again."""


class ExitReason(StrEnum):
    """Why a run ended (`trading_runs.exit_reason`)."""

    STOPPED = "stopped"
    """Asked to stop: disabled or archived."""
    SUPERSEDED = "superseded"
    """Asked to stop because a newer config version takes over."""
    RELEASED = "released"
    """Ended cleanly without being asked by the controller: kubectl delete, drain, SIGTERM."""
    FAILED = "failed"
    """The process ended with an error or was killed."""
    CONFIG_ERROR = "config_error"
    """The bot refused its config; another start would end the same way."""
    GAVE_UP = "gave_up"
    """The bot's own verdict: another start would fail as well. `trading.on_failure` has been obeyed."""
    FENCED_SILENT = "fenced_silent"
    """No heartbeat for T_dead; its right to trade was taken away."""
    FENCED_HUNG = "fenced_hung"
    """Heartbeats without progress of the main loop; stopped, then fenced."""
    NOT_CLAIMED = "not_claimed"
    """The pod never claimed its run before the deadline, or could not be created or started."""
    GAVE_UP_DATABASE = "gave_up_database"
    """The process ended itself after T_exit without the database."""


COUNTED_FAILURES = frozenset({ExitReason.FAILED, ExitReason.FENCED_SILENT, ExitReason.FENCED_HUNG})
"""Ends that count as the bot's own failure: for the backoff and for giving up."""


ENDED_BY_SIGNAL = (
    "ended by SIGTERM that the controller did not send: somebody deleted the pod (kubectl delete, a drain) or stopped "
    "the process; it starts again by itself"
)
"""A bot's own words about a `released` run; whoever knows better (its pod's status) replaces them."""


class OrderState(StrEnum):
    """State of an order (`trading_orders.state`)."""

    INTENT = "intent"
    """Committed here, not sent."""
    SENT = "sent"
    """Handed to the broker, not acknowledged."""
    ACKED = "acked"
    """Accepted by the broker, nothing filled."""
    PARTIAL = "partial"
    """Some of the quantity is filled."""
    FILLED = "filled"
    CANCELED = "canceled"
    REJECTED = "rejected"
    EXPIRED = "expired"
    UNKNOWN = "unknown"
    """The broker's answer got lost: only looking it up may move it on."""


_S = OrderState
ORDER_TRANSITIONS: Mapping[OrderState, frozenset[OrderState]] = MappingProxyType(
    {
        _S.INTENT: frozenset({_S.SENT, _S.EXPIRED, _S.REJECTED}),
        _S.SENT: frozenset({_S.ACKED, _S.PARTIAL, _S.FILLED, _S.CANCELED, _S.REJECTED, _S.EXPIRED, _S.UNKNOWN}),
        _S.ACKED: frozenset({_S.PARTIAL, _S.FILLED, _S.CANCELED, _S.EXPIRED, _S.UNKNOWN}),
        _S.PARTIAL: frozenset({_S.PARTIAL, _S.FILLED, _S.CANCELED, _S.EXPIRED, _S.UNKNOWN}),
        _S.UNKNOWN: frozenset({_S.ACKED, _S.PARTIAL, _S.FILLED, _S.CANCELED, _S.REJECTED, _S.EXPIRED, _S.UNKNOWN}),
        _S.FILLED: frozenset(),
        _S.CANCELED: frozenset(),
        _S.REJECTED: frozenset(),
        _S.EXPIRED: frozenset(),
    }
)
"""Legal moves; what isn't listed is illegal. UNKNOWN leads anywhere but back to before the send."""

TERMINAL_ORDER_STATES = frozenset(state for state, following in ORDER_TRANSITIONS.items() if not following)


class TradeStatus(StrEnum):
    """State of a round trip in `trading_trades` and of a position in `trading_positions`."""

    OPEN = "open"
    CLOSED = "closed"
