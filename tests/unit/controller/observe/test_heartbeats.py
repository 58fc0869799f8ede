"""The watch on heartbeats: what is handed to the queue, and when the observer is suspected."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from controller.decide.facts import PodFacts
from controller.metrics import Metrics
from controller.observe.heartbeats import FAILURE_TOLD_S, REPEAT_S, HeartbeatWatch
from controller.observe.observer import Contact, Observer
from controller.shards import LeaseLost
from fleet.errors import DatabaseAway
from fleet.trading_service.bots import Notification
from fleet.trading_service.runs import QuietRun, Watch, WatchLimits
from tests.unit.controller.make import NOW, POLICY, ago, pod


@dataclass
class FakeStore:
    watch_result: Watch = field(default_factory=lambda: Watch(NOW, 0, ()))
    notices: list[Notification] = field(default_factory=list)
    proof: datetime | Exception | None = NOW
    deaf: bool = False
    full: bool = False
    locked: set[int] = field(default_factory=set)

    async def prove_heartbeats(self) -> datetime | None:
        if isinstance(self.proof, Exception):
            raise self.proof
        return self.proof

    async def prove_connection(self) -> None:
        if self.full:
            raise DatabaseAway("sorry, too many clients already")

    async def locked_runs(self, bot_ids: Sequence[int]) -> set[int]:
        return self.locked & set(bot_ids)

    async def watch(self, limits: WatchLimits) -> Watch:
        return self.watch_result

    async def notify(self, notification: Notification) -> bool:
        if self.deaf:
            raise DatabaseAway("not now")
        self.notices.append(notification)
        return True


@dataclass
class Scene:
    claimed: int = 30
    lost_nodes: set[int] = field(default_factory=set)
    now: float = 0.0
    enqueued: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = FakeStore()
        self.observer = Observer(Contact(POLICY.contact_gap_s))
        self.watch = HeartbeatWatch(
            store=self.store,
            observer=self.observer,
            pods=self._pods,
            policy=POLICY,
            metrics=Metrics(),
            interval_s=2,
            enqueue=self.enqueued.append,
            clock=lambda: self.now,
        )

    def _pods(self, bot_id: int) -> Collection[PodFacts]:
        return [pod(node_lost=bot_id in self.lost_nodes)]

    def look(self, *quiet: QuietRun) -> list[int]:
        """The bots that are handed over by one look."""
        self.enqueued.clear()
        self.store.watch_result = Watch(NOW, self.claimed, quiet)
        asyncio.run(self.watch.look())
        return sorted(self.enqueued)


def silent(bot_id: int, seconds: float = 40) -> QuietRun:
    return QuietRun(bot_id, True, ago(seconds), seconds > POLICY.t_dead_s)


def test_what_is_due_is_handed_over_and_repeated_slowly() -> None:
    scene = Scene()
    runs = [silent(1), silent(2, 20), QuietRun(3, False, ago(200), True), QuietRun(4, True, ago(1), True)]
    assert scene.look(*runs) == [1, 3, 4]
    assert scene.look(*runs) == []
    scene.now += REPEAT_S
    assert scene.look(*runs) == [1, 3, 4]
    scene.now += 1
    assert scene.look() == [1, 3, 4]  # late no more, which their rows must say
    assert scene.look() == []
    assert scene.look(*runs) == [1, 3, 4]  # late anew


def test_a_mass_death_keeps_all_fences_down_and_is_told_once() -> None:
    scene = Scene()
    dying = [silent(number, 17) for number in range(1, 17)]
    dead = [silent(number, 40) for number in range(1, 17)]
    assert scene.look(*dying) == []
    assert scene.observer.suspicious  # before any of them could be fenced
    assert scene.look(*dead, QuietRun(20, True, ago(1), True)) == [20]  # a hung one is another matter
    assert len(scene.store.notices) == 1
    assert scene.store.notices[0].title == "16 of 30 bots fell silent at once"
    assert scene.look(*dead[:4]) == [1, 2, 3, 4, 20]  # the others are back: these four are really dead
    assert not scene.observer.suspicious


def test_lost_nodes_explain_a_mass_death() -> None:
    scene = Scene(lost_nodes=set(range(1, 13)))
    dead = [silent(number) for number in range(1, 17)]
    assert scene.look(*dead) == list(range(1, 17))  # 4 unexplained of 18
    assert scene.store.notices == []


def test_reads_alone_prove_nothing() -> None:
    scene = Scene()
    scene.look()
    contact = scene.observer.contact
    assert contact.since(NOW) == NOW
    scene.store.proof = DatabaseAway("cannot execute UPDATE in a read-only transaction")
    with pytest.raises(DatabaseAway):
        scene.look(silent(1))
    assert scene.enqueued == []
    later = NOW + timedelta(seconds=1)
    assert contact.since(later) == later  # no silence before this moment counts
    scene.store.proof = later
    scene.look()
    assert contact.since(later + timedelta(seconds=5)) == later


def test_without_its_lease_a_controller_concludes_nothing() -> None:
    scene = Scene()
    scene.store.proof = None
    with pytest.raises(LeaseLost):
        scene.look(silent(1))
    assert scene.enqueued == []


def test_a_lock_on_a_runs_row_is_remembered_until_its_heartbeat_is_back() -> None:
    scene = Scene()
    scene.store.locked = {1, 5}  # 5 isn't late: nobody asks about it
    scene.look(silent(1, 20), silent(2, 20))
    assert scene.observer.locked_at == {1: NOW}
    scene.store.locked = set()
    scene.look(silent(1, 22), silent(2, 22))
    assert scene.observer.locked_at == {1: NOW}
    scene.look(silent(2, 24))
    assert scene.observer.locked_at == {}


@pytest.mark.parametrize("failure", [DatabaseAway("read-only"), KeyError("a query's parameter is missing")])
def test_looks_that_fail_for_long_are_told_once_and_their_end_too(failure: Exception) -> None:
    scene = Scene()
    scene.look()
    scene.store.proof, scene.store.deaf = failure, True

    def turn(after_s: float) -> list[str]:
        scene.now += after_s
        asyncio.run(scene.watch.attempt())
        return [note.title for note in scene.store.notices]

    assert turn(0) == []
    assert scene.observer.contact.since(NOW) == NOW  # no silence before this moment counts
    assert turn(FAILURE_TOLD_S) == []  # the database doesn't take the message either
    scene.store.deaf = False
    told = ["Silent bots can't be told from dead ones"]
    assert turn(2) == told
    assert turn(600) == told
    assert str(failure.args[0]) in scene.store.notices[0].body
    scene.store.proof = NOW
    assert turn(2) == turn(2) == [*told, "Silent bots are found again"]


def test_a_controller_without_the_lease_tells_nothing() -> None:
    scene = Scene()
    scene.store.proof = None
    for _ in range(3):
        asyncio.run(scene.watch.attempt())
        scene.now += FAILURE_TOLD_S
    assert scene.store.notices == []


def test_silence_counts_only_while_a_bot_could_connect_anew() -> None:
    scene = Scene()
    scene.look()
    scene.store.full = True
    scene.look()  # nobody is late: their connections are there
    assert scene.observer.contact.since(NOW) == NOW
    scene.store.proof = NOW + timedelta(seconds=2)
    with pytest.raises(DatabaseAway):
        scene.look(silent(1, 20))
    assert scene.enqueued == []
    scene.store.full, scene.store.proof = False, NOW + timedelta(seconds=4)
    scene.look(silent(1, 20))
    assert scene.observer.contact.since(NOW + timedelta(seconds=5)) == NOW + timedelta(seconds=4)


def gauge(scene: Scene, name: str) -> float:
    return float(getattr(scene.watch.metrics, name)._value.get())


def test_what_counts_as_late() -> None:
    """The database is asked with the planner's own times, so that both agree on who is late."""
    asked: list[WatchLimits] = []

    class Asked(FakeStore):
        async def watch(self, limits: WatchLimits) -> Watch:
            asked.append(limits)
            return Watch(NOW, 0, ())

    scene = Scene()
    scene.watch.store = Asked()
    asyncio.run(scene.watch.look())
    assert asked == [
        WatchLimits(
            quiet_s=POLICY.t_stop_s,
            dead_s=POLICY.t_dead_s,
            stalled_s=POLICY.hung_after_s,
            asked_s=POLICY.grace_s + POLICY.stop_slack_s,
            claim_s=POLICY.claim_deadline_s,
            start_s=POLICY.start_deadline_s,
        )
    ]


@pytest.mark.parametrize(
    ("seconds", "claimed", "quiet"),
    [(POLICY.t_stop_s, True, True), (POLICY.t_stop_s - 0.1, True, False), (40, False, False)],
)
def test_who_is_silent(seconds: float, claimed: bool, quiet: bool) -> None:
    scene = Scene()
    runs = [QuietRun(number, claimed, ago(seconds), False) for number in range(1, 17)]
    scene.look(*runs)
    assert gauge(scene, "runs_quiet") == (16 if quiet else 0)
    assert scene.observer.suspicious is quiet
    assert gauge(scene, "observer_suspicious") == int(quiet)


@pytest.mark.parametrize(
    ("run", "handed"),
    [
        (QuietRun(50, True, ago(POLICY.t_stop_s), True), False),  # silent: not to be decided about
        (QuietRun(50, True, ago(POLICY.t_stop_s - 0.1), True), True),
        (QuietRun(50, False, ago(400), True), True),  # never claimed: no heartbeat is missing
    ],
)
def test_what_is_decided_while_the_observer_is_suspect(run: QuietRun, handed: bool) -> None:
    scene = Scene()
    dying = [QuietRun(number, True, ago(20), False) for number in range(1, 18)]
    assert scene.look(*dying, run) == ([50] if handed else [])
    assert scene.observer.suspicious


def test_a_node_explains_what_one_of_a_bots_pods_says() -> None:
    scene = Scene()
    scene.watch.pods = lambda bot_id: [pod(uid="old"), pod(uid="new", node_lost=bot_id < 13)]
    scene.look(*[silent(number) for number in range(1, 17)])
    assert not scene.observer.suspicious


def test_what_a_lost_node_explains_counts_neither_as_dead_nor_as_alive() -> None:
    """12 of 40 went with their node; of the other 28 fifteen are silent: more than half."""
    scene = Scene(claimed=40, lost_nodes=set(range(1, 13)))
    scene.look(*[silent(number, 17) for number in range(1, 28)])
    assert scene.observer.suspicious


def test_the_end_of_a_mass_death_is_told_once_too() -> None:
    scene = Scene()
    scene.look(*[silent(number, 17) for number in range(1, 17)])
    scene.look(silent(1, 17))
    scene.look(silent(1, 17))
    first, second = scene.store.notices
    assert first.body.startswith("No heartbeat since 11:59:43Z")
    assert (first.bot_id, second.bot_id) == (None, None)
    assert second.title == "Heartbeats are believed again"
    assert second.body.startswith("1 of 30 claimed runs are silent")


def test_locked_rows_are_counted() -> None:
    scene = Scene()
    scene.store.locked = {1, 2}
    scene.look(silent(1, 20), silent(2, 20), silent(3, 20))
    assert gauge(scene, "runs_locked") == 2
    scene.store.locked = set()
    scene.look(silent(1, 20))
    assert gauge(scene, "runs_locked") == 0


def test_how_long_the_watch_is_blind_is_shown_and_an_episode_has_one_name() -> None:
    scene = Scene()

    def turn(after_s: float, proof: datetime | Exception | None) -> float:
        scene.now, scene.store.proof = scene.now + after_s, proof
        asyncio.run(scene.watch.attempt())
        return gauge(scene, "watch_blind_seconds")

    away = DatabaseAway("away")
    assert (FAILURE_TOLD_S, REPEAT_S) == (60.0, 5.0)
    assert [turn(0, away), turn(10, away), turn(49.9, away)] == [0, 10, pytest.approx(59.9)]
    assert scene.store.notices == []
    assert turn(0.1, away) == 60
    assert len(scene.store.notices) == 1
    assert scene.store.notices[0].body.startswith("For 60 s the controller")
    assert turn(10, NOW) == 0
    assert [turn(10, away), turn(59, away)] == [0, 59]  # counted anew
    assert turn(1, None) == 59  # without its lease it is another controller's task
    assert [turn(10, away), turn(59, away), turn(1, away)] == [0, 59, 60]
    blind, sees, again = scene.store.notices
    assert blind.title == again.title != sees.title
    assert blind.key.removeprefix("watch_blind/") == sees.key.removeprefix("watch_sees/")
    assert blind.key != again.key
    assert (blind.bot_id, sees.bot_id, sees.kind) == (None, None, "health")


def test_blindness_after_an_end_that_could_not_be_told_is_the_same_episode() -> None:
    scene = Scene()
    scene.store.proof = DatabaseAway("away")
    for _ in range(2):
        asyncio.run(scene.watch.attempt())
        scene.now += FAILURE_TOLD_S
    assert len(scene.store.notices) == 1
    scene.store.proof, scene.store.deaf = NOW, True
    asyncio.run(scene.watch.attempt())
    scene.store.proof, scene.store.deaf = DatabaseAway("away"), False
    asyncio.run(scene.watch.attempt())
    scene.store.proof = NOW
    asyncio.run(scene.watch.attempt())
    blind, sees = scene.store.notices
    assert sees.key == blind.key.replace("watch_blind", "watch_sees")


def test_it_looks_until_it_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    looks, turns = list[float](), list[float]()
    turn = HeartbeatWatch.attempt

    async def noted(watch: HeartbeatWatch) -> None:
        await turn(watch)
        turns.append(scene.now)

    monkeypatch.setattr(HeartbeatWatch, "attempt", noted)

    async def sleep(seconds: float) -> None:
        assert scene.watch.looked_at == scene.now
        looks.append(seconds)
        scene.now += seconds
        scene.store.proof = DatabaseAway("away") if len(looks) == 1 else NOW
        if len(looks) == 3:
            raise asyncio.CancelledError

    monkeypatch.setattr(asyncio, "sleep", sleep)
    assert scene.watch.looked_at == 0.0
    scene.now = 100.0
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(scene.watch.run())
    assert looks == [2, 2, 2]
    assert scene.watch.looked_at == 104.0
    assert scene.observer.contact.since(NOW) == NOW
    assert gauge(scene, "watch_blind_seconds") == 0
    assert turns == [100.0, 102.0, 104.0]
