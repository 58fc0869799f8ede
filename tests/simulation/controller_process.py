"""A controller's process: the real manager, watch and admission over the simulated database and cluster."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from controller.act.runtime import RuntimeAway
from controller.act.starts import Starts
from controller.decide.facts import PodFacts
from controller.decide.pod_events import PodEvent
from controller.decide.podspec import PodRequest
from controller.manager import StrategyManager
from controller.metrics import Metrics
from controller.observe.heartbeats import HeartbeatWatch
from controller.observe.observer import Contact, Observer
from controller.observe.pods import PodStore
from fleet.errors import DatabaseAway, TransientError
from fleet.trading_service.bots import RunRecord
from fleet.trading_service.runs import ShardLease, Watch, WatchLimits
from tests.simulation import invariants
from tests.simulation.database import Database
from tests.simulation.times import LEASE_VALID_S, LOOK_S, POLICY, POLL_S, RELIST_S, SHARD_TTL_S

if TYPE_CHECKING:
    from tests.simulation.world import World

P = ParamSpec("P")
T = TypeVar("T")

METRICS = Metrics()


@dataclass(frozen=True)
class Point:
    """Where a coroutine hands control back to the scheduler."""

    def __await__(self) -> Generator[None]:
        yield


class ControllerProcess:
    """A process that may be killed, and is started again at once, or stopped for a while.

    Attributes:
        lease: on all bots, while it holds one that was valid when it was last renewed.
        lease_until: it decides no longer than this without renewal.
    """

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.paused_until = 0.0
        self.running: dict[int, Coroutine[Any, Any, float | None]] = {}
        self.boot()

    def boot(self) -> None:
        """A fresh process: nothing remembered."""
        now = self.world.now
        self.lease: ShardLease | None = None
        self.lease_until = 0.0
        self.next_lease_at = self.next_look_at = self.next_poll_at = self.next_relist_at = now
        self.events: list[tuple[float, PodFacts, bool]] = []
        self.due: dict[int, float] = {}
        self.failures: dict[int, int] = {}
        for coroutine in self.running.values():
            coroutine.close()
        self.running = {}
        self.again: set[int] = set()
        self.listed = False
        self.pods = PodStore(self.add)
        store = SimulatedStore(self)
        self.starts = Starts(
            store=store,
            pods=self.pods.of,
            policy=POLICY,
            capacity=lambda: self.world.capacity,
            metrics=METRICS,
            clock=lambda: self.world.now,
            wake=self.add,
        )
        observer = Observer(Contact(POLICY.contact_gap_s))
        self.manager = StrategyManager(
            store=store,
            runtime=SimulatedRuntime(self),
            observer=observer,
            policy=POLICY,
            metrics=METRICS,
            starts=self.starts,
            may_act=self.may_act,
        )
        self.heartbeats = HeartbeatWatch(
            store=store,
            observer=observer,
            pods=self.pods.of,
            policy=POLICY,
            metrics=METRICS,
            interval_s=LOOK_S,
            enqueue=self.add,
            clock=lambda: self.world.now,
        )

    def add(self, bot_id: int) -> None:
        """Something happened to the bot."""
        if bot_id in self.running:
            self.again.add(bot_id)
        else:
            self.due[bot_id] = self.world.now

    def hear(self, facts: PodFacts, *, gone: bool) -> None:
        """The watch on pods gets an event, later."""
        after = self.events[-1][0] if self.events else 0.0
        delay_s = self.world.chance.choice([0, 0, 0.5, 1, 4]) if self.world.chaos else 0.0
        self.events.append((max(after, self.world.now + delay_s), facts, gone))

    def may_act(self) -> bool:
        return self.lease is not None and self.world.now < self.lease_until

    def work(self) -> None:
        """What this controller does within a tick."""
        world = self.world
        if world.now < self.paused_until:
            return
        while self.events and self.events[0][0] <= world.now:
            _, facts, gone = self.events.pop(0)
            (self.pods.remove if gone else self.pods.put)(facts)
        self._keep_lease()
        if self.lease is None:
            return
        self._look()
        for _ in range(world.chance.randrange(1, world.pace)):
            self._begin_syncs()
            if not self.running:
                break
            self._step(world.chance.choice(list(self.running)))

    def _keep_lease(self) -> None:
        world = self.world
        if not world.database_up or world.now < self.next_lease_at:
            return
        try:
            if self.lease is None:
                self.lease = world.database.acquire_shard(0, holder=self.name, ttl_s=SHARD_TTL_S)
                held = self.lease is not None
                if held:
                    world.note(f"{self.name} leads")
            else:
                held = world.database.renew_shard(self.lease)
                if not held:
                    world.note(f"{self.name} lost its lease")
                    self.boot()  # the process ends and is started again
        except DatabaseAway:
            return
        self.next_lease_at = world.now + LOOK_S
        if held:
            self.lease_until = world.now + LEASE_VALID_S

    def _look(self) -> None:
        world = self.world
        if world.cluster.api_up and (world.now >= self.next_relist_at or not self.listed):
            self._relist()
        if world.database_up and world.now >= self.next_poll_at:
            self.next_poll_at = world.now + POLL_S
            for bot_id in world.bots:
                self.add(bot_id)
        if world.now >= self.next_look_at:
            self.next_look_at = world.now + LOOK_S
            _drive(self.heartbeats.look())
        if self.listed:
            _drive(self.starts.wake_admitted())

    def _relist(self) -> None:
        world = self.world
        self.next_relist_at = world.now + RELIST_S
        listed = [pod.facts for pod in world.cluster.pods.values()]
        self.pods.replace_all(listed, before=[pod.uid for pod in self.pods.existing()])
        self.listed = True
        for pod in self.pods.existing():
            current = world.bots[pod.bot_id].current
            if current is None or current.record.epoch != pod.epoch:
                self.add(pod.bot_id)

    def _begin_syncs(self) -> None:
        if not self.listed:
            return
        for bot_id, at in list(self.due.items()):
            if at <= self.world.now and bot_id not in self.running:
                del self.due[bot_id]
                self.running[bot_id] = self.manager.sync(bot_id)
                self._step(bot_id)

    def _step(self, bot_id: int) -> None:
        """One await further; a fault may hit between any two."""
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
            self.due[bot_id] = self.world.now

    def _later(self, bot_id: int, seconds: float) -> None:
        self.due[bot_id] = min(self.due.get(bot_id, 1e18), self.world.now + seconds)


def _drive(coroutine: Coroutine[Any, Any, Any]) -> None:
    """Run to the end within one moment."""
    try:
        while True:
            coroutine.send(None)
    except (StopIteration, DatabaseAway):
        return


def _call(
    function: Callable[Concatenate[Database, P], T],
) -> Callable[Concatenate[SimulatedStore, P], Coroutine[Any, Any, T]]:
    """A method of SimulatedStore that calls the function of the database."""

    async def call(store: SimulatedStore, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await store.transaction(partial(function, store.database, *args, **kwargs))

    return call


def _decision(
    function: Callable[Concatenate[Database, ShardLease, int, int, P], bool],
    invariant: Callable[[World, int, RunRecord], None] = lambda *_: None,
) -> Callable[Concatenate[SimulatedStore, int, int, P], Coroutine[Any, Any, bool]]:
    """The same for what only the leader may do with a run; when it did, the invariant is checked."""

    async def decide(store: SimulatedStore, bot_id: int, epoch: int, /, *args: P.args, **kwargs: P.kwargs) -> bool:
        def change() -> bool:
            changed = function(store.database, store.lease, bot_id, epoch, *args, **kwargs)
            run = store.database.bots[bot_id].run(epoch)
            if changed and run is not None:
                store.note(bot_id, run.record)
                invariant(store.world, bot_id, run.record)
            return changed

        return await store.transaction(change)

    return decide


class SimulatedStore:
    """The database as `controller.store.Store` shows it, with outages and lost answers."""

    def __init__(self, controller: ControllerProcess) -> None:
        self._controller = controller
        self.world = controller.world
        self.database = controller.world.database

    @property
    def lease(self) -> ShardLease:
        assert self._controller.lease is not None, "only a leader works"
        return self._controller.lease

    def note(self, bot_id: int, run: RunRecord) -> None:
        """What became of the run."""
        state = run.exit_reason or ("asked to stop" if run.stop_requested_at else f"wanted with v{run.config_version}")
        self.world.note(f"bot {bot_id} e{run.epoch}: {state}, by {self._controller.name}")

    async def transaction(self, change: Callable[[], T]) -> T:
        """It may wait before, its answer may be lost after, and it always takes effect at one moment."""
        await Point()
        self._reach()
        answer = change()
        if self.world.chaos and self.world.chance.random() < 0.01:
            raise DatabaseAway("the answer got lost")
        await Point()
        self._reach()
        return answer

    def _reach(self) -> None:
        if not self.world.database_up:
            raise DatabaseAway("the database is away")

    load = _call(Database.load_bot)
    load_config = _call(Database.load_config)
    load_run_config = _call(Database.load_run_config)
    set_status = _call(Database.update_bot_status)
    notify = _call(Database.add_notification)
    start_facts = _call(Database.start_facts)

    record_pod = _decision(Database.record_pod)
    request_stop = _decision(Database.request_stop)
    adopt_config = _decision(Database.adopt_config)
    end_run = _decision(Database.end_run, invariants.judge_death)
    explain_end = _decision(Database.explain_end)
    fence_unclaimed = _decision(Database.fence_unclaimed)
    fence_silent = _decision(Database.fence_silent, invariants.judge_fence)
    fence_stop_overdue = _decision(Database.fence_stop_overdue, invariants.judge_fence)

    async def start_run(self, bot_id: int, epoch: int, *, config_version: int, pod_name: str, closes_out: bool) -> bool:
        return await self._start_run(
            bot_id,
            epoch,
            config_version=config_version,
            controller=self._controller.name,
            runtime="kubernetes",
            pod_name=pod_name,
            closes_out=closes_out,
        )

    _start_run = _decision(Database.start_run)

    # what a look at all heartbeats asks is one moment

    async def prove_heartbeats(self) -> datetime | None:
        self._reach()
        return self.database.prove_heartbeats(self.lease)

    async def prove_connection(self) -> None:
        """A slot is always free here."""
        self._reach()

    async def locked_runs(self, bot_ids: Sequence[int]) -> set[int]:
        self._reach()
        return self.database.locked_runs(bot_ids)

    async def watch(self, limits: WatchLimits) -> Watch:
        self._reach()
        return self.database.watch_runs(limits)


class SimulatedRuntime:
    """The cluster as `controller.act.runtime.Runtime` shows it, with lost replies."""

    def __init__(self, controller: ControllerProcess) -> None:
        self._world = controller.world
        self._known = controller.pods

    def pods(self, bot_id: int) -> tuple[PodFacts, ...]:
        return self._known.of(bot_id)

    def _reach(self) -> None:
        if not self._world.cluster.api_up:
            raise RuntimeAway("the API server is away")

    async def create(self, request: PodRequest) -> PodFacts:
        await Point()
        self._reach()
        cluster = self._world.cluster
        facts = cluster.create_pod(request)
        if self._world.chaos and self._world.chance.random() < 0.15:
            raise RuntimeAway("the reply got lost")
        await Point()
        self._reach()
        if facts is None:
            facts = next((pod.facts for pod in cluster.pods.values() if pod.facts.name == request.name), None)
            if facts is None:
                raise RuntimeAway("gone again")
        self._known.put(facts)
        return facts

    async def delete(self, pod: PodFacts) -> None:
        await Point()
        self._reach()
        left = self._world.cluster.delete_pod(pod.uid)
        if self._world.chaos and self._world.chance.random() < 0.1:
            raise RuntimeAway("the reply got lost")
        await Point()
        if left is None:
            self._known.remove(pod)
        else:
            self._known.put(replace(left, deleting=True))

    def record_event(self, pod: PodFacts, event: PodEvent) -> None:
        """Nothing depends on it."""
