"""The engine around a strategy that fails, a feed that dies, and a stream that wakes it."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from datetime import UTC
from functools import partial
from typing import Any

import pytest
import structlog

from botrunner.engine.budget import STATE_KEY, BudgetLimits, GaveUp, StrategyFailing
from botrunner.exchange.errors import ExchangeAway
from botrunner.feeds.health import FeedWatch
from botrunner.market.candle import Candle
from botrunner.process.fence import Deadlines, Fence
from botrunner.process.stop import StopRequest, StopSwitch
from botrunner.strategies.base import OpenPosition, Signal
from botrunner.trading.risk import Denial
from botrunner.trading.state import BarOutcome
from fleet.config import BotConfig
from fleet.errors import DatabaseAway, FencedError
from fleet.events import Event, EventKind
from fleet.states import ExitReason
from tests.support import FakeClock
from tests.unit.botrunner.engine.runs import (
    Crosses,
    D,
    EventLedger,
    Killed,
    ListSource,
    M,
    MemoryLedger,
    Store,
    config,
    run,
    walk,
)


def failing_at(bars: Iterable[int], error: BaseException | None = None, where: str = "decide") -> type[Crosses]:
    """Crosses, but it fails at the bars with these open times; what it counts goes on."""
    at = set(bars)

    class Fails(Crosses):
        def _maybe(self) -> None:
            opened = self.data.datetime.datetime(0).replace(tzinfo=UTC)
            if round(opened.timestamp() * 1000 / M) * M in at:
                raise error or ZeroDivisionError("by postgresql://u:hidden@h/d")

        def decide(self, position: OpenPosition | None) -> Signal | None:
            signal = super().decide(position)
            if where == "decide":
                self._maybe()
            return signal

        def on_entered(self, position: OpenPosition) -> None:
            if where == "on_entered":
                self._maybe()

    return Fails


def test_a_failed_decision_costs_that_decision_and_is_told_once_an_hour() -> None:
    candles = walk(300)
    bad = [c.open_ms for c in candles[150:155]]
    ledger = EventLedger(Store())
    with structlog.testing.capture_logs() as logs:
        assert run(ledger, candles, config(), failing_at(bad)) is ExitReason.STOPPED
    errors = [log for log in logs if log["event"] == "strategy_error"]
    assert [log["in_a_row"] for log in errors] == [1, 2, 3, 4, 5]
    assert "hidden" not in errors[0]["error"]
    assert len(ledger.store.states) == len(candles), "every bar is committed"
    hours = {ms // 3_600_000 for ms in bad}
    told = {event.dedupe_key for event in ledger.events if event.kind is EventKind.BOT_ERROR}
    assert len(told) == len(hours)


@pytest.mark.parametrize(
    "error", [SystemExit(0), KeyboardInterrupt(), GeneratorExit(), RecursionError(), FencedError("x")], ids=repr
)
def test_a_strategy_can_not_end_its_bot(error: BaseException) -> None:
    candles = walk(120)
    ledger = EventLedger(Store())
    assert run(ledger, candles, config(), failing_at([candles[110].open_ms], error)) is ExitReason.STOPPED
    assert len(ledger.store.states) == len(candles)
    told = [event.title for event in ledger.events if event.kind is EventKind.BOT_ERROR]
    assert told == [f"The strategy failed: {type(error).__name__}"]


def test_nor_when_it_is_told_of_a_fill() -> None:
    candles = walk(300)
    ledger = EventLedger(Store())
    bars = [candle.open_ms for candle in candles]
    with structlog.testing.capture_logs():
        assert run(ledger, candles, config(), failing_at(bars, SystemExit(0), "on_entered")) is ExitReason.STOPPED
    assert {event.title for event in ledger.events if event.kind is EventKind.BOT_ERROR} == {
        "The strategy failed: SystemExit"
    }


def test_stops_go_on_while_the_strategy_fails() -> None:
    candles = walk(400)
    made = config(risk_management={"stop_loss_pct": 0.4})
    whole = EventLedger(Store())
    run(whole, candles, made, Crosses)
    stopped = next(t for t in whole.store.trades.values() if t.exit_reason == "stop_loss")
    held = [c.open_ms for c in candles if stopped.entry_at <= c.open_at < stopped.exit_at]
    failing = EventLedger(Store())
    run(failing, candles, made, failing_at(held))
    assert failing.store.trades[stopped.entry_order_id] == stopped


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_anywhere_a_failing_strategy_ends_as_if_never_killed(seed: int) -> None:
    candles, made = walk(130, seed), config()
    rng = random.Random(seed)
    strategy = failing_at(c.open_ms for c in candles[60:] if rng.random() < 0.2)
    limits = BudgetLimits(in_a_row=6, in_window=40, window_bars=100)
    whole, killed = EventLedger(Store()), Store()
    run(whole, candles, made, strategy, budget=limits)
    assert any(STATE_KEY in state for _, state in whole.store.states)
    while True:
        try:
            run(
                MemoryLedger(killed, {rng.randint(1, 90): rng.choice(["before", "after"])}),
                candles,
                made,
                strategy,
                budget=limits,
            )
        except Killed:
            continue
        break
    assert killed.states == whole.store.states
    assert killed.trades == whole.store.trades


def test_a_spent_budget_ends_the_run_after_its_bar_and_the_next_failure_the_bot() -> None:
    candles, made = walk(300), config()
    strategy = failing_at(c.open_ms for c in candles[100:])
    limits = BudgetLimits(in_a_row=4, in_window=50, window_bars=100)
    store = Store()
    with pytest.raises(StrategyFailing, match=r"4 bars in a row.*ZeroDivisionError"):
        run(MemoryLedger(store), candles, made, strategy, budget=limits)
    assert len(store.states) == 104
    # a fresh process gets one bar, further ones none
    for bars in (105, 105, 105):
        with pytest.raises(GaveUp):
            run(MemoryLedger(store), candles, made, strategy, budget=limits)
        assert len({at for at, _ in store.states}) == bars
    (closed,) = [trade for trade in store.trades.values() if trade.exit_reason == "flatten_on_failure"]
    assert closed.exit_price == candles[104].close
    # switched off and on: another version, a fresh budget
    with pytest.raises(StrategyFailing):
        run(MemoryLedger(store), candles, made, strategy, budget=limits, config_version=2)
    assert len({at for at, _ in store.states}) == 109


def test_outages_inside_a_strategy_never_count() -> None:
    candles = walk(200)
    for error in (ExchangeAway("x"), DatabaseAway("x")):
        store = Store()
        strategy = failing_at((c.open_ms for c in candles), error)
        assert run(MemoryLedger(store), candles, config(), strategy) is ExitReason.STOPPED
        assert not any(STATE_KEY in state for _, state in store.states)


def test_a_failure_after_a_fill_does_not_undo_it() -> None:
    candles = walk(300)
    whole = EventLedger(Store())
    run(whole, candles, config(), Crosses)
    first = next(iter(whole.store.trades.values()))
    failing = EventLedger(Store())
    run(failing, candles, config(), failing_at([int(first.signal_at.timestamp() * 1000)], where="on_entered"))
    assert failing.store.fills.keys() == whole.store.fills.keys()
    assert [event.kind for event in failing.events if event.kind is EventKind.BOT_ERROR] == [EventKind.BOT_ERROR]


def flat(count: int, start: int = 1_000_017) -> list[Candle]:
    return [Candle((start + n) * M, *[D("0.1")] * 4, D(0)) for n in range(count)]


def test_flat_candles_without_volume_are_traded_through() -> None:
    store = Store()
    assert run(MemoryLedger(store), flat(200), config(), Crosses) is ExitReason.STOPPED
    assert (len(store.states), store.trades) == (200, {})


# --- the feed ----------------------------------------------------------------------------------------------------


class Timed:
    """A source over a simulated exchange whose time is the fake clock's: candles appear as they close."""

    def __init__(self, candles: list[Candle], clock: FakeClock, stop: StopSwitch, *, until_s: float) -> None:
        self.candles, self.clock, self.stop, self.until_s = candles, clock, stop, until_s
        self.began_ms = candles[99].open_ms + 2 * M - int(clock.time * 1000)
        self.polls: list[float] = []

    def exchange_ms(self) -> int:
        return self.began_ms + int(self.clock.time * 1000)

    def latest_closed_ms(self) -> int:
        return self.candles[99].open_ms

    def history(self, start_ms: int, end_ms: int) -> list[Candle]:
        return [c for c in self.candles if start_ms <= c.open_ms < end_ms]

    def poll(self, after_ms: int | None) -> list[Candle]:
        self.polls.append(self.clock.time)
        if self.clock.time >= self.until_s:
            self.stop.request(StopRequest(ExitReason.STOPPED))
        return [c for c in self.candles if c.open_ms > (after_ms or 0) and c.open_ms + M <= self.exchange_ms()]

    def wait_s(self, after_ms: int | None) -> float:
        assert after_ms is not None
        return min(max((after_ms + 2 * M - self.exchange_ms()) / 1000, 0.2), 10.0)


class RestingSwitch(StopSwitch):
    """Rests on the fake clock; `wakes` are moments at which a stream speaks."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.clock = clock
        self.wakes: dict[float, Any] = {}

    def rest(self, seconds: float) -> None:
        end = self.clock.time + seconds
        for at in sorted(self.wakes):
            if self.clock.time <= at <= end:
                self.clock.time = at
                self.wakes.pop(at)()
                return
        self.clock.time = end


def live(candles: list[Candle], *, until_s: float, **changes: Any) -> tuple[Timed, Store, list[Event]]:
    clock = FakeClock()
    stop = RestingSwitch(clock)
    source = Timed(candles, clock, stop, until_s=clock.time + until_s)
    store, events = Store(), []
    run(
        MemoryLedger(store),
        candles,
        changes.pop("config", config()),
        Crosses,
        source=source,
        stop=stop,
        clock=clock,
        fence=Fence(Deadlines(stop_s=1e9, exit_s=2e9), claimed_at=0.0),
        exchange_ms=source.exchange_ms,
        watch=FeedWatch(bot_id=7, symbol="X", interval="1m", interval_ms=M),
        note=events.extend,
        **changes,
    )
    return source, store, events


def test_a_halted_market_is_told_once_and_its_candles_are_traded_when_it_opens() -> None:
    candles = flat(110) + flat(10, start=1_000_017 + 130)
    source, store, events = live(candles, until_s=41 * 60)
    assert [event.kind for event in events] == [EventKind.FEED_STALE, EventKind.BOT_RECOVERED]
    assert len(store.states) == 20
    # the overdue candle isn't asked for five times a second for twenty minutes
    halt = [at for at in source.polls if 11 * 60 < at - 1000 < 29 * 60]
    assert len(halt) < 18 * 60 / 10 + 40


class SpeakingStream:
    """Says once that a candle closed, at the fake clock's `at`."""

    def __init__(self, on_closed: Any, *, switch: RestingSwitch, at: float, open_ms: int) -> None:
        self._say = lambda: on_closed(open_ms)
        self._switch, self._at = switch, at

    def start(self) -> None:
        self._switch.wakes[self._at] = self._say

    def stop(self) -> None:
        pass


class Sleepy(Timed):
    """Without a stream the bot looks every seven seconds: not just when a candle closes."""

    def wait_s(self, after_ms: int | None) -> float:
        return 7.0


@pytest.mark.parametrize("with_stream", [True, False])
def test_the_streams_word_makes_the_bot_ask_at_once(with_stream: bool) -> None:
    candles, clock, said_at = flat(130), FakeClock(), 1000.0 + 60 + 0.01
    switch = RestingSwitch(clock)
    source = Sleepy(candles, clock, switch, until_s=clock.time + 120)
    run(
        MemoryLedger(Store()),
        candles,
        config(),
        Crosses,
        source=source,
        stop=switch,
        clock=clock,
        fence=Fence(Deadlines(stop_s=1e9, exit_s=2e9), claimed_at=0.0),
        exchange_ms=source.exchange_ms,
        stream=partial(SpeakingStream, switch=switch, at=said_at, open_ms=candles[101].open_ms)
        if with_stream
        else None,
    )
    assert (said_at in source.polls) is with_stream


@pytest.mark.parametrize(
    ("mode", "late_by_ms", "denied"),
    [("live", M, True), ("live", M - 1, False), ("paper", 100 * M, False)],
)
def test_late_candles_deny_entries_with_real_money_only(
    monkeypatch: pytest.MonkeyPatch, mode: str, late_by_ms: int, denied: bool
) -> None:
    candles = walk(200)
    now: Mapping[str, int] = {"late": late_by_ms}
    ledger = MemoryLedger(Store())
    outcomes: list[BarOutcome] = []
    monkeypatch.setattr(
        MemoryLedger, "commit", lambda self, outcome: (outcomes.append(outcome), self.store.write(outcome))[0]
    )
    monkeypatch.setattr(BotConfig, "trading_mode", property(lambda _: mode))
    shown = {"at": candles[0].open_ms}

    class Follows(ListSource):
        def poll(self, after_ms: int | None) -> list[Candle]:
            found = super().poll(after_ms)[:1]
            if found:
                shown["at"] = found[0].open_ms + M + now["late"]
            return found

    stop = StopSwitch()
    run(ledger, candles, config(), Crosses, source=Follows(candles, stop), stop=stop, exchange_ms=lambda: shown["at"])
    wanted = [outcome for outcome in outcomes if outcome.signal and outcome.signal.kind == "enter"]
    assert wanted
    assert {outcome.denial for outcome in wanted} == ({Denial.LATE_CANDLE} if denied else {None})
