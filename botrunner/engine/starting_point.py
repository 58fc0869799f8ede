"""Where a run begins: behind the last committed bar; without one in this market, behind the newest closed candle."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Protocol

from botrunner.trading.account import Account
from botrunner.trading.state import BotState
from fleet.log import get_logger
from fleet.times import from_ms

log = get_logger("bot")

Resumed = tuple[BotState, dict[str, Any]]
"""The bot's state and its strategy's, as a checkpoint has them."""


class FirstCheckpoint(Protocol):
    """Stores where a bot begins (`botrunner.ledger.ledger.Ledger`)."""

    def begin(self, state: BotState, strategy_state: dict[str, Any]) -> Resumed:
        """Store it; what is stored in the end, which another process may have been quicker with."""


def starting_point(
    resumed: Resumed | None,
    *,
    cash: Decimal,
    newest_closed_ms: Callable[[], int | None],
    ledger: FirstCheckpoint,
) -> Resumed:
    """Go on from the checkpoint; where it knows no bar of this market, begin behind the newest closed candle.

    Args:
        resumed: of the checkpoint; None for a bot that never had one. One without `last_bar_at` is that of a bot whose
            market was changed: money, counters and the strategy's state go on.
        cash: of a new bot, quote currency.
        newest_closed_ms: open time of the newest closed candle; None: begin with the first there is.
        ledger: the first checkpoint is committed before the first bar.

    Raises:
        ExchangeAway: a stop was asked for before the exchange answered. FencedError: the run isn't current.
    """
    if resumed is not None and resumed[0].last_bar_at is not None:
        state = resumed[0]
        log.info("resumed", last_bar_at=state.last_bar_at, bars=state.bars, in_position=bool(state.account.trade))
        return resumed
    begin_ms = newest_closed_ms()
    state, strategy_state = resumed if resumed is not None else (BotState(account=Account(cash=cash)), {})
    begun = BotState(
        account=state.account, last_bar_at=None if begin_ms is None else from_ms(begin_ms), bars=state.bars
    )
    log.info("begins", after_bar_at=begun.last_bar_at, balance=str(begun.account.cash))
    return ledger.begin(begun, strategy_state)
