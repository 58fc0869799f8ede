"""`botfleet bots performance` and `botfleet bots equity`: what bots achieved."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

import typer

from cli.connection import database, database_url
from cli.output import Output, Row, age, number, show
from fleet.errors import PermanentError
from fleet.foreign import clean_text
from fleet.performance import Period
from fleet.trading_service import admin, reports
from fleet.trading_service.db import connect_async

OutputOption = Annotated[Output, typer.Option("-o", "--output", help="How to print.")]
BotArgument = Annotated[str, typer.Argument(help="A bot's name or id.")]
LimitOption = Annotated[int, typer.Option(min=1, max=100_000, help="Newest rows to show.")]


def performance(
    bot: BotArgument,
    period: Annotated[Period, typer.Option(help="Which periods, in UTC.")] = Period.ALL,
    now: Annotated[
        bool,
        typer.Option("--now", help="Calculate from trades and bars now, instead of reading what the worker stored."),
    ] = False,
    limit: LimitOption = 30,
    output: OutputOption = Output.TABLE,
) -> None:
    """Trades, profit, drawdown and ratios of a bot, newest period first; docs/user/performance.md defines each."""
    with database() as connection:
        bot_id = admin.bot_id_of(connection, bot)
        rows = [] if now else reports.list_metrics(connection, bot_id, period=period, limit=limit)
    if now:
        rows = asyncio.run(_calculated(bot_id, period))[:limit]
    columns = {
        "PERIOD": lambda row: "all" if row["period"] == "all" else f"{row['period_start']}",
        "SYMBOL": lambda row: row["symbol"],
        "TF": lambda row: row["interval"],
        "TRADES": lambda row: str(row["metrics"]["total_trades"]),
        "WIN%": lambda row: _percent(row, "win_rate"),
        "NET": lambda row: _money(row, "net_pnl", signed=True),
        "RET%": lambda row: _number(row, "return_pct"),
        "PF": lambda row: _number(row, "profit_factor"),
        "EXPECT": lambda row: _money(row, "expectancy", signed=True),
        "MAXDD%": lambda row: _percent(row, "max_drawdown"),
        "DD%": lambda row: _percent(row, "current_drawdown"),
        "SHARPE": lambda row: _number(row, "sharpe"),
        "SORTINO": lambda row: _number(row, "sortino"),
        "CALMAR": lambda row: _number(row, "calmar"),
        "EXPO%": lambda row: _percent(row, "exposure"),
        "HOLD": lambda row: _duration(row["metrics"]["average_holding_s"]),
        "FEES": lambda row: _money(row, "fees"),
        "BALANCE": lambda row: _money(row, "current_balance"),
        "GROSS": lambda row: _money(row, "gross_pnl", signed=True),
        "PAYOFF": lambda row: _number(row, "payoff_ratio"),
        "VOL%": lambda row: _percent(row, "volatility"),
        "CAGR%": lambda row: _percent(row, "cagr"),
        "BASIS": lambda row: row["metrics"]["equity_basis"],
        "AGE": lambda row: age(row["calculated_at"]),
    }
    wide = ("GROSS", "PAYOFF", "VOL%", "CAGR%", "BASIS")
    empty = "no metrics yet: the worker makes them within minutes of a bot's first bar; --now calculates them here"
    nothing = "nothing to calculate: the bot has no bar yet (`botfleet bots list` shows whether it runs)"
    readable = {name: _readable(text) for name, text in columns.items()}
    show(rows, output=output, columns=readable, wide=wide, empty=nothing if now else empty)


def equity(
    bot: BotArgument,
    daily: Annotated[
        bool, typer.Option("--daily", help="By UTC day, of all time; without it, the newest bars.")
    ] = False,
    limit: LimitOption = 30,
    output: OutputOption = Output.TABLE,
) -> None:
    """What a bot was worth, newest first: at bar closes, or by day."""
    with database() as connection:
        bot_id = admin.bot_id_of(connection, bot)
        if daily:
            _show_days(reports.list_days(connection, bot_id, limit=limit), output)
            return
        rows = reports.list_bars(connection, bot_id, limit=limit)
    columns = {
        "BAR": lambda row: f"{row['bar_at']:%Y-%m-%d %H:%M}",
        "SYMBOL": lambda row: row["symbol"],
        "TF": lambda row: row["interval"],
        "CLOSE": lambda row: number(row["close"]),
        "POSITION": lambda row: number(row["position"]),
        "EQUITY": lambda row: number(row["equity"]),
    }
    show(rows, output=output, columns=columns, empty="no bars yet: a bot writes one per closed candle once it is live")


def _show_days(rows: list[dict[str, Any]], output: Output) -> None:
    columns = {
        "DAY": lambda row: f"{row['day']}",
        "SYMBOL": lambda row: row["symbol"],
        "TF": lambda row: row["interval"],
        "OPEN": lambda row: number(row["open"]),
        "HIGH": lambda row: number(row["high"]),
        "LOW": lambda row: number(row["low"]),
        "CLOSE": lambda row: number(row["close"]),
        "CHANGE%": lambda row: number(100 * row["change"] / row["open"], digits=2, signed=True) if row["open"] else "-",
        "BARS": lambda row: str(row["bars"]),
        "EXPO%": lambda row: f"{100 * row['bars_in_position'] / row['bars']:.0f}" if row["bars"] else "-",
    }
    empty = "no days yet: the worker adds them up within minutes of a bot's first bar; without --daily bars are shown"
    show(rows, output=output, columns=columns, empty=empty)


async def _calculated(bot_id: int, period: Period) -> list[dict[str, Any]]:
    from fleet.trading_service.performance import calculate

    async with await connect_async(database_url(), "cli") as connection:
        try:
            markets = await calculate(connection, bot_id)
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise PermanentError(
                f"the bars, trades or days of bot {bot_id} can't be computed with: {clean_text(repr(error), 200)}"
            ) from error
    now = datetime.now(UTC)
    rows = [
        {
            "symbol": market.symbol,
            "interval": market.interval,
            "period": row.period.value,
            "period_start": row.start,
            "calculated_at": now,
            "metrics": row.performance.as_json(),
        }
        for market in markets
        for row in market.rows
        if row.period is period
    ]
    return sorted(rows, key=lambda row: row["period_start"], reverse=True)


def _readable(text: Callable[[Row], str]) -> Callable[[Row], str]:
    """A column of stored metrics, whatever a row's document is."""

    def cell(row: Row) -> str:
        try:
            return text(row)
        except (ArithmeticError, LookupError, TypeError, ValueError):
            return "unreadable"

    return cell


def _money(row: Row, name: str, *, signed: bool = False) -> str:
    value = row["metrics"][name]
    return "-" if value is None else number(Decimal(value), digits=6, signed=signed)


def _number(row: Row, name: str) -> str:
    value = row["metrics"][name]
    return "-" if value is None else _two_places(value)


def _percent(row: Row, name: str) -> str:
    value = row["metrics"][name]
    return "-" if value is None else _two_places(100 * value)


def _two_places(value: float) -> str:
    text = f"{value:.2f}"
    return number(Decimal(repr(value)), digits=2) if value and not float(text) else text


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    minutes = round(seconds / 60)
    return f"{minutes}m" if minutes < 120 else f"{minutes / 60:.1f}h" if minutes < 2_880 else f"{minutes / 1_440:.1f}d"
