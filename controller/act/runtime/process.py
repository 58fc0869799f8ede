"""Bots as local processes, under the same epochs, claims and fences as pods.

For a laptop without a cluster and for a service on one machine. Processes survive the controller: they have a
session of their own, write to a log file of their own, and a record with pid and start time lets the next
controller adopt them. The end of a process is always proof of death; its exit code is known only to the controller
that started it. A pid is never trusted without its start time.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO
from uuid import uuid4

from controller.act.runtime import CreateRefused
from controller.decide.facts import PodFacts, PodPhase
from controller.decide.last_error import last_error
from controller.decide.pod_events import PodEvent
from controller.decide.podspec import PodRequest, arguments
from controller.metrics import Metrics
from controller.observe.pods import PodStore
from fleet.errors import PermanentError
from fleet.foreign import clean_text, load_json, object_of
from fleet.log import get_logger
from fleet.proc import start_mark
from fleet.redaction import redact

log = get_logger("process")

LOG_TAIL = 16_384
"""Bytes of the log's end that are searched for the last words of a process that died without a report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRecord:
    """What is written down about a process: enough to find exactly it again."""

    bot_id: int
    epoch: int
    name: str
    uid: str
    pid: int
    started: str


class StateFolder:
    """The folder with records and logs; one controller at a time holds its lock."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self._lock: IO[str] | None = None

    def lock(self) -> bool:
        """Take the lock, which the kernel drops when this process ends; False while another one has it.

        Raises:
            PermanentError: the folder can't be used.
        """
        try:
            for folder in (self.path / "runs", self.path / "logs"):
                folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / "controller.lock").open("w")
        except OSError as error:
            raise PermanentError(f"BOTFLEET_STATE_DIR {self.path} can't be used: {error}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            return False
        return True

    def log_file(self, name: str) -> Path:
        """Where the process of this name writes."""
        return self.path / "logs" / f"{name}.log"

    def save(self, record: ProcessRecord) -> None:
        """Write the record, whole or not at all."""
        target = self._record_file(record.uid)
        fresh = target.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(record)))
        fresh.rename(target)

    def forget(self, uid: str) -> None:
        """Drop the record."""
        self._record_file(uid).unlink(missing_ok=True)
        self._asked_file(uid).unlink(missing_ok=True)

    def note_asked(self, uid: str) -> None:
        """Note that the process is asked to end, for the next controller: a second signal would end it at once."""
        self._asked_file(uid).touch()

    def was_asked(self, uid: str) -> bool:
        """Whether a controller has asked the process to end."""
        return self._asked_file(uid).exists()

    def load(self) -> list[ProcessRecord]:
        """All records; an unreadable one is left out and named in the log."""
        records = []
        for file in sorted((self.path / "runs").glob("*.json")):
            try:
                records.append(_record(file.read_bytes()))
            except (OSError, ValueError) as error:
                log.warning("record_unreadable", file=str(file), error=repr(error))
        return records

    def _record_file(self, uid: str) -> Path:
        return self.path / "runs" / f"{uid}.json"

    def _asked_file(self, uid: str) -> Path:
        return self.path / "runs" / f"{uid}.asked"


def _record(raw: bytes) -> ProcessRecord:
    """Raises ValueError: it isn't one."""
    fields = dict(object_of(load_json(raw)))
    expected = {name: int if kind == "int" else str for name, kind in ProcessRecord.__annotations__.items()}
    if fields.keys() != expected.keys() or any(type(fields[name]) is not kind for name, kind in expected.items()):
        raise ValueError(f"a record has {', '.join(expected)}")
    return ProcessRecord(**fields)  # type: ignore[arg-type]  # each field's type was just compared


@dataclass(slots=True)
class _Process:
    record: ProcessRecord
    child: subprocess.Popen[bytes] | None
    watcher: asyncio.Task[None] | None = None
    killer: asyncio.TimerHandle | None = None


class ProcessRuntime:
    """Local processes.

    Args:
        command: of a bot; its arguments are added.
        environment: of a bot, in addition to this process's own.
        folder: records and logs; locked by the caller.
        store: the last known state of every process.
        grace_s: from SIGTERM to SIGKILL.
        metrics: counts operations.
    """

    name = "process"

    def __init__(
        self,
        *,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: StateFolder,
        store: PodStore,
        grace_s: float,
        metrics: Metrics,
    ) -> None:
        self._command = list(command)
        self._environment = dict(environment)
        self._folder = folder
        self._store = store
        self._grace_s = grace_s
        self._metrics = metrics
        self._processes: dict[str, _Process] = {}

    async def start(self) -> None:
        """Adopt what an earlier controller has started."""
        for record in self._folder.load():
            process = _Process(record, None)
            self._processes[record.uid] = process
            if _is_running(record):
                log.info("adopted", bot_id=record.bot_id, epoch=record.epoch, pid=record.pid)
                asked = self._folder.was_asked(record.uid)
                self._store.put(replace(_facts(record, PodPhase.RUNNING), deleting=asked))
                self._watch(process)
                if asked:
                    self._kill_later(process)
            else:
                _end_children(record)
                self._store.put(replace(_facts(record, PodPhase.TERMINATED), reason="process is gone"))

    async def close(self) -> None:
        """Stop watching; the processes go on."""
        for process in self._processes.values():
            if process.killer is not None:
                process.killer.cancel()
            if process.watcher is not None:
                process.watcher.cancel()

    def fault(self) -> str | None:
        """Nothing here can fail apart from a process."""
        return None

    def watch_trouble(self) -> str | None:
        """The kernel always tells."""
        return None

    def record_event(self, pod: PodFacts, event: PodEvent) -> None:
        """The log is where people look."""
        log.info("note", bot_id=pod.bot_id, epoch=pod.epoch, reason=event.reason, message=event.message)

    def pods(self, bot_id: int) -> tuple[PodFacts, ...]:
        """See Runtime."""
        return self._store.of(bot_id)

    def existing(self) -> list[PodFacts]:
        """See RunningRuntime."""
        return self._store.existing()

    async def relist(self) -> None:
        """Look at every process once more."""
        for process in list(self._processes.values()):
            if process.child is None and not _is_running(process.record):
                _end_children(process.record)
                self._ended(process)

    async def create(self, request: PodRequest) -> PodFacts:
        """See Runtime."""
        for pod in self._store.of(request.bot_id):
            if pod.epoch == request.epoch and not pod.gone:
                return pod
        uid = uuid4().hex
        environment = {
            **os.environ,
            **self._environment,
            "BOTFLEET_POD_NAME": request.name,
            "BOTFLEET_POD_UID": uid,
        }
        try:
            child = await asyncio.to_thread(self._spawn, request, environment)
        except OSError as error:
            self._metrics.pod_operations.labels("create", "failed").inc()
            why = clean_text(error, 500, lines=False)
            raise CreateRefused(f"{self._command[0]} can't be started: {why}; check BOTFLEET_BOT_COMMAND") from error
        started = start_mark(child.pid) or "ended"
        record = ProcessRecord(
            bot_id=request.bot_id,
            epoch=request.epoch,
            name=request.name,
            uid=uid,
            pid=child.pid,
            started=started,
        )
        self._folder.save(record)
        self._metrics.pod_operations.labels("create", "ok").inc()
        process = _Process(record, child)
        self._processes[uid] = process
        pod = _facts(record, PodPhase.RUNNING)
        self._store.put(pod)
        self._watch(process)
        return pod

    async def delete(self, pod: PodFacts) -> None:
        """See Runtime."""
        process = self._processes.get(pod.uid)
        if process is None or pod.phase is PodPhase.TERMINATED:
            self._forget(pod)
            return
        self._metrics.pod_operations.labels("delete", "ok").inc()
        self._store.put(replace(pod, deleting=True))
        if process.killer is None:  # once: a second signal would end the bot at once
            self._folder.note_asked(pod.uid)
            _signal(process.record, signal.SIGTERM)
            self._kill_later(process)

    def _kill_later(self, process: _Process) -> None:
        loop = asyncio.get_running_loop()
        process.killer = loop.call_later(self._grace_s, _signal, process.record, signal.SIGKILL)

    def _spawn(self, request: PodRequest, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        with self._folder.log_file(request.name).open("ab") as sink:
            return subprocess.Popen(
                [*self._command, *arguments(request)],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env=environment,
                # Ctrl-C in the controller's terminal must not stop the bots
                start_new_session=True,
            )

    def _watch(self, process: _Process) -> None:
        process.watcher = asyncio.create_task(self._wait(process), name=f"wait {process.record.name}")

    async def _wait(self, process: _Process) -> None:
        await _exit_of(process.record.pid)
        _end_children(process.record)
        if process.child is not None:
            # not a child's wait in the loop's own way: that would kill the bot when the loop is closed
            await asyncio.to_thread(process.child.wait)
        self._ended(process)

    def _ended(self, process: _Process) -> None:
        code = process.child.returncode if process.child is not None else None
        record = process.record
        log.info("process_ended", bot_id=record.bot_id, epoch=record.epoch, pid=record.pid, exit_code=code)
        pod = replace(
            _facts(record, PodPhase.TERMINATED),
            exit_code=None if code is None else code if code >= 0 else 128 - code,
            reason=signal.Signals(-code).name if code is not None and code < 0 else "",
            message=self._last_error(record.name) if code is not None and code > 0 else "",
        )
        if process.killer is None:
            self._store.put(pod)
        else:
            process.killer.cancel()
            self._forget(pod)

    def _forget(self, pod: PodFacts) -> None:
        """The counterpart of an object's deletion: only its last state is kept, for a while."""
        self._folder.forget(pod.uid)
        self._processes.pop(pod.uid, None)
        self._store.remove(pod)

    def _last_error(self, name: str) -> str:
        try:
            with self._folder.log_file(name).open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_TAIL))
                return last_error(redact(file.read(LOG_TAIL).decode(errors="replace")))
        except OSError:
            return ""


def _facts(record: ProcessRecord, phase: PodPhase) -> PodFacts:
    return PodFacts(
        bot_id=record.bot_id, epoch=record.epoch, name=record.name, uid=record.uid, phase=phase, node="local"
    )


async def _exit_of(pid: int) -> None:
    """Returns when the process has ended; at once when there is none."""
    loop = asyncio.get_running_loop()
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    loop.add_reader(handle, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)


def _is_running(record: ProcessRecord) -> bool:
    return start_mark(record.pid) == record.started


def _signal(record: ProcessRecord, number: int) -> None:
    if _is_running(record):
        try:
            os.kill(record.pid, number)
        except ProcessLookupError:
            return


def _end_children(record: ProcessRecord) -> None:
    """End what a dead process has left in its group, as the end of a pod would.

    Workers that a strategy forked would hold the bot's connections open for ever. The kernel gives the number of a
    group to no new process while it has a member; where another process has the number, there was none left.
    """
    if start_mark(record.pid) in (None, record.started):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(record.pid, signal.SIGKILL)
