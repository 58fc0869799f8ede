"""Reads the JSON and YAML files that people hand to the command line: every failure is one line with the file's name.

YAML can be small and stand for gigabytes (aliases of aliases), nest deeper than Python can follow, or hold numbers that
Python refuses; such a file is refused before anything is made of it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from fleet.errors import PermanentError
from fleet.foreign import BYTES_LIMIT, DEPTH_LIMIT, Unreadable, clean_text, load_json

STDIN = "-"

VALUES_LIMIT = 100_000
"""Values of a YAML document with every alias written out; the largest config that is accepted has 2,000."""

ERROR_LIMIT = 500


def read_document(file: Path) -> Any:
    """What a JSON or YAML file says; `-` is stdin.

    Raises:
        PermanentError: it can't be read; the message names the file and the place in it.
    """
    text = _text(file)
    document = load_json(text)
    if not isinstance(document, Unreadable):
        return document
    if file.suffix == ".json":
        raise _unreadable(file, document.reason)
    return _yaml(file, text)


def _text(file: Path) -> str:
    try:
        if str(file) == STDIN:
            raw = sys.stdin.buffer.read(BYTES_LIMIT + 1)
        else:
            with file.open("rb") as opened:
                raw = opened.read(BYTES_LIMIT + 1)
        if len(raw) > BYTES_LIMIT:
            raise _unreadable(file, f"it is longer than {BYTES_LIMIT} bytes")
        return raw.decode()
    except OSError as error:
        raise _unreadable(file, error) from error
    except UnicodeDecodeError as error:
        raise _unreadable(file, f"is not UTF-8 at byte {error.start}") from error


def _yaml(file: Path, text: str) -> Any:
    import yaml

    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _check(file, node)
        return loader.construct_document(node)
    except RecursionError as error:
        raise _unreadable(file, f"is nested more than {DEPTH_LIMIT} levels deep") from error
    except (yaml.YAMLError, ValueError, OverflowError, TypeError) as error:
        raise _unreadable(file, error) from error


def _check(file: Path, root: Any) -> None:
    """Refuse what would be too deep or too much once its aliases are written out.

    Each node is looked at once, children first; a node that is reached from within itself has no size.
    """
    sizes: dict[int, tuple[int, int]] = {}
    open_: set[int] = set()
    stack = [(root, False)]
    while stack:
        node, done = stack.pop()
        children = _children(node)
        if done:
            open_.discard(id(node))
            known = [sizes[id(child)] for child in children]
            size = 1 + sum(each for each, _ in known)
            depth = 1 + max((each for _, each in known), default=0)
            if size > VALUES_LIMIT:
                raise _unreadable(file, f"stands for more than {VALUES_LIMIT} values{_place(node)}")
            if depth > DEPTH_LIMIT:
                raise _unreadable(file, f"is nested more than {DEPTH_LIMIT} levels deep{_place(node)}")
            sizes[id(node)] = (size, depth)
        elif id(node) in open_:
            raise _unreadable(file, f"contains itself{_place(node)}")
        elif id(node) not in sizes:
            open_.add(id(node))
            stack.append((node, True))
            stack.extend((child, False) for child in children)


def _children(node: Any) -> list[Any]:
    if not isinstance(node.value, list):
        return []
    return [part for child in node.value for part in (child if isinstance(child, tuple) else (child,))]


def _place(node: Any) -> str:
    return f" from line {node.start_mark.line + 1} on"


def _unreadable(file: Path, why: object) -> PermanentError:
    name = "stdin" if str(file) == STDIN else clean_text(file, 300, lines=False)
    return PermanentError(f"{name} can't be read: {clean_text(why, ERROR_LIMIT)}")
