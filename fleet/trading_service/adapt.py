"""How values pass between Python and PostgreSQL, on every connection that Botfleet makes.

In: a json or jsonb value is read by `fleet.foreign.load_json`, so a document that can't be read is `Unreadable` in its
own row and never an exception of the whole result; a moment, a day or a time of day that Python doesn't have
(`infinity`, a year beyond 9999, 24:00) is the nearest that it has. Out: no text can make a statement fail: what
PostgreSQL can't store (NUL, half a surrogate pair) becomes U+FFFD, in parameters and within JSON. What people read is
cleaned further by its writer (`text_for_people`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from typing import Any, Final

import psycopg
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import AdaptersMap, Loader
from psycopg.pq import Format
from psycopg.types.json import set_json_dumps, set_json_loads
from psycopg.types.string import StrDumper, StrDumperUnknown

from fleet.errors import PermanentError
from fleet.foreign import Unreadable, clean_text, load_json

MESSAGE_LIMIT = 2_000
"""Characters of an error message, a reason or a notification's title or body."""

EARLIEST: Final = datetime(1000, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(9000, 1, 1, tzinfo=UTC)
"""Moments and days are read as at least and at most these: whatever is added to one, and in whatever zone it is
shown, stays within what Python has. The tables' own constraints say the same."""

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


class NotStorable(PermanentError):
    """A document of our own that could not be read again."""


class Adapters:
    """What is handed to psycopg as `context`: its own adapters with the loaders and dumpers of this module."""

    def __init__(self) -> None:
        self.adapters = AdaptersMap(psycopg.adapters)
        self.connection = None
        set_json_loads(load_json, self)
        set_json_dumps(dump_json, self)
        # the last one registered is the default of a parameter; the other one is for elements of arrays
        self.adapters.register_dumper(str, _Text)
        self.adapters.register_dumper(str, _Unknown)
        for name, loader in (("timestamptz", _Moment), ("date", _Day), ("time", _TimeOfDay)):
            self.adapters.register_loader(name, loader)


def storable(text: str) -> str:
    """The text with U+FFFD for what PostgreSQL can't store; nothing else is changed."""
    return _UNSTORABLE.sub("\ufffd", text)


def text_for_people(foreign: object, limit: int = MESSAGE_LIMIT) -> str | None:
    """A text from outside as people read it in a row; None stays None."""
    return None if foreign is None else clean_text(foreign, limit)


def dump_json(document: Any) -> str:
    """JSON that a jsonb column takes and that can be read again.

    Raises:
        NotStorable: `load_json` would refuse it later, when nobody could mend it any more.
    """
    text = json.dumps(document)
    if "\\u0000" in text or "\\ud" in text:
        text = json.dumps(_storable_json(document))
    read = load_json(text)
    if isinstance(read, Unreadable):
        raise NotStorable(f"a document {read.reason}, so it is not stored")
    return text


def object_read(document: object) -> Mapping[str, Any] | Unreadable:
    """A column's document as an object; what isn't one is `Unreadable`, JSON's null included."""
    if isinstance(document, Mapping | Unreadable):
        return document
    kinds: dict[type, str] = {str: "a text", list: "a list", bool: "true or false", int: "a number", float: "a number"}
    return Unreadable(f"must be an object, not {kinds.get(type(document), 'null')}")


def _storable_json(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, Mapping):
        return {storable(key) if isinstance(key, str) else key: _storable_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_storable_json(item) for item in value]
    return value


class _Text(StrDumper):
    def dump(self, obj: str) -> Buffer | None:
        try:
            return super().dump(obj)
        except (psycopg.DataError, UnicodeEncodeError):
            return super().dump(storable(obj))


class _Unknown(StrDumperUnknown):
    def dump(self, obj: str) -> Buffer | None:
        try:
            return super().dump(obj)
        except (psycopg.DataError, UnicodeEncodeError):
            return super().dump(storable(obj))


class _Total(Loader):
    """psycopg's own loader of a type, and the nearest value of what that can't read."""

    type_name: str

    def __init__(self, oid: int, context: AdaptContext | None = None) -> None:
        super().__init__(oid, context)
        own = psycopg.adapters.get_loader(psycopg.adapters.types[self.type_name].oid, Format.TEXT)
        assert own is not None
        self._own = own(oid, context)

    def read(self, data: Buffer) -> Any:
        """The value; None when Python has none like it."""
        try:
            return self._own.load(data)
        except (psycopg.DataError, ValueError, OverflowError):
            return None


def _is_early(data: Buffer) -> bool:
    """Of a moment or a day: `-infinity` or before Christ."""
    text = bytes(data)
    return text.startswith(b"-") or text.endswith(b"BC")


class _Moment(_Total):
    type_name = "timestamptz"

    def load(self, data: Buffer) -> datetime:
        moment = self.read(data)
        if moment is None:
            return EARLIEST if _is_early(data) else LATEST
        return EARLIEST if moment.year < EARLIEST.year else LATEST if moment.year >= LATEST.year else moment


class _Day(_Total):
    type_name = "date"

    def load(self, data: Buffer) -> date:
        day = self.read(data)
        if day is None:
            return (EARLIEST if _is_early(data) else LATEST).date()
        bounded: date = min(max(day, EARLIEST.date()), LATEST.date())
        return bounded


class _TimeOfDay(_Total):
    type_name = "time"

    def load(self, data: Buffer) -> time:
        read = self.read(data)
        return time.max if read is None else read


FOREIGN: AdaptContext = Adapters()
"""`psycopg.connect(..., context=FOREIGN)`."""
