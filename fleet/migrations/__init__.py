"""Schema migrations by Alembic, run from code: `upgrade(url)`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alembic.config import Config

HERE = Path(__file__).parent


def sqlalchemy_url(url: str) -> str:
    """The libpq URL as SQLAlchemy writes it, with psycopg 3 as the driver."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in ("postgresql", "postgres"):
        # what stands before a missing :// may be all of it, the password included
        raise ValueError("BOTFLEET_DATABASE_URL must start with postgresql://")
    return f"postgresql+psycopg://{rest}"


def upgrade(url: str, *, revision: str = "head") -> None:
    """Bring the database to the revision; two at once wait for each other.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database refused.
    """
    from alembic import command

    command.upgrade(_config(url), revision)


def newest() -> str:
    """The revision that this version of Botfleet needs."""
    from alembic.script import ScriptDirectory

    head = ScriptDirectory(str(HERE)).get_current_head()
    assert head is not None
    return head


def _config(url: str) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(HERE))
    config.attributes["url"] = sqlalchemy_url(url)
    return config
