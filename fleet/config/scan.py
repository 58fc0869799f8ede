"""The first look at a document from outside: is it JSON of a sane shape at all?

Everything after this may rely on it: plain JSON types, string keys, bounded depth and size, finite numbers
of bounded length, texts that PostgreSQL can store. The walk is iterative and stops at the limits, so its
cost is bounded for any input, cyclic structures included. Pure: no I/O.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal

from fleet.config.errors import ConfigError

MAX_DEPTH = 16
"""Levels of nesting; the schema itself needs six."""
MAX_VALUES = 2_000
"""Values in the whole document; the longest sensible one has about a hundred."""
MAX_TEXT = 10_000
MAX_NUMBER = 10**18


def scan(raw: object) -> tuple[ConfigError, ...]:
    """Errors of shape; empty when `raw` is an object of bounded plain JSON."""
    if not isinstance(raw, dict):
        return (ConfigError("", f"must be an object, not {shown(raw)}"),)
    errors: list[ConfigError] = []
    pending: list[tuple[str, object, int]] = [("", raw, 0)]
    seen = 0
    while pending:
        path, value, depth = pending.pop()
        seen += 1
        if seen > MAX_VALUES:
            return (ConfigError("", f"has more than {MAX_VALUES} values"),)
        if depth > MAX_DEPTH:
            return (ConfigError(path, f"is nested deeper than {MAX_DEPTH} levels"),)
        if isinstance(value, dict | list):
            if len(value) > MAX_VALUES:
                return (ConfigError(path, f"has more than {MAX_VALUES} values"),)
            pending.extend((child, item, depth + 1) for child, item in _children(path, value, errors))
        elif fault := _fault(value):
            errors.append(ConfigError(path, fault))
    return tuple(errors)


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
        case float() | Decimal():
            return str(value)[:40]
        case dict():
            return "an object"
        case list() | tuple():
            return "a list"
        case _:
            return f"a {type(value).__name__[:40]}"


def _children(
    path: str, value: dict[object, object] | list[object], errors: list[ConfigError]
) -> Iterator[tuple[str, object]]:
    if isinstance(value, list):
        yield from ((join(path, index), item) for index, item in enumerate(value))
        return
    for key, item in value.items():
        if not isinstance(key, str):
            errors.append(ConfigError(path, f"has a key that isn't a text: {shown(key)}"))
        elif fault := _text_fault(key):
            errors.append(ConfigError(join(path, key), f"key {fault}"))
        else:
            yield join(path, key), item


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
            return "must be a finite number" if not math.isfinite(value) else _size_fault(abs(value))
        case Decimal():
            return "must be a finite number" if not value.is_finite() else _size_fault(abs(value))
        case _:
            return f"must be a JSON value, not {shown(value)}"


def _size_fault(size: float | Decimal) -> str:
    return "is too large a number" if size > MAX_NUMBER else ""


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
    """`text` on one line, printable and at most 40 characters."""
    line = "".join(char if char.isprintable() else "?" for char in text[:41])
    return line if len(line) <= 40 else f"{line[:40]}…"
