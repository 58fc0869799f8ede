"""Tables for people, JSON and YAML for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from rich.console import Console
from rich.table import Table

from fleet.foreign import Unreadable

Row = Mapping[str, Any]


class Output(StrEnum):
    """What `-o` takes."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"


def plain(value: Any) -> Any:
    """The value as JSON knows it: Decimals as strings without exponent, times as ISO 8601."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, date):  # a datetime is one too
        return value.isoformat()
    if isinstance(value, Unreadable):
        return f"unreadable: {value.reason}"
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def show(
    rows: Sequence[Row],
    *,
    output: Output,
    columns: Mapping[str, Callable[[Row], str]],
    wide: Sequence[str] = (),
    empty: str = "nothing found",
) -> None:
    """Print rows.

    Args:
        rows: what to print.
        output: how.
        columns: header → text of a row, in order.
        wide: headers that only `-o wide` shows.
        empty: said on stderr instead of an empty table.
    """
    if output is Output.JSON:
        print(json.dumps([plain(row) for row in rows], indent=2))
        return
    if output is Output.YAML:
        import yaml

        print(yaml.safe_dump([plain(row) for row in rows], sort_keys=False), end="")
        return
    if not rows:
        Console(stderr=True).print(empty)
        return
    headers = [header for header in columns if output is Output.WIDE or header not in wide]
    table = Table(box=None, pad_edge=False, header_style="")
    for header in headers:
        table.add_column(header, no_wrap=True)
    for row in rows:
        table.add_row(*(columns[header](row) for header in headers))
    console = Console(highlight=False)
    if not console.is_terminal:
        # a pipe has no width: never cut what a program may read
        console = Console(highlight=False, width=10_000, soft_wrap=True)
    console.print(table)


def age(moment: datetime | None) -> str:
    """How long ago: 3s, 12m, 5h, 9d."""
    if moment is None:
        return "-"
    seconds = max(0, int((datetime.now(UTC) - moment).total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def number(value: Decimal | None, *, digits: int = 8, signed: bool = False) -> str:
    """A number without trailing zeros, rounded to `digits` decimals."""
    if value is None:
        return "-"
    rounded = round(value, digits)
    text = f"{rounded:+f}" if signed else f"{rounded:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
