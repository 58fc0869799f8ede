"""The bot's exchange code (trimmed ccxt import, one symbol's rules, closed candles) against the sandbox exchange."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal

import pytest

from botrunner.exchange.binance import BinanceBroker
from botrunner.exchange.broker import BrokerManager, UnknownBroker
from botrunner.exchange.errors import ExchangeAway, UnknownSymbol
from botrunner.feeds.source import ExchangeCandles
from fleet.clock import SystemClock
from tests.integration.sandbox_server import Server, running

HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running("--candles", "synthetic:7") as started:
        yield started


@pytest.fixture(autouse=True)
def _no_faults(server: Server) -> Iterator[None]:
    yield
    server.call("/_sandbox/faults", method="DELETE")


@pytest.fixture
def broker(server: Server) -> BinanceBroker:
    return BinanceBroker(base_url=server.url)


def source(broker: BinanceBroker) -> ExchangeCandles:
    return ExchangeCandles(broker, symbol="BTCUSDT", interval="1h", interval_ms=HOUR_MS, clock=SystemClock())


def test_the_trimmed_import_gives_the_same_class_as_a_full_one() -> None:
    script = (
        "from botrunner.exchange.ccxt_import import exchange_class; cls = exchange_class('binance'); "
        "import sys; assert 'ccxt.kraken' not in sys.modules; alone = sorted(dir(cls)), cls().describe()['api'];"
        "[sys.modules.pop(n) for n in list(sys.modules) if n.split('.')[0] == 'ccxt']; import ccxt; "
        "assert (sorted(dir(ccxt.binance)), ccxt.binance().describe()['api']) == alone; print('same')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "same", done.stderr


def test_rules_of_the_market(broker: BinanceBroker) -> None:
    market = broker.market("BTCUSDT")
    assert (market.base, market.quote) == ("BTC", "USDT")
    assert market.tick > 0
    assert market.step == Decimal("0.00001")
    assert market.min_notional >= 1


def test_an_unlisted_symbol_is_the_configs_fault(broker: BinanceBroker) -> None:
    with pytest.raises(UnknownSymbol, match="symbol: Binance lists no market 'NOPEUSDT'"):
        broker.market("NOPEUSDT")


def test_candles_are_closed_exact_and_in_order(broker: BinanceBroker, server: Server) -> None:
    found = source(broker)
    newest = found.latest_closed_ms()
    assert newest is not None
    assert newest + HOUR_MS <= broker.server_time_ms() < newest + 2 * HOUR_MS
    history = found.history(newest - 1200 * HOUR_MS, newest + HOUR_MS)
    assert [c.open_ms for c in history] == list(range(newest - 1200 * HOUR_MS, newest + HOUR_MS, HOUR_MS))
    raw = server.call(f"/api/v3/klines?symbol=BTCUSDT&interval=1h&startTime={newest}&limit=1")[0]
    assert [history[-1].open, history[-1].high, history[-1].low, history[-1].close] == [Decimal(x) for x in raw[1:5]]


def test_a_step_of_the_clock_brings_the_next_candle(broker: BinanceBroker, server: Server) -> None:
    found = source(broker)
    newest = found.latest_closed_ms()
    assert newest is not None
    assert found.poll(newest) == []
    server.call("/_sandbox/clock", method="POST", body={"action": "step", "ms": HOUR_MS})
    assert [c.open_ms for c in found.poll(newest)] == [newest + HOUR_MS]


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "error", "status": 502},
        {"kind": "html"},
        {"kind": "empty"},
        {"kind": "drop"},
        {"kind": "rate_limit", "status": 429},
        {"kind": "rate_limit", "status": 418},
    ],
    ids=lambda fault: "-".join(str(value) for value in fault.values()),
)
def test_every_kind_of_non_answer_means_try_again(
    broker: BinanceBroker, server: Server, fault: dict[str, object]
) -> None:
    broker.market("BTCUSDT")
    since_ms = broker.server_time_ms() - 5 * HOUR_MS
    server.call("/_sandbox/faults", method="POST", body={**fault, "count": 3})
    for ask in (
        lambda: broker.candles("BTCUSDT", "1h", since_ms=since_ms, limit=5),
        broker.server_time_ms,
        lambda: broker.market("BTCUSDT"),
    ):
        with pytest.raises(ExchangeAway):
            ask()
    assert len(broker.candles("BTCUSDT", "1h", since_ms=since_ms, limit=5)) == 5


def test_nobody_at_the_address_means_try_again() -> None:
    with pytest.raises(ExchangeAway):
        BinanceBroker(base_url="http://127.0.0.1:9").server_time_ms()


def test_the_manager_knows_its_brokers(server: Server) -> None:
    manager = BrokerManager({"binance": server.url})
    assert manager.get("binance").server_time_ms() > 0
    with pytest.raises(UnknownBroker, match=r"broker\.type.*did you mean 'binance'"):
        manager.get("binanse")
