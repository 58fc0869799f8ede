"""From a backtest's rows to the performance metrics that bots have too (`fleet.performance`)."""

from __future__ import annotations

from importlib import import_module

from pydantic import JsonValue

from botrunner.backtest.run import Backtest


def metrics_of(done: Backtest) -> dict[str, JsonValue]:
    """The metrics of all closed trades and of the equity curve."""
    try:
        performance = import_module("fleet.performance")
    except ModuleNotFoundError:
        return {}
    measured = performance.measure(
        trades=[
            performance.ClosedTrade(
                entry_at=trade["entry_time"],
                exit_at=trade["exit_time"],
                direction=trade["direction"],
                entry_value=trade["entry_value"],
                gross_pnl=trade["gross_pnl"],
                net_pnl=trade["net_pnl"],
                commission=trade["commission"],
            )
            for trade in done.trades
        ],
        equity=[
            performance.EquityPoint(at=bar.at, equity=bar.equity, in_position=bar.in_position) for bar in done.equity
        ],
        start_equity=done.start_balance,
        interval_s=done.config.interval_s,
    )
    found: dict[str, JsonValue] = measured.as_json()
    return found
