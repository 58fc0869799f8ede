"""What a fleet costs an exchange: request weight a minute, refusals, and the busiest second, at the speed of life.

Starts the real sandbox exchange (speed 1) and a database, then the market side of N bots in this process: the real
broker, breaker, feed, stream and engine of each, all starting at once, behind one address. Bots that share their
address (as they do) and bots that don't (as before) are measured by the sandbox's own counters.

    python benchmarks/exchange_load.py [--bots 100] [--minutes 3] [--late-ms 3000] [--only together|apart]

`--late-ms`: a closed candle appears so much later, as on a busy day of Binance's.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog

from botrunner.engine.collaborators import Collaborators
from botrunner.engine.strategy_instance import StrategyInstance
from botrunner.exchange.binance import BinanceBroker
from botrunner.exchange.ccxt_import import exchange_class
from botrunner.exchange.errors import ExchangeAway
from botrunner.exchange.guarded_broker import GuardedBroker
from botrunner.exchange.market_rules_cache import MarketRulesCache
from botrunner.exchange.outage import Outage
from botrunner.exchange.shared_rate_limit import SharedRateLimit
from botrunner.exchange.stream import CandleStream
from botrunner.execution.paper.venue import paper_venue
from botrunner.feeds.source import ExchangeCandles
from botrunner.process.backoff import EXCHANGE
from botrunner.process.fence import Deadlines, Fence
from botrunner.process.progress import Progress
from botrunner.process.retry import Retrier
from botrunner.process.stop import StopRequest, StopSwitch
from botrunner.strategies.registry.strategy_handler import StrategyHandler
from cli.embedded import EmbeddedPostgres, free_port
from fleet.clock import SystemClock
from fleet.config import BotConfig, RunningConfig, parse_config
from fleet.migrations import upgrade
from fleet.states import ExitReason
from fleet.trading_service.db import connect
from fleet.trading_service.exchanges import Address
from fleet.trading_service.lease import RunId

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
LIMIT = 6_000
BEAT_S = 5.0


class Memory:
    """A ledger that remembers nothing: what is measured is the exchange's side."""

    def resume(self) -> None:
        return None

    def begin(self, state: Any, kept: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return state, kept

    def commit(self, outcome: Any) -> None:
        """Nothing is kept."""

    def reserve(self, value: Any, at: Any, closed: Any) -> None:
        """There is always room."""


def config(symbol: str) -> BotConfig:
    return parse_config(
        {
            "symbol": symbol,
            "broker": {"type": "binance", "trading_mode": "paper", "cash": 10_000},
            "strategy": {
                "type": "CustomStrategy",
                "parameters": {
                    "entry_logic": {"name": "RSIOrBBEntryMixin"},
                    "exit_logic": {"name": "TimeBasedExitMixin"},
                },
            },
            "data": {"interval": "1m", "lookback_bars": 100},
        }
    )


class Unmetered:
    """A broker that doesn't say how much of the address's weight is used: as before bots looked at it."""

    name = "binance"

    def __init__(self, broker: BinanceBroker) -> None:
        self.market = broker.market
        self.server_time_ms = broker.server_time_ms
        self.candles = broker.candles
        self.candle_stream = broker.candle_stream


class Bot(threading.Thread):
    """The market side of one bot; `connection` is None for one that shares nothing."""

    def __init__(self, number: int, url: str, database: str | None) -> None:
        super().__init__(name=f"bot {number}", daemon=True)
        self.run_id = RunId(number, 1, f"token {number}")
        self.stop = StopSwitch()
        self.config = config(SYMBOLS[number % len(SYMBOLS)])
        self.url = url
        self.database = database
        self.live = threading.Event()
        self.clock = SystemClock()
        where = Address(exchange="binance", venue=url.rpartition("/")[2], origin="")
        self.address = SharedRateLimit(run=self.run_id, address=where, clock=self.clock, send_now=lambda: None)

    def run(self) -> None:
        together = self.database is not None
        outage = Outage(bot_id=self.run_id.bot_id, epoch=1, exchange="binance", after_s=60)
        found = BinanceBroker(base_url=self.url)
        broker = GuardedBroker(
            found if together else Unmetered(found),
            clock=self.clock,
            outage=outage,
            report=lambda _: None,
            rate_limit=self.address if together else None,
        )
        if self.database is not None:
            self.address.begin(self._consult)
        retrier = Retrier(
            on=ExchangeAway,
            backoff=EXCHANGE,
            pause=self.stop.wait,
            alive=lambda: None,
            failed=lambda *_: None,
        )
        market = retrier.call(lambda: self._rules(broker).market(self.config.symbol))
        interval_ms = self.config.interval_s * 1000
        turn = {"turn": lambda: self.address.turn(interval_ms)} if together else {}
        source = ExchangeCandles(
            broker,
            symbol=self.config.symbol,
            interval=self.config.interval,
            interval_ms=interval_ms,
            clock=self.clock,
            **turn,
        )
        spec = broker.candle_stream(self.config.symbol, self.config.interval)
        assert spec is not None
        parts = Collaborators(
            strategy=StrategyHandler().get_strategy_class(self.config.strategy_type).cls,
            source=source,
            ledger=Memory(),
            market=market,
            venue=paper_venue(self.config, market, bot_id=self.run_id.bot_id),
            fence=Fence(Deadlines(exit_s=1e9, stop_s=1e8), claimed_at=self.clock.monotonic()),
            progress=Progress(self.clock),
            stop=self.stop,
            clock=self.clock,
            on_live=self.live.set,
            exchange_ms=source.exchange_ms,
            turn=source.turn,
            stream=lambda closed: CandleStream(
                spec, interval_s=self.config.interval_s, on_closed=closed, clock=self.clock
            ),
        )
        StrategyInstance(bot_id=self.run_id.bot_id, config=RunningConfig(self.config), parts=parts).run()

    def _rules(self, broker: GuardedBroker) -> Any:
        if self.database is None:
            return broker
        return MarketRulesCache(
            broker,
            address=self.address.address,
            bot_id=self.run_id.bot_id,
            consult=self._consult,
            pause=self.stop.wait,
            alive=lambda: None,
            clock=self.clock,
        )

    def _consult(self, question: Any) -> Any:
        """On a connection for a moment, where a bot's ledger has one for good."""
        assert self.database is not None
        with connect(self.database, application=f"bot {self.run_id.bot_id}") as connection:
            return question(connection)


def beat(bots: list[Bot], database: str, done: threading.Event) -> None:
    """The heartbeats' part, on one connection for all."""
    with connect(database, application="heartbeats") as connection:
        while not done.wait(BEAT_S):
            for bot in bots:
                bot.address.sync(connection)


@contextmanager
def sandbox() -> Iterator[str]:
    command = [sys.executable, "-m", "sandbox_exchange", "--port", "0", "--candles", "synthetic:7"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        yield json.loads(process.stderr.readline())["url"]
    finally:
        process.terminate()
        process.communicate(timeout=15)


def told(url: str, path: str) -> Any:
    with urllib.request.urlopen(f"{url}/_sandbox/{path}") as answer:
        return json.load(answer)


def measure(count: int, minutes: int, late_ms: int, database: str | None) -> None:
    with sandbox() as url:
        if late_ms:
            fault = json.dumps({"kind": "late_candle", "ms": late_ms}).encode()
            urllib.request.urlopen(urllib.request.Request(f"{url}/_sandbox/faults", data=fault)).close()
        bots = [Bot(number, url, database) for number in range(1, count + 1)]
        done = threading.Event()
        threads = [threading.Thread(target=beat, args=(bots, database, done), daemon=True)] if database else []
        # a whole minute's count begins with the start
        time.sleep(60 - time.time() % 60)
        began = time.monotonic()
        for thread in [*threads, *bots]:
            thread.start()
        live_s = max((bot.live.wait(300) and time.monotonic() - began) or 300 for bot in bots)
        time.sleep(max(60 * minutes - (time.monotonic() - began) - 1, 0))
        status, asked = told(url, "status"), told(url, "requests")
        for bot in bots:
            bot.stop.request(StopRequest(ExitReason.STOPPED, urgent=True))
        done.set()
        for bot in bots:
            bot.join(20)
    weights = next(iter(status["weight"]["minutes"].values()))
    busiest: Counter[int] = Counter()
    for one in asked:
        busiest[int(one["at_s"])] += one["weight"]
    shares = ", ".join(f"{weight} ({weight / LIMIT:.0%})" for weight in weights)
    print(f"{'together' if database else 'apart':9} {count} bots, all live after {live_s:.0f} s")
    print(f"          weight by minute: {shares}; busiest second {max(busiest.values())}")
    print(f"          exchangeInfo {status['requests_by_route']['exchangeInfo']}, {status['requests_by_route']}")
    print(f"          verdicts {status['requests_by_verdict']}", flush=True)


def prepared(url: str, count: int) -> str:
    upgrade(url)
    with connect(url, application="prepare") as connection:
        connection.execute(
            "INSERT INTO trading_bots (name, enabled, config) SELECT 'bot ' || n, true, "
            """'{"broker": {"type": "binance"}}' FROM generate_series(1, %s) n""",
            (count,),
        )
        connection.execute(
            "INSERT INTO trading_runs (bot_id, epoch, config, config_version, controller, runtime, pod_name, "
            "claimed_by, claimed_at) SELECT id, 1, config, 1, 'c', 'process', 'p', 'token ' || id, now() "
            "FROM trading_bots"
        )
    return url


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bots", type=int, default=100)
    parser.add_argument("--minutes", type=int, default=3)
    parser.add_argument("--late-ms", type=int, default=0)
    parser.add_argument("--only", choices=["together", "apart"])
    options = parser.parse_args()
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    # the trimmed import of ccxt is for one thread
    exchange_class("binance")
    if options.only != "together":
        measure(options.bots, options.minutes, options.late_ms, None)
    if options.only != "apart":
        with tempfile.TemporaryDirectory() as folder:
            server = EmbeddedPostgres(data=Path(folder) / "data", port=free_port(), durable=False)
            with server.start() as running:
                measure(options.bots, options.minutes, options.late_ms, prepared(running.url, options.bots))


if __name__ == "__main__":
    main()
