"""Random configs and slices of candles: (seed, number) gives the same case anywhere."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

from tests.oracle.simulator import INTERVALS_S, Candle

D = Decimal
EIGHTH = D("1e-8")
PRICES = ("open", "high", "low", "close")
REPOSITORY = Path(__file__).resolve().parents[2]
FILES = {"ETH_BTC-5m": ("ETHBTC", "5m"), "LTC_BTC-5m": ("LTCBTC", "5m"), "XRP_ETH-1m": ("XRPETH", "1m")}
CASH = {"ETHBTC": 10, "LTCBTC": 10, "XRPETH": 50}


@dataclass(frozen=True)
class Case:
    """One comparison."""

    name: str
    config: Mapping[str, Any]
    market: Mapping[str, str | bool] | None
    """As in a file for --market; None: eight decimals, no minimums."""
    candles: Sequence[Candle]


def read(folder: Path, name: str) -> list[Candle]:
    """A file of candles."""
    with (folder / f"{name}.csv").open() as file:
        return [
            Candle(int(row["timestamp"]), *(D(row[key]) for key in ("open", "high", "low", "close", "volume")))
            for row in csv.DictReader(file)
        ]


def synthetic(folder: Path) -> dict[str, list[Candle]]:
    """Files of made-up candles for those who have no recorded ones, the same on every machine; written to the folder."""
    subprocess.run([sys.executable, REPOSITORY / "hack" / "synthetic_candles.py", folder], check=True)
    return {name: read(folder, name) for name in FILES}


def some(rng: Random, probability: float, *values: Any) -> Any:
    """One of the values, or None."""
    return rng.choice(values) if rng.random() < probability else None


def between(rng: Random, low: float, high: float, digits: int = 4) -> float:
    return round(rng.uniform(low, high), digits)


def case(
    files: Mapping[str, Sequence[Candle]], seed: int, number: int, *, bars: int = 600, rough: bool = False
) -> Case:
    """The case of a number. `rough`: with holes, jumps and candles of little or no volume in it."""
    rng = Random(f"{seed}:{number}")
    name = rng.choice(sorted(files))
    symbol, interval = FILES[name]
    whole = files[name]
    begin = rng.randrange(max(1, len(whole) - bars))
    candles = list(whole[begin : begin + bars])
    if rng.random() < 0.35:
        # the same prices at another pace: midnights come often, and latency is longer than a bar
        native, interval = INTERVALS_S[interval], rng.choice(["1s", "15m", "1h", "4h", "1d"])
        new = INTERVALS_S[interval]
        start = candles[0].open_ms // 1000 // native
        base = candles[0].open_ms // 1000 // new * new
        candles = [
            Candle(
                (base + (c.open_ms // 1000 // native - start) * new) * 1000, c.open, c.high, c.low, c.close, c.volume
            )
            for c in candles
        ]
    config: dict[str, Any] = {
        "symbol": symbol,
        "broker": {
            "type": "binance",
            "trading_mode": "paper",
            "cash": CASH[symbol],
            "paper_trading_config": paper(rng),
        },
        "strategy": {"type": "CustomStrategy", "parameters": {"entry_logic": entry(rng), "exit_logic": leave(rng)}},
        "data": {
            "data_source": "file",
            "file_path": "candles.csv",
            "interval": interval,
            "lookback_bars": rng.choice([50, 75, 200]),
        },
        "trading": trading(rng),
        "risk_management": risk(rng, CASH[symbol]),
    }
    if interval == "1s" and rng.random() < 0.7:
        # longer than a bar
        config["broker"]["paper_trading_config"]["max_latency_ms"] = rng.choice([1500, 2000, 2500, 4000])
    rules = market(rng, symbol)
    return Case(f"{seed}-{number}", config, rules, roughened(rng, candles) if rough else candles)


def roughened(rng: Random, candles: Sequence[Candle]) -> list[Candle]:
    """The candles as a bad day leaves them: some missing, prices at a multiple from one to the next, volume gone."""
    hole, jump, dry = rng.choice([0, 0.02, 0.1]), rng.choice([0, 0.01, 0.04]), rng.choice([0, 0.1, 0.3])
    thin, factor, found = rng.choice([D(1), D(1), D("0.01"), D("0.0001")]), D(1), []
    for c in candles:
        if rng.random() < jump:
            factor *= D(rng.choice(["0.4", "0.8", "0.9", "1.1", "1.3", "2.5"]))
            factor = factor if D("0.05") < factor < 20 else D(1)
        if rng.random() < hole:
            continue
        prices = {name: max((getattr(c, name) * factor).quantize(EIGHTH), EIGHTH) for name in PRICES}
        volume = D(0) if rng.random() < dry else (c.volume * thin).quantize(EIGHTH)
        found.append(replace(c, volume=volume, **prices))
    return found


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def paper(rng: Random) -> dict[str, Any]:
    """broker.paper_trading_config."""
    low = rng.choice([0, 0, 50, 700, 1500])
    latency = some(rng, 0.4, low, low + 1, low + 900, low + 3000)
    model = rng.choice(["none", "fixed", "percentage", "percentage", "volume_share"])
    values: dict[str, Any] = {
        "commission_rate": some(rng, 0.5, 0, 0.001, 0.00075, 0.0025),
        "maker_commission_rate": some(rng, 0.2, 0, 0.0002),
        "taker_commission_rate": some(rng, 0.2, 0.0004, 0.0011),
        "fee_currency": some(rng, 0.5, "base", "quote"),
        "slippage_model": model,
        "base_slippage": some(rng, 0.6, 0.0005, 0.002) if model == "percentage" else None,
        "price_impact": some(rng, 0.6, 0.1, 0.5, 3) if model == "volume_share" else None,
        "max_volume_share": some(rng, 0.35, 0.01, 0.05, 0.3, 1),
        "fill_price": some(rng, 0.6, "close", "next_open"),
        "min_latency_ms": low if latency is not None and low else None,
        "max_latency_ms": latency,
        "partial_fill_probability": some(rng, 0.3, 0.1, 0.5, 1),
        "reject_probability": some(rng, 0.3, 0.05, 0.3),
        "seed": some(rng, 0.7, 1, 7, 123456),
    }
    if model == "fixed":
        values |= {"slippage_ticks": 3} if rng.random() < 0.5 else {"fixed_slippage": 0.00000123}
    return _given(values)


def trading(rng: Random) -> dict[str, Any]:
    """Trading."""
    return _given(
        {
            "position_size": rng.choice([0.05, 0.1, 0.5, 0.9, 1]),
            "order_type": some(rng, 0.6, "limit", "market"),
            "exit_order_type": some(rng, 0.6, "limit", "market"),
            "limit_offset_pct": some(rng, 0.6, 0, 0.05, 0.2, 0.6),
            "limit_ttl_bars": some(rng, 0.5, 1, 2, 5),
            "allow_short": some(rng, 0.7, True, True, False),
            "on_stop": some(rng, 0.3, "hold", "flatten", "wait_flat"),
        }
    )


def risk(rng: Random, cash: int) -> dict[str, Any]:
    """risk_management."""
    stop = some(rng, 0.6, 0.3, 0.7, 1.5, 4)
    guard = {
        "max_stops": rng.choice([1, 2, 3]),
        "within_bars": rng.choice([5, 20, 60]),
        "pause_bars": rng.choice([1, 5, 30]),
    }
    return _given(
        {
            "max_position_size": some(rng, 0.2, cash * 0.07, cash * 0.4),
            "stop_loss_pct": stop,
            "take_profit_pct": some(rng, 0.5, 0.4, 1, 3),
            "trailing_stop_pct": some(rng, 0.4, 0.4, 1, 2.5),
            "max_daily_loss": some(rng, 0.25, cash * 0.003, cash * 0.02),
            "max_daily_trades": some(rng, 0.25, 1, 3, 8),
            "max_drawdown_pct": some(rng, 0.2, 1, 3),
            "max_exposure": some(rng, 0.2, 0.03, 0.3, 0.8),
            "max_portfolio_risk": some(rng, 0.3, 0.1, 0.5) if stop is not None else None,
            "stop_loss_guard": some(rng, 0.25, guard),
            "cooldown_bars": some(rng, 0.35, 0, 1, 4),
        }
    )


def entry(rng: Random) -> dict[str, Any]:
    """An entry mixin."""
    if rng.random() < 0.4:
        return {
            "name": "RSIOrBBEntryMixin",
            "params": _given(
                {
                    "rsi_period": rng.choice([2, 3, 5]),
                    "rsi_oversold": between(rng, 20, 60),
                    "bb_period": rng.choice([5, 20]),
                    "bb_dev": rng.choice([1.5, 2, 2.5]),
                    "use_bb_touch": some(rng, 0.5, True, False),
                    "cooldown_bars": some(rng, 0.4, 0, 1, 5),
                }
            ),
        }
    share = rng.choice([0.05, 0.3])
    return {"name": "ScriptedEntryMixin", "params": {"salt": rng.randrange(1000), "long": share, "short": share}}


def leave(rng: Random) -> dict[str, Any]:
    """An exit mixin."""
    name = rng.choice(["ScriptedExitMixin", "TimeBasedExitMixin", "FixedRatioExitMixin", "TrailingStopExitMixin"])
    params: dict[str, Any]
    if name == "ScriptedExitMixin":
        params = {"salt": rng.randrange(1000), "share": rng.choice([0.02, 0.1, 0.4])}
    elif name == "TimeBasedExitMixin":
        params = {"max_bars": rng.choice([1, 2, 10, 40])}
        if rng.random() < 0.3:
            params |= {"use_time": True, "max_minutes": rng.choice([1, 10, 45, 300])}
    elif name == "FixedRatioExitMixin":
        params = {"take_profit": rng.choice([0.004, 0.01, 0.05]), "stop_loss": rng.choice([0.004, 0.01, 0.05])}
    else:
        params = {"trail_pct": rng.choice([0.003, 0.01]), "activation_pct": rng.choice([0, 0.002, 0.01])}
    return {"name": name, "params": params}


def market(rng: Random, symbol: str) -> dict[str, str | bool] | None:
    """A market file."""
    if rng.random() < 0.4:
        return None
    tick, step = rng.choice(
        [("0.000001", "0.001"), ("0.00000001", "0.1"), ("0.0000001", "1"), ("0.00000001", "0.0001")]
    )
    return {
        "tick": tick,
        "step": step,
        "min_quantity": rng.choice([step, str(D(step) * 10)]),
        "min_notional": rng.choice(["0", "0.0001", "0.001", "0.01", str(D(CASH[symbol]) * D("0.0495"))]),
        "maker_fee": rng.choice(["0.001", "0.0005"]),
        "taker_fee": "0.001",
        "can_short": rng.random() < 0.9,
    }
