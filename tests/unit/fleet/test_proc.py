"""What /proc tells about living, dead and missing processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from fleet import proc

NO_PID = 2**22 + 1  # more than the kernel gives


def test_the_mark_of_a_process_stays_and_is_its_own() -> None:
    child = subprocess.Popen(["sleep", "60"])
    try:
        mark = proc.start_mark(child.pid)
        assert mark is not None
        assert mark == proc.start_mark(child.pid)
        assert mark != proc.start_mark(os.getpid())
        assert mark.partition("/")[0] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    finally:
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert proc.start_mark(child.pid) is None  # a zombie
        child.wait()
    assert proc.start_mark(child.pid) is None
    assert proc.start_mark(NO_PID) is None


def test_a_name_with_parentheses_and_spaces_moves_no_field(tmp_path: Path) -> None:
    program = tmp_path / "a) Z 1 (b"
    program.symlink_to("/bin/sleep")
    child = subprocess.Popen([program, "60"])
    try:
        deadline = time.monotonic() + 10
        while (state := proc.stat_fields(child.pid)[0]) not in "SD" and time.monotonic() < deadline:
            time.sleep(0.01)
        assert state in "SD"
        assert proc.start_mark(child.pid) is not None
    finally:
        child.kill()
        child.wait()


def test_age_and_memory_of_a_fresh_process() -> None:
    code = "from fleet import proc; print(proc.since_exec_s(), proc.resident_mb())"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    age_s, memory_mb = map(float, said)
    assert 0 <= age_s < 60
    assert 3 < memory_mb < 500


def test_a_missing_process_has_no_memory() -> None:
    assert proc.resident_mb(NO_PID) == 0.0
    assert proc.resident_mb(os.getpid()) > 3
