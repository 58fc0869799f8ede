"""Whatever an exchange answers, a bot sees each closed candle once, in order, and never one that runs.

The exchange here is Binance's worst day: pages shuffled, candles twice, late, revised and garbled, errors in between,
a clock that jumps for single answers, candles that never traded. What holds at any time is checked after every poll,
what must come in the end after the exchange has calmed down.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from botrunner.exchange.errors import ExchangeAway
from botrunner.feeds.source import ExchangeCandles
from botrunner.market.candle import Candle
from botrunner.market.rules import Market
from tests.support import FakeClock
from tests.unit.botrunner.feeds.scripted_broker import M, ScriptedBroker, candle, opens

D = Decimal
FIRST, LAST = 100, 140
HOSTILE_STEPS = 150
CALM_STEPS = 3 * (LAST - FIRST + 3)
"""Of 20 s: enough for all candles."""


def finished(minute: int) -> Candle:
    price = D(minute)
    return Candle(minute * M, price, price + 1, price - 1, price, D(minute))


@dataclass
class Hostile:
    """Serves minutes FIRST to LAST but the missing ones. `calm` ends its tricks."""

    random: Random
    missing: frozenset[int]
    now_ms: int = (FIRST + 1) * M
    calm: bool = False
    revised: dict[int, Candle] = field(default_factory=dict)
    withheld: set[int] = field(default_factory=set)
    name: str = "hostile"

    def market(self, symbol: str) -> Market:
        raise NotImplementedError

    def server_time_ms(self) -> int:
        self._fail()
        skewed = not self.calm and self.random.random() < 0.15
        return self.now_ms + (self.random.choice((-3, 2, 5)) * 3_600_000 if skewed else 0)

    def candles(self, symbol: str, interval: str, *, since_ms: int, limit: int) -> list[Candle]:
        self._fail()
        rows = [self._row(m) for m in range(FIRST, LAST + 1) if m not in self.missing and m * M <= self.now_ms]
        rows = [row for row in rows if row.open_ms >= since_ms][:limit]
        return rows if self.calm else self._tricked(rows)

    def _fail(self) -> None:
        if not self.calm and self.random.random() < 0.15:
            raise ExchangeAway("scripted")

    def _row(self, minute: int) -> Candle:
        if (minute + 1) * M > self.now_ms:
            # the running candle: recognised by its volume
            return replace(finished(minute), volume=D(0), close=D(minute) + 1)
        return self.revised.get(minute, finished(minute))

    def _tricked(self, rows: list[Candle]) -> list[Candle]:
        late = self.random.random() < 0.2
        if late and rows:
            kept_back = self.random.choice(rows)
            self.withheld.add(kept_back.open_ms // M)
            rows = [row for row in rows if row is not kept_back]
        rows += [row for row in rows if self.random.random() < 0.1]
        garbled = [row for row in rows if self.random.random() < 0.05]
        self.withheld.update(row.open_ms // M for row in garbled)
        rows = [replace(row, low=row.high + 1) if row in garbled else row for row in rows]
        if self.random.random() < 0.2 and rows:
            minute = self.random.choice(rows).open_ms // M
            if (minute + 1) * M <= self.now_ms:
                self.revised[minute] = replace(finished(minute), close=D(minute) + D("0.5"))
        self.random.shuffle(rows)
        return rows


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), missing=st.frozensets(st.integers(FIRST + 1, LAST - 1), max_size=15))
def test_each_closed_candle_once_in_order(seed: int, missing: frozenset[int]) -> None:
    random = Random(seed)
    exchange, clock = Hostile(random, missing), FakeClock()
    source = ExchangeCandles(exchange, symbol="X", interval="1m", interval_ms=M, clock=clock)
    seen = [finished(FIRST)]
    with structlog.testing.capture_logs() as logs:
        for step in range(HOSTILE_STEPS + CALM_STEPS):
            exchange.calm = step >= HOSTILE_STEPS
            poll(source, exchange, seen)
            seconds = 20.0 if exchange.calm else random.choice((0.2, 1, 5, 20))
            clock.time += seconds
            exchange.now_ms = min(exchange.now_ms + int(seconds * 1000), (LAST + 2) * M - 1)
    # what was late for longer than two looks was taken for a gap: it may be missing, it never comes out of order
    minutes = [one.open_ms // M for one in seen]
    lost = set(range(FIRST, LAST + 1)) - set(minutes) - missing
    assert minutes == [m for m in range(FIRST, LAST + 1) if m not in missing and m not in lost]
    assert lost <= exchange.withheld, "lost without being late"
    flagged = {log["from_ms"] // M: log["missing"] for log in logs if log["event"] == "candle_gap"}
    assert flagged == {a + 1: b - a - 1 for a, b in pairwise(minutes) if b - a > 1}


def poll(source: ExchangeCandles, exchange: Hostile, seen: list[Candle]) -> None:
    after_ms = seen[-1].open_ms
    try:
        found = source.poll(after_ms)
    except ExchangeAway:
        return
    for one in found:
        assert one.open_ms > after_ms, "out of order, or again"
        assert one.open_ms + M <= exchange.now_ms, "still running"
        assert one.volume == one.open_ms // M, "a running candle's content"
        after_ms = one.open_ms
    seen.extend(found)


def logged(name: str, logs: list[Any]) -> list[Any]:
    return [log for log in logs if log["event"] == name]


def make(broker: ScriptedBroker, clock: FakeClock | None = None) -> ExchangeCandles:
    return ExchangeCandles(broker, symbol="X", interval="1m", interval_ms=M, clock=clock or FakeClock())


def test_a_revised_candle_is_logged_once_and_never_traded_again() -> None:
    broker = ScriptedBroker([candle(n) for n in range(10)], now_ms=5 * M)
    source = make(broker)
    assert opens(source.poll(0)) == [1, 2, 3, 4]
    broker.minutes[3] = candle(3, "7")
    broker.now_ms = 6 * M
    with structlog.testing.capture_logs() as logs:
        assert opens(source.poll(4 * M)) == [5]
        broker.now_ms = 7 * M
        assert opens(source.poll(5 * M)) == [6]
    [revision] = logged("candle_revised", logs)
    assert "Decimal('7')" in revision["now"]
    assert revision["log_level"] == "warning"


def test_a_clock_that_jumps_ahead_does_not_close_the_running_candle() -> None:
    clock = FakeClock()
    broker = ScriptedBroker([candle(n) for n in range(5)], now_ms=4 * M)
    source = make(broker, clock)
    assert opens(source.poll(2 * M)) == [3]
    clock.time += 1
    broker.now_ms += 1000 + 3 * 3_600_000
    assert source.poll(3 * M) == []
    # still wrong, now consistently: the newest candle has no successor, which one of three hours ago would have
    clock.time += 1
    broker.now_ms += 1000
    assert source.poll(3 * M) == []
    broker.now_ms = 5 * M + 1
    clock.time += 60
    source.poll(3 * M)
    clock.time += 1
    broker.now_ms += 1000
    assert opens(source.poll(3 * M)) == [4]


def test_a_clock_that_jumps_back_hands_nothing_out_again() -> None:
    broker = ScriptedBroker([candle(n) for n in range(10)], now_ms=5 * M)
    source = make(broker)
    assert opens(source.poll(0)) == [1, 2, 3, 4]
    broker.now_ms = 2 * M
    assert source.poll(4 * M) == []


@pytest.mark.parametrize("hours", [-26, 5])
def test_a_wrong_local_clock_changes_nothing(hours: int) -> None:
    class Wrong(FakeClock):
        def now(self) -> Any:
            raise AssertionError("the local date decides nothing about candles")

    clock = Wrong()
    clock.time += hours * 3600
    broker = ScriptedBroker([candle(n) for n in range(10)], now_ms=5 * M)
    source = make(broker, clock)
    assert source.latest_closed_ms() == 4 * M
    assert opens(source.poll(2 * M)) == [3, 4]
    assert source.exchange_ms() == 5 * M


def test_lookback_longer_than_the_history_gives_what_there_is() -> None:
    broker = ScriptedBroker([candle(n) for n in range(500, 520)], now_ms=520 * M)
    assert opens(make(broker).history(0, 515 * M)) == [*range(500, 515)]


def test_the_gaps_of_the_real_file_are_each_flagged_once(candle_folder: Path) -> None:
    with (candle_folder / "XRP_ETH-1m.csv").open() as lines:
        rows = [Candle(int(row[0]), *map(D, row[1:6])) for row in list(csv.reader(lines))[1:]]
    broker = ScriptedBroker(rows, now_ms=rows[-1].open_ms + M)
    source, after_ms, seen = make(broker), rows[0].open_ms, 1
    with structlog.testing.capture_logs() as logs:
        while after_ms < rows[-1].open_ms:
            for found in source.poll(after_ms):
                after_ms, seen = found.open_ms, seen + 1
    gaps = [(b.open_ms - a.open_ms) // M - 1 for a, b in pairwise(rows) if b.open_ms - a.open_ms > M]
    assert [log["missing"] for log in logged("candle_gap", logs)] == gaps
    assert (len(gaps), seen) == (676, len(rows))
