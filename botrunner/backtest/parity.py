"""Replays what a bot saw, run by run, and finds every difference between what it did and what it should have done.

The bot's bars, configs, limits and other inputs are taken from the database; orders, fills, trades, positions and
money are not: they are made again by the engine and compared field by field, exactly. Where a run was killed, fenced
or replaced, the replay goes on from its own state, as the bot did from its checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from botrunner.backtest.engine import holding, replay
from botrunner.backtest.memory_ledger import MemoryLedger, Tables
from botrunner.backtest.stored_rows import Row, as_stored
from botrunner.engine.failures import Failure, FailureCounts
from botrunner.market.candle import Candle
from botrunner.market.codec import load_candles, load_market
from botrunner.market.rules import Market
from botrunner.strategies.registry.strategy_handler import StrategyHandler, strings_in
from botrunner.trading.risk import Denial
from botrunner.trading.state import BarOutcome
from fleet import __version__
from fleet.bar_record import Checkpoint
from fleet.config import BotConfig, ConfigInvalid, OnStop, parse_config, with_hot_fields
from fleet.errors import PermanentError
from fleet.foreign import Unreadable, object_of
from fleet.states import ExitReason
from fleet.times import from_ms, to_ms
from fleet.trading_service.adapt import object_read
from fleet.trading_service.replays import BarRow, InputRow, Recorded, RunRow

CLEAN_ENDS = (ExitReason.STOPPED, ExitReason.SUPERSEDED, ExitReason.RELEASED)
"""Ends after which `trading.on_stop` was obeyed."""

KEYS: Mapping[str, str] = {
    "order": "client_order_id",
    "fill": "exchange_trade_id",
    "trade": "entry_order_id",
    "position": "entry_order_id",
}
"""What identifies a row of each kind."""

OHLCV = ("open", "high", "low", "close", "volume")


class ReplayImpossible(PermanentError):
    """The record isn't complete enough, or can't be run here; the message says what to give."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that isn't as it should be.

    Attributes:
        kind: order, fill, trade, position, bar (equity or holding at a close) or checkpoint.
        what: `missing` in the record, `extra` in the record, or `different`.
        key: of the row. signal_at, epoch: the candle and the run behind it.
        fields: column → recorded and replayed value.
        reason: what probably caused it.
    """

    kind: str
    what: str
    key: str
    signal_at: datetime | None
    epoch: int | None
    fields: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What was compared, and every difference, oldest first.

    Attributes:
        revised: candles that the bot saw otherwise than the given ones are now: time → columns.
        failures: what went wrong in the strategy during the replay.
    """

    bars: int
    runs: int
    orders: int
    fills: int
    trades: int
    differences: Sequence[Difference]
    revised: Mapping[datetime, Mapping[str, tuple[Any, Any]]]
    failures: Sequence[Failure] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Bars of one run under the same limits.

    Attributes:
        since: open time of its first bar; None for a run that only closed a position. until: of the first bar after
            it, None for the last stretch.
        bars: in order, those that the database still has.
        ends_run: whether the run ended after them.
        begins: whether the bot begins in a market here.
    """

    run: RunRow
    config: BotConfig
    market: Market
    since: datetime | None
    until: datetime | None
    bars: Sequence[BarRow]
    warmup: Sequence[Candle]
    denied: Mapping[datetime, Denial]
    ends_run: bool
    begins: bool


# --- from the record to stretches ----------------------------------------------------------------------------------


def stretches(record: Recorded) -> list[Stretch]:
    """The bot's life cut where a run or its limits changed.

    Raises:
        ReplayImpossible: a config can't be run here, or what was recorded can't be read.
    """
    found: list[Stretch] = []
    market: Market | None = None
    inputs: dict[int, list[InputRow]] = {}
    for row in record.inputs:
        inputs.setdefault(row.epoch, []).append(row)
    for run in record.runs:
        rows = inputs.get(run.epoch, [])
        if rows:
            try:
                market = load_market(rows[0].market or {})
                found += _of_run(record, run, rows, market)
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
                raise ReplayImpossible(f"the recorded inputs of run {run.epoch} can't be read: {error!r}") from error
        elif market is not None and _closed_only(run, found[-1].config):
            config = config_of(run, object_of(run.config.get("risk_management")))
            found.append(
                Stretch(
                    run=run,
                    config=config,
                    market=market,
                    since=None,
                    until=None,
                    bars=(),
                    warmup=(),
                    denied={},
                    ends_run=True,
                    begins=False,
                )
            )
    return found


def _of_run(record: Recorded, run: RunRow, rows: Sequence[InputRow], market: Market) -> Iterator[Stretch]:
    changes = [row for row in rows if row.limits is not None]
    if not changes:
        raise ValueError("the first row has no limits")
    for index, row in enumerate(changes):
        config = config_of(run, row.limits or {})
        until = changes[index + 1].bar_at if index + 1 < len(changes) else _end(record, run, config)
        closes = timedelta(seconds=config.interval_s)
        yield Stretch(
            run=run,
            config=config,
            market=market,
            since=row.bar_at,
            until=until,
            bars=[
                bar
                for bar in record.bars
                if (bar.symbol, bar.interval) == (config.symbol, config.interval)
                and row.bar_at <= bar.bar_at
                and (until is None or bar.bar_at < until)
            ],
            warmup=load_candles(row.warmup or ()),
            denied={other.bar_at + closes: Denial(other.denied) for other in rows if other.denied is not None},
            ends_run=index + 1 == len(changes),
            begins=row.warmup is not None,
        )


def _end(record: Recorded, run: RunRow, config: BotConfig) -> datetime | None:
    """First bar of a later run in the same market."""
    for row in record.inputs:
        if row.epoch > run.epoch and row.market is not None:
            later = next(other for other in record.runs if other.epoch == row.epoch)
            made = config_of(later, row.limits or {})
            if (made.symbol, made.interval) == (config.symbol, config.interval):
                return row.bar_at
    return None


def _closed_only(run: RunRow, before: BotConfig) -> bool:
    """Whether a run without a bar may have closed a position: it gave up, or ended well and was to flatten."""
    if run.exit_reason != ExitReason.GAVE_UP and (run.live_at is None or run.exit_reason not in CLEAN_ENDS):
        return False
    config = config_of(run, object_of(object_of(run.config).get("risk_management")))
    same = (config.symbol, config.interval) == (before.symbol, before.interval)
    return same and (run.exit_reason == ExitReason.GAVE_UP or config.on_stop is OnStop.FLATTEN)


def config_of(run: RunRow, limits: Mapping[str, Any]) -> BotConfig:
    """A run's config with limits that were in force.

    Raises:
        ReplayImpossible: it isn't valid here: another version, or a package that isn't installed.
    """
    raw = object_read(run.config)
    if isinstance(raw, Unreadable):
        raise ReplayImpossible(f"the config of run {run.epoch} {raw.reason}")
    handler = StrategyHandler(strings_in(raw))
    hot = {"notifications": raw.get("notifications", {}), "risk_management": dict(limits)}
    try:
        config = parse_config(with_hot_fields(raw, hot), extra_names=handler.extra_names())
    except ConfigInvalid as error:
        raise ReplayImpossible(f"the config of run {run.epoch} can't be run here:\n{error}") from error
    return config


# --- the replay ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What the engine made of the record: rows by key, the account at each bar, the last checkpoint."""

    tables: Tables
    worth: Mapping[tuple[str, str, datetime], tuple[Any, Any]]
    epochs: Mapping[tuple[str, str, datetime], int]
    checkpoint: Checkpoint
    failures: Sequence[Failure] = ()


def replayed(record: Recorded, *, candles: Sequence[Candle] = ()) -> Replayed:
    """Run the bot again over its bars.

    Args:
        record: what the database has.
        candles: of the bot's market, for what the database doesn't have (any more); its own bars go first.

    Raises:
        ReplayImpossible: bars or warm-up candles are missing, or a config can't be run here.
    """
    tables, checkpoint, book = Tables(), None, FailureCounts()
    worth: dict[tuple[str, str, datetime], tuple[Any, Any]] = {}
    epochs: dict[tuple[str, str, datetime], int] = {}
    known: dict[tuple[str, str], dict[int, Candle]] = {}
    for stretch in stretches(record):
        config, key = stretch.config, (stretch.config.symbol, stretch.config.interval)
        seen = known.setdefault(key, {})
        if stretch.begins:
            seen.clear()
            seen.update({candle.open_ms: candle for candle in stretch.warmup})
        bars = _complete(record, stretch, candles)
        seen.update({candle.open_ms: candle for candle in bars})

        def note(outcome: BarOutcome, key: tuple[str, str] = key, epoch: int = stretch.run.epoch) -> None:
            if outcome.candle is not None:
                trade = outcome.account.trade
                position = trade.side.sign * trade.size_open if trade else 0
                worth[(*key, outcome.candle.open_at)] = (outcome.balance, position)
                epochs[(*key, outcome.candle.open_at)] = epoch

        ledger = MemoryLedger(
            bot_id=record.bot_id,
            config=config,
            market=stretch.market,
            exchange=f"{config.trading_mode}-{config.broker_type}",
            checkpoint=checkpoint,
            denied=stretch.denied,
            tables=tables,
            on_bar=note,
        )
        resolved = StrategyHandler({config.strategy_type}).get_strategy_class(config.strategy_type)
        flattens = stretch.ends_run and stretch.run.exit_reason in CLEAN_ENDS and config.on_stop is OnStop.FLATTEN
        ordered = [seen[open_ms] for open_ms in sorted(seen)]
        replay(
            config=config if flattens else holding(config),
            bot_id=record.bot_id,
            strategy=resolved.cls,
            market=stretch.market,
            ledger=ledger,
            candles=ordered,
            begin_after_ms=max((c.open_ms for c in stretch.warmup), default=None),
            failures=book,
            gives_up=stretch.ends_run and stretch.run.exit_reason == ExitReason.GAVE_UP,
        )
        checkpoint = ledger.checkpoint
    assert checkpoint is not None, "there is at least one stretch"
    return Replayed(tables=tables, worth=worth, epochs=epochs, checkpoint=checkpoint, failures=book.failures)


def _complete(record: Recorded, stretch: Stretch, candles: Sequence[Candle]) -> list[Candle]:
    """The stretch's candles; where its first bars were deleted meanwhile, the given ones in their place.

    Raises:
        ReplayImpossible: they aren't given.
    """
    own = [_candle(bar) for bar in stretch.bars]
    if stretch.since is None or (own and own[0].open_at == stretch.since):
        return own
    until = own[0].open_at if own else stretch.until or _after_last(record)
    given = [candle for candle in candles if stretch.since <= candle.open_at < until]
    if not given or given[0].open_at != stretch.since:
        config = stretch.config
        raise ReplayImpossible(
            f"run {stretch.run.epoch} traded {config.symbol} {config.interval} from {stretch.since:%Y-%m-%dT%H:%M} on, "
            f"but trading_bars has no bars before {until:%Y-%m-%dT%H:%M} (any more): give these candles with --candles"
        )
    return [*given, *own]


def _after_last(record: Recorded) -> datetime:
    last = record.checkpoint.last_bar_at
    assert last is not None, "a bot with inputs has had a bar"
    return last + timedelta(milliseconds=1)


def _candle(bar: BarRow) -> Candle:
    stored = as_stored({name: getattr(bar, name) for name in OHLCV})
    return Candle(to_ms(bar.bar_at), *(stored[name] for name in OHLCV))


# --- comparison ----------------------------------------------------------------------------------------------------


def compare(
    record: Recorded,
    done: Replayed,
    *,
    candles: Sequence[Candle] = (),
    begin: datetime | None = None,
    end: datetime | None = None,
) -> Comparison:
    """Every difference between record and replay with a signal bar in [begin, end)."""

    def wanted(moment: datetime | None) -> bool:
        return moment is None or ((begin is None or moment >= begin) and (end is None or moment < end))

    pairs = {
        "order": (record.orders, done.tables.orders),
        "fill": (record.fills, done.tables.fills),
        "trade": (record.trades, done.tables.trades),
        "position": (record.positions, done.tables.positions),
    }
    found = [
        difference
        for kind, (rows, made) in pairs.items()
        for difference in rows_differ(kind, rows, made, orders=done.tables.orders)
        if wanted(difference.signal_at)
    ]
    found += [difference for difference in _bars_differ(record, done) if wanted(difference.signal_at)]
    if end is None:
        found += _checkpoints_differ(record.checkpoint, done.checkpoint)
    found.sort(key=lambda difference: (difference.signal_at is None, difference.signal_at or from_ms(0)))
    revised = _revised(record, candles)
    return Comparison(
        bars=sum(wanted(bar.bar_at) for bar in record.bars),
        runs=len(record.runs),
        orders=sum(wanted(row["signal_at"]) for row in record.orders),
        fills=sum(wanted(row["signal_at"]) for row in record.fills),
        trades=sum(wanted(row["signal_at"]) for row in record.trades),
        differences=list(_explained(record, found, revised)),
        revised=revised,
        failures=done.failures,
    )


def rows_differ(
    kind: str, rows: Sequence[Row], made: Mapping[str, Row], *, orders: Mapping[str, Row] | None = None
) -> Iterator[Difference]:
    """Differences between the rows of a table and those that the engine made.

    Args:
        kind: a key of KEYS.
        rows: as read from the table, see `fleet.trading_service.replays`.
        made: by key, as stored.
        orders: those that the engine made: they know the signal bars of fills and positions that aren't recorded.
    """
    key = KEYS[kind]
    stored = {row[key]: row for row in rows}
    for name in [*stored, *(name for name in made if name not in stored)]:
        row, other = stored.get(name), made.get(name)
        if row is None:
            assert other is not None
            order = (orders or {}).get(other.get("client_order_id", name), other)
            yield Difference(
                kind=kind,
                what="missing",
                key=name,
                signal_at=order.get("signal_at"),
                epoch=None,
                fields={column: (None, value) for column, value in other.items()},
            )
            continue
        plain = as_stored(row)
        place = {"kind": kind, "key": name, "signal_at": row["signal_at"], "epoch": row["epoch"]}
        if other is None:
            yield Difference(**place, what="extra", fields={c: (value, None) for c, value in plain.items()})
            continue
        # epochs are the record's alone, and so are the signal bars of fills and positions
        fields = {c: (plain[c], other[c]) for c in plain if c in other and plain[c] != other[c]}
        if fields:
            yield Difference(**place, what="different", fields=fields)


def _bars_differ(record: Recorded, done: Replayed) -> Iterator[Difference]:
    """The first bar at which the account differs; those after it follow."""
    for bar in sorted(record.bars, key=lambda bar: bar.bar_at):
        key = (bar.symbol, bar.interval, bar.bar_at)
        made = done.worth.get(key)
        if made is None:
            yield Difference(kind="bar", what="extra", key=_name(bar), signal_at=bar.bar_at, epoch=None)
            continue
        stored = as_stored({"equity": bar.equity, "position": bar.position})
        again = as_stored({"equity": made[0], "position": made[1]})
        fields = {column: (stored[column], again[column]) for column in stored if stored[column] != again[column]}
        if fields:
            yield Difference(
                kind="bar",
                what="different",
                key=_name(bar),
                signal_at=bar.bar_at,
                epoch=done.epochs[key],
                fields=fields,
            )
            return


def _name(bar: BarRow) -> str:
    return f"{bar.symbol} {bar.interval} {bar.bar_at:%Y-%m-%dT%H:%M}"


def _checkpoints_differ(stored: Checkpoint, made: Checkpoint) -> Iterator[Difference]:
    columns = ("symbol", "interval", "last_bar_at", "bars", "balance", "total_pnl")
    before = as_stored({column: getattr(stored, column) for column in columns})
    after = as_stored({column: getattr(made, column) for column in columns})
    fields = {column: (before[column], after[column]) for column in columns if before[column] != after[column]}
    if fields:
        yield Difference(
            kind="checkpoint", what="different", key="checkpoint", signal_at=None, epoch=None, fields=fields
        )


def _revised(record: Recorded, candles: Sequence[Candle]) -> dict[datetime, dict[str, tuple[Any, Any]]]:
    last = record.checkpoint
    seen = {bar.bar_at: bar for bar in record.bars if (bar.symbol, bar.interval) == (last.symbol, last.interval)}
    found: dict[datetime, dict[str, tuple[Any, Any]]] = {}
    for candle in candles:
        bar = seen.get(candle.open_at)
        if bar is None:
            continue
        fields = {c: (getattr(bar, c), getattr(candle, c)) for c in OHLCV if getattr(bar, c) != getattr(candle, c)}
        if fields:
            found[candle.open_at] = fields
    return found


def _explained(
    record: Recorded, differences: Sequence[Difference], revised: Mapping[datetime, Any]
) -> Iterator[Difference]:
    first = differences[0].signal_at if differences else None
    for difference in differences:
        if difference.signal_at is not None and difference.signal_at == first:
            yield replace(difference, reason=_reason(record, difference, revised))
        else:
            yield replace(difference, reason="may follow from the first difference")


def _reason(record: Recorded, difference: Difference, revised: Mapping[datetime, Any]) -> str:
    at, versions = difference.signal_at, {}
    for row in record.inputs:
        if row.version is not None and (at is None or row.bar_at <= at):
            versions[row.epoch] = row.version
    epoch = max(versions, default=None)
    if epoch is not None and versions[epoch] != __version__:
        return f"run {epoch} was made by version {versions[epoch]}, the replay by {__version__}"
    earlier = [moment for moment in revised if at is None or moment <= at]
    if earlier:
        moment = f"{max(earlier):%Y-%m-%dT%H:%M}"
        return f"the candle of {moment} was revised since: a restart after it warms up with the new one"
    restarts = [row.epoch for row in record.inputs if row.version is not None and at is not None and row.bar_at <= at]
    if len(restarts) > 1:
        return (
            f"run {restarts[-1]} warmed up with candles from the exchange, which may differ from those seen before: "
            "compare with --candles; or rows were changed by hand"
        )
    return "the rows were changed or deleted after they were written, or the strategy depends on more than its candles"
