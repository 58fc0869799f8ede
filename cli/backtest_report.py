"""What a backtest tells on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from cli.output import Output, cell, number, show, write

if TYPE_CHECKING:
    from botrunner.backtest.run import Backtest
    from botrunner.engine.failures import Failure

Part = tuple[str, "Backtest", Mapping[str, Any], str, Sequence[tuple[str, str]]]
"""Name of the candles (unlike any other's), what came of them, metrics, origin of the market's rules, lines about the
candles."""


def report(parts: Sequence[Part], *, limit: int) -> None:
    """Print a summary, one column per file of candles, and for a single one its newest trades."""
    facts = [
        dict([*_facts(done, origin), *data, *metric_lines(_headline(metrics))])
        for _, done, metrics, origin, data in parts
    ]
    names = dict.fromkeys(name for found in facts for name in found)
    rows = [
        {"": name, **{part[0]: found.get(name, "-") for part, found in zip(parts, facts, strict=True)}}
        for name in names
    ]
    show(rows, output=Output.TABLE, columns={name: itemgetter(name) for name in ("", *(part[0] for part in parts))})
    for name, done, *_ in parts:
        if done.failures:
            write("\n" if len(parts) == 1 else f"\n{cell(name).plain}\n")
            show_failures(done.failures)
    if len(parts) == 1 and limit:
        write("\n")
        _trades(parts[0][1], limit)


HEADLINE = (
    "total_trades",
    "winning_trades",
    "win_rate",
    "gross_pnl",
    "fees",
    "net_pnl",
    "return_pct",
    "profit_factor",
    "expectancy",
    "average_holding_s",
    "exposure",
    "max_drawdown",
    "sharpe",
    "sortino",
    "calmar",
)
"""Metrics on a terminal; JSON, YAML and HTML have all."""


def _headline(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {name: metrics[name] for name in HEADLINE if name in metrics}


def metric_lines(metrics: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Metrics as names and texts for people."""
    lines: list[tuple[str, str]] = []
    for key, value in metrics.items():
        name = f"{prefix}{key.replace('_', ' ')}"
        if isinstance(value, Mapping):
            lines += metric_lines(value, f"{name}: ")
        else:
            lines.append((name, _text(value)))
    return lines


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        return str(value)
    try:
        return number(Decimal(str(value)), digits=6)
    except InvalidOperation:
        return str(value)


def _facts(done: Backtest, origin: str) -> list[tuple[str, str]]:
    config, bars = done.config, done.equity
    first, last = bars[0], bars[-1]
    held = done.open_trade
    return [
        ("strategy", f"{config.entry.name} / {config.exit.name}"),
        ("bars", f"{len(bars)} of {config.interval}, {done.warmup_bars} before them to warm up"),
        ("from", f"{first.at:%Y-%m-%d %H:%M}"),
        ("to", f"{last.at:%Y-%m-%d %H:%M}"),
        ("market rules", origin),
        ("start balance", f"{number(done.start_balance)} {done.market.quote}"),
        ("final balance", f"{number(done.final_balance)} {done.market.quote}"),
        ("still open", f"{held['direction']} {number(held['size'])} {done.market.base}" if held else "-"),
        ("market change", f"{number((last.close / first.close - 1) * 100, digits=2, signed=True)} %"),
        ("entries filled", str(done.entries_filled)),
        ("entries denied", counted(done.denials)),
        ("entries unfilled", counted(done.entries_unfilled)),
        ("strategy errors", counted_failures(done)),
    ]


def counted(reasons: Mapping[str, int]) -> str:
    """Reasons with how often each came."""
    return ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items())) or "-"


def counted_failures(done: Backtest) -> str:
    """How often the strategy failed, and whether that ended the backtest."""
    count = sum(failure.count for failure in done.failures)
    return "-" if not count else f"{count}, and ended there" if done.gave_up else str(count)


def show_failures(failures: Sequence[Failure]) -> None:
    """A table of what went wrong in a strategy."""
    columns = {
        "FAILED IN": lambda row: row["where"],
        "TIMES": lambda row: str(row["count"]),
        "FIRST": lambda row: f"{row['first_at']:%Y-%m-%d %H:%M}",
        "LAST": lambda row: f"{row['last_at']:%Y-%m-%d %H:%M}",
        "ERROR": lambda row: f"{row['type']}: {row['message']}" if row["message"] else row["type"],
    }
    show([failure.as_json() for failure in failures], output=Output.TABLE, columns=columns)


def _trades(done: Backtest, limit: int) -> None:
    columns = {
        "ENTRY": lambda row: f"{row['entry_time']:%Y-%m-%d %H:%M}",
        "EXIT": lambda row: f"{row['exit_time']:%Y-%m-%d %H:%M}",
        "DIR": lambda row: row["direction"],
        "SIZE": lambda row: number(row["size"]),
        "IN": lambda row: number(row["entry_price"]),
        "OUT": lambda row: number(row["exit_price"]),
        "NET": lambda row: number(row["net_pnl"], signed=True),
        "%": lambda row: number(row["pnl_percentage"], digits=2, signed=True),
        "BY": lambda row: row["exit_reason"] or "-",
    }
    show(done.trades[-limit:], output=Output.TABLE, columns=columns, empty="no trade was closed")
