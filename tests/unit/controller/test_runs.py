"""The watch on heartbeats: what is handed to the queue, and when the observer is suspected."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from controller.facts import PodFacts
from controller.manager import StrategyManager
from controller.metrics import Metrics
from controller.observe.runs import BLIND_TOLD_S, REPEAT_S, RunWatch
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


class Nothing:
    """Stands for collaborators that aren't used here."""


@dataclass
class Scene:
    claimed: int = 30
    lost_nodes: set[int] = field(default_factory=set)
    now: float = 0.0
    due: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = FakeStore()
        self.manager = StrategyManager(
            store=Nothing(),
            runtime=Nothing(),
            policy=POLICY,
            metrics=Metrics(),
            starts=Nothing(),
            may_act=lambda: True,
        )
        self.watch = RunWatch(
            store=self.store,
            manager=self.manager,
            pods=self._pods,
            policy=POLICY,
            metrics=Metrics(),
            interval_s=2,
            due=self.due.append,
            clock=lambda: self.now,
        )

    def _pods(self, bot_id: int) -> Collection[PodFacts]:
        return [pod(node_lost=bot_id in self.lost_nodes)]

    def look(self, *quiet: QuietRun) -> list[int]:
        """The bots that are handed over by one look."""
        self.due.clear()
        self.store.watch_result = Watch(NOW, self.claimed, quiet)
        asyncio.run(self.watch.look())
        return sorted(self.due)


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
    assert scene.manager.suspicious  # before any of them could be fenced
    assert scene.look(*dead, QuietRun(20, True, ago(1), True)) == [20]  # a hung one is another matter
    assert len(scene.store.notices) == 1
    assert scene.store.notices[0].title == "16 of 30 bots fell silent at once"
    assert scene.look(*dead[:4]) == [1, 2, 3, 4, 20]  # the others are back: these four are really dead
    assert not scene.manager.suspicious


def test_lost_nodes_explain_a_mass_death() -> None:
    scene = Scene(lost_nodes=set(range(1, 13)))
    dead = [silent(number) for number in range(1, 17)]
    assert scene.look(*dead) == list(range(1, 17))  # 4 unexplained of 18
    assert scene.store.notices == []


def test_reads_alone_prove_nothing() -> None:
    scene = Scene()
    scene.look()
    contact = scene.manager.contact
    assert contact.since(NOW) == NOW
    scene.store.proof = DatabaseAway("cannot execute UPDATE in a read-only transaction")
    with pytest.raises(DatabaseAway):
        scene.look(silent(1))
    assert scene.due == []
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
    assert scene.due == []


def test_a_lock_on_a_runs_row_is_remembered_until_its_heartbeat_is_back() -> None:
    scene = Scene()
    scene.store.locked = {1, 5}  # 5 isn't late: nobody asks about it
    scene.look(silent(1, 20), silent(2, 20))
    assert scene.manager.locked == {1: NOW}
    scene.store.locked = set()
    scene.look(silent(1, 22), silent(2, 22))
    assert scene.manager.locked == {1: NOW}
    scene.look(silent(2, 24))
    assert scene.manager.locked == {}


@pytest.mark.parametrize("failure", [DatabaseAway("read-only"), KeyError("a query's parameter is missing")])
def test_looks_that_fail_for_long_are_told_once_and_their_end_too(failure: Exception) -> None:
    scene = Scene()
    scene.look()
    scene.store.proof, scene.store.deaf = failure, True

    def turn(after_s: float) -> list[str]:
        scene.now += after_s
        asyncio.run(scene.watch.turn())
        return [note.title for note in scene.store.notices]

    assert turn(0) == []
    assert scene.manager.contact.since(NOW) == NOW  # no silence before this moment counts
    assert turn(BLIND_TOLD_S) == []  # the database doesn't take the message either
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
        asyncio.run(scene.watch.turn())
        scene.now += BLIND_TOLD_S
    assert scene.store.notices == []


def test_silence_counts_only_while_a_bot_could_connect_anew() -> None:
    scene = Scene()
    scene.look()
    scene.store.full = True
    scene.look()  # nobody is late: their connections are there
    assert scene.manager.contact.since(NOW) == NOW
    scene.store.proof = NOW + timedelta(seconds=2)
    with pytest.raises(DatabaseAway):
        scene.look(silent(1, 20))
    assert scene.due == []
    scene.store.full, scene.store.proof = False, NOW + timedelta(seconds=4)
    scene.look(silent(1, 20))
    assert scene.manager.contact.since(NOW + timedelta(seconds=5)) == NOW + timedelta(seconds=4)
