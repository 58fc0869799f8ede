"""`botfleet parity`: replay what a bot saw, and show where it did otherwise."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.backtest import exchange_urls, load_candles, moment, tell_failures
from cli.backtest_report import show_failures
from cli.bots import BotArgument, OutputOption
from cli.connection import database
from cli.output import Output, plain, print_document, say, show, tell
from fleet.exit_codes import EXIT_FAILED, EXIT_OK

if TYPE_CHECKING:
    from botrunner.backtest.parity import Comparison, Difference
    from botrunner.market.candle import Candle
    from fleet.trading_service.replays import Recorded

EXCHANGE = "exchange"


def parity(
    bot: BotArgument,
    candles: Annotated[
        str | None,
        typer.Option(
            help="File of the bot's candles, or `exchange`: shows changed candles, and replaces deleted bars."
        ),
    ] = None,
    begin: Annotated[
        datetime | None, typer.Option("--from", parser=moment, help="First signal bar to compare, UTC.")
    ] = None,
    end: Annotated[
        datetime | None, typer.Option("--to", parser=moment, help="Signal bars from here on aren't compared.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Replay a bot over the bars it saw and compare orders, fills, trades and money; exit code 1 for any difference.

    Nothing is written. The whole life of the bot is replayed; --from and --to choose what is compared. A strategy that
    fails in the replay as it did in the bot makes no difference; its errors are shown.
    """
    from botrunner.backtest.parity import compare, replayed
    from fleet.log import configure_logging
    from fleet.trading_service import admin
    from fleet.trading_service.replays import recorded

    configure_logging(level="ERROR", form="console")
    with database() as connection:
        record = recorded(connection, admin.bot_id_of(connection, bot))
    known = _candles(candles, record) if candles else []
    found = compare(record, replayed(record, candles=known), candles=known, begin=begin, end=end)
    _show(found, output)
    raise typer.Exit(EXIT_FAILED if found.differences else EXIT_OK)


def _candles(choice: str, record: Recorded) -> list[Candle]:
    """Candles of the market that the bot trades now."""
    from botrunner.backtest.parity import config_of
    from fleet.foreign import object_of
    from fleet.times import to_ms

    run = record.runs[-1]
    config = config_of(run, object_of(object_of(run.config).get("risk_management")))
    interval_ms = config.interval_s * 1000
    if choice != EXCHANGE:
        file = load_candles(Path(choice), config)
        for note in file.notes:
            say(f"{choice}: {note}")
        return file.candles
    from botrunner.exchange.broker import BrokerManager
    from botrunner.feeds.source import ExchangeCandles
    from fleet.clock import SystemClock

    source = ExchangeCandles(
        BrokerManager(exchange_urls()).get(config.broker_type),
        symbol=config.symbol,
        interval=config.interval,
        interval_ms=interval_ms,
        clock=SystemClock(),
    )
    last = record.checkpoint.last_bar_at
    assert last is not None, "a bot with inputs has had a bar"
    return source.history(to_ms(min(row.bar_at for row in record.inputs)), to_ms(last) + 1)


def _show(found: Comparison, output: Output) -> None:
    if output in (Output.JSON, Output.YAML):
        print_document(_as_json(found), output=output)
        return
    if found.differences:
        columns = {
            "SIGNAL BAR": lambda row: f"{row['signal_at']:%Y-%m-%d %H:%M}" if row["signal_at"] else "-",
            "RUN": lambda row: str(row["epoch"] or "-"),
            "KIND": lambda row: row["kind"],
            "WHAT": lambda row: row["what"],
            "KEY": lambda row: row["key"],
            "RECORDED / REPLAYED": _values,
            "PROBABLE REASON": lambda row: row["reason"],
        }
        show([_row(difference) for difference in found.differences], output=Output.TABLE, columns=columns)
    if found.failures:
        show_failures(found.failures)
        tell_failures("the replay", found.failures, bars=found.bars, gave_up=False)
    for at, fields in found.revised.items():
        values = ", ".join(f"{name} {plain(seen)} → {plain(now)}" for name, (seen, now) in fields.items())
        say(f"candle of {at:%Y-%m-%d %H:%M} has changed since the bot saw it: {values}")
    verdict = f"{len(found.differences)} differences" if found.differences else "no difference"
    tell(
        f"{verdict}: {found.bars} bars of {found.runs} runs replayed; {found.orders} orders, {found.fills} fills, "
        f"{found.trades} trades compared"
    )


def _values(row: dict[str, Any]) -> str:
    if row["what"] != "different":
        return "no such row recorded" if row["what"] == "missing" else "not made by the replay"
    return ", ".join(f"{name} {plain(seen)} / {plain(made)}" for name, (seen, made) in row["fields"].items())


def _row(difference: Difference) -> dict[str, Any]:
    return {
        "signal_at": difference.signal_at,
        "epoch": difference.epoch,
        "kind": difference.kind,
        "what": difference.what,
        "key": difference.key,
        "fields": difference.fields,
        "reason": difference.reason,
    }


def _as_json(found: Comparison) -> dict[str, Any]:
    return {
        "equal": not found.differences,
        "bars": found.bars,
        "runs": found.runs,
        "orders": found.orders,
        "fills": found.fills,
        "trades": found.trades,
        "differences": [
            {
                **_row(difference),
                "fields": {
                    name: {"recorded": seen, "replayed": made} for name, (seen, made) in difference.fields.items()
                },
            }
            for difference in found.differences
        ],
        "errors": [failure.as_json() for failure in found.failures],
        "revised_candles": [
            {"at": at, **{name: {"seen": seen, "now": now} for name, (seen, now) in fields.items()}}
            for at, fields in found.revised.items()
        ],
    }
