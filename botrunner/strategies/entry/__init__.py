"""Built-in entry mixins, one file each."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from botrunner.strategies.entry.bb_volume_supertrend import BBVolumeSuperTrendEntryMixin
from botrunner.strategies.entry.eom_breakout import EOMBreakoutEntryMixin
from botrunner.strategies.entry.eom_macd_breakout import EOMMAcdBreakoutEntryMixin
from botrunner.strategies.entry.eom_pullback import EOMPullbackEntryMixin
from botrunner.strategies.entry.rsi_bb import RSIBBEntryMixin
from botrunner.strategies.entry.rsi_bb_volume import RSIBBVolumeEntryMixin
from botrunner.strategies.entry.rsi_ichimoku import RSIIchimokuEntryMixin
from botrunner.strategies.entry.rsi_or_bb import RSIOrBBEntryMixin
from botrunner.strategies.entry.rsi_volume_supertrend import RSIVolumeSupertrendEntryMixin
from botrunner.strategies.mixins import EntryMixin

_ALL: tuple[type[EntryMixin[Any]], ...] = (
    BBVolumeSuperTrendEntryMixin,
    EOMBreakoutEntryMixin,
    EOMMAcdBreakoutEntryMixin,
    EOMPullbackEntryMixin,
    RSIBBEntryMixin,
    RSIBBVolumeEntryMixin,
    RSIIchimokuEntryMixin,
    RSIOrBBEntryMixin,
    RSIVolumeSupertrendEntryMixin,
)
ENTRY_MIXINS: Mapping[str, type[EntryMixin[Any]]] = MappingProxyType({mixin.__name__: mixin for mixin in _ALL})
