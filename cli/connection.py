"""Where the command line finds the database."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from fleet.errors import PermanentError
from fleet.foreign import clean_text
from fleet.trading_service.db import connect, url_problem


def database_url() -> str:
    """BOTFLEET_DATABASE_URL.

    Raises:
        PermanentError: it isn't set, or can't be read.
    """
    url = os.environ.get("BOTFLEET_DATABASE_URL")
    if not url:
        raise PermanentError(
            "BOTFLEET_DATABASE_URL is not set. After `make up`: . .botfleet/env; "
            "otherwise export postgresql://user:password@host:port/database"
        )
    if problem := url_problem(url):
        raise PermanentError(f"BOTFLEET_DATABASE_URL {problem}")
    return url


@contextmanager
def database() -> Iterator[psycopg.Connection[Any]]:
    """A connection; errors of a missing schema say what to do.

    Raises:
        DatabaseAway: no answer. PermanentError: no schema, or not permitted.
    """
    with connect(database_url(), application="botfleet cli") as connection:
        try:
            yield connection
        except psycopg.errors.UndefinedTable as error:
            raise PermanentError("the database has no Botfleet schema: run `botfleet db migrate`") from error
        except psycopg.errors.InsufficientPrivilege as error:
            raise PermanentError(f"not permitted: {error.diag.message_primary}") from error
        except psycopg.errors.CheckViolation as error:
            raise PermanentError(f"the database refuses this: {_said(error)}") from error
        except psycopg.Error as error:
            raise PermanentError(f"the database says: {_said(error)}") from error


def _said(error: psycopg.Error) -> str:
    return clean_text(error.diag.message_primary or error, 300)
