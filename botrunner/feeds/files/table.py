"""From a file's bytes to rows of texts: packing, format, separators. What the cells mean is judged elsewhere.

Guarantees: a format is told by content, never by the file's name; what comes back has every row of the file with its
place. CSV and JSON need nothing but Python's own library, so a bot's process reads them; Feather and Parquet are read
by pyarrow, where it is installed.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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
        notes: what people should know of the reading.
    """

    kind: str
    names: Sequence[str] | None
    rows: Sequence[Sequence[str]]
    lines: Sequence[int]
    by_line: bool = True
    notes: tuple[str, ...] = ()


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
    return Table(f"{packed}{table.kind}", table.names, table.rows, table.lines, table.by_line, table.notes)


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
    for magic, what in ((b"\x89HDF", "HDF5"), (b"BZh", "bzip2"), (b"\xfd7zXZ", "xz"), (b"\x28\xb5\x2f\xfd", "zstd")):
        if raw.startswith(magic):
            raise Unclear(f"a file of {what}, which isn't read; unpack or convert it to CSV, JSON or Feather")
    text = _text(raw)
    begin = text.lstrip()[:1]
    if begin in ("[", "{"):
        return _json(raw if raw[:1] in (b"[", b"{") else text.strip().encode())
    return _csv(path, text)


def _text(raw: bytes) -> str:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16")
    nul = raw.find(b"\0")
    if nul >= 0:
        raise Unclear(f"no text: line {raw.count(10, 0, nul) + 1} has a NUL byte; give CSV, JSON, Feather or Parquet")
    try:
        return raw.decode("utf-8-sig")
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
            if len(row) > 1 or (row and row[0].strip()):
                rows.append(row)
                lines.append(reader.line_num)
    except csv.Error as error:
        raise CandleFileInvalid(
            f"{path}:{reader.line_num}: no CSV: {error}; is a quotation mark missing, or the last line cut off?"
        ) from error
    notes: list[str] = []
    begin = _preamble(rows, lines, notes)
    kind = f"CSV with {SEPARATORS[separator]}"
    names = None
    if begin < len(rows) and _is_header(rows[begin]):
        names = [cell.strip() for cell in rows[begin]]
        header = rows[begin]
        begin += 1
        again = [line for row, line in zip(rows[begin:], lines[begin:], strict=True) if row == header]
        if again:
            notes.append(f"the header is repeated {len(again)} times, first at line {again[0]}")
            kept = [(row, line) for row, line in zip(rows[begin:], lines[begin:], strict=True) if row != header]
            return Table(kind, names, [row for row, _ in kept], [line for _, line in kept], notes=tuple(notes))
    return Table(kind, names, rows[begin:], lines[begin:], notes=tuple(notes))


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
    """How many rows stand above the table: short ones of words alone, no candle cut off among them."""
    begin = 0
    while (
        begin < min(len(rows), PREAMBLE_MOST)
        and len(rows[begin]) < FIELDS_LEAST
        and not any(_is_value(cell) for cell in rows[begin])
    ):
        begin += 1
    if begin:
        notes.append(f"line{'s' if begin > 1 else ''} up to {lines[begin - 1]} above the header left out")
    return begin


def _is_header(row: Sequence[str]) -> bool:
    """Whether a row names columns: none is a value, or enough are known though one is called `24h_volume`."""
    known = sum(plain_name(cell) in _KNOWN for cell in row)
    return known >= FIELDS_LEAST - 1 or not any(_is_value(cell) for cell in row)


_KNOWN = frozenset(name for names in NAMES.values() for name in names)


def _is_value(cell: str) -> bool:
    """Whether a cell is a number or date, or begins like one: then its row is no header."""
    text = cell.strip().lstrip("+-$€")
    return text[:1].isdigit() or text[:1] == "." or text.lower() in ("nan", "null", "none", "inf")


# --- JSON ----------------------------------------------------------------------------------------------------------

_WRAPPERS = ("data", "candles", "klines", "result", "ohlcv")
"""Keys under which an API's answer has its candles."""


def _json(raw: bytes) -> Table:
    document = load_json(raw, limit=BYTES_MOST, exact=True)
    kind = "JSON"
    if isinstance(document, Unreadable):
        by_line = _json_lines(raw)
        if by_line is None:
            raise Unclear(f"it {document.reason}")
        document, kind = by_line, "JSON lines"
    if isinstance(document, dict) and isinstance(document.get("columns"), list):
        rows, names = document.get("data"), [str(name) for name in document["columns"]]
        if isinstance(rows, list) and all(isinstance(row, list) for row in rows):
            return _listed(kind, rows, names)
    if isinstance(document, dict):
        wrapped = [document[key] for key in _WRAPPERS if isinstance(document.get(key), list)]
        lists = {key: value for key, value in document.items() if isinstance(value, list)}
        if len(wrapped) == 1:
            document = wrapped[0]
        elif len(lists) >= FIELDS_LEAST:
            return _by_column(kind, lists)
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
    return found if all(isinstance(row, dict | list) for row in found) else None


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
    return Table("Parquet" if parquet else "Feather", names, texts, range(1, len(texts) + 1), by_line=False)


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
