"""Where a process can die on an order's way, and what makes it die there."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from botrunner.trading.order_ids import Leg


class KillPoint(Enum):
    """Each place between decision, wire and book, with what recovery has to do from it."""

    BEFORE_INTENT_COMMIT = "nothing is known of the order: the bar is decided again, with the same id"
    AFTER_INTENT_COMMIT = "it never left, which nobody knows: looked up, and given up only with proof"
    AFTER_CHECK = "the same; the right to trade was there"
    DURING_SEND = "it is on its way: looked up until it shows, or can't any more"
    AFTER_ANSWER = "it is at the exchange: looked up and found"
    AFTER_REPORT_COMMIT = "everything is known"
    DURING_LOOK_UP = "nothing changed: looked up again"


class Killed(BaseException):
    """Stands for SIGKILL: nothing may catch it."""


class KillSwitch:
    """Kills where it is told to.

    Args:
        dies: asked at each point, with the leg of the order that it is about.
    """

    def __init__(self, dies: Callable[[KillPoint, Leg | None], bool] = lambda _point, _leg: False) -> None:
        self._dies = dies
        self.killed: list[tuple[KillPoint, Leg | None]] = []

    def passes(self, point: KillPoint, leg: Leg | None = None) -> None:
        """A process passes a point."""
        if self._dies(point, leg):
            self.killed.append((point, leg))
            raise Killed(point.name)
