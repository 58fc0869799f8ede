"""Runs that only close what their bot holds, and bots that say they have given up

Revision: 0013, after 0012
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

BEFORE = (
    "'stopped', 'superseded', 'released', 'failed', 'config_error', 'fenced_silent', 'fenced_hung', 'not_claimed', "
    "'gave_up_database'"
)
AFTER = (
    "'stopped', 'superseded', 'released', 'failed', 'config_error', 'gave_up', 'fenced_silent', 'fenced_hung', "
    "'not_claimed', 'gave_up_database'"
)


def upgrade() -> None:
    op.add_column(
        "trading_runs", sa.Column("closes_out", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    _reasons(AFTER)


def downgrade() -> None:
    op.execute("UPDATE trading_runs SET exit_reason = 'failed' WHERE exit_reason = 'gave_up'")
    _reasons(BEFORE)
    op.drop_column("trading_runs", "closes_out")


def _reasons(known: str) -> None:
    name = op.f("trading_runs_exit_reason_check")
    op.drop_constraint(name, "trading_runs", type_="check")
    op.create_check_constraint(name, "trading_runs", f"exit_reason IN ({known})")
