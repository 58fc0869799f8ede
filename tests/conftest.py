"""Fixtures shared by all tests: a real PostgreSQL, and the real candles where they are at hand."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import settings

from cli.embedded import EmbeddedPostgres, free_port
from fleet import redaction
from fleet.migrations import upgrade
from tests.support import fresh_database

REPOSITORY = Path(__file__).resolve().parents[1]

# no test of ours is timed; CI gives the same verdict on the same code
settings.register_profile("botfleet", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("botfleet")


@pytest.fixture(autouse=True)
def _logs_end_with_the_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A test that sets logging up must not leave its captured stderr to later tests, nor hooks, nor known secrets."""
    configure = structlog.configure
    monkeypatch.setattr(
        structlog, "configure", lambda **settings: configure(**{**settings, "cache_logger_on_first_use": False})
    )
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    yield
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
    logging.captureWarnings(False)
    redaction.forget()
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of this session's own; its database `botfleet` is the migrated template."""
    folder = tmp_path_factory.mktemp("postgres")
    server = EmbeddedPostgres(data=folder / "data", port=free_port(), durable=False)
    with server.start() as running:
        upgrade(running.url)
        yield running.url


@pytest.fixture
def database_url(postgres_url: str) -> Iterator[str]:
    """A fresh, migrated, empty database, dropped afterwards."""
    with fresh_database(postgres_url) as url:
        yield url


@pytest.fixture(scope="session")
def candle_folder() -> Path:
    """The folder with real candles, beside the checkout."""
    folder = Path(os.environ.get("CANDLES") or REPOSITORY.parent / "shared" / "data")
    if not any(folder.glob("*.csv")):
        pytest.skip(f"no candle files in {folder}: set CANDLES to a folder with SYMBOL-INTERVAL.csv files")
    return folder
