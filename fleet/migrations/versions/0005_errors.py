"""Errors of bots by hour and kind

Revision: 0005, after 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

GRANTS = {
    "botfleet_user": "GRANT SELECT ON trading_errors TO botfleet_user;",
    "botfleet_controller": "GRANT SELECT ON trading_errors TO botfleet_controller;",
    "botfleet_bot": "GRANT SELECT, INSERT, UPDATE ON trading_errors TO botfleet_bot;",
    "botfleet_worker": "GRANT SELECT, DELETE ON trading_errors TO botfleet_worker;",
}


def upgrade() -> None:
    op.create_table(
        "trading_errors",
        sa.Column("bot_id", sa.BigInteger(), nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("part", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("first_seen", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen", sa.DateTime(timezone=True), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("last_message", sa.Text(), nullable=False),
        sa.CheckConstraint("count > 0", name=op.f("trading_errors_count_check")),
        sa.ForeignKeyConstraint(["bot_id"], ["trading_bots.id"], name=op.f("trading_errors_bot_id_fkey")),
        sa.PrimaryKeyConstraint("bot_id", "hour", "kind", "part", name=op.f("trading_errors_pkey")),
        comment="What went wrong in bots, counted by hour and kind; secrets masked, messages capped",
    )
    op.create_index(op.f("trading_errors_hour_idx"), "trading_errors", ["hour"], unique=False)
    connection = op.get_bind()
    for role, grants in GRANTS.items():
        if connection.scalar(sa.text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}):
            op.execute(grants)


def downgrade() -> None:
    op.drop_table("trading_errors")
