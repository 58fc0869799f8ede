"""Background processes of a checkout: started with a log and a record, ended by exactly that record.

    processes.py start NAME [--env KEY=VALUE ...] -- COMMAND...
    processes.py alive NAME
    processes.py stop

A record holds pid and start time, so a pid that the kernel gave to another program is never signalled. `stop` ends the
controller first (it would start bots again), then the bots that it recorded, then the rest in reverse order of start.
Needs Linux's /proc.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
"""This runs without an environment too: what it imports of `fleet`, it imports where it needs it."""

STATE = Path(os.environ.get("STATE", ROOT / ".botfleet"))
RECORDS = STATE / "run"
LOGS = STATE / "log"
BOTS = STATE / "state" / "runs"
"""Where the controller's process runtime keeps its own records."""

SETTLE_S = 0.5
"""A command that can't work usually ends within so long."""

GRACE_S = 30.0
"""The grace period that the programs' own bounds are made for."""


@dataclass(frozen=True, slots=True)
class Process:
    """One recorded process."""

    name: str
    pid: int
    started: str
    record: Path
    command: tuple[str, ...]

    def is_alive(self) -> bool:
        return start_mark(self.pid) == self.started


def start_mark(pid: int) -> str | None:
    """When the process started, with the boot's id; None if there is none, or a dead one."""
    from fleet import proc

    return proc.start_mark(pid)


def read(folder: Path) -> list[Process]:
    """All records of a folder, newest first."""
    found: list[tuple[float, Process]] = []
    for path in folder.glob("*.json"):
        try:
            fields = json.loads(path.read_text())
            process = Process(
                name=path.stem,
                pid=int(fields["pid"]),
                started=fields["started"],
                record=path,
                command=tuple(fields.get("command", ())),
            )
            found.append((path.stat().st_mtime, process))
        except (ValueError, KeyError, TypeError, FileNotFoundError):
            print(f"warning: {path} is no record of a process, left alone", file=sys.stderr)
    return [process for _, process in sorted(found, key=lambda pair: -pair[0])]


def start(name: str, environment: Sequence[str], command: Sequence[str]) -> int:
    """Start the command unless it runs already; 1 if it ends at once."""
    RECORDS.mkdir(parents=True, exist_ok=True)
    LOGS.mkdir(parents=True, exist_ok=True)
    running = next((process for process in read(RECORDS) if process.name == name and process.is_alive()), None)
    if running is not None and running.command == tuple(command):
        print(f"{name} is running already", file=sys.stderr)
        return 0
    if running is not None:
        print(f"\nerror: {name} is running already (pid {running.pid}), with other settings", file=sys.stderr)
        print("  fix: make down, then make up again with the settings that you want", file=sys.stderr)
        return 1
    log = LOGS / f"{name}.log"
    variables = {**os.environ, **dict(pair.split("=", 1) for pair in environment)}
    with log.open("ab") as output:
        child = subprocess.Popen(
            command,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    record = RECORDS / f"{name}.json"
    temporary = record.with_suffix(".new")
    temporary.write_text(json.dumps({"pid": child.pid, "started": start_mark(child.pid), "command": list(command)}))
    temporary.replace(record)
    try:
        code = child.wait(SETTLE_S)
    except subprocess.TimeoutExpired:
        return 0
    record.unlink()
    last = shown(log.read_text(errors="replace"), variables).strip().splitlines()[-3:]
    print(f"\nerror: {name} ended at once with exit code {code}:\n  " + "\n  ".join(last), file=sys.stderr)
    print(f"  fix: see {log}", file=sys.stderr)
    return 1


def shown(said: str, environment: Mapping[str, str]) -> str:
    """What a command said, without the secrets that its environment holds."""
    from fleet.foreign import clean_text
    from fleet.redaction import guard_environment, redact

    guard_environment(environment)
    return clean_text(redact(said[-100_000:]), 20_000, keep="tail")


def end(processes: Sequence[Process]) -> None:
    """Ask all of them to stop, then insist; returns when none is left."""
    for sign, patience in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, 5.0)):
        alive = [process for process in processes if process.is_alive()]
        for process in alive:
            with suppress(ProcessLookupError):
                os.kill(process.pid, sign)
        deadline = time.monotonic() + patience
        while any(process.is_alive() for process in alive) and time.monotonic() < deadline:
            time.sleep(0.05)
    for process in processes:
        if not process.is_alive():
            process.record.unlink(missing_ok=True)


def stop() -> int:
    """End everything that this checkout started; 1 if something goes on."""
    own = read(RECORDS)
    controllers = [process for process in own if process.name == "controller"]
    end(controllers)
    bots = read(BOTS)
    end(bots)
    rest = [process for process in own if process not in controllers]
    for process in rest:
        end([process])
    names = [process.name for process in (*controllers, *rest)]
    if names or bots:
        print(f"ended {len(bots)} bots and: {', '.join(names)}", file=sys.stderr)
    left = [process for process in (*own, *bots) if process.is_alive()]
    for process in left:
        print(f"{process.name} (pid {process.pid}) can't be ended", file=sys.stderr)
    return 1 if left else 0


def main(arguments: Sequence[str]) -> int:
    match arguments:
        case ["stop"]:
            return stop()
        case ["alive", name]:
            return 0 if any(process.name == name and process.is_alive() for process in read(RECORDS)) else 1
        case ["start", name, *rest] if "--" in rest:
            split = rest.index("--")
            environment = [word for word in rest[:split] if word != "--env"]
            return start(name, environment, rest[split + 1 :])
        case _:
            print(__doc__, file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
