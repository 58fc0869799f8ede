"""The bots that are disturbed: all kinds of state that a kill could lose."""

from __future__ import annotations

from tests.chaos.crash import Combination

LOOSE = {"rsi_oversold": 45, "bb_dev": 1.2}
LIMITS = {"stop_loss_pct": 2, "take_profit_pct": 3, "max_daily_trades": 20}

ACCIDENTS = {
    "slippage_model": "volume_share",
    "max_volume_share": 0.02,
    "partial_fill_probability": 0.3,
    "reject_probability": 0.15,
    "min_latency_ms": 10,
    "max_latency_ms": 60_000,
    "seed": 7,
}
"""All that can happen to an order on paper, often; a latency may reach past a one-minute bar."""

COMBINATIONS = (
    Combination(
        bot_id=1,
        candles="ETH_BTC-5m",
        entry=("RSIOrBBEntryMixin", {**LOOSE, "cooldown_bars": 3}),
        exit=("ATRExitMixin", {"sl_multiplier": 1.5}),
        sections={"risk_management": LIMITS},
    ),
    Combination(
        bot_id=2,
        candles="LTC_BTC-5m",
        entry=("RSIOrBBEntryMixin", LOOSE),
        exit=("TrailingStopExitMixin", {"trail_pct": 0.008}),
        sections={
            "broker": {"paper_trading_config": {**ACCIDENTS, "fill_price": "next_open", "fee_currency": "base"}},
            "risk_management": {"stop_loss_pct": 2, "take_profit_pct": 2, "trailing_stop_pct": 1.5},
        },
    ),
    Combination(
        bot_id=3,
        candles="XRP_ETH-1m",
        entry=("RSIOrBBEntryMixin", {"rsi_oversold": 48, "bb_dev": 1.0}),
        exit=("TimeBasedExitMixin", {"max_bars": 4}),
        sections={"risk_management": {"trailing_stop_pct": 0.5, "stop_loss_guard": {"max_stops": 2}}},
    ),
    Combination(
        bot_id=4,
        candles="ETH_BTC-5m",
        entry=("RSIBBEntryMixin", {"rsi_oversold": 48, "bb_dev": 1.0, "cooldown_bars": 2}),
        exit=("AdvancedATRExitMixin", {"k_init": 1.5, "k_run": 1.2, "k_phase2": 0.8, "htf_compression": 4}),
        sections={
            "broker": {"paper_trading_config": {"slippage_model": "fixed", "slippage_ticks": 2}},
            "risk_management": {"max_drawdown_pct": 50, "cooldown_bars": 2},
            "trading": {"order_type": "limit", "exit_order_type": "limit", "limit_offset_pct": 0.1},
        },
    ),
    Combination(
        bot_id=5,
        candles="LTC_BTC-5m",
        entry=("EOMBreakoutEntryMixin", {"breakout_threshold": 0.0, "use_atr_filter": False, "rsi_overbought": 95}),
        exit=("MACrossoverExitMixin", {"fast_period": 3, "slow_period": 8, "ma_type": "EMA"}),
        sections={"risk_management": {"max_daily_loss": 0.05, "stop_loss_pct": 1}},
    ),
    Combination(
        bot_id=6,
        candles="XRP_ETH-1m",
        entry=("RSIBBVolumeEntryMixin", {"rsi_oversold": 48, "bb_dev": 0.8, "min_volume_ratio": 0.3}),
        exit=("MultiLevelAtrExitMixin", {"htf_compression": 4, "htf_sl_multiplier": 1.0, "ltf_sl_multiplier": 1.0}),
        sections={
            "broker": {"paper_trading_config": ACCIDENTS},
            "risk_management": {"stop_loss_pct": 1, "max_portfolio_risk": 2},
        },
    ),
)
