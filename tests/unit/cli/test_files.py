"""Files that people hand over: read, or refused in one line with the file's name, in bounded time."""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cli.bots import _problems
from cli.config import read_config
from cli.files import read_document
from fleet.config import validate_config
from fleet.errors import PermanentError
from tests.hostile_json import HOSTILE_JSON, json_texts

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "\n".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]" for old, new in zip("abcdefghi", "bcdefghij", strict=True)
)
MERGES = "a: &a {k: 1}\n" + "\n".join(
    f"{new}: &{new} {{<<: [{', '.join([f'*{old}'] * 10)}]}}" for old, new in zip("abcdefghi", "bcdefghij", strict=True)
)
REFUSED = {
    "a billion laughs": (LAUGHS, "stands for more than 100000 values from line"),
    "a billion merges": (MERGES, "stands for more than 100000 values from line"),
    "a list that contains itself": ("a: &a [*a]", "contains itself from line 1 on"),
    "1,500 brackets": ("[" * 1500 + "]" * 1500, "levels deep"),
    "a hundred thousand brackets": ("[" * 100_000, "levels deep"),
    "a hundred levels of blocks": ("\n".join(" " * level + "a:" for level in range(100)), "levels deep"),
    "a number of 5,000 digits": ("a: " + "9" * 5000, "integer string conversion"),
    "a day that never was": ("a: 2024-99-99", "month must be in 1..12"),
    "an unknown tag": ("a: !!python/object:os.system {}", "could not determine a constructor"),
    "two documents": ("a: 1\n---\nb: 2", "expected a single document"),
    "an unknown alias": ("a: *b", "found undefined alias"),
    "a mapping as key": ("{a: 1}: 2", "unhashable key"),
    "NUL": ("a: \0", "special characters are not allowed"),
    "too long": ("a: " + "x" * 2**20, "longer than 1048576 bytes"),
    "an escape sequence": ("a: [\x1b[31m", "special characters are not allowed"),
}


def failure(file: Path) -> str:
    started = time.process_time()
    with pytest.raises(PermanentError) as refused:
        read_config(file)
    assert time.process_time() - started < 5
    return str(refused.value)


def read_or_refusal(file: Path) -> object:
    """The document, or a refusal that names the file; nothing else is raised."""
    try:
        return read_document(file)
    except PermanentError as error:
        refusal = error
    assert str(refusal).startswith(f"{file} can't be read: ")
    return refusal


@pytest.mark.parametrize(("text", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused_and_why(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "bot.yaml"
    file.write_text(text)
    said = failure(file)
    assert said.startswith(f"{file} can't be read: ")
    assert why in said
    assert "\x1b" not in said


@pytest.mark.parametrize("text", HOSTILE_JSON.values(), ids=HOSTILE_JSON.keys())
def test_json_is_refused_or_judged(tmp_path: Path, text: str) -> None:
    file = tmp_path / "bot.json"
    file.write_text(text)
    document = read_or_refusal(file)
    assert isinstance(document, PermanentError) or validate_config(document)


def test_bytes_that_are_no_text_and_a_folder(tmp_path: Path) -> None:
    file = tmp_path / "bot.yaml"
    file.write_bytes(b"a: \xff")
    assert "is not UTF-8 at byte 3" in failure(file)
    assert "Is a directory" in failure(tmp_path)
    assert "No such file" in failure(tmp_path / "none.yaml")


def test_honest_yaml_with_anchors_is_read(tmp_path: Path) -> None:
    file = tmp_path / "bot.yml"
    file.write_text("base: &b {x: 1}\none: {<<: *b, y: 2}\ntwo: [*b, *b]\nempty:\nfloat: 1e-5\n")
    document = read_document(file)
    assert document["one"] == {"x": 1, "y": 2}
    assert document["two"] == [{"x": 1}, {"x": 1}]


def test_json_is_read_as_json_whatever_the_file_is_called(tmp_path: Path) -> None:
    """YAML 1.1 takes 1e-5 for a text."""
    file = tmp_path / "bot.yaml"
    file.write_text('{"rate": 1e-5}')
    assert read_document(file) == {"rate": 1e-5}


def test_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"[" * 5000)))
    assert failure(Path("-")).startswith("stdin can't be read: ")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.one_of(json_texts, st.text(), st.text("[]{}&*<:-? \n\"'!|>ab0")).map(str.encode) | st.binary())
def test_any_file_is_read_or_refused(tmp_path: Path, raw: bytes) -> None:
    for name in ("a.yaml", "a.json"):
        file = tmp_path / name
        file.write_bytes(raw)
        document = read_or_refusal(file)
        if not isinstance(document, PermanentError):
            validate_config(document)
            list(_problems(name, document))
