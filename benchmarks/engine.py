"""How many bars a second the paper engine works through, without Backtrader and without a database.

    python benchmarks/engine.py [BARS]

Each scenario runs over the same random walk; the ledger makes each bar's rows and throws them away. Prints bars per
second of CPU time (best of three), how many fills and order rows there were, and the checkpoint's size in bytes.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from botrunner.engine.trading_bot import BaseTradingBot
from botrunner.execution.paper.venue import paper_venue
from botrunner.ledger.ledger import Ledger
from botrunner.market.candle import Candle
from botrunner.market.rules import Market
from botrunner.strategies.base import OpenPosition, Signal, SignalKind
from botrunner.trading.account import Account
from botrunner.trading.account_json import dump
from botrunner.trading.state import BarOutcome, BotState
from fleet.clock import SystemClock
from fleet.config import RunningConfig, parse_config
from fleet.trading_service.lease import RunId

MARKET = Market(
    symbol="ETHBTC",
    base="ETH",
    quote="BTC",
    tick=Decimal("0.000001"),
    step=Decimal("0.001"),
    min_quantity=Decimal("0.001"),
    min_notional=Decimal("0.0001"),
)
ROUNDS = 3
INTERVAL_MS = 300_000

PROTECTED = {"risk_management": {"stop_loss_pct": 2, "take_profit_pct": 3, "trailing_stop_pct": 1.5}}
REAL = {
    "broker": {
        "cash": 100,
        "paper_trading_config": {
            "slippage_model": "volume_share",
            "max_volume_share": 0.1,
            "partial_fill_probability": 0.1,
            "reject_probability": 0.01,
            "min_latency_ms": 10,
            "max_latency_ms": 100,
            "fee_currency": "base",
        },
    },
    "trading": {"order_type": "limit", "limit_offset_pct": 0.1, "limit_ttl_bars": 3},
    **PROTECTED,
}
SCENARIOS: Mapping[str, tuple[Mapping[str, Any], int, int]] = {
    "flat, no signals": ({}, 10**9, 0),
    "a trade every 50 bars, held for 10": ({}, 50, 10),
    "nearly always in a position": ({}, 1, 200),
    "the same with stop, target, trailing": (PROTECTED, 1, 200),
    "the same with every paper model": (REAL, 1, 200),
}
"""Name → config, bars between entries, bars held."""


@dataclass
class Clockwork:
    """Enters every so many bars and leaves after so many."""

    every: int
    hold: int
    seen: int = field(default=0)

    def decide(self, position: OpenPosition | None) -> Signal | None:
        self.seen += 1
        if position is None:
            return Signal(SignalKind.ENTER, "clock") if self.seen % self.every == 0 else None
        return Signal(SignalKind.EXIT, "clock") if position.bars_held >= self.hold else None

    def on_entered(self, position: OpenPosition) -> None:
        pass

    def on_exited(self) -> None:
        pass

    def export_state(self) -> dict[str, Any]:
        return {"seen": self.seen}


def walk(count: int) -> list[Candle]:
    """A random walk around 0.1."""
    rng, price, candles = random.Random(1), Decimal("0.1"), []
    for number in range(count):
        opened = price
        price = max(Decimal("0.01"), price * (1 + Decimal(rng.randint(-30, 30)) / 10_000)).quantize(MARKET.tick)
        spread = Decimal(rng.randint(0, 20)) / 1_000_000
        high, low = max(opened, price) + spread, min(opened, price) - spread
        candles.append(Candle(number * INTERVAL_MS, opened, high, low, price, Decimal(rng.randint(0, 4000))))
    return candles


def run(candles: list[Candle], sections: Mapping[str, Any], every: int, hold: int) -> tuple[float, int, int, int]:
    """CPU seconds, fills, order rows and the size of the largest checkpoint."""
    logic = {"entry_logic": {"name": "RSIOrBBEntryMixin"}, "exit_logic": {"name": "TimeBasedExitMixin"}}
    config = parse_config(
        {
            "symbol": "ETHBTC",
            "broker": {"cash": 100},
            "strategy": {"parameters": logic},
            "data": {"interval": "5m"},
            **sections,
        }
    )
    ledger = Ledger(
        url="",
        run=RunId(1, 1, "t"),
        config=RunningConfig(config),
        exchange="x",
        owner=1,
        clock=SystemClock(),
        waiting=lambda: None,
    )
    ledger.set_quote_currency("BTC")
    counted = [0, 0]
    largest: Account | None = None

    def commit(outcome: BarOutcome) -> None:
        record = ledger.record(outcome)
        counted[0] += len(record.fills)
        counted[1] += len(record.orders)
        nonlocal largest
        if outcome.account.trade is not None:
            largest = outcome.account

    state = BotState(account=Account(cash=config.initial_cash))
    venue = paper_venue(config, MARKET, bot_id=1)
    bot = BaseTradingBot(bot_id=1, config=config, market=MARKET, venue=venue, state=state, commit=commit)
    strategy = Clockwork(every, hold)
    began = time.process_time()
    for candle in candles:
        bot.on_bar(strategy, candle, ready=True)
    taken = time.process_time() - began
    return taken, counted[0], counted[1], len(json.dumps(dump(largest or bot.state.account)))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bars", nargs="?", type=int, default=20_000)
    count = parser.parse_args().bars
    candles = walk(count)
    print(f"{'scenario':40} {'bars/s':>8} {'us/bar':>7} {'fills':>7} {'orders':>7} {'checkpoint':>11}")
    for name, (sections, every, hold) in SCENARIOS.items():
        taken, fills, orders, size = min(run(candles, sections, every, hold) for _ in range(ROUNDS))
        print(f"{name:40} {count / taken:8.0f} {taken / count * 1e6:7.1f} {fills:7} {orders:7} {size:9} B")


if __name__ == "__main__":
    main()
