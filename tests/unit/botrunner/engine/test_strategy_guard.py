"""Whatever a strategy does costs a decision at most: the real engine, and a stop that must sell all the same."""

from __future__ import annotations

import decimal
import io
import json
import locale
import math
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import backtrader as bt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from botrunner.engine.budget import STATE_KEY, BudgetLimits, GaveUp, StrategyFailing
from botrunner.engine.failures import FailureCounts
from botrunner.engine.strategy_guard import (
    MISSED_FILL,
    STATE_DEPTH,
    STATE_MAX,
    BadAnswer,
    own_state,
    signal_of,
    state_of,
)
from botrunner.engine.strategy_instance import StrategyUnbuildable
from botrunner.exchange.errors import ExchangeAway
from botrunner.market.candle import Candle
from botrunner.process.stop import StopRequest, StopSwitch
from botrunner.strategies.base import Direction, OpenPosition, Signal, SignalKind
from botrunner.strategies.isolation import DECIMALS, PRINTED_MAX, trusted_code, untrusted_code
from fleet.config import BotConfig
from fleet.errors import ConfigUnusable, DatabaseAway, FencedError
from fleet.events import EventKind
from fleet.states import ExitReason
from tests.unit.botrunner.engine.runs import (
    BARS,
    ENTRY,
    FALL,
    START,
    D,
    EventLedger,
    Honest,
    Killed,
    ListSource,
    M,
    MemoryLedger,
    Store,
    candles,
    config,
    later,
    run,
    walk,
)

PATIENT = BudgetLimits(in_a_row=10**6, in_window=10**6)


def stopping(**sections: Any) -> BotConfig:
    return config(risk_management={"stop_loss_pct": 5}, **sections)


def the_trade(store: Store) -> Any:
    (trade,) = store.trades.values()
    return trade


def reference() -> Any:
    store = Store()
    run(MemoryLedger(store), candles(), stopping(), Honest)
    return the_trade(store)


# --- deeds --------------------------------------------------------------------------------------------------------


class Unprintable(Exception):
    def __str__(self) -> str:
        raise SystemExit(1)


class Ender(BaseException):
    pass


class SlySignal(Signal):
    def __getattribute__(self, name: str) -> Any:
        raise ZeroDivisionError


def raising(error: BaseException) -> Callable[[], Any]:
    def deed() -> Any:
        raise error

    return deed


def endless() -> Any:
    return endless()


def meddling() -> None:
    """Changes whatever of the process can be changed, then goes on as if nothing had been."""
    context = decimal.getcontext()
    context.prec, context.rounding = 2, decimal.ROUND_UP
    context.traps[decimal.Inexact] = True
    decimal.setcontext(decimal.Context(prec=1, traps=[decimal.Rounded]))
    random.seed(1)
    warnings.simplefilter("error")
    sys.setrecursionlimit(90)
    with suppress(locale.Error):
        locale.setlocale(locale.LC_ALL, "C.UTF-8")
    threading.Thread(target=threading.Event().wait, args=(0.01,), daemon=True).start()
    print("x" * 3_000_000)
    sys.stderr.close()
    sys.stdout = sys.stderr = None  # type: ignore[assignment]


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.decimals()
    | st.sampled_from([object(), Signal, Direction.LONG, ..., print, Honest]),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
BAD_SIGNALS: list[Callable[[], Any]] = [
    lambda: Signal("sell", "x"),  # type: ignore[arg-type]
    lambda: Signal(None, "x"),  # type: ignore[arg-type]
    lambda: Signal(SignalKind.EXIT, None),  # type: ignore[arg-type]
    lambda: Signal(SignalKind.EXIT, 7),  # type: ignore[arg-type]
    lambda: Signal(SignalKind.EXIT, "x", "up"),  # type: ignore[arg-type]
    lambda: SlySignal(SignalKind.EXIT, "x"),
]
ERRORS = st.sampled_from(
    [
        SystemExit(0), KeyboardInterrupt(), GeneratorExit(), Ender("x"), MemoryError(), Unprintable(), StopIteration(),
        ValueError("\0\ud800\x1b[2J" * 1000), FencedError("not yours"), DatabaseAway("x"), ConfigUnusable("x"), GaveUp("x"),
        UnicodeEncodeError("utf-8", "\ud800", 0, 1, "x"),
    ]
)  # fmt: skip
CYCLE: dict[str, Any] = {}
CYCLE["self"] = CYCLE
BAD_STATES: Mapping[str, Any] = {
    "NaN": {"a": math.nan},
    "infinite": {"a": [1, {"b": -math.inf}]},
    "a Decimal": {"a": D(1)},
    "a set": {"a": {1}},
    "bytes": {"a": b"x"},
    "keys that aren't texts": {1: 2},
    "a NUL": {"a": "x\0"},
    "a NUL in a key": {"a\0": 1},
    "half a pair": {"a": "\ud800"},
    "a number of 5,000 digits": {"a": 10**5000},
    "beyond any float": {"a": 10**309},
    "megabytes": {"a": "x" * 3_000_000},
    "megabytes of numbers": {"a": [1e300] * 3_000},
    "a cycle": CYCLE,
    "none": None,
    "a list": [1],
    "a text": "x",
}
ACTS = st.one_of(
    JUNK.map(lambda value: lambda: value),
    ERRORS.map(raising),
    st.sampled_from([endless, meddling, *BAD_SIGNALS]),
    st.sampled_from(sorted(BAD_STATES)).map(lambda name: lambda: BAD_STATES[name]),
)
HOOKS = (
    "decide",
    "on_entered",
    "on_exited",
    "export_state",
    "import_state",
    "indicator",
    "next",
    "start",
    "stop",
    "init",
)


def misbehaving(acts: Mapping[str, Callable[[], Any]], begin: int = ENTRY + 1) -> type[Honest]:
    """Honest up to a bar; from there on each hook does what is given for it."""
    clock = {"bar": -1}

    def act(hook: str, otherwise: Any = None) -> Any:
        return acts[hook]() if hook in acts and clock["bar"] >= begin - 1 else otherwise

    class Breaks(bt.Indicator):
        lines: Any = ("value",)

        def next(self) -> None:
            self.lines.value[0] = self.data[0]
            bar = round(bt.num2date(self.data.datetime[0]).timestamp() * 1000 / M) - START
            if bar >= begin:
                clock["bar"] = max(clock["bar"], bar)
                act("indicator")

    class Misbehaves(Honest):
        def __init__(self) -> None:
            super().__init__()
            act("init")
            self.broken = Breaks(self.data)
            self.behind = bt.indicators.ExponentialMovingAverage(self.data.close, period=3)

        def start(self) -> None:
            act("start")
            super().start()

        def stop(self) -> None:
            act("stop")

        def next(self) -> None:
            act("next")

        def decide(self, position: OpenPosition | None) -> Signal | None:
            return act("decide") if self.bar() >= begin else super().decide(position)  # type: ignore[no-any-return]

        def on_entered(self, position: OpenPosition) -> None:
            act("on_entered")

        def on_exited(self) -> None:
            act("on_exited")

        def export_state(self) -> dict[str, Any]:
            return act("export_state", {"n": 1})  # type: ignore[no-any-return]

        def import_state(self, state: Mapping[str, Any]) -> None:
            act("import_state")

    return Misbehaves


# --- the kind: whatever it does, through the real engine ----------------------------------------------------------


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(acts=st.dictionaries(st.sampled_from(HOOKS), ACTS, min_size=1, max_size=4))
def test_the_stop_sells_whatever_the_strategy_does(acts: Mapping[str, Callable[[], Any]]) -> None:
    before = sys.stdout, sys.stderr, sys.getrecursionlimit(), [*warnings.filters], decimal.getcontext().prec
    ledger = EventLedger(Store())
    try:
        run(ledger, candles(), stopping(), misbehaving(acts), budget=PATIENT)
    except (StrategyUnbuildable, ConfigUnusable):
        last = None  # once the stop has sold there is nothing to watch without a strategy
    else:
        last = BARS
    assert (sys.stdout, sys.stderr, sys.getrecursionlimit(), [*warnings.filters], decimal.getcontext().prec) == before
    trade = the_trade(ledger.store)
    assert (trade.exit_reason, trade) == ("stop_loss", reference())
    bars = len(ledger.store.states)
    assert bars == last if last else FALL < bars < BARS, "every bar is committed"
    json.dumps(ledger.store.states, default=str, allow_nan=False)


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("deed", [raising(SystemExit(0)), endless, meddling], ids=["exit", "endless", "meddling"])
def test_the_stop_sells_wherever_it_misbehaves(hook: str, deed: Callable[[], Any]) -> None:
    store = Store()
    acts = {hook: deed, "export_state": lambda: None} if hook in ("init", "start") else {hook: deed}
    with suppress(StrategyUnbuildable):
        run(MemoryLedger(store), candles(), stopping(), misbehaving(acts), budget=PATIENT)
    assert the_trade(store) == reference()


def unhook(strategy: Any) -> None:
    del warnings.filters


def leave_out(_: Any) -> None:
    raise bt.errors.StrategySkipError


ENGINE_DEEDS: Mapping[str, Callable[[Any], Any]] = {
    "stops the engine": lambda strategy: strategy.env.runstop(),
    "leaves the engine": lambda strategy: strategy.env.runningstrats.clear(),
    "isn't taken into it": leave_out,
    "takes the next candle": lambda strategy: strategy.data.next(),
    "loads the next candle": lambda strategy: strategy.data._load(),
    "has no broker": lambda strategy: setattr(strategy.env, "broker", None),
    "removes the warnings' filters": unhook,
}


@pytest.mark.parametrize("hook", ["init", "start", "prenext", "next", "notify", "decide", "export_state"])
@pytest.mark.parametrize("deed", [*ENGINE_DEEDS.values()], ids=[*ENGINE_DEEDS])
def test_the_stop_sells_whatever_it_does_to_its_engine(hook: str, deed: Callable[[Any], Any]) -> None:
    """An engine that ends by itself, or a candle that is taken beside it, costs no bar."""
    clock = {"bar": -1}

    class Steers(Honest):
        def act(self, here: str) -> None:
            if here == hook and clock["bar"] > ENTRY:
                deed(self)

        def __init__(self) -> None:
            super().__init__()
            self.act("init")

        def start(self) -> None:
            self.act("start")

        def prenext(self) -> None:
            self.act("prenext")

        def next(self) -> None:
            clock["bar"] = max(clock["bar"], self.bar())
            self.act("next")

        def notify_cashvalue(self, cash: float, value: float) -> None:
            self.act("notify")

        def decide(self, position: OpenPosition | None) -> Signal | None:
            self.act("decide")
            return super().decide(position)

        def export_state(self) -> dict[str, Any]:
            self.act("export_state")
            return {}

    store = Store()
    run(MemoryLedger(store), candles()[: ENTRY + 2], stopping(), Steers, budget=PATIENT)
    # one that can't be made ends the run once it is flat
    with suppress(StrategyUnbuildable):
        run(MemoryLedger(store), candles(), stopping(), Steers, budget=PATIENT)
    assert the_trade(store) == reference()
    bars = [round(at.timestamp() * 1000) // M - START for at, _ in store.states]
    assert bars == [*range(len(bars))]
    assert len(bars) > FALL


def test_the_bot_does_not_depend_on_how_a_strategy_keeps_its_attributes() -> None:
    class Keeps(Honest):
        def __setattr__(self, name: str, value: Any) -> None:
            if name not in ("_next", "_start"):
                super().__setattr__(name, value)

    store = Store()
    assert run(MemoryLedger(store), candles(), stopping(), Keeps) is ExitReason.STOPPED
    assert the_trade(store) == reference()
    assert len(store.states) == BARS


@pytest.mark.parametrize(
    "sections",
    [
        {"risk_management": {"take_profit_pct": 5, "trailing_stop_pct": 4}},
        {"risk_management": {"stop_loss_pct": 5}, "broker": {"paper_trading_config": {"fill_price": "next_open"}}},
        {"risk_management": {"stop_loss_pct": 5}, "trading": {"order_type": "limit", "limit_offset_pct": 0}},
    ],
    ids=["trailing", "next open", "limit"],
)
def test_every_protection_goes_on(sections: dict[str, Any]) -> None:
    whole, failing = Store(), Store()
    run(MemoryLedger(whole), candles(), config(**sections), Honest)
    acts = dict.fromkeys(HOOKS, meddling) | {"decide": endless, "export_state": lambda: BAD_STATES["NaN"]}
    with suppress(StrategyUnbuildable):  # once flat
        run(MemoryLedger(failing), candles(), config(**sections), misbehaving(acts), budget=PATIENT)
    assert whole.trades
    assert failing.trades == whole.trades
    assert failing.fills == whole.fills


# --- answers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", BAD_STATES.values(), ids=BAD_STATES)
def test_a_state_that_can_not_be_kept_is_refused(state: Any) -> None:
    with pytest.raises(BadAnswer):
        state_of(state)


@given(JUNK | st.dictionaries(st.text(), JUNK))
def test_a_state_is_json_that_comes_back_or_refused(answer: Any) -> None:
    try:
        state = state_of(answer)
    except BadAnswer:
        return
    text = json.dumps(state, allow_nan=False)
    assert "\\u0000" not in text
    assert json.loads(text) == state
    text.encode()


def test_a_state_is_a_copy_of_plain_values() -> None:
    class Odd(float):
        def __repr__(self) -> str:
            return "1); DROP TABLE"

    kept = {"list": [1, True], "tuple": (Odd(1.5), Direction.LONG)}
    state = state_of(kept)
    kept["list"].append(2)  # type: ignore[attr-defined]
    assert state == {"list": [1, True], "tuple": [1.5, "long"]}
    assert [type(value) for value in state["tuple"]] == [float, str]  # type: ignore[union-attr]


def test_the_largest_and_deepest_state_is_kept() -> None:
    deep: Any = 1
    for _ in range(STATE_DEPTH):
        deep = {"": deep}
    assert state_of(deep) == deep
    with pytest.raises(BadAnswer, match="nested too deep"):
        state_of({"": deep})
    assert state_of({"a": "x" * (STATE_MAX - 20)})
    with pytest.raises(BadAnswer, match="too large"):
        state_of({"a": "x" * STATE_MAX})


def test_a_signal_is_made_anew_and_its_words_are_clean() -> None:
    answer = Signal("exit", " a\0b\x1b[31m\ud800\n" + "c" * 500, "short")  # type: ignore[arg-type]
    signal = signal_of(answer)
    assert signal is not None
    assert signal is not answer
    assert (signal.kind, signal.direction) == (SignalKind.EXIT, Direction.SHORT)
    assert signal.reason.startswith("a\ufffdb\ufffd c")
    assert len(signal.reason) == 100
    assert signal_of(Signal(SignalKind.ENTER, " ")) == Signal(SignalKind.ENTER, "unnamed")


@pytest.mark.parametrize("answer", [True, math.nan, "exit", 0, SignalKind.EXIT, {"kind": "exit"}, Signal])
def test_what_is_no_signal_is_refused(answer: Any) -> None:
    with pytest.raises(BadAnswer, match="must be a Signal or None"):
        signal_of(answer)


# --- the process --------------------------------------------------------------------------------------------------


def test_what_untrusted_code_changes_is_restored_for_trusted_code_and_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = io.StringIO()
    monkeypatch.setattr(sys, "stderr", real)
    before = sys.stdout, sys.getrecursionlimit(), [*warnings.filters]
    with decimal.localcontext(decimal.Context(prec=7)), untrusted_code():
        meddling()
        with trusted_code():
            assert (sys.stdout, sys.getrecursionlimit(), [*warnings.filters]) == before
            assert sys.stderr is real
            assert D(1) / D(3) == D("0.3333333333333333333333333333")
            assert decimal.getcontext().rounding == DECIMALS.rounding
        print("again")
        decimal.getcontext().prec = 3
    assert (sys.stdout, sys.getrecursionlimit(), [*warnings.filters]) == before
    assert len(real.getvalue()) == PRINTED_MAX + len("again\n")
    assert not real.closed


def test_an_alarm_of_untrusted_code_does_not_ring_in_trusted_code() -> None:
    before, outer = signal.getsignal(signal.SIGALRM), signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        with untrusted_code():
            signal.signal(signal.SIGALRM, signal.default_int_handler)
            signal.setitimer(signal.ITIMER_REAL, 60, 60)
            with trusted_code():
                assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
            signal.setitimer(signal.ITIMER_REAL, 60)
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
        # one that was set before is left
        signal.setitimer(signal.ITIMER_REAL, 60)
        with untrusted_code():
            pass
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
    finally:
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *outer)


def test_the_engine_reckons_alike_whatever_the_context_is_outside_of_it() -> None:
    with decimal.localcontext(decimal.Context(prec=4, traps=[])):
        store = Store()
        run(MemoryLedger(store), candles(), stopping(), Honest)
    assert the_trade(store) == reference()


# --- the state ----------------------------------------------------------------------------------------------------


class Counts(Honest):
    """Trades by what it counts, and can't say it at some bars."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def decide(self, position: OpenPosition | None) -> Signal | None:
        self.seen += 1
        if position is None and self.seen % 7 == 3:
            return Signal(SignalKind.ENTER, "third")
        return Signal(SignalKind.EXIT, "fifth") if position is not None and self.seen % 5 == 0 else None

    def export_state(self) -> dict[str, Any]:
        return {"seen": math.nan if self.bar() % 6 in (0, 1) else self.seen}

    def import_state(self, state: Mapping[str, Any]) -> None:
        self.seen = int(state.get("seen", 0))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_after_a_state_that_can_not_be_kept_a_killed_bot_goes_on_like_one_that_was_not(seed: int) -> None:
    series, made, rng = walk(90, seed), config(), random.Random(seed)
    whole, killed = Store(), Store()
    run(MemoryLedger(whole), series, made, Counts, budget=PATIENT)
    assert whole.trades
    while True:
        kills = {rng.randint(1, 12): rng.choice(["before", "after"])}
        with suppress(Killed):
            run(MemoryLedger(killed, kills), series, made, Counts, budget=PATIENT)
            break
    assert killed.states == whole.states
    assert (killed.orders, killed.trades, killed.checkpoint) == (whole.orders, whole.trades, whole.checkpoint)


def test_a_strategy_that_changes_its_state_later_changes_nothing_that_was_committed() -> None:
    kept: dict[str, Any] = {"list": []}

    class Later(Honest):
        def export_state(self) -> dict[str, Any]:
            kept["list"].append(self.bar())
            return kept

    store = Store()
    run(MemoryLedger(store), candles(), stopping(), Later)
    lengths = [len(state["list"]) for _, state in store.states]
    assert lengths == sorted(set(lengths))


def test_a_strategy_that_changes_its_parameters_changes_them_for_itself_alone() -> None:
    made = stopping(data={"interval": "1m", "lookback_bars": 50})
    object.__setattr__(made, "strategy_parameters", {"a": [1]})
    seen: list[Any] = []

    class Meddles(Honest):
        def __init__(self) -> None:
            super().__init__()
            seen.append([*self.p.parameters["a"]])
            self.p.parameters["a"].append(2)

    run(MemoryLedger(Store()), candles() + later(60), made, Meddles)
    assert len(seen) > 1
    assert all(each == [1] for each in seen)
    assert made.strategy_parameters == {"a": [1]}


def test_a_state_of_the_strategys_own_can_not_forge_the_count_of_failures() -> None:
    class Forges(Honest):
        def export_state(self) -> dict[str, Any]:
            return {STATE_KEY: {"version": 0, "in_a_row": 99, "at": [1]}}

    store = Store()
    assert run(MemoryLedger(store), candles(), stopping(), Forges) is ExitReason.STOPPED
    assert all(state == {} for _, state in store.states)


def test_a_state_that_the_strategy_refuses_costs_a_decision_and_it_begins_anew() -> None:
    class Refuses(Counts):
        def import_state(self, state: Mapping[str, Any]) -> None:
            if state:
                raise KeyError("an earlier version wrote this")

        def export_state(self) -> dict[str, Any]:
            return {"seen": self.seen}

    ledger, book = EventLedger(Store()), FailureCounts()
    run(ledger, candles()[: ENTRY + 2], stopping(), Honest)
    ledger.store.checkpoint = (*ledger.store.checkpoint[:4], {"old": 1})  # type: ignore[index]
    assert run(ledger, candles(), stopping(), Refuses, failures=book) is ExitReason.STOPPED
    assert [(kind.where, kind.type, kind.count) for kind in book.failures] == [("import_state", "KeyError", 1)]
    assert len(ledger.store.states) == BARS
    assert [event.kind for event in ledger.events] == [EventKind.BOT_ERROR]


# --- the constructor ----------------------------------------------------------------------------------------------


@dataclass
class Switchable:
    """A strategy that can't be built while it is broken."""

    broken: BaseException | None = None

    def made(self) -> type[Honest]:
        def fail() -> None:
            if self.broken is not None:
                raise self.broken

        class Unsteady(Honest):
            def __init__(self) -> None:
                super().__init__()
                fail()

        return Unsteady


@pytest.mark.parametrize("error", [ZeroDivisionError("x"), SystemExit(0), ConfigUnusable("no model")], ids=repr)
def test_a_strategy_that_can_not_be_built_with_an_open_position_still_has_its_stop(error: BaseException) -> None:
    store, switch = Store(), Switchable()
    run(MemoryLedger(store), candles()[: ENTRY + 2], stopping(), switch.made())
    switch.broken = error
    # once the stop has sold there is nothing to watch without a strategy
    with pytest.raises(ConfigUnusable if isinstance(error, ConfigUnusable) else StrategyUnbuildable):
        run(MemoryLedger(store), candles(), stopping(), switch.made())
    assert the_trade(store) == reference()
    switch.broken = None
    assert run(MemoryLedger(store), candles(), stopping(), switch.made()) is ExitReason.STOPPED
    assert len(store.states) == BARS


def test_a_stop_that_is_to_flatten_flattens_without_a_strategy_too() -> None:
    store, switch, made = Store(), Switchable(), stopping(trading={"on_stop": "flatten"})
    run(MemoryLedger(store), candles()[: ENTRY + 2], stopping(), switch.made())
    switch.broken = ZeroDivisionError("x")
    assert run(MemoryLedger(store), candles()[: ENTRY + 3], made, switch.made()) is ExitReason.STOPPED
    assert the_trade(store).exit_reason == "flatten_on_stop"


class AwayWithAStop(ListSource):
    """Doesn't answer, and a stop comes meanwhile."""

    def history(self, start_ms: int, end_ms: int) -> list[Candle]:
        self.stop.request(StopRequest(ExitReason.STOPPED))
        raise ExchangeAway("scripted")


@pytest.mark.parametrize("when", ["before the start", "while it waits for the exchange"])
def test_a_stop_that_is_to_flatten_flattens_a_bot_that_is_still_starting(when: str) -> None:
    store, stop = Store(), StopSwitch()
    run(MemoryLedger(store), candles()[: ENTRY + 2], stopping(), Honest)
    if when == "before the start":
        stop.request(StopRequest(ExitReason.STOPPED))
    made, source = stopping(trading={"on_stop": "flatten"}), AwayWithAStop(candles(), stop)
    assert run(MemoryLedger(store), [], made, Honest, source=source, stop=stop) is ExitReason.STOPPED
    trade = the_trade(store)
    assert (trade.exit_reason, trade.exit_price) == ("flatten_on_stop", candles()[ENTRY + 1].close)
    assert run(MemoryLedger(store), candles(), stopping(), Honest) is ExitReason.STOPPED
    assert len({at for at, _ in store.states}) == BARS


def test_it_is_built_as_soon_as_that_succeeds_and_goes_on_from_its_state() -> None:
    fails: list[Exception] = []

    class Unsteady(Counts):
        def __init__(self) -> None:
            super().__init__()
            if fails:
                raise fails.pop()

        def export_state(self) -> dict[str, Any]:
            return {"seen": self.seen}

        def decide(self, position: OpenPosition | None) -> Signal | None:
            self.seen += 1
            return Honest.decide(self, position)

    store, book = Store(), FailureCounts()
    run(MemoryLedger(store), candles()[: ENTRY + 2], stopping(), Unsteady)
    before = store.states[-1][1]["seen"]
    fails += [ValueError("1"), ValueError("1")]
    run(MemoryLedger(store), candles(), stopping(), Unsteady, failures=book)
    assert [(kind.where, kind.count) for kind in book.failures] == [("build", 2)]
    assert store.states[-1][1]["seen"] == before + BARS - (ENTRY + 2) - 2
    assert the_trade(store) == reference()


class Believes(Honest):
    """Enters once and, believing what it was told, again after that position was closed."""

    broken: Callable[[int], bool] = staticmethod(lambda _: False)
    """Bars after which it can't be built, or can't say its state."""
    where = "init"

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.entered = False, 0
        if self.where == "init" and self.broken(self.committed()):
            raise ValueError

    store: Store

    def committed(self) -> int:
        return round(self.store.states[-1][0].timestamp() * 1000 / M) - START if self.store.states else -1

    def decide(self, position: OpenPosition | None) -> Signal | None:
        wants = self.bar() in (ENTRY, BARS - 2) and not self.inside
        return Signal(SignalKind.ENTER, "now") if wants else None

    def on_entered(self, position: OpenPosition) -> None:
        self.inside, self.entered = True, self.entered + 1

    def on_exited(self) -> None:
        self.inside = False

    def export_state(self) -> dict[str, Any]:
        bad = self.where == "export_state" and self.broken(self.bar())
        return {"inside": self.inside, "entered": math.nan if bad else self.entered}

    def import_state(self, state: Mapping[str, Any]) -> None:
        self.inside, self.entered = bool(state.get("inside")), int(state.get("entered", 0))


@pytest.mark.parametrize("every_bar_anew", [False, True])
@pytest.mark.parametrize("lost", ["the entry", "the exit", "both"])
@pytest.mark.parametrize("where", ["init", "export_state"])
def test_a_strategy_hears_later_of_what_it_was_not_told(where: str, lost: str, every_bar_anew: bool) -> None:
    # built anew it fails behind the bar before the one that the fill belongs to: the entry waits for an open
    closing = FALL - 1 if where == "init" else FALL
    bars = {"the entry": {ENTRY}, "the exit": {closing}, "both": {ENTRY, closing}}[lost]
    made = stopping(broker={"paper_trading_config": {"fill_price": "next_open" if where == "init" else "close"}})
    store, book = Store(), FailureCounts()
    changes = {"broken": staticmethod(bars.__contains__), "where": where, "store": store}
    strategy = type("Believing", (Believes,), changes)
    for end in range(1, BARS + 1) if every_bar_anew else (BARS,):
        assert run(MemoryLedger(store), candles()[:end], made, strategy, failures=book) is ExitReason.STOPPED
    first, second = store.trades.values()
    assert (first.exit_reason, second.is_open) == ("stop_loss", True)
    assert own_state(store.states[-1][1]) == {"inside": True, "entered": 2}
    assert MISSED_FILL not in store.states[-1][1]
    assert [at for at, _ in store.states] == [candle.open_at for candle in candles()]


# --- giving up ----------------------------------------------------------------------------------------------------

STRICT = BudgetLimits(in_a_row=2, in_window=50, window_bars=100)


def given_up(made: BotConfig, ledger: EventLedger, **changes: Any) -> str:
    """Run until the bot gives up, as a controller would start it; its last words."""
    for _ in range(5):
        try:
            run(ledger, candles(), made, misbehaving({"decide": endless}), budget=STRICT, **changes)
        except GaveUp as error:
            return str(error)
        except StrategyFailing:
            continue
    raise AssertionError("it never gave up")


def test_a_bot_that_gives_up_closes_its_position_at_the_last_close_and_says_so() -> None:
    ledger = EventLedger(Store())
    words = given_up(stopping(), ledger)
    assert "closed at the last close" in words
    trade = the_trade(ledger.store)
    assert (trade.exit_reason, trade.exit_price) == ("flatten_on_failure", candles()[ENTRY + 3].close)
    (told,) = [event for event in ledger.events if event.kind is EventKind.BOT_DISABLED]
    assert (told.urgency, told.facts["entry_order_id"]) == ("critical", trade.entry_order_id)
    # again and again: it is closed once, and each start ends alike
    rows = dict(ledger.store.orders), dict(ledger.store.fills)
    for _ in range(3):
        given_up(stopping(), ledger)
    assert (ledger.store.orders, ledger.store.fills) == rows
    # switched off and on, it begins flat, with a fresh count and a fresh state
    assert ledger.store.checkpoint is not None
    assert set(ledger.store.checkpoint[4]) == {STATE_KEY}
    assert run(ledger, candles(), stopping(), Honest, budget=STRICT, config_version=2) is ExitReason.STOPPED
    assert len({at for at, _ in ledger.store.states}) == BARS


def test_told_to_hold_it_leaves_the_position_and_says_so() -> None:
    ledger = EventLedger(Store())
    assert "nobody watches it" in given_up(stopping(trading={"on_failure": "hold"}), ledger)
    assert the_trade(ledger.store).is_open
    assert not [event for event in ledger.events if event.kind is EventKind.BOT_DISABLED]


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_around_the_closing_it_is_closed_once(when: str) -> None:
    whole, ledger = EventLedger(Store()), EventLedger(Store())
    given_up(stopping(), whole)
    closing = len(whole.store.states)
    killed = EventLedger(ledger.store)

    class Kills(EventLedger):
        def commit(self, outcome: Any) -> None:
            closes = outcome.candle is None
            if closes and when == "before":
                raise Killed
            super().commit(outcome)
            if closes:
                raise Killed

    with pytest.raises(Killed):
        given_up(stopping(), Kills(ledger.store))
    given_up(stopping(), killed)
    assert ledger.store.fills == whole.store.fills
    assert ledger.store.trades == whole.store.trades
    assert len(ledger.store.states) == closing


def test_a_closing_run_never_makes_the_strategy_nor_asks_for_candles() -> None:
    class Deadly(Honest):
        def __init__(self) -> None:
            raise AssertionError("made")

    class NoCandles:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(name)

    ledger = EventLedger(Store())
    run(ledger, candles()[: ENTRY + 2], stopping(), Honest)
    for _ in range(2):
        with pytest.raises(GaveUp, match="failed too often"):
            run(ledger, [], stopping(), Deadly, source=NoCandles(), close_out="failed too often")
    trade = the_trade(ledger.store)
    assert (trade.exit_reason, trade.exit_price) == ("flatten_on_failure", candles()[ENTRY + 1].close)
    # and of a bot that never traded
    with pytest.raises(GaveUp):
        run(EventLedger(Store()), [], stopping(), Deadly, source=NoCandles(), close_out="failed too often")


def test_with_real_money_nothing_is_sold_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BotConfig, "trading_mode", property(lambda _: "live"))
    assert stopping().on_failure == "hold"
