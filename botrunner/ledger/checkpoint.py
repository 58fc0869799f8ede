"""The checkpoint of a bot: what it carries from bar to bar, as the row that it goes on from. Pure.

What the account's document means is `botrunner.trading.account_json`'s; here is what surrounds it, and what becomes of
it when the config names another market or another strategy than the one that wrote it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

from botrunner.trading.account import Account
from botrunner.trading.account_json import CheckpointDamaged, dump, load, validated
from botrunner.trading.state import BarOutcome, BotState
from fleet.bar_record import Checkpoint
from fleet.config import BotConfig
from fleet.config.values import INTERVAL_SECONDS
from fleet.foreign import Unreadable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _BrokerState:
    """`trading_checkpoints.broker_state`.

    Attributes:
        account: see `botrunner.trading.account_json.dump`.
        last_volume: a checkpoint that didn't keep it yet has none: the worst.
    """

    account: Any
    last_close: Decimal | None
    last_volume: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class _StrategyState:
    """`trading_checkpoints.strategy_state`."""

    identity: Any
    state: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """Where a bot goes on.

    Attributes:
        state: without last_bar_at when the bot begins in the config's market.
        strategy_state: empty when another strategy wrote it.
        opening: what the market is begun with, quote currency; None when the bot has had a bar in it.
        dropped: what names the strategy whose state was left behind; None when none was.
    """

    state: BotState
    strategy_state: dict[str, Any]
    opening: Decimal | None
    dropped: object | None


def checkpoint_of(state: BotState, strategy_state: Mapping[str, Any], config: BotConfig) -> Checkpoint:
    """The row of `trading_checkpoints`."""
    return _checkpoint(
        config, state.account, strategy_state, state.last_bar_at, state.bars, state.last_close, state.last_volume
    )


def checkpoint_after(outcome: BarOutcome, config: BotConfig) -> Checkpoint:
    """The row after a bar."""
    return _checkpoint(
        config, outcome.account, outcome.strategy_state, outcome.bar_at, outcome.bars, outcome.close, outcome.volume
    )


def _checkpoint(
    config: BotConfig,
    account: Account,
    strategy_state: Mapping[str, Any],
    last_bar_at: datetime | None,
    bars: int,
    close: Decimal | None,
    volume: Decimal,
) -> Checkpoint:
    return Checkpoint(
        symbol=config.symbol,
        interval=config.interval,
        last_bar_at=last_bar_at,
        bars=bars,
        balance=account.cash if close is None else account.equity(close),
        total_pnl=account.total_pnl,
        broker_state={
            "account": dump(account),
            "last_close": None if close is None else str(close),
            "last_volume": str(volume),
        },
        strategy_state={"identity": identity(config), "state": strategy_state},
    )


def restored(stored: Checkpoint, config: BotConfig, *, bot_id: int) -> Restored:
    """What a config's bot goes on from.

    Args:
        stored: by this version of the program or an earlier one.
        config: as it is now.
        bot_id: for messages.

    Raises:
        CheckpointDamaged: it can't be read, or belongs to another market while a position is open.
        CheckpointNewer: a later version wrote it.
    """
    interval = timedelta(seconds=INTERVAL_SECONDS[stored.interval])
    try:
        broker = _read(_BrokerState, stored.broker_state, "broker_state")
        strategy = _read(_StrategyState, stored.strategy_state, "strategy_state")
        account = load(
            broker.account,
            last_close_at=None if stored.last_bar_at is None else stored.last_bar_at + interval,
            interval=interval,
        )
    except CheckpointDamaged as error:
        raise CheckpointDamaged(
            f"trading_checkpoints of bot {bot_id} can't be read ({error}): restore it from a backup"
        ) from error
    close, volume = broker.last_close, broker.last_volume
    same_strategy = strategy.identity == identity(config)
    last_bar_at = stored.last_bar_at
    if (stored.symbol, stored.interval) != (config.symbol, config.interval):
        if account.is_busy:
            raise CheckpointDamaged(
                f"bot {bot_id} still holds a position or an open order in {stored.symbol} "
                f"({stored.interval}): set symbol and data.interval back and let it close the position "
                "before changing them"
            )
        # dust is counted in the market's base currency
        last_bar_at, close, volume, account = None, None, Decimal(0), replace(account, dust=Decimal(0))
    return Restored(
        state=BotState(
            account=account, last_bar_at=last_bar_at, last_close=close, last_volume=volume, bars=stored.bars
        ),
        strategy_state=strategy.state if same_strategy else {},
        opening=account.cash if close is None else None,
        dropped=None if same_strategy else strategy.identity,
    )


def identity(config: BotConfig) -> list[str]:
    """What a strategy's state belongs to: another strategy or mixin can't go on from it."""
    return [config.strategy_type, config.entry.name, config.exit.name]


def _read(kind: type[T], document: object, column: str) -> T:
    """A column's document: going on without it would forget a position."""
    if isinstance(document, Unreadable):
        raise CheckpointDamaged(f"{column} {document.reason}")
    return validated(kind, document, column)
