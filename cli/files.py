"""Reads the JSON and YAML files that people hand to the command line: the one door for all of them.

Every failure is one line that begins with file:line:column and says what to do. A file whose name ends in .json is read
as JSON; any other as JSON if it is that, else as YAML 1.2. No key may stand twice in an object, in either.
"""

from __future__ import annotations

import codecs
import sys
from pathlib import Path
from typing import Any, Final

from cli.document_flaw import Flaw
from cli.json_text import Twice, parse_json
from fleet.errors import PermanentError
from fleet.foreign import BYTES_LIMIT, clean_text

STDIN: Final = "-"
REASON_LIMIT: Final = 500

_WIDE: Final = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


class FileUnreadable(PermanentError):
    """A file that can't be read.

    Attributes:
        file: its name, or stdin. reason: why, and what to do. line, column: where, from 1; None where no place fits.
    """

    def __init__(self, file: Path, flaw: Flaw) -> None:
        self.file = "stdin" if str(file) == STDIN else clean_text(file, 300, lines=False)
        self.reason = clean_text(flaw.reason, REASON_LIMIT, lines=False)
        self.line, self.column = flaw.line, flaw.column
        place = "".join(f":{part}" for part in (self.line, self.column) if part is not None)
        super().__init__(f"{self.file}{place}: {self.reason}")


class CandlesUnreadable(FileUnreadable):
    """A file of candles that can't be used; `message` says the place and what to do."""

    def __init__(self, file: Path, message: str, line: int | None) -> None:
        PermanentError.__init__(self, message)
        self.file, self.reason = clean_text(file, 300, lines=False), message
        self.line, self.column = line, None


def read_document(file: Path) -> Any:
    """What a JSON or YAML file says; `-` is stdin.

    Raises:
        FileUnreadable.
    """
    try:
        return _parsed(_text(_bytes(file)), file.suffix.lower())
    except Flaw as flaw:
        raise FileUnreadable(file, flaw) from flaw


def _bytes(file: Path) -> bytes:
    try:
        if str(file) == STDIN:
            raw = sys.stdin.buffer.read(BYTES_LIMIT + 1)
        else:
            with file.open("rb") as opened:
                raw = opened.read(BYTES_LIMIT + 1)
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise Flaw(f"can't be read: {said}") from error
    if len(raw) > BYTES_LIMIT:
        raise Flaw(f"is longer than {BYTES_LIMIT} bytes, which no config is: is it the right file?")
    return raw


def _text(raw: bytes) -> str:
    """UTF-8, with or without a byte order mark, as editors of Windows write it."""
    for mark, name in _WIDE.items():
        if raw.startswith(mark):
            raise Flaw(f"is {name}: save it as UTF-8 (PowerShell: `| Out-File -Encoding utf8`)")
    if b"\0" in raw[:4]:
        raise Flaw("is no text in UTF-8: it holds NUL bytes. Save it as UTF-8", line=1, column=raw.index(b"\0") + 1)
    raw = raw.removeprefix(codecs.BOM_UTF8)
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode()
        column = len(before) - before.rfind("\n")
        byte = raw[error.start]
        raise Flaw(
            f"the byte 0x{byte:02x} isn't UTF-8: save the file as UTF-8", line=before.count("\n") + 1, column=column
        ) from error
    if not text.strip():
        raise Flaw("is empty: a JSON or YAML document is expected")
    return text


def _parsed(text: str, suffix: str) -> object:
    if suffix == ".json":
        return parse_json(text)
    try:
        return parse_json(text)
    except Twice:
        raise
    except Flaw as flaw:
        as_json = flaw
    from cli.yaml_text import parse_yaml

    try:
        document = parse_yaml(text)
    except Flaw:
        # what begins like JSON and has no name to tell was meant as JSON
        if suffix not in (".yaml", ".yml") and text.lstrip().startswith(("{", "[")):
            raise as_json from None
        raise
    if document is None:
        raise Flaw("holds no document: null, or comments alone")
    return document
