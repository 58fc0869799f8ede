"""How a bot connects: short time-outs, so that no lock is held and no answer awaited past T_stop."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from fleet.errors import DatabaseAway
from fleet.trading_service.adapt import FOREIGN

CONNECT_TIMEOUT_S = 4
STATEMENT_TIMEOUT_MS = 5_000
LOCK_TIMEOUT_MS = 3_000
IDLE_IN_TRANSACTION_MS = 10_000
"""A stopped (SIGSTOP, paused VM) bot must not keep its run's row locked: the server ends its session."""


def url_problem(url: str) -> str | None:
    """What is wrong with a libpq URL or connection text, without a word of it; None when libpq can read it."""
    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return (
            "can't be read: write postgresql://user:password@host:port/database, "
            "with %40 for @, %3A for :, %2F for / and %25 for % in the password"
        )
    return None


def connect(url: str, *, application: str, synchronous_commit: bool = True) -> psycopg.Connection[Any]:
    """A connection in autocommit mode whose every wait is bounded.

    Args:
        url: libpq URL.
        application: shown in pg_stat_activity, e.g. `bot-7-e3 ledger`.
        synchronous_commit: False for heartbeats alone: losing the last ones in a database crash costs nothing,
            while an order or a trade must be on disk before anybody hears of it.

    Raises:
        DatabaseAway: no connection within CONNECT_TIMEOUT_S per address.
    """
    options = (
        f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout={LOCK_TIMEOUT_MS}"
        f" -c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_MS}"
        f" -c synchronous_commit={'on' if synchronous_commit else 'off'} -c timezone=UTC -c datestyle=ISO"
    )
    try:
        return psycopg.connect(
            url,
            autocommit=True,
            application_name=application,
            connect_timeout=CONNECT_TIMEOUT_S,
            options=options,
            keepalives=1,
            keepalives_idle=5,
            keepalives_interval=2,
            keepalives_count=3,
            tcp_user_timeout=STATEMENT_TIMEOUT_MS,
            context=FOREIGN,
        )
    except psycopg.OperationalError as error:
        raise DatabaseAway(f"cannot connect to the database: {error}") from error
