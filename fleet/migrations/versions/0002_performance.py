"""Bars, daily equity, and performance metrics per period

Revision: 0002, after 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

MONEY = sa.Numeric(precision=38, scale=18)
MOMENT = sa.DateTime(timezone=True)

KEEP = """
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION botfleet_refuse_truncate()
"""

ROLE = """
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
    "botfleet_user": "GRANT SELECT ON trading_bars, trading_equity TO botfleet_user;",
    # a bot adds its bars and where its equity begins; it reads and changes neither
    "botfleet_bot": "GRANT INSERT ON trading_bars, trading_equity TO botfleet_bot;",
    "botfleet_worker": """
        GRANT SELECT, DELETE ON trading_bars TO botfleet_worker;
        GRANT SELECT, INSERT, UPDATE ON trading_equity, trading_performance_metrics TO botfleet_worker;
        GRANT SELECT ON trading_trades, trading_positions, trading_checkpoints, alembic_version TO botfleet_worker;
        GRANT SELECT (id, user_id, name, status, archived_at) ON trading_bots TO botfleet_worker;
    """,
}


def upgrade() -> None:
    op.create_table(
        "trading_bars",
        sa.Column("bot_id", sa.BigInteger(), nullable=False),
        sa.Column("bar_at", MOMENT, nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("interval", sa.Text(), nullable=False),
        *(
            sa.Column(name, MONEY, nullable=False)
            for name in ("open", "high", "low", "close", "volume", "equity", "position")
        ),
        sa.PrimaryKeyConstraint("bot_id", "bar_at", "symbol", "interval", name=op.f("trading_bars_pkey")),
        comment="What a bot saw and was worth at each committed bar; kept for some weeks",
    )
    op.create_table(
        "trading_equity",
        sa.Column("bot_id", sa.BigInteger(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("interval", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("open", MONEY, nullable=False),
        sa.Column("open_at", MOMENT, nullable=False),
        sa.Column("high", MONEY, nullable=False),
        sa.Column("high_at", MOMENT, nullable=False),
        sa.Column("low", MONEY, nullable=False),
        sa.Column("low_at", MOMENT, nullable=False),
        sa.Column("close", MONEY, nullable=False),
        sa.Column("close_at", MOMENT, nullable=False),
        sa.Column("fall_peak", MONEY, nullable=True),
        sa.Column("fall_peak_at", MOMENT, nullable=True),
        sa.Column("fall_trough", MONEY, nullable=True),
        sa.Column("fall_trough_at", MOMENT, nullable=True),
        sa.Column("bars", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("bars_in_position", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint("low <= high", name=op.f("trading_equity_range_check")),
        sa.CheckConstraint("bars_in_position BETWEEN 0 AND bars", name=op.f("trading_equity_exposure_check")),
        sa.ForeignKeyConstraint(["bot_id"], ["trading_bots.id"], name=op.f("trading_equity_bot_id_fkey")),
        sa.PrimaryKeyConstraint("bot_id", "symbol", "interval", "day", name=op.f("trading_equity_pkey")),
        comment="The equity curve by UTC day, for ever; summarised from trading_bars",
    )
    for table in ("trading_bars", "trading_equity"):
        op.execute(KEEP.format(table=table))
    # rows of before are of a whole history
    metrics = "trading_performance_metrics"
    op.add_column(metrics, sa.Column("period_start", sa.Date(), nullable=False, server_default=sa.text("'1970-01-01'")))
    op.alter_column(metrics, "period_start", server_default=None)
    op.add_column(metrics, sa.Column("source_at", MOMENT, nullable=True))
    op.drop_constraint(f"{metrics}_bot_id_symbol_interval_period_key", metrics, type_="unique")
    op.create_unique_constraint(f"{metrics}_key", metrics, ["bot_id", "symbol", "interval", "period", "period_start"])
    op.create_table_comment(
        metrics,
        "What a bot achieved, per market and period (UTC); `source_at` is the checkpoint's time it was made of",
    )
    op.execute(ROLE)
    connection = op.get_bind()
    for role, grants in GRANTS.items():
        if connection.scalar(sa.text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}):
            op.execute(grants)


def downgrade() -> None:
    raise NotImplementedError("trading_equity is history: restore a backup instead")
