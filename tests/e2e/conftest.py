"""The e2e cluster: what `make e2e` has brought up and described in the environment (.botfleet/e2e/env).

By hand: `KEEP=1 make e2e` once, then `. .botfleet/e2e/env && .venv/bin/pytest tests/e2e`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.e2e.installation import Cluster, Kubectl
from tests.e2e.rows import Bot, Database, config


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The installation that `make e2e` made."""
    missing = [name for name in ("KUBECONFIG", "BOTFLEET_DATABASE_URL", "BOTFLEET_NAMESPACE") if name not in os.environ]
    if missing or shutil.which("kubectl") is None:
        pytest.fail(f"no e2e cluster described (missing {missing or 'kubectl'}): run make e2e", pytrace=False)
    namespace = os.environ["BOTFLEET_NAMESPACE"]
    context = subprocess.run(["kubectl", "config", "current-context"], capture_output=True, text=True, check=True)
    return Cluster(
        name=context.stdout.strip().removeprefix("kind-"),
        namespace=namespace,
        database_url=os.environ["BOTFLEET_DATABASE_URL"],
        sandbox_url=os.environ.get("BOTFLEET_SANDBOX_URL", ""),
        kubectl=Kubectl(namespace),
    )


@pytest.fixture(scope="session")
def kubectl(cluster: Cluster) -> Kubectl:
    return cluster.kubectl


@pytest.fixture
def db(cluster: Cluster) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    """The owner's connection: autocommit, rows as dicts."""
    with psycopg.connect(cluster.database_url, autocommit=True, row_factory=dict_row) as connection:
        yield connection


@pytest.fixture
def bots(db: Database) -> Iterator[Any]:
    made: list[Bot] = []

    def make(**changes: Any) -> Bot:
        made.append(Bot(db, config(**changes)))
        return made[-1]

    yield make
    for bot in made:
        bot.set("archived_at = now()")


@pytest.fixture
def others_untouched(db: Database) -> Iterator[None]:
    """Whatever a test does to its bot, no sample bot gets a new run."""
    query = (
        "SELECT bot_id, max(epoch) AS epoch FROM trading_runs JOIN trading_bots ON id = bot_id "
        "WHERE name NOT LIKE 'e2e-%%' GROUP BY 1 ORDER BY 1"
    )
    before = db.execute(query).fetchall()
    yield
    assert db.execute(query).fetchall() == before
