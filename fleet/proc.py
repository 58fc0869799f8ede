"""What Linux tells about processes in /proc. A pid alone is never enough: the kernel gives it to others later."""

from __future__ import annotations

import os
import time
from pathlib import Path

_STATE, _START_TIME = 0, 19
"""Places behind the name: fields 3 and 22 of proc(5)."""


def start_mark(pid: int) -> str | None:
    """When a process started, in clock ticks since boot, with the boot's id; None for none, or a dead one.

    Two processes never have the same mark together with the same pid.
    """
    try:
        fields = stat_fields(pid)
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[_STATE] in "ZX" else f"{boot}/{fields[_START_TIME]}"


def since_exec_s() -> float:
    """Seconds since this process was started, by the kernel's count; 0 where there is no /proc."""
    try:
        ticks = int(stat_fields("self")[_START_TIME])
    except (OSError, ValueError, IndexError):
        return 0.0
    return round(time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"), 2)


def resident_mb(pid: int | str = "self") -> float:
    """Resident memory of a process, MB; 0 where there is no /proc, or no such process."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def stat_fields(pid: int | str) -> list[str]:
    """`/proc/PID/stat` from the state on; the name before it, in parentheses, may contain anything.

    Raises:
        OSError: there is no such process, or no /proc.
    """
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
