"""One engine against a scripted loop: what moves when, who is called where, and what is left when it breaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from decimal import getcontext
from typing import Any

import backtrader as bt
import pytest

from botrunner.engine.backtrader_adapter import BacktraderEngine, BarLoop, Broken, EngineEnded, Moved
from botrunner.engine.budget import BudgetLimits, ErrorBudget
from botrunner.engine.failures import FailureCounts
from botrunner.engine.strategy_guard import GuardedStrategy, StateRefused
from botrunner.market.candle import Candle
from botrunner.strategies.base import BaseStrategy
from fleet.errors import FencedError
from tests.unit.botrunner.engine.runs import M, walk

CANDLES = walk(40)[:10]
PERIOD = 4


class Averages(BaseStrategy):
    """Needs four candles."""

    def __init__(self) -> None:
        self.average = bt.indicators.SimpleMovingAverage(self.data.close, period=PERIOD)

    def at(self) -> int:
        return round(bt.num2date(self.data.datetime[0]).timestamp() * 1000 / M) * M  # type: ignore[no-any-return]


class Loop:
    """Gives candles, and notes how the lines moved to each and what the strategy's lines show then."""

    def __init__(self, candles: Sequence[Candle], *, raises: BaseException | None = None, at: int = 3) -> None:
        self.candles = candles
        self.raises, self.raises_at = raises, at
        self.moves: list[Moved] = []
        self.closes: list[float] = []
        self.strategy: Any = None
        self.over = False

    def bars(self, guarded: GuardedStrategy) -> BarLoop:
        for number, candle in enumerate(self.candles):
            moved = yield candle
            assert moved is not None
            self.moves.append(moved)
            self.closes.append(self.strategy.data.close[0])
            if number == self.raises_at and self.raises is not None:
                raise self.raises
        self.over = True

    def guard(self, strategy: Any, state: Mapping[str, Any]) -> GuardedStrategy:
        self.strategy = strategy
        return GuardedStrategy(
            strategy,
            bot_id=7,
            state=state,
            budget=ErrorBudget(version=0),
            limits=BudgetLimits(),
            interval_ms=M,
            bar_ms=lambda: 0,
            report=lambda _: None,
            failures=FailureCounts(),
        )


def run(
    loop: Loop,
    strategy: type[Any] = Averages,
    *,
    state: Mapping[str, Any] | None = None,
    parameters: Any = None,
    last_exit_at: Callable[[], datetime | None] = lambda: None,
) -> Broken | None:
    return BacktraderEngine(
        strategy,
        parameters=parameters,
        interval_s=60,
        last_exit_at=last_exit_at,
        guard=lambda made: loop.guard(made, state or {}),
        bars=loop.bars,
    ).run()


def opens(candles: Sequence[Candle]) -> list[int]:
    return [candle.open_ms for candle in candles]


def test_the_lines_stand_at_each_candle_when_the_loop_hears_of_it() -> None:
    loop = Loop(CANDLES)
    assert run(loop) is None
    assert loop.closes == [float(candle.close) for candle in CANDLES]
    assert [moved.ready for moved in loop.moves] == [number >= PERIOD - 1 for number in range(len(CANDLES))]
    assert all(moved.failure is None for moved in loop.moves)
    assert loop.over


def test_without_any_candle_nothing_moves() -> None:
    loop = Loop([])
    assert run(loop) is None
    assert (loop.moves, loop.over) == ([], True)


def test_an_indicator_that_fails_costs_its_candle_and_the_next_ones_lines_are_in_step() -> None:
    class Fails(bt.Indicator):
        lines: Any = ("value",)

        def next(self) -> None:
            if len(self) == 6:
                raise SystemExit(3)
            self.lines.value[0] = self.data[0]

    class Fragile(Averages):
        def __init__(self) -> None:
            self.fails = Fails(self.data.close)
            super().__init__()
            self.behind = bt.indicators.SimpleMovingAverage(self.data.close, period=2)

    loop = Loop(CANDLES)
    assert run(loop, Fragile) is None
    assert [moved.failure is not None for moved in loop.moves] == [number == 5 for number in range(len(CANDLES))]
    assert isinstance(loop.moves[5].failure, SystemExit)
    assert not loop.moves[5].ready
    last = [float(candle.close) for candle in CANDLES[-2:]]
    assert loop.strategy.behind[0] == pytest.approx(sum(last) / 2)
    assert len(loop.strategy.fails) == len(loop.strategy.behind) == len(CANDLES)


@pytest.mark.parametrize("error", [FencedError("lost"), KeyboardInterrupt(), StopIteration("x")], ids=repr)
def test_what_the_loop_raises_comes_out_even_if_the_strategy_swallows_it(error: BaseException) -> None:
    class Swallows(Averages):
        def next(self) -> None:
            # the engine's own call, from inside of it
            with suppress(BaseException):
                self._next()

    for strategy in (Averages, Swallows):
        loop = Loop(CANDLES, raises=error, at=PERIOD)
        # a generator that raises StopIteration raises RuntimeError
        with pytest.raises(RuntimeError if isinstance(error, StopIteration) else type(error)):
            run(loop, strategy)
        assert len(loop.moves) == PERIOD + 1, "nothing moves after it"


def take(strategy: Any) -> None:
    strategy.data._load()
    strategy.data.next()


@pytest.mark.parametrize("hook", ["start", "prenext", "next", "notify_cashvalue"])
def test_a_strategy_that_moves_its_data_itself_gets_no_candle_before_the_bars_turn(hook: str) -> None:
    def hooked(self: Any, *_: Any) -> None:
        take(self)

    given: list[int] = []

    class Counts(Loop):
        def bars(self, guarded: GuardedStrategy) -> BarLoop:
            for candle in self.candles:
                given.append(candle.open_ms)
                assert (yield candle) is not None

    # its lines are its own fault; the bars aren't
    assert run(Counts(CANDLES), type("Takes", (Averages,), {hook: hooked})) is None
    assert given == opens(CANDLES)


def test_a_strategy_that_calls_its_own_step_moves_no_bar_twice() -> None:
    class Steps(Averages):
        def next(self) -> None:
            if len(self) == 6:
                self._next()

    loop = Loop(CANDLES)
    assert run(loop, Steps) is None
    assert loop.closes == [float(candle.close) for candle in CANDLES]


def test_an_engine_that_is_stopped_says_so_and_its_next_candle_stays_the_loops() -> None:
    class Stops(Averages):
        def next(self) -> None:
            if len(self) == 6:
                self.env.runstop()

    loop = Loop(CANDLES)
    broken = run(loop, Stops)
    assert broken is not None
    assert isinstance(broken.failure, EngineEnded)
    assert (broken.candle, broken.at_end) == (None, False)
    assert len(loop.moves) == 6, "the bar itself was worked through"


def test_an_engine_that_breaks_with_a_candle_in_its_hands_gives_it_back() -> None:
    class Leaves(Averages):
        def next(self) -> None:
            if len(self) == 6:
                self.env.runningstrats.clear()

    loop = Loop(CANDLES)
    broken = run(loop, Leaves)
    assert broken is not None
    assert broken.candle == CANDLES[6]
    assert (len(loop.moves), broken.at_end) == (6, False)


def test_a_hook_that_fails_at_the_very_end_is_told_apart() -> None:
    class FailsAtTheEnd(Averages):
        def stop(self) -> None:
            raise ZeroDivisionError

    loop = Loop(CANDLES)
    broken = run(loop, FailsAtTheEnd)
    assert broken is not None
    assert isinstance(broken.failure, ZeroDivisionError)
    assert (broken.candle, broken.at_end, len(loop.moves)) == (None, True, len(CANDLES))


@pytest.mark.parametrize("hook", ["__init__", "start"])
def test_one_that_can_not_be_made_never_begins_the_loop(hook: str) -> None:
    def fails(self: Any) -> None:
        raise SystemExit(0)

    loop = Loop(CANDLES)
    broken = run(loop, type("Fails", (Averages,), {hook: fails}))
    assert broken is not None
    assert isinstance(broken.failure, SystemExit)
    assert (broken.candle, broken.at_end, loop.moves, loop.over) == (None, False, [], False)


def test_one_that_refuses_its_state_never_begins_the_loop() -> None:
    class Refuses(Averages):
        def import_state(self, state: Mapping[str, Any]) -> None:
            raise KeyError("old")

    loop = Loop(CANDLES)
    broken = run(loop, Refuses, state={"old": 1})
    assert broken is not None
    assert isinstance(broken.failure, StateRefused)
    assert loop.moves == []


def test_the_loop_runs_with_the_bots_own_decimals_whatever_the_strategy_sets() -> None:
    precisions: list[int] = []

    class Rounds(Averages):
        def prenext(self) -> None:
            getcontext().prec = 3

        next = prenext

    class Looks(Loop):
        def bars(self, guarded: GuardedStrategy) -> BarLoop:
            for candle in self.candles:
                precisions.append(getcontext().prec)
                yield candle

    run(Looks(CANDLES), Rounds)
    assert precisions == [28] * len(CANDLES)


def test_a_strategy_sees_of_its_bot_the_last_exit_alone_and_has_parameters_of_its_own() -> None:
    seen: list[Any] = []
    given = {"a": [1]}
    exited = datetime(2020, 1, 1)  # noqa: DTZ001 - any value

    class Looks(Averages):
        def __init__(self) -> None:
            super().__init__()
            self.p.parameters["a"].append(2)
            seen.append((self.last_exit_at, [name for name in vars(self.p.bot) if not name.startswith("_")]))

    run(Loop(CANDLES), Looks, parameters=given, last_exit_at=lambda: exited)
    assert seen == [(exited, [])]
    assert given == {"a": [1]}
