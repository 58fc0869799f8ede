"""The control plane under /_sandbox/: what a test sees of the sandbox and how it steers it. No weights, no faults."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

from aiohttp import web

from sandbox_exchange.candles import DAY_MS, INTERVAL_MS
from sandbox_exchange.clock import ClockError, ClockState, SimulatedClock
from sandbox_exchange.faults import FaultBook, FaultError
from sandbox_exchange.gateway import Gateway
from sandbox_exchange.market import Listing, Market
from sandbox_exchange.weights import WeightLimiter
from sandbox_exchange.wire import JsonObject, JsonValue, dumps
from sandbox_exchange.ws import Streams

_UNIX_ZERO = datetime(1970, 1, 1, tzinfo=UTC)
_ACTIONS = {"pause": (), "resume": (), "step": ("ms", "bars", "interval"), "speed": ("speed",), "set": ("time",)}


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """The handlers; wrong requests are answered 400 with `{error}` and change nothing."""

    market: Market
    clock: SimulatedClock
    faults: FaultBook
    gateway: Gateway
    streams: Streams

    def attach(self, app: web.Application) -> None:
        """Serve the control plane in this application."""
        app.router.add_get("/healthz", self.health)
        app.router.add_get("/_sandbox/status", self.status)
        app.router.add_get("/_sandbox/requests", self.list_requests)
        app.router.add_get("/_sandbox/clock", self.show_clock)
        app.router.add_post("/_sandbox/clock", self.change_clock)
        app.router.add_get("/_sandbox/faults", self.list_faults)
        app.router.add_post("/_sandbox/faults", self.add_fault)
        app.router.add_delete("/_sandbox/faults", self.clear_faults)

    async def health(self, _: web.Request) -> web.Response:
        """Whether the process answers."""
        return _answer({"status": "ok"})

    async def status(self, _: web.Request) -> web.Response:
        """Symbols, origins, shifts, clock."""
        return _answer(
            {
                "clock": _describe_clock(self.clock.state()),
                "symbols": [_describe_listing(listing) for listing in self.market.listings.values()],
                "notes": list(self.market.notes),
                "faults": len(self.faults.list()),
                "requests": self.gateway.requests,
                "requests_by_route": dict(self.gateway.by_route),
                "requests_by_verdict": {str(status): count for status, count in self.gateway.by_verdict.items()},
                "weight": {"limit": self.gateway.limiter.limit, "minutes": _minutes(self.gateway.limiter)},
                "streams": {"connections": self.streams.connections, "events": self.streams.events},
            }
        )

    async def list_requests(self, _: web.Request) -> web.Response:
        """The newest requests, oldest first; `verdict` is what the limits said."""
        return _answer([asdict(asked) for asked in self.gateway.asked])

    async def show_clock(self, _: web.Request) -> web.Response:
        """The clock."""
        return _answer(_describe_clock(self.clock.state()))

    async def change_clock(self, request: web.Request) -> web.Response:
        """`{"action": pause | resume | step (ms, or bars and interval) | speed (speed) | set (time)}`."""
        try:
            self._apply(await _body(request))
        except ClockError as error:
            return _answer({"error": str(error)}, status=400)
        return _answer(_describe_clock(self.clock.state()))

    async def list_faults(self, _: web.Request) -> web.Response:
        """The faults with their hits."""
        return _answer([fault.describe() for fault in self.faults.list()])

    async def add_fault(self, request: web.Request) -> web.Response:
        """Put one fault into force; see FaultKind for the fields."""
        try:
            fault = self.faults.add(await _body(request))
        except (FaultError, ClockError) as error:
            return _answer({"error": str(error)}, status=400)
        return _answer(fault.describe(), status=201)

    async def clear_faults(self, _: web.Request) -> web.Response:
        """Remove all faults."""
        return _answer({"cleared": self.faults.clear()})

    def _apply(self, fields: JsonObject) -> None:
        action = fields.get("action")
        if not isinstance(action, str) or action not in _ACTIONS:
            raise ClockError(f"action {action!r} is not one of {', '.join(_ACTIONS)}")
        for name in fields.keys() - {"action"}:
            if name not in _ACTIONS[action]:
                raise ClockError(f"{name!r} is not a field of {action}")
        self._actions()[action](fields)

    def _actions(self) -> dict[str, Callable[[JsonObject], None]]:
        return {
            "pause": lambda _: self.clock.pause(),
            "resume": lambda _: self.clock.resume(),
            "step": lambda fields: self.clock.step(_step_ms(fields)),
            "speed": lambda fields: self.clock.set_speed(_number(fields, "speed")),
            "set": lambda fields: self.clock.set(_time_ms(fields)),
        }


async def _body(request: web.Request) -> JsonObject:
    try:
        fields = json.loads(await request.text())
    except ValueError as error:
        raise ClockError(f"the body is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise ClockError("the body must be a JSON object")
    return fields


def _minutes(limiter: WeightLimiter) -> JsonObject:
    return {address: list(used) for address, used in limiter.minutes().items()}


def _answer(value: JsonValue, *, status: int = 200) -> web.Response:
    return web.Response(body=dumps(value), status=status, content_type="application/json")


def _number(fields: JsonObject, name: str) -> float:
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ClockError(f"{name} {value!r} is not a finite number")
    return value


def _step_ms(fields: JsonObject) -> int:
    if "ms" in fields:
        return int(_number(fields, "ms"))
    interval = fields.get("interval")
    if not isinstance(interval, str) or interval not in INTERVAL_MS:
        raise ClockError(f"step needs ms, or bars and an interval such as 5m; interval is {interval!r}")
    return int(_number(fields, "bars")) * INTERVAL_MS[interval]


def _time_ms(fields: JsonObject) -> int:
    """Unix ms as a number, or ISO 8601 with an offset."""
    value = fields.get("time")
    if not isinstance(value, str):
        return int(_number(fields, "time"))
    try:
        time = datetime.fromisoformat(value)
    except ValueError as error:
        raise ClockError(f"time {value!r} is neither Unix ms nor ISO 8601") from error
    if time.tzinfo is None:
        raise ClockError(f"time {value!r} has no offset; write {value}Z for UTC")
    return (time - _UNIX_ZERO) // timedelta(milliseconds=1)


def _iso(milliseconds: int | None) -> str | None:
    if milliseconds is None:
        return None
    return (_UNIX_ZERO + timedelta(milliseconds=milliseconds)).isoformat(timespec="milliseconds")


def _describe_clock(state: ClockState) -> JsonObject:
    return {
        "time_ms": state.now_ms,
        "time": _iso(state.now_ms),
        "speed": state.speed,
        "paused": state.paused,
        "at_end": state.at_end,
        "end": _iso(state.end_ms),
    }


def _describe_listing(listing: Listing) -> JsonObject:
    series = listing.series
    names = {milliseconds: name for name, milliseconds in INTERVAL_MS.items()}
    return {
        "symbol": listing.symbol,
        "origin": listing.origin.value,
        "interval": names[series.interval_ms],
        "first_candle": _iso(series.first_open),
        "last_candle_ends": _iso(series.end),
        "shift_ms": series.shift_ms,
        "shift_days": series.shift_ms // DAY_MS,
        "repeats_every_ms": series.repeats_every_ms,
    }
