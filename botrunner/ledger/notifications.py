"""From events to the rows of the outbox, `trading_notifications`. Pure.

An event is what happened; its notification is the row by which a person may be told.
"""

from __future__ import annotations

from typing import Any

from botrunner.trading.events import events_of, trade_milestones
from botrunner.trading.state import BarOutcome
from fleet.config import BotConfig
from fleet.events import Event, wanted


def notification(event: Event, config: BotConfig) -> dict[str, Any]:
    """The row of an event; `suppressed` when the config, as it is now, doesn't want to hear of it."""
    return {
        "kind": event.kind,
        "severity": event.urgency,
        "title": event.title,
        "body": event.body,
        "facts": dict(event.facts),
        "dedupe_key": event.dedupe_key,
        "state": "pending" if wanted(event.kind, config.notifications) else "suppressed",
    }


def notifications_of(outcome: BarOutcome, config: BotConfig, *, bot_id: int, owner: int) -> list[dict[str, Any]]:
    """The rows of what a bar caused.

    Args:
        outcome: of the bar.
        config: as it is now.
        bot_id: trading_bots.id. owner: users.id of the bot's owner.
    """
    follows = events_of(
        bot_id=bot_id,
        symbol=config.symbol,
        trades=outcome.trades,
        breaches=outcome.breaches,
        denial=outcome.denial,
        owner=owner,
        counters=outcome.account.counters,
        fills=outcome.fills,
        total_pnl=outcome.account.total_pnl,
        initial_balance=config.initial_cash,
    )
    return [notification(event, config) for event in (*follows, *outcome.events)]


def milestones_of(outcome: BarOutcome, config: BotConfig, *, bot_id: int) -> dict[int, dict[str, Any]]:
    """The rows of round numbers of closed trades, by number; none when the bar closed no trade."""
    if all(trade.is_open for trade in outcome.trades):
        return {}
    return {count: notification(event, config) for count, event in trade_milestones(bot_id).items()}
