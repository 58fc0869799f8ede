"""From a backtest's rows to the performance metrics that bots have too (`fleet.performance`)."""

from __future__ import annotations

from pydantic import JsonValue

from botrunner.backtest.run import Backtest
from fleet.performance import ClosedTrade, EquityPoint, measure


def metrics_of(done: Backtest) -> dict[str, JsonValue]:
    """The metrics of all closed trades and of the equity curve."""
    measured = measure(
        trades=[
            ClosedTrade(
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
        equity=[EquityPoint(at=bar.at, equity=bar.equity, in_position=bar.in_position) for bar in done.equity],
        start_equity=done.start_balance,
        interval_s=done.config.interval_s,
    )
    return measured.as_json()
