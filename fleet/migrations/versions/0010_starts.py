"""How far a start has come, and how long starts take: what admission decides by

Revision: 0010, after 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

GRANTS = {"botfleet_bot": "GRANT UPDATE (phase, waited_at) ON trading_runs TO botfleet_bot"}


def upgrade() -> None:
    op.add_column("trading_runs", sa.Column("phase", sa.Text()))
    op.add_column("trading_runs", sa.Column("waited_at", sa.DateTime(timezone=True)))
    # set once in a run's life, so heartbeats stay HOT
    op.create_index(
        "trading_runs_live_idx", "trading_runs", ["live_at"], postgresql_where=sa.text("live_at IS NOT NULL")
    )
    connection = op.get_bind()
    for role, grants in GRANTS.items():
        if connection.scalar(sa.text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}):
            op.execute(grants)


def downgrade() -> None:
    raise NotImplementedError("a run's history is kept: restore a backup instead")
