"""Parameters with which every mixin acts within some hundred candles: a combination that never trades proves nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_OVERSOLD = {"rsi_period": 7, "rsi_oversold": 48}
_BAND = {"bb_period": 12, "bb_dev": 0.8}
_VOLUME = {"vol_ma_period": 10, "min_volume_ratio": 0.6}
_SUPERTREND = {"st_period": 7, "st_multiplier": 1.5}

LOOSE: Mapping[str, Mapping[str, Any]] = {
    "RSIBBEntryMixin": {**_OVERSOLD, **_BAND},
    "RSIOrBBEntryMixin": {**_OVERSOLD, **_BAND},
    "RSIBBVolumeEntryMixin": {**_OVERSOLD, **_BAND, **_VOLUME},
    "RSIIchimokuEntryMixin": {
        "rsi_period": 14,
        "rsi_oversold": 70,
        "tenkan_period": 5,
        "kijun_period": 10,
        "senkou_period": 20,
    },
    "BBVolumeSuperTrendEntryMixin": {**_BAND, **_VOLUME, **_SUPERTREND},
    "RSIVolumeSupertrendEntryMixin": {"rsi_period": 7, "rsi_oversold": 60, **_VOLUME, **_SUPERTREND},
    "EOMBreakoutEntryMixin": {
        "breakout_threshold": 0.0001,
        "use_atr_filter": False,
        "rsi_overbought": 95,
        "volume_sma_period": 5,
    },
    "EOMMAcdBreakoutEntryMixin": {
        "resistance_range_low": 0.95,
        "resistance_range_high": 1.05,
        "volume_threshold": 0.3,
        "macd_fast": 4,
        "macd_slow": 9,
        "macd_signal": 3,
    },
    "EOMPullbackEntryMixin": {
        "support_threshold": 0.03,
        "rsi_oversold": 60,
        "atr_floor_multiplier": 0.3,
        "atr_sma_period": 30,
    },
    "ATRExitMixin": {"atr_period": 7, "sl_multiplier": 1.2},
    "SimpleATRExitMixin": {"atr_period": 7, "atr_multiplier": 1.2},
    "AdvancedATRExitMixin": {"k_init": 1.2, "k_run": 1.0, "k_phase2": 0.8, "use_htf_atr": False},
    "MultiLevelAtrExitMixin": {
        "htf_atr_period": 5,
        "htf_sl_multiplier": 1.0,
        "ltf_sl_multiplier": 1.0,
        "htf_compression": 6,
    },
    "FixedRatioExitMixin": {"take_profit": 0.006, "stop_loss": 0.006},
    "TrailingStopExitMixin": {"trail_pct": 0.004},
    "TimeBasedExitMixin": {"max_bars": 8},
    "MACrossoverExitMixin": {"fast_period": 3, "slow_period": 8},
    "RSIBBExitMixin": {"rsi_period": 5, "rsi_overbought": 55, "bb_period": 10, "bb_dev": 0.5},
    "RSIOrBBExitMixin": {"rsi_period": 5, "rsi_overbought": 55, "bb_period": 10, "bb_dev": 0.5},
    "EOMBreakdownExitMixin": {"breakdown_threshold": 0.0001, "vol_ma_period": 5},
    "EOMMAcdBreakdownExitMixin": {
        "support_threshold": 0.0001,
        "macd_fast_period": 4,
        "macd_slow_period": 9,
        "macd_signal_period": 3,
        "vol_ma_period": 5,
    },
    "EOMRejectionExitMixin": {"resistance_threshold": 0.95, "rsi_overbought": 40},
}
