"""How long to wait before trying again: one formula for all programs.

`nominal_s` grows from failure to failure up to a limit; `between_s` draws from a range around it, so that those which
failed together don't come back in step. Pure: where chance is wanted, the caller passes a random number.
"""

from __future__ import annotations

MOST_DOUBLINGS = 64
"""Further ones change nothing but the size of a number."""


def nominal_s(failures: int, *, first_s: float, most_s: float, factor: float = 2.0) -> float:
    """Seconds to wait after so many failures in a row.

    Args:
        failures: at least 1; less counts as 1.
        first_s: after the first.
        most_s: never more than this.
        factor: by which it grows with each.
    """
    return min(first_s * factor ** min(max(failures, 1) - 1, MOST_DOUBLINGS), most_s)


def between_s(low_s: float, high_s: float, chance: float) -> float:
    """A wait in the range from `low_s` to `high_s`, as far in as `chance` says: a random number in [0, 1)."""
    return low_s + (high_s - low_s) * chance
