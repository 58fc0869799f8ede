"""First schema

Revision: 0001, after None
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

HISTORY = (
    "trading_runs",
    "trading_orders",
    "trading_fills",
    "trading_positions",
    "trading_trades",
    "trading_performance_metrics",
    "trading_checkpoints",
    "trading_notifications",
    "audit_log",
)
"""Tables that nothing may empty."""

STORAGE = """
-- The config snapshot (some kB) goes out of line, so that a heartbeat copies a narrow row; the free space keeps
-- heartbeats on their page (HOT), the eager vacuum keeps the table small.
ALTER TABLE trading_runs SET (toast_tuple_target = 128, fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 200);
ALTER TABLE trading_runs ALTER COLUMN config SET STORAGE EXTERNAL;
ALTER TABLE trading_bots SET (fillfactor = 70);
INSERT INTO users (name) VALUES ('default');
"""

TRIGGERS = """
CREATE FUNCTION botfleet_version_bot() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- nobody sets the version by hand: a run compares its snapshot's version with the row's
    NEW.config_version := OLD.config_version;
    IF (NEW.config, NEW.enabled) IS DISTINCT FROM (OLD.config, OLD.enabled) THEN
        NEW.config_version := OLD.config_version + 1;
    END IF;
    IF (NEW.config, NEW.enabled, NEW.name, NEW.user_id, NEW.description, NEW.archived_at)
       IS DISTINCT FROM (OLD.config, OLD.enabled, OLD.name, OLD.user_id, OLD.description, OLD.archived_at) THEN
        NEW.updated_at := now();
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER version_bot BEFORE UPDATE OF config, enabled, name, user_id, description, archived_at,
    config_version, updated_at ON trading_bots FOR EACH ROW EXECUTE FUNCTION botfleet_version_bot();

CREATE FUNCTION botfleet_notify_bot() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('botfleet_bots', COALESCE(NEW.id, OLD.id)::text);
    RETURN NULL;
END $$;
CREATE TRIGGER notify_bot AFTER INSERT OR DELETE ON trading_bots
    FOR EACH ROW EXECUTE FUNCTION botfleet_notify_bot();
CREATE TRIGGER notify_changed_bot AFTER UPDATE OF config, enabled, name, user_id, archived_at ON trading_bots
    FOR EACH ROW
    WHEN ((NEW.config, NEW.enabled, NEW.name, NEW.user_id, NEW.archived_at)
          IS DISTINCT FROM (OLD.config, OLD.enabled, OLD.name, OLD.user_id, OLD.archived_at))
    EXECUTE FUNCTION botfleet_notify_bot();

CREATE FUNCTION botfleet_keep_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM trading_runs WHERE bot_id = OLD.id) THEN
        RAISE EXCEPTION 'bot % (%) has history and cannot be deleted', OLD.id, OLD.name
            USING ERRCODE = 'restrict_violation',
                  HINT = format('Stop and hide it instead: UPDATE trading_bots SET archived_at = now() WHERE id = %s;',
                                OLD.id);
    END IF;
    RETURN OLD;
END $$;
CREATE TRIGGER keep_history BEFORE DELETE ON trading_bots
    FOR EACH ROW EXECUTE FUNCTION botfleet_keep_history();

CREATE FUNCTION botfleet_refuse_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'table % holds history and cannot be truncated', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation', HINT = 'Export what you want to keep and make a new database.';
END $$;
"""

ROLES = """
DO $$
DECLARE role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['botfleet_user', 'botfleet_controller', 'botfleet_bot'] LOOP
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
                EXECUTE format('CREATE ROLE %I NOLOGIN', role);
            END IF;
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN NULL;  -- another database of this server was quicker
            WHEN insufficient_privilege THEN
                RAISE NOTICE 'role % is missing and this role may not create it: its grants are left out', role;
        END;
    END LOOP;
END $$;
"""

GRANTS = {
    # people and tools: desired columns only
    "botfleet_user": """
        GRANT SELECT ON users, trading_bots, trading_runs, trading_orders, trading_fills, trading_positions,
            trading_trades, trading_performance_metrics, trading_checkpoints, trading_notifications,
            controller_shards TO botfleet_user;
        GRANT INSERT (user_id, name, description, enabled, config, managed_by, extra_metadata),
            UPDATE (name, description, enabled, config, managed_by, extra_metadata, archived_at),
            DELETE ON trading_bots TO botfleet_user;
    """,
    "botfleet_controller": """
        GRANT SELECT ON users, trading_bots, trading_runs, trading_checkpoints, trading_positions,
            trading_notifications, controller_shards, alembic_version TO botfleet_controller;
        GRANT UPDATE (status, error_message, error_count, started_at, last_heartbeat) ON trading_bots
            TO botfleet_controller;
        GRANT INSERT, UPDATE ON trading_runs, controller_shards TO botfleet_controller;
        GRANT INSERT ON trading_notifications, audit_log TO botfleet_controller;
    """,
    # a bot never reads a row's config, only its run's snapshot
    "botfleet_bot": """
        GRANT SELECT (id, user_id, name, status, error_message, started_at, last_heartbeat, current_balance, total_pnl)
            ON trading_bots TO botfleet_bot;
        GRANT UPDATE (status, started_at, last_heartbeat, current_balance, total_pnl) ON trading_bots TO botfleet_bot;
        GRANT SELECT ON trading_runs TO botfleet_bot;
        GRANT UPDATE (claimed_by, claimed_at, node, live_at, heartbeat_at, progress_at, ended_at, exit_code,
            exit_reason, error_message, peak_memory_bytes) ON trading_runs TO botfleet_bot;
        GRANT SELECT, INSERT, UPDATE ON trading_orders, trading_fills, trading_positions, trading_trades,
            trading_checkpoints, trading_performance_metrics TO botfleet_bot;
        GRANT SELECT, INSERT ON trading_notifications TO botfleet_bot;
        GRANT SELECT ON alembic_version TO botfleet_bot;
    """,
}


def upgrade() -> None:
    op.create_table(
        "audit_log",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("before", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("after", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("audit_log_pkey")),
        comment="Append-only: who changed what",
    )
    op.create_table(
        "controller_shards",
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("holder", sa.Text(), nullable=True),
        sa.Column("renewed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("shard", name=op.f("controller_shards_pkey")),
        comment="Fenced leases that share the work between controllers",
    )
    op.create_table(
        "users",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("users_pkey")),
        sa.UniqueConstraint("name", name=op.f("users_name_key")),
        comment="Tenants: whoever owns bots",
    )
    op.create_table(
        "api_tokens",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("role IN ('viewer', 'trader', 'operator', 'admin')", name=op.f("api_tokens_role_check")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("api_tokens_user_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("api_tokens_pkey")),
        sa.UniqueConstraint("token_hash", name=op.f("api_tokens_token_hash_key")),
    )
    op.create_table(
        "broker_accounts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("exchange", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("encrypted_data_key", sa.LargeBinary(), nullable=False),
        sa.Column("encrypted_credentials", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("rotated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("broker_accounts_user_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("broker_accounts_pkey")),
        sa.UniqueConstraint("user_id", "name", name=op.f("broker_accounts_user_id_name_key")),
        comment="Exchange credentials, envelope-encrypted; no plaintext ever",
    )
    op.create_table(
        "trading_bots",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("user_id", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("config", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("config_version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("status", sa.Text(), server_default=sa.text("'stopped'"), nullable=False),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("error_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_heartbeat", sa.DateTime(timezone=True), nullable=True),
        sa.Column("current_balance", sa.Numeric(precision=38, scale=18), nullable=True),
        sa.Column("total_pnl", sa.Numeric(precision=38, scale=18), server_default=sa.text("0"), nullable=False),
        sa.Column("managed_by", sa.Text(), server_default=sa.text("'sql'"), nullable=False),
        sa.Column("extra_metadata", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("managed_by IN ('sql', 'api', 'gitops')", name=op.f("trading_bots_managed_by_check")),
        sa.CheckConstraint(
            "status IN ('stopped', 'starting', 'running', 'stopping', 'error', 'disabled')",
            name=op.f("trading_bots_status_check"),
        ),
        sa.CheckConstraint("char_length(name) BETWEEN 1 AND 200", name=op.f("trading_bots_name_length_check")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("trading_bots_user_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("trading_bots_pkey")),
        sa.UniqueConstraint("user_id", "name", name=op.f("trading_bots_user_id_name_key")),
        comment="Desired state (enabled, config, archived_at) beside the actual one (status, ...)",
    )
    op.create_table(
        "trading_checkpoints",
        sa.Column("bot_id", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("interval", sa.Text(), nullable=False),
        sa.Column("last_bar_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("bars", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("balance", sa.Numeric(precision=38, scale=18), nullable=False),
        sa.Column("total_pnl", sa.Numeric(precision=38, scale=18), server_default=sa.text("0"), nullable=False),
        sa.Column("broker_state", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("strategy_state", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["bot_id"], ["trading_bots.id"], name=op.f("trading_checkpoints_bot_id_fkey")),
        sa.PrimaryKeyConstraint("bot_id", name=op.f("trading_checkpoints_pkey")),
        comment="Where a bot goes on after a restart; committed together with the bar's orders and trades",
    )
    op.create_table(
        "trading_notifications",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("bot_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("facts", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("dedupe_key", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'pending'"), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "severity IN ('info', 'warning', 'critical')", name=op.f("trading_notifications_severity_check")
        ),
        sa.CheckConstraint(
            "state IN ('pending', 'delivered', 'failed', 'suppressed')",
            name=op.f("trading_notifications_state_check"),
        ),
        sa.ForeignKeyConstraint(["bot_id"], ["trading_bots.id"], name=op.f("trading_notifications_bot_id_fkey")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("trading_notifications_user_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("trading_notifications_pkey")),
        sa.UniqueConstraint("dedupe_key", name=op.f("trading_notifications_dedupe_key_key")),
        comment="Outbox and history of everything a person may be told",
    )
    op.create_index(
        op.f("trading_notifications_bot_id_created_at_idx"),
        "trading_notifications",
        ["bot_id", "created_at"],
        unique=False,
    )
    op.create_index(
        "trading_notifications_pending_idx",
        "trading_notifications",
        ["next_attempt_at"],
        unique=False,
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_table(
        "trading_performance_metrics",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("bot_id", sa.BigInteger(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("interval", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("metrics", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("calculated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "period IN ('day', 'week', 'month', 'all')", name=op.f("trading_performance_metrics_period_check")
        ),
        sa.ForeignKeyConstraint(["bot_id"], ["trading_bots.id"], name=op.f("trading_performance_metrics_bot_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("trading_performance_metrics_pkey")),
        sa.UniqueConstraint(
            "bot_id",
            "symbol",
            "interval",
            "period",
            name=op.f("trading_performance_metrics_bot_id_symbol_interval_period_key"),
        ),
    )
    op.create_table(
        "trading_positions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("bot_id", sa.BigInteger(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("qty_open", sa.Numeric(precision=38, scale=18), nullable=False),
        sa.Column("avg_price", sa.Numeric(precision=38, scale=18), nullable=False),
        sa.Column("realized_pnl", sa.Numeric(precision=38, scale=18), server_default=sa.text("0"), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.CheckConstraint("direction IN ('long', 'short')", name=op.f("trading_positions_direction_check")),
        sa.CheckConstraint("status IN ('open', 'closed')", name=op.f("trading_positions_status_check")),
        sa.ForeignKeyConstraint(["bot_id"], ["trading_bots.id"], name=op.f("trading_positions_bot_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("trading_positions_pkey")),
        sa.UniqueConstraint(
            "bot_id", "symbol", "opened_at", name=op.f("trading_positions_bot_id_symbol_opened_at_key")
        ),
        comment="Open and past positions of each bot",
    )
    op.create_index(
        "trading_positions_open_idx",
        "trading_positions",
        ["bot_id", "symbol"],
        unique=True,
        postgresql_where=sa.text("status = 'open'"),
    )
    op.create_table(
        "trading_runs",
        sa.Column("bot_id", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("config", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("config_version", sa.Integer(), nullable=False),
        sa.Column("controller", sa.Text(), nullable=False),
        sa.Column("runtime", sa.Text(), nullable=False),
        sa.Column("pod_name", sa.Text(), nullable=False),
        sa.Column("pod_uid", sa.Text(), nullable=True),
        sa.Column("node", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("claimed_by", sa.Text(), nullable=True),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("live_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("progress_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("stop_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("stop_reason", sa.Text(), nullable=True),
        sa.Column("limits", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("fenced_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("exit_reason", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("peak_memory_bytes", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "exit_reason IN ('stopped', 'superseded', 'released', 'failed', 'config_error', 'fenced_silent', 'fenced_hung', 'not_claimed', 'gave_up_database')",
            name=op.f("trading_runs_exit_reason_check"),
        ),
        sa.CheckConstraint("(ended_at IS NULL) = (exit_reason IS NULL)", name=op.f("trading_runs_ended_check")),
        sa.CheckConstraint("epoch >= 1", name=op.f("trading_runs_epoch_check")),
        sa.CheckConstraint("fenced_at IS NULL OR ended_at IS NOT NULL", name=op.f("trading_runs_fenced_check")),
        sa.ForeignKeyConstraint(["bot_id"], ["trading_bots.id"], name=op.f("trading_runs_bot_id_fkey")),
        sa.PrimaryKeyConstraint("bot_id", "epoch", name=op.f("trading_runs_pkey")),
        comment="One attempt at running a bot, and the lease that claim, heartbeat and fence contend for",
    )
    op.create_index(
        "trading_runs_current_idx",
        "trading_runs",
        ["bot_id"],
        unique=True,
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "trading_orders",
        sa.Column("client_order_id", sa.Text(), nullable=False),
        sa.Column("bot_id", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("signal_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("leg", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("price", sa.Numeric(precision=38, scale=18), nullable=True),
        sa.Column("quantity", sa.Numeric(precision=38, scale=18), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("exchange_order_id", sa.Text(), nullable=True),
        sa.Column("filled_quantity", sa.Numeric(precision=38, scale=18), server_default=sa.text("0"), nullable=False),
        sa.Column("average_price", sa.Numeric(precision=38, scale=18), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("side IN ('buy', 'sell')", name=op.f("trading_orders_side_check")),
        sa.CheckConstraint(
            "state IN ('intent', 'sent', 'acked', 'partial', 'filled', 'canceled', 'rejected', 'expired', 'unknown')",
            name=op.f("trading_orders_state_check"),
        ),
        sa.CheckConstraint("quantity > 0", name=op.f("trading_orders_quantity_check")),
        sa.ForeignKeyConstraint(
            ["bot_id", "epoch"],
            ["trading_runs.bot_id", "trading_runs.epoch"],
            name=op.f("trading_orders_bot_id_epoch_fkey"),
        ),
        sa.ForeignKeyConstraint(["bot_id"], ["trading_bots.id"], name=op.f("trading_orders_bot_id_fkey")),
        sa.PrimaryKeyConstraint("client_order_id", name=op.f("trading_orders_pkey")),
        sa.UniqueConstraint(
            "bot_id",
            "signal_at",
            "leg",
            "attempt",
            name=op.f("trading_orders_bot_id_signal_at_leg_attempt_key"),
        ),
        comment="Every order; committed as an intent before it is sent",
    )
    op.create_index(
        op.f("trading_orders_bot_id_created_at_idx"), "trading_orders", ["bot_id", "created_at"], unique=False
    )
    op.create_table(
        "trading_fills",
        sa.Column("exchange", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("exchange_trade_id", sa.Text(), nullable=False),
        sa.Column("bot_id", sa.BigInteger(), nullable=False),
        sa.Column("client_order_id", sa.Text(), nullable=False),
        sa.Column("price", sa.Numeric(precision=38, scale=18), nullable=False),
        sa.Column("quantity", sa.Numeric(precision=38, scale=18), nullable=False),
        sa.Column("fee", sa.Numeric(precision=38, scale=18), nullable=False),
        sa.Column("fee_currency", sa.Text(), nullable=False),
        sa.Column("filled_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("quantity > 0", name=op.f("trading_fills_quantity_check")),
        sa.ForeignKeyConstraint(["bot_id"], ["trading_bots.id"], name=op.f("trading_fills_bot_id_fkey")),
        sa.ForeignKeyConstraint(
            ["client_order_id"],
            ["trading_orders.client_order_id"],
            name=op.f("trading_fills_client_order_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("exchange", "account", "exchange_trade_id", name=op.f("trading_fills_pkey")),
        comment="Executions, once each; trades and positions are derived from them",
    )
    op.create_index(op.f("trading_fills_bot_id_filled_at_idx"), "trading_fills", ["bot_id", "filled_at"], unique=False)
    op.create_index(op.f("trading_fills_client_order_id_idx"), "trading_fills", ["client_order_id"], unique=False)
    op.create_table(
        "trading_trades",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("bot_id", sa.BigInteger(), nullable=False),
        sa.Column("position_id", sa.BigInteger(), nullable=False),
        sa.Column("trade_type", sa.Text(), nullable=False),
        sa.Column("strategy_name", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("interval", sa.Text(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("entry_order_id", sa.Text(), nullable=False),
        sa.Column("exit_order_id", sa.Text(), nullable=True),
        sa.Column("signal_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("entry_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("exit_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("entry_price", sa.Numeric(precision=38, scale=18), nullable=False),
        sa.Column("exit_price", sa.Numeric(precision=38, scale=18), nullable=True),
        sa.Column("entry_value", sa.Numeric(precision=38, scale=18), nullable=False),
        sa.Column("exit_value", sa.Numeric(precision=38, scale=18), nullable=True),
        sa.Column("size", sa.Numeric(precision=38, scale=18), nullable=False),
        sa.Column("commission", sa.Numeric(precision=38, scale=18), server_default=sa.text("0"), nullable=False),
        sa.Column("gross_pnl", sa.Numeric(precision=38, scale=18), nullable=True),
        sa.Column("net_pnl", sa.Numeric(precision=38, scale=18), nullable=True),
        sa.Column("pnl_percentage", sa.Numeric(precision=20, scale=8), nullable=True),
        sa.Column("entry_logic_name", sa.Text(), nullable=True),
        sa.Column("entry_logic_params", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("exit_logic_name", sa.Text(), nullable=True),
        sa.Column("exit_logic_params", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("exit_reason", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("extra_metadata", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("direction IN ('long', 'short')", name=op.f("trading_trades_direction_check")),
        sa.CheckConstraint("status IN ('open', 'closed')", name=op.f("trading_trades_status_check")),
        sa.CheckConstraint("trade_type IN ('paper', 'live')", name=op.f("trading_trades_trade_type_check")),
        sa.ForeignKeyConstraint(["bot_id"], ["trading_bots.id"], name=op.f("trading_trades_bot_id_fkey")),
        sa.ForeignKeyConstraint(
            ["entry_order_id"],
            ["trading_orders.client_order_id"],
            name=op.f("trading_trades_entry_order_id_fkey"),
        ),
        sa.ForeignKeyConstraint(
            ["exit_order_id"],
            ["trading_orders.client_order_id"],
            name=op.f("trading_trades_exit_order_id_fkey"),
        ),
        sa.ForeignKeyConstraint(
            ["position_id"], ["trading_positions.id"], name=op.f("trading_trades_position_id_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("trading_trades_pkey")),
        sa.UniqueConstraint("bot_id", "entry_order_id", name=op.f("trading_trades_bot_id_entry_order_id_key")),
        comment="Round trips, derived from fills and reproducible from them",
    )
    op.create_index(
        op.f("trading_trades_bot_id_entry_time_idx"), "trading_trades", ["bot_id", "entry_time"], unique=False
    )
    op.execute(STORAGE)
    op.execute(TRIGGERS)
    for table in HISTORY:
        op.execute(
            f"CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION botfleet_refuse_truncate()"
        )
    op.execute(ROLES)
    connection = op.get_bind()
    for role, grants in GRANTS.items():
        if connection.scalar(sa.text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}):
            op.execute(grants)


def downgrade() -> None:
    raise NotImplementedError("the first schema has nothing to go back to: make a new database instead")
