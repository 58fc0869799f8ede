"""`botfleet db`: the schema, and the embedded server."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Annotated

import typer

from cli.connection import database_url
from cli.output import say
from fleet.errors import PermanentError
from fleet.exit_codes import EXIT_FAILED, EXIT_OK

SERVE_GRACE_S = 60.0
"""The chart's grace period of the database: a fast shutdown writes out what is in memory."""

app = typer.Typer(help="Schema migrations, and a PostgreSQL server for trying things out.", no_args_is_help=True)


@app.command()
def migrate() -> None:
    """Bring the database of BOTFLEET_DATABASE_URL to this version's schema; safe to repeat.

    With BOTFLEET_CONTROLLER_PASSWORD, BOTFLEET_BOT_PASSWORD or BOTFLEET_WORKER_PASSWORD set, the roles
    botfleet_controller, botfleet_bot and botfleet_worker may log in with them.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from fleet.migrations import newest, upgrade

    url = database_url()
    try:
        upgrade(url)
    except SQLAlchemyError as error:
        raise PermanentError(f"migration failed: {str(error).splitlines()[0]}") from error
    except ValueError as error:
        raise PermanentError(str(error)) from error
    for role, variable in (
        ("botfleet_controller", "BOTFLEET_CONTROLLER_PASSWORD"),
        ("botfleet_bot", "BOTFLEET_BOT_PASSWORD"),
        ("botfleet_worker", "BOTFLEET_WORKER_PASSWORD"),
    ):
        if password := os.environ.get(variable):
            _let_log_in(url, role, password)
    say(f"database is at revision {newest()}")


def _let_log_in(url: str, role: str, password: str) -> None:
    import psycopg
    from psycopg import sql

    with psycopg.connect(url, autocommit=True) as connection:
        # the server's own log shows statements that fail: it gets the hash alone
        hashed = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
        statement = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}")
        connection.execute(statement.format(sql.Identifier(role), sql.Literal(hashed)))


@app.command()
def serve(
    data: Annotated[Path, typer.Option(help="Data folder; made when missing.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="TCP port.")] = 5432,
) -> None:
    """Run the embedded PostgreSQL in the foreground until SIGTERM; for laptops and evaluation only.

    BOTFLEET_OWNER_PASSWORD is the password of the owner role `botfleet`; without it only loopback is served.
    """
    from cli.embedded import EmbeddedPostgres
    from fleet.shutdown import Shutdown, bound_of

    started: list[subprocess.Popen[bytes]] = []

    def leave(code: int) -> None:
        for process in started:
            process.send_signal(signal.SIGQUIT)  # not left behind: it ends at once and recovers at its next start
        os._exit(code)

    shutdown = Shutdown(bound_of(SERVE_GRACE_S), leave=leave)
    shutdown.listen()
    server = EmbeddedPostgres(data=data, host=host, port=port, password=os.environ.get("BOTFLEET_OWNER_PASSWORD"))
    running = server.start(log=Path("/dev/stderr"))
    say(f"PostgreSQL listens on {host}:{port}, data in {data}")

    started.append(running.process)
    shutdown.on_signal(running.stop)
    code = running.process.wait()
    raise typer.Exit(EXIT_OK if code == 0 else EXIT_FAILED)
