"""All pairs of mixins, with parameters that make them trade often."""

from __future__ import annotations

import itertools
from typing import Any

from fleet.config.mixins import ENTRY_PARAMS, EXIT_PARAMS

EAGER: dict[str, dict[str, Any]] = {
    "BBVolumeSuperTrendEntryMixin": {"bb_period": 5, "bb_dev": 0.2, "min_volume_ratio": 0.2, "st_period": 3},
    "RSIBBEntryMixin": {"rsi_period": 5, "rsi_oversold": 45.0, "bb_dev": 0.5, "cooldown_bars": 2},
    "RSIBBVolumeEntryMixin": {"rsi_oversold": 48.0, "bb_dev": 0.4, "min_volume_ratio": 0.2, "rsi_period": 5},
    "RSIIchimokuEntryMixin": {
        "rsi_period": 14,
        "rsi_oversold": 60.0,
        "tenkan_period": 3,
        "kijun_period": 5,
        "senkou_period": 9,
    },
    "RSIOrBBEntryMixin": {"rsi_oversold": 40.0, "bb_dev": 1.0, "rsi_period": 5, "cooldown_bars": 3},
    "RSIVolumeSupertrendEntryMixin": {"rsi_period": 5, "rsi_oversold": 50.0, "min_volume_ratio": 0.2},
    "EOMBreakoutEntryMixin": {
        "breakout_threshold": 0.0,
        "rsi_overbought": 95.0,
        "resistance_lookback": 1,
        "eom_period": 3,
        "volume_sma_period": 2,
        "atr_sma_period": 10,
    },
    "EOMMAcdBreakoutEntryMixin": {
        "resistance_range_low": 0.9,
        "resistance_range_high": 1.1,
        "volume_threshold": 0.1,
        "resistance_lookback": 1,
        "macd_fast": 3,
        "macd_slow": 6,
        "macd_signal": 3,
        "eom_period": 3,
    },
    "EOMPullbackEntryMixin": {
        "support_threshold": 0.05,
        "rsi_oversold": 80.0,
        "atr_floor_multiplier": 0.5,
        "resistance_lookback": 1,
        "eom_period": 3,
        "rsi_period": 5,
        "atr_sma_period": 10,
    },
    "ATRExitMixin": {"atr_period": 5, "sl_multiplier": 1.0},
    "AdvancedATRExitMixin": {
        "k_init": 1.0,
        "k_run": 0.8,
        "k_phase2": 0.5,
        "p_fast": 2,
        "p_slow": 4,
        "htf_compression": 3,
        "swing_lookback": 4,
    },
    "EOMBreakdownExitMixin": {
        "breakdown_threshold": 0.0,
        "eom_period": 3,
        "vol_ma_period": 2,
        "atr_period": 3,
        "resistance_lookback": 1,
    },
    "EOMMAcdBreakdownExitMixin": {
        "support_threshold": 0.0,
        "macd_fast_period": 2,
        "macd_slow_period": 4,
        "macd_signal_period": 2,
        "eom_period": 3,
        "vol_ma_period": 3,
        "resistance_lookback": 1,
    },
    "EOMRejectionExitMixin": {
        "resistance_threshold": 0.95,
        "rsi_overbought": 20.0,
        "rsi_period": 5,
        "eom_period": 3,
        "resistance_lookback": 1,
    },
    "MultiLevelAtrExitMixin": {
        "htf_atr_period": 3,
        "htf_sl_multiplier": 1.5,
        "htf_compression": 3,
        "ltf_atr_period": 5,
        "ltf_sl_multiplier": 1.5,
        "micro_atr_period": 5,
        "use_dynamic_k": True,
        "vol_sma_period": 10,
    },
    "FixedRatioExitMixin": {"take_profit": 0.02, "stop_loss": 0.015},
    "MACrossoverExitMixin": {"fast_period": 2, "slow_period": 5, "ma_type": "EMA"},
    "RSIBBExitMixin": {"rsi_period": 3, "rsi_overbought": 55.0, "bb_period": 5, "bb_dev": 0.5},
    "RSIOrBBExitMixin": {"rsi_period": 5, "rsi_overbought": 60.0},
    "SimpleATRExitMixin": {"atr_period": 5, "atr_multiplier": 1.0, "breakeven_atr": 0.5},
    "TimeBasedExitMixin": {"use_time": True, "max_minutes": 45},
    "TrailingStopExitMixin": {"trail_pct": 0.015, "activation_pct": 0.005},
}
"""Parameters that trade often; what isn't named has its default."""


ALL_PAIRS = list(itertools.product(ENTRY_PARAMS, EXIT_PARAMS))
