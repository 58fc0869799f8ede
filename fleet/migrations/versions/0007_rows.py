"""Rows that nobody could run, name or read: refused from now on, and those that exist stay stoppable

A CHECK is judged at every UPDATE of a row, whatever it changes. So no row that violates one may be left behind: its
bot's status, its heartbeat and its stop could not be written any more.

Revision: 0007, after 0006
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# a new value is measured as it is, an unchanged one as it is stored (compressed), which costs a heartbeat nothing
CONFIG = "jsonb_typeof(config) = 'object' AND pg_column_size(config) <= 262144"
ID = "id BETWEEN 1 AND 999999999999999 OR NOT enabled"
EPOCH = "epoch <= 999999999999999 OR ended_at IS NOT NULL"

CHECKS = (
    ("trading_bots", "trading_bots_config_check", CONFIG),
    ("trading_bots", "trading_bots_id_check", ID),
    ("trading_runs", "trading_runs_epoch_limit_check", EPOCH),
)

MOVED_ASIDE = """
WITH bad AS (
    SELECT id, config FROM trading_bots
    -- measured as a restore of a dump will: as a new value, not as it is stored
    WHERE NOT (jsonb_typeof(config) = 'object' AND octet_length(config::text) <= 262144
               AND pg_column_size(config || '{}') <= 262144)
), kept AS (
    INSERT INTO audit_log (actor, action, subject, before, reason)
    SELECT 'migration 0007', 'config moved aside', format('trading_bots/%s', id), config,
        'trading_bots.config must be an object of at most 262144 bytes' FROM bad
    RETURNING id, subject
)
UPDATE trading_bots b
SET config = jsonb_build_object('description', format(
    'The config was no object of at most 262144 bytes. It is kept in audit_log.before, id %s; write it anew.', kept.id))
FROM kept WHERE kept.subject = format('trading_bots/%s', b.id)
"""
"""A run of the old config goes on with its snapshot; the row shows the status `error`."""

SWITCHED_OFF = f"""
WITH off AS (
    UPDATE trading_bots SET enabled = false WHERE NOT ({ID}) RETURNING id
)
INSERT INTO audit_log (actor, action, subject, reason)
SELECT 'migration 0007', 'bot switched off', format('trading_bots/%s', id),
    'the id of a bot must be from 1 to 999999999999999: insert the bot without an id' FROM off
"""

ENDED = f"""
UPDATE trading_runs
SET fenced_at = clock_timestamp(), ended_at = clock_timestamp(), exit_reason = 'failed',
    error_message = 'the epoch of a run must be from 1 to 999999999999999'
WHERE NOT ({EPOCH})
"""


def upgrade() -> None:
    # nothing gets in between the look at the rows and the constraints
    op.execute("LOCK TABLE trading_bots, trading_runs IN SHARE ROW EXCLUSIVE MODE")
    op.execute(MOVED_ASIDE)
    op.execute(SWITCHED_OFF)
    op.execute(ENDED)
    for table, name, condition in CHECKS:
        op.create_check_constraint(op.f(name), table, condition)


def downgrade() -> None:
    for table, name, _ in CHECKS:
        op.drop_constraint(op.f(name), table, type_="check")
