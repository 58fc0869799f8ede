"""`botfleet notify`: what people were told, what wasn't delivered and why, and whether messages arrive."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import typer

from cli.connection import database
from cli.output import Output, age, print_document, say, show, tell, write
from fleet.errors import PermanentError
from fleet.foreign import object_of
from fleet.redaction import redact
from fleet.trading_service import admin, notifications
from worker.channels.messages import Item, Message, document, one_line, subject, text
from worker.channels.outcome import Channel
from worker.channels.telegram import cut_to_length

app = typer.Typer(help="Look at notifications, test channels, try again.", no_args_is_help=True)

OutputOption = Annotated[Output, typer.Option("-o", "--output", help="How to print.")]
NumberArgument = Annotated[int, typer.Argument(metavar="ID", help="The notification's number: `botfleet notify list`.")]
BotOption = Annotated[str | None, typer.Option(help="A bot's name or id.")]
UserOption = Annotated[str | None, typer.Option(help="A user's name or id.")]

TEST_WAIT_S = 30.0

_COLUMNS = {
    "ID": lambda row: str(row["id"]),
    "AGE": lambda row: age(row["created_at"]),
    "ABOUT": lambda row: row["bot"] or row["owner"] or "-",
    "KIND": lambda row: row["kind"],
    "SEVERITY": lambda row: row["severity"],
    "STATE": lambda row: row["state"],
    "CHANNELS": lambda row: " ".join(f"{d['channel']}:{d['state']}" for d in row["deliveries"]) or "-",
    "TITLE": lambda row: one_line(row["title"], 80),
    "TARGETS": lambda row: " ".join(d["target"] or "-" for d in row["deliveries"]),
    "ATTEMPTS": lambda row: " ".join(str(d["attempts"]) for d in row["deliveries"]),
    "ERROR": lambda row: one_line(row["last_error"] or _errors(row), 120),
}
_WIDE = ("TARGETS", "ATTEMPTS")


def _errors(row: dict[str, Any]) -> str:
    return "; ".join(f"{d['channel']}: {d['last_error']}" for d in row["deliveries"] if d["last_error"])


@app.command("list")
def list_(
    bot: BotOption = None,
    state: Annotated[str | None, typer.Option(help="pending, delivered, failed or suppressed.")] = None,
    kind: Annotated[str | None, typer.Option(help="For example position_closed.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 20,
    output: OutputOption = Output.TABLE,
) -> None:
    """The newest notifications and what became of them: the history."""
    if state is not None and state not in notifications.STATES:
        raise PermanentError(f"--state is {state!r}; it must be one of {', '.join(notifications.STATES)}")
    with database() as connection:
        bot_id = admin.bot_id_of(connection, bot) if bot else None
        rows = notifications.list_notifications(connection, bot_id=bot_id, state=state, kind=kind, limit=limit)
    show([_cleaned(row) for row in rows], output=output, columns=_COLUMNS, wide=_WIDE, empty="nothing was told yet")


app.command("history", hidden=True)(list_)


def _cleaned(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "title": redact(row["title"]), "body": redact(row["body"])}


@app.command()
def preview(
    number: NumberArgument,
    channel: Annotated[Channel, typer.Option(help="The channel.")] = Channel.TELEGRAM,
) -> None:
    """How a notification looks on a channel; nothing is sent."""
    with database() as connection:
        row = notifications.get_notification(connection, number)
    key = next((d["idempotency_key"] for d in row["deliveries"] if d["channel"] == channel), "0" * 32)
    item = Item(
        id=row["id"],
        kind=row["kind"],
        severity=row["severity"],
        title=row["title"],
        body=row["body"],
        at=row["created_at"],
        subject="/".join(part for part in (row["owner"] or "botfleet", row["bot"]) if part),
        bot_id=row["bot_id"],
        epoch=row["epoch"],
        facts=object_of(row["facts"]),
    )
    message = Message(key, None, (item,))
    match channel:
        case Channel.WEBHOOK:
            print_document(json.loads(document(message)))
        case Channel.EMAIL:
            tell(f"Subject: {subject(message)}\n\n{text(message)}")
        case Channel.TELEGRAM:
            tell(cut_to_length(message))


@app.command()
def retry(
    number: NumberArgument,
    channel: Annotated[Channel | None, typer.Option(help="This channel alone.")] = None,
) -> None:
    """Send again what failed or was skipped, after an address or a setting was corrected."""
    with database() as connection:
        channels = notifications.retry(connection, number, channel)
    tell(f"notification {number} is tried again on {', '.join(channels)}")


@app.command("test")
def send_test(
    channel: Annotated[Channel, typer.Option(help="Which one.")],
    bot: BotOption = None,
    user: UserOption = None,
    wait_s: Annotated[float, typer.Option(min=0, max=600, help="For the outcome.")] = TEST_WAIT_S,
) -> None:
    """Send a test message the way every message goes: outbox, worker, channel. Exit code 1 if it doesn't arrive.

    To a bot's receivers, to a user's own, or without either to those who run the installation.
    """
    if bot and user:
        raise typer.BadParameter("give --bot or --user, not both")
    with database() as connection:
        bot_id = admin.bot_id_of(connection, bot) if bot else None
        user_id = admin.user_id_of(connection, user) if user else None
        number = notifications.add_test(
            connection, channels=[channel], bot_id=bot_id, user_id=user_id, key=f"test:{uuid4()}"
        )
        row = _outcome(connection, number, wait_s)
    if row["state"] == "delivered":
        target = next((d["target"] for d in row["deliveries"]), "")
        tell(f"notification {number} was delivered by {channel} to {target}")
        return
    raise PermanentError(_why(row, number, channel, wait_s))


def _outcome(connection: Any, number: int, wait_s: float) -> dict[str, Any]:
    deadline = time.monotonic() + wait_s
    while True:
        row = notifications.get_notification(connection, number)
        if row["state"] != "pending" or time.monotonic() > deadline:
            return row
        time.sleep(0.2)


def _why(row: dict[str, Any], number: int, channel: Channel, wait_s: float) -> str:
    if row["state"] != "pending":
        return f"notification {number} was not delivered: {row['last_error']}"
    if not row["deliveries"]:
        return (
            f"notification {number} was not picked up within {wait_s:g} s: does the worker run? "
            "kubectl get deployment -l app.kubernetes.io/name=worker, or .botfleet/log/worker.log"
        )
    [delivery] = row["deliveries"]
    error = delivery["last_error"] or "no answer yet"
    return f"notification {number} is still on its way by {channel} after {wait_s:g} s and will be tried again: {error}"


@app.command()
def key(user: UserOption = None) -> None:
    """The secret (whsec_...) that a receiver checks webhooks of a user with; without --user, of the operators.

    Needs the worker's BOTFLEET_WEBHOOK_SECRET, or BOTFLEET_WEBHOOK_SECRET_FILE.
    """
    from worker.channels.signature import signing_secret

    secret = os.environ.get("BOTFLEET_WEBHOOK_SECRET", "")
    file = os.environ.get("BOTFLEET_WEBHOOK_SECRET_FILE")
    try:
        secret = Path(file).read_text() if file else secret
    except OSError as error:
        raise PermanentError(f"BOTFLEET_WEBHOOK_SECRET_FILE can't be read: {error}") from error
    if not secret.strip():
        raise PermanentError(
            "BOTFLEET_WEBHOOK_SECRET is not set. The chart keeps it: kubectl get secret botfleet-notifications "
            "-o jsonpath='{.data.webhook-secret}' | base64 -d"
        )
    user_id = None
    if user:
        with database() as connection:
            user_id = admin.user_id_of(connection, user)
    say(f"the key of {f'user {user}' if user else 'the operators'}:")
    write(signing_secret(secret.strip(), user_id) + "\n")
