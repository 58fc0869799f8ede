"""`botfleet backtest`: a config over recorded candles, by the engine that bots run.

Exit codes: 0 done; 4 done, and the strategy failed at a bar at least (the result says how); 1 no result; 2 usage.
"""

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
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from cli.config import read_config
from cli.files import CandlesUnreadable, read_document
from cli.output import Output, cell, plain, print_document, say
from fleet.config import BotConfig, ConfigInvalid, parse_config
from fleet.errors import PermanentError
from fleet.times import to_ms

if TYPE_CHECKING:
    from botrunner.backtest.market import KnownMarket
    from botrunner.backtest.run import Backtest
    from botrunner.engine.failures import Failure
    from botrunner.feeds.files.reader import CandleFile
    from botrunner.feeds.files.survey import Survey

STRATEGY_FAILED: Final = 4
"""Exit code: there is a result, and the strategy failed while it was made."""

KNOWN_CHOICES: Final = ("auto", "exchange", "none")
"""Of `--market`; anything else is a file."""

_NAMED = re.compile(r"(?P<symbol>[A-Z0-9]+(?:_[A-Z0-9]+)?)-(?P<interval>\d+[a-zA-Z])(?:[-.].*)?")
"""SYMBOL-INTERVAL at the beginning of a candle file's name; behind it may be a month, as in Binance's archive."""


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
class Rules:
    """What `--market` says, and what the file says that it names."""

    choice: str
    document: object


@dataclass(frozen=True, slots=True)
class Finished:
    """A backtest with its metrics and where its inputs came from."""

    path: Path
    done: Backtest
    market: KnownMarket
    metrics: Mapping[str, Any]
    file: CandleFile
    survey: Survey

    def as_json(self) -> dict[str, Any]:
        """What `-o json` prints."""
        from botrunner.market.codec import dump_market
        from cli.candle_report import data_as_json

        return {
            "candles": str(self.path),
            "data": data_as_json(self.file, self.survey),
            "market": {**dump_market(self.market.rules), "origin": self.market.origin},
            "trades": [_trade(row) for row in self.done.trades],
            "open_trade": _trade(self.done.open_trade) if self.done.open_trade else None,
            "orders": self.done.orders,
            "fills": [_fill(row) for row in self.done.tables.fills.values()],
            "entries": {
                "filled": self.done.entries_filled,
                "unfilled": self.done.entries_unfilled,
                "denied": dict(sorted(self.done.denials.items())),
            },
            "errors": [failure.as_json() for failure in self.done.failures],
            "gave_up": self.done.gave_up,
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
        list[Path], typer.Option("--candles", help="File of candles (docs/user/candle-files.md); repeat it to compare.")
    ],
    begin: Annotated[
        datetime | None,
        typer.Option("--from", parser=moment, help="First bar to trade, UTC; earlier candles go into indicators."),
    ] = None,
    end: Annotated[
        datetime | None, typer.Option("--to", parser=moment, help="Bars opening from here on are left out.")
    ] = None,
    bot_id: Annotated[int, typer.Option(min=0, help="Names the orders: a bot's id gives that bot's order ids.")] = 0,
    market: Annotated[
        str, typer.Option(help="Steps and minimums: auto (as the bot would), exchange, none, or a JSON or YAML file.")
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
    rules = Rules(market, None if market in KNOWN_CHOICES else read_document(Path(market)))
    finished = [
        _run(path, _config(document, path, several=len(candles) > 1), rules, begin, end, bot_id, progress)
        for path in candles
    ]
    _write(finished[0], plot=plot, trades=trades, orders=orders, equity=equity)
    _print(finished, output, limit)
    if any(one.done.failures for one in finished):
        for one in finished:
            tell_failures(one.path.stem, one.done.failures, bars=len(one.done.equity), gave_up=one.done.gave_up)
        raise typer.Exit(STRATEGY_FAILED)


def tell_failures(name: str, failures: Sequence[Failure], *, bars: int, gave_up: bool) -> None:
    """Say on stderr that a result isn't what it looks like."""
    if not failures:
        return
    times, first = sum(failure.count for failure in failures), failures[0]
    say(
        f"{name}: the strategy failed {times} times in {bars} bars, first at {first.first_at:%Y-%m-%d %H:%M} in "
        f"{first.where}: {first.type}: {first.message}"
    )
    if gave_up:
        say(f"{name}: a bot would have given up there, so the result ends there too: mend the strategy")


def exchange_urls() -> Mapping[str, str]:
    """Exchange id → base URL, as this installation's bots have it.

    BOTFLEET_SANDBOX_URL is what `make up` leaves in .botfleet/env: there binance is the sandbox exchange.
    """
    from botrunner.settings import exchange_urls as urls_of

    sandbox = os.environ.get("BOTFLEET_SANDBOX_URL")
    return urls_of(os.environ.get("BOTFLEET_EXCHANGE_URLS", "")) or ({"binance": sandbox} if sandbox else {})


# --- inputs --------------------------------------------------------------------------------------------------------


def _config(document: Any, path: Path, *, several: bool) -> BotConfig:
    from botrunner.strategies.strategy_handler import StrategyHandler, strings_in

    handler, named = StrategyHandler(strings_in(document)), _NAMED.fullmatch(path.name)
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


def load_candles(path: Path, config: BotConfig) -> CandleFile:
    """The candles of a file as a config wants them.

    Raises:
        CandlesUnreadable: they can't be used; names the place in the file and what to do.
    """
    from botrunner.feeds.files.errors import CandleFileInvalid
    from botrunner.feeds.files.market import candle_file

    try:
        return candle_file(path, config)
    except CandleFileInvalid as error:
        raise CandlesUnreadable(path, str(error), error.line) from error


def _run(
    path: Path,
    config: BotConfig,
    rules: Rules,
    begin: datetime | None,
    end: datetime | None,
    bot_id: int,
    progress: bool,
) -> Finished:
    from botrunner.backtest.market import market_for
    from botrunner.backtest.metrics import metrics_of
    from botrunner.backtest.run import backtest as run

    file = load_candles(path, config)
    before_ms = None if end is None else to_ms(end)
    candles = [candle for candle in file.candles if before_ms is None or candle.open_ms < before_ms]
    if not candles:
        raise PermanentError(f"{path} has no candle before --to {end}")
    for note in file.notes:
        say(f"{path}: {note}")
    market = market_for(config, rules.choice, candles=file, exchange_urls=exchange_urls(), given=rules.document)
    if market.notice:
        say(market.notice)
    with bar_of_progress(f"{path.stem}", total=len(candles), wanted=progress) as advance:
        done = run(config, candles, market=market.rules, bot_id=bot_id, begin=begin, on_bar=advance)
    return Finished(path, done, market, metrics_of(done), file, file.survey(before_ms=before_ms))


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
    from cli.candle_report import data_lines

    parts = [
        (one.path.stem, one.done, one.metrics, one.market.origin, data_lines(one.file, one.survey)) for one in finished
    ]
    report(parts, limit=limit)
