"""The migrated database is the schema of `fleet/tables.py`: whoever changes one and forgets the other is told here."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, text

from fleet.migrations import sqlalchemy_url
from fleet.tables import metadata

pytestmark = pytest.mark.postgres

CHECKS = """
SELECT t.relname, c.conname, pg_get_constraintdef(c.oid)
FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid JOIN pg_namespace n ON n.oid = t.relnamespace
WHERE c.contype = 'c' AND n.nspname = :schema
"""


def checks(connection: Connection, schema: str) -> set[tuple[str, str, str]]:
    """Table, name and words of each check."""
    return {(row[0], row[1], row[2]) for row in connection.execute(text(CHECKS), {"schema": schema})}


def test_migrations_make_what_the_tables_say(database_url: str) -> None:
    engine = create_engine(sqlalchemy_url(database_url))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_migrations_make_the_checks_that_the_tables_have(database_url: str) -> None:
    """Alembic compares none."""
    engine = create_engine(sqlalchemy_url(database_url))
    with engine.connect() as connection:
        migrated = checks(connection, "public")
        connection.execute(text("CREATE SCHEMA said"))
        connection.execute(text("SET search_path TO said"))
        metadata.create_all(connection, checkfirst=False)
        said = checks(connection, "said")
        connection.rollback()
    engine.dispose()
    assert said
    assert migrated == said


def test_a_column_that_no_migration_made_is_found(database_url: str) -> None:
    engine = create_engine(sqlalchemy_url(database_url))
    with engine.connect() as connection:
        connection.execute(text("ALTER TABLE trading_bots ADD COLUMN surprise text"))
        found = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()
    assert [(change[0], change[2], change[3].name) for change in found] == [
        ("remove_column", "trading_bots", "surprise")
    ]
