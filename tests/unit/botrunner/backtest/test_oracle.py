"""The money path against a second one that shares no code with it.

Signals: the mixins in one plain Cerebro over the whole file, with Backtrader's own broker filling at the close
(`set_coc`) and its own idea of the position. Money: a few lines of Decimal arithmetic below, from the rules in the docs:
a fraction of the equity, rounded down to the step, and a fee on each value, to the eighth decimal.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

import backtrader as bt
import pytest

from botrunner.backtest.run import backtest
from botrunner.feeds.source import read_candles
from botrunner.market.candle import Candle
from botrunner.market.rules import file_market
from botrunner.strategies.base import Direction, OpenPosition
from botrunner.strategies.registry.installed import entry_mixins, exit_mixins
from fleet.config import parse_config
from tests.loose import LOOSE

D = Decimal
BARS = 2_500
FEE, FRACTION, CASH = D("0.001"), D("0.25"), D(10)
STEP = D("1e-8")
FIVE_MINUTES = timedelta(minutes=5)


class Recorded(bt.feed.DataBase):
    """Candles, preloaded as in any Backtrader script."""

    params = (("candles", ()),)

    def start(self) -> None:
        super().start()
        self.left = iter(self.p.candles)

    def _load(self) -> bool:
        candle = next(self.left, None)
        if candle is None:
            return False
        self.lines.datetime[0] = bt.date2num(candle.open_at.replace(tzinfo=None))
        for name in ("open", "high", "low", "close", "volume"):
            getattr(self.lines, name)[0] = float(getattr(candle, name))
        self.lines.openinterest[0] = 0.0
        return True


class Plain(bt.Strategy):
    """The mixins as Backtrader's docs would have them used: a market order per signal, told by notify_order."""

    params = (("entry", None), ("leave", None), ("candles", ()))

    def __init__(self) -> None:
        self.entry = entry_mixins()[self.p.entry.name](self, self.p.entry.params)
        self.leave = exit_mixins()[self.p.leave.name](self, self.p.leave.params)
        self.since = 0
        self.last_exit_at: datetime | None = None
        self.round_trips: list[list[int]] = []

    def next(self) -> None:
        bar = len(self) - 1
        if not self.position:
            if self.entry.signal() is not None:
                self.buy(size=0.25 * self.broker.getvalue() / self.data.close[0])
                self.since = bar
                self.round_trips.append([bar])
                # the fill's news come with the next bar; what the mixins are to know of it is of this one
                for mixin in (self.entry, self.leave):
                    mixin.on_entered(self.held(bar))
            return
        if self.leave.signal(self.held(bar)) is not None:
            self.close()
            self.round_trips[-1].append(bar)
            self.last_exit_at = self.p.candles[bar].open_at + FIVE_MINUTES
            for mixin in (self.entry, self.leave):
                mixin.on_exited()

    def held(self, bar: int) -> OpenPosition:
        bought = self.p.candles[self.since]
        return OpenPosition(
            direction=Direction.LONG,
            size=D(1),
            entry_price=bought.close,
            entry_at=bought.open_at + FIVE_MINUTES,
            bars_held=bar - self.since,
        )

    def notify_order(self, order: Any) -> None:
        assert order.status not in (order.Margin, order.Rejected, order.Canceled)
        if order.status == order.Completed:
            assert order.executed.price == pytest.approx(self.data.close[-1], rel=1e-12)


@dataclass(frozen=True)
class Trip:
    signal_at: datetime
    exit_at: datetime
    size: Decimal
    entry_price: Decimal
    exit_price: Decimal
    commission: Decimal
    net_pnl: Decimal


def fee(value: Decimal) -> Decimal:
    return (value * FEE).quantize(STEP, ROUND_HALF_EVEN)


def money(trips: list[list[int]], candles: list[Candle]) -> tuple[list[Trip], Decimal]:
    cash, found = CASH, []
    for trip in trips:
        bought = candles[trip[0]]
        size = (cash * FRACTION / bought.close).quantize(STEP, ROUND_DOWN)
        cost = size * bought.close
        cash -= cost + fee(cost)
        if len(trip) == 1:
            return found, cash + size * candles[-1].close
        sold = candles[trip[1]]
        earned = size * sold.close
        cash += earned - fee(earned)
        fees = fee(cost) + fee(earned)
        closed_at = sold.open_at + FIVE_MINUTES
        found.append(Trip(bought.open_at, closed_at, size, bought.close, sold.close, fees, earned - cost - fees))
    return found, cash


@pytest.mark.parametrize(
    ("entry", "leave"),
    [
        ("RSIOrBBEntryMixin", "FixedRatioExitMixin"),
        ("RSIBBVolumeEntryMixin", "SimpleATRExitMixin"),
        ("BBVolumeSuperTrendEntryMixin", "TrailingStopExitMixin"),
        ("RSIIchimokuEntryMixin", "TimeBasedExitMixin"),
        ("RSIVolumeSupertrendEntryMixin", "MACrossoverExitMixin"),
        ("RSIBBEntryMixin", "RSIOrBBExitMixin"),
    ],
)
def test_backtest_agrees_with_a_plain_backtrader_run_and_plain_arithmetic(
    entry: str, leave: str, candle_folder: Path
) -> None:
    candles = read_candles(candle_folder / "ETH_BTC-5m.csv")[:BARS]
    config = parse_config(
        {
            "symbol": "ETHBTC",
            "broker": {"cash": float(CASH), "paper_trading_config": {"commission_rate": float(FEE)}},
            "strategy": {
                "type": "CustomStrategy",
                "parameters": {
                    "entry_logic": {"name": entry, "params": LOOSE[entry]},
                    "exit_logic": {"name": leave, "params": LOOSE[leave]},
                },
            },
            # indicators with an endless memory forget to within a float's precision over so many bars
            "data": {"interval": "5m", "lookback_bars": 1000},
            "trading": {"position_size": float(FRACTION)},
        }
    )
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker.setcash(float(CASH))
    cerebro.broker.setcommission(float(FEE))
    cerebro.broker.set_coc(True)
    cerebro.adddata(Recorded(candles=candles, timeframe=bt.TimeFrame.Minutes, compression=5))
    cerebro.addstrategy(Plain, entry=config.entry, leave=config.exit, candles=candles)
    [plain] = cerebro.run()

    trips, balance = money(plain.round_trips, candles)
    done = backtest(config, candles, market=file_market("ETHBTC"))
    assert len(trips) > 10
    made = [
        Trip(
            trade["signal_at"],
            trade["exit_time"],
            trade["size"],
            trade["entry_price"],
            trade["exit_price"],
            trade["commission"],
            trade["net_pnl"],
        )
        for trade in done.trades
    ]
    assert made == trips
    assert done.final_balance == balance
    # Backtrader's broker counts in floats and doesn't round to the step
    assert float(balance) == pytest.approx(cerebro.broker.getvalue(), abs=1e-5)
