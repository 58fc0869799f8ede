"""One bot against a scripted exchange, over any number of lives: real policy, book, codec and exchange venue.

Between two lives only what was committed remains (`MemoryLedger`), the exchange goes on, and requests that had left
still arrive. Deterministic: the same arguments give the same world.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from botrunner.backtest.memory_ledger import MemoryLedger, Tables
from botrunner.engine.trading_bot import BaseTradingBot
from botrunner.execution.live.lookups import Timing
from botrunner.execution.live.transport import Transport
from botrunner.execution.live.venue import ExchangeVenue
from botrunner.market.candle import Candle
from botrunner.market.rules import Market
from botrunner.process.fence import Deadlines, Fence
from botrunner.strategies.base import Direction, OpenPosition, Signal, SignalKind
from botrunner.trading.account import Account
from botrunner.trading.costs import costs_of
from botrunner.trading.order_ids import Leg
from botrunner.trading.orders import Order
from botrunner.trading.risk import Denial
from botrunner.trading.state import BarOutcome, BotState
from fleet.config import BotConfig
from fleet.errors import FencedError, PermanentError
from fleet.states import OrderState
from fleet.times import to_ms
from tests.scripted_exchange.clock import BEGINS, VirtualClock
from tests.scripted_exchange.exchange import PLAIN, Habits, ScriptedExchange
from tests.scripted_exchange.kill_points import Killed, KillPoint, KillSwitch
from tests.scripted_exchange.transport import NO_FAULTS, Faults, Left, ScriptedTransport

BOT_ID = 7
TIMING = Timing()
TICK_MS = 5_000
IDLE_MS = 500
"""Between two looks of the main loop."""

HEARTBEAT_MS = 5_000
T_DEAD_MS = 35_000

LONG, SHORT, EXIT = "long", "short", "exit"


@dataclass
class Signals:
    """A strategy that follows a function of the bar, so that it says the same in every life."""

    says: Callable[[datetime, OpenPosition | None], str | None]
    bar_at: datetime = BEGINS

    def decide(self, position: OpenPosition | None) -> Signal | None:
        word = self.says(self.bar_at, position)
        if word is None:
            return None
        return Signal(SignalKind.EXIT, "out") if word == EXIT else Signal(SignalKind.ENTER, "in", Direction(word))

    def on_entered(self, position: OpenPosition) -> None:
        """Nothing to remember."""

    def on_exited(self) -> None:
        """Nothing to remember."""

    def export_state(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a world is made of.

    Attributes:
        config, market: of the bot.
        prices: of the exchange, one for each tick.
        says: the strategy's words.
        habits, faults: of the exchange and of the way there.
        outages: from and to when the database is away, ms; one of at least T_DEAD_MS ends the run.
        rests_ms: when disturbances end. ends_ms: when the world does.
        flattens: whether the bot is asked to stop, and to close its position. stops_ms: when; None: at rest.
        dies: where a process is killed.
        restarts_ms: how long the next process takes to start, at least and at most.
        timing: what the venue takes for granted of the exchange.
        seed: of whatever is left to chance.
        broken: how the code is broken on purpose, see `Broken`.
    """

    config: BotConfig
    market: Market
    prices: Sequence[Decimal]
    says: Callable[[datetime, OpenPosition | None], str | None]
    habits: Habits = PLAIN
    faults: Faults = NO_FAULTS
    outages: Sequence[tuple[int, int]] = ()
    rests_ms: int
    ends_ms: int
    flattens: bool = False
    stops_ms: int | None = None
    dies: Callable[[KillPoint, Leg | None], bool] = lambda _point, _leg: False
    restarts_ms: tuple[int, int] = (500, 3000)
    timing: Timing = TIMING
    seed: int = 0
    broken: Broken = field(default_factory=lambda: Broken())


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """Ways to break the code on purpose, to see that a check fails.

    Attributes:
        wrap: the transport that the venue gets.
        resends_intents: what the checkpoint calls INTENT is sent again without a look-up.
        sends_first: what a step decided leaves before its commit.
        ignores_right: the right to trade isn't asked for.
    """

    wrap: Callable[[Transport], Transport] = lambda transport: transport
    resends_intents: bool = False
    sends_first: bool = False
    ignores_right: bool = False


class World:
    """A bot's lives and what they left.

    Attributes:
        exchange: with the ledger that is the truth.
        tables: the bot's. account: as committed last.
        left: requests that left a process.
        epoch: of the newest life. commits: so many. fenced: lives that lost their run. crashes: lives that ended by an error.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.clock = VirtualClock()
        self._random = Random(plan.seed)
        self.exchange = ScriptedExchange(
            self.clock,
            market=plan.market,
            prices=plan.prices,
            tick_ms=TICK_MS,
            habits=plan.habits,
            random=Random(plan.seed + 1),
        )
        self.candles = candles_of(plan.prices, bar_ms=plan.config.interval_s * 1000)
        self._interval = timedelta(seconds=plan.config.interval_s)
        self.tables = Tables()
        self.kills = KillSwitch(self._dies)
        self.left: list[Left] = []
        self.epoch = 0
        self.commits = 0
        self.fenced = 0
        self.crashes: list[str] = []
        self._checkpoint: Any = None
        self._reporting = False
        self._fence = Fence(Deadlines(), claimed_at=0.0)
        self.clock.at(HEARTBEAT_MS, self._heartbeat)
        self.clock.at(plan.rests_ms, self._rest)

    @property
    def account(self) -> Account:
        return self._ledger().resume()[0].account  # type: ignore[index]

    def run(self) -> World:
        """Live until the end of the plan."""
        while self.clock.ms < self.plan.ends_ms:
            self.epoch += 1
            try:
                self._live()
            except Killed:
                pass
            except FencedError:
                self.fenced += 1
            except PermanentError as error:
                self.crashes.append(f"{type(error).__name__}: {error}")
            self.clock.advance(self._random.randint(*self.plan.restarts_ms))
        return self

    # --- one life --------------------------------------------------------------------------------------------------

    def _live(self) -> None:
        self._fence = Fence(Deadlines(), claimed_at=self.clock.monotonic())
        self._now = self._ledger()
        state = (
            self._now.resume() or self._now.begin(BotState(account=Account(cash=self.plan.config.initial_cash)), {})
        )[0]
        self._venue = self._made_venue()
        bot = BaseTradingBot(
            bot_id=BOT_ID,
            config=self.plan.config,
            market=self.plan.market,
            venue=self._venue,
            state=state,
            commit=self._commit,
            entry_denied=self._late,
            may_enter=lambda: not self._stops,
        )
        if self.plan.broken.resends_intents:
            for order in state.account.orders:
                if order.state is OrderState.INTENT:
                    self._venue.submit(order)
        strategy = Signals(self.plan.says)
        self._take(bot, strategy, ())
        self._resolved = False
        while self.clock.ms < self.plan.ends_ms and not self._fence.lost:
            self._turn(bot, strategy)
        if self._fence.lost:
            raise FencedError("the run was fenced")

    def _turn(self, bot: BaseTradingBot, strategy: Signals) -> None:
        if self._stops and all(order.leg is not Leg.FLATTEN for order in bot.state.account.orders):
            bot.flatten(strategy)
        orders = bot.state.account.orders
        reports = self._venue.carry_out(orders)
        if reports:
            self._take(bot, strategy, reports)
            return
        # at a start no bar is looked at before the fate of every order is known
        self._resolved = self._resolved or not self._venue.unresolved(orders)
        if not self._resolved or not self._next_bar(bot, strategy):
            self.clock.advance(IDLE_MS if orders else self._until_bar_ms(bot))

    def _take(self, bot: BaseTradingBot, strategy: Signals, reports: Sequence[Any]) -> None:
        self._reporting = bool(reports)
        bot.take_reports(strategy, reports)
        self._reporting = False

    def _next_bar(self, bot: BaseTradingBot, strategy: Signals) -> bool:
        candle = self._following(bot)
        if candle is None or self._closes_at(candle) > self.clock.exchange_time():
            return False
        strategy.bar_at = candle.open_at
        bot.on_bar(strategy, candle, ready=True)
        return True

    def _following(self, bot: BaseTradingBot) -> Candle | None:
        """The candle after the last committed one."""
        after = bot.state.last_bar_at
        number = 0 if after is None else (after - BEGINS) // self._interval + 1
        return self.candles[number] if number < len(self.candles) else None

    def _until_bar_ms(self, bot: BaseTradingBot) -> int:
        """How long nothing can happen, as there is no order: until the next bar, or the next heartbeat."""
        candle = self._following(bot)
        if candle is None:
            return HEARTBEAT_MS
        left = (self._closes_at(candle) - self.clock.exchange_time()) // timedelta(milliseconds=1)
        return max(1, min(left, HEARTBEAT_MS))

    def _made_venue(self) -> ExchangeVenue:
        fence = self._fence

        def may_send() -> bool:
            return fence.may_send(self.clock.monotonic())

        transport = ScriptedTransport(
            self.exchange,
            epoch=self.epoch,
            may_send=may_send,
            faults=NO_FAULTS if self._rests else self.plan.faults,
            random=self._random,
            kills=self.kills,
            left=self.left,
        )
        self._transport = transport
        return ExchangeVenue(
            self.plan.broken.wrap(transport),
            may_send=(lambda: True) if self.plan.broken.ignores_right else may_send,
            monotonic=self.clock.monotonic,
            costs=costs_of(self.plan.config, self.plan.market),
            timing=self.plan.timing,
        )

    # --- the database ----------------------------------------------------------------------------------------------

    def _ledger(self) -> MemoryLedger:
        return MemoryLedger(
            bot_id=BOT_ID,
            config=self.plan.config,
            market=self.plan.market,
            exchange="scripted",
            checkpoint=self._checkpoint,
            tables=self.tables,
        )

    def _commit(self, outcome: BarOutcome) -> None:
        orders = outcome.orders
        intents = [order for order in orders if order.client_order_id not in self.tables.orders]
        if self.plan.broken.sends_first:
            self._venue.carry_out(outcome.account.orders)
        for order in intents:
            self.kills.passes(KillPoint.BEFORE_INTENT_COMMIT, order.leg)
        for order in self._reported(orders, intents):
            self.kills.passes(KillPoint.AFTER_ANSWER, order.leg)
        while self._is_away():
            self.clock.advance(IDLE_MS)
        if self._fence.lost:
            raise FencedError("the run isn't current")
        self._now.commit(outcome)
        kept = self._now.checkpoint
        assert kept is not None
        self._checkpoint = replace(
            kept,
            broker_state=json.loads(json.dumps(kept.broker_state)),
            strategy_state=json.loads(json.dumps(kept.strategy_state)),
        )
        self.exchange.write_off(outcome.account.dust)
        self.commits += 1
        for order in intents:
            self.kills.passes(KillPoint.AFTER_INTENT_COMMIT, order.leg)
        for order in self._reported(orders, intents):
            self.kills.passes(KillPoint.AFTER_REPORT_COMMIT, order.leg)

    def _reported(self, orders: Sequence[Order], intents: Sequence[Order]) -> list[Order]:
        return [order for order in orders if order not in intents] if self._reporting else []

    def _is_away(self) -> bool:
        return any(start <= self.clock.ms < end for start, end in self.plan.outages)

    def _heartbeat(self) -> None:
        """The newest life's; a run whose heartbeats were missing for T_dead is fenced when the database is back."""
        self.clock.at(self.clock.ms + HEARTBEAT_MS, self._heartbeat)
        if self._is_away():
            return
        ended = [end for start, end in self.plan.outages if end - start >= T_DEAD_MS]
        if any(self.clock.ms - HEARTBEAT_MS < end <= self.clock.ms for end in ended):
            self._fence.lose()
        else:
            self._fence.acknowledged(sent_at=self.clock.monotonic())

    # --- what there is ---------------------------------------------------------------------------------------------

    @property
    def _rests(self) -> bool:
        return self.clock.ms >= self.plan.rests_ms

    @property
    def _stops(self) -> bool:
        plan = self.plan
        return plan.flattens and self.clock.ms >= (plan.rests_ms if plan.stops_ms is None else plan.stops_ms)

    def _dies(self, point: KillPoint, leg: Leg | None) -> bool:
        return not self._rests and self.plan.dies(point, leg)

    def _rest(self) -> None:
        """Disturbances end, those of the newest life's requests too."""
        self._transport.faults = NO_FAULTS
        self.exchange.habits = replace(self.exchange.habits, refuses=0.0)

    def _closes_at(self, candle: Candle) -> datetime:
        return candle.open_at + self._interval

    def _late(self, candle: Candle) -> Denial | None:
        """An entry on a candle whose successor has closed already would be one on old news."""
        late = self.clock.exchange_time() - self._closes_at(candle) >= self._interval
        return Denial.LATE_CANDLE if late else None


def candles_of(prices: Sequence[Decimal], *, bar_ms: int) -> list[Candle]:
    """The candles of a price path."""
    ticks = bar_ms // TICK_MS
    return [
        Candle(
            to_ms(BEGINS) + number * TICK_MS,
            (path := prices[number : number + ticks])[0],
            max(path),
            min(path),
            path[-1],
            Decimal(1000),
        )
        for number in range(0, len(prices) - ticks + 1, ticks)
    ]
