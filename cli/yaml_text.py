"""YAML as people write it today: the core schema of YAML 1.2, every flaw with its line and column.

PyYAML takes the text apart (its events); what a plain word means is decided here, since PyYAML's own answer is that of
YAML 1.1, where `no` is false, 1:30 is 90, 010 is 8, 1_000 is a number and 1e-3 is none. docs/decisions/0017. Pure.

Small texts can stand for gigabytes (aliases of aliases) or nest deeper than Python can follow: both are refused before
anything is made of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from cli.document_flaw import Flaw, flaw_at, path_of
from fleet.foreign import DEPTH_LIMIT, DIGITS_LIMIT, LARGEST, clean_text

VALUES_LIMIT: Final = 100_000
"""Values of a document with every alias written out; the largest config that is accepted has 2,000."""

Scalar = str | int | float | bool | None

_NULL = ("", "~", "null", "Null", "NULL")
_TRUE = ("true", "True", "TRUE")
_FALSE = ("false", "False", "FALSE")
_WHOLE = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_POINT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NO_NUMBER = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]")
_TAG = "tag:yaml.org,2002:"
_KINDS: Final[dict[str, tuple[type, ...]]] = {
    "null": (type(None),),
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
}
_MERGE = object()
"""The key `<<`: YAML 1.1's, and what everybody who writes it means."""

_TABS = "found character '\\t' that cannot start any token"


def parse_yaml(text: str) -> object:
    """The document.

    Raises:
        Flaw: it isn't YAML, has a key twice or several documents, or means something that JSON can't.
    """
    try:
        return _Reader().document(yaml.parse(text, Loader=yaml.BaseLoader))
    except yaml.reader.ReaderError as error:
        raise flaw_at(text, error.position, "holds a character that no YAML has: take it out") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "is not YAML"
        if problem == _TABS:
            problem = "a tab stands where YAML takes blanks alone: write blanks instead"
        raise Flaw(
            f"is not YAML: {clean_text(problem, 300)}" if problem == error.problem else problem,
            line=mark.line + 1 if mark else None,
            column=mark.column + 1 if mark else None,
        ) from error
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        if isinstance(error, Flaw):
            raise
        raise Flaw(f"is not YAML: {clean_text(error, 300)}") from error


def plain_value(text: str) -> Scalar:
    """What a word without quotes means in the core schema.

    Raises:
        ValueError: it would be a number that JSON can't hold, or one that YAML's versions read differently.
    """
    if text in _NULL:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if _NO_NUMBER.fullmatch(text):
        raise ValueError(f'{text} is no number that can be used: give one, or write "{text}" for the text')
    if not (_POINT.fullmatch(text) or _OCTAL.fullmatch(text) or _HEX.fullmatch(text)):
        return text
    if len(text) > DIGITS_LIMIT:
        raise ValueError(f"a number of {len(text)} characters; {DIGITS_LIMIT} are the most that is read")
    if _LEADING_ZERO.match(text):
        shown = text[:20]
        raise ValueError(
            f'{shown} begins with 0, which some read as octal: leave the 0 out, or write "{shown}" for the text'
        )
    number = _number(text)
    if abs(number) > LARGEST:
        raise ValueError(f"{text[:20]} is a number that is out of range")
    return number


class _Dumper(yaml.SafeDumper):
    """Writes what `parse_yaml` reads."""


def _quoted(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """A text, in quotes where it would be something else without: in YAML 1.2 too, which PyYAML doesn't know of."""
    try:
        same = plain_value(text) == text
    except ValueError:
        same = False
    return dumper.represent_scalar(_TAG + "str", text, style=None if same else '"')


_Dumper.add_representer(str, _quoted)


def dump_yaml(document: object) -> str:
    """JSON values as YAML, in ASCII alone; any version of YAML reads them as they are."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False)


def _number(text: str) -> int | float:
    if _WHOLE.fullmatch(text):
        return int(text)
    if text[:2] in ("0o", "0x"):
        return int(text, 0)
    return float(text)


@dataclass(slots=True)
class _Open:
    """A mapping or sequence whose end hasn't come.

    Attributes:
        keys: with the lines where they stand. part: the key or index of the value that comes next; None: a key does.
        merged: mappings that `<<` names. before: values counted before this one.
    """

    made: dict[str, Any] | list[Any]
    anchor: str | None
    before: int
    keys: dict[str, int] = field(default_factory=dict)
    part: Any = None
    merged: list[dict[str, Any]] = field(default_factory=list)
    depth: int = 1


@dataclass(frozen=True, slots=True)
class _Anchored:
    """What an alias stands for, with all its values counted."""

    value: Any
    size: int
    depth: int


class _Reader:
    """Makes one document of PyYAML's events."""

    def __init__(self) -> None:
        self._stack: list[_Open] = []
        self._anchors: dict[str, _Anchored] = {}
        self._count = 0
        self._root: object = None
        self._documents = 0

    def document(self, events: Iterator[Any]) -> object:
        """The document. Raises Flaw, and whatever PyYAML raises."""
        for event in events:
            match event:
                case yaml.DocumentStartEvent():
                    self._documents += 1
                    if self._documents > 1:
                        raise _flaw(event, "a second document begins here: a file holds one, put each in its own file")
                case yaml.AliasEvent():
                    self._alias(event)
                case yaml.ScalarEvent():
                    self._counted(event, 1)
                    self._scalar(event)
                case yaml.CollectionStartEvent():
                    self._counted(event, 1)
                    self._begin(event)
                case yaml.CollectionEndEvent():
                    self._end(event)
                case _:
                    pass
        return self._root

    def _counted(self, event: Any, size: int) -> None:
        self._count += size
        if self._count > VALUES_LIMIT:
            raise _flaw(event, f"stands for more than {VALUES_LIMIT} values from here on")

    def _deep(self, event: Any, depth: int) -> None:
        if len(self._stack) + depth > DEPTH_LIMIT + 1:
            raise _flaw(event, f"is nested more than {DEPTH_LIMIT} levels deep")

    def _begin(self, event: Any) -> None:
        mapping = isinstance(event, yaml.MappingStartEvent)
        kind = "map" if mapping else "seq"
        if event.tag not in (None, "!", _TAG + kind):
            raise _flaw(event, f"the tag {_shown(event.tag)} isn't read here: take it out")
        if self._stack and self._wants_key():
            raise _flaw(event, "a key must be a text, not a mapping or a list")
        self._deep(event, 1)
        made: dict[str, Any] | list[Any] = {} if mapping else []
        self._stack.append(_Open(made, event.anchor, self._count - 1, part=None if mapping else 0))

    def _end(self, event: Any) -> None:
        done = self._stack.pop()
        for merged in done.merged:
            assert isinstance(done.made, dict)
            for key, value in merged.items():
                done.made.setdefault(key, value)
        if self._stack:
            self._stack[-1].depth = max(self._stack[-1].depth, done.depth + 1)
        if done.anchor:
            self._anchors[done.anchor] = _Anchored(done.made, self._count - done.before, done.depth)
        self._put(event, done.made)

    def _alias(self, event: Any) -> None:
        name = f"*{_shown(event.anchor)}"
        if any(one.anchor == event.anchor for one in self._stack):
            raise _flaw(event, f"{name} contains itself")
        anchored = self._anchors.get(event.anchor)
        if anchored is None:
            raise _flaw(event, f"{name} names nothing: there is no &{_shown(event.anchor)} before it")
        if self._stack and self._wants_key():
            raise _flaw(event, f"{name} can't be a key: write the text itself")
        self._counted(event, anchored.size)
        self._deep(event, anchored.depth)
        if self._stack and anchored.depth:
            self._stack[-1].depth = max(self._stack[-1].depth, anchored.depth + 1)
        self._put(event, anchored.value)

    def _scalar(self, event: Any) -> None:
        if self._stack and self._wants_key():
            self._key(event)
            return
        value = self._value(event)
        if event.anchor:
            self._anchors[event.anchor] = _Anchored(value, 1, 0)
        self._put(event, value)

    def _value(self, event: Any) -> Scalar:
        """The text, or what it means where it has no quotes."""
        tag = event.tag
        if tag in ("!", _TAG + "str") or (tag is None and event.style is not None):
            return _joined(event.value)
        kinds = None if tag is None else _KINDS.get(tag.removeprefix(_TAG))
        if tag is not None and kinds is None:
            raise _flaw(event, f"the tag {_shown(tag)} isn't read here: take it out")
        try:
            value = plain_value(event.value)
        except ValueError as error:
            raise _flaw(event, self._here(str(error))) from error
        if kinds is not None and not (isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))):
            raise _flaw(event, self._here(f"{_shown(event.value)} is no {_shown(tag)}"))
        return value if not isinstance(value, str) else _joined(value)

    def _here(self, reason: str) -> str:
        path = path_of(one.part for one in self._stack)
        return f"{path}: {reason}" if path else reason

    def _wants_key(self) -> bool:
        top = self._stack[-1]
        return isinstance(top.made, dict) and top.part is None

    def _key(self, event: Any) -> None:
        """A key is the text that was written, as in JSON: `on`, `1` and `null` too."""
        if event.tag not in (None, "!", _TAG + "str"):
            raise _flaw(event, f"the tag {_shown(event.tag)} isn't read here: take it out")
        top = self._stack[-1]
        if event.value == "<<" and event.style is None:
            top.part = _MERGE
            return
        key = _joined(event.value)
        if event.anchor:
            self._anchors[event.anchor] = _Anchored(key, 1, 0)
        top.part = key
        if key in top.keys:
            path = path_of(one.part for one in self._stack)
            raise _flaw(event, f"{path} is there twice, first in line {top.keys[key]}: keep one of them")
        top.keys[key] = event.start_mark.line + 1

    def _put(self, event: Any, value: Any) -> None:
        if not self._stack:
            self._root = value
            return
        top = self._stack[-1]
        if isinstance(top.made, list):
            top.made.append(value)
            top.part += 1
            return
        if top.part is _MERGE:
            merged = value if isinstance(value, list) else [value]
            if not all(isinstance(one, dict) for one in merged):
                raise _flaw(event, "<< takes mappings alone")
            top.merged += merged
        else:
            top.made[top.part] = value
        top.part = None


def _flaw(event: Any, reason: str) -> Flaw:
    mark = event.start_mark
    return Flaw(reason, line=mark.line + 1, column=mark.column + 1)


def _shown(text: str) -> str:
    return clean_text(text.replace(_TAG, "!!"), 60, lines=False)


def _joined(text: str) -> str:
    """Two \\u escapes that are halves of one character, as JSON writes it, become that character."""
    if not any("\ud800" <= character <= "\udfff" for character in text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
