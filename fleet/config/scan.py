"""The first look at a document from outside: is it JSON of a sane shape at all?

Everything after this may rely on it: plain JSON types, string keys, bounded depth and size, finite numbers
of bounded length, texts that PostgreSQL can store. The walk ends at the limits, so its cost is bounded for
any input, cyclic structures included. Pure: no I/O.
"""

from __future__ import annotations

import math

from pydantic import JsonValue

from fleet.config.errors import ConfigError
from fleet.foreign import Unreadable

MAX_DEPTH = 16
"""Levels of nesting; the schema itself needs six."""
MAX_VALUES = 2_000
"""Values in the whole document; the longest sensible one has about a hundred."""
MAX_TEXT = 10_000
MAX_NUMBER = 10**18

Tree = dict[str, JsonValue]


def scan(raw: object) -> tuple[Tree | None, tuple[ConfigError, ...]]:
    """A copy of `raw` whose unusable leaves are null, and what was wrong with them.

    No copy when `raw` isn't an object or is beyond the limits: then nothing else can be said about it.
    """
    if isinstance(raw, Unreadable):
        return None, (ConfigError("", raw.reason),)
    if not isinstance(raw, dict):
        return None, (ConfigError("", f"must be an object, not {shown(raw)}"),)
    walk = _Walk()
    try:
        return walk.copied(raw, "", 0), tuple(walk.errors)
    except _TooMuch as too_much:
        return None, (too_much.error,)


class _TooMuch(Exception):
    """The document is beyond a limit."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.error = ConfigError(path, message)


class _Walk:
    """One pass over one document."""

    def __init__(self) -> None:
        self.errors: list[ConfigError] = []
        self._seen = 0

    def copied(self, raw: dict[object, object], path: str, depth: int) -> Tree:
        tree: Tree = {}
        for key, value in raw.items():
            if not isinstance(key, str):
                self.errors.append(ConfigError(path, f"has a key that isn't a text: {shown(key)}"))
            elif fault := _text_fault(key):
                self.errors.append(ConfigError(join(path, key), f"key {fault}"))
            else:
                tree[key] = self._value(value, join(path, key), depth + 1)
        return tree

    def _value(self, value: object, path: str, depth: int) -> JsonValue:
        self._seen += 1
        if self._seen > MAX_VALUES:
            raise _TooMuch("", f"has more than {MAX_VALUES} values")
        if depth > MAX_DEPTH:
            raise _TooMuch(path, f"is nested deeper than {MAX_DEPTH} levels")
        if isinstance(value, dict):
            return self.copied(value, path, depth)
        if isinstance(value, list):
            return [self._value(item, join(path, index), depth + 1) for index, item in enumerate(value)]
        return self._leaf(value, path)

    def _leaf(self, value: object, path: str) -> JsonValue:
        fault = _fault(value)
        if fault:
            self.errors.append(ConfigError(path, fault))
            return None
        assert value is None or isinstance(value, bool | str | int | float)
        return value


def join(path: str, key: str | int) -> str:
    """The path of `key` within `path`; odd keys are quoted, long ones capped."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    if not key.isidentifier() or len(key) > 60:
        return f'{path}["{_capped(key)}"]'
    return f"{path}.{key}" if path else key


def shown(value: object) -> str:
    """A value as an error message names it: short, and of foreign objects only the kind."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return f'"{_capped(value)}"'
        case int():
            return str(value) if abs(value) <= MAX_NUMBER else "a huge number"
        case float():
            return str(value)[:40]
        case dict():
            return "an object"
        case list() | tuple():
            return "a list"
        case _:
            return f"a {type(value).__name__[:40]}"


def _fault(value: object) -> str:
    """What makes this leaf unusable whatever its meaning, or empty."""
    match value:
        case None | bool():
            return ""
        case str():
            return _text_fault(value)
        case int():
            return "is too large a number" if abs(value) > MAX_NUMBER else ""
        case float():
            if not math.isfinite(value):
                return "must be a finite number"
            return "is too large a number" if abs(value) > MAX_NUMBER else ""
        case _:
            return f"must be a JSON value, not {shown(value)}"


def _text_fault(text: str) -> str:
    if len(text) > MAX_TEXT:
        return f"is longer than {MAX_TEXT} characters"
    if "\0" in text:
        return "contains a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "contains half of a surrogate pair"
    return ""


def _capped(text: str) -> str:
    return one_line(text, 40)


def one_line(text: str, most: int) -> str:
    """`text` on one line, printable and at most `most` characters."""
    line = "".join(char if char.isprintable() else "?" for char in text[: most + 1])
    return line if len(line) <= most else f"{line[:most]}…"
