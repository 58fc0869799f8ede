"""Backtest, paper and replay agree to the last digit: rows of a real PostgreSQL against rows of the engine in memory."""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from decimal import Decimal
from itertools import cycle
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from botrunner.backtest.market import market_for
from botrunner.backtest.parity import Comparison, ReplayImpossible, compare, replayed, rows_differ
from botrunner.backtest.run import Backtest, backtest
from botrunner.backtest.stored_rows import as_stored
from botrunner.engine.budget import StrategyFailing
from botrunner.feeds.files.market import candle_file as read_file
from botrunner.feeds.files.market import rules_of_file
from botrunner.feeds.source import read_candles
from botrunner.market.candle import Candle
from botrunner.market.rules import file_market
from botrunner.strategies.entry import ENTRY_MIXINS
from botrunner.strategies.registry.strategy_handler import StrategyHandler
from fleet.config import parse_config
from fleet.trading_service.replays import NothingRecorded, Recorded, recorded
from tests.loose import LOOSE
from tests.paper import new_bot, next_run, trade, write_candles

pytestmark = pytest.mark.postgres

NAMES = {kind: [e["name"] for e in StrategyHandler().list() if e["kind"] == kind] for kind in ("entry", "exit")}
PAIRS = (
    list(zip(NAMES["entry"], cycle(NAMES["exit"]), strict=False))
    if len(NAMES["entry"]) >= len(NAMES["exit"])
    else list(zip(cycle(NAMES["entry"]), NAMES["exit"], strict=False))
)
"""Every mixin at least once."""

BARS, FEW = 700, 400


@pytest.fixture(autouse=True)
def _keep_garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Collecting a test session's whole heap at each of some hundred engines would be most of the time."""
    monkeypatch.setattr("botrunner.engine.strategy_instance.return_free_memory", lambda: None)


@pytest.fixture(scope="module")
def candles(candle_folder: Path) -> list[Candle]:
    return read_candles(candle_folder / "ETH_BTC-5m.csv")[:BARS]


@pytest.fixture(scope="module")
def candle_file(candles: list[Candle], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_candles(tmp_path_factory.mktemp("candles") / "ETH_BTC-5m.csv", candles)


@pytest.fixture(scope="module")
def few_candles(candles: list[Candle], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_candles(tmp_path_factory.mktemp("few") / "ETH_BTC-5m.csv", candles[:FEW])


@pytest.fixture
def database(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def config(
    file: Path, entry: str = "RSIOrBBEntryMixin", leave: str = "SimpleATRExitMixin", **sections: Any
) -> dict[str, Any]:
    return {
        "symbol": "ETHBTC",
        "broker": {"type": "binance", "trading_mode": "paper", "cash": 10, **sections.pop("broker", {})},
        "strategy": {
            "type": "CustomStrategy",
            "parameters": {
                "entry_logic": {"name": entry, "params": LOOSE.get(entry, {})},
                "exit_logic": {"name": leave, "params": LOOSE.get(leave, {})},
            },
        },
        "data": {"data_source": "file", "file_path": str(file), "interval": "5m", "lookback_bars": 150},
        "trading": {"position_size": 0.25, **sections.pop("trading", {})},
        **sections,
    }


REALISTIC = {
    "broker": {"paper_trading_config": {"fill_price": "next_open", "base_slippage": 0.0003}},
    "risk_management": {"stop_loss_pct": 1.5, "take_profit_pct": 2, "trailing_stop_pct": 1, "max_daily_trades": 9},
}


ACCIDENTS = {
    "broker": {
        "paper_trading_config": {
            "fee_currency": "base",
            "slippage_model": "volume_share",
            "max_volume_share": 0.02,
            "min_latency_ms": 100,
            "max_latency_ms": 60_000,
            "partial_fill_probability": 0.3,
            "reject_probability": 0.1,
            "seed": 11,
        }
    },
    "trading": {"order_type": "limit", "exit_order_type": "limit", "limit_offset_pct": 0.1, "limit_ttl_bars": 4},
    "risk_management": {"stop_loss_pct": 2},
}


def backtested(made: Mapping[str, Any], candles: list[Candle], bot_id: int) -> Backtest:
    return backtest(parse_config(made), candles, market=file_market("ETHBTC"), bot_id=bot_id)


def assert_equal(record: Recorded, done: Backtest) -> None:
    for kind, rows, made in (
        ("order", record.orders, done.tables.orders),
        ("fill", record.fills, done.tables.fills),
        ("trade", record.trades, done.tables.trades),
        ("position", record.positions, done.tables.positions),
    ):
        assert list(rows_differ(kind, rows, made)) == []
        assert len(rows) == len(made)
    assert record.checkpoint.bars == len(done.equity)
    worth = [as_stored({"equity": bar.equity})["equity"] for bar in done.equity]
    assert [as_stored({"equity": bar.equity})["equity"] for bar in record.bars] == worth
    assert as_stored({"balance": record.checkpoint.balance})["balance"] == worth[-1]


def replay_of(database: psycopg.Connection[Any], bot_id: int, **options: Any) -> Comparison:
    record = recorded(database, bot_id)
    candles = options.get("candles", ())
    return compare(record, replayed(record, candles=candles), **options)


@pytest.mark.parametrize(("entry", "leave"), PAIRS)
def test_paper_and_backtest_agree(
    entry: str,
    leave: str,
    database: psycopg.Connection[Any],
    database_url: str,
    candles: list[Candle],
    few_candles: Path,
) -> None:
    made = config(few_candles, entry, leave)
    new_bot(database, made, 7)
    assert trade(database, 7, url=database_url)
    done = backtested(made, candles[:FEW], 7)
    assert done.trades, "a combination that never trades proves nothing"
    assert_equal(recorded(database, 7), done)
    assert replay_of(database, 7).differences == []


def in_own_words(candles: list[Candle], path: Path) -> dict[str, Any]:
    """A gzip of KuCoin's order without a header, Unix s, floats with noise; gives the config's keys for it."""
    rows = [
        ",".join(
            [
                str(c.open_ms // 1000),
                *(f"{float(price):.17g}" for price in (c.open, c.close, c.high, c.low)),
                str(c.volume),
                "180.2",
            ]
        )
        for c in candles
    ]
    path.write_bytes(gzip.compress("\n".join(reversed(rows)).encode()))
    return {"close_col": "3", "high_col": "4", "low_col": "5"}


def test_a_paper_bot_reads_a_file_as_a_backtest_does(
    database: psycopg.Connection[Any], database_url: str, candles: list[Candle], few_candles: Path, tmp_path: Path
) -> None:
    path = tmp_path / "ETH_BTC-5m.csv.gz"
    made = config(path, **deepcopy(REALISTIC))
    made["data"] |= in_own_words(candles[:FEW], path)
    new_bot(database, made, 7)
    assert trade(database, 7, url=database_url)
    parsed = parse_config(made)
    file = read_file(path, parsed)
    assert file.candles == candles[:FEW]
    known = market_for(parsed, "auto", candles=file, exchange_urls={})
    done = backtest(parsed, file.candles, market=known.rules, bot_id=7)
    assert len(done.trades) > 10
    assert_equal(recorded(database, 7), done)
    # and the same from the plain file
    assert done.trades == backtested(config(few_candles, **deepcopy(REALISTIC)), candles[:FEW], 7).trades


@pytest.mark.parametrize(("interval", "days", "first"), [("1w", 7, 1_515_369_600_000), ("3d", 3, 1_515_628_800_000)])
def test_weeks_and_three_days_agree(
    interval: str,
    days: int,
    first: int,
    database: psycopg.Connection[Any],
    database_url: str,
    candles: list[Candle],
    tmp_path: Path,
) -> None:
    spread = [replace(c, open_ms=first + number * days * 86_400_000) for number, c in enumerate(candles[:FEW])]
    path = write_candles(tmp_path / f"ETH_BTC-{interval}.csv", spread)
    made = config(path, **deepcopy(REALISTIC))
    made["data"] |= {"interval": interval}
    new_bot(database, made, 7)
    rng = random.Random(5)
    while not trade(database, 7, url=database_url, interrupt_at=rng.randint(50, 900), kill=True):
        pass
    parsed = parse_config(made)
    file = read_file(path, parsed)
    done = backtest(parsed, file.candles, market=rules_of_file(file, "ETHBTC"), bot_id=7)
    assert len(done.trades) > 10
    assert_equal(recorded(database, 7), done)
    assert replay_of(database, 7).differences == []


def test_a_file_in_real_time_gives_a_bot_one_candle_and_then_none(
    database: psycopg.Connection[Any], database_url: str, few_candles: Path
) -> None:
    made = config(few_candles)
    made["data"] |= {"simulate_realtime": True}
    new_bot(database, made, 7)
    for bars in (1, 2):  # a run of these tests ends where the bot waits, and the next one goes on there
        assert trade(database, 7, url=database_url)
        assert recorded(database, 7).checkpoint.bars == bars


@pytest.mark.parametrize("sections", [REALISTIC, ACCIDENTS], ids=["limits", "accidents"])
def test_kills_change_nothing(
    sections: dict[str, Any],
    database: psycopg.Connection[Any],
    database_url: str,
    candles: list[Candle],
    candle_file: Path,
) -> None:
    made, rng = config(candle_file, **deepcopy(sections)), random.Random(5)
    new_bot(database, made, 7)
    while not trade(database, 7, url=database_url, interrupt_at=rng.randint(50, 600), kill=True):
        pass
    done = backtested(made, candles, 7)
    assert len(done.trades) > 10
    record = recorded(database, 7)
    if sections is REALISTIC:
        assert {row["exit_reason"] for row in done.trades} >= {"stop_loss", "take_profit"}
    else:
        assert {row["state"] for row in record.orders} >= {"filled", "rejected", "expired"}
        assert len(record.fills) > len({row["client_order_id"] for row in record.fills})
    assert len(record.runs) > 3
    assert_equal(record, done)
    assert replay_of(database, 7).differences == []


@pytest.mark.parametrize("sections", [{}, ACCIDENTS], ids=["market orders", "waiting limits"])
def test_an_entry_that_a_stop_forbade_is_known_to_the_replay(
    sections: dict[str, Any], database: psycopg.Connection[Any], database_url: str, candle_file: Path
) -> None:
    def matters(bot: int) -> bool:
        """Whether the replay would have entered where the stop forbade it."""
        with database.transaction(force_rollback=True):
            database.execute("UPDATE trading_inputs SET denied = NULL WHERE bot_id = %s", (bot,))
            return bool(replay_of(database, bot).differences)

    for bot in range(1, 9):
        new_bot(database, config(candle_file, **deepcopy(sections)), bot)
        rng = random.Random(bot)
        for _ in range(12):
            trade(database, bot, url=database_url, interrupt_at=rng.randint(40, 160))
        if matters(bot):
            break
    assert matters(bot), "no stop came where an entry was wanted: the test shows nothing"
    assert any(row.denied == "stopping" for row in recorded(database, bot).inputs)
    assert replay_of(database, bot).differences == []


def test_a_replay_follows_configs_and_limits_as_they_changed(
    database: psycopg.Connection[Any], database_url: str, candles: list[Candle], candle_file: Path
) -> None:
    made = config(candle_file, risk_management={"stop_loss_pct": 2})
    new_bot(database, made, 7)
    tighter = {"risk_management": {"stop_loss_pct": 0.35, "cooldown_bars": 3}}
    looser = {"risk_management": {"max_daily_trades": 4}}
    trade(database, 7, url=database_url, interrupt_at=380, limits={100: tighter, 250: looser})
    # another strategy, which closes its position when it is stopped
    changed = config(candle_file, leave="TimeBasedExitMixin", trading={"on_stop": "flatten"})
    database.execute("UPDATE trading_bots SET config = %s WHERE id = 7", (Jsonb(changed),))
    for at in (150, 154, 1):
        trade(database, 7, url=database_url, interrupt_at=at)
    trade(database, 7, url=database_url)
    record = recorded(database, 7)
    assert [row.limits for row in record.inputs if row.epoch == 1 and row.limits is not None] == [
        {"stop_loss_pct": 2},
        {"stop_loss_pct": 0.35, "cooldown_bars": 3},
        {"max_daily_trades": 4},
    ]
    assert any(row["leg"] == "flatten" for row in record.orders)
    assert record.checkpoint.bars == BARS
    found = replay_of(database, 7)
    assert found.differences == []
    assert found.trades == len(record.trades) > 10
    # without the changes that were noted the replay goes astray: it does depend on them
    database.execute("DELETE FROM trading_inputs WHERE epoch = 1 AND version IS NULL")
    assert replay_of(database, 7).differences


def test_what_the_owners_limits_forbade_is_known_to_the_replay(
    database: psycopg.Connection[Any], database_url: str, candle_file: Path
) -> None:
    new_bot(database, config(candle_file), 7)
    database.execute(
        "INSERT INTO tenant_limits (user_id, trade_type, currency, max_daily_loss) VALUES (1, 'paper', 'BTC', 0.01)"
    )
    trade(database, 7, url=database_url)
    record = recorded(database, 7)
    assert sum(row.denied == "tenant_max_daily_loss" for row in record.inputs) > 3
    assert replay_of(database, 7).differences == []


TAMPERINGS = {
    "a fill's price": ("UPDATE trading_fills SET price = price + 0.000001 WHERE client_order_id = %s", "fill", "price"),
    "an order's candle": (
        "UPDATE trading_orders SET signal_at = signal_at + interval '1 second' WHERE client_order_id = %s",
        "order",
        "signal_at",
    ),
    "an order's quantity": ("UPDATE trading_orders SET quantity = 1 WHERE client_order_id = %s", "order", "quantity"),
    "a trade's commission": (
        "UPDATE trading_trades SET commission = 0 WHERE entry_order_id = %s",
        "trade",
        "commission",
    ),
    "a position's price": (
        "UPDATE trading_positions p SET avg_price = 1 FROM trading_trades t WHERE t.position_id = p.id AND t.entry_order_id = %s",
        "position",
        "avg_price",
    ),
}


def test_every_change_of_the_record_is_found(
    database: psycopg.Connection[Any], database_url: str, candle_file: Path
) -> None:
    new_bot(database, config(candle_file), 7)
    trade(database, 7, url=database_url)
    entries = [row for row in recorded(database, 7).orders if row["leg"] == "entry"]
    order = entries[5]
    for statement, kind, column in TAMPERINGS.values():
        with database.transaction(force_rollback=True):
            database.execute(statement, (order["client_order_id"],))
            [difference] = replay_of(database, 7).differences
            assert (difference.kind, difference.what, list(difference.fields)) == (kind, "different", [column])
            assert difference.key in (order["client_order_id"], f"{order['client_order_id']}-1")
            assert replay_of(database, 7, end=order["signal_at"]).differences == []
    with database.transaction(force_rollback=True):
        database.execute("DELETE FROM trading_fills WHERE client_order_id = %s", (order["client_order_id"],))
        [difference] = replay_of(database, 7).differences
        assert (difference.kind, difference.what) == ("fill", "missing")
        assert "changed or deleted" in difference.reason
    with database.transaction(force_rollback=True):
        database.execute(
            "INSERT INTO trading_orders (client_order_id, bot_id, epoch, symbol, signal_at, leg, side, type, quantity, "
            "state, reason) VALUES ('twice', 7, 1, 'ETHBTC', %s, 'entry2', 'buy', 'market', 1, 'filled', 'rsi')",
            (order["signal_at"],),
        )
        [difference] = replay_of(database, 7).differences
        assert (difference.kind, difference.what, difference.key) == ("order", "extra", "twice")
    with database.transaction(force_rollback=True):
        database.execute("UPDATE trading_checkpoints SET balance = balance + 1")
        [difference] = replay_of(database, 7).differences
        assert (difference.kind, list(difference.fields)) == ("checkpoint", ["balance"])
    # what the bot saw decides: a bar that never was gives other trades
    with database.transaction(force_rollback=True):
        database.execute(
            "UPDATE trading_bars SET low = low / 2, close = close / 2 WHERE bar_at = %s", (order["signal_at"],)
        )
        assert {"order", "fill", "trade", "bar"} <= {d.kind for d in replay_of(database, 7).differences}


def test_candles_stand_in_for_deleted_bars_and_show_revised_ones(
    database: psycopg.Connection[Any], database_url: str, candles: list[Candle], candle_file: Path
) -> None:
    new_bot(database, config(candle_file), 7)
    trade(database, 7, url=database_url)
    with database.transaction(force_rollback=True):
        database.execute("DELETE FROM trading_bars WHERE bar_at < %s", (candles[200].open_at,))
        assert replay_of(database, 7, candles=candles).differences == []
        with pytest.raises(ReplayImpossible, match="give these candles with --candles"):
            replay_of(database, 7)
    revised = [*candles[:99], Candle(candles[99].open_ms, *[candles[99].close] * 4, Decimal(1)), *candles[100:]]
    found = replay_of(database, 7, candles=revised)
    assert found.differences == []
    assert list(found.revised) == [candles[99].open_at]


def test_a_strategy_that_fails_is_replayed_to_the_end_and_told_of(
    database: psycopg.Connection[Any],
    database_url: str,
    candles: list[Candle],
    candle_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It ends a run; before, it ended the replay as well, so that nothing was compared."""
    mixin = ENTRY_MIXINS["RSIOrBBEntryMixin"]
    signal = mixin.signal

    def failing(self: Any) -> Any:
        if round(self.data.close[0] * 1e6) % 8 == 0:
            raise ValueError("no signal: password=hunter2hunter2")
        return signal(self)

    monkeypatch.setattr(mixin, "signal", failing)
    made = config(candle_file)
    new_bot(database, made, 7)
    assert trade(database, 7, url=database_url)
    done = backtested(made, candles, 7)
    assert not done.gave_up
    assert_equal(recorded(database, 7), done)
    found = replay_of(database, 7)
    assert found.differences == []
    assert list(found.failures) == list(done.failures)
    [failure] = done.failures
    assert failure.count > 20
    assert (failure.where, failure.type) == ("decide", "ValueError")
    assert failure.message == "no signal: password=***"

    monkeypatch.setattr(mixin, "signal", lambda self: 1 // 0)
    new_bot(database, made, 8)
    with pytest.raises(StrategyFailing):
        trade(database, 8, url=database_url)
    found = replay_of(database, 8)
    assert found.differences == []
    assert sum(one.count for one in found.failures) == 10
    assert backtested(made, candles, 8).gave_up


def test_a_bot_that_never_traded_says_so(database: psycopg.Connection[Any], candle_file: Path) -> None:
    new_bot(database, config(candle_file), 7)
    next_run(database, 7)
    with pytest.raises(NothingRecorded, match="bot 7 has no bars that can be replayed"):
        recorded(database, 7)
