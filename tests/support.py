"""Collaborators for tests."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import psycopg

_numbers = itertools.count(1)


@contextmanager
def fresh_database(postgres_url: str) -> Iterator[str]:
    """A migrated, empty database of the tests' server, dropped afterwards; gives its URL."""
    name = f"t{os.getpid()}_{next(_numbers)}"
    head = postgres_url.rpartition("/")[0]
    with psycopg.connect(f"{head}/postgres", autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE botfleet".encode())
        try:
            yield f"{head}/{name}"
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


class FakeClock:
    """A clock that moves only when told to, or by sleeping."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.time

    def now(self) -> datetime:
        return datetime(2018, 1, 10, tzinfo=UTC) + timedelta(seconds=self.time)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds
