"""The part of a configuration that a running bot takes over without a restart.

`notifications` and `risk_management` are handed over in a heartbeat's reply; any other difference means a
new run. Works on raw documents, since the stored ones are compared. Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

HOT_FIELDS = ("notifications", "risk_management")


def hot_fields(raw: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """The hot sections of `raw`: what a heartbeat's reply carries."""
    return {key: raw[key] for key in HOT_FIELDS if key in raw}


def with_hot_fields(raw: Mapping[str, JsonValue], hot: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """`raw` with its hot sections replaced by those of `hot`; a section missing there is dropped."""
    return _cold_fields(raw) | hot_fields(hot)


def only_hot_fields_differ(old_raw: object, new_raw: object) -> bool:
    """Whether a bot running `old_raw` can go on with `new_raw` without a restart.

    True as well when nothing differs. Never raises: documents that can't be compared need a restart.
    """
    if not isinstance(old_raw, Mapping) or not isinstance(new_raw, Mapping):
        return False
    try:
        return _cold_fields(old_raw) == _cold_fields(new_raw)
    except RecursionError:
        return False


def _cold_fields(raw: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    return {key: value for key, value in raw.items() if key not in HOT_FIELDS}
