"""The server's command line and life: wiring only."""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
from aiohttp import web

from sandbox_exchange.clock import ClockError, PacedSeconds, SimulatedClock
from sandbox_exchange.control import ControlPlane
from sandbox_exchange.csv_source import CandleFileError, CsvSource, load_directory
from sandbox_exchange.faults import FaultBook
from sandbox_exchange.gateway import Gateway
from sandbox_exchange.market import AtEnd, Market, open_market
from sandbox_exchange.rest import MarketDataApi
from sandbox_exchange.weights import DEFAULT_LIMIT, WeightLimiter
from sandbox_exchange.ws import Streams

_SHUTDOWN_S = 2.0
"""For open requests; streams are closed at once."""
_BOUND_S = 4.0
"""From the first signal to the end, whatever hangs; the chart's grace period is 5 s."""
_SYNTHETIC = "synthetic:"

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2


@dataclass(frozen=True, slots=True)
class Options:
    """The command line, checked."""

    candles: tuple[str, ...]
    speed: float
    host: str
    port: int
    history: int
    at_end: AtEnd
    weight_limit: int
    log_format: str


def parse_options(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line; exits with code 2 and a usage text if it is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m sandbox_exchange",
        description="A local exchange speaking Binance's spot REST API and market streams.",
    )
    parser.add_argument(
        "--candles",
        action="append",
        required=True,
        metavar="DIR|synthetic:SEED",
        help="a directory of SYMBOL-INTERVAL.csv files, or synthetic BTCUSDT, ETHUSDT and SOLUSDT; repeatable",
    )
    parser.add_argument(
        "--speed", type=float, default=1.0, help="simulated seconds per real second; 0: stepped only (default 1)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8080, help="0: any free one, named in the log (default 8080)")
    parser.add_argument("--history", type=_count, default=1500, help="bars before the clock's start (default 1500)")
    parser.add_argument(
        "--at-end", type=AtEnd, choices=list(AtEnd), default=AtEnd.LOOP, help="of recorded candles (default loop)"
    )
    parser.add_argument(
        "--weight-limit",
        type=_count,
        default=DEFAULT_LIMIT,
        help=f"request weight per address and minute, a simulated one if shorter; 0: off (default {DEFAULT_LIMIT})",
    )
    parser.add_argument("--log-format", choices=["json", "console"], default="json")
    values = vars(parser.parse_args(arguments))
    return Options(**{**values, "candles": tuple(values["candles"])})


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is below zero")
    return value


def load_market(options: Options) -> Market:
    """Read all candles.

    Raises:
        CandleFileError: a directory or file is unusable, or a symbol or `synthetic` is given twice.
    """
    recorded: dict[str, CsvSource] = {}
    seed: int | None = None
    for text in options.candles:
        if text.startswith(_SYNTHETIC):
            if seed is not None:
                raise CandleFileError(f"--candles {text}: there is one synthetic market only; drop one of the two")
            seed = _seed(text)
            continue
        for source in load_directory(Path(text)):
            earlier = recorded.setdefault(source.symbol, source)
            if earlier is not source:
                raise CandleFileError(f"{source.path}: {source.symbol} is already given by {earlier.path}")
    return open_market(recorded=list(recorded.values()), seed=seed, history=options.history, at_end=options.at_end)


def _seed(text: str) -> int:
    try:
        return int(text.removeprefix(_SYNTHETIC))
    except ValueError as error:
        raise CandleFileError(f"--candles {text}: the seed must be a whole number") from error


def build_app(
    *,
    market: Market,
    clock: SimulatedClock,
    weight_limit: int,
    monotonic: Callable[[], float],
    real_s: Callable[[], float],
) -> web.Application:
    """The whole server as an aiohttp application.

    Args:
        monotonic: real seconds from any origin. real_s: Unix time.
    """
    routes = MarketDataApi(market=market, weight_limit=weight_limit).routes()
    faults = FaultBook(routes=frozenset(route.name for route in routes))
    paced = PacedSeconds(clock, monotonic=monotonic, origin_s=real_s())
    limiter = WeightLimiter(limit=weight_limit, now_s=paced.now_s)
    gateway = Gateway(clock=clock, limiter=limiter, paced=paced, faults=faults, real_s=real_s)
    app = web.Application()
    gateway.attach(app, routes)
    streams = Streams(market=market, clock=clock, faults=faults, monotonic=monotonic)
    streams.attach(app)
    ControlPlane(market=market, clock=clock, faults=faults, gateway=gateway, streams=streams).attach(app)
    return app


async def serve(options: Options, market: Market, clock: SimulatedClock) -> None:
    """Serve until SIGTERM or SIGINT; open requests get a moment to finish.

    There is nothing to keep: a second signal ends the process at once, and the end takes _BOUND_S at most.
    """
    log = structlog.get_logger(part="sandbox_exchange")
    app = build_app(
        market=market, clock=clock, weight_limit=options.weight_limit, monotonic=time.monotonic, real_s=time.time
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()
        faulthandler.dump_traceback_later(_BOUND_S, exit=True)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, options.host, options.port).start()
        host, port = runner.addresses[0][:2]
        log.info("sandbox_started", url=f"http://{host}:{port}", **summary(market, clock))
        await stop.wait()
        log.info("sandbox_stopping")
    finally:
        await runner.cleanup()


def summary(market: Market, clock: SimulatedClock) -> dict[str, object]:
    """What the start-up line says."""
    origins = [f"{listing.symbol} ({listing.origin})" for listing in market.listings.values()]
    state = clock.state()
    return {"symbols": origins, "time_ms": state.now_ms, "speed": state.speed, "notes": list(market.notes)}


def configure_logging(form: str) -> None:
    """Logs go to stderr, one line an event."""
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            structlog.processors.format_exc_info,
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server; returns the process's exit code."""
    options = parse_options(arguments)
    configure_logging(options.log_format)
    log = structlog.get_logger(part="sandbox_exchange")
    try:
        market = load_market(options)
        clock = SimulatedClock(
            start_ms=market.start_ms, speed=options.speed, monotonic=time.monotonic, end_ms=market.end_ms
        )
    except (CandleFileError, ClockError) as error:
        log.error("sandbox_unusable_arguments", error=str(error))
        return EXIT_USAGE
    try:
        asyncio.run(serve(options, market, clock))
    except OSError as error:
        log.error("sandbox_cannot_listen", host=options.host, port=options.port, error=str(error))
        return EXIT_FAILED
    return EXIT_OK
