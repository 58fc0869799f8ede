"""Faults that tests inject into the market data: what went wrong at real exchanges, on demand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random

from sandbox_exchange.wire import JsonObject, JsonValue

ANY = "*"


class FaultKind(StrEnum):
    """What happens to a request. The fields in brackets apply to that kind alone."""

    DELAY = "delay"  # the answer waits [ms, real]
    ERROR = "error"  # 5xx with a page of HTML [status 503 (default), 500, 502 or 504]
    DROP = "drop"  # the connection is cut without an answer
    HTML = "html"  # 200 with a page of HTML
    EMPTY = "empty"  # 200 without a body
    RATE_LIMIT = "rate_limit"  # [status 429 (default) or 418, retry_after_s]
    LATE_CANDLE = "late_candle"  # a closed candle appears only [ms, simulated] after its end
    DUPLICATE_CANDLE = "duplicate_candle"  # the newest closed candle comes twice
    REVISED_CANDLE = "revised_candle"  # candles closed for [ms, simulated] come with another close and volume
    CLOCK_SKEW = "clock_skew"  # /time is off by [ms, simulated, may be negative]
    STALL = "stall"  # a stream's connection stays open and says nothing


STREAM = "stream"
STREAM_CONNECT = "stream/connect"
STREAM_UPDATE = "stream/update"
STREAM_CLOSED = "stream/closed"
STREAM_ROUTES = frozenset({STREAM, STREAM_CONNECT, STREAM_UPDATE, STREAM_CLOSED})
"""Of the WebSocket streams: the handshake, events of running candles, closing events; `stream` is all three. `*` is
every request, so of these the handshake alone: an event is nobody's request."""


# Kinds that change the content of some routes only; the first is meant when none is given.
_OWN_ROUTES = {
    FaultKind.LATE_CANDLE: ("klines", STREAM_CLOSED),
    FaultKind.DUPLICATE_CANDLE: ("klines", STREAM_CLOSED),
    FaultKind.REVISED_CANDLE: ("klines", STREAM_CLOSED),
    FaultKind.CLOCK_SKEW: ("time",),
    FaultKind.STALL: (STREAM, STREAM_UPDATE, STREAM_CLOSED),
}
# What can happen to an event of a stream; every other kind happens to its handshake.
_OF_EVENTS = (
    FaultKind.DROP,
    FaultKind.STALL,
    FaultKind.LATE_CANDLE,
    FaultKind.DUPLICATE_CANDLE,
    FaultKind.REVISED_CANDLE,
)
_SERVER_ERRORS = (500, 502, 503, 504)
_NEEDS_MS = (FaultKind.DELAY, FaultKind.LATE_CANDLE, FaultKind.REVISED_CANDLE, FaultKind.CLOCK_SKEW)


class FaultError(ValueError):
    """A fault that makes no sense; the text names the field."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. `remaining` is how many more requests it hits (None: all), `hits` how many it hit."""

    id: int
    kind: FaultKind
    route: str
    symbol: str
    probability: float
    remaining: int | None
    ms: int
    status: int
    retry_after_s: int
    hits: int = 0

    def describe(self) -> JsonObject:
        """The fault as the control plane shows it."""
        return {
            "id": self.id,
            "kind": self.kind.value,
            "route": self.route,
            "symbol": self.symbol,
            "probability": self.probability,
            "remaining": self.remaining,
            "ms": self.ms,
            "status": self.status,
            "retry_after_s": self.retry_after_s,
            "hits": self.hits,
        }


@dataclass(frozen=True, slots=True)
class Effects:
    """What the faults together do to one request; a field that is zero or None does nothing.

    `answer` replaces the real answer (its kind is ERROR, DROP, HTML, EMPTY or RATE_LIMIT).
    """

    delay_ms: int = 0
    answer: Fault | None = None
    late_ms: int = 0
    duplicate: bool = False
    revised_ms: int = 0
    skew_ms: int = 0
    stalled: bool = False


NO_EFFECTS = Effects()


class FaultBook:
    """The faults in force.

    Args:
        routes: names a fault may select, such as `klines` and `ticker/24hr`.
        seed: of the draws for faults with a probability; equal requests meet equal faults.
    """

    def __init__(self, *, routes: frozenset[str], seed: int = 0) -> None:
        self._routes = routes
        self._faults: dict[int, Fault] = {}
        self._next_id = 1
        self._random = Random(seed)

    def add(self, fields: Mapping[str, JsonValue]) -> Fault:
        """Put a fault into force.

        Raises:
            FaultError: a field is unknown, missing, of the wrong type or out of range.
        """
        fault = _parse(fields, fault_id=self._next_id, routes=self._routes)
        self._next_id += 1
        self._faults[fault.id] = fault
        return fault

    def list(self) -> list[Fault]:
        """All faults, used up ones included, oldest first."""
        return [*self._faults.values()]

    def clear(self) -> int:
        """Remove all; returns how many there were."""
        count = len(self._faults)
        self._faults.clear()
        return count

    def take(self, *, route: str, symbol: str | None) -> Effects:
        """What happens to a request, counted as a hit of each fault involved."""
        if not self._faults:
            return NO_EFFECTS
        effects = NO_EFFECTS
        for fault in self.list():
            if self._strikes(fault, route=route, symbol=symbol):
                self._count(fault)
                effects = _combined(effects, fault)
        return effects

    def _strikes(self, fault: Fault, *, route: str, symbol: str | None) -> bool:
        if fault.remaining == 0 or not _concerns(fault, route) or fault.symbol not in (ANY, symbol):
            return False
        return fault.probability >= 1 or self._random.random() < fault.probability

    def _count(self, fault: Fault) -> None:
        remaining = None if fault.remaining is None else fault.remaining - 1
        self._faults[fault.id] = replace(fault, remaining=remaining, hits=fault.hits + 1)


def _concerns(fault: Fault, route: str) -> bool:
    if route in (STREAM_UPDATE, STREAM_CLOSED):
        return fault.kind in _OF_EVENTS and fault.route in (STREAM, route)
    if route == STREAM_CONNECT:
        return fault.kind is not FaultKind.STALL and fault.route in (ANY, STREAM, route)
    return fault.route in (ANY, route)


def _combined(effects: Effects, fault: Fault) -> Effects:
    match fault.kind:
        case FaultKind.DELAY:
            return replace(effects, delay_ms=effects.delay_ms + fault.ms)
        case FaultKind.LATE_CANDLE:
            return replace(effects, late_ms=max(effects.late_ms, fault.ms))
        case FaultKind.DUPLICATE_CANDLE:
            return replace(effects, duplicate=True)
        case FaultKind.REVISED_CANDLE:
            return replace(effects, revised_ms=fault.ms)
        case FaultKind.STALL:
            return replace(effects, stalled=True)
        case FaultKind.CLOCK_SKEW:
            return replace(effects, skew_ms=effects.skew_ms + fault.ms)
        case _:
            return replace(effects, answer=effects.answer or fault)


def _parse(fields: Mapping[str, JsonValue], *, fault_id: int, routes: frozenset[str]) -> Fault:
    known = {"kind", "route", "symbol", "probability", "count", "ms", "status", "retry_after_s"}
    unknown = sorted(fields.keys() - known)
    if unknown:
        raise FaultError(f"unknown field {unknown[0]!r}; known are {', '.join(sorted(known))}")
    kind = _kind(fields.get("kind"))
    count = fields.get("count")
    fault = Fault(
        id=fault_id,
        kind=kind,
        route=_route(fields.get("route"), kind=kind, routes=routes),
        symbol=_symbol(fields.get("symbol", ANY)),
        probability=_probability(fields.get("probability", 1)),
        remaining=None if count is None else _whole(fields, "count", minimum=1),
        ms=_whole(fields, "ms", minimum=-(10**10) if kind is FaultKind.CLOCK_SKEW else 0),
        status=_status(fields, kind=kind),
        retry_after_s=_whole(fields, "retry_after_s", minimum=0, default=1),
    )
    if kind in _NEEDS_MS and fault.ms == 0:
        raise FaultError(f"a fault of kind {kind} needs ms")
    return fault


def _kind(value: JsonValue) -> FaultKind:
    try:
        return FaultKind(str(value))
    except ValueError:
        raise FaultError(f"kind {value!r} is not one of {', '.join(FaultKind)}") from None


def _route(value: JsonValue, *, kind: FaultKind, routes: frozenset[str]) -> str:
    own = _OWN_ROUTES.get(kind)
    route = value if value is not None else own[0] if own else ANY
    if own is not None and route not in own:
        raise FaultError(f"route {route!r}: {kind} applies to {' or '.join(map(repr, own))} only")
    if route in (STREAM_UPDATE, STREAM_CLOSED) and kind not in _OF_EVENTS:
        raise FaultError(f"route {route!r}: {kind} can't happen to an event; use {STREAM_CONNECT!r} or '*'")
    if not isinstance(route, str) or route not in {ANY, *routes, *STREAM_ROUTES}:
        known = ", ".join(sorted(routes | STREAM_ROUTES))
        raise FaultError(f"route {route!r} is neither '*' nor one of {known}")
    return route


def _symbol(value: JsonValue) -> str:
    if not isinstance(value, str) or not value:
        raise FaultError(f"symbol {value!r} is not a name such as ETHBTC")
    return value


def _probability(value: JsonValue) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise FaultError(f"probability {value!r} is not above 0 and at most 1")
    return float(value)


def _status(fields: Mapping[str, JsonValue], *, kind: FaultKind) -> int:
    if kind is FaultKind.RATE_LIMIT:
        status = _whole(fields, "status", minimum=0, default=429)
        if status not in (418, 429):
            raise FaultError(f"status {status} of a rate limit is neither 429 nor 418")
        return status
    status = _whole(fields, "status", minimum=0, default=503)
    if kind is FaultKind.ERROR and status not in _SERVER_ERRORS:
        raise FaultError(f"status {status} of an error is not one of {', '.join(map(str, _SERVER_ERRORS))}")
    return status


def _whole(fields: Mapping[str, JsonValue], name: str, *, minimum: int, default: int = 0) -> int:
    value = fields.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise FaultError(f"{name} {value!r} is not a whole number of at least {minimum}")
    return value
