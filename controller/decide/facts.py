"""What the planner knows about one bot: frozen facts, each from one source, all times by the database's clock.

The row and its runs come from PostgreSQL, pods from the runtime's watch. Nothing here is a guess: what isn't
known is None or absent, and the planner has an answer for that too. Pure: no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from fleet.states import BotStatus, ExitReason


class PodPhase(StrEnum):
    """How far a pod's container got, and who says so."""

    PENDING = "pending"
    """Not started: scheduling, pulling the image, creating the container."""
    RUNNING = "running"
    """Started, as far as is known. A lost node's pods stay in this phase."""
    TERMINATED = "terminated"
    """The kubelet (or the kernel) reported the end of the process: a proof of death."""
    FAILED = "failed"
    """The pod is over but nobody saw its process end (evicted, collected): no proof."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodFacts:
    """One pod, or one local process, that carries a bot's labels.

    Attributes:
        uid: of this object; another pod of the same name has another.
        epoch: from the label; 0 when it isn't readable.
        deleting: its deletion was asked for, by us or somebody else.
        gone: the object is deleted and this is its last known state; kept until its end is recorded.
        exit_code: of a terminated container; None where nobody could know it.
        reason: in the kubelet's words: OOMKilled, Error, Evicted.
        message: last words of the container, in one line, capped.
        waiting: why it isn't running yet: `ImagePullBackOff: ...`, `Unschedulable: ...`.
        disruption: who ended it, or is about to, when it wasn't the bot: `Evicted: The node was low on ...`.
        memory_limit: of its container, as its spec says: `256Mi`.
        node_lost: its node doesn't answer the control plane.
        placed: a node was found for it (always true of a process).
        placed_at: when, by the API server's clock; None where it isn't told.
    """

    bot_id: int
    epoch: int
    name: str
    uid: str
    phase: PodPhase
    deleting: bool = False
    gone: bool = False
    exit_code: int | None = None
    reason: str = ""
    message: str = ""
    waiting: str = ""
    disruption: str = ""
    memory_limit: str = ""
    node: str = ""
    node_lost: bool = False
    placed: bool = True
    placed_at: datetime | None = None

    @property
    def may_run(self) -> bool:
        """Whether its process may exist now or later, as far as this object tells."""
        return not self.gone and self.phase in (PodPhase.PENDING, PodPhase.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class BotFacts:
    """The bot's row.

    Attributes:
        wanted: enabled and not archived.
        invalid: what is wrong with the config of this version; None when it is valid.
        must_close: it has an open position, and its config wants that closed when the bot is given up.
    """

    bot_id: int
    wanted: bool
    config_version: int
    invalid: str | None
    status: BotStatus
    error_message: str | None
    error_count: int
    must_close: bool = False


class StopReason(StrEnum):
    """Why a run is asked to end (`trading_runs.stop_reason`)."""

    STOPPED = "stopped"
    """The bot is disabled or archived."""
    SUPERSEDED = "superseded"
    """A newer config version takes over."""
    HUNG = "hung"
    """Its main loop makes no progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """The newest run.

    Attributes:
        pod_uid: of the pod that was created for it; None as long as no create was acknowledged.
        phase: what its start is at, in the bot's words; None once it is live.
        waited_at: when a heartbeat last said that its start waits for the exchange.
        outdated: the row's config is valid and differs from this run's in more than a running bot takes over.
        waits_until_flat: its config lets a stop wait for the strategy to close its position (`wait_flat`).
        trouble: what the last request about its pod met with, when none has succeeded since.
        waits_for: what the bot itself says it waits for, e.g. the end of its exchange's pause; foreign words, cleaned.
    """

    epoch: int
    config_version: int
    created_at: datetime
    ended: bool = False
    pod_uid: str | None = None
    claimed_by: str | None = None
    claimed_at: datetime | None = None
    live_at: datetime | None = None
    heartbeat_at: datetime | None = None
    progress_at: datetime | None = None
    phase: str | None = None
    waited_at: datetime | None = None
    stop_requested_at: datetime | None = None
    stop_reason: str | None = None
    outdated: bool = False
    waits_until_flat: bool = False
    trouble: str | None = None
    waits_for: str | None = None

    @property
    def claimed(self) -> bool:
        """Whether a process has made this run its own."""
        return self.claimed_by is not None

    @property
    def beat_at(self) -> datetime:
        """The last sign of life: what the fence's condition in the database measures too."""
        return self.heartbeat_at or self.claimed_at or self.created_at

    @property
    def advanced_at(self) -> datetime:
        """The main loop's last progress."""
        return self.progress_at or self.claimed_at or self.created_at

    @property
    def waits(self) -> bool:
        """Whether its last heartbeat said that the start waits for the exchange."""
        if self.live_at is not None or self.waited_at is None:
            return False
        return self.beat_at - self.waited_at < timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnd:
    """A run that is over; the planner gets the newest ones, newest first.

    Attributes:
        closes_out: it was to close what the bot holds, and nothing else.
    """

    epoch: int
    config_version: int
    reason: ExitReason
    created_at: datetime
    ended_at: datetime
    claimed_at: datetime | None = None
    live_at: datetime | None = None
    exit_code: int | None = None
    message: str | None = None
    closes_out: bool = False

    @property
    def lived(self) -> timedelta:
        """From the claim, or nothing when there was none."""
        return self.ended_at - self.claimed_at if self.claimed_at else timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObserverFacts:
    """How far the controller may trust its own view.

    Attributes:
        connected_since: since when, by the database's clock, it has watched the database without a gap.
        suspicious: so many heartbeats vanished at once that the observer itself may be at fault.
    """

    connected_since: datetime
    suspicious: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Times in seconds, and counts; see `controller.settings` for where they come from.

    Attributes:
        t_stop_s: after so long without an acknowledged heartbeat a bot sends no order.
        t_dead_s: after so long without a heartbeat a run may be fenced.
        heartbeat_interval_s: between two heartbeats of one bot.
        contact_gap_s: without an answer of the database for longer, T_dead counts anew. With the heartbeat interval
            and a reconnect (10 s at most) it must stay below T_dead.
        claim_deadline_s: from when the pod could run (it has a node) to its claim.
        start_deadline_s: from the claim to live. Time in which the bot waits for the exchange doesn't count.
        hung_after_s: a live bot without progress of the main loop, heartbeats notwithstanding.
        grace_s: from SIGTERM to SIGKILL.
        stop_slack_s: added to the grace period before a run that ignores its stop is fenced.
        backoff_first_s, backoff_max_s: second restart after a failure (the first, if it never went live), and the
            longest wait.
        quick_first_s, quick_max_s: the same for ends that aren't the bot's fault but come too often.
        quick_life_s: a run that ends without fault sooner than this counts as too soon.
        quick_told: after so many of them in a row the bot's tenant is told.
        healthy_s: a run that lived so long resets the backoff.
        give_up_failures: so many counted failures of one config version within give_up_window_s disable the bot.
        close_out_tries: so many runs that were to close a given up bot's position may fail before it is left open.
        mass_minimum: from so many running bots on, a mass death makes the observer suspect.
    """

    t_stop_s: float = 15
    t_dead_s: float = 35
    heartbeat_interval_s: float = 5
    contact_gap_s: float = 10
    claim_deadline_s: float = 120
    start_deadline_s: float = 600
    hung_after_s: float = 30
    grace_s: float = 30
    stop_slack_s: float = 5
    backoff_first_s: float = 5
    backoff_max_s: float = 300
    quick_first_s: float = 1
    quick_max_s: float = 60
    quick_life_s: float = 60
    quick_told: int = 6
    healthy_s: float = 600
    give_up_failures: int = 6
    give_up_window_s: float = 1800
    close_out_tries: int = 3
    mass_minimum: int = 20
