"""The built-in entry and exit mixins of CustomStrategy by name, each with the model of its parameters.

The one place for them: the bot's mixins take these models, the validation, the JSON Schema and the
documentation are made from them. A name is here only together with its implementation in
botrunner/strategies/. Pure: no I/O, no Backtrader.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from fleet.config import entry_params, exit_params
from fleet.config.params import MixinParams

ENTRY_PARAMS: Mapping[str, type[MixinParams]] = MappingProxyType(
    {
        "BBVolumeSuperTrendEntryMixin": entry_params.BBVolumeSuperTrendEntryParams,
        "EOMBreakoutEntryMixin": entry_params.EOMBreakoutEntryParams,
        "EOMMAcdBreakoutEntryMixin": entry_params.EOMMAcdBreakoutEntryParams,
        "EOMPullbackEntryMixin": entry_params.EOMPullbackEntryParams,
        "RSIBBEntryMixin": entry_params.RSIBBEntryParams,
        "RSIBBVolumeEntryMixin": entry_params.RSIBBVolumeEntryParams,
        "RSIIchimokuEntryMixin": entry_params.RSIIchimokuEntryParams,
        "RSIOrBBEntryMixin": entry_params.RSIOrBBEntryParams,
        "RSIVolumeSupertrendEntryMixin": entry_params.RSIVolumeSupertrendEntryParams,
    }
)
"""Entry mixins and their parameters."""

EXIT_PARAMS: Mapping[str, type[MixinParams]] = MappingProxyType(
    {
        "ATRExitMixin": exit_params.ATRExitParams,
        "AdvancedATRExitMixin": exit_params.AdvancedATRExitParams,
        "EOMBreakdownExitMixin": exit_params.EOMBreakdownExitParams,
        "EOMMAcdBreakdownExitMixin": exit_params.EOMMAcdBreakdownExitParams,
        "EOMRejectionExitMixin": exit_params.EOMRejectionExitParams,
        "FixedRatioExitMixin": exit_params.FixedRatioExitParams,
        "MACrossoverExitMixin": exit_params.MACrossoverExitParams,
        "MultiLevelAtrExitMixin": exit_params.MultiLevelAtrExitParams,
        "RSIBBExitMixin": exit_params.RSIBBExitParams,
        "RSIOrBBExitMixin": exit_params.RSIOrBBExitParams,
        "SimpleATRExitMixin": exit_params.SimpleATRExitParams,
        "TimeBasedExitMixin": exit_params.TimeBasedExitParams,
        "TrailingStopExitMixin": exit_params.TrailingStopExitParams,
    }
)
"""Exit mixins and their parameters."""
