"""Built-in entry mixins, one file each."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from botrunner.strategies.entry.rsi_bb_volume import RSIBBVolumeEntryMixin
from botrunner.strategies.entry.rsi_or_bb import RSIOrBBEntryMixin
from botrunner.strategies.mixins import EntryMixin

ENTRY_MIXINS: Mapping[str, type[EntryMixin[Any]]] = MappingProxyType(
    {mixin.__name__: mixin for mixin in (RSIBBVolumeEntryMixin, RSIOrBBEntryMixin)}
)
