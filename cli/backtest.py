"""`botfleet backtest`: a config over recorded candles, by the engine that bots run."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.config import read_config
from cli.output import Output, cell, plain, print_document, say
from fleet.config import BotConfig, ConfigInvalid, parse_config
from fleet.errors import ConfigUnusable, PermanentError
from fleet.times import to_ms

if TYPE_CHECKING:
    from botrunner.backtest.market import KnownMarket
    from botrunner.backtest.run import Backtest
    from botrunner.feeds.candles import Candle

_NAMED = re.compile(r"(?P<symbol>[A-Z0-9]+(?:_[A-Z0-9]+)?)-(?P<interval>\d+[a-z])")
"""SYMBOL-INTERVAL of a candle file's name."""


def moment(text: str) -> datetime:
    """An ISO 8601 date or time; without an offset it is UTC."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} isn't a date or time like 2018-01-15 or 2018-01-15T08:30") from None
    return parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def table_file(text: str) -> Path:
    """A file to write rows to."""
    return _with_suffix(text, ".csv", ".json")


def plot_file(text: str) -> Path:
    """A file to draw into."""
    return _with_suffix(text, ".png", ".html")


def _with_suffix(text: str, *suffixes: str) -> Path:
    path = Path(text)
    if path.suffix not in suffixes:
        raise typer.BadParameter(f"{text!r} must end in {' or '.join(suffixes)}")
    if not path.resolve().parent.is_dir():
        raise typer.BadParameter(f"{text!r}: there is no folder {path.resolve().parent}")
    return path


@dataclass(frozen=True, slots=True)
class Finished:
    """A backtest with its metrics and where its inputs came from."""

    path: Path
    done: Backtest
    market: KnownMarket
    metrics: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """What `-o json` prints."""
        from botrunner.witness import dump_market

        return {
            "candles": str(self.path),
            "market": {**dump_market(self.market.rules), "origin": self.market.origin},
            "trades": [_trade(row) for row in self.done.trades],
            "open_trade": _trade(self.done.open_trade) if self.done.open_trade else None,
            "orders": self.done.orders,
            "fills": [_fill(row) for row in self.done.tables.fills.values()],
            "denials": dict(sorted(self.done.denials.items())),
            "metrics": self.metrics,
            "start_balance": self.done.start_balance,
            "final_balance": self.done.final_balance,
        }


def backtest(
    config: Annotated[
        Path,
        typer.Option("-c", "--config", help="JSON or YAML: a config, or an object with a key `config`; - is stdin."),
    ],
    candles: Annotated[
        list[Path], typer.Option("--candles", help="CSV of candles, SYMBOL-INTERVAL.csv; repeat it to compare.")
    ],
    begin: Annotated[
        datetime | None,
        typer.Option("--from", parser=moment, help="First bar to trade, UTC; the candles before it warm up."),
    ] = None,
    end: Annotated[
        datetime | None, typer.Option("--to", parser=moment, help="Bars opening from here on are left out.")
    ] = None,
    bot_id: Annotated[int, typer.Option(min=0, help="Names the orders: a bot's id gives that bot's order ids.")] = 0,
    market: Annotated[
        str, typer.Option(help="Steps and minimums: auto (as the bot would), exchange, none, or a JSON file.")
    ] = "auto",
    plot: Annotated[Path | None, typer.Option(parser=plot_file, help="Draw to FILE.png or FILE.html.")] = None,
    trades: Annotated[
        Path | None, typer.Option(parser=table_file, help="Write trades to FILE.csv or FILE.json.")
    ] = None,
    orders: Annotated[
        Path | None, typer.Option(parser=table_file, help="Write orders to FILE.csv or FILE.json.")
    ] = None,
    equity: Annotated[
        Path | None, typer.Option(parser=table_file, help="Write each bar's equity to FILE.csv or FILE.json.")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Newest trades in the table.")] = 10,
    progress: Annotated[bool, typer.Option(help="Show a progress bar, on a terminal.")] = True,
    output: Annotated[Output, typer.Option("-o", "--output", help="How to print.")] = Output.TABLE,
) -> None:
    """Trade a config over recorded candles, exactly as a paper bot would."""
    from fleet.log import configure_logging

    if len(candles) > 1 and any((plot, trades, orders, equity)):
        raise typer.BadParameter("--plot, --trades, --orders and --equity take one --candles: run them one by one")
    if plot is not None:
        from cli.backtest_plot import require_matplotlib

        require_matplotlib()
    configure_logging(level="ERROR", form="console")
    document = read_config(config)
    finished = [
        _run(path, _config(document, path, several=len(candles) > 1), market, begin, end, bot_id, progress)
        for path in candles
    ]
    _write(finished[0], plot=plot, trades=trades, orders=orders, equity=equity)
    _print(finished, output, limit)


def exchange_urls() -> Mapping[str, str]:
    """Exchange id → base URL, as this installation's bots have it.

    BOTFLEET_SANDBOX_URL is what `make up` leaves in .botfleet/env: there binance is the sandbox exchange.
    """
    from botrunner.settings import exchange_urls as urls_of

    sandbox = os.environ.get("BOTFLEET_SANDBOX_URL")
    return urls_of(os.environ.get("BOTFLEET_EXCHANGE_URLS", "")) or ({"binance": sandbox} if sandbox else {})


# --- inputs --------------------------------------------------------------------------------------------------------


def _config(document: Any, path: Path, *, several: bool) -> BotConfig:
    from botrunner.strategy_handler import StrategyHandler

    handler, named = StrategyHandler(), _NAMED.fullmatch(path.stem)
    symbol = named["symbol"].replace("_", "") if named else None
    if several and symbol and isinstance(document, dict):
        data = document.get("data")
        kept = {key: value for key, value in data.items() if key != "symbol"} if isinstance(data, dict) else data
        document = {**document, "symbol": symbol, "data": kept}
    try:
        config = parse_config(document, extra_names=handler.extra_names())
    except ConfigInvalid as error:
        raise PermanentError("the config can't be run:\n" + "\n".join(f"  {e}" for e in error.errors)) from error
    if named and named["interval"] != config.interval:
        raise PermanentError(
            f"{path} has candles of {named['interval']}, data.interval is {config.interval}: give candles of that "
            "interval, or change data.interval"
        )
    if symbol and symbol != config.symbol:
        say(f"{path} has candles of {symbol}, but the config's symbol is {config.symbol}: they are taken for that")
    if handler.get_strategy_class(config.strategy_type).fell_back:
        say(f"strategy.type: {config.strategy_type} isn't installed; CustomStrategy runs instead, as it would in a bot")
    for notice in config.notices:
        say(notice)
    return config


def load_candles(path: Path, *, interval_ms: int, end: datetime | None = None) -> list[Candle]:
    """The candles of a file, up to a time.

    Raises:
        PermanentError: unreadable, malformed (names the line), or not of that interval.
    """
    from botrunner.feeds.source import read_candles

    try:
        candles = read_candles(path)
    except ConfigUnusable as error:
        raise PermanentError(str(error).removeprefix("data.file_path: ")) from error
    odd = next((candle for candle in candles if candle.open_ms % interval_ms), None)
    if odd is not None:
        raise PermanentError(
            f"{path}: the candle of {odd.open_at:%Y-%m-%dT%H:%M:%S} doesn't open at a multiple of data.interval "
            f"({interval_ms // 1000} s): the file has candles of another interval"
        )
    return candles if end is None else [candle for candle in candles if candle.open_ms < to_ms(end)]


def _run(
    path: Path,
    config: BotConfig,
    choice: str,
    begin: datetime | None,
    end: datetime | None,
    bot_id: int,
    progress: bool,
) -> Finished:
    from botrunner.backtest.market import market_for
    from botrunner.backtest.metrics import metrics_of
    from botrunner.backtest.run import backtest as run

    candles = load_candles(path, interval_ms=config.interval_s * 1000, end=end)
    if not candles:
        raise PermanentError(f"{path} has no candle before --to {end}")
    market = market_for(config, choice, exchange_urls=exchange_urls())
    if market.notice:
        say(market.notice)
    with bar_of_progress(f"{path.stem}", total=len(candles), wanted=progress) as advance:
        done = run(config, candles, market=market.rules, bot_id=bot_id, begin=begin, on_bar=advance)
    return Finished(path, done, market, metrics_of(done))


@contextmanager
def bar_of_progress(title: str, *, total: int, wanted: bool) -> Iterator[Callable[[], None]]:
    """A progress bar on stderr when it is a terminal; gives what to call for each step."""
    if not (wanted and sys.stderr.isatty()):
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(cell(title).plain, total=total)
        yield lambda: shown.advance(task)


# --- outputs -------------------------------------------------------------------------------------------------------

_TRADE = (
    "signal_at",
    "entry_time",
    "exit_time",
    "direction",
    "size",
    "entry_price",
    "exit_price",
    "commission",
    "gross_pnl",
    "net_pnl",
    "pnl_percentage",
    "exit_reason",
    "entry_order_id",
    "exit_order_id",
)


_FILL = ("client_order_id", "filled_at", "price", "quantity", "fee", "fee_currency")


def _fill(row: Mapping[str, Any]) -> dict[str, Any]:
    return {column: row[column] for column in _FILL}


def _trade(row: Mapping[str, Any]) -> dict[str, Any]:
    return {column: row[column] for column in _TRADE}


def _write(
    finished: Finished, *, plot: Path | None, trades: Path | None, orders: Path | None, equity: Path | None
) -> None:
    done = finished.done
    if trades is not None:
        write_rows(trades, [_trade(row) for row in done.trades], _TRADE)
    if orders is not None:
        write_rows(orders, done.orders, tuple(done.orders[0]) if done.orders else ("client_order_id",))
    if equity is not None:
        rows = [{"at": b.at, "close": b.close, "equity": b.equity, "in_position": b.in_position} for b in done.equity]
        write_rows(equity, rows, ("at", "close", "equity", "in_position"))
    if plot is not None:
        from cli.backtest_plot import draw

        draw(plot, done, metrics=finished.metrics, title=f"{done.config.symbol} {done.config.interval}")


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write rows as CSV or JSON, by the file's suffix.

    Raises:
        PermanentError: it can't be written.
    """
    import csv

    try:
        with path.open("w", newline="") as file:
            if path.suffix == ".json":
                json.dump([plain(row) for row in rows], file, indent=2)
                return
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows([plain(row[column]) for column in columns] for row in rows)
    except OSError as error:
        raise PermanentError(f"{path} can't be written: {error}") from error


def _print(finished: Sequence[Finished], output: Output, limit: int) -> None:
    if output in (Output.JSON, Output.YAML):
        found = [one.as_json() for one in finished]
        value = found[0] if len(found) == 1 else found
        print_document(value, output=output)
        return
    from cli.backtest_report import report

    report([(one.path.stem, one.done, one.metrics, one.market.origin) for one in finished], limit=limit)
