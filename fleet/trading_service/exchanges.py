"""What all bots of one exchange and address share: market rules, pauses, and how many they are.

Bots write these rows for one another, so what is read here is foreign to the reader: texts are cut, the rules come as
the text of a JSON document for `fleet.foreign` to read, and times that the database's clock hasn't reached count for
nothing. All ages are by that clock. Nothing here is part of the run protocol: a failure costs a shared fact, never
the right to trade.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from fleet.foreign import clean_text
from fleet.trading_service.db import database_errors
from fleet.trading_service.lease import RunId

LONGEST_PAUSE_S = 3 * 24 * 3600
"""Binance's longest ban; a check constraint of the table holds the same."""

REASON_LIMIT = 300
WAITS_FOR_LIMIT = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Who is asked, and from where.

    Attributes:
        exchange: the broker's name. venue: host of its API; empty for the public one.
        origin: what the exchange sees as one address: empty for the whole fleet, or a node's name.
    """

    exchange: str
    venue: str
    origin: str


@dataclass(frozen=True, slots=True)
class PauseRow:
    """What is known of an address's pause.

    Attributes:
        left_s: until its end; negative when it is over.
        until: its end, `HH:MM:SSZ`.
        told_by: the bot that the exchange told.
    """

    left_s: float
    until: str
    reason: str
    told_by: int


@dataclass(frozen=True, slots=True)
class RulesRow:
    """What is known of a market's rules.

    Attributes:
        document: JSON text; None while nobody has asked yet. age_s: since it was fetched.
        fetched_at: names this version of the row.
        claim_age_s: since somebody set out to ask; None when nobody does.
    """

    document: str | None
    age_s: float | None
    fetched_at: datetime | None
    claim_age_s: float | None


_PAUSE = """
    SELECT extract(epoch FROM until - clock_timestamp())::float AS left_s,
        to_char(until AT TIME ZONE 'UTC', 'HH24:MI:SS') || 'Z' AS until, left(reason, 500) AS reason, told_by
    FROM exchange_pauses
    WHERE exchange = %(exchange)s AND venue = %(venue)s AND address = %(origin)s
      AND told_at <= clock_timestamp() + interval '1 minute'
"""

_TELL = """
    INSERT INTO exchange_pauses AS p (exchange, venue, address, until, reason, told_at, told_by)
    SELECT %(exchange)s, %(venue)s, %(origin)s, now + make_interval(secs => %(seconds)s), %(reason)s, now, %(bot_id)s
    FROM (SELECT clock_timestamp() AS now) AS clock
    ON CONFLICT (exchange, venue, address) DO UPDATE
    SET until = EXCLUDED.until, reason = EXCLUDED.reason, told_at = EXCLUDED.told_at, told_by = EXCLUDED.told_by
    WHERE EXCLUDED.until > p.until OR p.told_at > clock_timestamp() + interval '1 minute'
"""

_SHARING = """
    SELECT count(*) FROM trading_runs
    WHERE ended_at IS NULL AND (%(origin)s::text = '' OR node = %(origin)s)
      AND COALESCE(config #>> '{broker,type}', 'binance') = %(exchange)s
      AND COALESCE(config #>> '{data,data_source}', '') <> 'file'
"""

_NOTE = """
    WITH noted AS (
        UPDATE trading_runs SET waits_for = %(text)s
        WHERE bot_id = %(bot_id)s AND epoch = %(epoch)s AND claimed_by = %(token)s AND ended_at IS NULL
        RETURNING bot_id
    )
    SELECT pg_notify('botfleet_bots', bot_id::text) FROM noted
"""

_RULES = """
    SELECT rules::text AS document, extract(epoch FROM clock_timestamp() - fetched_at)::float AS age_s, fetched_at,
        extract(epoch FROM clock_timestamp() - claimed_at)::float AS claim_age_s
    FROM exchange_markets WHERE exchange = %(exchange)s AND venue = %(venue)s AND symbol = %(symbol)s
"""

_CLAIM = """
    INSERT INTO exchange_markets AS m (exchange, venue, symbol, claimed_at, claimed_by)
    VALUES (%(exchange)s, %(venue)s, %(symbol)s, clock_timestamp(), %(bot_id)s)
    ON CONFLICT (exchange, venue, symbol) DO UPDATE SET claimed_at = clock_timestamp(), claimed_by = %(bot_id)s
    WHERE m.fetched_at IS NOT DISTINCT FROM %(seen)s
      -- an older claim's bot gave up or died; one of the future is nonsense
      AND (m.claimed_at BETWEEN clock_timestamp() - make_interval(secs => %(claim_s)s) AND clock_timestamp())
          IS NOT TRUE
    RETURNING true
"""

_STORE = """
    UPDATE exchange_markets
    SET rules = %(rules)s, fetched_at = clock_timestamp(), fetched_by = %(bot_id)s, claimed_at = NULL, claimed_by = NULL
    WHERE exchange = %(exchange)s AND venue = %(venue)s AND symbol = %(symbol)s
"""

_LEAVE = """
    UPDATE exchange_markets SET claimed_at = NULL, claimed_by = NULL
    WHERE exchange = %(exchange)s AND venue = %(venue)s AND symbol = %(symbol)s AND claimed_by = %(bot_id)s
"""


def _key(address: Address) -> dict[str, Any]:
    return {"exchange": address.exchange, "venue": address.venue, "origin": address.origin}


def read_pause(connection: psycopg.Connection[Any], address: Address) -> PauseRow | None:
    """The address's newest pause, over or not; None when there is none, or a person removed it.

    Raises:
        DatabaseAway: no answer.
    """
    with database_errors(), connection.cursor(row_factory=class_row(PauseRow)) as cursor:
        return cursor.execute(_PAUSE, _key(address)).fetchone()


def tell_pause(
    connection: psycopg.Connection[Any], address: Address, *, bot_id: int, seconds: float, reason: str
) -> None:
    """Say that the exchange wants no request from this address for so long; a longer pause stays.

    Raises:
        DatabaseAway: no answer.
    """
    values = {
        **_key(address),
        "bot_id": bot_id,
        "seconds": min(max(seconds, 0.0), LONGEST_PAUSE_S),
        "reason": clean_text(reason, REASON_LIMIT, lines=False),
    }
    with database_errors():
        connection.execute(_TELL, values)


def count_sharing(connection: psycopg.Connection[Any], address: Address) -> int:
    """How many current runs ask this exchange from this address.

    Raises:
        DatabaseAway: no answer.
    """
    with database_errors():
        row = connection.execute(_SHARING, _key(address)).fetchone()
    return int(row[0]) if row else 0


def note_waiting(connection: psycopg.Connection[Any], run: RunId, text: str | None) -> None:
    """Say in the run's row what the bot waits for, and wake the controller, which shows it.

    Raises:
        DatabaseAway: no answer.
    """
    values = {
        "bot_id": run.bot_id,
        "epoch": run.epoch,
        "token": run.token,
        "text": clean_text(text, WAITS_FOR_LIMIT, lines=False) or None,
    }
    with database_errors():
        connection.execute(_NOTE, values)


def read_rules(connection: psycopg.Connection[Any], address: Address, symbol: str) -> RulesRow:
    """What is known of a market's rules.

    Raises:
        DatabaseAway: no answer.
    """
    with database_errors(), connection.cursor(row_factory=class_row(RulesRow)) as cursor:
        row = cursor.execute(_RULES, {**_key(address), "symbol": symbol}).fetchone()
    return row or RulesRow(None, None, None, None)


def claim_rules(
    connection: psycopg.Connection[Any],
    address: Address,
    symbol: str,
    *,
    bot_id: int,
    seen: datetime | None,
    claim_s: float,
) -> bool:
    """Become the one that asks for a market's rules.

    Args:
        seen: `fetched_at` of the row that was found wanting: fails when somebody has replaced it since.
        claim_s: for so long nobody else may.

    Raises:
        DatabaseAway: no answer.
    """
    values = {**_key(address), "symbol": symbol, "bot_id": bot_id, "seen": seen, "claim_s": claim_s}
    with database_errors():
        return connection.execute(_CLAIM, values).fetchone() is not None


def store_rules(
    connection: psycopg.Connection[Any], address: Address, symbol: str, *, bot_id: int, rules: dict[str, str]
) -> None:
    """Write what the exchange answered, for all bots; the row is there since the claim.

    Raises:
        DatabaseAway: no answer.
    """
    with database_errors():
        connection.execute(_STORE, {**_key(address), "symbol": symbol, "bot_id": bot_id, "rules": Jsonb(rules)})


def leave_claim(connection: psycopg.Connection[Any], address: Address, symbol: str, *, bot_id: int) -> None:
    """Let the next bot ask at once: the answer is no use to others.

    Raises:
        DatabaseAway: no answer.
    """
    with database_errors():
        connection.execute(_LEAVE, {**_key(address), "symbol": symbol, "bot_id": bot_id})
