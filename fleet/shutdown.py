"""The life of a program: it runs until a signal asks it to end, ends within a bound, and at once at a second signal.

An end that waits for everything waits for ever when one task has swallowed its cancellation: `asyncio.wait_for` of
Python 3.11 does that whenever what it waits for is done in the same instant, which a connection pool under load
brings about regularly. So nothing here waits without a limit: tasks are cancelled again and again for a while, those
that are left are named in the log with the place where they hang, each step of the shutdown has seconds of its own,
and a watchdog of the interpreter ends the process after the bound whatever holds its loop or its threads.

What is on its way when a process ends like this is safe by the protocols that survive a kill: leases, claims, outbox.
Exit codes: 0 asked and everything ended, 1 failed or something was left hanging, 128 + n at a second signal n.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Protocol

from fleet.exit_codes import EXIT_FAILED, EXIT_OK
from fleet.log import get_logger

log = get_logger("shutdown")

SIGNALS = (signal.SIGTERM, signal.SIGINT)

CANCEL_AGAIN_S = 1.5
"""A task that goes on after it was cancelled is cancelled again so often."""

MARGIN_S = 5.0
"""From the end of a program's own bound to the SIGKILL of whoever supervises it."""


def bound_of(grace_s: float) -> float:
    """The bound that fits into a grace period: MARGIN_S less, but for very short ones a fifth less."""
    return max(grace_s - MARGIN_S, grace_s * 0.8)


def end_after(seconds: float) -> None:
    """Have the process ended with code 1 after so long, whatever holds its loop or its threads.

    A thread of the interpreter's own does it, which needs neither its lock nor a loop: it prints the stacks of all
    threads before (names of files and functions, no values).
    """
    faulthandler.dump_traceback_later(seconds, exit=True)


@dataclass(slots=True)
class Shutdown:
    """One process's signals and the bound of its end.

    Attributes:
        bound_s: from the first signal, or from `begin_end`, to the end of the process.
        leave: ends the process at once, without any clean-up.
        end_after: has the process ended after so many seconds, whatever it does.
        clock: monotonic seconds.
        asked_by: number of the first signal; None before it.
    """

    bound_s: float
    leave: Callable[[int], object] = os._exit
    end_after: Callable[[float], None] = end_after
    clock: Callable[[], float] = time.monotonic
    asked_by: int | None = field(default=None, init=False)
    _ending_at: float | None = field(default=None, init=False)
    _pipe: tuple[int, int] = field(default_factory=os.pipe, init=False)

    def listen(self) -> None:
        """Take SIGTERM and SIGINT from now on; to be called in the main thread, before anything else is started."""
        for number in SIGNALS:
            signal.signal(number, self.take)

    def take(self, number: int, _frame: FrameType | None = None) -> None:
        """A signal has come.

        It may come between any two instructions of the main thread, inside a lock too: so no lock is taken here, no
        log line written and no Event set. Whoever waits is woken by a pipe.
        """
        if self.asked_by is not None:
            os.write(2, b'{"event": "ended_by_second_signal", "signal": %d}\n' % number)
            self.leave(128 + number)
            return
        self.asked_by = number
        self.begin_end()
        os.write(self._pipe[1], b"!")

    def begin_end(self) -> None:
        """The end begins, for a signal or for a failure: the process lives `bound_s` longer at most."""
        if self._ending_at is None:
            self._ending_at = self.clock()
            self.end_after(self.bound_s)

    @property
    def ending_s(self) -> float | None:
        """Seconds since the end began; None before."""
        return None if self._ending_at is None else self.clock() - self._ending_at

    async def asked(self) -> None:
        """Wait for the first signal."""
        loop, woken = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._pipe[0], woken.set)
        try:
            await woken.wait()
        finally:
            loop.remove_reader(self._pipe[0])

    def on_signal(self, act: Callable[[], object]) -> None:
        """Call `act` after the first signal, in a thread of its own: for programs without a loop."""

        def wait() -> None:
            os.read(self._pipe[0], 1)
            act()

        threading.Thread(target=wait, name="signals", daemon=True).start()


class Ending(Protocol):
    """What `run_until_asked` needs of a Shutdown."""

    bound_s: float

    @property
    def asked_by(self) -> int | None:
        """The first signal."""

    def begin_end(self) -> None:
        """See Shutdown."""

    async def asked(self) -> None:
        """See Shutdown."""

    @property
    def leave(self) -> Callable[[int], object]:
        """See Shutdown."""


class Tasks:
    """Tasks that are started one by one and end together.

    A TaskGroup's end waits for ever for a task that swallowed its cancellation, and never cancels it again.
    """

    def __init__(self) -> None:
        self._lasting: dict[asyncio.Task[None], bool] = {}
        self._changed = asyncio.Event()
        self._ended = False

    def start(self, name: str, work: Coroutine[Any, Any, None], *, lasting: bool = True) -> None:
        """Start one; `lasting`: its end, even without an error, is a failure of the program.

        Does nothing once the end has begun: one task may be starting others just then.
        """
        if self._ended:
            work.close()
            return
        task = asyncio.create_task(work, name=name)
        self._lasting[task] = lasting
        task.add_done_callback(lambda _: self._changed.set())
        self._changed.set()

    async def first_end(self) -> asyncio.Task[None]:
        """Wait until a task has ended that should go on, or any has failed."""
        while True:
            self._changed.clear()
            for task, lasting in self._lasting.items():
                if task.done() and (lasting or task.cancelled() or task.exception() is not None):
                    return task
            await self._changed.wait()

    async def end(self, within_s: float) -> list[asyncio.Task[None]]:
        """Cancel all, again and again while some go on; returns those that are left after `within_s`."""
        self._ended = True
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        left = [task for task in self._lasting if not task.done()]
        while left and (rest_s := deadline - loop.time()) > 0:
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=min(CANCEL_AGAIN_S, rest_s))
            left = [task for task in left if not task.done()]
        return left


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a shutdown, done after the tasks have ended; one that fails or hangs doesn't keep the next.

    Attributes:
        name: for the log.
        act: what is done.
        within_s: it is left alone after so long.
    """

    name: str
    act: Callable[[], Awaitable[object]]
    within_s: float

    async def take(self) -> bool:
        """Do it; False when it is left hanging."""

        async def act() -> None:
            await self.act()

        task = asyncio.create_task(act(), name=self.name)
        await asyncio.wait({task}, timeout=self.within_s)
        if not task.done():
            task.cancel()
            _report(task, self.within_s)
            return False
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("shutdown_step_failed", step=self.name, error=repr(error)[:500])
        return True


async def run_until_asked(
    shutdown: Ending, tasks: Tasks, *, stop: Callable[[], None], cancel_s: float, steps: Sequence[Step]
) -> int:
    """Run until a signal comes or a task ends, then shut down; returns the exit code.

    When something is left hanging it doesn't return but ends the process: neither the loop's nor the interpreter's
    own end would get past it.

    Args:
        shutdown: of the process.
        tasks: those that run; they may start further ones.
        stop: called first: from then on nothing new is begun.
        cancel_s: for the tasks to end.
        steps: done afterwards, in order.
    """
    signals = asyncio.create_task(shutdown.asked(), name="signals")
    ends = asyncio.create_task(tasks.first_end(), name="ends")
    await asyncio.wait([signals, ends], return_when=asyncio.FIRST_COMPLETED)
    code = EXIT_FAILED if shutdown.asked_by is None else EXIT_OK
    if shutdown.asked_by is None:
        _say_end(ends.result())
    else:
        log.info("stopping", signal=signal.Signals(shutdown.asked_by).name, bound_s=shutdown.bound_s)
    shutdown.begin_end()
    stop()
    stuck = await tasks.end(cancel_s)
    for task in stuck:
        _report(task, cancel_s)
    done = [await step.take() for step in steps]
    signals.cancel()
    ends.cancel()
    if stuck or not all(done):
        log.error("ended_with_parts_left", parts=[task.get_name() for task in stuck])
        sys.stdout.flush()
        sys.stderr.flush()
        shutdown.leave(EXIT_FAILED)
    return code


def _say_end(part: asyncio.Task[None]) -> None:
    error = None if part.cancelled() else part.exception()
    log.error("ended", part=part.get_name(), error=repr(error)[:1000], kind=type(error).__name__)


def _report(task: asyncio.Task[None], waited_s: float) -> None:
    log.error("hangs_at_the_end", part=task.get_name(), waited_s=waited_s, at=where(task))


def where(task: asyncio.Task[Any]) -> list[str]:
    """Where a task waits, outermost first: `file:line function`, and no values of variables."""
    places: list[str] = []
    awaited: Any = task.get_coro()
    while awaited is not None and len(places) < 30:
        frame = next((f for a in ("cr_frame", "gi_frame", "ag_frame") if (f := getattr(awaited, a, None))), None)
        if frame is not None:
            file = "/".join(frame.f_code.co_filename.rsplit("/", 2)[-2:])
            places.append(f"{file}:{frame.f_lineno} {frame.f_code.co_name}")
        awaited = next((a for n in ("cr_await", "gi_yieldfrom", "ag_await") if (a := getattr(awaited, n, None))), None)
    return places
