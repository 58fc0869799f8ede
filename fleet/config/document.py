"""The configuration document (`trading_bots.config`) section by section, as users write it.

Strict: unknown keys are errors, texts aren't numbers. What needs more than one section to judge, and the
parameters of mixins, is in `parse`. JSON Schema is made from these models, so each field says its meaning
and unit. Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from fleet.config.values import (
    Amount,
    ChatId,
    Email,
    Fraction,
    GainPercent,
    Interval,
    Label,
    Line,
    LossPercent,
    Milliseconds,
    Number,
    Probability,
    Rate,
    Seconds,
    Symbol,
    WebUrl,
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


class SlippageModel(StrEnum):
    """How much worse than quoted a market order or a triggered stop is filled. Formulas: docs/user/paper-trading.md."""

    NONE = "none"
    FIXED = "fixed"
    """By an amount of the price: fixed_slippage in quote currency, or slippage_ticks."""
    PERCENTAGE = "percentage"
    """By base_slippage, a fraction of the price."""
    VOLUME_SHARE = "volume_share"
    """By price_impact × (the fill's share of the candle's volume)², a fraction of the price."""


class OrderKind(StrEnum):
    """How a signal is followed."""

    MARKET = "market"
    LIMIT = "limit"
    """limit_offset_pct better than the signal bar's close, or not at all."""


class OnStop(StrEnum):
    """What happens to an open position when the bot is asked to stop."""

    HOLD = "hold"
    """It stays open; the next run takes it over."""
    FLATTEN = "flatten"
    """It is closed at once."""
    WAIT_FLAT = "wait_flat"
    """The bot goes on until its strategy has closed it, without new entries."""


class OnFailure(StrEnum):
    """What happens to an open position when the bot gives up: it failed too often and isn't started again."""

    HOLD = "hold"
    """It stays open, and nobody watches it."""
    FLATTEN = "flatten"
    """It is closed at the last close."""


class PaperSection(Section):
    """`broker.paper_trading_config`: which costs and faults of an exchange are simulated."""

    mode: Word | None = Field(None, description="Preset of an earlier version; has no effect.")
    commission_rate: Rate | None = Field(
        None, description="Fee as a fraction of a fill's value. null: the exchange's own fees."
    )
    maker_commission_rate: Rate | None = Field(
        None, description="The same for limit orders that waited. null: commission_rate."
    )
    taker_commission_rate: Rate | None = Field(
        None, description="The same for all other orders. null: commission_rate."
    )
    fee_currency: Literal["quote", "base"] = Field(
        "quote", description="base: the fee of a purchase is taken from what was bought, so less can be sold."
    )
    slippage_model: Literal["none", "fixed", "percentage", "volume_share"] = Field(
        "percentage", description="By how much market orders and stops get a worse price than the quoted one."
    )
    base_slippage: Rate | None = Field(None, description="For percentage: fraction of the price. null: 0.")
    fixed_slippage: Amount | None = Field(None, description="For fixed: quote currency per unit of base currency.")
    slippage_ticks: Annotated[Whole, Field(ge=1, le=100_000)] | None = Field(
        None, description="For fixed, instead of fixed_slippage: steps of the market's price."
    )
    price_impact: Annotated[Number, Field(ge=0, le=10)] = Field(
        Decimal("0.1"),
        description="For volume_share: fraction of the price that a fill of a whole candle's volume costs.",
    )
    max_volume_share: Fraction | None = Field(
        None, description="Fraction of a candle's volume that one order may take; the rest waits. null: no limit."
    )
    fill_price: Literal["close", "next_open"] = Field(
        "close", description="Fill at the signal bar's close, or at the next bar's open."
    )
    min_latency_ms: Milliseconds | None = Field(
        None, description="Shortest time from the signal to the exchange. null: 0."
    )
    max_latency_ms: Milliseconds | None = Field(
        None, description="Longest time from the signal to the exchange. null: min_latency_ms."
    )
    partial_fill_probability: Probability | None = Field(
        None, description="Probability, at each bar, that an order is filled in part only. null: 0."
    )
    reject_probability: Probability | None = Field(
        None, description="Probability that the exchange refuses an order. null: 0."
    )
    seed: Annotated[Whole, Field(ge=0, le=2**53)] = Field(
        0, description="Start of the random numbers: the same seed with the same candles gives the same trades."
    )


class BrokerSection(Section):
    """`broker`: the exchange, and the account."""

    type: Word = Field("binance", description="Name of the broker: binance, or one that a package adds.")
    trading_mode: Literal["paper", "live"] = Field("paper", description="This version trades on paper only.")
    name: Line | None = Field(None, description="Name for logs and messages.")
    cash: Amount | None = Field(None, description="Starting balance on paper, in quote currency.")
    initial_balance: Amount | None = Field(None, description="Other spelling of cash.")
    commission: Rate | None = Field(None, description="Other spelling of paper_trading_config.commission_rate.")
    testnet: bool = Field(False, description="For live trading: the exchange's test network.")
    live_trading_confirmed: bool = Field(False, description="For live trading: a second confirmation.")
    paper_trading_config: PaperSection = PaperSection()


class LogicSection(Section):
    """`strategy.parameters.entry_logic` and `exit_logic`: a mixin and its parameters."""

    name: Word = Field(description="Name of the mixin.")
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
    """`strategy`: what decides. Its parameters depend on the type."""

    type: Word = Field("CustomStrategy", description="Name of the strategy; an unknown one runs CustomStrategy.")
    parameters: dict[str, JsonValue] = Field(description="Parameters of the strategy.")


Column = Annotated[str, Field(min_length=1, max_length=100)]


def _column(what: str) -> Any:
    return Field(None, description=f"Column of a file with {what}: its name, or without a header its number from 1 on.")


class DataSection(Section):
    """`data`: which candles."""

    data_source: Word = Field("binance", description="binance, or file for candles of file_path.")
    symbol: Symbol | None = Field(None, description="Other place for the top level's symbol.")
    interval: Interval = Field(description="Length of a candle.")
    lookback_bars: Annotated[Whole, Field(ge=50, le=1000)] = Field(
        500, description="Closed candles from which the indicators are computed."
    )
    stream: bool = Field(True, description="Let the exchange's stream tell when a candle closes. false: the bot asks.")
    poll_interval: Seconds | None = Field(
        None, description="Of an earlier version; has no effect: a bot asks when a candle has closed."
    )
    retry_interval: Seconds | None = Field(
        None, description="Of an earlier version; has no effect: waits grow with each repetition."
    )
    file_path: Line | None = Field(
        None, description="For data_source file: CSV or JSON of candles (docs/user/candle-files.md)."
    )
    datetime_col: Column | None = _column("the time of a candle's open")
    open_col: Column | None = _column("open")
    high_col: Column | None = _column("high")
    low_col: Column | None = _column("low")
    close_col: Column | None = _column("close")
    volume_col: Column | None = _column("volume in base currency")
    simulate_realtime: bool = Field(
        False, description="For data_source file: one candle per interval, as in real time. A backtest doesn't wait."
    )


class TradingSection(Section):
    """`trading`: how much, and what kind of orders."""

    position_size: Fraction | None = Field(
        None, description="Size of a position as a fraction of the equity. null: 0.1."
    )
    max_positions: Annotated[Whole, Field(ge=1, le=1000)] = Field(
        1, description="Upper limit of positions at a time; a bot of this version holds at most one."
    )
    order_type: Literal["market", "limit"] = Field("market", description="Kind of the entry's order.")
    exit_order_type: Literal["market", "limit"] = Field(
        "market", description="Kind of an exit's order; a limit that isn't filled becomes a market order."
    )
    limit_offset_pct: Annotated[Number, Field(ge=0, lt=100)] = Field(
        Decimal(0), description="For limit orders: percent better than the signal bar's close."
    )
    limit_ttl_bars: Annotated[Whole, Field(ge=1, le=10_000)] = Field(
        3, description="For limit orders: bars after the signal's during which they may be filled."
    )
    allow_short: bool = Field(False, description="Whether the bot may open short positions.")
    max_drawdown_pct: LossPercent | None = Field(None, description="Other place for risk_management.max_drawdown_pct.")
    max_exposure: Fraction | None = Field(None, description="Other place for risk_management.max_exposure.")
    on_stop: Literal["hold", "flatten", "wait_flat"] = Field(
        "hold",
        description="What becomes of an open position when the bot is stopped: hold keeps it, flatten closes it, "
        "wait_flat waits until the strategy has closed it.",
    )
    on_failure: Literal["hold", "flatten"] = Field(
        "flatten",
        description="What becomes of an open position when the bot gives up after too many failures; hold keeps it, "
        "flatten closes it. With real money it is always kept.",
    )


class StopLossGuardSection(Section):
    """`risk_management.stop_loss_guard`: a pause after a series of losing stops."""

    max_stops: Annotated[Whole, Field(ge=1, le=50)] = Field(3, description="So many losing stops begin the pause.")
    within_bars: Annotated[Whole, Field(ge=1, le=100_000)] = Field(
        48, description="Bars between the first and the last of them, at most."
    )
    pause_bars: Annotated[Whole, Field(ge=1, le=100_000)] = Field(
        24, description="No new position at closes up to so many bars after the last one."
    )


class RiskSection(Section):
    """`risk_management`: limits enforced outside the strategy. Changes reach a running bot."""

    max_position_size: Amount | None = Field(None, description="Largest position, in quote currency.")
    stop_loss_pct: LossPercent | None = Field(None, description="Percent below the entry price.")
    take_profit_pct: GainPercent | None = Field(None, description="Percent above the entry price.")
    trailing_stop: bool | None = Field(None, description="false switches trailing_stop_pct off.")
    trailing_stop_pct: LossPercent | None = Field(None, description="Percent below the highest price held.")
    max_daily_loss: Amount | None = Field(
        None, description="After such a loss on a UTC day, in quote currency, no new position is opened."
    )
    max_daily_trades: Annotated[Whole, Field(ge=0, le=100_000)] | None = Field(
        None, description="Most entries on a UTC day."
    )
    max_drawdown_pct: LossPercent | None = Field(
        None, description="Percent below the highest equity, after which no new position is opened."
    )
    max_exposure: Fraction | None = Field(None, description="Largest position as a fraction of the equity.")
    max_portfolio_risk: LossPercent | None = Field(
        None, description="Percent of the equity that a position may lose at its stop loss; needs stop_loss_pct."
    )
    stop_loss_guard: StopLossGuardSection | None = Field(None, description="Pause after a series of losing stops.")
    cooldown_bars: Annotated[Whole, Field(ge=0, le=10_000)] = Field(
        0, description="No new position at closes up to so many bars after an exit; missing candles count."
    )


class NotificationsSection(Section):
    """`notifications`: which events go to the owner, and where. Changes reach a running bot."""

    position_opened: bool = Field(True, description="A position was opened.")
    position_closed: bool = Field(True, description="A position was closed, by a stop or target too.")
    error_notifications: bool = Field(
        True, description="Errors, refused orders, an exchange or candles that are missing."
    )
    risk_alerts: bool = Field(True, description="A limit has come into force.")
    bot_events: bool = Field(True, description="The bot was started, stopped, restarted, or got a new config.")
    order_executions: bool = Field(False, description="Each fill of an order.")
    milestones: bool = Field(True, description="Profit of 5 %, 10 %, ...; 10, 50, 100, ... closed trades.")
    performance_summaries: Literal["none", "daily", "weekly", "monthly"] = Field(
        "none", description="How often a summary is sent."
    )
    daily_summary: bool = Field(False, description="The same as performance_summaries: daily.")
    email_enabled: bool = Field(False, description="Send by e-mail.")
    telegram_enabled: bool = Field(False, description="Send by Telegram.")
    webhook_enabled: bool = Field(False, description="Send to a webhook.")
    notify_email: Email | None = Field(None, description="Address. null: the owner's.")
    notify_telegram_chat_id: ChatId | None = Field(None, description="Chat. null: the owner's.")
    webhook_url: WebUrl | None = Field(None, description="HTTPS address. null: the owner's.")


class ConfigDocument(Section):
    """A bot's configuration."""

    id: Label | None = Field(None, description="Of an earlier version: the id of the row is used.")
    bot_id: Label | None = Field(None, description="Other spelling of id.")
    name: Line | None = Field(None, description="Ignored: the name of the row is used.")
    enabled: bool | None = Field(None, description="Ignored: enabled of the row is used.")
    symbol: Symbol | None = Field(None, description="Market as the exchange writes it: BTCUSDT.")
    description: Annotated[str, Field(max_length=5_000)] | None = Field(None, description="For people.")
    version: Label | None = Field(None, description="For people.")
    broker: BrokerSection = BrokerSection()
    strategy: StrategySection
    data: DataSection
    trading: TradingSection = TradingSection()
    risk_management: RiskSection = RiskSection()
    notifications: NotificationsSection = NotificationsSection()


NOT_IN_EFFECT: Mapping[str, str] = {
    "broker.paper_trading_config.mode": "has no meaning here",
    "data.poll_interval": "has no effect: a bot asks when a candle has closed",
    "data.retry_interval": "has no effect: an unanswered request is repeated after waits that grow",
    "strategy.parameters.entry_logic.indicators": "is ignored: mixins bring their own indicators",
    "strategy.parameters.exit_logic.indicators": "is ignored: mixins bring their own indicators",
}
"""Accepted keys without effect in this version; `BotConfig.notices` names those that a document sets."""
