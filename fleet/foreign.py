"""The one loader of foreign JSON and the one cleaner of foreign text.

Foreign is whatever somebody else wrote: a row's config, a pod's status, an exchange's answer, a strategy's words, a
chat message. Both functions are total: whatever comes in, something harmless comes out, in bounded time and size.
What they return may be stored by PostgreSQL (no NUL, no lone surrogate), printed on a terminal (no escape sequence,
no direction override) and sent as JSON. What a document means is judged elsewhere. Pure: no I/O.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

BYTES_LIMIT: Final = 1 << 20
"""Of a JSON document; the largest honest one (the state of a strategy) is a hundred times smaller."""

DEPTH_LIMIT: Final = 64
"""Of nested arrays and objects: far above any honest document, far below where recursion over it could fail."""

DIGITS_LIMIT: Final = 400
"""Characters of a number. PostgreSQL writes every float into jsonb without exponent: the smallest has some 345, the
largest 309. A NUMERIC can have 131,072, which Python refuses to read (above 4,300) or to divide."""

LARGEST: Final = sys.float_info.max
"""No number is beyond it, so that float() of any succeeds."""

CUT = "…"
"""Marks where a text was cut."""

_ESCAPE_SEQUENCES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])")
# controls but tab and newline, surrogates, direction overrides, line and paragraph separator, non-characters
_HARMFUL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff]"
)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What stands in the place of a document that couldn't be read; `reason` is fit for people."""

    reason: str


class _Refused(ValueError):
    """A limit of ours, in words for people."""


def load_json(raw: str | bytes | bytearray | memoryview, *, limit: int = BYTES_LIMIT, exact: bool = False) -> object:
    """The document, or `Unreadable` whatever is wrong with it. Never raises.

    Args:
        raw: UTF-8 text, of any size.
        limit: most bytes that are read.
        exact: make Decimals of numbers with a point or an exponent, not floats.
    """
    try:
        size = len(raw) if isinstance(raw, str) else memoryview(raw).nbytes
        if size > limit:
            return Unreadable(f"is {size} bytes long; {limit} are the most that is read")
        text = raw if isinstance(raw, str) else bytes(raw).decode()
        number = _exact_number if exact else _number
        document = json.loads(text, parse_int=_integer, parse_float=number, parse_constant=_constant)
        _check_depth(document)
    except _Refused as refused:
        return Unreadable(str(refused))
    except RecursionError:
        return Unreadable(f"is nested more than {DEPTH_LIMIT} levels deep")
    except UnicodeDecodeError as error:
        return Unreadable(f"is not UTF-8 at byte {error.start}")
    except json.JSONDecodeError as error:
        return Unreadable(f"is not JSON: {error.msg} at line {error.lineno}, column {error.colno}")
    except (ValueError, OverflowError, MemoryError) as error:
        return Unreadable(f"can't be read: {clean_text(error, 200)}")
    return document


def object_of(document: object) -> Mapping[str, object]:
    """The document if it is an object, else an empty one: for readers that take every key as optional."""
    return document if isinstance(document, Mapping) else {}


def clean_text(foreign: object, limit: int, *, keep: str = "head", lines: bool = True) -> str:
    """The text without what a database, a terminal or a reader could stumble over.

    Escape sequences go; each other harmful character (NUL, controls, lone surrogates, direction overrides) becomes
    U+FFFD; line ends become newlines. White space at both ends goes.

    Args:
        foreign: a text, or anything that str() makes one of; None is the empty text.
        limit: most characters of the result, `CUT` included.
        keep: `head` or `tail`: which end stays when it is too long.
        lines: False turns newlines and tabs into blanks, for what must stay on one line.
    """
    if foreign is None or limit <= 0:
        return ""
    text = foreign if isinstance(foreign, str) else _words(foreign)
    # a megabyte is cut before it is searched; what is removed below may make it shorter than allowed, never longer
    roomy = 4 * limit + 1000
    too_long = len(text) > roomy
    if too_long:
        text = text[:roomy] if keep == "head" else text[-roomy:]
    text = _ESCAPE_SEQUENCES.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    text = _HARMFUL.sub("\ufffd", text)
    if not lines:
        text = text.replace("\n", " ").replace("\t", " ")
    text = text.strip()
    if len(text) <= limit and not too_long:
        return text
    room = limit - len(CUT)
    if keep == "head":
        return text[:room].rstrip() + CUT
    return CUT + (text[-room:].lstrip() if room else "")


def _words(foreign: object) -> str:
    """str() of an object whose own __str__ may be anything but well-behaved."""
    try:
        return str(foreign)
    except Exception:
        return f"<{type(foreign).__name__} that can't be printed>"


def _integer(digits: str) -> int:
    _check_digits(digits)
    number = int(digits)
    if abs(number) > LARGEST:
        raise _Refused(f"holds a number that is out of range: {digits[:20]}")
    return number


def _number(digits: str) -> float:
    _check_digits(digits)
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise _Refused(f"holds a number that is out of range: {digits[:20]}")
    return number


def _exact_number(digits: str) -> Decimal:
    _number(digits)
    return Decimal(digits)


def _check_digits(digits: str) -> None:
    if len(digits) > DIGITS_LIMIT:
        raise _Refused(f"holds a number of {len(digits)} characters; {DIGITS_LIMIT} are the most that is read")


def _constant(name: str) -> float:
    raise _Refused(f"holds {name}, which is not JSON")


def _check_depth(document: object) -> None:
    layer = [document]
    for _ in range(DEPTH_LIMIT + 1):
        layer = [
            child
            for each in layer
            if isinstance(each, dict | list)
            for child in (each.values() if isinstance(each, dict) else each)
            if isinstance(child, dict | list)
        ]
        if not layer:
            return
    raise _Refused(f"is nested more than {DEPTH_LIMIT} levels deep")
