"""The stream's thread, run in the test's own: sockets are scripted, waits are the fake clock's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosedError, InvalidURI

from botrunner.exchange.binance_stream import closed_candle_ms
from botrunner.exchange.stream import LIFE_S, RECONNECT, CandleStream, StreamSpec, silence_s
from tests.support import FakeClock


def frame(minute: int, *, closed: bool = True) -> str:
    kline = {"t": minute * 60_000, "s": "X", "i": "1m", "x": closed}
    return json.dumps({"e": "kline", "k": kline})


class Script:
    """What each connection does: an exception instead of one, or what recv gives, frame by frame."""

    def __init__(self, *connections: Any) -> None:
        self.clock = FakeClock()
        self.closed: list[int] = []
        self.waited: list[float] = []
        self.connections = list(connections)
        self.made = 0
        spec = StreamSpec("ws://x", lambda text: closed_candle_ms(text, symbol="X", interval="1m"))
        self.stream = CandleStream(
            spec,
            interval_s=60,
            on_closed=self.closed.append,
            clock=self.clock,
            connect=self._connect,
            pause=self.waited.append,
        )

    def run(self) -> None:
        self.stream.listen()

    @contextmanager
    def _connect(self, url: str) -> Iterator[Any]:
        self.made += 1
        if not self.connections:
            self.stream.stop()
            raise OSError("the script is over")
        steps = self.connections.pop(0)
        if isinstance(steps, Exception):
            raise steps
        yield Socket(self, steps)


class Socket:
    def __init__(self, script: Script, steps: list[Any]) -> None:
        self.script, self.steps = script, steps

    def recv(self, timeout: float | None = None) -> str:
        assert timeout == silence_s(60)
        step = self.steps.pop(0) if self.steps else ConnectionClosedError(None, None)
        if isinstance(step, BaseException):
            raise step
        if isinstance(step, float):
            self.script.clock.time += step
            step = "{}"
        return str(step)

    def close(self) -> None:
        raise AssertionError("nobody stops an open one here")


def test_only_closing_events_wake_the_bot() -> None:
    script = Script(["{}", frame(1, closed=False), "garbage", frame(1), frame(1), frame(2)])
    script.run()
    assert script.closed == [60_000, 60_000, 120_000]


@pytest.mark.parametrize(
    "failure", [OSError("refused"), TimeoutError("handshake"), InvalidURI("x", "y"), [TimeoutError()], []]
)
def test_it_comes_back_after_every_failure_later_and_later(failure: Any) -> None:
    failures = [failure if isinstance(failure, Exception) else [*failure] for _ in range(12)]
    script = Script(*failures, [frame(5)])
    script.run()
    assert script.closed == [300_000]
    assert script.made == 14
    for number, wait in enumerate(script.waited[:12]):
        assert RECONNECT.first_s / 2 <= wait <= min(RECONNECT.most_s, RECONNECT.first_s * 2**number)


def test_a_connection_that_speaks_begins_the_backoff_anew() -> None:
    script = Script(*[OSError("no")] * 8, [frame(1)], OSError("no"))
    script.run()
    after_speaking = script.waited[8]
    assert after_speaking <= RECONNECT.first_s


def test_it_leaves_before_the_exchange_cuts_it() -> None:
    script = Script([LIFE_S - 1.0, frame(1), 1.0, frame(2)], [frame(3)])
    script.run()
    # the frame behind the renewal isn't read on the old connection
    assert script.closed == [60_000, 180_000]
    assert script.waited[0] == 0.0


@pytest.mark.parametrize(("interval_s", "silence"), [(1, 30), (60, 180), (300, 300), (86_400, 300)])
def test_how_long_it_may_be_silent(interval_s: int, silence: float) -> None:
    assert silence_s(interval_s) == silence
