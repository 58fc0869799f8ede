"""The owner's daily loss, in paper bots on a real PostgreSQL: what a bar closes counts for the entry of the same bar."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from botrunner.market.candle import Candle
from fleet.times import to_ms
from fleet.trading_service.tenants import set_limits
from tests.paper import new_bot, trade, write_candles

pytestmark = pytest.mark.postgres

D = Decimal
BEGIN_MS = to_ms(datetime(2018, 1, 10, 22, tzinfo=UTC))
BARS = 40
STOPPED_AT = 22
"""The bar after it, which closes at midnight, reaches the stop."""


@pytest.fixture
def database(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def config(file: Path) -> dict[str, Any]:
    return {
        "symbol": "ETHBTC",
        "broker": {
            "type": "binance",
            "trading_mode": "paper",
            "cash": 1000,
            "paper_trading_config": {"commission_rate": 0},
        },
        "strategy": {
            "type": "CustomStrategy",
            "parameters": {
                "entry_logic": {
                    "name": "RSIOrBBEntryMixin",
                    "params": {"rsi_oversold": 99.9, "rsi_period": 2, "bb_period": 2},
                },
                "exit_logic": {"name": "TimeBasedExitMixin", "params": {"max_bars": 1000}},
            },
        },
        "data": {"data_source": "file", "file_path": str(file), "interval": "5m", "lookback_bars": 50},
        "trading": {"position_size": 0.5},
        "risk_management": {"stop_loss_pct": 1},
    }


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Steady, but for one bar within which the price falls by 2 %."""
    candles = []
    for number in range(BARS):
        price, low = (D(100), D(100)) if number <= STOPPED_AT else (D(99), D(99))
        if number == STOPPED_AT + 1:
            low = D(97)
        candles.append(Candle(BEGIN_MS + number * 300_000, price, price, low, D(99) if low < price else price, D(10)))
    return write_candles(tmp_path / "ETH_BTC-5m.csv", candles)


def owned(database: psycopg.Connection[Any], bot_id: int, file: Path, *, owner: str) -> None:
    """A bot of an owner of its own, who may lose 5 BTC a day."""
    new_bot(database, config(file), bot_id)
    [(user_id,)] = database.execute("INSERT INTO users (name) VALUES (%s) RETURNING id", (owner,)).fetchall()
    database.execute("UPDATE trading_bots SET user_id = %s WHERE id = %s", (user_id, bot_id))
    set_limits(
        database,
        user_id=user_id,
        trade_type="paper",
        currency="BTC",
        max_exposure=None,
        max_open_positions=None,
        max_daily_loss=D(5),
    )


def rows(database: psycopg.Connection[Any], bot_id: int) -> dict[str, list[Any]]:
    queries = {
        "orders": "SELECT leg, state, signal_at, price FROM trading_orders WHERE bot_id = %s ORDER BY signal_at, leg",
        "trades": "SELECT entry_time, exit_time, net_pnl, status FROM trading_trades WHERE bot_id = %s ORDER BY 1",
        "denied": "SELECT bar_at, denied FROM trading_inputs WHERE bot_id = %s AND denied IS NOT NULL ORDER BY 1",
        "told": "SELECT kind, title FROM trading_notifications WHERE bot_id = %s AND kind = 'risk_breach'",
    }
    return {name: database.execute(query.encode(), (bot_id,)).fetchall() for name, query in queries.items()}


def test_a_bots_own_stop_counts_for_its_entry_at_the_same_bar_however_often_it_is_killed(
    database: psycopg.Connection[Any], database_url: str, file: Path
) -> None:
    owned(database, 7, file, owner="calm")
    owned(database, 8, file, owner="unlucky")
    assert trade(database, 7, url=database_url)
    whole = rows(database, 7)
    [(_, stopped_at, net_pnl, status)] = whole["trades"]
    assert (status, stopped_at, net_pnl) == ("closed", datetime(2018, 1, 11, tzinfo=UTC), -5)
    # refused from the stop's own bar on, for the rest of the day that begins with it
    assert [leg for leg, *_ in whole["orders"]] == ["entry", "stop_loss"]
    assert whole["denied"][0] == (stopped_at - timedelta(minutes=5), "tenant_max_daily_loss")
    assert len(whole["denied"]) == BARS - STOPPED_AT - 1
    assert len(whole["told"]) == 1

    kills = next(
        number
        for number in range(1, 200)
        if trade(database, 8, url=database_url, interrupt_at=3 + 5 * number, kill=True)
    )
    assert kills > 10
    assert rows(database, 8) == whole
