"""What all simulations need."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
import structlog

from tests.simulation.replay import CLOCK
from tests.support import fresh_database


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Thousands of controllers have nothing to say that a failing test would show."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger("critical"), cache_logger_on_first_use=False
    )
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="module")
def simulated_url(postgres_url: str) -> Iterator[str]:
    """A migrated database whose clock is the recordings'; who uses it empties its tables first."""
    with fresh_database(postgres_url) as url:
        with psycopg.connect(url, autocommit=True) as database:
            database.execute(CLOCK)
        yield url
