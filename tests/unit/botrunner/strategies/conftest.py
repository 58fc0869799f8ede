"""A bar-by-bar engine for strategies: Backtrader as the bot runs it, with a paper fill at each signal's close."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import backtrader as bt
import pytest

from botrunner.strategies.base import OpenPosition, Signal, SignalKind, StrategyHost
from botrunner.strategies.registry.custom import CustomStrategy
from fleet.config import CustomParameters, LogicSpec
from fleet.config.mixins import ENTRY_PARAMS, EXIT_PARAMS


class Bar(NamedTuple):
    opened: int  # Unix seconds
    open: float
    high: float
    low: float
    close: float
    volume: float


class Feed(bt.feed.DataBase):
    """Live as in the bot: no preloading, no runonce."""

    params = (("bars", ()),)

    def islive(self) -> bool:
        return True

    def start(self) -> None:
        super().start()
        self._left = iter(self.p.bars)

    def _load(self) -> bool:
        bar = next(self._left, None)
        if bar is None:
            return False
        self.lines.datetime[0] = bt.date2num(datetime.fromtimestamp(bar.opened, UTC).replace(tzinfo=None))
        for name in ("open", "high", "low", "close", "volume"):
            getattr(self.lines, name)[0] = getattr(bar, name)
        self.lines.openinterest[0] = 0.0
        return True


@dataclass
class Account(StrategyHost):
    """The host of a strategy: trades at the close, like the paper broker; outlives the engine."""

    first: int = 0
    """Bars before this one are warm-up."""
    interval_s: int = 300
    position: OpenPosition | None = None
    signals: list[tuple[int, str, str]] = field(default_factory=list)
    state: dict[str, Any] = field(default_factory=dict)
    ready_at: int | None = None
    last_exit_at: datetime | None = None

    def on_bar(self, strategy: Any) -> None:
        bar = len(strategy) - 1
        self.ready_at = bar if self.ready_at is None else self.ready_at
        if bar < self.first:
            return
        if bar == max(self.first, self.ready_at):
            strategy.import_state(json.loads(json.dumps(self.state, allow_nan=False)))
        if self.position:
            self.position = replace(self.position, bars_held=self.position.bars_held + 1)
        signal = strategy.decide(self.position)
        if signal:
            self._fill(strategy, bar, signal)
        self.state = strategy.export_state()

    def _fill(self, strategy: Any, bar: int, signal: Signal) -> None:
        self.signals.append((bar, signal.kind.value, signal.reason))
        closes = bt.num2date(strategy.data.datetime[0]).replace(tzinfo=UTC).timestamp() + self.interval_s
        if signal.kind is SignalKind.EXIT:
            self.position, self.last_exit_at = None, datetime.fromtimestamp(round(closes), UTC)
            strategy.on_exited()
            return
        self.position = OpenPosition(
            direction=signal.direction,
            size=Decimal(1),
            entry_price=Decimal(repr(strategy.data.close[0])),
            entry_at=datetime.fromtimestamp(round(closes), UTC),
            bars_held=0,
        )
        strategy.on_entered(self.position)


def custom(entry: str, exit_: str, entry_params: Any = None, exit_params: Any = None) -> CustomParameters:
    return CustomParameters(
        entry=LogicSpec(entry, ENTRY_PARAMS[entry].model_validate(entry_params or {})),
        exit=LogicSpec(exit_, EXIT_PARAMS[exit_].model_validate(exit_params or {})),
    )


class Engine:
    """What the tests of strategies need; the fixture `engine`."""

    custom = staticmethod(custom)
    account = Account

    @staticmethod
    def bar(number: int, open_: float, high: float, low: float, close: float, volume: float = 1.0) -> Bar:
        """The five-minute bar of that number."""
        return Bar(300 * number, open_, high, low, close, volume)

    @staticmethod
    def row(row: Sequence[str]) -> Bar:
        """The bar of a row of a candle file."""
        open_, high, low, close, volume = map(float, row[1:6])
        return Bar(int(row[0]) // 1000, open_, high, low, close, volume)

    @staticmethod
    def feed(bars: Sequence[Bar], minutes: int = 5) -> Feed:
        return Feed(bars=bars, timeframe=bt.TimeFrame.Minutes, compression=minutes)

    @classmethod
    def run(
        cls,
        bars: Sequence[Bar],
        parameters: CustomParameters,
        account: Any = None,
        *,
        strategy: type[Any] = CustomStrategy,
        minutes: int = 5,
    ) -> Any:
        account = account or Account()
        cerebro = bt.Cerebro(stdstats=False, exactbars=1, quicknotify=True)
        cerebro.adddata(cls.feed(bars, minutes))
        cerebro.addstrategy(strategy, bot=account, parameters=parameters)
        cerebro.run()
        return account

    @classmethod
    def run_in_pieces(cls, bars: Sequence[Bar], parameters: CustomParameters, splits: Iterable[int]) -> Account:
        """Like `run`, with the engine rebuilt at every split: warm-up from the first bar, state through JSON."""
        account = Account()
        for end in [*sorted(splits), len(bars)]:
            cls.run(bars[:end], parameters, account)
            account.first = end
        return account

    @classmethod
    def lines(
        cls, bars: Sequence[Bar], make: Callable[[Any], Any], names: Sequence[str]
    ) -> dict[str, dict[int, float]]:
        """The values of an indicator's lines by bar, from its first complete bar on."""
        seen: dict[str, dict[int, float]] = {name: {} for name in names}

        class Recorder(bt.Strategy):
            def __init__(self) -> None:
                self.indicator = make(self.data)

            def next(self) -> None:
                for name in names:
                    seen[name][len(self) - 1] = getattr(self.indicator.lines, name)[0]

        cerebro = bt.Cerebro(stdstats=False, exactbars=1)
        cerebro.adddata(cls.feed(bars))
        cerebro.addstrategy(Recorder)
        cerebro.run()
        return seen

    @staticmethod
    def random_bars(seed: int, count: int, *, start: float = 100.0, volatility: float = 0.01) -> list[Bar]:
        """A walk with flat stretches, gaps between bars and empty volumes."""
        rng = random.Random(seed)
        bars, price = [], start
        for number in range(count):
            if rng.random() < 0.1:
                bars.append(Bar(300 * number, price, price, price, price, 0.0))
                continue
            opened = price * (1 + rng.gauss(0, volatility / 4))
            price = opened * (1 + rng.gauss(0, volatility))
            high = max(opened, price) * (1 + abs(rng.gauss(0, volatility / 2)))
            low = min(opened, price) * (1 - abs(rng.gauss(0, volatility / 2)))
            bars.append(Bar(300 * number, opened, high, low, price, rng.expovariate(0.01)))
        return bars

    @staticmethod
    def closes(closes: Sequence[float], volume: float = 1.0) -> list[Bar]:
        """Bars whose open, high, low and close are one price."""
        return [Engine.bar(n, price, price, price, price, volume) for n, price in enumerate(map(float, closes))]


@pytest.fixture(scope="session")
def engine() -> type[Engine]:
    return Engine


@pytest.fixture(scope="session")
def real_bars(candle_folder: Path) -> dict[str, list[Bar]]:
    """The first 1,000 candles of each real file, by name."""
    found = {}
    for path in sorted(candle_folder.glob("*.csv")):
        with path.open() as lines:
            rows = list(csv.reader(lines))[1:1001]
        found[path.stem] = [Engine.row(row) for row in rows]
    return found
