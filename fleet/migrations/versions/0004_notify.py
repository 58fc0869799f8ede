"""Deliveries of notifications, and where their owners can be reached

Revision: 0004, after 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TRIGGERS = """
-- Wakes the workers; their poll is the truth. Several rows of one transaction make one notification.
CREATE FUNCTION botfleet_notify_outbox() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('botfleet_outbox', '');
    RETURN NULL;
END $$;
CREATE TRIGGER notify_outbox AFTER INSERT ON trading_notifications
    FOR EACH ROW WHEN (NEW.state = 'pending') EXECUTE FUNCTION botfleet_notify_outbox();
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON notification_deliveries
    FOR EACH STATEMENT EXECUTE FUNCTION botfleet_refuse_truncate();
"""

ROLES = """
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'botfleet_worker') THEN
        CREATE ROLE botfleet_worker NOLOGIN;
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;  -- another database of this server was quicker
    WHEN insufficient_privilege THEN
        RAISE NOTICE 'role botfleet_worker is missing and this role may not create it: its grants are left out';
END $$;
"""

GRANTS = {
    "botfleet_user": "GRANT SELECT ON notification_deliveries TO botfleet_user;",
    # reads what it tells about, writes nothing but the fate of messages and what it computes
    "botfleet_worker": """
        GRANT SELECT ON users, trading_bots, trading_runs, trading_orders, trading_fills, trading_positions,
            trading_trades, trading_checkpoints, trading_performance_metrics, trading_notifications,
            notification_deliveries, alembic_version TO botfleet_worker;
        GRANT INSERT ON trading_notifications, notification_deliveries TO botfleet_worker;
        GRANT UPDATE (state, attempts, routed_at, delivered_at, last_error) ON trading_notifications
            TO botfleet_worker;
        GRANT UPDATE (message_id, target, target_hash, state, attempts, attempted_at, next_attempt_at, delivered_at,
            last_error, idempotency_key) ON notification_deliveries TO botfleet_worker;
        GRANT INSERT, UPDATE ON trading_performance_metrics TO botfleet_worker;
    """,
}


def upgrade() -> None:
    op.add_column("users", sa.Column("telegram_chat_id", sa.Text(), nullable=True))
    op.add_column("users", sa.Column("webhook_url", sa.Text(), nullable=True))
    op.add_column("users", sa.Column("timezone", sa.Text(), server_default=sa.text("'UTC'"), nullable=False))
    op.add_column("users", sa.Column("quiet_from", sa.Time(), nullable=True))
    op.add_column("users", sa.Column("quiet_until", sa.Time(), nullable=True))
    op.create_check_constraint(op.f("users_quiet_hours_check"), "users", "(quiet_from IS NULL) = (quiet_until IS NULL)")
    # an event must never wait for a row that a person holds (a fence writes one), and some have no bot or tenant
    op.drop_constraint("trading_notifications_bot_id_fkey", "trading_notifications", type_="foreignkey")
    op.drop_constraint("trading_notifications_user_id_fkey", "trading_notifications", type_="foreignkey")
    op.alter_column("trading_notifications", "bot_id", existing_type=sa.BigInteger(), nullable=True)
    op.alter_column("trading_notifications", "user_id", existing_type=sa.BigInteger(), nullable=True)
    op.add_column("trading_notifications", sa.Column("routed_at", sa.DateTime(timezone=True), nullable=True))
    op.drop_index("trading_notifications_pending_idx", table_name="trading_notifications")
    op.drop_column("trading_notifications", "next_attempt_at")
    op.create_index(
        "trading_notifications_unrouted_idx",
        "trading_notifications",
        ["id"],
        postgresql_where=sa.text("state = 'pending' AND routed_at IS NULL"),
    )
    op.create_table(
        "notification_deliveries",
        sa.Column("notification_id", sa.BigInteger(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=False),
        sa.Column("critical", sa.Boolean(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("bot_id", sa.BigInteger(), nullable=True),
        sa.Column("target", sa.Text(), nullable=True),
        sa.Column("target_hash", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), server_default=sa.text("'pending'"), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("attempted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "channel IN ('telegram', 'email', 'webhook')", name=op.f("notification_deliveries_channel_check")
        ),
        sa.CheckConstraint(
            "state IN ('pending', 'delivered', 'failed', 'skipped')", name=op.f("notification_deliveries_state_check")
        ),
        sa.CheckConstraint(
            "state <> 'pending' OR next_attempt_at IS NOT NULL", name=op.f("notification_deliveries_due_check")
        ),
        sa.ForeignKeyConstraint(
            ["notification_id"],
            ["trading_notifications.id"],
            name=op.f("notification_deliveries_notification_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("notification_id", "channel", name=op.f("notification_deliveries_pkey")),
        comment="What became of a notification on each channel; rows of one message_id were one message",
    )
    op.create_index(
        "notification_deliveries_due_idx",
        "notification_deliveries",
        ["next_attempt_at"],
        postgresql_where=sa.text("state = 'pending' AND message_id = notification_id"),
    )
    op.create_index(
        "notification_deliveries_message_idx", "notification_deliveries", ["message_id", "channel"], unique=False
    )
    op.create_index(
        "notification_deliveries_target_idx",
        "notification_deliveries",
        ["channel", "target_hash", "attempted_at"],
        unique=False,
    )
    op.execute(TRIGGERS)
    op.execute(ROLES)
    connection = op.get_bind()
    for role, grants in GRANTS.items():
        if connection.scalar(sa.text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}):
            op.execute(grants)


def downgrade() -> None:
    raise NotImplementedError("deliveries are history: restore a backup instead")
