"""What can be done for a bot: the planner's actions, each a value, to be carried out in order by `act.executor`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from controller.decide.condition import Condition
from controller.decide.facts import PodFacts, StopReason
from fleet.events import EventKind
from fleet.states import BotStatus, ExitReason


@dataclass(frozen=True, slots=True)
class StartRun:
    """Commit the run of this epoch with a snapshot of this config version.

    Attributes:
        closes_out: it is to close what the bot holds, without the strategy, and to end.
    """

    epoch: int
    config_version: int
    closes_out: bool = False


@dataclass(frozen=True, slots=True)
class CreatePod:
    """Create the pod of the current run, which has none."""

    epoch: int


@dataclass(frozen=True, slots=True)
class DeletePod:
    """Delete exactly this object, with the normal grace period."""

    pod: PodFacts


@dataclass(frozen=True, slots=True)
class RequestStop:
    """Ask the current run to end, through the reply to its next heartbeat."""

    epoch: int
    reason: StopReason


@dataclass(frozen=True, slots=True)
class EndRun:
    """Record the end of a run whose process is known to be dead."""

    epoch: int
    reason: ExitReason
    exit_code: int | None
    message: str | None


@dataclass(frozen=True, slots=True)
class ExplainEnd:
    """Say of an ended run what its pod tells about its end, if its row still says what was read."""

    epoch: int
    seen: str | None
    message: str


class Guard(StrEnum):
    """What must still be true in the database at the moment of fencing."""

    UNCLAIMED = "unclaimed"
    SILENT = "silent"
    STOP_OVERDUE = "stop_overdue"


@dataclass(frozen=True, slots=True)
class FenceRun:
    """Take away a run's right to trade, if the guard still holds."""

    epoch: int
    reason: ExitReason
    guard: Guard
    message: str | None


@dataclass(frozen=True, slots=True)
class AdoptConfig:
    """Make the row's version the run's own without a restart, and hand its hot sections over."""

    epoch: int
    config_version: int


@dataclass(frozen=True, slots=True)
class SetStatus:
    """Write what people read."""

    status: BotStatus
    message: str | None
    error_count: int


@dataclass(frozen=True, slots=True)
class Notify:
    """Tell the bot's tenant, once per key."""

    kind: EventKind
    title: str
    body: str
    key: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again at this time, by the database's clock, if nothing happens before."""

    until: datetime


Action = (
    StartRun
    | CreatePod
    | DeletePod
    | RequestStop
    | EndRun
    | ExplainEnd
    | FenceRun
    | AdoptConfig
    | SetStatus
    | Notify
    | Wait
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, in this order, and the condition it follows from. No actions: at rest."""

    condition: Condition
    actions: tuple[Action, ...] = ()

    @property
    def starts(self) -> bool:
        """Whether it begins a run: what needs admission."""
        return any(isinstance(action, StartRun) for action in self.actions)

    @property
    def until(self) -> datetime | None:
        """When to look again at the latest."""
        return min((action.until for action in self.actions if isinstance(action, Wait)), default=None)
