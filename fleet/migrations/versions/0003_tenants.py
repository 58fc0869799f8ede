"""Limits of tenants, and the currency of a trade's money

Revision: 0003, after 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

MONEY = sa.Numeric(precision=38, scale=18)

GRANTS = {
    "botfleet_user": "GRANT SELECT ON tenant_limits, tenant_reservations TO botfleet_user",
    "botfleet_bot": """
        GRANT SELECT ON tenant_limits TO botfleet_bot;
        GRANT SELECT, INSERT, UPDATE, DELETE ON tenant_reservations TO botfleet_bot;
    """,
}


def upgrade() -> None:
    op.add_column("trading_trades", sa.Column("quote_currency", sa.Text()))
    op.create_table(
        "tenant_limits",
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("trade_type", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("max_exposure", MONEY),
        sa.Column("max_open_positions", sa.Integer()),
        sa.Column("max_daily_loss", MONEY),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("tenant_limits_user_id_fkey")),
        sa.PrimaryKeyConstraint("user_id", "trade_type", "currency", name=op.f("tenant_limits_pkey")),
        sa.CheckConstraint("trade_type IN ('paper', 'live')", name=op.f("tenant_limits_trade_type_check")),
        sa.CheckConstraint(
            "max_exposure > 0 AND max_open_positions >= 0 AND max_daily_loss > 0",
            name=op.f("tenant_limits_sense_check"),
        ),
        comment="What all bots of an owner together may do, by kind of money; changed by hand, read at each entry",
    )
    op.create_table(
        "tenant_reservations",
        sa.Column("bot_id", sa.BigInteger(), nullable=False),
        sa.Column("trade_type", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("amount", MONEY, nullable=False),
        sa.Column("reserved_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["bot_id"], ["trading_bots.id"], name=op.f("tenant_reservations_bot_id_fkey")),
        sa.PrimaryKeyConstraint("bot_id", name=op.f("tenant_reservations_pkey")),
        comment="Room in the tenant's limits that an entry has taken and that is no position yet",
    )
    op.create_index(
        op.f("trading_trades_bot_id_exit_time_idx"), "trading_trades", ["bot_id", "exit_time"], unique=False
    )
    connection = op.get_bind()
    for role, grants in GRANTS.items():
        if connection.scalar(sa.text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}):
            op.execute(grants)


def downgrade() -> None:
    op.drop_index(op.f("trading_trades_bot_id_exit_time_idx"))
    op.drop_table("tenant_reservations")
    op.drop_table("tenant_limits")
    op.drop_column("trading_trades", "quote_currency")
