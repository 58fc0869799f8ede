"""Built-in exit mixins, one file each."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from botrunner.strategies.exit.advanced_atr import AdvancedATRExitMixin
from botrunner.strategies.exit.atr import ATRExitMixin
from botrunner.strategies.exit.eom_breakdown import EOMBreakdownExitMixin
from botrunner.strategies.exit.eom_macd_breakdown import EOMMAcdBreakdownExitMixin
from botrunner.strategies.exit.eom_rejection import EOMRejectionExitMixin
from botrunner.strategies.exit.fixed_ratio import FixedRatioExitMixin
from botrunner.strategies.exit.ma_crossover import MACrossoverExitMixin
from botrunner.strategies.exit.multi_level_atr import MultiLevelAtrExitMixin
from botrunner.strategies.exit.overbought import RSIBBExitMixin, RSIOrBBExitMixin
from botrunner.strategies.exit.simple_atr import SimpleATRExitMixin
from botrunner.strategies.exit.time_based import TimeBasedExitMixin
from botrunner.strategies.exit.trailing_stop import TrailingStopExitMixin
from botrunner.strategies.mixins import ExitMixin

_ALL: tuple[type[ExitMixin[Any]], ...] = (
    ATRExitMixin,
    AdvancedATRExitMixin,
    EOMBreakdownExitMixin,
    EOMMAcdBreakdownExitMixin,
    EOMRejectionExitMixin,
    FixedRatioExitMixin,
    MACrossoverExitMixin,
    MultiLevelAtrExitMixin,
    RSIBBExitMixin,
    RSIOrBBExitMixin,
    SimpleATRExitMixin,
    TimeBasedExitMixin,
    TrailingStopExitMixin,
)
EXIT_MIXINS: Mapping[str, type[ExitMixin[Any]]] = MappingProxyType({mixin.__name__: mixin for mixin in _ALL})
