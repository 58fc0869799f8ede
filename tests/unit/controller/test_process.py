"""Records of processes, whatever is in the folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.runtime.process import ProcessRecord, StateFolder

RECORD = {"bot_id": 7, "epoch": 5, "name": "n", "uid": "u", "pid": 1, "started": "s"}
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda part: st.lists(part) | st.dictionaries(st.text(), part),
)


def folder(path: Path, *records: bytes) -> StateFolder:
    (path / "runs").mkdir(exist_ok=True)
    for number, raw in enumerate(records):
        (path / "runs" / f"{number}.json").write_bytes(raw)
    return StateFolder(path)


@pytest.mark.parametrize(
    "raw",
    [b"", b"null", b"[" * 100_000, b"9" * 5000, b"\xff", json.dumps({**RECORD, "pid": "1"}).encode(),
     json.dumps({**RECORD, "pid": True}).encode(), json.dumps({**RECORD, "more": 1}).encode()],
)  # fmt: skip
def test_an_unreadable_record_spoils_no_other(tmp_path: Path, raw: bytes) -> None:
    assert folder(tmp_path, raw, json.dumps(RECORD).encode()).load() == [
        ProcessRecord(bot_id=7, epoch=5, name="n", uid="u", pid=1, started="s")
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(sorted(RECORD)), ANYTHING))
def test_any_record_is_read_or_left_out(tmp_path: Path, changes: dict[str, object]) -> None:
    for record in folder(tmp_path, json.dumps({**RECORD, **changes}).encode()).load():
        assert all(type(value) is type(RECORD[name]) for name, value in changes.items())
        assert record.uid == changes.get("uid", "u")
