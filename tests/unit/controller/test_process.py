"""Records of processes, whatever is in the folder; and how processes are ended."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.metrics import Metrics
from controller.observe.pods import PodStore
from controller.podspec import PodRequest
from controller.runtime.process import ProcessRecord, ProcessRuntime, StateFolder

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


PATIENT = """
import signal, sys, time
asked = []
signal.signal(signal.SIGTERM, lambda *_: (asked.append(1), print("asked", len(asked), flush=True)))
print("ready", flush=True)
while True:
    time.sleep(0.01)
"""
FORKS = """
import os, time
print("child", os.fork() or os.getpid(), flush=True)
time.sleep(60)
"""
REQUEST = PodRequest(
    bot_id=7, epoch=5, name="bot-7-e5", user_id=1, config_version=1, mode="paper", holding=False
)  # fmt: skip


def runtime(state: StateFolder, code: str, grace_s: float) -> ProcessRuntime:
    return ProcessRuntime(
        command=[sys.executable, "-c", code],
        environment={},
        folder=state,
        store=PodStore(lambda _: None),
        grace_s=grace_s,
        metrics=Metrics(),
    )


async def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def locked_folder(path: Path) -> StateFolder:
    state = StateFolder(path)
    assert state.lock()
    return state


def test_the_next_controller_asks_no_process_a_second_time_and_ends_it_in_its_time(tmp_path: Path) -> None:
    state = locked_folder(tmp_path)

    def said() -> str:
        return state.log_file(REQUEST.name).read_text()

    async def story() -> None:
        first = runtime(state, PATIENT, grace_s=60)
        pod = await first.create(REQUEST)
        await until(lambda: "ready" in said())
        await first.delete(pod)
        await until(lambda: "asked 1" in said())
        await first.close()
        second = runtime(state, PATIENT, grace_s=0.5)
        await second.start()
        (adopted,) = second.pods(7)
        assert adopted.deleting
        await second.delete(adopted)
        await until(lambda: not second.existing())
        await second.close()
        assert "asked 2" not in said()
        assert [file.name for file in (tmp_path / "runs").iterdir()] == []

    asyncio.run(story())


@pytest.mark.parametrize("adopted", [False, True])
def test_what_a_dead_process_forked_ends_with_it(tmp_path: Path, adopted: bool) -> None:
    state = locked_folder(tmp_path)

    async def story() -> None:
        controller = runtime(state, FORKS, grace_s=60)
        await controller.create(REQUEST)
        log = state.log_file(REQUEST.name)
        await until(lambda: log.read_text().count("child") == 2)
        (record,) = state.load()
        (child,) = {int(word) for word in log.read_text().split() if word.isdigit()} - {record.pid}
        if adopted:
            await controller.close()
            controller = runtime(state, FORKS, grace_s=60)
            await controller.start()
        os.kill(record.pid, 9)
        await until(lambda: is_dead(child))
        await controller.close()

    asyncio.run(story())


def is_dead(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True
