"""One backtest: a config over a file's candles, with everything that came of it.

What ends it isn't a stop: a position that is open at the last candle stays open, as a paper bot's would that waits
for the next one, and counts at the last close.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from botrunner.backtest.engine import UNTIL_IT_GIVES_UP, holding, replay
from botrunner.backtest.memory_ledger import MemoryLedger, Tables
from botrunner.backtest.stored_rows import Row
from botrunner.engine.failures import Failure
from botrunner.market.candle import Candle
from botrunner.market.rules import Market
from botrunner.strategies.registry.strategy_handler import StrategyHandler
from botrunner.trading.order_ids import Leg
from botrunner.trading.state import BarOutcome
from fleet.config import BotConfig
from fleet.errors import PermanentError
from fleet.states import OrderState, TradeStatus
from fleet.times import to_ms


class TooFewCandles(PermanentError):
    """The strategy's indicators were never ready, so nothing could be decided; the message says what to give."""


@dataclass(frozen=True, slots=True)
class BarEquity:
    """The account at one bar's close.

    Attributes:
        at: the close, aware UTC. close: the candle's. equity: quote currency.
    """

    at: datetime
    close: Decimal
    equity: Decimal
    in_position: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Backtest:
    """What a backtest gave; rows are those that the tables of a paper bot would hold.

    Attributes:
        tables: what was written.
        equity: of each bar traded, oldest first.
        denials: why entries weren't made → how often.
        warmup_bars: candles before the first traded bar.
        failures: what the strategy failed at, by kind; empty when nothing did.
        gave_up: whether it failed so often that a bot would have given up: the backtest ends at that bar.
    """

    config: BotConfig
    market: Market
    tables: Tables
    equity: Sequence[BarEquity]
    denials: Mapping[str, int]
    warmup_bars: int
    failures: Sequence[Failure] = ()
    gave_up: bool = False

    @property
    def orders(self) -> list[Row]:
        """All orders, oldest first."""
        return list(self.tables.orders.values())

    @property
    def trades(self) -> list[Row]:
        """Closed trades, oldest first."""
        return [trade for trade in self.tables.trades.values() if trade["status"] == TradeStatus.CLOSED]

    @property
    def open_trade(self) -> Row | None:
        """What is still held at the end."""
        return next((trade for trade in self.tables.trades.values() if trade["status"] == TradeStatus.OPEN), None)

    @property
    def entries_filled(self) -> int:
        """How many orders for an entry were filled, in part at least."""
        return sum(1 for order in self._entries() if order["filled_quantity"])

    @property
    def entries_unfilled(self) -> Mapping[str, int]:
        """What became of the orders for an entry of which nothing was filled → how often.

        `expired_market`: it would have cost more than there was cash. `expired_limit`: the price wasn't reached in
        trading.limit_ttl_bars, or the same. `rejected`: by the exchange. `canceled`, and the states of orders that are
        still open, by their names.
        """
        lost: Counter[str] = Counter()
        for order in self._entries():
            if not order["filled_quantity"]:
                state = str(order["state"])
                lost[f"{state}_{order['type']}" if state == OrderState.EXPIRED else state] += 1
        return dict(sorted(lost.items()))

    def _entries(self) -> Iterator[Row]:
        return (order for order in self.tables.orders.values() if order["leg"] == Leg.ENTRY)

    @property
    def start_balance(self) -> Decimal:
        """Quote currency."""
        return self.config.initial_cash

    @property
    def final_balance(self) -> Decimal:
        """Equity at the last bar's close, quote currency."""
        return self.equity[-1].equity


def backtest(
    config: BotConfig,
    candles: Sequence[Candle],
    *,
    market: Market,
    bot_id: int = 0,
    begin: datetime | None = None,
    on_bar: Callable[[], None] = lambda: None,
) -> Backtest:
    """Run a bot over candles.

    Args:
        config: as a bot would get it.
        candles: in order, each once.
        market: the exchange's rules.
        bot_id: names the orders: that of a real bot gives its order ids.
        begin: open time of the first bar to trade; the candles before warm up. None: the first candle.
        on_bar: called after each bar.

    Raises:
        TooFewCandles: there is none to trade, or the indicators were never ready.
        StrategyUnbuildable, ConfigUnusable: the strategy can't be made.
    """
    before = 0 if begin is None else sum(1 for candle in candles if candle.open_ms < to_ms(begin))
    if before == len(candles):
        raise TooFewCandles(f"there is no candle from {begin} on: the last one opens at {_last_open(candles)}")
    seen = _Seen(timedelta(seconds=config.interval_s), on_bar)
    ledger = MemoryLedger(
        bot_id=bot_id,
        config=config,
        market=market,
        exchange=f"{config.trading_mode}-{config.broker_type}",
        on_bar=seen.bar,
    )
    ran = replay(
        config=holding(config),
        bot_id=bot_id,
        strategy=StrategyHandler({config.strategy_type}).get_strategy_class(config.strategy_type).cls,
        market=market,
        ledger=ledger,
        candles=candles,
        begin_after_ms=candles[before - 1].open_ms if before else None,
        budget=UNTIL_IT_GIVES_UP,
    )
    if not ran.ready:
        raise TooFewCandles(_never_ready(config, len(candles)))
    return Backtest(
        config=config,
        market=market,
        tables=ledger.tables,
        equity=seen.equity,
        denials=dict(seen.denials),
        warmup_bars=before,
        failures=ran.failures,
        gave_up=ran.gave_up,
    )


class _Seen:
    """What the rows don't tell: equity, denials and failures of the strategy, bar by bar."""

    def __init__(self, interval: timedelta, on_bar: Callable[[], None]) -> None:
        self.equity: list[BarEquity] = []
        self.denials: Counter[str] = Counter()
        self._interval = interval
        self._on_bar = on_bar

    def bar(self, outcome: BarOutcome) -> None:
        assert outcome.bar_at is not None
        at = outcome.bar_at + self._interval
        self.equity.append(BarEquity(at, outcome.close, outcome.balance, outcome.account.trade is not None))
        if outcome.denial is not None:
            self.denials[str(outcome.denial)] += 1
        self._on_bar()


def _last_open(candles: Sequence[Candle]) -> Any:
    return f"{candles[-1].open_at:%Y-%m-%dT%H:%M}" if candles else "no time: there are none"


def _never_ready(config: BotConfig, candles: int) -> str:
    names = " and ".join(dict.fromkeys((config.entry.name, config.exit.name)))
    if candles >= 2 * config.lookback_bars:
        return (
            f"{names} never had candles enough for the indicators, though there are {candles}: "
            f"data.lookback_bars is {config.lookback_bars}, raise it"
        )
    return f"{candles} candles are too few for the indicators of {names}: nothing could be decided; give more candles"
