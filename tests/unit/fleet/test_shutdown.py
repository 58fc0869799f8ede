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

from fleet import shutdown as module
from fleet.shutdown import CANCEL_AGAIN_S, MARGIN_S, Shutdown, Step, Tasks, bound_of, run_until_asked, where

pytestmark = pytest.mark.looptime


class Left(BaseException):
    """The process was ended."""


def leave(code: int) -> None:
    raise Left(code)


@dataclass
class FakeShutdown:
    """A Shutdown whose signal is sent by the test."""

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
    monkeypatch.setattr(module, "log", structlog.wrap_logger(None, processors=[capture]))
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


async def end_of(shutdown: FakeShutdown, tasks: Tasks, *steps: Step, stop: Callable[[], None] = lambda: None) -> int:
    return await run_until_asked(shutdown, tasks, stop=stop, cancel_s=8, steps=steps)


async def test_a_signal_ends_the_parts_then_the_steps_in_order(logs: list[structlog.typing.EventDict]) -> None:
    shutdown, tasks, done = FakeShutdown(), Tasks(), list[str]()

    async def part() -> None:
        try:
            await for_ever()
        finally:
            done.append("part")

    async def step(name: str) -> None:
        done.append(name)

    tasks.start("part", part())
    running = asyncio.create_task(
        end_of(
            shutdown,
            tasks,
            Step("lease", lambda: step("lease"), 4),
            Step("store", lambda: step("store"), 4),
            stop=lambda: done.append("stop"),
        )
    )
    await asyncio.sleep(1000)
    assert not running.done()
    asked_at = now()
    shutdown.send()
    assert await running == 0
    assert done == ["stop", "part", "lease", "store"]
    assert now() == asked_at
    assert shutdown.ended
    assert [entry["event"] for entry in logs] == ["stopping"]


@pytest.mark.parametrize("times", [1, 2, 5])
async def test_a_swallowed_cancellation_is_repeated(times: int) -> None:
    shutdown, tasks = FakeShutdown(), Tasks()
    tasks.start("part", swallows(times))
    await asyncio.sleep(1)
    began = now()
    shutdown.send()
    assert await end_of(shutdown, tasks) == 0
    assert now() - began == CANCEL_AGAIN_S * times


async def test_a_part_that_never_ends_is_named_with_its_place_and_left(logs: list[structlog.typing.EventDict]) -> None:
    shutdown, tasks, released = FakeShutdown(), Tasks(), list[float]()

    async def release() -> None:
        released.append(now())

    tasks.start("good", for_ever())
    shutdown.send()
    with Deaf() as deaf:
        tasks.start("worker 3", deaf.never_answers())
        await asyncio.sleep(1)
        began = now()
        with pytest.raises(Left) as left:
            await end_of(shutdown, tasks, Step("lease", release, 4))
    assert left.value.args == (1,)
    assert released == [began + 8]
    hangs = [entry for entry in logs if entry["event"] == "hangs_at_the_end"]
    assert [(entry["part"], entry["waited_s"]) for entry in hangs] == [("worker 3", 8)]
    assert any(place.endswith(" never_answers") for place in hangs[0]["at"])
    assert logs[-1]["parts"] == ["worker 3"]


async def test_a_step_that_hangs_keeps_none_of_the_others(logs: list[structlog.typing.EventDict]) -> None:
    """A runtime whose close hangs, a pool whose close hangs."""
    shutdown, tasks, done = FakeShutdown(), Tasks(), list[str]()

    async def release() -> None:
        done.append("lease")

    async def fails() -> None:
        raise OSError("gone")

    began = now()
    shutdown.send()
    with Deaf() as deaf, pytest.raises(Left):
        await end_of(
            shutdown,
            tasks,
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
    shutdown, tasks = FakeShutdown(), Tasks()
    tasks.start("other", for_ever())
    tasks.start("part", work(), lasting=lasting)
    assert await end_of(shutdown, tasks) == 1
    assert shutdown.ended
    assert [(entry["event"], entry["part"], entry["error"]) for entry in logs] == [("ended", "part", error)]


async def test_the_start_may_end_and_parts_may_start_others() -> None:
    shutdown, tasks = FakeShutdown(), Tasks()

    async def start() -> None:
        await asyncio.sleep(5)
        tasks.start("late", fails_after(7))

    tasks.start("start", start(), lasting=False)
    began = now()
    assert await end_of(shutdown, tasks) == 1
    assert now() - began == 12


async def fails_after(seconds: float) -> None:
    await asyncio.sleep(seconds)
    raise ValueError("late")


async def test_nothing_is_started_once_the_end_has_begun() -> None:
    tasks = Tasks()
    assert await tasks.end(8) == []
    tasks.start("late", for_ever())
    assert await tasks.end(8) == []


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
def shutdown(recorder: Recorder) -> Iterator[Shutdown]:
    made = Shutdown(25, leave=recorder.left.append, end_after=recorder.bounds.append, clock=lambda: recorder.time)
    before = {number: signal.getsignal(number) for number in module.SIGNALS}
    made.listen()
    yield made
    for number, handler in before.items():
        signal.signal(number, handler)


async def test_the_first_signal_wakes_and_bounds_the_second_ends(shutdown: Shutdown, recorder: Recorder) -> None:
    asked = asyncio.create_task(shutdown.asked())
    await asyncio.sleep(0.1)
    assert (asked.done(), shutdown.ending_s) == (False, None)
    os.kill(os.getpid(), signal.SIGTERM)
    await asked
    recorder.time += 7
    assert (shutdown.asked_by, shutdown.ending_s) == (signal.SIGTERM, 7)
    assert (recorder.bounds, recorder.left) == ([25], [])
    shutdown.begin_end()
    assert recorder.bounds == [25], "the bound counts from the first signal"
    os.kill(os.getpid(), signal.SIGINT)
    assert recorder.left == [128 + signal.SIGINT]


async def test_a_failure_bounds_the_end_and_a_signal_during_it_is_the_first(
    shutdown: Shutdown, recorder: Recorder
) -> None:
    shutdown.begin_end()
    os.kill(os.getpid(), signal.SIGTERM)
    assert (recorder.bounds, recorder.left) == ([25], [])


async def test_a_program_without_a_loop_is_told_in_another_thread(shutdown: Shutdown) -> None:
    import threading

    told = threading.Event()
    threads: list[threading.Thread] = []
    shutdown.on_signal(lambda: (threads.append(threading.current_thread()), told.set()))
    os.kill(os.getpid(), signal.SIGTERM)
    assert told.wait(5)
    assert threads[0] is not threading.main_thread()


@pytest.mark.parametrize(("grace_s", "bound_s"), [(30, 30 - MARGIN_S), (60, 55), (5, 4), (1, 0.8)])
def test_the_bound_is_below_the_grace_period(grace_s: float, bound_s: float) -> None:
    assert bound_of(grace_s) == bound_s < grace_s
