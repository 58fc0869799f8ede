"""Admission with its facts: one slot is never taken twice, and nothing is kept that a restart would miss."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from controller.act.starts import EXPECT_S, Capacity, Starts
from controller.decide.admission import Candidate, Place
from controller.decide.facts import PodFacts, PodPhase
from controller.metrics import Metrics
from fleet.trading_service.starts import StartFacts, StartingRun
from tests.unit.controller.make import NOW, POLICY, ago, pod

T = TypeVar("T")


def bot(bot_id: int, **changes: object) -> Candidate:
    return replace(Candidate(bot_id=bot_id, user_id=1, since=ago(60)), **changes)


def begun(bot_id: int, **changes: object) -> StartingRun:
    usual = StartingRun(bot_id, 1, 5, ago(3), ago(2), None, False, False)
    return replace(usual, **changes)


@dataclass
class Scene:
    """The database's answer, settable; reads can be held back."""

    starting: list[StartingRun] = field(default_factory=list)
    holders: tuple[int, ...] = ()
    pods: dict[int, PodFacts] = field(default_factory=dict)
    now: float = 0.0
    reads: int = 0
    woken: list[int] = field(default_factory=list)
    freed: int = 0
    gate: asyncio.Event | None = None

    def __post_init__(self) -> None:
        self.starts = Starts(
            store=self,
            pods=lambda bot_id: [self.pods[bot_id]] if bot_id in self.pods else [],
            policy=POLICY,
            capacity=lambda: Capacity(first=2, target_s=15, where="here"),
            metrics=Metrics(),
            clock=lambda: self.now,
            wake=self.woken.append,
            freed=self._free,
        )

    def _free(self) -> None:
        self.freed += 1

    async def start_facts(self) -> StartFacts:
        self.reads += 1
        answer = StartFacts(NOW, tuple(self.starting), (), self.holders)
        if self.gate is not None:
            await self.gate.wait()
        return answer

    def admit(self, *ids: int) -> list[Place | None]:
        return [run(self.starts.admit(bot(number))) for number in ids]

    def admitted(self, *ids: int) -> list[int]:
        return [number for number, place in zip(ids, self.admit(*ids), strict=True) if place is None]


def run(question: Awaitable[T]) -> T:
    async def asked() -> T:
        return await question

    return asyncio.run(asked())


def test_slots_taken_here_count_before_the_database_shows_them() -> None:
    scene = Scene()
    assert scene.admitted(1, 2, 3) == [1, 2]
    scene.starts.attempt_ended(1)
    scene.starts.attempt_ended(2)
    scene.starting = [begun(1), begun(2)]
    assert scene.admitted(3) == []
    scene.starting = [begun(2)]
    scene.now += 2
    assert scene.admitted(3) == [3]


def test_a_start_that_came_to_nothing_gives_its_slot_back() -> None:
    scene = Scene()
    assert scene.admitted(1, 2, 3) == [1, 2]
    scene.starts.attempt_ended(1)  # the row had changed: no run
    assert scene.admitted(3) == [3]


def test_a_slot_in_flight_is_not_given_back_by_a_read_that_began_before() -> None:
    async def story() -> None:
        scene = Scene()
        assert await scene.starts.admit(bot(1)) is None
        scene.now += 2
        scene.gate = asyncio.Event()
        slow = asyncio.create_task(scene.starts.admit(bot(2)))  # its read doesn't see the run of bot 1
        await asyncio.sleep(0)
        scene.starts.attempt_ended(1)
        scene.starting = [begun(1)]
        scene.gate.set()
        assert await slow is None
        scene.gate = None
        # 1 and 2 have the two slots, whatever the older read said
        assert await scene.starts.admit(bot(3)) is not None

    asyncio.run(story())


def test_many_at_once_take_each_slot_once() -> None:
    async def story() -> list[Place | None]:
        scene = Scene()
        return await asyncio.gather(*(scene.starts.admit(bot(number)) for number in range(1, 17)))

    assert sum(place is None for place in asyncio.run(story())) == 2


def test_waiting_for_the_exchange_or_a_node_takes_no_slot() -> None:
    scene = Scene(starting=[begun(8, waited_at=ago(3)), begun(9, claimed_at=None)])
    waiting = pod(bot_id=9, phase=PodPhase.PENDING, placed=False)
    scene.pods = {9: waiting}
    assert scene.admitted(1, 2) == [1]  # the pod is new: the scheduler hasn't looked
    scene = Scene(starting=[begun(8, waited_at=ago(3)), begun(9, claimed_at=None)])
    scene.pods = {9: replace(waiting, waiting="Unschedulable: 1 Insufficient cpu.")}
    assert scene.admitted(1, 2, 3) == [1, 2]
    scene = Scene(starting=[begun(9, claimed_at=None), begun(10, claimed_at=None)])
    scene.pods = {9: replace(waiting, waiting="Unschedulable: 1 Insufficient cpu."), 10: replace(waiting, bot_id=10)}
    scene.starting[1] = replace(scene.starting[1], created_at=ago(11))  # no reason, but not new either
    (place,) = scene.admit(1)
    assert place is not None
    assert "2 pods wait for a node already: Unschedulable: 1 Insufficient cpu; add a node" in place.words
    scene = Scene(starting=[begun(8, waited_at=ago(30)), begun(9, waited_at=ago(3))])
    assert scene.admitted(1, 2) == [1]  # bot 8 said so too long ago


def test_an_overdue_start_keeps_nobody_waiting() -> None:
    scene = Scene(starting=[begun(8, created_at=ago(9000), claimed_at=ago(8000)), begun(9)])
    assert scene.admitted(1, 2) == [1]


def test_slots_are_kept_for_positions_that_nobody_watches_but_not_for_ever() -> None:
    scene = Scene(holders=(7, 8))
    assert scene.admitted(1, 2) == []
    run(scene.starts.wake_admitted())
    assert scene.woken == [7, 8]
    scene.starts.not_due(7, starting=False)  # its config is broken, say
    scene.starts.not_due(8, starting=False)
    scene.now += 2
    assert scene.admitted(1, 2) == [1, 2]
    silent = Scene(holders=(7, 8))
    assert silent.admitted(1) == []
    silent.now += EXPECT_S
    assert silent.admitted(1) == [1]


def test_the_next_is_woken_when_a_slot_is_free() -> None:
    scene = Scene(starting=[begun(8), begun(9)])
    assert scene.admitted(1, 2, 3) == []
    run(scene.starts.wake_admitted())
    assert scene.woken == []
    scene.starting = [begun(8)]
    scene.starts.not_due(9, starting=False)  # it is live
    assert scene.freed == 1
    run(scene.starts.wake_admitted())
    assert scene.woken == [1]


def test_whoever_is_woken_and_does_not_ask_loses_its_turn() -> None:
    scene = Scene(starting=[begun(8), begun(9)])
    scene.admit(1, 2)
    scene.starting = [begun(8)]
    for _ in range(4):
        run(scene.starts.wake_admitted())
        scene.now += EXPECT_S / 2
    assert scene.woken[-1] == 2


def test_nothing_is_read_while_nobody_waits() -> None:
    scene = Scene()
    run(scene.starts.wake_admitted())
    assert scene.reads == 0
    scene.admit(1)
    scene.starts.attempt_ended(1)
    reads = scene.reads
    run(scene.starts.wake_admitted())
    assert scene.reads == reads


def test_a_burst_is_one_read() -> None:
    scene = Scene(starting=[begun(8), begun(9)])
    scene.admit(*range(1, 300))
    assert scene.reads == 1


def test_a_restarted_controller_gives_the_same_answer() -> None:
    first = Scene(starting=[begun(8)])
    assert first.admitted(1, 2, 3) == [1]
    first.starts.attempt_ended(1)
    second = Scene(starting=[begun(8), begun(1)])
    assert second.admitted(2, 3) == []
    assert second.admit(3) == [
        Place("waits to start: place 2 of 2; 2 starts at a time here, bots with open positions first", 10)
    ]
