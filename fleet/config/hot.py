"""The part of a configuration that a running bot takes over without a restart.

`notifications` and `risk_management` are handed over in a heartbeat's reply; any other difference means a
new run. Documents are compared as they are stored, raw. In a bot's process `RunningConfig` is the one place that
holds the configuration in force. No I/O.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from fleet.config.bot import BotConfig

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


class RunningConfig:
    """The configuration that a running bot goes by, shared by all of its parts.

    Whoever decides by a hot section asks for `now` each time and keeps nothing of it, so that a change reaches limits
    and notifications alike. What isn't hot never changes while the process lives.
    """

    def __init__(self, config: BotConfig) -> None:
        self._now = config

    @property
    def now(self) -> BotConfig:
        """As of the last change; frozen, so that one answer is consistent in itself."""
        return self._now

    def replace(self, config: BotConfig) -> None:
        """Take over a configuration of which only hot sections differ; may be called from another thread."""
        self._now = config


def _cold_fields(raw: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    return {key: value for key, value in raw.items() if key not in HOT_FIELDS}
