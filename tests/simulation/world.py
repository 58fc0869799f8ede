"""A deterministic world: database, cluster, bots and controllers on one simulated clock.

The controllers run the real StrategyManager, planner and PodStore. Their coroutines are driven by hand, one await at
a time, in an order that the seed decides, so every interleaving of two controllers, their database and their cluster
can happen, and happens again with the same seed. The database has the conditions of `fleet.trading_service.runs`,
each applied at one moment; the integration tests hold the real SQL to the same behaviour.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from controller.act.runtime import RuntimeAway
from controller.act.starts import Capacity, Starts
from controller.decide.facts import PodFacts, PodPhase, Policy
from controller.decide.pod_events import PodEvent
from controller.decide.podspec import PodRequest
from controller.manager import StrategyManager
from controller.metrics import Metrics
from controller.observe.heartbeats import HeartbeatWatch
from controller.observe.observer import Contact, Observer
from controller.observe.pods import PodStore
from fleet.errors import DatabaseAway, TransientError
from fleet.states import COUNTED_FAILURES, BotStatus, ExitReason
from fleet.trading_service.bots import BotRecord, Notification, RunRecord
from fleet.trading_service.runs import DECISION_VALID_S, QuietRun, Watch, WatchLimits
from fleet.trading_service.starts import StartFacts, StartingRun

TICK_S = 0.5
START = datetime(2026, 11, 24, tzinfo=UTC)

POLICY = Policy(
    t_stop_s=3,
    t_dead_s=8,
    heartbeat_interval_s=1,
    contact_gap_s=2.5,
    claim_deadline_s=15,
    start_deadline_s=15,
    hung_after_s=6,
    grace_s=4,
    stop_slack_s=1,
    backoff_first_s=1,
    backoff_max_s=8,
    quick_first_s=0.5,
    quick_max_s=4,
    quick_life_s=5,
    healthy_s=40,
    give_up_failures=6,
    give_up_window_s=120,
)
"""The defaults, some five times faster: T_stop + two ticks of drift < T_dead, as the settings demand."""

CAPACITY = Capacity(first=4, target_s=5, where="here")
SHARD_TTL_S = 6.0
RECONNECT_S = 3
"""With the contact gap and a heartbeat interval less than T_dead, as the settings demand."""
RELIST_S = 10.0
POLL_S = 8.0


class Violation(AssertionError):
    """An invariant broke."""


@dataclass(frozen=True)
class Point:
    """Where a coroutine hands control back to the scheduler."""

    def __await__(self) -> Generator[None]:
        yield


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
    """A row of trading_bots."""

    id: int
    config: object
    enabled: bool = True
    archived: bool = False
    version: int = 1
    status: BotStatus = BotStatus.STOPPED
    message: str | None = None
    error_count: int = 0
    locked: bool = False
    run_locked_until: float = 0.0
    holding: bool = False
    user_id: int = 1
    runs: list[Run] = field(default_factory=list)

    @property
    def current(self) -> Run | None:
        return self.runs[-1] if self.runs and self.runs[-1].current else None


@dataclass
class Process:
    """A bot's process, as it is; `faults` is what was done to it."""

    bot_id: int
    epoch: int
    uid: str
    starts_at: float
    alive: bool = True
    claimed: bool = False
    live: bool = False
    work_left_s: float = 0.0
    acked_sent_at: float = -1e9
    next_beat_at: float = 0.0
    told_to_stop: bool = False
    sigterm: bool = False
    stalled_until: float = 0.0
    cut_off_until: float = 0.0
    reconnects_at: float = 0.0
    hung: bool = False
    progress_at: float = 0.0
    kill_at: float | None = None
    exit_code: int | None = None
    died_at: datetime | None = None
    faults: set[str] = field(default_factory=set)
    fault_at: float = -1e9
    """When it was last stalled or cut off: a silence that is its own."""

    @property
    def token(self) -> str:
        """What it claims with: it names the pod."""
        return f"{self.uid}/{self.epoch}"

    def trading(self, now: float) -> bool:
        """Whether it may send an order at this moment: what must never be true of two."""
        return (
            self.alive
            and self.live
            and not self.hung
            and not self.told_to_stop
            and now >= self.stalled_until
            and now - self.acked_sent_at < POLICY.t_stop_s
        )


@dataclass
class Pod:
    """A pod object in the API server."""

    facts: PodFacts
    process: Process


class World:
    """Everything, and the clock."""

    def __init__(
        self, seed: int, *, bots: int = 2, controllers: int = 2, cores: float = 1000.0, start_work_s: float = 0.4
    ) -> None:
        self.seed = seed
        self.cores, self.start_work_s = cores, start_work_s
        self.exchange_back_at = 0.0
        self.most_starting = 0
        self.pace = 12
        """A controller takes fewer steps than this in a tick; few, so that much happens between two of them."""
        self.capacity = CAPACITY
        self.limit: int | None = None
        """Set by a test: no more starts than this may be under way at any moment."""
        self.chance = random.Random(seed)
        self.now = 0.0
        self.database_back_at = self.api_back_at = 0.0
        self.writes_back_at = self.runs_unlocked_at = 0.0
        self.chaos = True
        self.bots = {number: Bot(number, config(number)) for number in range(1, bots + 1)}
        self.pods: dict[str, Pod] = {}
        self.processes: list[Process] = []
        self.shard_epoch = 0
        self.shard_holder: str | None = None
        self.shard_renewed_at = -1e9
        self.notices: dict[str, Notification] = {}
        self.uids = 0
        self.history: list[str] = []
        self.controllers = [Controller(self, f"c{number}") for number in range(controllers)]

    # -- the clock ---------------------------------------------------------------------------------------------

    @property
    def clock(self) -> datetime:
        return START + timedelta(seconds=self.now)

    @property
    def database_up(self) -> bool:
        return self.now >= self.database_back_at

    @property
    def writable(self) -> bool:
        """Whether anything can be written; reads may succeed even if not."""
        return self.database_up and self.now >= self.writes_back_at

    @property
    def runs_writable(self) -> bool:
        """Whether rows of trading_runs can be: nobody holds a lock on the table that leaves only reads."""
        return self.writable and self.now >= self.runs_unlocked_at

    def run_locked(self, bot_id: int) -> bool:
        """Whether a person holds the current run's row."""
        return self.now < self.bots[bot_id].run_locked_until

    @property
    def api_up(self) -> bool:
        return self.now >= self.api_back_at

    def lose_database(self, seconds: float) -> None:
        """An outage; afterwards each bot takes a moment to reconnect."""
        self.database_back_at = max(self.database_back_at, self.now + seconds)
        for process in self.processes:
            process.reconnects_at = self.database_back_at + self.chance.choice([0, 1, RECONNECT_S])
        self.note(f"database away until {self.database_back_at}")

    def make_read_only(self, seconds: float) -> None:
        """A failover's replica, a full disk, an administrator: reads succeed, no write does."""
        self.writes_back_at = max(self.writes_back_at, self.now + seconds)
        self._wait_after(self.writes_back_at, self.processes)
        self.note(f"database read-only until {self.writes_back_at}")

    def lock_runs(self, seconds: float) -> None:
        """LOCK TABLE trading_runs: the controller's own lease, in another table, goes on."""
        self.runs_unlocked_at = max(self.runs_unlocked_at, self.now + seconds)
        self._wait_after(self.runs_unlocked_at, self.processes)
        self.note(f"trading_runs locked until {self.runs_unlocked_at}")

    def lock_run(self, bot: Bot, seconds: float) -> None:
        """SELECT ... FOR UPDATE of one run."""
        bot.run_locked_until = max(bot.run_locked_until, self.now + seconds)
        self._wait_after(bot.run_locked_until, [p for p in self.processes if p.bot_id == bot.id])
        self.note(f"bot {bot.id}: its run's row is locked until {bot.run_locked_until}")

    def _wait_after(self, moment: float, processes: list[Process]) -> None:
        """A bot whose heartbeat failed tries again a little later, not at the first moment that it could."""
        for process in processes:
            process.reconnects_at = max(process.reconnects_at, moment + self.chance.choice([0, 1, RECONNECT_S]))

    def note(self, text: str) -> None:
        self.history.append(f"{self.now:7.1f} {text}")

    def tick(self) -> None:
        """Half a second: processes live, events arrive, controllers work; then the invariants are checked."""
        self.now += TICK_S
        self._compute()
        for process in list(self.processes):
            self._live(process)
            self.check()
        for controller in self.chance.sample(self.controllers, len(self.controllers)):
            controller.work()

    def check(self) -> None:
        for bot_id in self.bots:
            trading = [p for p in self.processes if p.bot_id == bot_id and p.trading(self.now)]
            if len(trading) > 1:
                raise Violation(f"bot {bot_id}: epochs {[p.epoch for p in trading]} may trade at once")
        self._check_starts()

    def _check_starts(self) -> None:
        """No more starts at a time than were admitted."""
        if not self.limit:
            return
        begun = [bot for bot in self.bots.values() if bot.current and not bot.current.record.live_at]
        computing = [bot for bot in begun if not bot.current.record.waited_at]
        self.most_starting = max(self.most_starting, len(computing))
        if len(computing) > self.limit:
            raise Violation(f"{len(computing)} starts at once, admitted were {self.limit}")

    def judge_fence(self, bot_id: int, run: Run, reason: ExitReason) -> None:
        """A bot that lives and has had no fault of its own for T_stop must not be taken for dead."""
        for process in self.processes:
            sound = process.alive and not process.hung and self.now - process.fault_at > POLICY.t_stop_s
            if reason is ExitReason.FENCED_SILENT and process.token == run.record.claimed_by and sound:
                raise Violation(f"bot {bot_id} e{process.epoch} was fenced for the database's fault")

    # -- bots --------------------------------------------------------------------------------------------------

    def _live(self, process: Process) -> None:
        if not process.alive or self.now < process.starts_at:
            return
        if process.kill_at is not None and self.now >= process.kill_at:
            self.die(process, 137, reported=True)
            return
        if self.now < max(process.stalled_until, process.cut_off_until):
            process.fault_at = self.now
        if self.now < process.stalled_until:
            return
        if process.sigterm and not process.hung and not process.claimed:
            self.die(process, 143, reported=True)
            return
        reach = (
            self.runs_writable
            and not self.run_locked(process.bot_id)
            and self.now >= max(process.cut_off_until, process.reconnects_at)
        )
        if not process.claimed:
            if reach:
                self._claim(process)
            return
        if not process.hung:
            process.progress_at = self.now
            if not process.live and process.work_left_s <= 0 and reach and self.now >= self.exchange_back_at:
                self._go_live(process)
        if self.now >= process.next_beat_at:
            process.next_beat_at = self.now + POLICY.heartbeat_interval_s
            if reach:
                self._beat(process)
        if (process.told_to_stop or process.sigterm) and not process.hung and process.alive and reach:
            self._release(process)

    def _row(self, process: Process) -> Run | None:
        run = self.bots[process.bot_id].current
        if run is None or run.record.epoch != process.epoch or run.record.claimed_by not in (None, process.token):
            return None
        return run

    def _claim(self, process: Process) -> None:
        run = self._row(process)
        if run is None or run.record.claimed_by is not None or run.record.stop_requested_at is not None:
            self.die(process, 3, reported=True)
            return
        run.set(claimed_by=process.token, claimed_at=self.clock, heartbeat_at=self.clock, progress_at=self.clock)
        process.work_left_s = self.start_work_s
        process.claimed, process.acked_sent_at = True, self.now
        process.progress_at = self.now
        process.next_beat_at = self.now + POLICY.heartbeat_interval_s
        self.note(f"bot {process.bot_id} e{process.epoch} claimed")

    def _compute(self) -> None:
        """Half a second of CPU, shared by all that start; what waits for the exchange needs none."""
        busy = [p for p in self.processes if p.alive and p.claimed and not p.live and not p.hung]
        busy = [p for p in busy if p.work_left_s > 0 and self.now >= p.stalled_until]
        for process in busy:
            process.work_left_s -= TICK_S * min(1.0, self.cores / len(busy))

    def _go_live(self, process: Process) -> None:
        run = self._row(process)
        if run is None:
            return
        process.live = True
        run.set(live_at=self.clock)
        self.note(f"bot {process.bot_id} e{process.epoch} is live")
        for controller in self.controllers:
            if self.chance.random() < 0.8:
                controller.add(process.bot_id)

    def _beat(self, process: Process) -> None:
        run = self._row(process)
        if run is None or run.record.claimed_by is None:
            process.told_to_stop = True
            self.die(process, 3, reported=True)
            return
        age = timedelta(seconds=self.now - process.progress_at)
        run.set(heartbeat_at=self.clock, progress_at=self.clock - age)
        if not process.live and process.work_left_s <= 0 and self.now < self.exchange_back_at:
            run.set(waited_at=self.clock, phase="waits for the exchange")
        process.acked_sent_at = self.now
        if run.record.stop_requested_at is not None:
            process.told_to_stop = True
        bot = self.bots[process.bot_id]
        if (
            process.live
            and bot.status is BotStatus.STARTING
            and not bot.locked
            and run.record.stop_requested_at is None
        ):
            bot.status = BotStatus.RUNNING

    def _release(self, process: Process) -> None:
        run = self._row(process)
        process.told_to_stop = True
        if run is not None and self.chance.random() < 0.9:  # otherwise the answer is lost before it is written
            reason = {"stopped": ExitReason.STOPPED, "superseded": ExitReason.SUPERSEDED}.get(
                run.record.stop_reason or "", ExitReason.RELEASED
            )
            run.set(ended_at=self.clock, exit_reason=reason, exit_code=0)
            self.tell(process.bot_id)
        self.die(process, 0, reported=True)

    def die(self, process: Process, code: int, *, reported: bool) -> None:
        """The process ends; the kubelet reports it, or is gone itself."""
        process.alive = False
        process.exit_code, process.died_at = code, self.clock
        self.note(f"bot {process.bot_id} e{process.epoch} ended with {code}, reported={reported}")
        pod = self.pods.get(process.uid)
        if pod is None or not reported:
            if not reported:
                process.faults.add("unreported")
            return
        pod.facts = replace(pod.facts, phase=PodPhase.TERMINATED, exit_code=code)
        self.publish(pod.facts)
        if pod.facts.deleting:
            self.drop(pod)

    # -- the cluster -------------------------------------------------------------------------------------------

    def publish(self, facts: PodFacts, *, gone: bool = False) -> None:
        """Tell every watch, each after its own delay, in order."""
        for controller in self.controllers:
            controller.hear(facts, gone=gone)

    def create_pod(self, request: PodRequest) -> PodFacts | None:
        """None: the name is taken (409)."""
        if any(pod.facts.name == request.name for pod in self.pods.values()):
            return None
        self.uids += 1
        uid = f"uid{self.uids}"
        delay = self.chance.choice([0.5, 1, 1, 2, 6, 20] if self.chaos else [0.5, 1, 2])
        process = Process(request.bot_id, request.epoch, uid, self.now + delay)
        facts = PodFacts(bot_id=request.bot_id, epoch=request.epoch, name=request.name, uid=uid, phase=PodPhase.RUNNING)
        self.processes.append(process)
        self.pods[uid] = Pod(facts, process)
        self.publish(facts)
        self.note(f"pod {request.name} {uid}")
        return facts

    def delete_pod(self, uid: str) -> PodFacts | None:
        """SIGTERM now, SIGKILL after the grace period; None: no such object."""
        pod = self.pods.get(uid)
        if pod is None:
            return None
        if not pod.process.alive:
            self.drop(pod)
            return pod.facts
        pod.process.sigterm = True
        if pod.process.kill_at is None:
            pod.process.kill_at = self.now + POLICY.grace_s
        if not pod.facts.deleting:
            pod.facts = replace(pod.facts, deleting=True)
            self.publish(pod.facts)
        return pod.facts

    def drop(self, pod: Pod) -> None:
        """The object is gone."""
        self.pods.pop(pod.facts.uid, None)
        self.publish(pod.facts, gone=True)

    # -- the database's answers --------------------------------------------------------------------------------

    def record(self, bot: Bot) -> BotRecord:
        return BotRecord(
            id=bot.id,
            user_id=bot.user_id,
            name=f"bot {bot.id}",
            enabled=bot.enabled,
            archived=bot.archived,
            config_version=bot.version,
            status=bot.status,
            error_message=bot.message,
            error_count=bot.error_count,
            updated_at=START,
            holding=bot.holding,
            now=self.clock,
            runs=tuple(run.record for run in reversed(bot.runs))[:32],
        )

    def wanted(self, bot: Bot) -> bool:
        return bot.enabled and not bot.archived

    def edit(self, bot: Bot, *, document: object | None = None, enabled: bool | None = None) -> None:
        """A person changes desired columns; the notification may get lost."""
        changed = False
        if document is not None and document != bot.config:
            bot.config, changed = document, True
        if enabled is not None and enabled != bot.enabled:
            bot.enabled, changed = enabled, True
        if changed:
            bot.version += 1
            self.note(f"bot {bot.id} edited: v{bot.version} enabled={bot.enabled}")
            self.tell(bot.id)

    def tell(self, bot_id: int) -> None:
        """NOTIFY, which may get lost."""
        for controller in self.controllers:
            if self.chance.random() < 0.8:
                controller.add(bot_id)


def config(number: int, *, cold: int = 0, hot: int = 0) -> dict[str, Any]:
    """A valid config with something cold and something hot in it."""
    mixin = {"name": "RSIBBVolumeEntryMixin", "params": {}}
    return {
        "symbol": "BTCUSDT",
        "description": f"{number}/{cold}",
        "strategy": {
            "type": "CustomStrategy",
            "parameters": {"entry_logic": mixin, "exit_logic": {"name": "ATRExitMixin", "params": {}}},
        },
        "data": {"interval": "1h"},
        "risk_management": {"max_daily_trades": hot},
    }


@dataclass
class Lease:
    """A controller's view of its own lease."""

    epoch: int
    valid_until: float


class Controller:
    """A controller process: the real manager over simulated collaborators."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.generation = 0
        self.paused_until = 0.0
        self.running: dict[int, Coroutine[Any, Any, float | None]] = {}
        self.boot()

    def boot(self) -> None:
        """A fresh process: nothing remembered."""
        self.generation += 1
        self.lease: Lease | None = None
        self.next_lease_at = self.world.now
        self.next_watch_at = self.next_poll_at = self.next_relist_at = self.world.now
        self.events: list[tuple[float, PodFacts, bool]] = []
        self.due: dict[int, float] = {}
        self.failures: dict[int, int] = {}
        for coroutine in self.running.values():
            coroutine.close()
        self.running = {}
        self.again: set[int] = set()
        self.store = PodStore(self.add)
        self.starts = Starts(
            store=SimStore(self),
            pods=self.store.of,
            policy=POLICY,
            capacity=lambda: self.world.capacity,
            metrics=METRICS,
            clock=lambda: self.world.now,
            wake=self.add,
        )
        observer = Observer(Contact(POLICY.contact_gap_s))
        self.manager = StrategyManager(
            store=SimStore(self),
            runtime=SimRuntime(self),
            observer=observer,
            policy=POLICY,
            metrics=METRICS,
            starts=self.starts,
            may_act=self.may_act,
        )
        self.heartbeats = HeartbeatWatch(
            store=SimStore(self),
            observer=observer,
            pods=self.store.of,
            policy=POLICY,
            metrics=METRICS,
            interval_s=1,
            enqueue=self.add,
            clock=lambda: self.world.now,
        )
        self.listed = False

    def add(self, bot_id: int) -> None:
        if bot_id in self.running:
            self.again.add(bot_id)
        else:
            self.due[bot_id] = self.world.now

    def hear(self, facts: PodFacts, *, gone: bool) -> None:
        after = self.events[-1][0] if self.events else 0.0
        delay = self.world.chance.choice([0, 0, 0.5, 1, 4]) if self.world.chaos else 0.0
        self.events.append((max(after, self.world.now + delay), facts, gone))

    def may_act(self) -> bool:
        return self.lease is not None and self.world.now < self.lease.valid_until

    def work(self) -> None:
        """What this controller does within a tick."""
        world = self.world
        if world.now < self.paused_until:
            return
        while self.events and self.events[0][0] <= world.now:
            _, facts, gone = self.events.pop(0)
            (self.store.remove if gone else self.store.put)(facts)
        self._lease()
        if self.lease is None:
            return
        self._look()
        for _ in range(world.chance.randrange(1, world.pace)):
            self._start_some()
            if not self.running:
                break
            self._step(world.chance.choice(list(self.running)))

    def _lease(self) -> None:
        world = self.world
        if not world.writable or world.now < self.next_lease_at:
            return
        self.next_lease_at = world.now + 1
        if self.lease is None:
            free = world.shard_holder in (None, self.name) or world.now - world.shard_renewed_at > SHARD_TTL_S
            if free:
                world.shard_epoch += 1
                world.shard_holder, world.shard_renewed_at = self.name, world.now
                self.lease = Lease(world.shard_epoch, world.now + SHARD_TTL_S * 2 / 3)
                world.note(f"{self.name} leads")
        elif world.shard_epoch == self.lease.epoch:
            world.shard_renewed_at = world.now
            self.lease.valid_until = world.now + SHARD_TTL_S * 2 / 3
        else:
            world.note(f"{self.name} lost its lease")
            self.boot()  # the process ends and is started again

    def _look(self) -> None:
        world = self.world
        if world.api_up and (world.now >= self.next_relist_at or not self.listed):
            self.next_relist_at = world.now + RELIST_S
            self.store.replace_all(
                [pod.facts for pod in world.pods.values()], before=[pod.uid for pod in self.store.existing()]
            )
            self.listed = True
            for pod in self.store.existing():
                current = world.bots[pod.bot_id].current
                if current is None or current.record.epoch != pod.epoch:
                    self.add(pod.bot_id)
        if world.database_up and world.now >= self.next_poll_at:
            self.next_poll_at = world.now + POLL_S
            for bot_id in world.bots:
                self.add(bot_id)
        if world.now >= self.next_watch_at:
            self.next_watch_at = world.now + 1
            drive(self.heartbeats.look())
        if self.listed:
            drive(self.starts.wake_admitted())

    def _start_some(self) -> None:
        if not self.listed:
            return
        for bot_id, at in list(self.due.items()):
            if at <= self.world.now and bot_id not in self.running:
                del self.due[bot_id]
                self.running[bot_id] = self.manager.sync(bot_id)
                self._step(bot_id)

    def _step(self, bot_id: int) -> None:
        """One await further; a fault may hit between any two."""
        world = self.world
        try:
            self.running[bot_id].send(None)
        except StopIteration as done:
            del self.running[bot_id]
            self.failures.pop(bot_id, None)
            if done.value is not None:
                self._later(bot_id, done.value)
        except TransientError:
            del self.running[bot_id]
            self.failures[bot_id] = self.failures.get(bot_id, 0) + 1
            self._later(bot_id, min(0.5 * 2 ** self.failures[bot_id], 4))
        if bot_id not in self.running and bot_id in self.again:
            self.again.discard(bot_id)
            self.due[bot_id] = world.now

    def _later(self, bot_id: int, seconds: float) -> None:
        self.due[bot_id] = min(self.due.get(bot_id, 1e18), self.world.now + seconds)


METRICS = Metrics()


def drive(coroutine: Coroutine[Any, Any, Any]) -> None:
    """Run to the end within one moment."""
    try:
        while True:
            coroutine.send(None)
    except (StopIteration, DatabaseAway):
        return


class SimStore:
    """The database as `controller.store.Store` shows it, with outages and lost answers."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._world = controller.world
        self._generation = controller.generation

    async def _call(self, change: Callable[[], Any], *, writes: bool = False, runs: bool = False) -> Any:
        """One transaction: it may wait before, be lost after, and always takes effect at one moment."""
        await Point()
        self._reach(writes=writes, runs=runs)
        answer = change()
        if self._world.chaos and self._world.chance.random() < 0.01:
            raise DatabaseAway("the answer got lost")
        await Point()
        self._reach()
        return answer

    def _reach(self, *, writes: bool = False, runs: bool = False) -> None:
        world = self._world
        if not world.database_up:
            raise DatabaseAway("the database is away")
        if (writes and not world.writable) or (runs and not world.runs_writable):
            raise DatabaseAway("nothing can be written")

    async def _decide(
        self,
        bot_id: int,
        epoch: int,
        condition: Callable[[Run], bool],
        change: Callable[[Run], None],
        *,
        skip_locked: bool = False,
    ) -> bool:
        lease = self._controller.lease

        def apply() -> bool:
            run = self._world.bots[bot_id].current
            if lease is None or lease.epoch != self._world.shard_epoch:
                return False
            if run is None or run.record.epoch != epoch or not condition(run):
                return False
            if self._world.run_locked(bot_id):
                if skip_locked:
                    return False
                raise DatabaseAway("the run's row is locked")
            change(run)
            return True

        return bool(await self._call(apply, runs=True))

    async def load(self, bot_id: int) -> BotRecord | None:
        record: BotRecord = await self._call(lambda: self._world.record(self._world.bots[bot_id]))
        return record

    async def load_config(self, bot_id: int, config_version: int) -> object:
        bot = self._world.bots[bot_id]
        return await self._call(lambda: bot.config if bot.version == config_version else None)

    async def load_run_config(self, bot_id: int, epoch: int) -> object:
        bot = self._world.bots[bot_id]
        return await self._call(lambda: next((run.config for run in bot.runs if run.record.epoch == epoch), None))

    async def start_run(self, bot_id: int, epoch: int, *, config_version: int, pod_name: str, closes_out: bool) -> bool:
        lease, world = self._controller.lease, self._world

        def apply() -> bool:
            bot = world.bots[bot_id]
            newest = bot.runs[-1].record.epoch if bot.runs else 0
            fits = world.wanted(bot) and bot.version == config_version and bot.current is None and newest < epoch
            if not fits or lease is None or lease.epoch != world.shard_epoch:
                return False
            record = RunRecord(
                epoch=epoch, config_version=config_version, pod_name=pod_name, pod_uid=None, node=None,
                created_at=world.clock, claimed_by=None, claimed_at=None, live_at=None, heartbeat_at=None,
                progress_at=None, phase=None, waited_at=None, stop_requested_at=None, stop_reason=None, fenced_at=None, ended_at=None,
                exit_code=None, exit_reason=None, error_message=None, closes_out=closes_out,
            )  # fmt: skip
            bot.runs.append(Run(record, bot.config))
            world.note(f"bot {bot_id} e{epoch} started with v{config_version} by {self._controller.name}")
            return True

        return bool(await self._call(apply, runs=True))

    async def record_pod(self, bot_id: int, epoch: int, uid: str) -> bool:
        return await self._decide(bot_id, epoch, lambda _: True, lambda run: run.set(pod_uid=uid))

    async def request_stop(self, bot_id: int, epoch: int, reason: str) -> bool:
        return await self._decide(
            bot_id,
            epoch,
            lambda run: run.record.stop_requested_at is None,
            lambda run: run.set(stop_requested_at=self._world.clock, stop_reason=str(reason)),
        )

    async def adopt_config(
        self, bot_id: int, epoch: int, *, config_version: int, limits: Mapping[str, Any] | None
    ) -> bool:
        def change(run: Run) -> None:
            run.set(config_version=config_version)
            run.limits = limits

        return await self._decide(bot_id, epoch, lambda run: run.record.config_version < config_version, change)

    async def end_run(
        self, bot_id: int, epoch: int, *, reason: ExitReason, exit_code: int | None, message: str | None
    ) -> bool:
        def change(run: Run) -> None:
            alive = [p for p in self._world.processes if p.token == run.record.claimed_by and p.alive]
            if alive:
                raise Violation(f"bot {bot_id} e{epoch} declared dead while it lives")
            run.set(ended_at=self._world.clock, exit_reason=reason, exit_code=exit_code, error_message=message)

        return await self._decide(bot_id, epoch, lambda _: True, change)

    async def explain_end(self, bot_id: int, epoch: int, *, seen: str | None, message: str) -> bool:
        world = self._world

        def apply() -> bool:
            run = next((run for run in world.bots[bot_id].runs if run.record.epoch == epoch), None)
            if run is None or run.record.ended_at is None or run.record.error_message != seen:
                return False
            run.set(error_message=message)
            return True

        return bool(await self._call(apply))

    async def _fence(
        self,
        bot_id: int,
        epoch: int,
        reason: ExitReason,
        message: str | None,
        decided_at: datetime,
        guard: Callable[[RunRecord], bool],
    ) -> bool:
        world = self._world

        def change(run: Run) -> None:
            world.note(f"bot {bot_id} e{epoch} fenced: {reason} by {self._controller.name}")
            world.judge_fence(bot_id, run, reason)
            run.set(fenced_at=world.clock, ended_at=world.clock, exit_reason=reason, error_message=message)

        fresh = timedelta(seconds=DECISION_VALID_S)
        return await self._decide(
            bot_id, epoch, lambda run: world.clock < decided_at + fresh and guard(run.record), change, skip_locked=True
        )

    def _older(self, moment: datetime | None, seconds: float) -> bool:
        return moment is not None and moment < self._world.clock - timedelta(seconds=seconds)

    def _late(self, record: RunRecord, seconds: float) -> bool:
        return record.claimed_at is not None and self._older(record.waited_at or record.claimed_at, seconds)

    @staticmethod
    def _stalled(record: RunRecord, seconds: float) -> bool:
        if record.heartbeat_at is None or record.progress_at is None:
            return False
        return record.heartbeat_at - record.progress_at > timedelta(seconds=seconds)

    async def fence_unclaimed(
        self, bot_id: int, epoch: int, *, reason: ExitReason, message: str | None, decided_at: datetime
    ) -> bool:
        return await self._fence(bot_id, epoch, reason, message, decided_at, lambda run: run.claimed_by is None)

    async def fence_silent(
        self,
        bot_id: int,
        epoch: int,
        *,
        reason: ExitReason,
        message: str | None,
        decided_at: datetime,
        silent_s: float,
    ) -> bool:
        return await self._fence(
            bot_id, epoch, reason, message, decided_at, lambda run: self._older(run.heartbeat_at, silent_s)
        )

    async def fence_stop_overdue(
        self,
        bot_id: int,
        epoch: int,
        *,
        reason: ExitReason,
        message: str | None,
        decided_at: datetime,
        asked_s: float,
        stalled_s: float | None,
    ) -> bool:
        return await self._fence(
            bot_id,
            epoch,
            reason,
            message,
            decided_at,
            lambda run: (
                self._older(run.stop_requested_at, asked_s) and (stalled_s is None or self._stalled(run, stalled_s))
            ),
        )

    async def set_status(
        self, bot_id: int, *, seen: BotStatus, status: BotStatus, message: str | None, error_count: int
    ) -> bool:
        def apply() -> bool:
            bot = self._world.bots[bot_id]
            if bot.locked or bot.status is not seen:
                return False
            bot.status, bot.message, bot.error_count = status, message, error_count
            return True

        return bool(await self._call(apply, writes=True))

    async def notify(self, notification: Notification) -> bool:
        def apply() -> bool:
            new = notification.key not in self._world.notices
            self._world.notices.setdefault(notification.key, notification)
            return new

        return bool(await self._call(apply, writes=True))

    async def prove_heartbeats(self) -> datetime | None:
        """A heartbeat for nobody."""
        lease = self._controller.lease
        self._reach(writes=True, runs=True)
        return self._world.clock if lease is not None and lease.epoch == self._world.shard_epoch else None

    async def prove_connection(self) -> None:
        """A slot is always free here."""
        self._reach()

    async def locked_runs(self, bot_ids: Sequence[int]) -> set[int]:
        """SKIP LOCKED."""
        self._reach(writes=True, runs=True)
        return {bot_id for bot_id in bot_ids if self._world.run_locked(bot_id)}

    async def watch(self, limits: WatchLimits) -> Watch:
        """The overdue query."""
        self._reach()
        world, quiet, claimed = self._world, [], 0
        for bot in world.bots.values():
            run = bot.current
            if run is None:
                continue
            record = run.record
            beat = record.heartbeat_at or record.claimed_at or record.created_at
            mine = record.claimed_by is not None
            claimed += mine
            due = (
                self._older(beat, limits.dead_s if mine else limits.claim_s)
                or (self._stalled(record, limits.stalled_s) if record.live_at else self._late(record, limits.start_s))
                or self._older(record.stop_requested_at, limits.asked_s)
            )
            if due or (mine and self._older(beat, limits.quiet_s)):
                quiet.append(QuietRun(bot.id, mine, beat, due))
        return Watch(world.clock, claimed, tuple(quiet))

    async def start_facts(self) -> StartFacts:
        """The reads of `fleet.trading_service.starts`."""
        facts: StartFacts = await self._call(self._start_facts)
        return facts

    def _start_facts(self) -> StartFacts:
        world, starting, spans, holders = self._world, [], [], []
        for bot in world.bots.values():
            if bot.current is None and bot.holding and world.wanted(bot):
                holders.append(bot.id)
            for run in bot.runs:
                record = run.record
                if record.live_at is not None and record.waited_at is None:
                    spans.append(
                        (
                            (world.clock - record.created_at).total_seconds(),
                            (world.clock - record.live_at).total_seconds(),
                        )
                    )
                if run.current and record.live_at is None:
                    starting.append(StartingRun(
                        bot.id, bot.user_id, record.epoch, record.created_at, record.claimed_at, record.waited_at,
                        bot.holding, False,
                    ))  # fmt: skip
        spans.sort(key=lambda span: span[1])
        return StartFacts(world.clock, tuple(starting), tuple(spans[:500]), tuple(holders))


class SimRuntime:
    """The cluster as `controller.act.runtime.Runtime` shows it, with lost replies."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._world = controller.world
        self._store = controller.store

    def pods(self, bot_id: int) -> tuple[PodFacts, ...]:
        return self._store.of(bot_id)

    def _reach(self) -> None:
        if not self._world.api_up:
            raise RuntimeAway("the API server is away")

    async def create(self, request: PodRequest) -> PodFacts:
        await Point()
        self._reach()
        facts = self._world.create_pod(request)
        if self._world.chaos and self._world.chance.random() < 0.15:
            raise RuntimeAway("the reply got lost")
        await Point()
        self._reach()
        if facts is None:
            facts = next((p.facts for p in self._world.pods.values() if p.facts.name == request.name), None)
            if facts is None:
                raise RuntimeAway("gone again")
        self._store.put(facts)
        return facts

    async def delete(self, pod: PodFacts) -> None:
        await Point()
        self._reach()
        left = self._world.delete_pod(pod.uid)
        if self._world.chaos and self._world.chance.random() < 0.1:
            raise RuntimeAway("the reply got lost")
        await Point()
        if left is None:
            self._store.remove(pod)
        else:
            self._store.put(replace(left, deleting=True))

    def record_event(self, pod: PodFacts, event: PodEvent) -> None:
        """Nothing depends on it."""


def counted(bot: Bot) -> list[Run]:
    """Ends that were counted as the bot's failures."""
    return [run for run in bot.runs if run.record.exit_reason in COUNTED_FAILURES]
