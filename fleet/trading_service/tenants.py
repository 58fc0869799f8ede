"""Limits of a tenant: what all bots of one user together may hold and lose. Per kind of money, never across.

Guarantee: two bots that want to enter at the same moment can't both take the last room. An entry reserves its value in
a transaction that all entries of the tenant wait for in line; the reservation counts until the entry is a position, or
is refused, or its process died (RESERVED_FOR).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

import psycopg
from psycopg.rows import class_row, dict_row

from fleet.trading_day import day_bounds, utc_day
from fleet.trading_service.db import database_errors
from fleet.trading_service.lease import RunId
from fleet.trading_service.ledger import require_current

RESERVED_FOR = timedelta(seconds=60)
"""How long a reservation counts without an order: far longer than from a decision to its commit."""

_LOCK = 723_800
"""Namespace of the advisory locks; arbitrary, but the same in every version."""


class TenantLimit(StrEnum):
    """A limit of `tenant_limits`, by its column."""

    MAX_OPEN_POSITIONS = "max_open_positions"
    MAX_EXPOSURE = "max_exposure"
    MAX_DAILY_LOSS = "max_daily_loss"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedInBar:
    """A trade that was closed at the bar that asks. `net_pnl`: in the request's currency."""

    entry_order_id: str
    exit_at: datetime
    net_pnl: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryRequest:
    """An entry that a bot wants to make.

    Attributes:
        trade_type: `paper` or `live`. currency: of `value`, the market's quote currency.
        value: of the position, quote currency.
        at: the decision's time by the exchange's clock; its UTC day is the day of the loss limit.
        closed: what the bot has closed at this bar, which becomes rows with the bar only. A trade that is a row
            already, as after a commit whose answer got lost, counts once.
    """

    trade_type: str
    currency: str
    value: Decimal
    at: datetime
    closed: tuple[ClosedInBar, ...] = ()


@dataclass(frozen=True, slots=True)
class _Limits:
    max_exposure: Decimal | None
    max_open_positions: int | None
    max_daily_loss: Decimal | None


@dataclass(frozen=True, slots=True)
class TenantUse:
    """What the tenant's other bots hold, and what all of them lost on one UTC day; quote currency."""

    exposure: Decimal
    positions: int
    pnl: Decimal


_OWNER = "SELECT user_id FROM trading_bots WHERE id = %(bot_id)s"

_LIMITS = """
    SELECT max_exposure, max_open_positions, max_daily_loss FROM tenant_limits
    WHERE user_id = %(user_id)s AND trade_type = %(trade_type)s AND currency = %(currency)s
"""

# a position and the reservation it came from are one thing: the larger of the two counts
_USE = """
    WITH held AS (
        SELECT p.bot_id, sum(p.qty_open * p.avg_price) AS amount
        FROM trading_positions p
        JOIN trading_bots b ON b.id = p.bot_id
        JOIN trading_trades t ON t.position_id = p.id
        WHERE p.status = 'open' AND b.user_id = %(user_id)s AND p.bot_id <> %(bot_id)s
          AND t.trade_type = %(trade_type)s AND t.quote_currency = %(currency)s
        GROUP BY p.bot_id
    ), reserved AS (
        SELECT r.bot_id, r.amount
        FROM tenant_reservations r JOIN trading_bots b ON b.id = r.bot_id
        WHERE b.user_id = %(user_id)s AND r.bot_id <> %(bot_id)s
          AND r.trade_type = %(trade_type)s AND r.currency = %(currency)s
          AND (r.reserved_at > clock_timestamp() - %(reserved_for)s OR EXISTS (
              SELECT FROM trading_orders o WHERE o.bot_id = r.bot_id AND o.leg = 'entry'
              AND o.state NOT IN ('filled', 'canceled', 'rejected', 'expired')))
    ), lost AS (
        SELECT sum(t.net_pnl) AS pnl
        FROM trading_trades t JOIN trading_bots b ON b.id = t.bot_id
        WHERE b.user_id = %(user_id)s AND t.status = 'closed' AND t.trade_type = %(trade_type)s
          AND t.quote_currency = %(currency)s
          AND t.exit_time >= %(day_begins)s AND t.exit_time < %(day_ends)s
          AND NOT (t.bot_id = %(bot_id)s AND t.entry_order_id = ANY(%(closed)s))
    )
    SELECT COALESCE(sum(GREATEST(held.amount, reserved.amount)), 0) AS exposure, count(bot_id) AS positions,
        COALESCE((SELECT pnl FROM lost), 0) AS pnl
    FROM held FULL JOIN reserved USING (bot_id)
"""

_RESERVE = """
    INSERT INTO tenant_reservations (bot_id, trade_type, currency, amount, reserved_at)
    VALUES (%(bot_id)s, %(trade_type)s, %(currency)s, %(value)s, clock_timestamp())
    ON CONFLICT (bot_id) DO UPDATE SET trade_type = EXCLUDED.trade_type, currency = EXCLUDED.currency,
        amount = EXCLUDED.amount, reserved_at = EXCLUDED.reserved_at
"""


def reserve_entry(connection: psycopg.Connection[Any], run: RunId, request: EntryRequest) -> TenantLimit | None:
    """Take the room that an entry needs within its tenant's limits.

    Returns:
        The limit that forbids it, or None: then the room is reserved. Repeating it is safe.

    Raises:
        FencedError: the run isn't current. DatabaseAway: no answer.
    """
    values = {
        "bot_id": run.bot_id,
        "trade_type": request.trade_type,
        "currency": request.currency,
        "value": request.value,
        "reserved_for": RESERVED_FOR,
        "closed": [trade.entry_order_id for trade in request.closed],
        **_day(request.at),
    }
    with database_errors(), connection.transaction():
        require_current(connection, run)
        [user_id] = connection.execute(_OWNER, values).fetchone() or (None,)
        values["user_id"] = user_id
        # the first reservation counts even when limits are set an instant later: always in line, always reserved
        connection.execute("SELECT pg_advisory_xact_lock(%s, hashint8(%s))", (_LOCK, user_id))
        with connection.cursor(row_factory=class_row(_Limits)) as cursor:
            limits = cursor.execute(_LIMITS, values).fetchone()
        if limits is not None:
            with connection.cursor(row_factory=class_row(TenantUse)) as use_cursor:
                use = use_cursor.execute(_USE, values).fetchone()
            assert use is not None
            use = replace(use, pnl=use.pnl + lost_in_bar(request))
            reached = forbidding(limits, use, value=request.value)
            if reached is not None:
                return reached
        connection.execute(_RESERVE, values)
    return None


def lost_in_bar(request: EntryRequest) -> Decimal:
    """Profit, negative for a loss, of what the bar has closed on the day of its decision."""
    day = utc_day(request.at)
    return sum((trade.net_pnl for trade in request.closed if utc_day(trade.exit_at) == day), Decimal(0))


def forbidding(limits: _Limits, use: TenantUse, *, value: Decimal) -> TenantLimit | None:
    """The first limit that an entry of this value would break. Pure and total: what isn't a number leaves no room."""
    if limits.max_daily_loss is not None and not _is_less(-use.pnl, limits.max_daily_loss):
        return TenantLimit.MAX_DAILY_LOSS
    if limits.max_open_positions is not None and use.positions >= limits.max_open_positions:
        return TenantLimit.MAX_OPEN_POSITIONS
    if limits.max_exposure is not None and not _is_less(use.exposure + value, limits.max_exposure, or_equal=True):
        return TenantLimit.MAX_EXPOSURE
    return None


def _is_less(used: Decimal, limit: Decimal, *, or_equal: bool = False) -> bool:
    """False when either is NaN, which a column can hold and which no comparison of Python takes."""
    if used.is_nan() or limit.is_nan():
        return False
    return used < limit or (or_equal and used == limit)


def _day(moment: datetime) -> dict[str, datetime]:
    """The moment's UTC day, as parameters of _USE."""
    begins, ends = day_bounds(utc_day(moment))
    return {"day_begins": begins, "day_ends": ends}


# --- by hand -------------------------------------------------------------------------------------------------------

_SET = """
    INSERT INTO tenant_limits (user_id, trade_type, currency, max_exposure, max_open_positions, max_daily_loss)
    VALUES (%(user_id)s, %(trade_type)s, %(currency)s, %(max_exposure)s, %(max_open_positions)s, %(max_daily_loss)s)
    ON CONFLICT (user_id, trade_type, currency) DO UPDATE
    SET max_exposure = EXCLUDED.max_exposure, max_open_positions = EXCLUDED.max_open_positions,
        max_daily_loss = EXCLUDED.max_daily_loss, updated_at = now()
"""


def set_limits(
    connection: psycopg.Connection[Any],
    *,
    user_id: int,
    trade_type: str,
    currency: str,
    max_exposure: Decimal | None,
    max_open_positions: int | None,
    max_daily_loss: Decimal | None,
) -> None:
    """Replace the limits of a tenant for one kind of money; None is no limit."""
    connection.execute(
        _SET,
        {
            "user_id": user_id,
            "trade_type": trade_type,
            "currency": currency,
            "max_exposure": max_exposure,
            "max_open_positions": max_open_positions,
            "max_daily_loss": max_daily_loss,
        },
    )


def clear_limits(connection: psycopg.Connection[Any], *, user_id: int, trade_type: str, currency: str) -> bool:
    """Remove a tenant's limits for one kind of money; False when there were none."""
    return (
        connection.execute(
            "DELETE FROM tenant_limits WHERE user_id = %s AND trade_type = %s AND currency = %s",
            (user_id, trade_type, currency),
        ).rowcount
        == 1
    )


def list_limits(connection: psycopg.Connection[Any], *, now: datetime) -> list[dict[str, Any]]:
    """All limits, tenants in order, each with the `exposure`, `positions` and `pnl` (of `now`'s UTC day) in use."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(
            "SELECT l.*, u.name AS user_name FROM tenant_limits l JOIN users u ON u.id = l.user_id"
            " ORDER BY l.user_id, l.trade_type, l.currency"
        ).fetchall()
        shared = {"bot_id": -1, "reserved_for": RESERVED_FOR, "closed": [], **_day(now)}
        for row in rows:
            row |= cursor.execute(_USE, {**row, **shared}).fetchone() or {}
    return rows
