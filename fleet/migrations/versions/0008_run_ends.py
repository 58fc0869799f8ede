"""The end of a run is told to the controller; the controller may write what a heartbeat writes

Revision: 0008, after 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# names `ended_at` alone, so a heartbeat doesn't even look at it: a NOTIFY takes a lock of the whole server at commit
TRIGGER = """
CREATE FUNCTION botfleet_notify_run_end() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('botfleet_bots', NEW.bot_id::text);
    RETURN NULL;
END $$;
CREATE TRIGGER notify_run_end AFTER UPDATE OF ended_at ON trading_runs
    FOR EACH ROW WHEN (OLD.ended_at IS NULL AND NEW.ended_at IS NOT NULL)
    EXECUTE FUNCTION botfleet_notify_run_end();
"""

GRANT = "GRANT UPDATE (current_balance, total_pnl) ON trading_bots TO botfleet_controller"


def upgrade() -> None:
    op.execute(TRIGGER)
    if op.get_bind().scalar(sa.text("SELECT 1 FROM pg_roles WHERE rolname = 'botfleet_controller'")):
        op.execute(GRANT)


def downgrade() -> None:
    op.execute("DROP TRIGGER notify_run_end ON trading_runs; DROP FUNCTION botfleet_notify_run_end()")
