"""Daily limits and pauses against the rows that a bot writes: whatever closed a position, whatever the interval.

The expectations are worked out from trades and fills alone, by the rules of docs/user/risk.md.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from botrunner.backtest.engine import replay
from botrunner.backtest.memory_ledger import MemoryLedger
from botrunner.backtest.run import backtest
from botrunner.engine.trading_bot import BaseTradingBot
from botrunner.market.candle import Candle
from botrunner.market.rules import file_market
from botrunner.strategies.base import Direction, OpenPosition, Signal, SignalKind
from botrunner.strategies.registry.strategy_handler import StrategyHandler
from botrunner.trading.account import Account
from botrunner.trading.account_json import dump, load
from botrunner.trading.risk import Counters, Denial
from botrunner.trading.state import BarOutcome, BotState
from botrunner.trading.trades import Trade
from fleet.config import BotConfig, parse_config
from fleet.config.values import INTERVAL_SECONDS
from fleet.exit_kinds import ExitKind
from fleet.times import to_ms
from tests.unit.botrunner.paper_world import paper_bot

D = Decimal
MONDAY = datetime(2018, 1, 8, tzinfo=UTC)
"""Midnight, and where every interval up to a week has a close."""


def made_config(interval: str, **sections: Any) -> BotConfig:
    paper = sections.pop("paper", {})
    logic = {"entry_logic": {"name": "RSIOrBBEntryMixin"}, "exit_logic": {"name": "TimeBasedExitMixin"}}
    return parse_config(
        {
            "symbol": "ETHBTC",
            "broker": {"cash": 1000, "paper_trading_config": {"commission_rate": 0, **paper}},
            "strategy": {"parameters": logic},
            "data": {"interval": interval},
            **sections,
            "trading": {"position_size": 0.5, "allow_short": True, **sections.get("trading", {})},
        }
    )


@dataclass
class Eager:
    """Wants a position whenever there is none; leaves where it is told to."""

    direction: Direction = Direction.LONG
    leaves: Callable[[OpenPosition], bool] = lambda _: False
    wanted: bool = field(default=False)

    def decide(self, position: OpenPosition | None) -> Signal | None:
        self.wanted = position is None
        if position is None:
            return Signal(SignalKind.ENTER, "eager", self.direction)
        return Signal(SignalKind.EXIT, "enough", position.direction) if self.leaves(position) else None

    def on_entered(self, position: OpenPosition) -> None:
        """Nothing to remember."""

    def on_exited(self) -> None:
        """Nothing to forget."""

    def export_state(self) -> dict[str, Any]:
        return {}


class Bot:
    """A bot that is thrown away after every bar but for what JSON keeps."""

    def __init__(self, config: BotConfig, strategy: Eager) -> None:
        self.config, self.strategy = config, strategy
        self.interval = timedelta(seconds=config.interval_s)
        self.state = BotState(account=Account(cash=config.initial_cash))
        self.trades: dict[str, Trade] = {}
        self.outcome: BarOutcome

    def _start(self) -> BaseTradingBot:
        return paper_bot(self.config, self.state, self._commit)

    def _commit(self, outcome: BarOutcome) -> None:
        self.outcome = outcome
        self.trades |= {trade.entry_order_id: trade for trade in outcome.trades}

    def on_bar(self, closes_at: datetime, *prices: Any) -> BarOutcome:
        bot = self._start()
        bot.on_bar(
            self.strategy, Candle(to_ms(closes_at - self.interval), *map(D, map(str, prices)), D(1000)), ready=True
        )
        self._keep(bot)
        return self.outcome

    def flatten(self) -> BarOutcome | None:
        bot = self._start()
        outcome = bot.flatten(self.strategy)
        self._keep(bot)
        return outcome

    def _keep(self, bot: BaseTradingBot) -> None:
        assert bot.last_exit_at == bot.state.account.counters.last_exit_at
        self.state = replace(bot.state, account=load(json.loads(json.dumps(dump(bot.state.account)))))

    @property
    def counters(self) -> Counters:
        return self.state.account.counters


# --- days ----------------------------------------------------------------------------------------------------------

STYLES: Mapping[str, Mapping[str, Any]] = {
    "at the close": {},
    "at the next open": {"paper": {"fill_price": "next_open"}},
    "late": {"paper": {"min_latency_ms": 100, "max_latency_ms": 900}},
    "up to a minute late": {"paper": {"min_latency_ms": 100, "max_latency_ms": 60_000}},
    "limits": {"trading": {"order_type": "limit", "exit_order_type": "limit", "limit_offset_pct": 0.3}},
    "in parts": {"paper": {"partial_fill_probability": 0.5, "fee_currency": "base", "commission_rate": 0.001}},
}


def day_of(moment: datetime) -> date:
    """The rule in the words of docs/user/risk.md; every time here is UTC."""
    assert moment.tzinfo is UTC
    return moment.date()


def walk(rng: random.Random, count: int) -> Iterator[tuple[Decimal, ...]]:
    price = D(100)
    for _ in range(count):
        opened = (price * (1 + D(rng.randint(-60, 60)) / 10_000)).quantize(D("0.01"))
        price = max(D(20), opened * (1 + D(rng.randint(-150, 150)) / 10_000)).quantize(D("0.01"))
        yield (
            opened,
            max(opened, price) + D(rng.randint(0, 150)) / 100,
            min(opened, price) - D(rng.randint(0, 150)) / 100,
            price,
        )


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("interval", INTERVAL_SECONDS)
def test_a_days_limits_count_what_the_rows_say_of_that_day(interval: str, style: str) -> None:
    """At every close: a new position is refused exactly if trades of the close's UTC day, as their rows date them,
    have reached a limit; and the counters of the checkpoint are sums over the rows."""
    risk = {"stop_loss_pct": 1, "take_profit_pct": 1.2, "max_daily_loss": 12, "max_daily_trades": 4}
    made = made_config(interval, risk_management=risk, **STYLES[style])
    rng = random.Random(f"{interval} {style}")
    direction = rng.choice(list(Direction))
    bot = Bot(made, Eager(direction, leaves=lambda _: rng.random() < 0.2))
    closes_at, reasons = MONDAY - 40 * bot.interval, []
    for prices in walk(rng, 250):
        closes_at += bot.interval * rng.choice((1, 1, 1, 1, 2))
        busy_before = bot.state.account.is_busy
        outcome = bot.on_bar(closes_at, *prices)
        day, opens_at = day_of(closes_at), closes_at - bot.interval
        known = [trade for trade in bot.trades.values() if trade.signal_at != opens_at]
        count = sum(day_of(trade.entry_at) == day for trade in known)
        closed = [trade for trade in known if not trade.is_open and trade.exit_at is not None]
        # an exit that was decided at this close came after the decision
        before = [trade for trade in closed if trade.exit_at is not None and bot.strategy.wanted]
        lost = -sum((trade.net_pnl for trade in before if day_of(trade.exit_at or closes_at) == day), D(0))
        expected = Denial.MAX_DAILY_TRADES if count >= 4 else Denial.MAX_DAILY_LOSS if lost >= 12 else None
        entered = any(order.leg == "entry" and order.signal_at == opens_at for order in outcome.orders)
        if bot.strategy.wanted:
            assert not (entered and expected), (closes_at, count, lost)
            assert outcome.denial in (expected, None)
            assert entered or outcome.denial or busy_before, closes_at
            reasons.append(outcome.denial)
        every, counters = bot.trades.values(), bot.counters
        assert counters.day is not None
        assert counters.day >= day
        assert counters.trades_today == sum(day_of(trade.entry_at) == counters.day for trade in every)
        ended = [trade for trade in every if not trade.is_open and day_of(trade.exit_at or closes_at) == counters.day]
        assert counters.pnl_today == sum((trade.net_pnl for trade in ended), D(0))
    assert reasons.count(None) > 5


def closing_at_midnight(bot: Bot, first: Sequence[Any], second: Sequence[Any]) -> BarOutcome:
    """Two bars, of which the second closes at midnight; the strategy enters at the first's close."""
    bot.on_bar(MONDAY - bot.interval, *first)
    return bot.on_bar(MONDAY, *second)


@pytest.mark.parametrize("interval", INTERVAL_SECONDS)
def test_a_stop_in_the_bar_that_closes_at_midnight_ends_the_trading_of_the_day_that_begins(interval: str) -> None:
    bot = Bot(made_config(interval, risk_management={"stop_loss_pct": 1, "max_daily_loss": 1}), Eager())
    outcome = closing_at_midnight(bot, (100, 100, 100, 100), (100, 100, 98, 99))
    [trade] = outcome.trades
    assert (trade.exit_at, trade.exit_kind, trade.net_pnl) == (MONDAY, ExitKind.STOP, -5)
    assert (outcome.denial, outcome.breaches) == (Denial.MAX_DAILY_LOSS, (Denial.MAX_DAILY_LOSS,))
    following = bot.on_bar(MONDAY + bot.interval, 99, 99, 99, 99)
    same_day = day_of(MONDAY + bot.interval) == day_of(MONDAY)
    assert (following.denial is Denial.MAX_DAILY_LOSS) == same_day
    assert bool(following.orders) != same_day


# --- pauses --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """How an exit comes: in the bars after the entry's, the first of which has these prices."""

    kind: ExitKind
    prices: tuple[Any, ...] = (100, 100, 100, 100)
    sections: Mapping[str, Any] = field(default_factory=dict)
    direction: Direction = Direction.LONG
    asked: bool = False
    flattened: bool = False
    interval: str = "5m"


WAYS = {
    "stop in range": Way(ExitKind.STOP, (100, 100, 96, 98), {"risk_management": {"stop_loss_pct": 3}}),
    "stop at an open gap": Way(ExitKind.STOP, (95, 96, 94, 95), {"risk_management": {"stop_loss_pct": 3}}),
    "stop filled in parts": Way(
        ExitKind.STOP,
        (100, 100, 96, 98),
        {"risk_management": {"stop_loss_pct": 3}, "paper": {"max_volume_share": 0.004}},
    ),
    "target": Way(ExitKind.TARGET, (100, 104, 100, 102), {"risk_management": {"take_profit_pct": 3}}),
    "target at an open gap": Way(ExitKind.TARGET, (104, 105, 104, 104), {"risk_management": {"take_profit_pct": 3}}),
    "market exit at the close": Way(ExitKind.SIGNAL, asked=True),
    "market exit at the next open": Way(ExitKind.SIGNAL, sections={"paper": {"fill_price": "next_open"}}, asked=True),
    "market exit with latency": Way(
        ExitKind.SIGNAL, sections={"paper": {"min_latency_ms": 900, "max_latency_ms": 900}}, asked=True
    ),
    "market exit later than a bar": Way(
        ExitKind.SIGNAL, sections={"paper": {"min_latency_ms": 1500, "max_latency_ms": 1500}}, asked=True, interval="1s"
    ),
    "limit exit": Way(ExitKind.SIGNAL, sections={"trading": {"exit_order_type": "limit"}}, asked=True),
    "limit exit that becomes a market order": Way(
        ExitKind.SIGNAL,
        sections={"trading": {"exit_order_type": "limit", "limit_offset_pct": 5, "limit_ttl_bars": 1}},
        asked=True,
    ),
    "flatten": Way(ExitKind.FLATTEN, flattened=True),
    "liquidation": Way(
        ExitKind.LIQUIDATION, (100, 400, 100, 120), {"trading": {"position_size": 0.9}}, direction=Direction.SHORT
    ),
}
GAPS = {"no candle is missing": (), "candles are missing after the exit": (3,), "and before it": (1, 2, 4)}


@pytest.mark.parametrize("gaps", GAPS)
@pytest.mark.parametrize("bars", [0, 1, 2, 3])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("limit", ["cooldown", "guard"])
def test_a_pause_lasts_so_many_bars_from_the_exit_however_it_came(way: str, bars: int, gaps: str, limit: str) -> None:
    how = WAYS[way]
    sections = dict(how.sections)
    losing_stop = how.kind is ExitKind.STOP
    if limit == "cooldown":
        pause: dict[str, Any] = {"cooldown_bars": bars}
    else:
        pause = {"stop_loss_guard": {"max_stops": 1, "within_bars": 1, "pause_bars": max(bars, 1)}}
    sections["risk_management"] = {**sections.get("risk_management", {}), **pause}
    left = [False]
    made = made_config(how.interval, **sections)
    bot = Bot(made, Eager(how.direction, leaves=lambda _: how.asked and not left[0]))
    closes_at = MONDAY
    bot.on_bar(closes_at, 100, 100, 100, 100)
    judged = 0
    for number in range(1, 14):
        closes_at += bot.interval * (3 if number in GAPS[gaps] else 1)
        prices = how.prices if number <= 3 and not left[0] else (100, 100, 100, 100)
        outcome = bot.on_bar(closes_at, *prices)
        if how.flattened and number == 1:
            assert bot.flatten() is not None
        closed = [trade for trade in bot.trades.values() if not trade.is_open]
        if not closed:
            continue
        left[0] = True
        [first] = closed[:1]
        assert first.exit_kind is how.kind
        assert first.exit_at is not None
        if not bot.strategy.wanted:
            continue
        length = bars if limit == "cooldown" else (max(bars, 1) if losing_stop else 0)
        denied = length > 0 and closes_at - first.exit_at <= length * bot.interval
        wanted = Denial.COOLDOWN if limit == "cooldown" else Denial.STOP_LOSS_GUARD
        assert outcome.denial is (wanted if denied else None), (closes_at, first.exit_at)
        judged += 1
        if not denied:
            break
    assert judged >= 1 + (bars if not GAPS[gaps] and limit == "cooldown" else 0)


def falling(count: int, seed: int) -> list[Candle]:
    rng, found = random.Random(seed), []
    for number, (open_, high, low, close) in enumerate(walk(rng, count)):
        if rng.random() < 0.9:
            found.append(Candle(to_ms(MONDAY) + number * 300_000, open_, high, low, close, D(1000)))
    return found


def eager_config(entry: Mapping[str, Any], **sections: Any) -> BotConfig:
    return parse_config(
        {
            "symbol": "ETHBTC",
            "broker": {"cash": 1000, "paper_trading_config": sections.pop("paper", {})},
            "strategy": {
                "parameters": {
                    "entry_logic": {
                        "name": "RSIOrBBEntryMixin",
                        "params": {"rsi_oversold": 99.9, "rsi_period": 2, "bb_period": 2, **entry},
                    },
                    "exit_logic": {"name": "TimeBasedExitMixin", "params": {"max_bars": 3}},
                }
            },
            "data": {"interval": "5m", "lookback_bars": 60},
            **sections,
        }
    )


@pytest.mark.parametrize("paper", [{}, {"fill_price": "next_open"}, {"min_latency_ms": 9, "max_latency_ms": 60_000}])
@pytest.mark.parametrize("bars", [1, 2, 5])
def test_the_entry_mixins_cooldown_is_the_risk_managements(bars: int, paper: dict[str, Any]) -> None:
    """The same trades, over stops, targets and exits by time, rebuilt engines and missing candles."""
    risk = {"stop_loss_pct": 2.5, "take_profit_pct": 2.5}
    candles, market = falling(500, bars), file_market("ETHBTC")
    by_mixin = backtest(
        eager_config({"cooldown_bars": bars}, paper=paper, risk_management=risk), candles, market=market
    )
    by_limit = backtest(
        eager_config({}, paper=paper, risk_management={**risk, "cooldown_bars": bars}), candles, market=market
    )
    assert len({trade["exit_reason"] for trade in by_mixin.trades}) == 3
    assert by_mixin.trades == [
        {**trade, "entry_logic_params": {**trade["entry_logic_params"], "cooldown_bars": bars}}
        for trade in by_limit.trades
    ]


# --- kinds ---------------------------------------------------------------------------------------------------------

LEAVING = [
    ("FixedRatioExitMixin", {"take_profit": 0.5, "stop_loss": 0.02}, -1, ExitKind.STOP),
    ("FixedRatioExitMixin", {"take_profit": 0.02, "stop_loss": 0.5}, 1, ExitKind.TARGET),
    ("TrailingStopExitMixin", {"trail_pct": 0.02}, -1, ExitKind.STOP),
    ("ATRExitMixin", {}, -1, ExitKind.STOP),
    ("SimpleATRExitMixin", {}, -1, ExitKind.STOP),
    ("AdvancedATRExitMixin", {"use_htf_atr": False}, -1, ExitKind.STOP),
    ("MultiLevelAtrExitMixin", {"htf_compression": 2}, -1, ExitKind.STOP),
    ("TimeBasedExitMixin", {"max_bars": 3}, -1, ExitKind.TIME),
    ("MACrossoverExitMixin", {}, -1, ExitKind.SIGNAL),
]


@pytest.mark.parametrize(("mixin", "params", "way", "kind"), LEAVING)
def test_what_a_mixins_exit_is(mixin: str, params: dict[str, Any], way: int, kind: ExitKind) -> None:
    """Told to the guard and to people alike."""
    prices = [D(100) + D(number % 2) for number in range(60)] + [D(100) + way * D(number) / 2 for number in range(90)]
    candles = [
        Candle(to_ms(MONDAY) + number * 300_000, price, price + D("0.5"), price - D("0.5"), price, D(1000 + number))
        for number, price in enumerate(prices)
    ]
    made = eager_config({})
    logic = {"name": mixin, "params": params}
    raw = {
        "symbol": "ETHBTC",
        "broker": {"cash": 1000},
        "strategy": {
            "parameters": {
                "entry_logic": {"name": "RSIOrBBEntryMixin", "params": {"rsi_oversold": 99.9, "rsi_period": 2}},
                "exit_logic": logic,
            }
        },
        "data": {"interval": "5m", "lookback_bars": made.lookback_bars * 3},
    }
    found = outcomes_of(parse_config(raw), candles)
    closed = [trade for outcome in found for trade in outcome.trades if not trade.is_open]
    assert closed
    assert {trade.exit_kind for trade in closed} == {kind}
    stops = found[-1].account.counters.stops
    assert bool(stops) == (kind is ExitKind.STOP and any(trade.net_pnl < 0 for trade in closed))


def outcomes_of(config: BotConfig, candles: Sequence[Candle]) -> list[BarOutcome]:
    found: list[BarOutcome] = []
    market = file_market("ETHBTC")
    ledger = MemoryLedger(bot_id=1, config=config, market=market, exchange="paper", on_bar=found.append)
    strategy = StrategyHandler().get_strategy_class(config.strategy_type).cls
    replay(config=config, bot_id=1, strategy=strategy, market=market, ledger=ledger, candles=candles)
    return found


def test_a_loss_by_flattening_is_no_stop() -> None:
    """Whatever its order's reason is called."""
    bot = Bot(made_config("5m"), Eager())
    bot.on_bar(MONDAY, 100, 100, 100, 100)
    bot.on_bar(MONDAY + bot.interval, 98, 98, 98, 98)
    outcome = bot.flatten()
    assert outcome is not None
    [trade] = outcome.trades
    assert (trade.net_pnl < 0, trade.exit_kind, bot.counters.stops) == (True, ExitKind.FLATTEN, ())


def test_a_signal_says_its_kind_by_name_too() -> None:
    assert Signal(SignalKind.EXIT, "mine").exit_kind is ExitKind.SIGNAL
    assert Signal(SignalKind.EXIT, "mine", Direction.LONG, ExitKind("stop")).exit_kind is ExitKind.STOP
    named: Any = "stop"
    assert Signal(SignalKind.EXIT, "mine", exit_kind=named).exit_kind is ExitKind.STOP
    unknown: Any = "stopped"
    with pytest.raises(ValueError, match="stopped"):
        Signal(SignalKind.EXIT, "mine", exit_kind=unknown)
