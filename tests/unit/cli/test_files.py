"""Files that people hand over: read as JSON or YAML 1.2, or refused in one line with file, line, column and what to do."""

from __future__ import annotations

import io
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cli.bots import _problems
from cli.config import read_config
from cli.files import FileUnreadable, read_document
from cli.json_text import parse_json
from cli.yaml_text import dump_yaml, parse_yaml
from fleet.config import validate_config
from fleet.errors import PermanentError
from fleet.foreign import DEPTH_LIMIT, Unreadable, load_json
from tests.hostile_json import HOSTILE_JSON, json_texts

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "\n".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]" for old, new in zip("abcdefghi", "bcdefghij", strict=True)
)
MERGES = "a: &a {k: 1}\n" + "\n".join(
    f"{new}: &{new} {{<<: [{', '.join([f'*{old}'] * 10)}]}}" for old, new in zip("abcdefghi", "bcdefghij", strict=True)
)
DEEP = "is nested more than 64 levels deep"
MANY = "stands for more than 100000 values from here on"


# --- JSON ----------------------------------------------------------------------------------------------------------

JSON_MEANS = {
    "a number with an exponent": ('{"a": 1e-3}', {"a": 0.001}),
    "tabs for blanks": ('{\t"a":\t[\t1\t]\t}', {"a": [1]}),
    "a character in two halves": (r'{"a": "\ud83d\ude80"}', {"a": "🚀"}),
    "an escaped slash": (r'"https:\/\/x"', "https://x"),
    "a byte order mark": ('\ufeff{"a": 1}', {"a": 1}),
    "line ends of Windows": ('{\r\n"a": 1\r\n}', {"a": 1}),
    "the same key in two objects": ('[{"a": 1}, {"a": {"a": 2}}]', [{"a": 1}, {"a": {"a": 2}}]),
    "keys that only look alike": ('{"a": 1, "A": 2, "a ": 3}', {"a": 1, "A": 2, "a ": 3}),
    "what looks like a key and is a value": ('{"a": "b", "b": "a"}', {"a": "b", "b": "a"}),
}
JSON_REFUSED = {
    "a key twice": (
        '{"data": {\n "interval": "5m",\n "interval": "1h"}}',
        ":3:2: data.interval is there twice, first in line 2",
    ),
    "a key twice, once escaped": ('{"a": 1, "\\u0061": 2}', ":1:10: a is there twice"),
    "a key twice in a list's object": ('{"a": [1, {"b": 1, "b": 1}]}', ":1:20: a.1.b is there twice"),
    "NaN": ('{"a": {"b": NaN}}', ":1:13: a.b is NaN, which is not JSON: give a number, or null"),
    "Infinity": ("[1,\n -Infinity]", ":2:2: 1 is -Infinity, which is not JSON"),
    "a comment": ('{"a": 1} // x', ":1:10: JSON has no comments: take it out, or name the file .yaml"),
    "a comment in between": ('{\n# x\n"a": 1}', ":2:1: JSON has no comments"),
    "a comma too many": ('{"a": 1,\n}', ":2:1: a comma before } is one too many"),
    "a comma too many in a list": ('{"a": [1, ]}', ":1:11: a comma before ] is one too many"),
    "a comma missing": ('{"a": 1\n"b": 2}', ":2:1: is not JSON: a comma is missing before this"),
    "a colon missing": ('{"a" 1}', ":1:6: is not JSON: Expecting ':' delimiter, found 1"),
    "single quotes": ("{'a': 1}", ":1:2: JSON has double quotes alone"),
    "no quotes": ("{a: 1}", ":1:2: is not JSON: Expecting property name enclosed in double quotes, found a"),
    "a word of Python": ('{"a": True}', ":1:7: True is not JSON: write true"),
    "another one": ('{"a": None}', ":1:7: None is not JSON: write null"),
    "a leading zero": ('{"a": 010}', ":1:8: no number of JSON begins with 0"),
    "two documents": ('{"a": 1}\n{"a": 2}', ":2:1: something follows the end of the document"),
    "cut off": ('{"a": [1', ":1:9: ends too early"),
    "a text without end": ('{"a": "x}', ':1:7: the text that begins here has no end: a " is missing'),
    "a text over two lines": ('{"a": "x\ny"}', ":1:9: a text holds a line's end or another control character"),
    "a wrong escape": ('{"a": "\\d"}', ":1:8: is not JSON: Invalid \\escape"),
    "nothing": ("", ": is empty: a JSON or YAML document is expected"),
    "blanks": (" \n\t ", ": is empty"),
    "1e400": ('{"a": {"b": 1e400}}', ":1:13: a.b is 1e400, a number that is out of range"),
    "a number of 5,000 digits": ('{"a": ' + "9" * 5000 + "}", ":1:7: a is a number of 5000 characters"),
    "1,500 brackets": ("[" * 1500 + "]" * 1500, f":1:66: {DEEP}"),
    "a hundred thousand objects": ('{"a":' * 100_000, f": {DEEP}"),
    "too long": ('"' + "x" * 2**20 + '"', ": is longer than 1048576 bytes"),
    "HTML": ("<html>", ":1:1: is not JSON: Expecting value"),
}

BYTES_REFUSED = {
    "UTF-16, as PowerShell writes it": ('{"a": 1}'.encode("utf-16"), ": is UTF-16: save it as UTF-8"),
    "UTF-16 with its halves swapped": (b"\xfe\xff" + '{"a": 1}'.encode("utf-16-be"), ": is UTF-16: save it as UTF-8"),
    "UTF-16 without a mark": ('{"a": 1}'.encode("utf-16-le"), ":1:2: is no text in UTF-8: it holds NUL bytes"),
    "UTF-32": ('{"a": 1}'.encode("utf-32"), ": is UTF-32: save it as UTF-8"),
    "Latin-1": ('{\n"a": "caf\xe9"}'.encode("latin-1"), ":2:10: the byte 0xe9 isn't UTF-8"),
    "a picture": (b"\x89PNG\r\n\x1a\n", ":1:1: the byte 0x89 isn't UTF-8"),
}


def refusal(file: Path) -> str:
    """What is said of a file, after its name; in bounded time."""
    started = time.process_time()
    with pytest.raises(FileUnreadable) as refused:
        read_config(file)
    assert time.process_time() - started < 5
    said = str(refused.value)
    assert said.startswith(str(file))
    assert said == said.splitlines()[0]
    assert "\x1b" not in said
    return said.removeprefix(str(file))


def read_or_refusal(file: Path) -> Any:
    """The document, or a refusal that names the file; nothing else is raised."""
    try:
        return read_document(file)
    except FileUnreadable as error:
        refused = error
    assert str(refused).startswith(f"{file}:")
    return refused


def written(folder: Path, text: str | bytes, name: str) -> Path:
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    return file


@pytest.mark.parametrize("name", ["a.json", "a.yaml", "a"])
@pytest.mark.parametrize(("text", "meaning"), JSON_MEANS.values(), ids=JSON_MEANS.keys())
def test_json_is_read_as_json_whatever_the_file_is_called(tmp_path: Path, text: str, meaning: Any, name: str) -> None:
    assert read_document(written(tmp_path, text, name)) == meaning


@pytest.mark.parametrize(("text", "why"), JSON_REFUSED.values(), ids=JSON_REFUSED.keys())
def test_what_json_is_refused_where_and_why(tmp_path: Path, text: str, why: str) -> None:
    assert why in refusal(written(tmp_path, text, "a.json"))


@pytest.mark.parametrize("name", ["a.json", "a.yaml"])
@pytest.mark.parametrize(("raw", "why"), BYTES_REFUSED.values(), ids=BYTES_REFUSED.keys())
def test_bytes_that_are_no_text(tmp_path: Path, raw: bytes, why: str, name: str) -> None:
    assert refusal(written(tmp_path, raw, name)).startswith(why)


@given(json_texts)
def test_only_twice_and_unreadable_json_is_refused(text: str) -> None:
    """The look at the tokens finds no flaw where `load_json` and Python's own parser find none."""
    known = load_json(text)
    try:
        read: object = parse_json(text)
    except ValueError:
        assert isinstance(known, Unreadable)
        return
    assert read == known


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(10**90), 10**90)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
    st.sampled_from([None, 1, "\t"]),
)
def test_every_document_of_python_is_read_back(document: Any, indent: Any) -> None:
    assert parse_json(json.dumps(document, indent=indent)) == document
    assert parse_json(json.dumps(document, ensure_ascii=False)) == document


@given(st.lists(st.sampled_from(["a", "b", "c"]), max_size=4), st.integers(0, 3))
def test_a_key_that_stands_twice_is_always_found(keys: list[str], deep: int) -> None:
    text = "{" + ", ".join(f'"{key}": 1' for key in keys) + "}"
    for _ in range(deep):
        text = f'{{"x": [0, {text}]}}'
    if len(set(keys)) == len(keys):
        parse_json(text)
        return
    with pytest.raises(ValueError, match="is there twice"):
        parse_json(text)


def test_no_document_is_too_deep_for_one_door_and_fit_for_another(tmp_path: Path) -> None:
    for levels, fits in ((DEPTH_LIMIT + 1, True), (DEPTH_LIMIT + 2, False)):
        text = "[" * levels + "]" * levels
        assert isinstance(load_json(text), Unreadable) is not fits
        for name in ("a.json", "a.yaml"):
            file = written(tmp_path, text, name)
            assert (read_document(file) if fits else refusal(file)) is not None


# --- YAML ----------------------------------------------------------------------------------------------------------

YAML_MEANS = {
    # YAML 1.1 took the first seven for something else
    "words that were booleans": ("[on, off, yes, no, y, N, On]", ["on", "off", "yes", "no", "y", "N", "On"]),
    "a country": ("NO", "NO"),
    "base 60": ("[1:30, 190:20:30.15]", ["1:30", "190:20:30.15"]),
    "digits in groups": ("[1_000, 0.1_5]", ["1_000", "0.1_5"]),
    "an exponent without a point": ("[1e-3, 1E5, 1e+2]", [0.001, 1e5, 100.0]),
    "dates and times": ("[2024-01-01, 2024-99-99, 12:30:00]", ["2024-01-01", "2024-99-99", "12:30:00"]),
    "octal with its o": ("[0o17, 0b1, 0b_1]", [15, "0b1", "0b_1"]),
    "numbers": ("[0, -0, +5, 12, 0x1F, .5, 5., -1.5e3, 0.0]", [0, 0, 5, 12, 31, 0.5, 5.0, -1500.0, 0.0]),
    "nothing, in every spelling": ("[null, Null, NULL, ~, ]", [None, None, None, None]),
    "a key without a value": ("a:", {"a": None}),
    "true and false": ("[true, True, FALSE, tRUE]", [True, True, False, "tRUE"]),
    "texts": ("['1', \"true\", 1.2.3, v1, 1m, '010']", ["1", "true", "1.2.3", "v1", "1m", "010"]),
    "keys are the text that was written": (
        "{1: a, on: b, null: c, 010: d, 1e3: e}",
        {"1": "a", "on": "b", "null": "c", "010": "d", "1e3": "e"},
    ),
    "a character in two halves": (r'a: "\ud83d\ude80"', {"a": "🚀"}),
    "tags that say what stands there": (
        "[!!str 1, !!int '2', !!float 3, !!null ~, !!bool true, ! 4]",
        ["1", 2, 3, None, True, "4"],
    ),
    "anchors": ("a: &x [1]\nb: *x\nc: &y text\nd: *y", {"a": [1], "b": [1], "c": "text", "d": "text"}),
    "merges, where what is written wins": (
        "b: &b {x: 1, y: 1}\nc: {<<: *b, y: 2}",
        {"b": {"x": 1, "y": 1}, "c": {"x": 1, "y": 2}},
    ),
    "several merges, where the first wins": (
        "[&a {x: 1}, &b {x: 2, z: 3}, {<<: [*a, *b]}]",
        [{"x": 1}, {"x": 2, "z": 3}, {"x": 1, "z": 3}],
    ),
    "a quoted <<": ("{'<<': 1}", {"<<": 1}),
    "comments and a comma too many": ("{a: 1, # x\n}", {"a": 1}),
    "a directive and an end": ("%YAML 1.1\n---\na: yes\n...\n", {"a": "yes"}),
    "lines": ("a: |\n  1\n  2\nb: >\n  x\n  y\n", {"a": "1\n2\n", "b": "x y\n"}),
    "a byte order mark": ("\ufeffa: 1", {"a": 1}),
}
YAML_REFUSED = {
    "a key twice": ("data:\n  interval: 5m\n  interval: 1h", ":3:3: data.interval is there twice, first in line 2"),
    "a key twice, once in quotes": ('{a: 1, "a": 2}', ":1:8: a is there twice, first in line 1"),
    "a key twice in a list": ("- x: 1\n- y: 1\n  y: 2", ":3:3: 1.y is there twice, first in line 2"),
    "a leading zero": (
        "a:\n  b: 010",
        ':2:6: a.b: 010 begins with 0, which some read as octal: leave the 0 out, or write "010"',
    ),
    "a leading zero with a point": ("- 007.5", ":1:3: 0: 007.5 begins with 0"),
    "no number": ("a: .nan", ":1:4: a: .nan is no number that can be used"),
    "no end": ("a: -.Inf", ":1:4: a: -.Inf is no number that can be used"),
    "1e400": ("a: 1e400", ":1:4: a: 1e400 is a number that is out of range"),
    "a number of 5,000 digits": ("a: " + "9" * 5000, ":1:4: a: a number of 5000 characters"),
    "a tab for blanks": ("a:\n\tb: 1", ":2:1: a tab stands where YAML takes blanks alone"),
    "a billion laughs": (LAUGHS, f":5:36: {MANY}"),
    "a billion merges": (MERGES, MANY),
    "a list that contains itself": ("a: &a [*a]", ":1:8: *a contains itself"),
    "1,500 brackets": ("[" * 1500 + "]" * 1500, f":1:66: {DEEP}"),
    "a hundred thousand brackets": ("[" * 100_000, f":1:66: {DEEP}"),
    "a hundred levels of blocks": ("\n".join(" " * level + "a:" for level in range(100)), f":66:66: {DEEP}"),
    "deep by aliases": ("- &a " + "[" * 40 + "]" * 40 + "\n- " + "[" * 40 + "*a" + "]" * 40, f":2:43: {DEEP}"),
    "an unknown tag": ("a: !!python/object:os.system {}", ":1:4: the tag !!python/object:os.system isn't read here"),
    "a tag for a date": ("a: !!timestamp 2024-01-01", ":1:4: the tag !!timestamp isn't read here"),
    "a tag that isn't true": ("a: !!int x", ":1:4: a: x is no !!int"),
    "a set": ("!!set {a}", ":1:1: the tag !!set isn't read here"),
    "two documents": ("a: 1\n---\nb: 2", ":2:1: a second document begins here"),
    "an unknown alias": ("a: *b", ":1:4: *b names nothing: there is no &b before it"),
    "a mapping as key": ("{a: 1}: 2", ":1:1: a key must be a text"),
    "a list as key": ("? [1]\n: 2", ":1:3: a key must be a text"),
    "a merge of a number": ("a: {<<: 1}", ":1:9: << takes mappings alone"),
    "a mapping in a line": ("a: b: c", ":1:5: is not YAML: mapping values are not allowed here"),
    "a bracket missing": ("a: [1, 2", ":1:9: is not YAML: expected ',' or ']'"),
    "NUL": ("a: b\0", ":1:5: holds a character that no YAML has"),
    "an escape sequence": ("a:\n- [\x1b[31m", ":2:4: holds a character that no YAML has"),
    "an escape that is none": ('a: "\\UFFFFFFFF"', ": is not YAML: "),
    "comments alone": ("# nothing", ": holds no document"),
    "too long": ("a: " + "x" * 2**20, ": is longer than 1048576 bytes"),
}


@pytest.mark.parametrize(("text", "meaning"), YAML_MEANS.values(), ids=YAML_MEANS.keys())
def test_what_yaml_means(tmp_path: Path, text: str, meaning: Any) -> None:
    read = read_document(written(tmp_path, text, "a.yaml"))
    assert read == meaning
    assert json.dumps(read, sort_keys=True) == json.dumps(meaning, sort_keys=True), "true isn't 1, and 1.0 isn't 1"


@pytest.mark.parametrize(("text", "why"), YAML_REFUSED.values(), ids=YAML_REFUSED.keys())
def test_what_yaml_is_refused_where_and_why(tmp_path: Path, text: str, why: str) -> None:
    assert why in refusal(written(tmp_path, text, "bot.yml"))


def test_what_has_no_name_and_begins_like_json_was_meant_as_json(tmp_path: Path) -> None:
    assert refusal(written(tmp_path, '{"a": [1}', "a")).startswith(":1:9: is not JSON")
    assert refusal(written(tmp_path, '{"a": [1}', "a.yaml")).startswith(":1:9: is not YAML")
    assert read_document(written(tmp_path, '{"a": 1,}', "a")) == {"a": 1}
    assert "is there twice" in refusal(written(tmp_path, '{"a": 1, "a": 2}', "a"))


documents = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(
        [
            "1e-3",
            "010",
            "08",
            "0o17",
            "on",
            "NO",
            "1_000",
            "1:30",
            "2024-01-01",
            ".nan",
            "<<",
            "~",
            "",
            "0x1F",
            "+1",
            "1.",
            "=",
            "\x85",
            "\u2028",
            "🚀",
            " a ",
            "- a",
            "a: b",
            "#",
            "\t",
        ]
    ),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text() | st.sampled_from(["<<", "1", "on", "010", "null"]), inner, max_size=4)
    ),
    max_leaves=20,
)


@settings(max_examples=300)
@given(documents)
def test_what_is_printed_as_yaml_is_read_back_by_any_version(document: Any) -> None:
    text = dump_yaml({"it": document})
    assert text.isascii()
    assert parse_yaml(text) == {"it": document}
    assert yaml.safe_load(text) == {"it": document}


# --- the door ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", HOSTILE_JSON.values(), ids=HOSTILE_JSON.keys())
def test_json_is_refused_or_judged(tmp_path: Path, text: str) -> None:
    file = written(tmp_path, text, "bot.json")
    document = read_or_refusal(file)
    assert isinstance(document, FileUnreadable) or validate_config(document)


def test_what_is_no_file(tmp_path: Path) -> None:
    assert refusal(tmp_path) == ": can't be read: Is a directory"
    assert refusal(tmp_path / "none.yaml") == ": can't be read: No such file or directory"


def test_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"[" * 5000)))
    with pytest.raises(PermanentError, match=r"^stdin:1:66: is nested"):
        read_config(Path("-"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(
    st.one_of(
        json_texts,
        st.text(),
        st.text("[]{}&*<:-? \n\"'!|>ab0,#%\t\\u"),
        documents.map(lambda one: json.dumps(one)[:-1]),
    ).map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.binary()
)
def test_any_file_is_read_or_refused(tmp_path: Path, raw: bytes) -> None:
    for name in ("a.yaml", "a.json", "a"):
        file = written(tmp_path, raw, name)
        document = read_or_refusal(file)
        if not isinstance(document, FileUnreadable):
            validate_config(document)
            list(_problems(name, document))
