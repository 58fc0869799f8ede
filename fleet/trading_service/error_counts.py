"""What goes wrong in bots, counted by hour and kind: written by the bots, read by people.

The counts are no part of a bar: they are written beside the heartbeat, and losing some in a crash costs a number in a
statistic. So a run isn't asked whether it is still current: what a fenced process met is worth knowing too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg
from psycopg.rows import class_row

from fleet.error_trends import ErrorHour
from fleet.redaction import MESSAGE, safe_text
from fleet.trading_service.db import Connection, database_errors
from fleet.trading_service.lease import RunId

NAME = 100
"""Characters of a kind and of a part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorCount:
    """Errors of one kind since the last write.

    Attributes:
        kind: e.g. `exchange_away`, `strategy_error:ZeroDivisionError`. part: of the program.
        first_age_s, last_age_s: how long ago the first and the last happened, seconds.
        message: of the last, without secrets, capped.
    """

    kind: str
    part: str
    count: int
    first_age_s: float
    last_age_s: float
    message: str


_ADD = """
    INSERT INTO trading_errors AS e (bot_id, hour, kind, part, count, first_seen, last_seen, epoch, last_message)
    SELECT %(bot_id)s, date_trunc('hour', last, 'UTC'), %(kind)s, %(part)s, %(count)s,
        greatest(first, date_trunc('hour', last, 'UTC')), last, %(epoch)s, %(message)s
    FROM (SELECT clock_timestamp() - make_interval(secs => %(last_age_s)s) AS last,
                 clock_timestamp() - make_interval(secs => %(first_age_s)s) AS first) AS seen
    ON CONFLICT (bot_id, hour, kind, part) DO UPDATE
    SET count = e.count + EXCLUDED.count, first_seen = least(e.first_seen, EXCLUDED.first_seen),
        last_seen = greatest(e.last_seen, EXCLUDED.last_seen), epoch = EXCLUDED.epoch,
        last_message = EXCLUDED.last_message
"""


def add_errors(connection: psycopg.Connection[Any], run: RunId, counts: Sequence[ErrorCount]) -> None:
    """Add the counts to their hours, all or none of them.

    Raises:
        DatabaseAway: no answer; in the worst case they were written, and are counted twice.
    """
    values = [
        {
            "bot_id": run.bot_id,
            "epoch": run.epoch,
            "kind": safe_text(it.kind, NAME, lines=False),
            "part": safe_text(it.part, NAME, lines=False),
            "count": it.count,
            "first_age_s": it.first_age_s,
            "last_age_s": it.last_age_s,
            "message": safe_text(it.message, MESSAGE),
        }
        for it in counts
    ]
    with database_errors(), connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(_ADD, values)


def list_errors(connection: psycopg.Connection[Any], bot_id: int, *, hours: int) -> list[ErrorHour]:
    """The rows of the last so many hours, newest hour first."""
    with database_errors(), connection.cursor(row_factory=class_row(ErrorHour)) as cursor:
        return cursor.execute(
            """
            SELECT hour, kind, part, count, first_seen, last_seen, epoch, last_message FROM trading_errors
            WHERE bot_id = %s AND hour > now() - make_interval(hours => %s) ORDER BY hour DESC, kind, part
            """,
            (bot_id, hours),
        ).fetchall()


async def prune_errors(connection: Connection, keep: timedelta) -> int:
    """Delete hours older than `keep`; returns how many rows went.

    Raises:
        DatabaseAway: no answer.
    """
    with database_errors():
        return (await connection.execute("DELETE FROM trading_errors WHERE hour < now() - %s", (keep,))).rowcount
