"""Which settings a run's pod got, and which ones new runs get

Revision: 0009, after 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # of runs that exist nobody knows: they count as older
    op.add_column("trading_runs", sa.Column("settings_hash", sa.Text()))
    op.add_column("controller_shards", sa.Column("settings_hash", sa.Text()))


def downgrade() -> None:
    op.drop_column("controller_shards", "settings_hash")
    op.drop_column("trading_runs", "settings_hash")
