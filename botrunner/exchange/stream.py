"""A WebSocket that wakes the bot when a candle has closed. Nothing it says is traded on: the bot asks REST then.

A daemon thread keeps one connection, answers pings, sends its own, and connects anew, later and later, when the
connection breaks, says nothing for too long, or is about to be cut by the exchange after a day. Without it a bot works
by REST alone, as before: no failure in here ever reaches the trading loop.
"""

from __future__ import annotations

import contextvars
import random
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from websockets.sync.client import connect

from botrunner.process.backoff import Backoff
from fleet.clock import Clock
from fleet.foreign import clean_text
from fleet.log import get_logger

log = get_logger("stream")

OPEN_TIMEOUT_S = 5.0
PING_S = 20.0
"""Between own pings, and how long each may stay unanswered: a dead peer is found within 40 s."""

LIFE_S = 23.5 * 3600
"""Binance cuts a connection after 24 hours; leaving first costs no closing event at an unlucky moment."""

RECONNECT = Backoff(first_s=1.0, most_s=60.0)
"""Binance allows 300 connections in 5 minutes per address; a node may have a hundred bots."""

MAX_FRAME = 64 * 1024
_SILENCE_INTERVALS = 3
_SILENCE_LEAST_S = 30.0
_SILENCE_MOST_S = 300.0


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """Where a market's closed candles are announced, and how.

    Attributes:
        url: ws:// or wss://, the stream named in it.
        closed_ms: a frame → open time of the candle it closes; None for every other frame. Never raises.
    """

    url: str
    closed_ms: Callable[[str | bytes], int | None]


@runtime_checkable
class Streaming(Protocol):
    """What a broker with streams has besides `Broker`."""

    def candle_stream(self, symbol: str, interval: str) -> StreamSpec | None:
        """The stream of a market's candles; None when there is none for it."""


class Socket(Protocol):
    """The part of a connection that is used."""

    def recv(self, timeout: float | None = None) -> str | bytes:
        """The next frame. Raises TimeoutError, ConnectionClosed."""

    def close(self) -> None:
        """End it; may be called from another thread."""


def connect_socket(url: str) -> AbstractContextManager[Socket]:
    """A connection of the `websockets` package. Raises OSError, TimeoutError, InvalidHandshake, InvalidURI."""
    return connect(
        url,
        open_timeout=OPEN_TIMEOUT_S,
        ping_interval=PING_S,
        ping_timeout=PING_S,
        close_timeout=1.0,
        max_size=MAX_FRAME,
        # a few hundred bytes a frame aren't worth zlib's 64 KB a connection
        compression=None,
    )


class StreamSilent(Exception):
    """The connection is open and says nothing."""


def silence_s(interval_s: int) -> float:
    """Longest silence of a stream that works: three candles, between half a minute and five."""
    return min(max(_SILENCE_INTERVALS * interval_s, _SILENCE_LEAST_S), _SILENCE_MOST_S)


class CandleStream:
    """Listens in the background.

    Args:
        spec: of the market.
        interval_s: of its candles.
        on_closed: called from the stream's thread with the open time of a candle that closed; must not block.
        connect, pause: the network, and the wait between two connections; a test brings its own.
    """

    def __init__(
        self,
        spec: StreamSpec,
        *,
        interval_s: int,
        on_closed: Callable[[int], None],
        clock: Clock,
        connect: Callable[[str], AbstractContextManager[Socket]] = connect_socket,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        self._spec = spec
        self._silence_s = silence_s(interval_s)
        self._on_closed = on_closed
        self._clock = clock
        self._connect = connect
        self._done = threading.Event()
        self._pause = pause or self._done.wait
        self._socket: Socket | None = None
        self._failures = 0
        self._thread = threading.Thread(
            target=contextvars.copy_context().run, args=(self.listen,), name="candle-stream", daemon=True
        )

    @property
    def connected(self) -> bool:
        """Whether a connection is open now."""
        return self._socket is not None

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening; within about a second, the thread ends by itself."""
        self._done.set()
        socket = self._socket
        if socket is not None:
            socket.close()

    def listen(self) -> None:
        """Connect and listen until stopped. Runs in the thread."""
        while not self._done.is_set():
            try:
                with self._connect(self._spec.url) as socket:
                    self._socket = socket
                    log.info("stream_connected", url=self._spec.url)
                    self._read(socket)
                wait_s = 0.0
            except Exception as error:  # whatever it is, it costs wake-ups and nothing else
                self._failures += 1
                wait_s = RECONNECT.wait_s(self._failures, draw=random.random())
                if not self._done.is_set():
                    log.warning(
                        "stream_lost",
                        type=type(error).__name__,
                        error=clean_text(error, 300, lines=False),
                        failures=self._failures,
                        retry_in_s=round(wait_s, 1),
                    )
            finally:
                self._socket = None
            self._pause(wait_s)

    def _read(self, socket: Socket) -> None:
        """Read until the connection has lived its life.

        Raises:
            StreamSilent, ConnectionClosed.
        """
        leave_at = self._clock.monotonic() + LIFE_S
        while not self._done.is_set():
            try:
                frame = socket.recv(timeout=self._silence_s)
            except TimeoutError:
                raise StreamSilent(f"no message for {self._silence_s:.0f} s") from None
            self._failures = 0
            closed_ms = self._spec.closed_ms(frame)
            if closed_ms is not None:
                self._on_closed(closed_ms)
            if self._clock.monotonic() >= leave_at:
                log.info("stream_renewed", after_s=LIFE_S)
                return
