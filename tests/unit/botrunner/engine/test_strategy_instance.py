"""The engine around a strategy: killed anywhere and restarted, it does what it would have done anyway.

A run is "killed" by an exception out of the ledger, before or after the bar became durable, and started again from
what is stored, with nothing else kept.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from botrunner.exchange.errors import ExchangeAway
from botrunner.market.candle import Candle
from botrunner.process.fence import Deadlines, Fence
from botrunner.process.progress import Progress
from botrunner.process.stop import StopRequest, StopSwitch
from botrunner.trading.state import BarOutcome
from fleet.config import BotConfig
from fleet.errors import FencedError
from fleet.states import ExitReason
from tests.support import FakeClock
from tests.unit.botrunner.engine.runs import (
    Killed,
    ListSource,
    MemoryLedger,
    Store,
    config,
    run,
    walk,
)


def run_killed(candles: list[Candle], made: BotConfig, *, seed: int | None) -> Store:
    """Run to the end; with a seed, killed about every fortieth commit."""
    store, rng = Store(), random.Random(seed)
    for _ in range(500):
        kills = {} if seed is None else {rng.randint(1, 80): rng.choice(["before", "after"])}
        try:
            run(MemoryLedger(store, kills), candles, made)
        except Killed:
            continue
        return store
    raise AssertionError("the run never reached its end")


@pytest.mark.parametrize(
    "sections",
    [
        pytest.param({}, id="fills at the close"),
        pytest.param({"broker": {"paper_trading_config": {"fill_price": "next_open"}}}, id="fills at the next open"),
        pytest.param(
            {
                "risk_management": {
                    "stop_loss_pct": 0.4,
                    "take_profit_pct": 0.5,
                    "trailing_stop_pct": 0.3,
                    "max_daily_trades": 30,
                    "max_daily_loss": 0.5,
                }
            },
            id="stops and limits",
        ),
    ],
)
@pytest.mark.parametrize("seed", [1, 2])
def test_crash_equivalence(sections: dict[str, Any], seed: int) -> None:
    candles, made = walk(400, seed), config(**sections)
    whole, killed = run_killed(candles, made, seed=None), run_killed(candles, made, seed=seed)
    assert len(whole.trades) > 5
    assert killed.orders == whole.orders
    assert killed.fills == whole.fills
    assert killed.trades == whole.trades
    assert killed.checkpoint == whole.checkpoint
    # also what no trade shows: every bar once, with bit-equal indicator values and counters
    assert killed.states == whole.states
    assert len(whole.states) == len(candles)


def test_warm_up_bars_are_not_traded() -> None:
    candles = walk(300)
    store, clock, stop = Store(), FakeClock(), StopSwitch()
    source = ListSource(candles, stop, begin_after=candles[200].open_ms)
    run(MemoryLedger(store), candles, config(), source=source, stop=stop, clock=clock)
    assert store.states[0][0] == candles[201].open_at
    # ready at once: the indicators were warmed up by the 200 candles before
    assert store.states[0][1]["seen"] == 1


def test_an_unreachable_exchange_delays_and_loses_nothing() -> None:
    candles, made = walk(200), config()
    whole = run_killed(candles, made, seed=None)

    class Moving(FakeClock):
        def monotonic(self) -> float:
            self.time += 1.0
            return self.time

    store, stop, clock = Store(), StopSwitch(), Moving()
    fence = Fence(Deadlines(stop_s=1e9, exit_s=2e9), claimed_at=0.0)
    source = ListSource(candles, stop, away=5)
    run(MemoryLedger(store), candles, made, source=source, stop=stop, clock=clock, fence=fence)
    assert store.checkpoint == whole.checkpoint


class Told(Progress):
    """Remembers what the start was at, and whether it waited for somebody else."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.phases: list[tuple[str, bool]] = []

    def enter(self, phase: str) -> None:
        super().enter(phase)
        self.phases.append((phase, False))

    def waits(self, why: str) -> None:
        super().waits(why)
        self.phases.append((why, True))


@dataclass
class AwaySource(ListSource):
    """An exchange that doesn't answer the first questions of a start."""

    unanswered: int = 2

    def latest_closed_ms(self) -> int | None:
        if self.unanswered:
            self.unanswered -= 1
            raise ExchangeAway("HTTP 418: paused", retry_after_s=25)
        return super().latest_closed_ms()


def test_a_start_says_what_it_is_at_and_that_it_waits_for_the_exchange() -> None:
    candles, stop, told = walk(80), StopSwitch(), Told(FakeClock())
    source = AwaySource(candles, stop, begin_after=candles[40].open_ms)
    run(MemoryLedger(Store()), candles, config(), source=source, stop=stop, progress=told, exchange="binance")
    waiting = "waits for the exchange binance, asks again within 25 s: HTTP 418: paused"
    assert told.phases[:5] == [
        ("reads its checkpoint", False),
        ("looks for its first candle", False),
        (waiting, True),
        (waiting, True),
        ("fetches candles to warm up", False),
    ]
    assert told.phases[5][0].startswith("warms up over ")


def test_a_bot_without_any_candle_waits_for_it() -> None:
    stop = StopSwitch()
    told = Told(FakeClock())
    source = ListSource([], stop)
    run(MemoryLedger(Store()), [], config(), source=source, stop=stop, progress=told)
    assert told.phases[-1] == ("waits for its first candle", True)


def test_no_order_leaves_after_t_stop_until_a_heartbeat_gives_the_right_back() -> None:
    candles, made = walk(200), config()
    whole = run_killed(candles, made, seed=None)
    fence = Fence(Deadlines(), claimed_at=0.0)  # FakeClock begins at 1000: the right ran out long ago
    store = Store()

    class Renewing(FakeClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            assert store.orders == {}, "an order left without the right to trade"
            if len(self.slept) == 50:
                fence.acknowledged(sent_at=self.time)

    clock = Renewing()
    run(MemoryLedger(store), candles, made, fence=fence, clock=clock)
    assert len(clock.slept) == 50
    assert store.checkpoint == whole.checkpoint


def test_a_lost_run_ends_at_once() -> None:
    fence = Fence(Deadlines(), claimed_at=0.0)
    fence.lose()
    store = Store()
    with pytest.raises(FencedError):
        run(MemoryLedger(store), walk(100), config(), fence=fence)
    assert store.states == []


@pytest.mark.parametrize(("on_stop", "open_after"), [("hold", True), ("flatten", False)])
def test_what_a_stop_does_with_the_position(on_stop: str, open_after: bool) -> None:
    candles, made = walk(600), config(trading={"on_stop": on_stop})
    whole = run_killed(candles, config(), seed=None)
    entry = next(trade for trade in whole.trades.values() if trade.exit_at)
    until = [c for c in candles if c.open_at <= entry.signal_at]
    store = Store()
    assert run(MemoryLedger(store), until, made) is ExitReason.STOPPED
    trade = store.trades[entry.entry_order_id]
    assert trade.is_open is open_after
    if not open_after:
        assert trade.exit_reason == "flatten_on_stop"
        # the next start goes on flat, after the same bar
        resumed = MemoryLedger(store).resume()
        assert resumed is not None
        assert resumed[0].account.trade is None
        assert resumed[0].last_bar_at == entry.signal_at


def test_wait_flat_lets_the_strategy_close_its_position_and_enters_no_more() -> None:
    candles, made = walk(600), config(trading={"on_stop": "wait_flat"})
    whole = run_killed(candles, config(), seed=None)
    first = next(trade for trade in whole.trades.values() if trade.exit_at)
    store, stop = Store(), StopSwitch()

    class AsksWhileOpen(MemoryLedger):
        def commit(self, outcome: BarOutcome) -> None:
            super().commit(outcome)
            if outcome.bar_at == first.signal_at:
                stop.request(StopRequest(ExitReason.STOPPED))

    reason = run(AsksWhileOpen(store), candles, made, source=ListSource(candles, stop), stop=stop)
    assert reason is ExitReason.STOPPED
    [trade] = store.trades.values()
    assert trade == first
    assert store.checkpoint is not None
    assert store.checkpoint[1] + timedelta(minutes=1) == first.exit_at


def test_sigterm_does_not_wait_for_a_closed_position() -> None:
    stop = StopSwitch()
    stop.wait_while(lambda: True)
    stop.request(StopRequest(ExitReason.SUPERSEDED))
    assert (stop.asked, stop.requested) == (True, False)
    stop.request(StopRequest(ExitReason.RELEASED, urgent=True))
    assert (stop.requested, stop.reason) == (True, ExitReason.SUPERSEDED)
