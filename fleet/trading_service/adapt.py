"""How values pass between Python and PostgreSQL, on every connection that Botfleet makes.

In: a json or jsonb value is read by `fleet.foreign.load_json`, so a document that can't be read is `Unreadable` in its
own row and never an exception of the whole result. Out: no text can make a statement fail: what PostgreSQL can't store
(NUL, half a surrogate pair) becomes U+FFFD, in parameters and within JSON. What people read is cleaned further by its
writer (`words`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import AdaptersMap
from psycopg.types.json import set_json_dumps, set_json_loads
from psycopg.types.string import StrDumper, StrDumperUnknown

from fleet.errors import PermanentError
from fleet.foreign import Unreadable, clean_text, load_json

MESSAGE_LIMIT = 2_000
"""Characters of an error message, a reason or a notification's title or body."""

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


def storable(text: str) -> str:
    """The text with U+FFFD for what PostgreSQL can't store; nothing else is changed."""
    return _UNSTORABLE.sub("\ufffd", text)


def words(foreign: object, limit: int = MESSAGE_LIMIT) -> str | None:
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


FOREIGN: AdaptContext = Adapters()
"""`psycopg.connect(..., context=FOREIGN)`."""
