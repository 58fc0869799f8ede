"""Runs the steps of `make up` beside each other: each as soon as what it needs is done.

    steps.py < TABLE      a line per step: NAME | NEEDS | USUAL SECONDS | COMMAND    (NEEDS: names, or -; from hack/)
    steps.py table        prints what the last run took, from $STATE/times

A step's output goes to $STATE/log/up-NAME.log; its lines in the form of `say` (hack/common.sh) are shown. What runs is
told every REPORT_EVERY_S with the share that is done: what the step writes to the file $STEP_PROGRESS, else its time by
the usual one (two idle cores). A failing step, SIGINT, SIGTERM, SIGHUP or the
end of up.sh ends all the others with their children.
Times are appended to $STATE/times: name, start and duration in s, CPU seconds of the step's own processes (not of
dockerd's). Needs no package: it runs before there is a virtual environment.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

STATE = Path(os.environ["STATE"])
STARTED = int(os.environ.get("STARTED") or time.time())
LOOK_EVERY_S = 0.1
REPORT_EVERY_S = float(os.environ.get("REPORT_EVERY_S", "20"))
WORTH_A_LINE_S = 2.0  # a step that took less had nothing to do
END_TIMEOUT_S = 5.0
LAST_LINES = 12
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

SAID = re.compile(r"^ *\d+s  (.*)")


class PlanError(ValueError):
    """A table that can't be run: which line, and why."""


class EndedError(Exception):
    """A signal asked for the end."""


@dataclass(slots=True)
class Step:
    name: str
    needs: tuple[str, ...]
    usual_s: float
    command: str
    process: subprocess.Popen[bytes] | None = None
    began: float = 0.0
    took_s: float = 0.0
    cpu_s: float = 0.0
    done: bool = False
    shown: int = 0  # bytes of the log that were looked at
    rest: str = field(default="", repr=False)

    @property
    def log(self) -> Path:
        return STATE / "log" / f"up-{self.name}.log"

    @property
    def progress(self) -> Path:
        return STATE / "log" / f"up-{self.name}.progress"

    def state(self, now: float) -> str:
        """`programs 40 % (usually 4 min)`; late: `programs 90 %, 6 min so far (usually 4 min)`."""
        elapsed = now - self.began
        share = written_share(self.progress)
        percent = share if share is not None else min(95, int(100 * elapsed / self.usual_s))
        late = f", {duration(elapsed)} so far" if elapsed > self.usual_s else ""
        return f"{self.name} {percent} %{late} (usually {duration(self.usual_s)})"


def written_share(file: Path) -> int | None:
    with suppress(OSError, ValueError):
        return max(0, min(99, int(file.read_text())))
    return None


def duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def parse(text: str) -> list[Step]:
    """The steps of a table, in its order.

    Raises:
        PlanError: a line isn't of the form, or a step needs one that doesn't stand before it.
    """
    steps: list[Step] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        parts = [part.strip() for part in line.split("|", 3)]
        if len(parts) != 4 or not parts[0] or not parts[3]:
            raise PlanError(f"line {number}: NAME | NEEDS | USUAL SECONDS | COMMAND is wanted, not {line.strip()!r}")
        name, needs, usual, command = parts
        wanted = () if needs == "-" else tuple(needs.split())
        for missing in set(wanted) - {step.name for step in steps}:
            raise PlanError(f"line {number}: {name} needs {missing}, which doesn't stand before it")
        steps.append(Step(name, wanted, float(usual), command))
    return steps


def say(text: str) -> None:
    print(f"{time.time() - STARTED:5.0f}s  {text}", file=sys.stderr, flush=True)


class Run:
    """Of all steps.

    Attributes:
        ended: the signal that asked for the end, 0 for none. Its handler raises nothing, since it may come in the
            moment in which a process is made and nobody knows it yet.
    """

    def __init__(self, steps: list[Step]) -> None:
        self.steps = steps
        self.ended = 0
        self.reported = time.monotonic()

    @property
    def running(self) -> list[Step]:
        return [step for step in self.steps if step.process is not None and not step.done]

    def count(self) -> str:
        return f"[{sum(step.done for step in self.steps)}/{len(self.steps)}]"

    def run(self) -> int:
        """All steps; the exit code of the first that failed, or 0.

        Raises:
            EndedError: a signal asked for the end; all steps have ended. OSError: STATE can't be written; so they have.
        """
        try:
            while not all(step.done for step in self.steps):
                if self.ended:
                    raise EndedError(self.ended)
                self._begin_what_can()
                failed = self._collect()
                if failed:
                    self._end()
                    self._tell(*failed)
                    return failed[1]
                self._report()
                time.sleep(LOOK_EVERY_S)
        finally:
            self._end()
        return 0

    def _begin_what_can(self) -> None:
        done = {step.name for step in self.steps if step.done}
        for step in self.steps:
            if step.process is None and done.issuperset(step.needs) and not self.ended:
                step.log.parent.mkdir(parents=True, exist_ok=True)
                step.progress.unlink(missing_ok=True)
                with step.log.open("wb") as log:
                    step.process = subprocess.Popen(
                        ["bash", "-c", f"exec {step.command}"],
                        cwd=Path(__file__).parent,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,  # so that all of it can be ended at once
                        env={**os.environ, "STEP_PROGRESS": str(step.progress)},
                    )
                step.began = time.monotonic()

    def _collect(self) -> tuple[Step, int] | None:
        for step in self.running:
            self._show(step)
            process = step.process
            assert process is not None
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid == 0:
                continue
            process.returncode = os.waitstatus_to_exitcode(status)
            step.done, step.took_s = True, time.monotonic() - step.began
            step.cpu_s = usage.ru_utime + usage.ru_stime
            self._show(step)
            step.progress.unlink(missing_ok=True)
            if process.returncode != 0:
                signal_group(step, signal.SIGKILL)  # what it left behind
                return step, process.returncode
            note_time(step.name, time.time() - STARTED - step.took_s, step.took_s, step.cpu_s)
            if step.took_s >= WORTH_A_LINE_S:
                say(f"{self.count()} {step.name}: done in {duration(step.took_s)}")
                self.reported = time.monotonic()
        return None

    def _show(self, step: Step) -> None:
        """What the step has said since the last look."""
        with step.log.open("rb") as log:
            log.seek(step.shown)
            data = log.read()
        step.shown += len(data)
        *lines, step.rest = (step.rest + data.decode(errors="replace")).split("\n")
        for line in lines:
            said = SAID.match(line)
            if said:
                say(f"{self.count()} {step.name}: {said[1]}")

    def _report(self) -> None:
        now = time.monotonic()
        if now - self.reported < REPORT_EVERY_S:
            return
        self.reported = now
        say(f"{self.count()} " + "; ".join(step.state(now) for step in self.running))

    def _tell(self, step: Step, code: int) -> None:
        lines = [line for line in step.log.read_text(errors="replace").splitlines() if line.strip()]
        how = f"exit code {code}" if code > 0 else f"signal {-code}"
        print(
            f"\nerror: the step {step.name} failed ({how}) after {duration(step.took_s)}. Its last lines:",
            file=sys.stderr,
        )
        for line in lines[-LAST_LINES:]:
            print(f"    {line}", file=sys.stderr)
        print(f"  its log: {step.log}\n  the same command again goes on from what is done", file=sys.stderr, flush=True)

    def _end(self) -> None:
        """Of every step that runs, with its children. It is not to be interrupted itself."""
        if not self.running:
            return
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)
        for step in self.running:
            signal_group(step, signal.SIGTERM)
        deadline = time.monotonic() + END_TIMEOUT_S
        for step in self.running:
            process = step.process
            assert process is not None
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
            signal_group(step, signal.SIGKILL)  # the children that did not follow
            process.wait()
            step.done = True


def signal_group(step: Step, number: signal.Signals) -> None:
    assert step.process is not None
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(step.process.pid, number)


def note_time(name: str, began_s: float, took_s: float, cpu_s: float) -> None:
    with (STATE / "times").open("a") as file:
        file.write(f"{name}\t{began_s:.1f}\t{took_s:.1f}\t{cpu_s:.1f}\n")


def table() -> str:
    rows = [line.split("\t") for line in (STATE / "times").read_text().splitlines()]
    rows.sort(key=lambda row: float(row[1]))
    lines = [f"  {'step':<12} {'began':>7} {'took':>7} {'CPU':>7}"]
    lines += [f"  {name:<12} {float(a):5.0f} s {float(t):5.0f} s {float(c):5.0f} s" for name, a, t, c in rows]
    return "\n".join(lines)


def end_with_parent() -> None:
    """A killed up.sh ends us, as if it had handed the signal on; Linux only (PR_SET_PDEATHSIG is 1)."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def main() -> int:
    if sys.argv[1:] == ["table"]:
        print(table())
        return 0
    try:
        steps = parse(sys.stdin.read())
    except PlanError as error:
        print(f"error: steps.py: {error}", file=sys.stderr)
        return 2

    run = Run(steps)

    def ended(number: int, _: FrameType | None) -> None:
        run.ended = number

    for number in ENDING:
        signal.signal(number, ended)
    end_with_parent()
    try:
        STATE.mkdir(parents=True, exist_ok=True)
        code = run.run()
    except OSError as problem:
        print(
            f"\nerror: {STATE} cannot be written: {problem}\n  fix: make room there, or set STATE to another folder",
            file=sys.stderr,
        )
        return 1
    except EndedError as end:
        print("\nended; the same command again goes on from what is done", file=sys.stderr)
        return 128 + int(end.args[0])
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
