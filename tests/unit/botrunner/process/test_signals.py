"""Signals, in storms too, against real processes: a stop is always heard, and nothing waits for itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from botrunner.process import signals

SIGNALS = 10_000
SENT_AT_ONCE = 50
WAITS_S = 1.0
"""How long the program below waits and rests, whatever it was told."""

PROGRAM = f"""
import os, threading, time
from botrunner.process.stop import StopRequest, StopSwitch
from botrunner.process.signals import listen, next_stop
from fleet.states import ExitReason

stop, reader = StopSwitch(), listen()

def obey():
    while True:
        next_stop(reader)
        stop.request(StopRequest(ExitReason.RELEASED, urgent=True))

threading.Thread(target=obey, daemon=True).start()
print("ready", flush=True)
until = time.monotonic() + {WAITS_S}
while time.monotonic() < until:
    stop.wait(0.001)
    stop.rest(0.001)
os._exit(0 if stop.requested else 1)  # like a bot: while the interpreter shuts down, a signal would kill it
"""


def started(program: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("attempt", range(5))
def test_a_storm_of_signals_ends_a_waiting_process_in_time(attempt: int) -> None:
    """With a handler that set an Event, it waited for itself for ever: in Event.wait, or in the handler before."""
    process = started(PROGRAM)
    try:
        for number in range(SIGNALS):
            os.kill(process.pid, signal.SIGTERM if number % 2 else signal.SIGINT)
            if number % SENT_AT_ONCE == 0:
                time.sleep(0.9 * WAITS_S / (SIGNALS / SENT_AT_ONCE))
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()


def test_a_signal_that_came_before_anybody_waited_is_heard() -> None:
    program = """
import os, signal
from botrunner.process.signals import listen, next_stop
reader = listen()
os.kill(os.getpid(), signal.SIGTERM)
print("ready", flush=True)
assert next_stop(reader) is signal.SIGTERM
os.kill(os.getpid(), signal.SIGINT)
assert next_stop(reader) is signal.SIGINT
"""
    process = started(program)
    assert process.wait(10) == 0


def test_a_signal_is_heard_while_the_main_thread_is_stuck_in_a_blocking_call() -> None:
    program = """
import os, socket, threading
from botrunner.process.signals import listen, next_stop
reader = listen()
def leave():
    next_stop(reader)
    os._exit(0)
threading.Thread(target=leave, daemon=True).start()
one, other = socket.socketpair()
print("ready", flush=True)
one.recv(1)  # an exchange that doesn't answer
"""
    process = started(program)
    os.kill(process.pid, signal.SIGTERM)
    before = time.monotonic()
    assert process.wait(10) == 0
    assert time.monotonic() - before < 2


def test_a_pipe_that_nobody_can_write_to_is_not_asked_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(writer)
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise TimeoutError

    monkeypatch.setattr(signals.time, "sleep", sleep)
    with pytest.raises(TimeoutError):
        signals.next_stop(reader)
    os.close(reader)
    assert slept == [signals.DEAF_S] * 3
