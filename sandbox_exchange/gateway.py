"""What every request of the exchange's API passes: weight, faults, the handler, Binance's error bodies.

Handlers are plain functions from request to JSON value; everything that waits or breaks connections is here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import web

from sandbox_exchange.clock import SimulatedClock
from sandbox_exchange.faults import Effects, Fault, FaultBook, FaultKind
from sandbox_exchange.params import Params
from sandbox_exchange.weights import Verdict, WeightLimiter
from sandbox_exchange.wire import ApiError, JsonValue, dumps

PREFIX = "/api/v3"
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


class Gateway:
    """Serves routes. `requests` counts what was asked, refused and broken requests included."""

    def __init__(self, *, clock: SimulatedClock, limiter: WeightLimiter, faults: FaultBook) -> None:
        self._clock = clock
        self._limiter = limiter
        self._faults = faults
        self.requests = 0

    def attach(self, app: web.Application, routes: Sequence[Route]) -> None:
        """Serve the routes in this application."""
        for route in routes:
            app.router.add_route(route.method, f"{PREFIX}/{route.name}", self._handler(route))

    def _handler(self, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            self.requests += 1
            params = Params(request.query)
            verdict = self._limiter.charge(request.remote or "", _weight(route, params))
            if verdict.status != 200:
                return self._refused(verdict)
            effects = self._faults.take(route=route.name, symbol=request.query.get("symbol"))
            if effects.delay_ms:
                await asyncio.sleep(effects.delay_ms / 1000)
            if effects.answer is not None:
                return self._broken(effects.answer, request=request, verdict=verdict)
            return self._answer(route, params=params, effects=effects, verdict=verdict)

        return handle

    def _answer(self, route: Route, *, params: Params, effects: Effects, verdict: Verdict) -> web.Response:
        asked = ApiRequest(params=params, now_ms=self._clock.now_ms(), effects=effects)
        try:
            return _json(route.respond(asked), verdict=verdict)
        except ApiError as error:
            return _json(error.body(), verdict=verdict, status=error.status)

    def _refused(self, verdict: Verdict) -> web.Response:
        limit, retry_after_s = self._limiter.limit, verdict.retry_after_s
        if verdict.status == 418:
            until_ms = self._clock.now_ms() + retry_after_s * 1000
            message = f"Way too much request weight used; IP banned until {until_ms}. "
        else:
            message = f"Too much request weight used; current limit is {limit} request weight per 1 MINUTE. "
        message += "Please use WebSocket Streams for live updates to avoid polling the API."
        error = ApiError(code=-1003, message=message, status=verdict.status)
        return _json(error.body(), verdict=verdict, status=error.status)

    def _broken(self, fault: Fault, *, request: web.Request, verdict: Verdict) -> web.Response:
        match fault.kind:
            case FaultKind.DROP:
                if request.transport is not None:
                    request.transport.abort()
                return web.Response()  # goes nowhere: the connection is gone
            case FaultKind.HTML:
                return _html_page(HTTPStatus.OK)
            case FaultKind.EMPTY:
                return web.Response(body=b"", content_type="application/json")
            case FaultKind.RATE_LIMIT:
                return self._refused(Verdict(fault.status, verdict.used, fault.retry_after_s))
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


def _json(value: JsonValue, *, verdict: Verdict, status: int = 200) -> web.Response:
    used = str(verdict.used)
    headers = {"Content-Type": _JSON, "X-MBX-USED-WEIGHT": used, "X-MBX-USED-WEIGHT-1M": used}
    if verdict.status != 200:
        headers["Retry-After"] = str(verdict.retry_after_s)
    return web.Response(body=dumps(value), status=status, headers=headers)
