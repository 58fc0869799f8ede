"""The tables of the run protocol and the functions of `fleet.trading_service` on them, in memory.

Each method has the name, the arguments and the answer of the function that it stands for, and takes effect at one
moment; its conditions are in guards.py. That model and SQL agree is not assumed: calls can be recorded with their
answers, and replay.py repeats them on PostgreSQL.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from fleet.errors import DatabaseAway, FencedError
from fleet.states import BotStatus, ExitReason
from fleet.trading_service.bots import HISTORY_LIMIT, BotRecord, Notification, RunRecord
from fleet.trading_service.lease import Claim, HeartbeatReply, RunId
from fleet.trading_service.runs import QuietRun, ShardLease, Watch, WatchLimits
from fleet.trading_service.starts import LONGEST_CLAIM_S, SAMPLE_AGE_S, SAMPLES, StartFacts, StartingRun
from tests.simulation.guards import GUARDS, Call, stalled
from tests.simulation.times import START


@dataclass
class Run:
    """A row of trading_runs; `record` is what everybody reads."""

    record: RunRecord
    config: object
    limits: Mapping[str, Any] | None = None

    @property
    def current(self) -> bool:
        return self.record.ended_at is None

    def set(self, **changes: Any) -> None:
        self.record = replace(self.record, **changes)


@dataclass
class Bot:
    """A row of trading_bots with its runs, oldest first.

    Attributes:
        holding: it has an open position.
        held: a person's open transaction has locked the row.
        held_epoch: the run whose row a person has locked.
    """

    id: int
    config: object
    updated_at: datetime
    user_id: int = 1
    enabled: bool = True
    archived: bool = False
    version: int = 1
    status: BotStatus = BotStatus.STOPPED
    message: str | None = None
    error_count: int = 0
    holding: bool = False
    held: bool = False
    held_epoch: int | None = None
    runs: list[Run] = field(default_factory=list)

    @property
    def current(self) -> Run | None:
        return self.runs[-1] if self.runs and self.runs[-1].current else None

    @property
    def wanted(self) -> bool:
        return self.enabled and not self.archived

    def run(self, epoch: int) -> Run | None:
        return next((run for run in self.runs if run.record.epoch == epoch), None)


@dataclass
class Shard:
    """The row of controller_shards: the controllers' lease on all bots."""

    epoch: int = 0
    holder: str | None = None
    renewed_at: datetime | None = None


@dataclass(frozen=True)
class Operation:
    """A call that took effect, or was refused, at one moment. `answer` may be the class of an error."""

    at: datetime
    name: str
    arguments: Mapping[str, Any]
    answer: object

    def __str__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"{self.at:%H:%M:%S.%f} {self.name}({given}) -> {self.answer!r}"


P = ParamSpec("P")
T = TypeVar("T")


def _recorded(method: Callable[Concatenate[Database, P], T]) -> Callable[Concatenate[Database, P], T]:
    signature = inspect.signature(method)

    @wraps(method)
    def call(self: Database, *args: P.args, **kwargs: P.kwargs) -> T:
        if self.recorded is None:
            return method(self, *args, **kwargs)
        given = dict(signature.bind(self, *args, **kwargs).arguments)
        del given["self"]
        try:
            answer = method(self, *args, **kwargs)
        except (DatabaseAway, FencedError) as error:
            self.recorded.append(Operation(self.clock(), method.__name__, given, type(error)))
            raise
        self.recorded.append(Operation(self.clock(), method.__name__, given, answer))
        return answer

    return call


class Database:
    """The tables.

    Args:
        clock: the database's.
        record: keep every call with its answer in `recorded`.

    Attributes:
        read_only: a failover's replica, a full disk: reads succeed, no write does.
        runs_locked: a person has locked trading_runs, so that only reads succeed there.
    """

    def __init__(self, clock: Callable[[], datetime], *, record: bool = False) -> None:
        self.clock = clock
        self.recorded: list[Operation] | None = [] if record else None
        self.bots: dict[int, Bot] = {}
        self.shard = Shard()
        self.notifications: dict[str, Notification] = {}
        self.read_only = self.runs_locked = False

    # -- what people do ----------------------------------------------------------------------------------------

    @_recorded
    def insert_bot(self, bot_id: int, config: object, *, user_id: int = 1, holding: bool = False) -> None:
        """A new row that is enabled; `holding`: with an open position."""
        self.bots[bot_id] = Bot(bot_id, config, self.clock(), user_id=user_id, holding=holding)

    @_recorded
    def edit_bot(self, bot_id: int, *, config: object, enabled: bool, archived: bool = False) -> None:
        """Write desired columns. The row must not be held: its holder would have to let go first."""
        bot = self.bots[bot_id]
        desired = (config, enabled)
        if (desired, archived) != ((bot.config, bot.enabled), bot.archived):
            bot.updated_at = self.clock()
        bot.version += desired != (bot.config, bot.enabled)
        bot.config, bot.enabled, bot.archived = config, enabled, archived

    @_recorded
    def hold_bot(self, bot_id: int, hold: bool) -> None:
        """Lock the row as an uncommitted change does, or let go."""
        self.bots[bot_id].held = hold

    @_recorded
    def hold_run(self, bot_id: int, epoch: int | None) -> None:
        """Lock the row of a run; None: let go."""
        self.bots[bot_id].held_epoch = epoch

    @_recorded
    def lock_runs(self, hold: bool) -> None:
        """Lock trading_runs for everything but reads, or let go."""
        self.runs_locked = hold

    @_recorded
    def set_read_only(self, read_only: bool) -> None:
        """For all but people."""
        self.read_only = read_only

    # -- how a call finds its rows -----------------------------------------------------------------------------

    def _writable(self, *, runs: bool = True) -> None:
        if self.read_only or (runs and self.runs_locked):
            raise DatabaseAway("nothing can be written")

    def _holds(self, name: str, bot: Bot | None, run: Run | None, **given: Any) -> bool:
        record = None if run is None else run.record
        call = Call(now=self.clock(), bot=bot, run=record, shard=self.shard, given=given)
        return all(condition(call) for condition in GUARDS[name].values())

    def _row(self, name: str, bot_id: int, epoch: int, **given: Any) -> tuple[Bot, Run] | None:
        """The run, if the guards of `name` hold; who holds its row keeps everybody waiting who would change it."""
        bot = self.bots.get(bot_id)
        run = None if bot is None else bot.run(epoch)
        if bot is None or run is None or not self._holds(name, bot, run, **given):
            return None
        if bot.held_epoch == epoch:
            raise DatabaseAway("the run's row is locked")
        return bot, run

    # -- fleet.trading_service.lease ---------------------------------------------------------------------------

    @_recorded
    def claim(self, run: RunId, *, node: str | None = None) -> Claim:
        self._writable()
        found = self._row("claim", run.bot_id, run.epoch, token=run.token)
        if found is None:
            raise FencedError("it isn't waiting for a process")
        bot, row = found
        now = self.clock()
        row.set(
            claimed_by=run.token,
            claimed_at=row.record.claimed_at or now,
            node=node or row.record.node,
            heartbeat_at=now,
            progress_at=now,
        )
        version, closes_out = row.record.config_version, row.record.closes_out
        return Claim(bot.user_id, name_of(bot.id), row.config, version, row.limits, closes_out)  # type: ignore[arg-type]

    @_recorded
    def heartbeat(
        self, run: RunId, *, progress_age_s: float, phase: str | None = None, waiting: bool = False
    ) -> HeartbeatReply:
        self._writable()
        found = self._row("heartbeat", run.bot_id, run.epoch, token=run.token)
        if found is None:
            raise FencedError("it is no longer current")
        bot, row = found
        now = self.clock()
        row.set(heartbeat_at=now, progress_at=now - timedelta(seconds=progress_age_s), phase=phase)
        if waiting:
            row.set(waited_at=now)
        record = row.record
        asked = record.stop_requested_at is not None
        if bot.status is BotStatus.STARTING and record.live_at is not None and not asked and not bot.held:
            bot.status = BotStatus.RUNNING
        return HeartbeatReply(asked, record.stop_reason, row.limits)

    @_recorded
    def mark_live(self, run: RunId) -> None:
        self._writable()
        found = self._row("mark_live", run.bot_id, run.epoch, token=run.token)
        if found is not None:
            found[1].set(live_at=self.clock(), progress_at=self.clock(), phase=None)

    @_recorded
    def release(
        self,
        run: RunId,
        *,
        exit_code: int,
        reason: ExitReason,
        error_message: str | None = None,
        stuck: bool = False,
    ) -> bool:
        self._writable()
        found = self._row("release", run.bot_id, run.epoch, token=run.token)
        if found is None:
            return False
        row = found[1]
        recorded, message = _end_of_release(row.record, reason, error_message, stuck=stuck)
        row.set(ended_at=self.clock(), exit_reason=recorded, exit_code=exit_code, error_message=message)
        return True

    # -- fleet.trading_service.runs ----------------------------------------------------------------------------

    @_recorded
    def start_run(
        self,
        lease: ShardLease | None,
        bot_id: int,
        epoch: int,
        *,
        config_version: int,
        controller: str,
        runtime: str,
        pod_name: str,
        closes_out: bool = False,
    ) -> bool:
        self._writable()
        bot = self.bots.get(bot_id)
        given = {"epoch": epoch, "config_version": config_version, "lease": lease}
        if bot is None or not self._holds("start_run", bot, None, **given):
            return False
        record = RunRecord(
            epoch=epoch, config_version=config_version, pod_name=pod_name, pod_uid=None, node=None,
            created_at=self.clock(), claimed_by=None, claimed_at=None, live_at=None, heartbeat_at=None,
            progress_at=None, phase=None, waited_at=None, stop_requested_at=None, stop_reason=None, fenced_at=None,
            ended_at=None, exit_code=None, exit_reason=None, error_message=None, closes_out=closes_out,
        )  # fmt: skip
        bot.runs.append(Run(record, bot.config))
        return True

    def _decide(self, name: str, bot_id: int, epoch: int, changes: Mapping[str, Any], **given: Any) -> bool:
        self._writable()
        found = self._row(name, bot_id, epoch, **given)
        if found is not None:
            found[1].set(**changes)
        return found is not None

    @_recorded
    def record_pod(self, lease: ShardLease | None, bot_id: int, epoch: int, *, uid: str) -> bool:
        return self._decide("record_pod", bot_id, epoch, {"pod_uid": uid}, lease=lease)

    @_recorded
    def request_stop(self, lease: ShardLease | None, bot_id: int, epoch: int, *, reason: str) -> bool:
        changes = {"stop_requested_at": self.clock(), "stop_reason": str(reason)}
        return self._decide("request_stop", bot_id, epoch, changes, lease=lease)

    @_recorded
    def adopt_config(
        self,
        lease: ShardLease | None,
        bot_id: int,
        epoch: int,
        *,
        config_version: int,
        limits: Mapping[str, Any] | None,
    ) -> bool:
        changes = {"config_version": config_version}
        adopted = self._decide("adopt_config", bot_id, epoch, changes, config_version=config_version, lease=lease)
        run = self.bots[bot_id].run(epoch) if adopted else None
        if run is not None and limits is not None:
            run.limits = limits
        return adopted

    def _end(self, run: Run, reason: ExitReason, message: str | None, **more: Any) -> None:
        kept = message if run.record.error_message is None else run.record.error_message
        run.set(ended_at=self.clock(), exit_reason=reason, error_message=kept, **more)

    @_recorded
    def end_run(
        self,
        lease: ShardLease | None,
        bot_id: int,
        epoch: int,
        *,
        reason: ExitReason,
        exit_code: int | None,
        message: str | None,
    ) -> bool:
        self._writable()
        found = self._row("end_run", bot_id, epoch, lease=lease)
        if found is not None:
            self._end(found[1], reason, message, exit_code=exit_code)
        return found is not None

    @_recorded
    def explain_end(self, lease: ShardLease | None, bot_id: int, epoch: int, *, seen: str | None, message: str) -> bool:
        return self._decide("explain_end", bot_id, epoch, {"error_message": message}, seen=seen, lease=lease)

    def _fence(self, name: str, bot_id: int, epoch: int, reason: ExitReason, message: str | None, **given: Any) -> bool:
        """A fence waits for no lock: whoever holds one keeps heartbeats from being written as well."""
        if self.runs_locked:
            return False
        self._writable()
        try:
            found = self._row(name, bot_id, epoch, **given)
        except DatabaseAway:
            return False
        if found is not None:
            self._end(found[1], reason, message, fenced_at=self.clock())
        return found is not None

    @_recorded
    def fence_unclaimed(
        self,
        lease: ShardLease | None,
        bot_id: int,
        epoch: int,
        *,
        reason: ExitReason,
        message: str | None,
        decided_at: datetime,
    ) -> bool:
        return self._fence("fence_unclaimed", bot_id, epoch, reason, message, decided_at=decided_at, lease=lease)

    @_recorded
    def fence_silent(
        self,
        lease: ShardLease | None,
        bot_id: int,
        epoch: int,
        *,
        reason: ExitReason,
        message: str | None,
        decided_at: datetime,
        silent_s: float,
    ) -> bool:
        return self._fence(
            "fence_silent", bot_id, epoch, reason, message, decided_at=decided_at, silent_s=silent_s, lease=lease
        )

    @_recorded
    def fence_stop_overdue(
        self,
        lease: ShardLease | None,
        bot_id: int,
        epoch: int,
        *,
        reason: ExitReason,
        message: str | None,
        decided_at: datetime,
        asked_s: float,
        stalled_s: float | None,
    ) -> bool:
        given = {"decided_at": decided_at, "asked_s": asked_s, "stalled_s": stalled_s, "lease": lease}
        return self._fence("fence_stop_overdue", bot_id, epoch, reason, message, **given)

    @_recorded
    def prove_heartbeats(self, lease: ShardLease) -> datetime | None:
        self._writable()
        return self.clock() if self._holds("prove_heartbeats", None, None, lease=lease) else None

    @_recorded
    def locked_runs(self, bot_ids: Sequence[int]) -> set[int]:
        if not bot_ids:
            return set()
        self._writable()
        current = {bot_id: self.bots[bot_id].current for bot_id in bot_ids}
        return {
            bot_id for bot_id, run in current.items() if run is None or self.bots[bot_id].held_epoch == run.record.epoch
        }

    @_recorded
    def watch_runs(self, limits: WatchLimits) -> Watch:
        quiet, claimed = [], 0
        for bot in self.bots.values():
            if bot.current is None:
                continue
            record = bot.current.record
            beat = record.heartbeat_at or record.claimed_at or record.created_at
            mine = record.claimed_by is not None
            claimed += mine
            due = self._due(record, limits)
            if due or (mine and self._older(beat, limits.quiet_s)):
                quiet.append(QuietRun(bot.id, mine, beat, due))
        return Watch(self.clock(), claimed, tuple(quiet))

    def _due(self, record: RunRecord, limits: WatchLimits) -> bool:
        beat = record.heartbeat_at or record.claimed_at or record.created_at
        if record.live_at is None:
            begun = max((at for at in (record.claimed_at, record.waited_at) if at is not None), default=None)
            stuck = self._older(begun, limits.start_s)
        else:
            stuck = stalled(record, limits.stalled_s)
        silent = self._older(beat, limits.claim_s if record.claimed_by is None else limits.dead_s)
        return silent or stuck or self._older(record.stop_requested_at, limits.asked_s)

    def _older(self, moment: datetime | None, seconds: float) -> bool:
        return moment is not None and moment < self.clock() - timedelta(seconds=seconds)

    @_recorded
    def load_run_config(self, bot_id: int, epoch: int) -> object:
        run = self.bots[bot_id].run(epoch)
        return None if run is None else run.config

    # -- fleet.trading_service.bots ----------------------------------------------------------------------------

    @_recorded
    def load_bot(self, bot_id: int) -> BotRecord | None:
        bot = self.bots.get(bot_id)
        if bot is None:
            return None
        return BotRecord(
            id=bot.id,
            user_id=bot.user_id,
            name=name_of(bot.id),
            enabled=bot.enabled,
            archived=bot.archived,
            config_version=bot.version,
            status=bot.status,
            error_message=bot.message,
            error_count=bot.error_count,
            updated_at=bot.updated_at,
            holding=bot.holding,
            now=self.clock(),
            runs=tuple(run.record for run in bot.runs[: -HISTORY_LIMIT - 1 : -1]),
        )

    @_recorded
    def load_config(self, bot_id: int, config_version: int) -> object:
        bot = self.bots[bot_id]
        return bot.config if bot.version == config_version else None

    @_recorded
    def update_bot_status(
        self, bot_id: int, *, seen: BotStatus, status: BotStatus, message: str | None, error_count: int
    ) -> bool:
        self._writable(runs=False)
        bot = self.bots[bot_id]
        if not self._holds("update_bot_status", bot, None, seen=seen):
            return False
        bot.status, bot.message, bot.error_count = status, message, error_count
        return True

    @_recorded
    def add_notification(self, notification: Notification) -> bool:
        self._writable(runs=False)
        new = notification.key not in self.notifications
        self.notifications.setdefault(notification.key, notification)
        return new

    # -- fleet.trading_service.starts --------------------------------------------------------------------------

    @_recorded
    def start_facts(self) -> StartFacts:
        now = self.clock()
        starting, spans, holders = [], [], []
        for bot in self.bots.values():
            shown = bot.status not in (BotStatus.ERROR, BotStatus.DISABLED)
            if bot.current is None and bot.holding and bot.wanted and shown:
                holders.append(bot.id)
            for run in bot.runs:
                record = run.record
                if self._measured(record):
                    assert record.live_at is not None
                    spans.append((record.live_at, bot.id, record.created_at))
                if run.current and record.live_at is None:
                    starting.append(StartingRun(
                        bot.id, bot.user_id, record.epoch, record.created_at, record.claimed_at, record.waited_at,
                        bot.holding, False,
                    ))  # fmt: skip
        spans.sort(key=lambda span: (now - span[0], span[1]))
        ages = [((now - begun).total_seconds(), (now - live).total_seconds()) for live, _, begun in spans[:SAMPLES]]
        return StartFacts(now, tuple(starting), tuple(ages), tuple(holders))

    def _measured(self, record: RunRecord) -> bool:
        """Whether the start of a run says how long starts take."""
        if record.live_at is None or record.claimed_at is None or record.waited_at is not None:
            return False
        soon = record.claimed_at < record.created_at + timedelta(seconds=LONGEST_CLAIM_S)
        return soon and record.live_at > self.clock() - timedelta(seconds=SAMPLE_AGE_S)

    # -- fleet.trading_service.shards --------------------------------------------------------------------------

    @_recorded
    def acquire_shard(self, shard: int, *, holder: str, ttl_s: float) -> ShardLease | None:
        self._writable(runs=False)
        if not self._holds("acquire_shard", None, None, holder=holder, ttl_s=ttl_s):
            return None
        self.shard = Shard(self.shard.epoch + 1, holder, self.clock())
        return ShardLease(shard, self.shard.epoch)

    @_recorded
    def renew_shard(self, lease: ShardLease) -> bool:
        self._writable(runs=False)
        if not self._holds("renew_shard", None, None, lease=lease):
            return False
        self.shard.renewed_at = self.clock()
        return True


def first_difference(recorded: Sequence[Operation]) -> int | None:
    """Where the model, as it is now, would answer otherwise than was recorded."""
    now = [START]
    database = Database(lambda: now[0])
    for number, operation in enumerate(recorded):
        now[0] = operation.at
        try:
            answer = getattr(database, operation.name)(**operation.arguments)
        except (DatabaseAway, FencedError) as error:
            answer = type(error)
        if answer != operation.answer:
            return number
    return None


def name_of(bot_id: int) -> str:
    """The bot's name in its row."""
    return f"bot {bot_id}"


def _end_of_release(
    record: RunRecord, reason: ExitReason, message: str | None, *, stuck: bool
) -> tuple[ExitReason, str | None]:
    """What is recorded of a bot's own end: the row knows better than the bot whether it was asked for."""
    if reason is not ExitReason.RELEASED or record.stop_requested_at is None:
        return reason, message
    match record.stop_reason:
        case "stopped" | "superseded":
            return ExitReason(record.stop_reason), None
        case "hung" if stuck:
            last = f"; last: {record.phase}" if record.live_at is None and record.phase is not None else ""
            return ExitReason.FENCED_HUNG, f"its main loop made no progress and did not leave when asked to{last}"
        case "hung":
            return reason, "its main loop had made no progress; asked to stop, it ended in good order"
        case _:
            return reason, None
