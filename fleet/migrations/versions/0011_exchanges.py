"""What all bots of one exchange share: market rules, and pauses that the exchange asked for

Revision: 0011, after 0010
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

GRANTS = {
    # people may forget a pause or a rule that is wrong
    "botfleet_user": "GRANT SELECT, DELETE ON exchange_markets, exchange_pauses TO botfleet_user",
    "botfleet_bot": """
        GRANT SELECT, INSERT, UPDATE ON exchange_markets, exchange_pauses TO botfleet_bot;
        GRANT UPDATE (waits_for) ON trading_runs TO botfleet_bot;
    """,
}


def upgrade() -> None:
    op.create_table(
        "exchange_markets",
        sa.Column("exchange", sa.Text(), nullable=False),
        sa.Column("venue", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("rules", postgresql.JSONB(astext_type=sa.Text())),
        sa.Column("fetched_at", sa.DateTime(timezone=True)),
        sa.Column("fetched_by", sa.BigInteger()),
        sa.Column("claimed_at", sa.DateTime(timezone=True)),
        sa.Column("claimed_by", sa.BigInteger()),
        sa.PrimaryKeyConstraint("exchange", "venue", "symbol", name=op.f("exchange_markets_pkey")),
        sa.CheckConstraint(
            "char_length(exchange) <= 50 AND char_length(venue) <= 300 AND char_length(symbol) <= 50",
            name=op.f("exchange_markets_names_check"),
        ),
        sa.CheckConstraint(
            "jsonb_typeof(rules) = 'object' AND octet_length(rules::text) <= 2000",
            name=op.f("exchange_markets_rules_check"),
        ),
        sa.CheckConstraint("(rules IS NULL) = (fetched_at IS NULL)", name=op.f("exchange_markets_fetched_check")),
        comment="Rules of markets, asked for by one bot and read by all; a row without rules is being asked for",
    )
    op.create_table(
        "exchange_pauses",
        sa.Column("exchange", sa.Text(), nullable=False),
        sa.Column("venue", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("told_by", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("exchange", "venue", "address", name=op.f("exchange_pauses_pkey")),
        sa.CheckConstraint(
            "char_length(exchange) <= 50 AND char_length(venue) <= 300 AND char_length(address) <= 300"
            " AND char_length(reason) <= 500",
            name=op.f("exchange_pauses_names_check"),
        ),
        # Binance's longest ban
        sa.CheckConstraint("until <= told_at + interval '3 days'", name=op.f("exchange_pauses_until_check")),
        comment="Until when an exchange wants no request from an address; holds for all bots behind it",
    )
    op.add_column("trading_runs", sa.Column("waits_for", sa.Text()))
    op.create_check_constraint(op.f("trading_runs_waits_for_check"), "trading_runs", "char_length(waits_for) <= 500")
    connection = op.get_bind()
    for role, grants in GRANTS.items():
        if connection.scalar(sa.text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}):
            op.execute(grants)


def downgrade() -> None:
    op.drop_column("trading_runs", "waits_for")
    op.drop_table("exchange_pauses")
    op.drop_table("exchange_markets")
