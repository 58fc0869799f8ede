"""BaseTradingBot: what one closed candle does to a bot — fills, decision, order, trade, checkpoint — as one record.

Guarantees: a bar's record holds everything it caused and is committed before the next bar is looked at; the
strategy sees a position only after its fill; limits are checked here, outside the strategy. The order of events in a
bar is fixed (waiting orders, protective exits, decision, fills at the close), so a backtest, a paper run and a run
that was killed and restarted give the same trades. Feeds, threads and the database are others' work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol

from pydantic import JsonValue

from botrunner.accounting import Trade
from botrunner.brokers.matching import PaperRules, market_price, triggered
from botrunner.brokers.paper import Account, Executed, acknowledged, execute
from botrunner.feeds.candles import Candle
from botrunner.orders.ids import Leg, client_order_id
from botrunner.orders.machine import Fill, Order, OrderType, Side, moved
from botrunner.risk import Denial, Market, counters_at, entry_denial, entry_quantity, protection
from botrunner.strategies.base import Direction, OpenPosition, Signal, SignalKind
from fleet.config import BotConfig, FillPrice
from fleet.events import Event
from fleet.states import OrderState


class DecidesOnBars(Protocol):
    """The part of a strategy that a bot talks to (`botrunner.strategies.base.BaseStrategy`)."""

    def decide(self, position: OpenPosition | None) -> Signal | None:
        """What to do at the current bar's close."""

    def on_entered(self, position: OpenPosition) -> None:
        """A position was opened."""

    def on_exited(self) -> None:
        """The position was closed."""

    def export_state(self) -> dict[str, JsonValue]:
        """Everything that isn't an indicator line, as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BarOutcome:
    """Everything one bar caused, to be committed in one transaction.

    Attributes:
        follows: open time of the bar committed before; None for the first.
        bar_at: this bar's open time; equal to `follows` for what happens between bars (flatten on stop).
        trades: trades that changed, open or closed, oldest first.
        denial: why a wanted entry wasn't made.
        candle: this bar's; None for what happens between bars.
        events: what a person may be told, beyond what follows from trades and denial.
    """

    follows: datetime | None
    bar_at: datetime | None
    bars: int
    close: Decimal
    account: Account
    strategy_state: dict[str, JsonValue]
    orders: tuple[Order, ...] = ()
    fills: tuple[Fill, ...] = ()
    trades: tuple[Trade, ...] = ()
    signal: Signal | None = None
    denial: Denial | None = None
    candle: Candle | None = None
    events: tuple[Event, ...] = ()

    @property
    def balance(self) -> Decimal:
        """Equity at the bar's close, quote currency."""
        return self.account.equity(self.close)


@dataclass(frozen=True, slots=True, kw_only=True)
class BotState:
    """What a bot carries from bar to bar.

    Attributes:
        last_bar_at: open time of the last committed bar. bars: how many were.
        last_close: of that bar; None before the first.
    """

    account: Account
    last_bar_at: datetime | None = None
    last_close: Decimal | None = None
    bars: int = 0


class _Bar:
    """The bar being worked on: collects what happens."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.orders: dict[str, Order] = {}
        self.fills: list[Fill] = []
        self.trades: dict[str, Trade] = {}

    def note(self, done: Executed) -> None:
        self.account = done.account
        self.orders[done.order.client_order_id] = done.order
        self.fills.append(done.fill)
        self.trades[done.trade.entry_order_id] = done.trade


class BaseTradingBot:
    """Signals → orders → fills → trades of one bot.

    Args:
        bot_id: names the orders.
        config: limits can be replaced while running (`replace_config`), the rest stays.
        market: the exchange's rules for the symbol.
        state: where to go on.
        commit: makes an outcome durable; returns only when it is. Raises FencedError to end the run.
        may_enter: False once no new position may be opened (stopping).
        entry_denied: a reason of the feed's against an entry at a candle; None when there is none.
    """

    def __init__(
        self,
        *,
        bot_id: int,
        config: BotConfig,
        market: Market,
        state: BotState,
        commit: Callable[[BarOutcome], None],
        may_enter: Callable[[], bool] = lambda: True,
        entry_denied: Callable[[Candle], Denial | None] = lambda _: None,
    ) -> None:
        self.state = state
        self._bot_id = bot_id
        self._config = config
        self._market = market
        self._commit = commit
        self._may_enter = may_enter
        self._entry_denied = entry_denied
        self._interval = timedelta(seconds=config.interval_s)
        self._rules = PaperRules(
            fee_rate=config.commission_rate, slippage=config.slippage, fill_price=config.fill_price
        )

    @property
    def in_market(self) -> bool:
        """Whether a position is open, or an order waits that would open or close one."""
        return self.state.account.trade is not None or bool(self.state.account.waiting)

    def replace_config(self, config: BotConfig) -> None:
        """Take over changed limits from the next bar on."""
        self._config = config

    def on_bar(self, strategy: DecidesOnBars, candle: Candle, *, ready: bool) -> BarOutcome:
        """Work through one closed candle and commit what it caused.

        Args:
            strategy: with its lines at this candle.
            candle: newer than the last committed one.
            ready: False while indicators lack candles: no decision, but fills and protection as ever.

        Raises:
            FencedError: the run is no longer current; nothing of this bar happened.
        """
        bar = _Bar(self.state.account)
        self._fill_waiting(bar, candle, strategy)
        self._protect(bar, candle, strategy)
        bar.account = _aged(bar.account, candle, closes_at=candle.open_at + self._interval)
        signal = strategy.decide(position_of(bar.account)) if ready else None
        denial = self._follow(bar, candle, signal, strategy) if signal else None
        outcome = BarOutcome(
            follows=self.state.last_bar_at,
            bar_at=candle.open_at,
            bars=self.state.bars + 1,
            close=candle.close,
            account=bar.account,
            strategy_state=strategy.export_state(),
            orders=tuple(bar.orders.values()),
            fills=tuple(bar.fills),
            trades=tuple(bar.trades.values()),
            signal=signal,
            denial=denial,
            candle=candle,
        )
        self._conclude(outcome)
        return outcome

    def flatten(self, strategy: DecidesOnBars) -> BarOutcome | None:
        """Close the open position at the last close, between bars; None while flat.

        Raises:
            FencedError: the run is no longer current; nothing happened.
        """
        state = self.state
        if state.account.trade is None or state.last_bar_at is None or state.last_close is None:
            return None
        bar = _Bar(replace(state.account, waiting=()))
        for order in state.account.waiting:
            bar.orders[order.client_order_id] = moved(order, OrderState.CANCELED)
        order = self._exit_order(state.account.trade, state.last_bar_at, Leg.FLATTEN, reason="flatten_on_stop")
        price = market_price(state.last_close, side=order.side, rules=self._rules, market=self._market)
        self._execute(bar, order, price, state.last_bar_at + self._interval, strategy)
        outcome = BarOutcome(
            follows=state.last_bar_at,
            bar_at=state.last_bar_at,
            bars=state.bars,
            close=state.last_close,
            account=bar.account,
            strategy_state=strategy.export_state(),
            orders=tuple(bar.orders.values()),
            fills=tuple(bar.fills),
            trades=tuple(bar.trades.values()),
        )
        self._conclude(outcome)
        return outcome

    # --- the steps of a bar ----------------------------------------------------------------------------------------

    def _fill_waiting(self, bar: _Bar, candle: Candle, strategy: DecidesOnBars) -> None:
        waiting, bar.account = bar.account.waiting, replace(bar.account, waiting=())
        for order in waiting:
            price = market_price(candle.open, side=order.side, rules=self._rules, market=self._market)
            if (
                order.leg is Leg.ENTRY
                and order.side is Side.BUY
                and not _affordable(bar.account, order, price, self._rules)
            ):
                # the market opened higher than the decision's close: an exchange would refuse for lack of funds
                bar.orders[order.client_order_id] = moved(order, OrderState.EXPIRED)
                continue
            self._execute(bar, order, price, candle.open_at, strategy)

    def _protect(self, bar: _Bar, candle: Candle, strategy: DecidesOnBars) -> None:
        trade, best = bar.account.trade, bar.account.best_price
        if trade is None or best is None:
            return
        guard = protection(
            self._config.risk, market=self._market, side=trade.side, entry_price=trade.entry_price, best_price=best
        )
        hit = triggered(guard, candle, entry_side=trade.side, rules=self._rules, market=self._market)
        if hit is None:
            return
        order = replace(
            self._exit_order(trade, candle.open_at, hit.leg, reason=hit.leg.value),
            type=OrderType.STOP if hit.leg is Leg.STOP_LOSS else OrderType.LIMIT,
            price=hit.trigger,
        )
        self._execute(bar, order, hit.price, candle.open_at + self._interval, strategy)

    def _follow(self, bar: _Bar, candle: Candle, signal: Signal, strategy: DecidesOnBars) -> Denial | None:
        if bar.account.waiting:
            return None
        if signal.kind is SignalKind.EXIT:
            if bar.account.trade is not None:
                order = self._exit_order(bar.account.trade, candle.open_at, Leg.EXIT, reason=signal.reason)
                self._send(bar, order, candle, strategy)
            return None
        if bar.account.trade is not None:
            return None
        side = Side.BUY if signal.direction is Direction.LONG else Side.SELL
        quantity = self._allowed(bar, candle, side)
        if isinstance(quantity, Denial):
            return quantity
        self._send(bar, self._order(candle.open_at, Leg.ENTRY, side, quantity, signal.reason), candle, strategy)
        return None

    def _allowed(self, bar: _Bar, candle: Candle, side: Side) -> Decimal | Denial:
        if not self._may_enter():
            return Denial.STOPPING
        if denied := self._entry_denied(candle):
            return denied
        if side is Side.SELL and not self._config.allow_short:
            return Denial.SHORT_NOT_ALLOWED
        equity = bar.account.equity(candle.close)
        denial = entry_denial(self._config.risk, bar.account.counters, equity=equity)
        if denial:
            return denial
        return entry_quantity(
            market=self._market,
            limits=self._config.risk,
            price=market_price(candle.close, side=side, rules=self._rules, market=self._market),
            equity=equity,
            cash=bar.account.cash,
            fraction=self._config.position_fraction,
            fee_rate=self._rules.fee_rate,
        )

    def _send(self, bar: _Bar, order: Order, candle: Candle, strategy: DecidesOnBars) -> None:
        if self._rules.fill_price is FillPrice.NEXT_OPEN:
            waiting = acknowledged(order)
            bar.orders[order.client_order_id] = waiting
            bar.account = replace(bar.account, waiting=(*bar.account.waiting, waiting))
            return
        price = market_price(candle.close, side=order.side, rules=self._rules, market=self._market)
        self._execute(bar, order, price, candle.open_at + self._interval, strategy)

    def _execute(self, bar: _Bar, order: Order, price: Decimal, at: datetime, strategy: DecidesOnBars) -> None:
        order = acknowledged(order) if order.state is OrderState.INTENT else order
        was_flat = bar.account.trade is None
        bar.note(execute(bar.account, order, price=price, filled_at=at, rules=self._rules, market=self._market))
        position = position_of(bar.account)
        if position is None:
            strategy.on_exited()
        elif was_flat:
            strategy.on_entered(position)

    def _order(self, signal_at: datetime, leg: Leg, side: Side, quantity: Decimal, reason: str) -> Order:
        return Order(
            client_order_id=client_order_id(bot_id=self._bot_id, signal_at=signal_at, leg=leg),
            signal_at=signal_at,
            leg=leg,
            attempt=0,
            side=side,
            type=OrderType.MARKET,
            quantity=quantity,
            price=None,
            reason=reason,
        )

    def _exit_order(self, trade: Trade, signal_at: datetime, leg: Leg, *, reason: str) -> Order:
        side = Side.SELL if trade.side is Side.BUY else Side.BUY
        return self._order(signal_at, leg, side, trade.size_open, reason)

    def _conclude(self, outcome: BarOutcome) -> None:
        self._commit(outcome)
        self.state = BotState(
            account=outcome.account, last_bar_at=outcome.bar_at, last_close=outcome.close, bars=outcome.bars
        )


def _affordable(account: Account, order: Order, price: Decimal, rules: PaperRules) -> bool:
    return price * order.quantity * (1 + rules.fee_rate) <= account.cash


def _aged(account: Account, candle: Candle, *, closes_at: datetime) -> Account:
    """The account at a bar's close: the position is a bar older, its best price and the counters are up to date."""
    counters = counters_at(account.counters, now=closes_at, equity=account.equity(candle.close))
    if account.trade is None or account.best_price is None:
        return replace(account, counters=counters)
    long = account.trade.side is Side.BUY
    best = max(account.best_price, candle.high) if long else min(account.best_price, candle.low)
    return replace(account, counters=counters, best_price=best, bars_held=account.bars_held + 1)


def position_of(account: Account) -> OpenPosition | None:
    """The account's position as a strategy sees it."""
    trade = account.trade
    if trade is None:
        return None
    return OpenPosition(
        direction=Direction.LONG if trade.side is Side.BUY else Direction.SHORT,
        size=trade.size_open,
        entry_price=trade.entry_price,
        entry_at=trade.entry_at,
        bars_held=account.bars_held,
    )
