"""What runs take from outside besides candles: a replay needs it

Revision: 0006, after 0005
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

GRANTS = {
    "botfleet_user": "GRANT SELECT ON trading_inputs TO botfleet_user",
    "botfleet_bot": "GRANT SELECT, INSERT ON trading_inputs TO botfleet_bot",
}


def upgrade() -> None:
    op.create_table(
        "trading_inputs",
        sa.Column("bot_id", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("bar_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.Text()),
        sa.Column("market", postgresql.JSONB(astext_type=sa.Text())),
        sa.Column("limits", postgresql.JSONB(astext_type=sa.Text())),
        sa.Column("warmup", postgresql.JSONB(astext_type=sa.Text())),
        sa.Column("denied", sa.Text()),
        sa.ForeignKeyConstraint(
            ["bot_id", "epoch"],
            ["trading_runs.bot_id", "trading_runs.epoch"],
            name=op.f("trading_inputs_bot_id_epoch_fkey"),
        ),
        sa.PrimaryKeyConstraint("bot_id", "epoch", "bar_at", name=op.f("trading_inputs_pkey")),
        comment="What a run took from outside besides candles, at the bar from which on it applied",
    )
    op.execute(
        "CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON trading_inputs"
        " FOR EACH STATEMENT EXECUTE FUNCTION botfleet_refuse_truncate()"
    )
    connection = op.get_bind()
    for role, grants in GRANTS.items():
        if connection.scalar(sa.text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}):
            op.execute(grants)


def downgrade() -> None:
    raise NotImplementedError("trading_inputs is history: restore a backup instead")
