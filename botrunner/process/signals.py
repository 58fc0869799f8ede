"""SIGTERM and SIGINT, heard by a thread and not by a handler.

A handler runs inside whatever the main thread is doing, maybe inside a lock: whatever it does with an Event, a logger
or a connection can wait for itself for ever. So the handlers here do nothing. The interpreter notes each signal in a
pipe, even while the main thread is deep in a blocking call, and a thread reads it. Imports next to nothing: it is the
first thing a bot does, as PID 1 of a container ignores a signal that nobody listens to.
"""

from __future__ import annotations

import os
import signal
import time

STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})

DEAF_S = 60.0
"""Between two looks at a pipe that nobody can write to any more."""


def listen() -> int:
    """Begin to note signals; returns the pipe's reading end for `next_stop`. Called once, by the main thread."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    # a full pipe drops signals: those before them say the same
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in STOP_SIGNALS:
        signal.signal(number, _do_nothing)
    return reader


def next_stop(reader: int) -> signal.Signals:
    """Wait for the next SIGTERM or SIGINT; one that came before is returned at once."""
    while True:
        noted = os.read(reader, 1)
        if not noted:
            time.sleep(DEAF_S)  # somebody closed the writing end: no signal will come, nor may asking cost a core
        for number in noted:
            if number in STOP_SIGNALS:
                return signal.Signals(number)


def _do_nothing(*_: object) -> None:
    """Without a handler the signal would end the process, and with SIG_IGN nobody would hear of it."""
