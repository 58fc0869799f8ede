"""What the bot and its strategies say to each other.

A strategy judges one closed bar at a time and answers with a signal; orders, fills, limits and money are the
bot's work. The engine is rebuilt again and again: fresh indicators, warmed up over bars on which `decide`
isn't called, then `import_state`. So a strategy's answers may depend on its lines and on what it exports, and
on nothing else; then a restart changes no decision.

The bot takes no answer as it is (`botrunner.strategy_guard`): what isn't a sound signal or a state that JSON holds is
a failure, as an exception is, and costs the decision at that bar. What a strategy changes of the process (decimal
context, streams, warnings) is put back after each call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

import backtrader as bt
from pydantic import JsonValue

from fleet.exit_kinds import ExitKind

State = dict[str, JsonValue]
"""What has to survive a rebuild besides the indicators. Floats survive JSON exactly; Decimals go as texts."""


class Direction(StrEnum):
    """Side of a position."""

    LONG = "long"
    SHORT = "short"


class SignalKind(StrEnum):
    """What a signal asks for."""

    ENTER = "enter"
    EXIT = "exit"


@dataclass(frozen=True, slots=True)
class Signal:
    """What a strategy wants at the close of one bar."""

    kind: SignalKind
    reason: str
    """A stable word for the trade's record: `rsi_bb_volume`, `atr_stop`, `take_profit`; for people alone, at
    most 100 characters."""
    direction: Direction = Direction.LONG
    exit_kind: ExitKind = ExitKind.SIGNAL
    """What the exit is to limits and messages; of no meaning for an entry."""

    def __post_init__(self) -> None:
        """A kind by its name is one, too.

        Raises:
            ValueError: there is no such kind.
        """
        object.__setattr__(self, "exit_kind", ExitKind(self.exit_kind))


@dataclass(frozen=True, slots=True)
class OpenPosition:
    """The bot's position as a strategy sees it; None while flat."""

    direction: Direction
    size: Decimal
    """Base currency."""
    entry_price: Decimal
    """Average price of the entry's fills, quote currency."""
    entry_at: datetime
    """When it was filled, UTC."""
    bars_held: int
    """Closed bars since the entry's bar."""


class StrategyHost:
    """The bot behind a strategy; what it doesn't care about it leaves as it is."""

    @property
    def last_exit_at(self) -> datetime | None:
        """When the bot closed a position last."""
        return None

    def attach(self, strategy: Any, /) -> None:
        """The engine made its strategy; no bar has come yet."""

    def on_unready_bar(self, strategy: Any, /) -> None:
        """A new closed bar, while the indicators still lack bars."""

    def on_bar(self, strategy: Any, /) -> None:
        """The strategy's lines stand at a new closed bar and its indicators have enough bars."""


class BaseStrategy(bt.Strategy):
    """Base of every strategy; override `decide` and, with state of its own, the four methods below it.

    Params:
        bot: the StrategyHost; it decides whether a bar is warm-up.
        parameters: validated, `CustomParameters` or what the strategy's `params_model` made of the config.
    """

    params = (("bot", None), ("parameters", None))

    @property
    def last_exit_at(self) -> datetime | None:
        """When the bot closed a position last, UTC, whatever closed it; None before the first. Survives restarts."""
        found: datetime | None = self.p.bot.last_exit_at
        return found

    def start(self) -> None:
        """Introduce itself to the bot."""
        self.p.bot.attach(self)

    def prenext(self) -> None:
        """Hand the bar to the bot, before the indicators are ready."""
        self.p.bot.on_unready_bar(self)

    def next(self) -> None:
        """Hand the bar to the bot."""
        self.p.bot.on_bar(self)

    def decide(self, position: OpenPosition | None) -> Signal | None:
        """What to do at the close of the current bar; called once per closed bar after the warm-up."""
        raise NotImplementedError

    def on_entered(self, position: OpenPosition) -> None:
        """The entry was filled: at this bar's close after `decide`, or at its open before."""

    def on_exited(self) -> None:
        """The position was closed, by a signal or by a protection outside the strategy."""

    def export_state(self) -> State:
        """Everything that isn't an indicator line, as JSON: dicts with texts as keys, lists, texts, finite numbers.

        One that can't be kept costs the state of this bar: the strategy is built anew from the last good one.
        """
        return {}

    def import_state(self, state: Mapping[str, JsonValue]) -> None:
        """Go on from an earlier `export_state`; called before the first bar. Empty: nothing was exported.

        What it can't read it should drop: when this raises, everything is dropped and the strategy begins anew.
        """
