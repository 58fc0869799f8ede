"""Ids of bots and epochs of runs: which numbers can be one, and the one parser of texts that claim to be one.

An id passes through bigint columns, NOTIFY payloads, pod names and labels, file names and JSON (where numbers above
2^53 lose digits). What `is_id` accepts survives all of them. Pure: no I/O.
"""

from __future__ import annotations

from typing import Final

LARGEST_ID: Final = 10**15 - 1
"""Fifteen digits: a bigint, exact in JSON, and room for name and epoch in a pod's 63 characters."""

_DIGITS: Final = len(str(LARGEST_ID))


def is_id(number: int) -> bool:
    """Whether a bot can have this id, or a run this epoch."""
    return 1 <= number <= LARGEST_ID


def parse_id(foreign: object) -> int | None:
    """The id that a text names, in the only spelling that an id has; None for everything else. Never raises."""
    if not isinstance(foreign, str) or len(foreign) > _DIGITS or not (foreign.isascii() and foreign.isdigit()):
        return None
    return int(foreign) if foreign[0] != "0" else None
