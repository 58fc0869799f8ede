"""Health and metrics over HTTP: /healthz (restart me), /readyz (I do my work), /metrics."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from fleet.redaction import safe_text

Check = Callable[[], str | None]
"""What is wrong, or None."""


class Probes:
    """A small server of its own.

    Args:
        host, port: where it listens; port 0 picks a free one.
        alive: what is wrong so that only a restart helps.
        ready: what is wrong at the moment.
        exposition: the metrics as Prometheus reads them, made when asked.
    """

    def __init__(self, *, host: str, port: int, alive: Check, ready: Check, exposition: Callable[[], bytes]) -> None:
        self._host = host
        self._port = port
        self._alive = alive
        self._ready = ready
        self._exposition = exposition
        self._runner: web.AppRunner | None = None

    async def start(self) -> int:
        """Listen; returns the port."""
        app = web.Application()
        app.router.add_get("/healthz", lambda _: _answer(self._alive()))
        app.router.add_get("/readyz", lambda _: _answer(self._ready()))
        app.router.add_get("/metrics", self._expose)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()
        address = self._runner.addresses[0]
        return int(address[1])

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _expose(self, _: web.Request) -> web.Response:
        return web.Response(
            body=self._exposition(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )


async def _answer(fault: str | None) -> web.Response:
    return web.Response(status=200 if fault is None else 503, text=f"{safe_text(fault or 'ok', 500)}\n")
