"""A program's end, on a fake clock: whatever hangs, it ends within its bound, and says what hung where."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog

from fleet import process_life
from fleet.process_life import CANCEL_AGAIN_S, MARGIN_S, Life, Parts, Step, bound_of, run_until_asked, where

pytestmark = pytest.mark.looptime


class Left(BaseException):
    """The process was ended."""


def leave(code: int) -> None:
    raise Left(code)


@dataclass
class FakeLife:
    """A Life whose signal is sent by the test."""

    bound_s: float = 25.0
    asked_by: int | None = None
    leave: Callable[[int], object] = leave
    ended: bool = False
    _asked: asyncio.Event = field(default_factory=asyncio.Event)

    def send(self, number: int = signal.SIGTERM) -> None:
        self.asked_by = number
        self._asked.set()

    def begin_end(self) -> None:
        self.ended = True

    async def asked(self) -> None:
        await self._asked.wait()


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> list[structlog.typing.EventDict]:
    capture = structlog.testing.LogCapture()
    monkeypatch.setattr(process_life, "log", structlog.wrap_logger(None, processors=[capture]))
    return capture.entries


def now() -> float:
    return asyncio.get_running_loop().time()


async def for_ever() -> None:
    await asyncio.Event().wait()


async def swallows(times: int) -> None:
    """Goes on after so many cancellations: a handler with a wide except, a pool that waits by wait_for."""
    for _ in range(times):
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            continue
    await asyncio.sleep(3600)


class Deaf:
    """A database call that neither ends nor lets itself be cancelled, until the test is over: asyncio waits for it."""

    def __init__(self) -> None:
        self.over = False

    def __enter__(self) -> Deaf:
        return self

    def __exit__(self, *_: object) -> None:
        self.over = True

    async def never_answers(self) -> None:
        while not self.over:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue


async def end_of(life: FakeLife, parts: Parts, *steps: Step, stop: Callable[[], None] = lambda: None) -> int:
    return await run_until_asked(life, parts, stop=stop, cancel_s=8, steps=steps)


async def test_a_signal_ends_the_parts_then_the_steps_in_order(logs: list[structlog.typing.EventDict]) -> None:
    life, parts, done = FakeLife(), Parts(), list[str]()

    async def part() -> None:
        try:
            await for_ever()
        finally:
            done.append("part")

    async def step(name: str) -> None:
        done.append(name)

    parts.start("part", part())
    running = asyncio.create_task(
        end_of(
            life,
            parts,
            Step("lease", lambda: step("lease"), 4),
            Step("store", lambda: step("store"), 4),
            stop=lambda: done.append("stop"),
        )
    )
    await asyncio.sleep(1000)
    assert not running.done()
    asked_at = now()
    life.send()
    assert await running == 0
    assert done == ["stop", "part", "lease", "store"]
    assert now() == asked_at
    assert life.ended
    assert [entry["event"] for entry in logs] == ["stopping"]


@pytest.mark.parametrize("times", [1, 2, 5])
async def test_a_swallowed_cancellation_is_repeated(times: int) -> None:
    life, parts = FakeLife(), Parts()
    parts.start("part", swallows(times))
    await asyncio.sleep(1)
    began = now()
    life.send()
    assert await end_of(life, parts) == 0
    assert now() - began == CANCEL_AGAIN_S * times


async def test_a_part_that_never_ends_is_named_with_its_place_and_left(logs: list[structlog.typing.EventDict]) -> None:
    life, parts, released = FakeLife(), Parts(), list[float]()

    async def release() -> None:
        released.append(now())

    parts.start("good", for_ever())
    life.send()
    with Deaf() as deaf:
        parts.start("worker 3", deaf.never_answers())
        await asyncio.sleep(1)
        began = now()
        with pytest.raises(Left) as left:
            await end_of(life, parts, Step("lease", release, 4))
    assert left.value.args == (1,)
    assert released == [began + 8]
    hangs = [entry for entry in logs if entry["event"] == "hangs_at_the_end"]
    assert [(entry["part"], entry["waited_s"]) for entry in hangs] == [("worker 3", 8)]
    assert any(place.endswith(" never_answers") for place in hangs[0]["at"])
    assert logs[-1]["parts"] == ["worker 3"]


async def test_a_step_that_hangs_keeps_none_of_the_others(logs: list[structlog.typing.EventDict]) -> None:
    """A runtime whose close hangs, a pool whose close hangs."""
    life, parts, done = FakeLife(), Parts(), list[str]()

    async def release() -> None:
        done.append("lease")

    async def fails() -> None:
        raise OSError("gone")

    began = now()
    life.send()
    with Deaf() as deaf, pytest.raises(Left):
        await end_of(
            life,
            parts,
            Step("runtime", for_ever, 6),
            Step("lease", release, 4),
            Step("pool", fails, 3),
            Step("store", deaf.never_answers, 3),
        )
    assert done == ["lease"]
    assert now() - began == 6 + 3
    assert [entry.get("part", entry.get("step")) for entry in logs if "step" in entry or "part" in entry] == [
        "runtime",
        "pool",
        "store",
    ]


async def fails() -> None:
    raise ValueError("broken")


async def returns() -> None:
    return


@pytest.mark.parametrize(
    ("work", "lasting", "error"),
    [
        pytest.param(fails, True, "ValueError('broken')", id="a part fails"),
        pytest.param(fails, False, "ValueError('broken')", id="the start fails"),
        pytest.param(returns, True, "None", id="a part ends that should go on"),
    ],
)
async def test_a_part_that_ends_ends_the_program(
    work: Callable[[], Coroutine[Any, Any, None]], lasting: bool, error: str, logs: list[structlog.typing.EventDict]
) -> None:
    life, parts = FakeLife(), Parts()
    parts.start("other", for_ever())
    parts.start("part", work(), lasting=lasting)
    assert await end_of(life, parts) == 1
    assert life.ended
    assert [(entry["event"], entry["part"], entry["error"]) for entry in logs] == [("ended", "part", error)]


async def test_the_start_may_end_and_parts_may_start_others() -> None:
    life, parts = FakeLife(), Parts()

    async def start() -> None:
        await asyncio.sleep(5)
        parts.start("late", fails_after(7))

    parts.start("start", start(), lasting=False)
    began = now()
    assert await end_of(life, parts) == 1
    assert now() - began == 12


async def fails_after(seconds: float) -> None:
    await asyncio.sleep(seconds)
    raise ValueError("late")


async def test_nothing_is_started_once_the_end_has_begun() -> None:
    parts = Parts()
    assert await parts.end(8) == []
    parts.start("late", for_ever())
    assert await parts.end(8) == []


async def test_where_names_places_and_no_values() -> None:
    async def inner(password: str) -> None:
        await asyncio.sleep(3600)

    async def outer() -> None:
        await inner("hunter2")

    task = asyncio.create_task(outer())
    await asyncio.sleep(0)
    places = where(task)
    assert [place.rpartition(" ")[2] for place in places[:2]] == ["outer", "inner"]
    assert "hunter2" not in str(places)
    task.cancel()


@dataclass
class Recorder:
    left: list[int] = field(default_factory=list)
    bounds: list[float] = field(default_factory=list)
    time: float = 100.0


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def life(recorder: Recorder) -> Iterator[Life]:
    made = Life(25, leave=recorder.left.append, end_after=recorder.bounds.append, clock=lambda: recorder.time)
    before = {number: signal.getsignal(number) for number in process_life.SIGNALS}
    made.listen()
    yield made
    for number, handler in before.items():
        signal.signal(number, handler)


async def test_the_first_signal_wakes_and_bounds_the_second_ends(life: Life, recorder: Recorder) -> None:
    asked = asyncio.create_task(life.asked())
    await asyncio.sleep(0.1)
    assert (asked.done(), life.ending_s) == (False, None)
    os.kill(os.getpid(), signal.SIGTERM)
    await asked
    recorder.time += 7
    assert (life.asked_by, life.ending_s) == (signal.SIGTERM, 7)
    assert (recorder.bounds, recorder.left) == ([25], [])
    life.begin_end()
    assert recorder.bounds == [25], "the bound counts from the first signal"
    os.kill(os.getpid(), signal.SIGINT)
    assert recorder.left == [128 + signal.SIGINT]


async def test_a_failure_bounds_the_end_and_a_signal_during_it_is_the_first(life: Life, recorder: Recorder) -> None:
    life.begin_end()
    os.kill(os.getpid(), signal.SIGTERM)
    assert (recorder.bounds, recorder.left) == ([25], [])


async def test_a_program_without_a_loop_is_told_in_another_thread(life: Life) -> None:
    import threading

    told = threading.Event()
    threads: list[threading.Thread] = []
    life.tell(lambda: (threads.append(threading.current_thread()), told.set()))
    os.kill(os.getpid(), signal.SIGTERM)
    assert told.wait(5)
    assert threads[0] is not threading.main_thread()


@pytest.mark.parametrize(("grace_s", "bound_s"), [(30, 30 - MARGIN_S), (60, 55), (5, 4), (1, 0.8)])
def test_the_bound_is_below_the_grace_period(grace_s: float, bound_s: float) -> None:
    assert bound_of(grace_s) == bound_s < grace_s
