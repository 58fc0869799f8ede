"""The last words of a bot that died without a report, out of the end of its log.

A log's end comes cut at any byte, and its lines are JSON (our format), a Python traceback, or anything a library
prints. What a person wants of it is the last complaint in one line. Total and bounded, pure: no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from fleet.foreign import clean_text, load_json

LIMIT = 600
"""Characters of the words."""

LINES = 200
"""Of the tail, from its end, that are looked at."""

_COMPLAINTS = frozenset({"error", "critical", "exception", "fatal"})
_CONTEXT = frozenset(
    {
        "at",
        "level",
        "event",
        "part",
        "bot_id",
        "epoch",
        "run_id",
        "exception",
        "exc_info",
        "stack",
        "logger",
        "timestamp",
    }
)
"""Fields that say nothing about what went wrong, or are told apart."""

_FIELD = re.compile(r'"(event|error|exc_type|exc_value)": "((?:[^"\\]|\\.)*)"')
"""Of a line that was cut in the middle."""


def last_error(tail: str) -> str:
    """The last complaint in the text, in one line; empty when it has none.

    The newest JSON line of level error or above, else the last line of a traceback or of anything else that isn't
    a log line, else the newest warning. Lines that merely tell what a healthy bot does are no last words.

    Args:
        tail: the end of a log, or a message that the bot left; may begin in the middle of a line.
    """
    warning = other = ""
    for line in reversed(tail.splitlines()[-LINES:]):
        text = clean_text(line, 16_384, lines=False)
        if not text:
            continue
        document = load_json(text) if text.startswith("{") else None
        if isinstance(document, Mapping) and "event" in document:
            level = document.get("level")
            if level in _COMPLAINTS:
                return _sentence(document)
            if level == "warning" and not warning:
                warning = _sentence(document)
        elif '": ' in text and (text.startswith('{"') or text.endswith("}")):
            if ('"level": "error"' in text or '"exc_type"' in text) and (salvaged := _salvaged(text)):
                return salvaged
        elif not other:
            other = text
    return clean_text(other or warning, LIMIT, lines=False)


def _sentence(document: Mapping[str, object]) -> str:
    fields = [f"{key}={_plain(value)}" for key, value in document.items() if key not in _CONTEXT]
    parts = [
        _plain(document.get("event")),
        *([", ".join(fields)] if fields else []),
        *_raised(document.get("exception")),
    ]
    return clean_text(": ".join(part for part in parts if part), LIMIT, lines=False)


def _raised(exception: object) -> Iterator[str]:
    """The innermost cause last told: `ValueError: no such market`."""
    if isinstance(exception, list):
        first = next((each for each in exception if isinstance(each, Mapping)), None)
        if first is not None:
            yield f"{_plain(first.get('exc_type'))}: {_plain(first.get('exc_value'))}"
    elif isinstance(exception, str):
        lines = exception.strip().splitlines()
        yield lines[-1] if lines else ""


def _plain(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str | int | float | bool):
        return clean_text(value, 300, lines=False)
    return clean_text(repr(value), 100, lines=False)


def _salvaged(text: str) -> str:
    """What can be read of a JSON line that was cut."""
    found = dict(_FIELD.findall(text[:8192]))
    parts = [found.get(key, "") for key in ("event", "error", "exc_type", "exc_value")]
    return clean_text(": ".join(part for part in parts if part), LIMIT, lines=False)
