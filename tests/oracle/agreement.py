"""Both brokers over one case, and what differs."""

from __future__ import annotations

import csv
import json
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import structlog

from botrunner.backtest.market import market_for
from botrunner.backtest.run import backtest
from botrunner.strategies.registry.strategy_handler import StrategyHandler
from cli.backtest import load_candles
from fleet.config import parse_config
from tests.oracle.configs import Case
from tests.oracle.scripted import offered
from tests.oracle.simulator import Market, Result, Simulator

D = Decimal
NONE = Market(D("1e-8"), D("1e-8"), D("1e-8"), D(0), D("0.001"), D("0.001"), can_short=True)


@dataclass
class Compared:
    """How much was compared, and the differences: (what, ours, engine's)."""

    counts: Counter[str] = field(default_factory=Counter)
    differences: list[tuple[str, Any, Any]] = field(default_factory=list)


def rows_of_simulator(result: Result) -> dict[str, list[tuple[Any, ...]]]:
    return {
        "orders": sorted(
            (o.signal_ms, o.leg, o.attempt, o.side, o.type, o.state, o.filled, o.reason) for o in result.orders
        ),
        "fills": sorted(
            (f.at_ms, f.signal_ms, f.leg, f.attempt, f.price, f.quantity, f.fee, f.fee_in_base) for f in result.fills
        ),
        "trades": [
            (
                t.entry_ms,
                t.exit_ms,
                t.direction,
                t.size,
                t.entry_price,
                t.exit_price,
                t.commission,
                t.gross_pnl,
                t.net_pnl,
                t.pnl_percentage,
                t.exit_reason,
            )
            for t in result.trades
        ],
        "denials": result.denials,
        "equity": result.equity,
    }


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def rows_of_engine(case: Case, folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    """The engine's, through what `botfleet backtest` calls."""
    write(case, folder)
    with offered(folder):
        config = parse_config(case.config, extra_names=StrategyHandler().extra_names())
        file = load_candles(folder / "candles.csv", config)
        choice = "none" if case.market is None else "market.json"
        market = market_for(config, choice, candles=file, exchange_urls={}, given=case.market)
        with structlog.testing.capture_logs() as logs:
            done = backtest(config, file.candles, market=market.rules, bot_id=0, begin=None, on_bar=lambda: None)
    orders = done.tables.orders
    return {
        "orders": sorted(
            (
                _ms(o["signal_at"]),
                str(o["leg"]),
                o["attempt"],
                1 if o["side"] == "buy" else -1,
                str(o["type"]),
                str(o["state"]),
                o["filled_quantity"],
                o["reason"].partition(";")[0],
            )
            for o in orders.values()
        ),
        "fills": sorted(
            (
                _ms(f["filled_at"]),
                _ms(orders[f["client_order_id"]]["signal_at"]),
                str(orders[f["client_order_id"]]["leg"]),
                orders[f["client_order_id"]]["attempt"],
                f["price"],
                f["quantity"],
                f["fee"],
                f["fee_currency"] == market.rules.base,
            )
            for f in done.tables.fills.values()
        ),
        "trades": [
            (
                _ms(t["entry_time"]),
                _ms(t["exit_time"]),
                str(t["direction"]),
                t["size"],
                t["entry_price"],
                t["exit_price"],
                t["commission"],
                t["gross_pnl"],
                t["net_pnl"],
                t["pnl_percentage"],
                t["exit_reason"],
            )
            for t in done.trades
        ],
        "denials": [(_ms(e["signal_at"]), str(e["denial"])) for e in logs if e["event"] == "entry_denied"],
        "equity": [(_ms(b.at), b.equity, b.in_position) for b in done.equity],
    }


def write(case: Case, folder: Path) -> None:
    """The case as files for `botfleet backtest`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(case.config, indent=1))
    if case.market is not None:
        (folder / "market.json").write_text(json.dumps(case.market))
    with (folder / "candles.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["timestamp", "open", "high", "low", "close", "volume"])
        for c in case.candles:
            writer.writerow([c.open_ms, *(format(v, "f") for v in (c.open, c.high, c.low, c.close, c.volume))])


def market_of(values: Mapping[str, Any] | None) -> Market:
    if values is None:
        return NONE
    return Market(
        tick=D(values["tick"]),
        step=D(values["step"]),
        min_quantity=D(values["min_quantity"]),
        min_notional=D(values["min_notional"]),
        maker_fee=D(values["maker_fee"]),
        taker_fee=D(values["taker_fee"]),
        can_short=values["can_short"],
    )


def compare(case: Case, folder: Path | None = None) -> Compared:
    """Run both."""
    ours = rows_of_simulator(Simulator(case.config, market_of(case.market)).run(case.candles))
    if folder is None:
        with tempfile.TemporaryDirectory() as made:
            theirs = rows_of_engine(case, Path(made))
    else:
        theirs = rows_of_engine(case, folder)
    found = Compared()
    for what, rows in theirs.items():
        found.counts[what] += len(rows)
        mine = ours[what]
        for index in range(max(len(rows), len(mine))):
            one = mine[index] if index < len(mine) else None
            other = rows[index] if index < len(rows) else None
            if one != other:
                found.differences.append((what, one, other))
    return found


def described(case: Case, found: Compared, *, again: str, most: int = 5) -> str:
    """The earliest differences in words, and how to see them again: with these options of the benchmark."""
    seed, number = case.name.split("-")
    lines = [f"case {case.name}: {len(found.differences)} differences"]
    lines += [
        f"  {what}\n    simulator {_told(ours)}\n    engine    {_told(theirs)}"
        for what, ours, theirs in sorted(found.differences, key=_when)[:most]
    ]
    lines.append(f"  again: python benchmarks/paper_oracle.py --seed {seed} --only {number} {again}")
    return "\n".join(lines)


def _when(difference: tuple[str, Any, Any]) -> int:
    what, ours, theirs = difference
    return min(row[1 if what == "trades" else 0] for row in (ours, theirs) if row is not None)


def _told(row: tuple[Any, ...] | None) -> str:
    if row is None:
        return "nothing"
    return " ".join(
        f"{datetime.fromtimestamp(value / 1000, UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3]
        if isinstance(value, int) and value > 10**11
        else str(value)
        for value in row
    )
