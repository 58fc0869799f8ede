"""The configuration document (`trading_bots.config`) section by section, as users write it.

Strict: unknown keys are errors, texts aren't numbers. What needs more than one section to judge, and the
parameters of mixins, is in `parse`. JSON Schema is made from these models, so each field says its meaning
and unit. Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from fleet.config.values import (
    Amount,
    Fraction,
    GainPercent,
    Interval,
    Label,
    Line,
    LossPercent,
    Milliseconds,
    Probability,
    Rate,
    Seconds,
    Symbol,
    Whole,
    Word,
)


class Section(BaseModel):
    """Base of all sections: frozen, strict, no unknown keys, no NaN."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class FillPrice(StrEnum):
    """At which price a paper order of a bar's signal is filled."""

    CLOSE = "close"
    """The signal bar's close, at once."""
    NEXT_OPEN = "next_open"
    """The next bar's open, when that bar has closed."""


class OnStop(StrEnum):
    """What happens to an open position when the bot is asked to stop."""

    HOLD = "hold"
    """It stays open; the next run takes it over."""
    FLATTEN = "flatten"
    """It is closed at once."""
    WAIT_FLAT = "wait_flat"
    """The bot goes on until its strategy has closed it, without new entries."""


class PaperSection(Section):
    """`broker.paper_trading_config`: how real the paper broker is."""

    mode: Word | None = Field(None, description="Preset of an earlier version; has no effect.")
    commission_rate: Rate | None = Field(None, description="Fee as a fraction of a fill's value.")
    slippage_model: Literal["none", "percentage"] = Field(
        "percentage", description="percentage: fills are worse by base_slippage; none: no slippage."
    )
    base_slippage: Rate | None = Field(None, description="Fraction of the price lost on each fill.")
    fill_price: Literal["close", "next_open"] = Field(
        "close", description="Fill at the signal bar's close, or at the next bar's open."
    )
    min_latency_ms: Milliseconds | None = Field(None, description="Not simulated yet.")
    max_latency_ms: Milliseconds | None = Field(None, description="Not simulated yet.")
    partial_fill_probability: Probability | None = Field(None, description="Not simulated yet.")
    reject_probability: Probability | None = Field(None, description="Not simulated yet.")


class BrokerSection(Section):
    """`broker`: where orders go."""

    type: Word = Field("binance", description="Registered broker.")
    trading_mode: Literal["paper", "live"] = Field("paper", description="This version trades on paper only.")
    name: Line | None = Field(None, description="Name for logs and messages.")
    cash: Amount | None = Field(None, description="Starting balance on paper, in quote currency.")
    initial_balance: Amount | None = Field(None, description="Other spelling of cash.")
    commission: Rate | None = Field(None, description="Other spelling of paper_trading_config.commission_rate.")
    testnet: bool = Field(False, description="For live trading: the exchange's test network.")
    live_trading_confirmed: bool = Field(False, description="For live trading: a second confirmation.")
    paper_trading_config: PaperSection = PaperSection()


class LogicSection(Section):
    """`strategy.parameters.entry_logic` and `exit_logic`; `parse` checks the parameters by name."""

    name: Word
    params: dict[str, JsonValue] | None = Field(None, description="Parameters of the mixin.")
    logic_params: dict[str, JsonValue] | None = Field(None, description="Other spelling of params.")
    indicators: JsonValue = Field(None, description="From an earlier version; mixins bring their own.")


class PositionSize(Section):
    """What `strategy.parameters` may have for any strategy."""

    position_size: Fraction | None = Field(None, description="Other place for trading.position_size.")


class CustomSection(PositionSize):
    """`strategy.parameters` of CustomStrategy: one entry and one exit mixin."""

    entry_logic: LogicSection
    exit_logic: LogicSection


class StrategySection(Section):
    """`strategy`: what decides. Parameters depend on the type and are checked by `parse`."""

    type: Word = Field("CustomStrategy", description="Registered strategy; unknown ones run CustomStrategy.")
    parameters: dict[str, JsonValue]


Column = Annotated[str, Field(min_length=1, max_length=100)]


class DataSection(Section):
    """`data`: which candles."""

    data_source: Word = Field("binance", description="binance, or file for a CSV of candles.")
    symbol: Symbol | None = Field(None, description="Other place for the top level's symbol.")
    interval: Interval
    lookback_bars: Annotated[Whole, Field(ge=50, le=1000)] = Field(
        500, description="Closed bars for the warm-up; indicators are recomputed from so many bars."
    )
    stream: bool = Field(True, description="Let the exchange's stream wake the bot; false: by polling alone.")
    poll_interval: Seconds | None = Field(None, description="Seconds between requests for new candles.")
    retry_interval: Seconds | None = Field(None, description="Seconds before a failed request is repeated.")
    file_path: Line | None = Field(None, description="CSV of candles, for data_source file.")
    datetime_col: Column | None = None
    open_col: Column | None = None
    high_col: Column | None = None
    low_col: Column | None = None
    close_col: Column | None = None
    volume_col: Column | None = None
    simulate_realtime: bool = Field(False, description="For files: wait between bars as in real time.")


class TradingSection(Section):
    """`trading`: how much, and what kind of orders."""

    position_size: Fraction | None = Field(None, description="Fraction of the equity per position; 0.1.")
    max_positions: Annotated[Whole, Field(ge=1, le=1000)] = Field(
        1, description="Upper limit of positions at a time; a bot of this version holds at most one."
    )
    order_type: Literal["market"] = Field("market", description="This version sends market orders.")
    allow_short: bool = Field(False, description="Whether short signals may be followed.")
    max_drawdown_pct: LossPercent | None = Field(None, description="Other place for risk_management.max_drawdown_pct.")
    max_exposure: Fraction | None = Field(None, description="Not enforced yet: fraction of the equity.")
    on_stop: Literal["hold", "flatten", "wait_flat"] = Field(
        "hold", description="What a stop does with an open position."
    )


class RiskSection(Section):
    """`risk_management`: limits enforced outside the strategy. Changes reach a running bot."""

    max_position_size: Amount | None = Field(None, description="Largest position, in quote currency.")
    stop_loss_pct: LossPercent | None = Field(None, description="Percent below the entry price.")
    take_profit_pct: GainPercent | None = Field(None, description="Percent above the entry price.")
    trailing_stop: bool | None = Field(None, description="false switches trailing_stop_pct off.")
    trailing_stop_pct: LossPercent | None = Field(None, description="Percent below the highest price held.")
    max_daily_loss: Amount | None = Field(
        None, description="Loss per UTC day, in quote currency, after which no new position is opened."
    )
    max_daily_trades: Annotated[Whole, Field(ge=0, le=100_000)] | None = Field(None, description="Entries per UTC day.")
    max_drawdown_pct: LossPercent | None = Field(
        None, description="Percent below the highest equity, after which no new position is opened."
    )
    max_portfolio_risk: GainPercent | None = Field(None, description="Not enforced yet: percent of equity.")
    cooldown_bars: Annotated[Whole, Field(ge=0, le=10_000)] = Field(
        0, description="Closed bars after an exit without a new entry."
    )


class NotificationsSection(Section):
    """`notifications`: which events go to the owner, and where. Changes reach a running bot."""

    position_opened: bool = True
    position_closed: bool = True
    error_notifications: bool = True
    risk_alerts: bool = True
    bot_events: bool = True
    order_executions: bool = Field(False, description="Each fill of an order.")
    milestones: bool = Field(True, description="Profit targets and round numbers of trades.")
    performance_summaries: Literal["none", "daily", "weekly", "monthly"] = "none"
    daily_summary: bool = False
    email_enabled: bool = False
    telegram_enabled: bool = False
    notify_email: Line | None = Field(None, description="Address, when it isn't the owner's own.")
    notify_telegram_chat_id: Label | None = None


class ConfigDocument(Section):
    """A bot's configuration."""

    id: Label | None = Field(None, description="Name from an earlier version; the row's id counts.")
    bot_id: Label | None = Field(None, description="Other spelling of id.")
    name: Line | None = Field(None, description="The row's name counts.")
    enabled: bool | None = Field(None, description="The row's enabled counts.")
    symbol: Symbol | None = Field(None, description="Market as the exchange writes it: BTCUSDT.")
    description: Annotated[str, Field(max_length=5_000)] | None = None
    version: Label | None = None
    broker: BrokerSection = BrokerSection()
    strategy: StrategySection
    data: DataSection
    trading: TradingSection = TradingSection()
    risk_management: RiskSection = RiskSection()
    notifications: NotificationsSection = NotificationsSection()


NOT_IN_EFFECT: Mapping[str, str] = {
    "broker.paper_trading_config.mode": "has no meaning here",
    "broker.paper_trading_config.min_latency_ms": "isn't simulated yet",
    "broker.paper_trading_config.max_latency_ms": "isn't simulated yet",
    "broker.paper_trading_config.partial_fill_probability": "isn't simulated yet",
    "broker.paper_trading_config.reject_probability": "isn't simulated yet",
    "trading.max_exposure": "isn't enforced yet",
    "risk_management.max_portfolio_risk": "isn't enforced yet",
    "strategy.parameters.entry_logic.indicators": "is ignored: mixins bring their own indicators",
    "strategy.parameters.exit_logic.indicators": "is ignored: mixins bring their own indicators",
}
"""Accepted keys without effect in this version; `BotConfig.notices` names those that a document sets."""
