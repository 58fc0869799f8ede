"""A bot on paper with a strategy that follows a script, bar by bar."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from botrunner.engine.trading_bot import BaseTradingBot
from botrunner.execution.paper.venue import paper_venue
from botrunner.market.candle import Candle
from botrunner.market.rules import Market
from botrunner.strategies.base import Direction, OpenPosition, Signal, SignalKind
from botrunner.trading.account import Account
from botrunner.trading.account_json import dump, load
from botrunner.trading.orders import Fill, Order
from botrunner.trading.state import BarOutcome, BotState
from botrunner.trading.trades import Trade
from fleet.config import BotConfig, parse_config

D = Decimal
BAR_MS = 300_000
MARKET = Market(
    symbol="ETHBTC",
    base="ETH",
    quote="BTC",
    tick=D("0.01"),
    step=D("0.01"),
    min_quantity=D("0.01"),
    min_notional=D("0"),
    can_short=True,
)
"""Round numbers for examples that are worked out by hand: prices around 100, cents and hundredths."""

LONG, SHORT, EXIT = "long", "short", "exit"


def config(paper: Mapping[str, Any] | None = None, **sections: Any) -> BotConfig:
    """1,000 in cash, all of it in one position, no fees and no slippage unless asked for."""
    broker = {
        "cash": 1000,
        "paper_trading_config": {"commission_rate": 0, **(paper or {})},
        **sections.pop("broker", {}),
    }
    logic = {"entry_logic": {"name": "RSIOrBBEntryMixin"}, "exit_logic": {"name": "TimeBasedExitMixin"}}
    return parse_config(
        {
            "symbol": "ETHBTC",
            "broker": broker,
            "strategy": {"parameters": logic},
            "data": {"interval": "5m"},
            **sections,
            "trading": {"position_size": 0.5, **sections.get("trading", {})},
        }
    )


def bar(open_: Any, high: Any, low: Any, close: Any, volume: Any = 1000) -> tuple[Decimal, ...]:
    return tuple(D(str(value)) for value in (open_, high, low, close, volume))


FLAT = bar(100, 100, 100, 100)


def paper_bot(
    made: BotConfig, state: BotState, commit: Callable[[BarOutcome], None], *, market: Market = MARKET, **asked: Any
) -> BaseTradingBot:
    """A bot, number 7, whose orders execute on paper."""
    return BaseTradingBot(
        bot_id=7,
        config=made,
        market=market,
        venue=paper_venue(made, market, bot_id=7),
        state=state,
        commit=commit,
        **asked,
    )


@dataclass
class Script:
    """Says at each bar what the script has for it; remembers what it was told."""

    says: Sequence[str | None]
    bar: int = -1
    told: list[tuple[int, str]] = field(default_factory=list)
    seen: list[OpenPosition | None] = field(default_factory=list)

    def decide(self, position: OpenPosition | None) -> Signal | None:
        self.seen.append(position)
        word = self.says[self.bar] if self.bar < len(self.says) else None
        if word is None:
            return None
        if word == EXIT:
            return Signal(SignalKind.EXIT, "out")
        return Signal(SignalKind.ENTER, "in", Direction(word))

    def on_entered(self, position: OpenPosition) -> None:
        self.told.append((self.bar, "entered"))

    def on_exited(self) -> None:
        self.told.append((self.bar, "exited"))

    def export_state(self) -> dict[str, Any]:
        return {"bar": self.bar}


@dataclass
class World:
    """What a run left: the outcomes, and the rows as a database would hold them."""

    bot: BaseTradingBot
    script: Script
    outcomes: list[BarOutcome]

    @property
    def account(self) -> Account:
        return self.bot.state.account

    @property
    def orders(self) -> dict[str, Order]:
        return {order.client_order_id: order for outcome in self.outcomes for order in outcome.orders}

    @property
    def fills(self) -> list[Fill]:
        return [fill for outcome in self.outcomes for fill in outcome.fills]

    @property
    def trades(self) -> list[Trade]:
        return list({trade.entry_order_id: trade for outcome in self.outcomes for trade in outcome.trades}.values())

    def history(self) -> list[tuple[Any, ...]]:
        """Orders as leg, attempt, type, price, quantity, filled, state: oldest first."""
        return [
            (o.leg.value, o.attempt, o.type.value, o.price, o.quantity, o.filled_quantity, o.state.value)
            for o in self.orders.values()
        ]


def run(
    bars: Sequence[tuple[Decimal, ...]],
    says: Sequence[str | None],
    made: BotConfig | None = None,
    *,
    market: Market = MARKET,
    restarts: bool = False,
    configs: Mapping[int, BotConfig] | None = None,
    may_enter: Sequence[bool] = (),
    gaps: Mapping[int, int] | None = None,
    bar_ms: int = BAR_MS,
) -> World:
    """Run a script.

    Args:
        bars: open, high, low, close, volume.
        says: the strategy's words by bar.
        restarts: throw everything away after every bar but what JSON keeps.
        configs: changed limits, taken over before the bar of that number.
        may_enter: by bar; True after its end.
        gaps: number of bars missing before a bar. bar_ms: the config's interval.
    """
    made = made or config()
    outcomes: list[BarOutcome] = []
    script = Script(says)

    def allowed() -> bool:
        return may_enter[script.bar] if script.bar < len(may_enter) else True

    def start(state: BotState) -> BaseTradingBot:
        return paper_bot(made, state, outcomes.append, market=market, may_enter=allowed)

    bot = start(BotState(account=Account(cash=made.initial_cash)))
    slot = 0
    for number, (open_, high, low, close, volume) in enumerate(bars):
        slot += 1 + (gaps or {}).get(number, 0)
        if configs and number in configs:
            made = configs[number]
            bot.replace_config(made)
        script.bar = number
        bot.on_bar(script, Candle(slot * bar_ms, open_, high, low, close, volume), ready=True)
        if restarts:
            stored = json.loads(json.dumps(dump(bot.state.account)))
            assert load(stored) == bot.state.account
            bot = start(replace(bot.state, account=load(stored)))
    return World(bot, script, outcomes)
