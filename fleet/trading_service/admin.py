"""What people do with bots by hand: list, apply, switch on and off, look at trades and runs.

Synchronous, for the command line and scripts; only desired columns are written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from fleet.errors import NotFound
from fleet.foreign import Unreadable, clean_text, object_of
from fleet.trading_service.adapt import object_read

Row = dict[str, Any]

UNREADABLE = "unreadable"
"""What a list shows of a config that isn't an object or holds what nobody can read."""

_LIST = """
    SELECT b.id, b.name, b.user_id, b.enabled, b.status, r.epoch, b.config_version,
        b.config, b.last_heartbeat, extract(epoch FROM now() - b.last_heartbeat)::float AS heartbeat_age_s,
        b.current_balance, b.total_pnl, b.error_count, b.error_message, r.pod_name, r.node,
        CASE WHEN r.epoch IS NOT NULL AND r.ended_at IS NULL AND current.settings_hash IS NOT NULL
            THEN r.settings_hash IS DISTINCT FROM current.settings_hash END AS outdated,
        (SELECT count(*) FROM trading_trades t WHERE t.bot_id = b.id AND t.status = 'closed') AS trades,
        EXISTS (SELECT FROM trading_positions p WHERE p.bot_id = b.id AND p.status = 'open') AS in_position,
        b.started_at, b.created_at, b.archived_at
    FROM trading_bots b
    LEFT JOIN LATERAL (
        SELECT epoch, pod_name, node, ended_at, settings_hash FROM trading_runs
        WHERE bot_id = b.id ORDER BY epoch DESC LIMIT 1
    ) r ON true
    LEFT JOIN LATERAL (SELECT settings_hash FROM controller_shards ORDER BY shard LIMIT 1) current ON true
    WHERE (b.archived_at IS NULL OR %(archived)s) AND (%(id)s::bigint IS NULL OR b.id = %(id)s)
    ORDER BY b.id
"""

_APPLY = """
    INSERT INTO trading_bots AS b (user_id, name, description, enabled, config)
    VALUES (%(user_id)s, %(name)s, %(description)s, %(enabled)s, %(config)s)
    ON CONFLICT (user_id, name) DO UPDATE
    SET description = EXCLUDED.description, enabled = EXCLUDED.enabled, config = EXCLUDED.config
    WHERE (b.description, b.enabled, b.config) IS DISTINCT FROM
          (EXCLUDED.description, EXCLUDED.enabled, EXCLUDED.config)
    RETURNING id, (xmax = 0) AS created
"""


def list_bots(connection: psycopg.Connection[Any], *, archived: bool = False, bot_id: int | None = None) -> list[Row]:
    """All bots, or one, with what a person wants to see at a glance."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_LIST, {"archived": archived or bot_id is not None, "id": bot_id}).fetchall()
    return [_with_market(row) for row in rows]


def _with_market(row: Row) -> Row:
    """The row with symbol, interval and mode in the place of its config; of one that can't be read, `unreadable`."""
    config = object_read(row["config"])
    if isinstance(config, Unreadable):
        market: Row = dict.fromkeys(("symbol", "interval", "mode"), UNREADABLE)
    else:
        data, broker = object_of(config.get("data")), object_of(config.get("broker"))
        market = {
            "symbol": _text(config.get("symbol")) or _text(data.get("symbol")),
            "interval": _text(data.get("interval")),
            "mode": _text(broker.get("trading_mode")) or "paper",
        }
    return {
        name: value
        for key, own in row.items()
        for name, value in (market.items() if key == "config" else ((key, own),))
    }


def _text(value: object) -> str | None:
    return None if value is None else clean_text(value, 50, lines=False)


def bot_id_of(connection: psycopg.Connection[Any], name_or_id: str) -> int:
    """The id of a bot given by id or by name.

    Raises:
        NotFound: neither exists, or the name isn't unique among tenants.
    """
    rows = connection.execute(
        "SELECT id FROM trading_bots WHERE id::text = %(it)s OR name = %(it)s ORDER BY (id::text = %(it)s) DESC",
        {"it": name_or_id},
    ).fetchall()
    if not rows:
        raise NotFound(f"there is no bot {name_or_id!r}: `botfleet bots list` shows all")
    if len(rows) > 1 and str(rows[0][0]) != name_or_id:
        raise NotFound(f"{len(rows)} tenants have a bot named {name_or_id!r}: give its id")
    found: int = rows[0][0]
    return found


def user_id_of(connection: psycopg.Connection[Any], name_or_id: str) -> int:
    """The id of a user given by id or name.

    Raises:
        NotFound: neither exists.
    """
    row = connection.execute(
        "SELECT id FROM users WHERE id::text = %(it)s OR name = %(it)s ORDER BY (id::text = %(it)s) DESC",
        {"it": name_or_id},
    ).fetchone()
    if row is None:
        raise NotFound(f"there is no user {name_or_id!r}")
    return int(row[0])


def apply_bot(
    connection: psycopg.Connection[Any],
    *,
    name: str,
    config: Mapping[str, Any],
    enabled: bool,
    description: str | None = None,
    user_id: int = 1,
) -> tuple[int, str]:
    """Create the bot or bring its row to this state.

    Returns:
        Its id, and `created`, `changed` or `unchanged`.
    """
    values = {
        "user_id": user_id,
        "name": name,
        "description": description,
        "enabled": enabled,
        "config": Jsonb(config),
    }
    row = connection.execute(_APPLY, values).fetchone()
    if row is not None:
        return row[0], "created" if row[1] else "changed"
    kept = connection.execute(
        "SELECT id FROM trading_bots WHERE user_id = %s AND name = %s", (user_id, name)
    ).fetchone()
    assert kept is not None
    return kept[0], "unchanged"


def set_enabled(connection: psycopg.Connection[Any], bot_id: int, *, enabled: bool) -> bool:
    """Switch a bot on or off; a disabled-by-failure bot is tried again when switched on.

    Returns:
        False when the row said so already.
    """
    # a bot that was given up is enabled still: off and on again makes a new config version
    if enabled:
        connection.execute(
            "UPDATE trading_bots SET enabled = false WHERE id = %s AND enabled AND status = 'disabled'", (bot_id,)
        )
    return (
        connection.execute(
            "UPDATE trading_bots SET enabled = %s WHERE id = %s AND enabled IS DISTINCT FROM %s",
            (enabled, bot_id, enabled),
        ).rowcount
        == 1
    )


def restart_bot(connection: psycopg.Connection[Any], bot_id: int) -> int | None:
    """Ask the bot's current run to end, as a newer config version would; the controller then starts the next one.

    Returns:
        The epoch of that run; None when no process has claimed one, or it was asked to end before.
    """
    row = connection.execute(
        """
        UPDATE trading_runs SET stop_requested_at = clock_timestamp(), stop_reason = 'superseded'
        WHERE bot_id = %s AND ended_at IS NULL AND claimed_by IS NOT NULL AND stop_requested_at IS NULL
        RETURNING epoch
        """,
        (bot_id,),
    ).fetchone()
    return None if row is None else row[0]


def list_trades(connection: psycopg.Connection[Any], bot_id: int | None, *, limit: int) -> list[Row]:
    """The newest trades of a bot, or of all."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            """
            SELECT id, bot_id, symbol, direction, status, entry_time, exit_time, entry_price, exit_price, size,
                commission, net_pnl, pnl_percentage, exit_reason
            FROM trading_trades WHERE %(id)s::bigint IS NULL OR bot_id = %(id)s ORDER BY id DESC LIMIT %(limit)s
            """,
            {"id": bot_id, "limit": limit},
        ).fetchall()


def list_runs(connection: psycopg.Connection[Any], bot_id: int, *, limit: int) -> list[Row]:
    """The newest runs of a bot: the history of its restarts."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            """
            SELECT epoch, config_version, pod_name, node, claimed_at, live_at, heartbeat_at, ended_at, exit_code,
                exit_reason, error_message, peak_memory_bytes, settings_hash
            FROM trading_runs WHERE bot_id = %s ORDER BY epoch DESC LIMIT %s
            """,
            (bot_id, limit),
        ).fetchall()
