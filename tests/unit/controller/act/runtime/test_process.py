"""Records of processes, whatever is in the folder; and how processes are ended."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.act.runtime import CreateRefused
from controller.act.runtime import process as module
from controller.act.runtime.process import LOG_TAIL, ProcessRecord, ProcessRuntime, StateFolder
from controller.decide.facts import PodPhase
from controller.decide.podspec import PodRequest
from controller.metrics import Metrics
from controller.observe.pods import PodStore
from fleet.errors import PermanentError
from tests.unit.controller import make

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


def test_one_controller_at_a_time_has_the_folder(tmp_path: Path) -> None:
    first, second = StateFolder(tmp_path / "state"), StateFolder(tmp_path / "state")
    assert first.lock() is True
    assert second.lock() is False
    assert first.log_file("x").parent.is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(PermanentError, match="BOTFLEET_STATE_DIR"):
        StateFolder(tmp_path / "file").lock()
    first._lock.close()  # type: ignore[union-attr]  # as the kernel does when a controller ends
    assert second.lock() is True


ENDS = "import sys; print('before'); print('ValueError: the last words', file=sys.stderr); sys.exit(%d)"
KILLED = "import os; print('killed'); os.kill(os.getpid(), 9)"


@pytest.mark.parametrize(
    ("code", "exit_code", "reason", "message"),
    [
        (ENDS % 0, 0, "", ""),
        (ENDS % 1, 1, "", "ValueError: the last words"),
        (ENDS % 3, 3, "", "ValueError: the last words"),
        (KILLED, 137, "SIGKILL", ""),
    ],
)
def test_how_a_process_ended(tmp_path: Path, code: str, exit_code: int, reason: str, message: str) -> None:
    state = locked_folder(tmp_path)

    async def story() -> None:
        controller = runtime(state, code, grace_s=60)
        created = await controller.create(REQUEST)
        assert (created.phase, created.node, created.deleting) == (PodPhase.RUNNING, "local", False)
        await until(lambda: controller.pods(7)[0].phase is PodPhase.TERMINATED)
        (ended,) = controller.pods(7)
        assert (ended.uid, ended.epoch, ended.exit_code, ended.reason) == (created.uid, 5, exit_code, reason)
        assert message in ended.message
        assert bool(ended.message) is bool(message)
        assert len(state.load()) == 1  # until its run is known to be over, the next controller must find it
        await controller.delete(ended)
        assert controller.existing() == []
        assert state.load() == []
        assert controller._metrics.pod_operations.labels("create", "ok")._value.get() == 1
        assert controller._metrics.pod_operations.labels("delete", "ok")._value.get() == 0
        await controller.close()

    asyncio.run(story())


def test_only_the_end_of_a_log_is_searched_for_last_words(tmp_path: Path) -> None:
    state = locked_folder(tmp_path)
    controller = runtime(state, "", grace_s=60)
    assert controller._last_error("nobody") == ""
    state.log_file("x").write_text("ValueError: long ago\n" + "y" * LOG_TAIL)
    assert "long ago" not in controller._last_error("x")
    state.log_file("x").write_text("y" * (LOG_TAIL + 10) + "\nValueError: now\n")
    assert "ValueError: now" in controller._last_error("x")
    state.log_file("x").write_text("ValueError: short\n")
    assert "ValueError: short" in controller._last_error("x")


def test_a_command_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    state = locked_folder(tmp_path)
    controller = runtime(state, "", grace_s=60)
    controller._command = ["/no/such/program"]
    with pytest.raises(CreateRefused, match=r"/no/such/program can't be started.*; check BOTFLEET_BOT_COMMAND"):
        asyncio.run(controller.create(REQUEST))
    assert (controller.existing(), state.load()) == ([], [])
    assert controller._metrics.pod_operations.labels("create", "failed")._value.get() == 1


def test_a_run_has_one_process_however_often_it_is_created(tmp_path: Path) -> None:
    state = locked_folder(tmp_path)

    async def story() -> None:
        controller = runtime(state, PATIENT, grace_s=0.2)
        pods = [await controller.create(REQUEST) for _ in range(2)]
        following = await controller.create(replace(REQUEST, epoch=6, name="bot-7-e6"))
        assert pods[0] == pods[1]
        assert following.uid != pods[0].uid
        assert len(controller.existing()) == len(state.load()) == 2
        for pod in controller.existing():
            await controller.delete(pod)
        await until(lambda: not controller.existing())
        again = await controller.create(REQUEST)  # what is gone is no answer to a create
        assert again.uid != pods[0].uid
        assert again.phase is PodPhase.RUNNING
        await controller.delete(again)
        await until(lambda: not controller.existing())
        await controller.close()

    asyncio.run(story())


def test_a_process_that_is_asked_ends_in_its_time_and_no_later(tmp_path: Path) -> None:
    state = locked_folder(tmp_path)

    async def story() -> None:
        controller = runtime(state, PATIENT, grace_s=0.4)
        pod = await controller.create(REQUEST)
        await until(lambda: "ready" in state.log_file(REQUEST.name).read_text())
        await controller.delete(pod)
        (asked,) = controller.pods(7)
        assert (asked.deleting, asked.phase) == (True, PodPhase.RUNNING)
        assert state.was_asked(pod.uid)
        await controller.delete(asked)
        await until(lambda: not controller.existing())
        assert state.log_file(REQUEST.name).read_text().count("asked") == 1
        (gone,) = controller.pods(7)
        assert (gone.gone, gone.exit_code, gone.reason) == (True, 137, "SIGKILL")
        assert not state.was_asked(pod.uid)
        assert controller._metrics.pod_operations.labels("delete", "ok")._value.get() == 2
        await controller.close()

    asyncio.run(story())


def test_the_process_knows_its_run_and_inherits_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = locked_folder(tmp_path)
    monkeypatch.setenv("BOTFLEET_OF_ALL", "inherited")
    code = "import os, sys; print({k: v for k, v in os.environ.items() if k.startswith('BOTFLEET')}, sys.argv[1:], os.getsid(0) == os.getpid(), repr(sys.stdin.read()))"

    async def story() -> None:
        controller = runtime(state, code, grace_s=60)
        controller._environment = {"BOTFLEET_MORE": "added"}
        pod = await controller.create(REQUEST)
        await until(lambda: controller.pods(7)[0].phase is PodPhase.TERMINATED)
        said = state.log_file(REQUEST.name).read_text()
        for part in ("'BOTFLEET_OF_ALL': 'inherited'", "'BOTFLEET_MORE': 'added'", "'BOTFLEET_POD_NAME': 'bot-7-e5'"):
            assert part in said
        assert f"'BOTFLEET_POD_UID': '{pod.uid}'" in said
        assert "True ''" in said  # a session of its own, and nothing to read
        await controller.close()

    asyncio.run(story())


def test_what_ended_while_no_controller_watched_is_found(tmp_path: Path) -> None:
    state = locked_folder(tmp_path)

    async def story() -> None:
        first = runtime(state, PATIENT, grace_s=60)
        one = await first.create(REQUEST)
        two = await first.create(replace(REQUEST, bot_id=8, name="bot-8-e5"))
        await first.close()
        (record,) = [each for each in state.load() if each.bot_id == 7]
        os.kill(record.pid, 9)
        await until(lambda: is_dead(record.pid))
        second = runtime(state, PATIENT, grace_s=0.2)
        await second.start()
        (ended,) = second.pods(7)
        assert (ended.uid, ended.phase, ended.exit_code) == (one.uid, PodPhase.TERMINATED, None)
        assert ended.reason == "process is gone"
        (runs,) = second.pods(8)
        assert (runs.uid, runs.phase, runs.deleting) == (two.uid, PodPhase.RUNNING, False)
        await second.relist()
        assert second.pods(8) == (runs,)
        os.kill(next(each.pid for each in state.load() if each.bot_id == 8), 9)
        await until(lambda: second.pods(8)[0].phase is PodPhase.TERMINATED)  # by its own watch
        assert second.pods(8)[0].exit_code is None
        await second.close()

    asyncio.run(story())


def test_a_list_leaves_its_own_child_to_the_watch_that_knows_how_it_ended(tmp_path: Path) -> None:
    state = locked_folder(tmp_path)

    async def story() -> None:
        controller = runtime(state, PATIENT, grace_s=60)
        await controller.create(REQUEST)
        (record,) = state.load()
        os.kill(record.pid, 9)
        while not is_dead(record.pid):
            time.sleep(0.005)  # the loop must not get to its watch yet
        await controller.relist()
        await until(lambda: controller.pods(7)[0].phase is PodPhase.TERMINATED)
        assert controller.pods(7)[0].exit_code == 137
        await controller.close()

    asyncio.run(story())


def test_what_nobody_knows_is_forgotten_without_a_word(tmp_path: Path) -> None:
    state = locked_folder(tmp_path)
    state.forget("nobody")

    async def story() -> None:
        controller = runtime(state, ENDS % 0, grace_s=60)
        stranger = make.pod(uid="stranger")
        await controller.delete(stranger)
        assert controller.pods(7) == (replace(stranger, gone=True),)
        created = await controller.create(REQUEST)
        await until(lambda: controller.pods(7)[-1].phase is PodPhase.TERMINATED)
        await controller.delete(next(pod for pod in controller.pods(7) if pod.uid == created.uid))
        assert controller._processes == {}
        await controller.close()

    asyncio.run(story())


def test_a_process_that_ended_before_anybody_looked_has_a_record_that_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = locked_folder(tmp_path)
    monkeypatch.setattr(module, "start_mark", lambda _: None)

    async def story() -> None:
        controller = runtime(state, ENDS % 0, grace_s=60)
        await controller.create(REQUEST)
        assert [record.started for record in state.load()] == ["ended"]
        await until(lambda: controller.pods(7)[0].phase is PodPhase.TERMINATED)
        await controller.close()

    asyncio.run(story())


@pytest.mark.parametrize("how", ["start", "list"])
def test_what_a_process_forked_ends_when_its_end_is_found_late(tmp_path: Path, how: str) -> None:
    state = locked_folder(tmp_path)

    async def story() -> None:
        controller = runtime(state, FORKS, grace_s=60)
        await controller.create(REQUEST)
        log = state.log_file(REQUEST.name)
        await until(lambda: log.read_text().count("child") == 2)
        (record,) = state.load()
        (child,) = {int(word) for word in log.read_text().split() if word.isdigit()} - {record.pid}
        following = runtime(state, FORKS, grace_s=60)
        await controller.close()
        if how == "list":
            await following.start()
            await following.close()
        os.kill(record.pid, 9)
        await until(lambda: is_dead(record.pid))
        assert not is_dead(child)
        await (following.relist() if how == "list" else following.start())
        await until(lambda: is_dead(child))
        await following.close()

    asyncio.run(story())


def test_a_list_finds_an_adopted_process_that_ended_unnoticed(tmp_path: Path) -> None:
    state = locked_folder(tmp_path)

    async def story() -> None:
        first = runtime(state, PATIENT, grace_s=60)
        await first.create(REQUEST)
        await first.close()
        second = runtime(state, PATIENT, grace_s=60)
        await second.start()
        await second.close()  # its watch is over, so only the list can tell
        (record,) = state.load()
        os.kill(record.pid, 9)
        await until(lambda: is_dead(record.pid))
        assert second.pods(7)[0].phase is PodPhase.RUNNING
        await second.relist()
        assert second.pods(7)[0].phase is PodPhase.TERMINATED

    asyncio.run(story())


def test_a_pid_is_not_trusted_without_its_start(tmp_path: Path) -> None:
    """The number may belong to another program by now, which nobody must hit."""
    state = locked_folder(tmp_path)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True) as stranger:
        record = ProcessRecord(bot_id=7, epoch=5, name="n", uid="u", pid=stranger.pid, started="another boot/1")
        state.save(record)

        async def story() -> None:
            controller = runtime(state, "", grace_s=0)
            await controller.start()
            assert controller.pods(7)[0].phase is PodPhase.TERMINATED
            module._signal(record, 9)
            module._end_children(record)
            await controller.close()

        asyncio.run(story())
        assert stranger.poll() is None
        stranger.kill()


def test_nobody_is_hurt_by_a_signal_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = ProcessRecord(bot_id=7, epoch=5, name="n", uid="u", pid=2**22 + 1, started="s")
    module._signal(gone, 9)
    module._end_children(gone)
    assert module.start_mark(gone.pid) is None
    assert module.start_mark(os.getpid()) is not None
    asyncio.run(module._exit_of(gone.pid))
    # it ended between the look and the signal
    monkeypatch.setattr(module, "start_mark", lambda _: "s")
    module._signal(gone, 9)
    module._end_children(gone)


def handles() -> set[str]:
    return {file.name for file in Path("/proc/self/fd").iterdir()}


def test_a_handle_is_closed_when_nobody_waits_any_more() -> None:
    async def story() -> None:
        before = handles()
        task = asyncio.create_task(module._exit_of(os.getpid()))
        await asyncio.sleep(0)
        assert len(handles()) > len(before)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert handles() == before

    asyncio.run(story())


def test_a_process_has_no_faults_of_a_watch(tmp_path: Path) -> None:
    controller = runtime(locked_folder(tmp_path), "", grace_s=0)
    assert (controller.fault(), controller.watch_trouble()) == (None, None)


def is_dead(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True
