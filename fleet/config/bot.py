"""A valid configuration as the rest of Botfleet reads it: one value per question, exact, immutable.

`parse` makes it. It answers where the document has two places for one thing. Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from pydantic import BaseModel, JsonValue

from fleet.config.document import (
    ConfigDocument,
    FillPrice,
    NotificationsSection,
    OnFailure,
    OnStop,
    OrderKind,
    SlippageModel,
)
from fleet.config.params import MixinParams
from fleet.config.values import INTERVAL_SECONDS

DEFAULT_CASH = Decimal(10_000)
DEFAULT_POSITION_FRACTION = Decimal("0.1")

StrategyParameters = MixinParams | BaseModel | Mapping[str, JsonValue]
"""Validated parameters: a model, or the plain object of a strategy or mixin that declares none."""


@dataclass(frozen=True, slots=True)
class LogicSpec:
    """A mixin by name with its parameters."""

    name: str
    params: StrategyParameters


@dataclass(frozen=True, slots=True)
class CustomParameters:
    """Parameters of CustomStrategy."""

    entry: LogicSpec
    exit: LogicSpec


@dataclass(frozen=True, slots=True)
class StopLossGuard:
    """A pause after a series of losing stops."""

    max_stops: int
    """Positions closed with a loss by a stop ..."""
    within_bars: int
    """... from the first to the last of them at most so many bars apart ..."""
    pause_bars: int
    """... forbid new positions at closes up to so many bars after the last one, by time."""


@dataclass(frozen=True, slots=True)
class RiskLimits:
    """Limits enforced outside the strategy; None is no limit. Percentages as written: 3 is 3 %."""

    max_position_size: Decimal | None = None
    """Largest value of a position, in quote currency."""
    stop_loss_pct: Decimal | None = None
    take_profit_pct: Decimal | None = None
    trailing_stop_pct: Decimal | None = None
    """Percent below the highest price since the entry."""
    max_daily_loss: Decimal | None = None
    """Realised loss per UTC day, in quote currency, after which there are no entries."""
    max_daily_trades: int | None = None
    """Entries per UTC day."""
    max_drawdown_pct: Decimal | None = None
    """Percent below the highest equity, after which there are no entries."""
    cooldown_bars: int = 0
    """No entry at closes up to so many bars after an exit, by time."""
    max_exposure: Decimal | None = None
    """Largest value of a position as a fraction of the equity."""
    max_portfolio_risk_pct: Decimal | None = None
    """Percent of the equity that a position may lose at its stop loss."""
    stop_loss_guard: StopLossGuard | None = None


@dataclass(frozen=True, slots=True)
class BotConfig:
    """One bot's configuration."""

    document: ConfigDocument
    """Every section as written, for what has no property here."""
    symbol: str
    strategy_parameters: CustomParameters | StrategyParameters
    """What the strategy class gets: CustomParameters, or the model of a strategy from a plugin."""
    entry: LogicSpec
    """The entry mixin; for a strategy from a plugin, the strategy itself and its parameters."""
    exit: LogicSpec
    """The exit mixin; for a strategy from a plugin, the strategy itself and its parameters."""
    position_fraction: Decimal
    """Value of a new position as a fraction of the equity."""
    risk: RiskLimits
    notices: tuple[str, ...] = ()
    """Keys of the document without effect in this version, each with the reason, for a log line."""

    @property
    def strategy_type(self) -> str:
        """As written; an unknown one runs CustomStrategy."""
        return self.document.strategy.type

    @property
    def broker_type(self) -> str:
        """Name of a registered broker."""
        return self.document.broker.type

    @property
    def trading_mode(self) -> str:
        """`paper`: this version has no other."""
        return self.document.broker.trading_mode

    @property
    def data_source(self) -> str:
        """`binance`, or `file` with `document.data.file_path`."""
        return self.document.data.data_source

    @property
    def interval(self) -> str:
        """The candles' interval: `1h`."""
        return self.document.data.interval

    @property
    def interval_s(self) -> int:
        """The candles' interval in seconds."""
        return INTERVAL_SECONDS[self.interval]

    @property
    def lookback_bars(self) -> int:
        """Closed bars of the warm-up and between two rebuilds of the engine."""
        return self.document.data.lookback_bars

    @property
    def initial_cash(self) -> Decimal:
        """Starting balance on paper, in quote currency."""
        broker = self.document.broker
        return broker.cash or broker.initial_balance or DEFAULT_CASH

    @property
    def commission_rate(self) -> Decimal | None:
        """Fee of makers and takers as a fraction of a fill's value; None for the exchange's own."""
        broker = self.document.broker
        written = broker.paper_trading_config.commission_rate
        return broker.commission if written is None else written

    @property
    def maker_rate(self) -> Decimal | None:
        """Fee of limit orders that rested in the book; None for the exchange's own."""
        own = self.document.broker.paper_trading_config.maker_commission_rate
        return self.commission_rate if own is None else own

    @property
    def taker_rate(self) -> Decimal | None:
        """Fee of all other orders; None for the exchange's own."""
        own = self.document.broker.paper_trading_config.taker_commission_rate
        return self.commission_rate if own is None else own

    @property
    def slippage_model(self) -> SlippageModel:
        """How market orders and stops are filled worse than quoted."""
        return SlippageModel(self.document.broker.paper_trading_config.slippage_model)

    @property
    def slippage(self) -> Decimal:
        """With the model `percentage`: fraction of the price that a fill is worse by; otherwise 0."""
        paper = self.document.broker.paper_trading_config
        if self.slippage_model is not SlippageModel.PERCENTAGE or paper.base_slippage is None:
            return Decimal(0)
        return paper.base_slippage

    @property
    def entry_order(self) -> OrderKind:
        """How an entry signal is followed."""
        return OrderKind(self.document.trading.order_type)

    @property
    def exit_order(self) -> OrderKind:
        """How the strategy's exit signal is followed."""
        return OrderKind(self.document.trading.exit_order_type)

    @property
    def limit_offset_pct(self) -> Decimal:
        """Percent by which a limit is better than the signal bar's close."""
        return self.document.trading.limit_offset_pct

    @property
    def limit_ttl_bars(self) -> int:
        """Bars after the signal's during which a limit may fill."""
        return self.document.trading.limit_ttl_bars

    @property
    def fill_price(self) -> FillPrice:
        """At which price paper orders are filled."""
        return FillPrice(self.document.broker.paper_trading_config.fill_price)

    @property
    def allow_short(self) -> bool:
        """Whether short signals may be followed."""
        return self.document.trading.allow_short

    @property
    def on_stop(self) -> OnStop:
        """What a stop does with an open position."""
        return OnStop(self.document.trading.on_stop)

    @property
    def on_failure(self) -> OnFailure:
        """What becomes of an open position when the bot gives up; with real money nothing is sold unasked."""
        return OnFailure(self.document.trading.on_failure) if self.trading_mode == "paper" else OnFailure.HOLD

    @property
    def notifications(self) -> NotificationsSection:
        """Which events go to the owner."""
        return self.document.notifications
