"""Moments that no program can read or reckon with are refused; rows that hold one get the nearest that can be

`infinity`, years before Christ and beyond 9999 can't be read by Python, and subtracting them ends a statement: one row
would spoil each look at all rows. Only tables that are read or reckoned with in batches are held to this.

Revision: 0012, after 0011
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

EARLIEST, LATEST = "'1000-01-01 00:00:00+00'::timestamptz", "'9000-01-01 00:00:00+00'::timestamptz"

MOMENTS = {
    "trading_bots": ("started_at", "last_heartbeat", "created_at", "updated_at", "archived_at"),
    "trading_runs": (
        "created_at", "claimed_at", "live_at", "heartbeat_at", "progress_at", "stop_requested_at", "fenced_at",
        "ended_at", "waited_at",
    ),
    "trading_checkpoints": ("last_bar_at", "created_at", "updated_at"),
    "trading_performance_metrics": ("calculated_at", "source_at", "created_at"),
    "trading_notifications": ("routed_at", "delivered_at", "created_at"),
    "notification_deliveries": ("attempted_at", "next_attempt_at", "expires_at", "delivered_at", "created_at"),
    "tenant_reservations": ("reserved_at",),
    "exchange_markets": ("fetched_at", "claimed_at"),
    "exchange_pauses": ("until", "told_at"),
    "controller_shards": ("renewed_at",),
}  # fmt: skip


def upgrade() -> None:
    for table, columns in MOMENTS.items():
        # nothing gets in between the look at the rows and the constraint
        op.execute(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")
        sound = " AND ".join(f"{column} BETWEEN {EARLIEST} AND {LATEST}" for column in columns)
        nearest = ", ".join(
            f"{column} = CASE WHEN {column} IS NOT NULL THEN LEAST(GREATEST({column}, {EARLIEST}), {LATEST}) END"
            for column in columns
        )
        op.execute(f"UPDATE {table} SET {nearest} WHERE NOT ({sound})")
        op.create_check_constraint(op.f(f"{table}_moments_check"), table, sound)


def downgrade() -> None:
    for table in MOMENTS:
        op.drop_constraint(op.f(f"{table}_moments_check"), table, type_="check")
