"""What every request of the exchange's API passes: weight, faults, the handler, Binance's error bodies.

Handlers are plain functions from request to JSON value; everything that waits or breaks connections is here.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import web

from sandbox_exchange.clock import PacedSeconds, SimulatedClock
from sandbox_exchange.faults import NO_EFFECTS, Effects, Fault, FaultBook, FaultKind
from sandbox_exchange.params import Params
from sandbox_exchange.weights import Verdict, WeightLimiter
from sandbox_exchange.wire import ApiError, JsonValue, dumps

PREFIX = "/api/v3"
REQUESTS_KEPT = 20_000
_JSON = "application/json;charset=UTF-8"


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """What a handler knows: parameters, one reading of the simulated time, and faults that change content."""

    params: Params
    now_ms: int
    effects: Effects


@dataclass(frozen=True, slots=True)
class Route:
    """An endpoint under /api/v3. `name` is its path there, `weight` what a request costs."""

    name: str
    respond: Callable[[ApiRequest], JsonValue]
    weight: Callable[[Params], int]
    method: str = "GET"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, for tests to look at: when (real Unix s), who, what, and whether the limits allowed it (200, 429,
    418; whatever the handler answered then)."""

    at_s: float
    address: str
    route: str
    symbol: str
    weight: int
    verdict: int


class Gateway:
    """Serves routes.

    Attributes:
        requests: what was asked, refused and broken requests included. by_route, by_verdict: the same, divided.
        asked: the newest of them.
    """

    def __init__(
        self,
        *,
        clock: SimulatedClock,
        limiter: WeightLimiter,
        paced: PacedSeconds,
        faults: FaultBook,
        real_s: Callable[[], float],
    ) -> None:
        self._clock = clock
        self.limiter = limiter
        self._paced = paced
        self._faults = faults
        self._real_s = real_s
        self.requests = 0
        self.by_route: Counter[str] = Counter()
        self.by_verdict: Counter[int] = Counter()
        self.asked: deque[Asked] = deque(maxlen=REQUESTS_KEPT)

    def attach(self, app: web.Application, routes: Sequence[Route]) -> None:
        """Serve the routes in this application."""
        for route in routes:
            app.router.add_route(route.method, f"{PREFIX}/{route.name}", self._handler(route))

    def _handler(self, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            self.requests += 1
            params = Params(request.query)
            address, weight = request.remote or "", _weight(route, params)
            verdict = self.limiter.charge(address, weight)
            effects = NO_EFFECTS
            if verdict.status == 200:
                effects = self._faults.take(route=route.name, symbol=request.query.get("symbol"))
                verdict = self._limited_by_fault(effects, verdict)
            symbol = request.query.get("symbol", "")
            self.by_route[route.name] += 1
            self.by_verdict[verdict.status] += 1
            self.asked.append(Asked(self._real_s(), address, route.name, symbol, weight, verdict.status))
            if effects.delay_ms:
                await asyncio.sleep(effects.delay_ms / 1000)
            if verdict.status != 200:
                return self._refused(verdict)
            if effects.answer is not None:
                return self._broken(effects.answer, request=request)
            return self._answer(route, params=params, effects=effects, verdict=verdict)

        return handle

    def _limited_by_fault(self, effects: Effects, verdict: Verdict) -> Verdict:
        """An injected rate limit, its real seconds in the limiter's."""
        fault = effects.answer
        if fault is None or fault.kind is not FaultKind.RATE_LIMIT:
            return verdict
        return Verdict(fault.status, verdict.used, fault.retry_after_s * self._paced.pace)

    def _answer(self, route: Route, *, params: Params, effects: Effects, verdict: Verdict) -> web.Response:
        asked = ApiRequest(params=params, now_ms=self._clock.now_ms(), effects=effects)
        try:
            return _json(route.respond(asked), verdict=verdict)
        except ApiError as error:
            return _json(error.body(), verdict=verdict, status=error.status)

    def _refused(self, verdict: Verdict) -> web.Response:
        limit = self.limiter.limit
        if verdict.status == 418:
            until_ms = self._clock.now_ms() + int(verdict.retry_after_s * 1000)
            message = f"Way too much request weight used; IP banned until {until_ms}. "
        else:
            message = f"Too much request weight used; current limit is {limit} request weight per 1 MINUTE. "
        message += "Please use WebSocket Streams for live updates to avoid polling the API."
        error = ApiError(code=-1003, message=message, status=verdict.status)
        # a client waits in real time
        retry_after_s = math.ceil(verdict.retry_after_s / self._paced.pace)
        return _json(error.body(), verdict=verdict, status=error.status, retry_after_s=retry_after_s)

    def _broken(self, fault: Fault, *, request: web.Request) -> web.Response:
        match fault.kind:
            case FaultKind.DROP:
                if request.transport is not None:
                    request.transport.abort()
                return web.Response()  # goes nowhere: the connection is gone
            case FaultKind.HTML:
                return _html_page(HTTPStatus.OK)
            case FaultKind.EMPTY:
                return web.Response(body=b"", content_type="application/json")
            case _:
                # as from the proxies in front of Binance: a JSON body would change the client's class of error
                return _html_page(HTTPStatus(fault.status))


def _html_page(status: HTTPStatus) -> web.Response:
    page = f"<html><head><title>{status} {status.phrase}</title></head><body>sandbox fault</body></html>"
    return web.Response(text=page, status=status, content_type="text/html")


def _weight(route: Route, params: Params) -> int:
    """What the request costs; 1 for parameters that the handler is going to refuse."""
    try:
        return route.weight(params)
    except ApiError:
        return 1


def _json(value: JsonValue, *, verdict: Verdict, status: int = 200, retry_after_s: int | None = None) -> web.Response:
    used = str(verdict.used)
    headers = {"Content-Type": _JSON, "X-MBX-USED-WEIGHT": used, "X-MBX-USED-WEIGHT-1M": used}
    if retry_after_s is not None:
        headers["Retry-After"] = str(retry_after_s)
    return web.Response(body=dumps(value), status=status, headers=headers)
