"""Everything the command line prints: tables for people, JSON and YAML for programs.

Foreign text (a bot's name, an error, what a strategy said) is never markup, never a control character, and never
wider than `CELL_LIMIT` in a table; secrets are masked in what people read. JSON and YAML are exact and ASCII alone.
A terminal that can't show a character shows a replacement; a reader that goes away (`| head -1`) ends the command
without a word.

Stdout carries data and nothing else: while a command runs, whatever anybody else writes there (a strategy's `print`, a
library in C, a child process, a handler of the logging module) comes out on stderr (`own_stdout`). With `-o json` or
`yaml` the data is one document, whatever happens: `cli.main` prints one that tells of the error where no other came.
"""

from __future__ import annotations

import io
import json
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fleet.amounts import readable
from fleet.foreign import Unreadable, clean_text
from fleet.redaction import redact

CELL_LIMIT: Final = 2_000
"""Characters of a table's cell: the longest error message of a bot."""

TEXT_LIMIT: Final = 200_000
"""Characters of one text for people."""

LEAST_WIDTH: Final = 16
"""To so many characters a column may be cut on a terminal. What isn't a terminal gets all: a program may read it."""

LEAST_LAST: Final = 60
"""To so many the last column may be cut."""

GAP: Final = 2
"""Blanks between two columns."""

_STDOUT: Final = 1
_STDERR: Final = 2
_OWNER = os.getpid()

Row = Mapping[str, Any]


class Output(StrEnum):
    """What `-o` takes."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"


def plain(value: Any) -> Any:
    """The value as JSON knows it: Decimals as strings without exponent, times as ISO 8601, no NaN."""
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
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
    return clean_text(value, CELL_LIMIT)


# --- stdout --------------------------------------------------------------------------------------------------------


class _Stdout:
    """Where data goes, and whether any went there.

    Attributes:
        data: in the place of sys.stdout; None: that itself.
        written: whether a document was written, or its reader has gone away.
    """

    data: TextIO | None = None
    written = False


def data_stream() -> TextIO:
    """Where data goes."""
    return _Stdout.data or sys.stdout


@contextmanager
def own_stdout() -> Iterator[None]:
    """Keep stdout for data: who else writes there, by whatever means, writes to stderr.

    A process's own stdout stays so for the rest of its life, so that nothing follows the data at its end either.
    """
    stream = sys.stdout
    if _Stdout.data is not None:
        yield
    elif id(stream) == id(sys.__stdout__) and _descriptor(stream) == _STDOUT:
        stream.flush()
        _Stdout.data = os.fdopen(os.dup(_STDOUT), "w", encoding=stream.encoding, errors="replace")
        _point_at_stderr(_STDOUT)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)
        yield
    else:  # somebody collects what this process prints
        _Stdout.data, sys.stdout = stream, sys.stderr
        try:
            yield
        finally:
            sys.stdout, _Stdout.data = stream, None


def give_up_stdout() -> None:
    """In a copy of this process: whatever it writes goes to stderr, and it keeps nobody waiting for stdout's end."""
    for descriptor in (_STDOUT, _descriptor(_Stdout.data)):
        if descriptor is not None:
            _point_at_stderr(descriptor)
    sys.stdout = sys.stderr


def _descriptor(stream: TextIO | None) -> int | None:
    try:
        return None if stream is None else stream.fileno()
    except (OSError, ValueError):
        return None


def _point_at_stderr(descriptor: int) -> None:
    try:
        os.dup2(_STDERR, descriptor)
    except OSError:  # it is closed
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


def wanted_form(arguments: Sequence[str]) -> Output:
    """How the words of a command line ask to be answered, whether or not they can be understood otherwise."""
    found = Output.TABLE
    words = list(arguments[: arguments.index("--")] if "--" in arguments else arguments)
    if "--help" in words:
        return found
    for word, following in zip(words, [*words, ""][1:], strict=True):
        if word in ("-o", "--output"):
            value = following
        elif word.startswith("--output="):
            value = word.removeprefix("--output=")
        elif word.startswith("-o") and not word.startswith("--"):
            value = word.removeprefix("-o")
        else:
            continue
        found = next((one for one in Output if one == value), Output.TABLE)
    return found


def begin_output() -> None:
    """Nothing was written yet."""
    _Stdout.written = False


def ensure_document(form: Output, error: Mapping[str, Any]) -> bool:
    """Print a document that tells of an error, unless the command printed its own; whether it did so."""
    if form not in (Output.JSON, Output.YAML) or _Stdout.written:
        return False
    print_document({"error": error}, output=form)
    return True


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
    if output in (Output.JSON, Output.YAML):
        print_document(rows, output=output)
        return
    if not rows:
        say(empty)
        return
    headers = [header for header in columns if output is Output.WIDE or header not in wide]
    lines = [
        [cell(header) for header in headers],
        *([cell(columns[header](row)) for header in headers] for row in rows),
    ]
    widths = [max(text.cell_len for text in column) for column in zip(*lines, strict=True)]
    if data_stream().isatty():
        widths = fitted(widths, shutil.get_terminal_size().columns - GAP * (len(headers) - 1))
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="")
    for header, width in zip(lines[0], widths, strict=True):
        table.add_column(header, no_wrap=True, width=width)
    for line in lines[1:]:
        table.add_row(*line)
    shown = io.StringIO()
    whole = sum(widths) + GAP * len(widths)
    Console(file=shown, width=whole, markup=False, emoji=False, highlight=False, color_system=None).print(table)
    write(shown.getvalue())


def fitted(widths: Sequence[int], available: int) -> list[int]:
    """Widths of columns that fit into a terminal, as far as can be.

    The widest are cut, to LEAST_WIDTH at most: one long text of one row takes no other column from the reader. The last
    column, which says what is the matter, keeps LEAST_LAST or gets what is left. What is too wide even so is left to
    the terminal, which wraps it.
    """
    *others, last = widths
    room = available - min(last, LEAST_LAST)
    most = max(others, default=0)
    while most > LEAST_WIDTH and sum(min(width, most) for width in others) > room:
        most -= 1
    kept = [min(width, most) for width in others]
    return [*kept, min(last, max(LEAST_LAST, available - sum(kept)))]


def cell(foreign: object) -> Text:
    """A text as it may stand in a table: on one line, cut, and taken literally."""
    return Text(clean_text(foreign, CELL_LIMIT, lines=False))


def tell(text: str) -> None:
    """A text for people, on stdout."""
    write(_for_people(text) + "\n")


def say(text: str) -> None:
    """A text for people beside the data, on stderr."""
    print(_for_people(text), file=sys.stderr)


def print_document(document: Any, *, output: Output = Output.JSON) -> None:
    """A document for programs, exact: what isn't ASCII is escaped, so any terminal and pipe takes it.

    Values of rows are what `plain` makes of them.
    """
    document = plain(document)
    if output is Output.YAML:
        from cli.yaml_text import dump_yaml

        write(dump_yaml(document))
    else:
        write(json.dumps(document, indent=2) + "\n")


def write(text: str) -> None:
    """Write to stdout at once.

    Raises:
        SystemExit: nobody reads any more, which is no failure.
    """
    if os.getpid() != _OWNER:
        os._exit(1)  # a copy that foreign code made of this process and that came back: one of the two has the word
    stream = data_stream()
    _Stdout.written = True
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        leave_quietly()


def leave_quietly() -> None:
    """End with 0; what the interpreter still wants to write at its end goes nowhere.

    Raises:
        SystemExit: always.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), data_stream().fileno())
    raise SystemExit(0) from None


def open_streams() -> None:
    """Standard streams that the caller closed lead nowhere; else the next file opened would be taken for them."""
    for descriptor in (0, _STDOUT, _STDERR):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = os.fdopen(_STDOUT, "w", errors="replace")
    if sys.stderr is None:
        sys.stderr = os.fdopen(_STDERR, "w", errors="replace")


def forgive_characters() -> None:
    """Show a replacement for what the terminal's encoding doesn't have."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _for_people(text: str) -> str:
    return clean_text(redact(text), TEXT_LIMIT)


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
    """A number rounded for people; see `fleet.amounts.readable`."""
    return "-" if value is None else readable(value, places=digits, signed=signed)
