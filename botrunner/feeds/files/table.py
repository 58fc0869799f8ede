"""From a file's bytes to rows of texts: packing, format, separators. What the cells mean is judged elsewhere.

Guarantees: a format is told by content, never by the file's name; what comes back has every row of the file with its
place. CSV and JSON need nothing but Python's own library, so a bot's process reads them; Feather and Parquet are read
by pyarrow, where it is installed.
"""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

from botrunner.feeds.files.columns import NAMES, plain_name
from botrunner.feeds.files.errors import CandleFileInvalid, Unclear, shown
from fleet.foreign import Unreadable, clean_text, load_json

BYTES_MOST = 1 << 29
"""Of a file, unpacked: ten years of candles of a minute have 400 MB. A small archive can hold a thousand times more."""

SEPARATORS: Mapping[str, str] = {"\t": "tabs", ";": "semicolons", "|": "bars", ",": "commas"}
"""In the order in which they are tried: a comma may also be inside of numbers."""

FIELDS_LEAST = 5
"""Of a line of candles: one that has as many by a separator is separated by it."""

PREAMBLE_MOST = 10
"""Lines above a header that aren't part of the table (an address, `sep=;`)."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of a file.

    Attributes:
        kind: in words, for people.
        names: of the columns; None: the file doesn't say.
        rows: texts of the cells; each row has at least one.
        lines: number of each row, from 1 on. by_line: whether they are lines of a text.
        header: line of the header, 0 for none.
        notes: what people should know of the reading.
    """

    kind: str
    names: Sequence[str] | None
    rows: Sequence[Sequence[str]]
    lines: Sequence[int]
    by_line: bool = True
    notes: tuple[str, ...] = ()
    header: int = 0


def read_table(path: Path) -> Table:
    """The rows of a file.

    Raises:
        CandleFileInvalid: it can't be read; the message names the file, the line where there is one, and what to do.
    """
    try:
        if path.is_dir():
            raise CandleFileInvalid(f"{path} can't be read: it is a folder; give the file with the candles")
        raw, packed = _unpacked(_limited(path))
        if not raw.strip():
            raise CandleFileInvalid(f"{path} has no candles: it is empty")
        table = _table(path, raw)
    except (OSError, ValueError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        if isinstance(error, Unclear):
            raise CandleFileInvalid(f"{path}: {error}") from error
        raise CandleFileInvalid(f"{path} can't be read: {clean_text(error, 300)}") from error
    return replace(table, kind=f"{packed}{table.kind}")


def _limited(path: Path) -> bytes:
    with path.open("rb") as file:
        return _bounded(file)


def _bounded(file: Any) -> bytes:
    raw: bytes = file.read(BYTES_MOST + 1)
    if len(raw) > BYTES_MOST:
        raise Unclear(f"more than {BYTES_MOST >> 20} MiB; give a part of it")
    return raw


def _unpacked(raw: bytes) -> tuple[bytes, str]:
    if raw.startswith(b"\x1f\x8b"):
        import gzip  # few bots need it

        with gzip.open(io.BytesIO(raw)) as file:
            return _bounded(file), "gzip of "
    if raw.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            names = [info.filename for info in archive.infolist() if _is_part(info)]
            if any(name.startswith("xl/") for name in names):
                raise Unclear("a workbook of a spreadsheet program; save the sheet as CSV")
            if len(names) != 1:
                some = ", ".join(shown(name) for name in names[:5]) or "none"
                raise Unclear(f"an archive must have one file in it, not {len(names)} ({some}); unpack it and give one")
            with archive.open(names[0]) as file:
                return _bounded(file), "zip of "
    return raw, ""


def _is_part(info: zipfile.ZipInfo) -> bool:
    return not info.is_dir() and not info.filename.startswith("__MACOSX/") and not info.filename.endswith(".CHECKSUM")


def _table(path: Path, raw: bytes) -> Table:
    if raw.startswith((b"ARROW1", b"FEA1", b"PAR1")):
        return _arrow(raw)
    for magic, what in _UNREAD.items():
        if raw.startswith(magic):
            raise Unclear(f"a file of {what}, which isn't read; unpack or convert it to CSV, JSON or Feather")
    text = _text(raw)
    begin = text.lstrip()[:1]
    if begin in ("[", "{"):
        return _json(raw if raw[:1] in (b"[", b"{") else text.strip().encode())
    return _csv(path, text)


_UNREAD: Mapping[bytes, str] = {
    b"\x89HDF": "HDF5",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"7z\xbc\xaf": "7-Zip",
    b"Rar!": "RAR",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet program (xls)",
    b"SQLite format 3": "SQLite",
    b"\x1f\x8b": "gzip in a gzip",
    b"PK\x03\x04": "zip in an archive",
}
"""First bytes of formats that people have candles in."""

_MARK = "\ufeff"
"""Byte order mark: means nothing where it stands inside, as files that were joined leave it."""


def _text(raw: bytes) -> str:
    return _decoded(raw).replace(_MARK, "")


def _decoded(raw: bytes) -> str:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16")
    nul = raw.find(b"\0")
    if nul >= 0:
        raise Unclear(f"no text: line {raw.count(10, 0, nul) + 1} has a NUL byte; give CSV, JSON, Feather or Parquet")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise Unclear(f"no UTF-8 at line {line}; save it as UTF-8") from error


# --- CSV -----------------------------------------------------------------------------------------------------------


def _csv(path: Path, text: str) -> Table:
    separator = _separator(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        for row in reader:
            # a spreadsheet writes separators alone for its empty rows
            if row and (row[0].strip() or _filled(row)):
                rows.append(row)
                lines.append(reader.line_num)
    except csv.Error as error:
        raise CandleFileInvalid(
            f"{path}:{reader.line_num}: no CSV: {error}; is a quotation mark missing, or the last line cut off?",
            line=reader.line_num,
        ) from error
    notes: list[str] = []
    begin = _preamble(rows, lines, notes)
    kind = f"CSV with {SEPARATORS[separator]}"
    if begin == len(rows) or not _is_header(rows[begin]):
        return Table(kind, None, rows[begin:], lines[begin:], notes=tuple(notes))
    header, header_line = rows[begin], lines[begin]
    names, depth = _names(rows[begin : begin + LEVELS_MOST + 1], notes)
    rows, lines = rows[begin + depth :], lines[begin + depth :]
    again = [line for row, line in zip(rows, lines, strict=True) if row == header]
    if again:
        notes.append(f"the header is repeated {len(again)} times, first at line {again[0]}")
        kept = [(row, line) for row, line in zip(rows, lines, strict=True) if row != header]
        rows, lines = [row for row, _ in kept], [line for _, line in kept]
    return Table(kind, names, rows, lines, notes=tuple(notes), header=header_line)


def _filled(row: Sequence[str]) -> int:
    """How many cells of a row say something."""
    return sum(not cell.isspace() for cell in row if cell)


LEVELS_MOST = 3
"""Lines of a header, without the one that names the index alone."""


def _names(rows: Sequence[Sequence[str]], notes: list[str]) -> tuple[list[str], int]:
    """The names of the columns, and of how many lines the header is.

    pandas writes columns of several levels (yfinance: price and ticker) as a line each, and then one that names the
    index alone (`Date,,,,,`).
    """
    depth = next((at for at in range(1, len(rows)) if rows[at][0].strip() and _filled(rows[at]) == 1), 0)
    table = rows[: depth + 1]
    of_one_width = len({len(row) for row in table}) == 1 < len(rows[0])
    if not depth or not of_one_width or any(_is_value(cell) for row in table for cell in row if cell.strip()):
        return [cell.strip() for cell in rows[0]], 1
    levels = sorted(rows[:depth], key=_known, reverse=True)
    for level in levels[1:]:
        others = list(dict.fromkeys(cell.strip() for cell in level[1:]))
        if len(others) > 1:
            raise Unclear(
                f"candles of more than one market side by side ({', '.join(map(shown, others[:5]))}): give one"
            )
    of = ", ".join(shown(level[1]) for level in levels[1:])
    notes.append(f"the header has {depth + 1} lines" + (f" and is that of {of}" if of else ""))
    return [rows[depth][0].strip(), *(cell.strip() for cell in levels[0][1:])], depth + 1


def _separator(text: str) -> str:
    for line in islice(io.StringIO(text), 2 * PREAMBLE_MOST):
        for separator in SEPARATORS:
            if line.count(separator) >= FIELDS_LEAST - 1:
                return separator
    raise Unclear(
        "line 1: no line has the columns of candles, separated by commas, semicolons, tabs or |: expected a table like "
        f"timestamp,open,high,low,close,volume, found {shown(text[:200])}"
    )


def _preamble(rows: Sequence[Sequence[str]], lines: Sequence[int], notes: list[str]) -> int:
    """How many rows stand above the table: short ones of words alone (no candle cut off among them), or any short ones
    above a header of known names."""
    short = 0
    while short < min(len(rows), PREAMBLE_MOST) and _filled(rows[short]) < FIELDS_LEAST:
        short += 1
    begin = short
    if short == len(rows) or _known(rows[short]) < FIELDS_LEAST - 1:
        begin = next((at for at in range(short) if any(_is_value(cell) for cell in rows[at])), short)
    if begin:
        skipped = f"line {lines[0]} is" if begin == 1 else f"lines {lines[0]} to {lines[begin - 1]} are"
        notes.append(f"{skipped} above the header and left out")
    return begin


def _is_header(row: Sequence[str]) -> bool:
    """Whether a row names columns: none is a value, or enough are known though one is called `24h_volume`."""
    return _known(row) >= FIELDS_LEAST - 1 or not any(_is_value(cell) for cell in row)


def _known(row: Sequence[str]) -> int:
    """How many cells are names of a candle's columns."""
    return sum(plain_name(cell) in _KNOWN for cell in row)


_KNOWN = frozenset(name for names in NAMES.values() for name in names)


def _is_value(cell: str) -> bool:
    """Whether a cell is a number or date, or begins like one: then its row is no header."""
    text = cell.strip().lstrip("+-$€")
    return text[:1].isdigit() or text[:1] == "." or text.lower() in ("nan", "null", "none", "inf")


# --- JSON ----------------------------------------------------------------------------------------------------------

_NO_NUMBER = re.compile(rb"[\[,:]\s*(NaN|-?Infinity)\b")

_DEPTH_MOST = 6
"""Keys under which an API's answer may have its candles, one in the other: result, list."""


def _json(raw: bytes) -> Table:
    document = load_json(raw, limit=BYTES_MOST, exact=True)
    kind = "JSON"
    if isinstance(document, Unreadable):
        by_line = _json_lines(raw)
        if by_line is None:
            raise Unclear(f"it {document.reason}{_first_no_number(raw)}")
        document, kind = by_line, "JSON lines"
    if isinstance(document, dict) and isinstance(document.get("columns"), list):
        rows, names = document.get("data"), [str(name) for name in document["columns"]]
        if isinstance(rows, list) and all(isinstance(row, list) for row in rows):
            return _listed(kind, rows, names)
    if isinstance(document, dict):
        found = dict(_inside(document))
        if len(found) > 1:
            some = ", ".join(shown(key) for key in list(found)[:5])
            raise Unclear(f"JSON with {len(found)} tables of candles ({some}): give a file with one")
        document = next(iter(found.values()), document)
    if isinstance(document, dict):
        lists = _scalars_by_name(document)
        if len(lists) >= FIELDS_LEAST:
            return _by_column(kind, lists)
        if _is_keyed(document):
            names = list(dict.fromkeys(key for row in document.values() for key in row))
            rows = [[at, *(row.get(name) for name in names)] for at, row in document.items()]
            return _listed(f"{kind}, an object of objects", rows, ["", *names])
        if sum(plain_name(key) in _KNOWN for key in document) >= FIELDS_LEAST - 1 and _is_nested(document):
            keys = list(dict.fromkeys(key for column in document.values() for key in column))
            rows = [[at, *(column.get(at) for column in document.values())] for at in keys]
            return _listed(f"{kind}, an object a column", rows, ["", *document])
    if not isinstance(document, list):
        raise Unclear("JSON of another shape: a list of rows is expected, [[time, open, high, low, close, volume], …]")
    if document and all(isinstance(row, dict) for row in document):
        names = list(dict.fromkeys(key for row in document for key in row))
        return _listed(f"{kind}, objects", [[row.get(name) for name in names] for row in document], names)
    odd = next((number for number, row in enumerate(document, start=1) if not isinstance(row, list)), None)
    if odd is not None:
        raise Unclear(f"row {odd}: a list like [time, open, high, low, close, volume] is expected")
    if document and all(isinstance(cell, str) and not _is_value(cell) for cell in document[0]):
        return _listed(kind, document[1:], [str(cell) for cell in document[0]], first=2)
    return _listed(kind, document, None)


def _json_lines(raw: bytes) -> list[Any] | None:
    lines = [line for line in raw.splitlines() if line.strip()]
    if len(lines) < 2:
        return None
    found: list[Any] = []
    for number, line in enumerate(lines, start=1):
        row = load_json(line, exact=True)
        if isinstance(row, Unreadable):
            if number <= 2:
                return None
            raise Unclear(f"row {number}: it {row.reason}")
        found.append(row)
    if all(isinstance(row, list) and row and all(isinstance(part, dict | list) for part in row) for row in found):
        return [row for page in found for row in page]  # an answer of an API a line
    return found if all(isinstance(row, dict | list) for row in found) else None


def _first_no_number(raw: bytes) -> str:
    """Where Python's own writer left a NaN."""
    match = _NO_NUMBER.search(raw)
    if match is None:
        return ""
    at = match.start(1)
    line, column = raw.count(b"\n", 0, at) + 1, at - raw.rfind(b"\n", 0, at)
    return f"; the first {match[1].decode()} is at line {line}, column {column}: delete the row if there was no candle"


def _inside(document: Mapping[str, Any], path: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """The tables of candles in an API's answer, each with its path; none of the answer's own level."""
    if depth > _DEPTH_MOST:
        return
    for key, value in document.items():
        below = f"{path}.{key}" if path else key
        if isinstance(value, list) and value and all(isinstance(row, list | dict) for row in value):
            if len(value[0]) >= FIELDS_LEAST:
                yield below, value
        elif isinstance(value, dict):
            if len(_scalars_by_name(value)) >= FIELDS_LEAST:
                yield below, value
            else:
                yield from _inside(value, below, depth + 1)


def _scalars_by_name(document: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Key → list of plain values, of those that are such lists."""
    return {
        key: value
        for key, value in document.items()
        if isinstance(value, list) and value and not any(isinstance(cell, list | dict) for cell in value)
    }


def _is_nested(document: Mapping[str, Any]) -> bool:
    return bool(document) and all(isinstance(value, dict) for value in document.values())


def _is_keyed(document: Mapping[str, Any]) -> bool:
    """Whether its values are candles, `{"1515560400000": {"open": ...}}`, as pandas writes them with orient="index"."""
    return _is_nested(document) and all(
        sum(plain_name(key) in _KNOWN for key in row) >= FIELDS_LEAST - 1 for row in document.values()
    )


def _by_column(kind: str, lists: Mapping[str, list[Any]]) -> Table:
    """`{"t": [...], "o": [...], ...}`"""
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) != 1:
        raise Unclear(f"its columns are of different lengths: {', '.join(f'{k} {v}' for k, v in lengths.items())}")
    rows = [list(row) for row in zip(*lists.values(), strict=True)]
    return _listed(f"{kind}, a list a column", rows, list(lists))


def _listed(kind: str, rows: Sequence[Sequence[Any]], names: Sequence[str] | None, *, first: int = 1) -> Table:
    texts = [[_cell(cell) for cell in row] for row in rows]
    return Table(kind, names, texts, range(first, first + len(texts)), by_line=False)


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool | dict | list):
        return json.dumps(value, default=str)
    return str(value) if isinstance(value, int | Decimal) else repr(value)


# --- Feather and Parquet -------------------------------------------------------------------------------------------


def _arrow(raw: bytes) -> Table:
    try:
        import pyarrow as pa
    except ImportError:
        raise Unclear(
            "Feather and Parquet are read with pyarrow, which isn't installed here: pip install 'botfleet[backtest]', "
            "or convert the file to CSV (a bot's image reads CSV and JSON alone)"
        ) from None
    parquet = raw.startswith(b"PAR1")
    try:
        if parquet:
            import pyarrow.parquet

            table = pyarrow.parquet.read_table(pa.BufferReader(raw))
        else:
            import pyarrow.feather

            table = pyarrow.feather.read_table(pa.BufferReader(raw))
        names = [str(name) for name in table.column_names]
        columns = [_texts(table.column(place)) for place in range(len(names))]
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError) as error:
        raise Unclear(f"no whole {'Parquet' if parquet else 'Feather'} file: {clean_text(error, 200)}") from error
    rows: Iterator[tuple[str, ...]] = zip(*columns, strict=True)
    texts = list(rows)
    without = [field.name for field in table.schema if pa.types.is_timestamp(field.type) and field.type.tz is None]
    notes = [f"times of {shown(name)} have no time zone and are taken for UTC" for name in without[:5]]
    kind = "Parquet" if parquet else "Feather"
    return Table(kind, names, texts, range(1, len(texts) + 1), by_line=False, notes=tuple(notes))


def _texts(column: Any) -> list[str]:
    import pyarrow as pa
    import pyarrow.compute as compute

    if pa.types.is_timestamp(column.type):
        # exact; an open that is no whole ms is refused by pyarrow
        column = column.cast(pa.timestamp("ms", column.type.tz)).cast(pa.int64())
    elif pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("ms")).cast(pa.int64())
    elif pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_nested(column.type):
        return ["…"] * len(column)
    # of a float the shortest text that is it, also of 32 bits
    texts: list[str] = compute.fill_null(column.cast(pa.string()), "").to_pylist()
    return texts
