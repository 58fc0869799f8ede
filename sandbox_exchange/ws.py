"""The WebSocket server of the market streams: connections, their pace, and their faults.

Events follow the simulated clock: a running candle is told every two simulated seconds (one for 1s candles) but at
most four times a real second, and its closing event when the clock reaches its end. A connection is pinged every 20
real seconds and lasts 24 real hours, as at Binance.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import NoReturn

from aiohttp import WSCloseCode, WSMsgType, web

from sandbox_exchange.candles import DAY_MS, SECOND_MS, revised
from sandbox_exchange.clock import SimulatedClock
from sandbox_exchange.faults import STREAM_CLOSED, STREAM_CONNECT, STREAM_UPDATE, FaultBook, FaultKind
from sandbox_exchange.market import Market
from sandbox_exchange.streams import (
    KlineStream,
    Moment,
    Subscriptions,
    closed_between,
    kline_event,
    kline_stream,
    running_at,
)
from sandbox_exchange.wire import JsonObject, dumps

PING_S = 20.0
LIFE_S = 24 * 3600.0
MESSAGES_PER_S = 5
"""Frames a client may send; more closes its connection."""

UPDATE_MS = 2 * SECOND_MS
_UPDATES_PER_S = 4
_IDLE_S = 0.5
"""Longest wait between two looks at the clock: a paused one tells when it moves, a test's own may not."""


@dataclass(slots=True)
class _Position:
    """How far a stream has been told on one connection, simulated ms."""

    stream: KlineStream | None
    closed_ms: int
    updated_ms: int


@dataclass(slots=True, eq=False)
class _Connection:
    socket: web.WebSocketResponse
    request: web.Request
    subscriptions: Subscriptions
    opened_s: float
    positions: dict[str, _Position] = field(default_factory=dict)
    held: list[tuple[int, str, JsonObject]] = field(default_factory=list)
    frames: deque[float] = field(default_factory=lambda: deque(maxlen=MESSAGES_PER_S))
    woken: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, name: str, payload: JsonObject) -> None:
        await self.socket.send_str(dumps(self.subscriptions.wrap(name, payload)).decode())

    def abort(self) -> NoReturn:
        """Cut the connection; nothing more is told on it."""
        if self.request.transport is not None:
            self.request.transport.abort()
        raise ConnectionResetError("sandbox fault")


class Streams:
    """Serves /ws and /stream.

    Args:
        monotonic: real seconds from any origin.
        ping_s: between pings; an unanswered one ends the connection after half of it.
    """

    def __init__(
        self,
        *,
        market: Market,
        clock: SimulatedClock,
        faults: FaultBook,
        monotonic: Callable[[], float],
        ping_s: float = PING_S,
    ) -> None:
        self._market = market
        self._clock = clock
        self._faults = faults
        self._monotonic = monotonic
        self._ping_s = ping_s
        self._connections: set[_Connection] = set()
        self.events = 0
        clock.watch(self._wake)

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._connections)

    def attach(self, app: web.Application) -> None:
        """Serve the streams in this application."""
        app.router.add_get("/ws", self._raw)
        app.router.add_get("/ws/{names:.+}", self._raw)
        app.router.add_get("/stream", self._combined)
        app.on_shutdown.append(self._close_all)

    async def _raw(self, request: web.Request) -> web.StreamResponse:
        names = [name for name in request.match_info.get("names", "").split("/") if name]
        return await self._serve(request, Subscriptions(names, combined=False))

    async def _combined(self, request: web.Request) -> web.StreamResponse:
        names = [name for name in request.query.get("streams", "").split("/") if name]
        return await self._serve(request, Subscriptions(names, combined=True))

    async def _serve(self, request: web.Request, subscriptions: Subscriptions) -> web.StreamResponse:
        refusal = await self._refused(request)
        if refusal is not None:
            return refusal
        socket = web.WebSocketResponse(heartbeat=self._ping_s, max_msg_size=64 * 1024)
        if not socket.can_prepare(request):
            return web.Response(status=400, text="this address speaks WebSocket")
        await socket.prepare(request)
        connection = _Connection(socket, request, subscriptions, self._monotonic())
        self._connections.add(connection)
        pump = asyncio.create_task(self._pump(connection))
        try:
            await self._listen(connection)
        finally:
            self._connections.discard(connection)
            pump.cancel()
            with suppress(asyncio.CancelledError, ConnectionError):
                await pump
        return socket

    async def _refused(self, request: web.Request) -> web.Response | None:
        effects = self._faults.take(route=STREAM_CONNECT, symbol=None)
        if effects.delay_ms:
            await asyncio.sleep(effects.delay_ms / 1000)
        if effects.answer is None:
            return None
        if effects.answer.kind is FaultKind.DROP:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        page = effects.answer.kind in (FaultKind.HTML, FaultKind.EMPTY)
        status = HTTPStatus.OK if page else HTTPStatus(effects.answer.status)
        limited = effects.answer.kind is FaultKind.RATE_LIMIT
        headers = {"Retry-After": str(effects.answer.retry_after_s)} if limited else {}
        return web.Response(status=status, text=f"{status.phrase}: sandbox fault", headers=headers)

    async def _listen(self, connection: _Connection) -> None:
        """Obey frames until the connection ends."""
        async for message in connection.socket:
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                continue
            now_s = self._monotonic()
            full = len(connection.frames) == MESSAGES_PER_S
            if full and now_s - connection.frames[0] < 1:
                await connection.socket.close(code=WSCloseCode.POLICY_VIOLATION, message=b"Too many requests")
                return
            connection.frames.append(now_s)
            text = message.data if message.type is WSMsgType.TEXT else "\N{REPLACEMENT CHARACTER}"
            await connection.socket.send_str(dumps(connection.subscriptions.answer(text)).decode())
            connection.woken.set()

    async def _pump(self, connection: _Connection) -> None:
        """Tell what is due, wait, again."""
        try:
            while not connection.socket.closed:
                if self._monotonic() - connection.opened_s >= LIFE_S:
                    await connection.socket.close(code=WSCloseCode.GOING_AWAY, message=b"24 hours are over")
                    return
                connection.woken.clear()
                now_ms = self._clock.now_ms()
                due_ms = await self._tell_all(connection, now_ms)
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._wait_s(due_ms - now_ms)):
                        await connection.woken.wait()
        except ConnectionError:
            return  # the client is gone; the listener sees it too

    async def _tell_all(self, connection: _Connection, now_ms: int) -> int:
        """Send what is due at this time; returns when something is due again."""
        names = [*connection.subscriptions]
        for gone in connection.positions.keys() - set(names):
            del connection.positions[gone]
        for name in names:
            if name not in connection.positions:
                connection.positions[name] = _Position(kline_stream(name, self._market), now_ms, 0)
        for at_ms, name, payload in [held for held in connection.held if held[0] <= now_ms]:
            connection.held.remove((at_ms, name, payload))
            await self._send(connection, name, payload)
        due_ms = min((at_ms for at_ms, _, _ in connection.held), default=now_ms + DAY_MS)
        for position in [*connection.positions.values()]:
            if position.stream is not None:
                due_ms = min(due_ms, await self._tell(connection, position, position.stream, now_ms))
        return due_ms

    async def _tell(self, connection: _Connection, position: _Position, stream: KlineStream, now_ms: int) -> int:
        for moment in closed_between(stream, since_ms=position.closed_ms, now_ms=now_ms):
            await self._tell_closed(connection, stream, moment, now_ms)
        position.closed_ms = max(position.closed_ms, now_ms)
        if now_ms >= position.updated_ms:
            running = running_at(stream, now_ms=now_ms)
            if running is not None:
                await self._tell_running(connection, stream, running, now_ms)
            position.updated_ms = now_ms + self._update_ms(stream)
        next_close_ms = (now_ms // stream.interval_ms + 1) * stream.interval_ms
        return min(next_close_ms, position.updated_ms)

    def _update_ms(self, stream: KlineStream) -> int:
        slowest = int(self._clock.state().speed * SECOND_MS) // _UPDATES_PER_S
        return max(slowest, min(UPDATE_MS, stream.interval_ms))

    async def _tell_running(self, connection: _Connection, stream: KlineStream, moment: Moment, now_ms: int) -> None:
        effects = self._faults.take(route=STREAM_UPDATE, symbol=stream.listing.symbol)
        if effects.answer is not None:
            connection.abort()
        if not effects.stalled:
            await self._send(connection, stream.name, kline_event(stream, moment, now_ms=now_ms))

    async def _tell_closed(self, connection: _Connection, stream: KlineStream, moment: Moment, now_ms: int) -> None:
        effects = self._faults.take(route=STREAM_CLOSED, symbol=stream.listing.symbol)
        if effects.answer is not None:
            connection.abort()
        if effects.stalled:
            return
        moments = [moment] * (2 if effects.duplicate else 1)
        if effects.revised_ms:
            moments.append(Moment(revised(moment.candle), closed=True))
        for told in moments:
            payload = kline_event(stream, told, now_ms=now_ms + effects.late_ms)
            if effects.late_ms:
                connection.held.append((now_ms + effects.late_ms, stream.name, payload))
            else:
                await self._send(connection, stream.name, payload)

    async def _send(self, connection: _Connection, name: str, payload: JsonObject) -> None:
        self.events += 1
        await connection.send(name, payload)

    def _wait_s(self, simulated_ms: int) -> float:
        state = self._clock.state()
        if state.paused or state.at_end:
            return _IDLE_S
        return min(max(simulated_ms / 1000 / state.speed, 0.001), _IDLE_S)

    def _wake(self) -> None:
        for connection in self._connections:
            connection.woken.set()

    async def _close_all(self, _: web.Application) -> None:
        for connection in [*self._connections]:
            await connection.socket.close(code=WSCloseCode.GOING_AWAY, message=b"the sandbox stops")
