"""The last thing before the ledger: a bar with orders is committed only while the bot has the right to trade."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from botrunner.process.fence import Fence
from botrunner.process.progress import Progress
from botrunner.process.stop import StopSwitch
from botrunner.trading.state import BarOutcome
from fleet.clock import Clock
from fleet.errors import FencedError
from fleet.events import Event

RIGHT_CHECK_S = 0.2
"""Between two looks whether a heartbeat gave the right to trade back."""


class FencedCommit:
    """Makes what a bot did durable, together with what people should be told of it.

    Args:
        bot_id: for the error.
        commit: the ledger's. Raises FencedError.
        fence: knows whether the right to trade is fresh.
        stop, progress, clock: of the main loop, which waits here.
    """

    def __init__(
        self,
        commit: Callable[[BarOutcome], None],
        *,
        bot_id: int,
        fence: Fence,
        stop: StopSwitch,
        progress: Progress,
        clock: Clock,
    ) -> None:
        self._commit = commit
        self._bot_id = bot_id
        self._fence = fence
        self._stop = stop
        self._progress = progress
        self._clock = clock
        self._events: list[Event] = []

    def tell(self, event: Event) -> None:
        """People should be told this; it is committed with the bar."""
        self._events.append(event)

    def __call__(self, outcome: BarOutcome) -> None:
        """Commit; with orders in it, wait until the right to trade is fresh.

        Raises:
            FencedError: the run is lost, or a stop came while the right was: nothing of the bar happened.
        """
        while outcome.orders and not self._fence.may_send(self._clock.monotonic()):
            if self._fence.lost or self._stop.requested:
                raise FencedError(f"bot {self._bot_id} has no right to trade: no heartbeat was acknowledged in time")
            self._progress.made()
            self._clock.sleep(RIGHT_CHECK_S)
        events, self._events = self._events, []
        self._commit(replace(outcome, events=(*outcome.events, *events)) if events else outcome)
