"""The migrated database is the schema of `fleet/tables.py`: whoever changes one and forgets the other is told here."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text

from fleet.migrations import sqlalchemy_url
from fleet.tables import metadata

pytestmark = pytest.mark.postgres


def test_migrations_make_what_the_tables_say(database_url: str) -> None:
    engine = create_engine(sqlalchemy_url(database_url))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_a_column_that_no_migration_made_is_found(database_url: str) -> None:
    engine = create_engine(sqlalchemy_url(database_url))
    with engine.connect() as connection:
        connection.execute(text("ALTER TABLE trading_bots ADD COLUMN surprise text"))
        found = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()
    assert [(change[0], change[2], change[3].name) for change in found] == [
        ("remove_column", "trading_bots", "surprise")
    ]
