from pathlib import Path

import psycopg
import pytest

from cli.embedded import EmbeddedPostgres, EmbeddedPostgresError, free_port


def test_a_public_address_needs_a_password(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match="BOTFLEET_OWNER_PASSWORD"):
        EmbeddedPostgres(data=tmp_path / "data", host="0.0.0.0").initialise()
    assert not (tmp_path / "data").exists()


@pytest.mark.postgres
def test_passwords_data_and_a_second_start(tmp_path: Path) -> None:
    server = EmbeddedPostgres(data=tmp_path / "data", port=free_port(), password="p@ss/word", durable=False)
    (tmp_path / "data").mkdir()  # as a mounted volume
    with server.start() as running:
        with psycopg.connect(running.url, autocommit=True) as connection:
            connection.execute("CREATE TABLE kept (x int)")
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(running.url.replace("p%40ss%2Fword", "wrong"))
    with server.start() as running, psycopg.connect(running.url) as connection:
        connection.execute("SELECT * FROM kept")


@pytest.mark.postgres
def test_a_busy_port_is_named(tmp_path: Path) -> None:
    first = EmbeddedPostgres(data=tmp_path / "one", port=free_port(), durable=False)
    with first.start(), pytest.raises(EmbeddedPostgresError, match=f"port {first.port} ended at once"):
        EmbeddedPostgres(data=tmp_path / "two", port=first.port, durable=False).start()
