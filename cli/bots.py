"""`botfleet bots`: what runs, and what should."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import performance
from cli.connection import database
from cli.files import FileUnreadable, read_document
from cli.names import extra_names
from cli.output import Output, age, number, print_document, show, tell
from fleet.config import ConfigInvalid, parse_config
from fleet.error_trends import trends
from fleet.errors import PermanentError
from fleet.foreign import clean_text
from fleet.trading_service import admin
from fleet.trading_service.error_counts import list_errors

app = typer.Typer(help="List, apply, start and stop bots.", no_args_is_help=True)
app.command()(performance.performance)
app.command()(performance.equity)

NAME_LIMIT = 200

OutputOption = Annotated[Output, typer.Option("-o", "--output", help="How to print.")]
BotArgument = Annotated[str, typer.Argument(help="A bot's name or id.")]

_COLUMNS = {
    "ID": lambda row: str(row["id"]),
    "NAME": lambda row: row["name"],
    "MODE": lambda row: row["mode"] or "-",
    "SYMBOL": lambda row: row["symbol"] or "-",
    "TF": lambda row: row["interval"] or "-",
    "WANTED": lambda row: "archived" if row["archived_at"] else "on" if row["enabled"] else "off",
    "STATUS": lambda row: row["status"],
    "EPOCH": lambda row: str(row["epoch"] or "-"),
    "HB": lambda row: age(row["last_heartbeat"]),
    "POS": lambda row: "open" if row["in_position"] else "-",
    "TRADES": lambda row: str(row["trades"]),
    "BALANCE": lambda row: number(row["current_balance"], digits=6),
    "PNL": lambda row: number(row["total_pnl"], digits=6, signed=True),
    "POD": lambda row: row["pod_name"] or "-",
    "NODE": lambda row: row["node"] or "-",
    "ERRORS": lambda row: str(row["error_count"]),
    "SETTINGS": lambda row: "-" if row["outdated"] is None else "older" if row["outdated"] else "current",
    "MESSAGE": lambda row: row["error_message"] or "",
}
_WIDE = ("POD", "NODE", "ERRORS")


@app.command("list")
def list_(
    output: OutputOption = Output.TABLE,
    archived: Annotated[bool, typer.Option(help="Show archived bots too.")] = False,
) -> None:
    """All bots at a glance."""
    with database() as connection:
        rows = admin.list_bots(connection, archived=archived)
    _show(rows, output)


@app.command("show")
def show_(bot: BotArgument) -> None:
    """One bot with its config, as JSON."""
    with database() as connection:
        bot_id = admin.bot_id_of(connection, bot)
        row = admin.list_bots(connection, bot_id=bot_id)[0]
        config = connection.execute("SELECT config FROM trading_bots WHERE id = %s", (bot_id,)).fetchone()
    assert config is not None
    print_document({**row, "config": config[0] if config else None})


@app.command()
def apply(
    file: Annotated[Path, typer.Option("-f", "--file", help="A JSON or YAML file, or a folder of them.")],
) -> None:
    """Create or update bots from files: each an object with name, enabled, config and maybe description.

    Nothing is written when any config is invalid.
    """
    documents, problems = _documents(file)
    problems += [problem for source, document in documents for problem in _problems(source, document)]
    problems += _twice(documents)
    if problems:
        raise PermanentError("nothing was applied:\n" + "\n".join(f"  {problem}" for problem in problems))
    with database() as connection, connection.transaction():
        for _, document in documents:
            bot_id, what = admin.apply_bot(
                connection,
                name=document["name"],
                config=document["config"],
                enabled=document.get("enabled", False),
                description=document.get("description"),
            )
            tell(f"bot {bot_id} {document['name']} {what}")


@app.command()
def start(bot: BotArgument) -> None:
    """Set enabled: the controller starts a pod."""
    _enable(bot, enabled=True)


@app.command()
def stop(bot: BotArgument) -> None:
    """Clear enabled: the controller stops the pod; trading.on_stop says what becomes of an open position."""
    _enable(bot, enabled=False)


@app.command()
def restart(bot: BotArgument) -> None:
    """End the bot's run and start the next one, with the current settings; the next run takes the position over."""
    with database() as connection:
        epoch = admin.restart_bot(connection, admin.bot_id_of(connection, bot))
    if epoch is None:
        raise PermanentError(f"bot {bot} has no run that could be asked to end: `botfleet bots runs {bot}`")
    tell(f"bot {bot}: run {epoch} was asked to end, the next one follows")


@app.command()
def trades(
    bot: Annotated[str | None, typer.Argument(help="A bot's name or id; all bots without it.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 20,
    output: OutputOption = Output.TABLE,
) -> None:
    """The newest trades."""
    with database() as connection:
        bot_id = admin.bot_id_of(connection, bot) if bot else None
        rows = admin.list_trades(connection, bot_id, limit=limit)
    columns = {
        "ID": lambda row: str(row["id"]),
        "BOT": lambda row: str(row["bot_id"]),
        "SYMBOL": lambda row: row["symbol"],
        "DIR": lambda row: row["direction"],
        "STATUS": lambda row: row["status"],
        "ENTRY": lambda row: f"{row['entry_time']:%Y-%m-%d %H:%M}",
        "EXIT": lambda row: f"{row['exit_time']:%Y-%m-%d %H:%M}" if row["exit_time"] else "-",
        "IN": lambda row: number(row["entry_price"]),
        "OUT": lambda row: number(row["exit_price"]),
        "SIZE": lambda row: number(row["size"]),
        "NET": lambda row: number(row["net_pnl"], signed=True),
        "%": lambda row: number(row["pnl_percentage"], digits=2, signed=True),
        "BY": lambda row: row["exit_reason"] or "-",
    }
    show(rows, output=output, columns=columns, empty="no trades yet")


@app.command()
def runs(
    bot: BotArgument,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 20,
    output: OutputOption = Output.TABLE,
) -> None:
    """The newest runs: every start, and why it ended."""
    with database() as connection:
        rows = admin.list_runs(connection, admin.bot_id_of(connection, bot), limit=limit)
    columns = {
        "EPOCH": lambda row: str(row["epoch"]),
        "VERSION": lambda row: str(row["config_version"]),
        "POD": lambda row: row["pod_name"],
        "CLAIMED": lambda row: age(row["claimed_at"]),
        "HB": lambda row: age(row["heartbeat_at"]),
        "ENDED": lambda row: age(row["ended_at"]),
        "EXIT": lambda row: str(row["exit_code"]) if row["exit_code"] is not None else "-",
        "REASON": lambda row: row["exit_reason"] or "-",
        "SETTINGS": lambda row: row["settings_hash"] or "-",
        "PEAK": lambda row: f"{row['peak_memory_bytes'] / 1e6:.0f}M" if row["peak_memory_bytes"] else "-",
        "MESSAGE": lambda row: row["error_message"] or "",
    }
    show(rows, output=output, columns=columns, empty="it never ran")


@app.command()
def errors(
    bot: BotArgument,
    hours: Annotated[int, typer.Option(min=1, max=24 * 90, help="How far back.")] = 48,
    output: OutputOption = Output.TABLE,
) -> None:
    """What goes wrong in a bot, by kind: how often now, and how often before."""
    with database() as connection:
        rows = list_errors(connection, admin.bot_id_of(connection, bot), hours=hours)
    columns = {
        "KIND": lambda row: row["kind"],
        "PART": lambda row: row["part"],
        "NOW/H": lambda row: f"{row['now_per_hour']:.1f}",
        "BEFORE/H": lambda row: f"{row['before_per_hour']:.1f}",
        "TREND": lambda row: row["direction"],
        "TOTAL": lambda row: str(row["total"]),
        "LAST": lambda row: age(row["last_seen"]),
        "MESSAGE": lambda row: row["last_message"].splitlines()[0] if row["last_message"] else "",
    }
    found = [{**asdict(trend), "direction": trend.direction.value} for trend in trends(rows, now=datetime.now(UTC))]
    show(found, output=output, columns=columns, empty=f"no errors in the last {hours} h")


def _show(rows: list[dict[str, Any]], output: Output) -> None:
    empty = "there are no bots yet: `botfleet bots apply -f FILE`, or INSERT INTO trading_bots"
    show(rows, output=output, columns=_COLUMNS, wide=_WIDE, empty=empty)


def _enable(bot: str, *, enabled: bool) -> None:
    with database() as connection:
        changed = admin.set_enabled(connection, admin.bot_id_of(connection, bot), enabled=enabled)
    word = "enabled" if enabled else "disabled"
    tell(f"bot {bot} {word}" if changed else f"bot {bot} was {word} already")


def _documents(path: Path) -> tuple[list[tuple[str, Any]], list[str]]:
    """The documents of a file or folder by file, and why others can't be read."""
    try:
        files = sorted(p for p in path.iterdir() if p.suffix in (".json", ".yaml", ".yml")) if path.is_dir() else [path]
    except OSError as error:
        raise PermanentError(f"{path} can't be read: {error.strerror}") from error
    if not files:
        raise PermanentError(f"{path} has no .json or .yaml files")
    documents, problems = [], []
    for file in files:
        try:
            documents.append((str(file), read_document(file)))
        except FileUnreadable as error:
            problems.append(str(error))
    return documents, problems


def _twice(documents: Sequence[tuple[str, Any]]) -> Iterator[str]:
    """Bots that two files want to make, each as it says: one of them would be lost without a word."""
    seen: dict[str, str] = {}
    for source, document in documents:
        name = document.get("name") if isinstance(document, dict) else None
        if not isinstance(name, str):
            continue
        if name in seen:
            yield f"{source}: the bot {clean_text(name, NAME_LIMIT, lines=False)} is in {seen[name]} too"
        seen.setdefault(name, source)


def _problems(source: str, document: Any) -> Iterator[str]:
    if not isinstance(document, dict) or not isinstance(document.get("name"), str):
        yield f"{source}: an object with name, enabled and config is expected"
        return
    name, description = document["name"], document.get("description")
    if not name or clean_text(name, NAME_LIMIT, lines=False) != name:
        yield f"{source}: name must be 1 to {NAME_LIMIT} characters without control characters or blanks at its ends"
    if description is not None and not isinstance(description, str):
        yield f"{source}: description must be a text"
    unknown = sorted(clean_text(key, 100) for key in set(document) - {"name", "enabled", "config", "description"})
    if unknown:
        yield f"{source}: unknown keys {', '.join(unknown)}; known are name, enabled, config, description"
    if not isinstance(document.get("enabled", False), bool):
        yield f"{source}: enabled must be true or false"
    try:
        parse_config(document.get("config"), extra_names=extra_names(document.get("config")))
    except ConfigInvalid as error:
        yield f"{source}: config: {error}"
