"""Alembic's entry: one connection, one transaction, an advisory lock against two migrations at once."""

from alembic import context
from sqlalchemy import create_engine, text

from fleet.tables import metadata

LOCK = 7_238_003_106
"""Arbitrary, but the same in every version."""

engine = create_engine(context.config.attributes["url"])
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=metadata, compare_server_default=False)
    with context.begin_transaction():
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        context.run_migrations()
engine.dispose()
