"""What the bot and its strategies say to each other.

A strategy judges one closed bar at a time and answers with a signal; orders, fills, limits and money are the
bot's work. The engine is rebuilt again and again: fresh indicators, warmed up over bars on which `decide`
isn't called, then `import_state`. So a strategy's answers may depend on its lines and on what it exports, and
on nothing else; then a restart changes no decision.

The bot takes no answer as it is (`engine.strategy_guard`): what isn't a sound signal or a state that JSON holds is
a failure, as an exception is, and costs the decision at that bar. What a strategy changes of the process (decimal
context, streams, warnings) is put back after each call.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import backtrader as bt
from pydantic import JsonValue

from botrunner.trading.signal import Direction, OpenPosition, Signal, SignalKind
from fleet.exit_kinds import ExitKind

__all__ = ["BaseStrategy", "Direction", "ExitKind", "OpenPosition", "Signal", "SignalKind", "State", "StrategyHost"]

State = dict[str, JsonValue]
"""What has to survive a rebuild besides the indicators. Floats survive JSON exactly; Decimals go as texts."""


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
