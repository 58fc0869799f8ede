"""JSON as people write it: every flaw with its line and column, and what to do about it.

`fleet.foreign.load_json` makes the document. It takes the last of two equal keys, as JSON's parsers do, and knows few
places; both don't suit a file that somebody has to mend. So the text's tokens are looked through here as well. Pure.
"""

from __future__ import annotations

import json
import re
from typing import Final

from cli.document_flaw import Flaw, flaw_at, path_of
from fleet.foreign import DEPTH_LIMIT, DIGITS_LIMIT, Unreadable, clean_text, load_json

_TOKEN = re.compile(
    r'[ \t\r\n]+|(?P<text>"[^"\\]*(?:\\.[^"\\]*)*")|(?P<open>[\[{])|(?P<close>[\]}])|(?P<comma>,)|:|(?P<word>[-+.\w]+)',
    re.DOTALL,
)
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_NO_NUMBERS: Final = ("NaN", "Infinity", "-Infinity")
_WORDS: Final = {
    **dict.fromkeys(("True", "TRUE", "yes", "on"), "true"),
    **dict.fromkeys(("False", "FALSE", "no", "off"), "false"),
    **dict.fromkeys(("None", "Null", "NULL", "undefined", "nil"), "null"),
}


class Twice(Flaw):
    """It is JSON, with a key that stands twice in an object."""


class _Open:
    """An object or array whose end hasn't come.

    Attributes:
        keys: an object's, with their lines. part: the key or index that is being read.
    """

    __slots__ = ("keys", "part", "wants_key")

    def __init__(self, keys: dict[str, int] | None) -> None:
        self.keys = keys
        self.part: str | int = 0
        self.wants_key = keys is not None

    def next_part(self) -> None:
        """A comma came."""
        self.wants_key = self.keys is not None
        if isinstance(self.part, int):
            self.part += 1


def parse_json(text: str) -> object:
    """The document.

    Raises:
        Flaw: it isn't JSON, has a key twice, or is too large, too deep or too precise to be honest.
    """
    document, flaw = load_json(text), _flaw(text)
    if not isinstance(document, Unreadable):
        if flaw is not None:
            raise Twice(flaw.reason, line=flaw.line, column=flaw.column)
        return document
    if flaw is not None:
        raise flaw
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        raise flaw_at(text, error.pos, _advice(text, error)) from None
    except (ValueError, RecursionError):
        pass
    raise Flaw(document.reason)


def _flaw(text: str) -> Flaw | None:
    """The first flaw that the grammar knows nothing of, as far as the text is JSON."""
    stack: list[_Open] = []
    index, line = 0, 1
    while found := _TOKEN.match(text, index):
        index, place, reason = found.end(), found.start(), None
        if found["open"]:
            if len(stack) > DEPTH_LIMIT:
                return flaw_at(text, place, f"is nested more than {DEPTH_LIMIT} levels deep")
            stack.append(_Open({} if found["open"] == "{" else None))
        elif found["close"]:
            if not stack:
                return None
            stack.pop()
        elif found["comma"] and stack:
            stack[-1].next_part()
        elif found["text"] and stack and stack[-1].wants_key:
            reason = _key(found["text"], line, stack)
        elif found["word"]:
            reason = _word(found["word"], stack)
        elif not found["text"]:
            line += text.count("\n", place, index)
        if reason is not None:
            return flaw_at(text, place, reason)
    return None


def _key(token: str, line: int, stack: list[_Open]) -> str | None:
    top = stack[-1]
    assert top.keys is not None
    try:
        key = json.loads(token)
    except ValueError:
        return None
    top.part, top.wants_key = key, False
    if key in top.keys:
        return f"{_path(stack)} is there twice, first in line {top.keys[key]}: keep one of them"
    top.keys[key] = line
    return None


def _word(word: str, stack: list[_Open]) -> str | None:
    if word in _NO_NUMBERS:
        return f"{_path(stack)} is {word}, which is not JSON: give a number, or null where none is meant"
    if not _NUMBER.fullmatch(word):
        return None
    if len(word) > DIGITS_LIMIT:
        return f"{_path(stack)} is a number of {len(word)} characters; {DIGITS_LIMIT} are the most that is read"
    if abs(float(word)) == float("inf"):
        return f"{_path(stack)} is {word[:20]}, a number that is out of range"
    return None


def _path(stack: list[_Open]) -> str:
    return path_of(one.part for one in stack) or "the document"


def _advice(text: str, error: json.JSONDecodeError) -> str:
    """What is wrong at the place where a parser gave up."""
    at, before = text[error.pos :], text[: error.pos].rstrip(" \t\r\n")
    word = re.match(r"[-+.\w]*", at)
    found = clean_text(word[0] if word else "", 40)
    if not text.strip():
        return "is empty: a JSON document is expected"
    if at.startswith(("//", "/*", "#")):
        return "JSON has no comments: take it out, or name the file .yaml and begin comments with #"
    if before.endswith(",") and at[:1] in ("}", "]"):
        return f"a comma before {at[0]} is one too many"
    if error.msg.startswith("Illegal trailing comma"):
        return "a comma before } or ] is one too many"
    if at.startswith("'"):
        return "JSON has double quotes alone: write \" instead of '"
    if error.msg.startswith("Unterminated string"):
        return 'the text that begins here has no end: a " is missing'
    if error.msg.startswith("Invalid control character"):
        return "a text holds a line's end or another control character: write \\n, \\t or \\u and four digits"
    if not at:
        return "ends too early: a } or ] is missing, or the file is cut off"
    if found in _WORDS:
        return f"{found} is not JSON: write {_WORDS[found]}"
    if before[-1:] == "0" and found[:1].isdigit():
        return 'no number of JSON begins with 0: leave the 0 out, or make it a text with ""'
    if error.msg.startswith("Extra data"):
        return "something follows the end of the document: a file holds one"
    if error.msg.startswith("Expecting ',' delimiter"):
        return "is not JSON: a comma is missing before this, or a quote or bracket before it is one too many"
    return f"is not JSON: {error.msg}" + (f", found {found}" if found else "")
