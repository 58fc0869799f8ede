"""What changed in a running bot's notifications and limits reaches everything that it does from then on."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from botrunner.market.candle import Candle
from tests.integration.faulty_bot import Bot
from tests.paper import new_bot, trade, write_candles

pytestmark = pytest.mark.postgres

Connection = psycopg.Connection[Any]

BARS = 120
SIGN = 90
"""The sign of life at which the change arrives: there is at least one per bar."""

SLOW_PLUGIN = """
import time
from botrunner.strategies.mixins import EntryMixin

time.sleep(4)

class FaultyEntryMixin(EntryMixin):
    def signal(self):
        return None
"""


@pytest.fixture
def database(database_url: str) -> Iterator[Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def candles(tmp_path: Path) -> Path:
    """Every third close is low: the bot enters there, and its time is over a bar later."""
    prices = [Decimal(90 if number % 3 == 0 else 100) for number in range(BARS)]
    return write_candles(
        tmp_path / "ETH_BTC-5m.csv",
        [Candle(1_500_000_000_000 + 300_000 * n, p, p, p, p, Decimal(50)) for n, p in enumerate(prices)],
    )


def config(candles: Path, notifications: dict[str, Any]) -> dict[str, Any]:
    logic = {
        "entry_logic": {"name": "RSIOrBBEntryMixin", "params": {"rsi_period": 2, "bb_period": 2, "bb_dev": 1.0}},
        "exit_logic": {"name": "TimeBasedExitMixin", "params": {"max_bars": 1}},
    }
    return {
        "symbol": "ETHBTC",
        "broker": {"type": "binance", "trading_mode": "paper", "cash": 1000},
        "strategy": {"type": "CustomStrategy", "parameters": logic},
        "data": {"data_source": "file", "file_path": str(candles), "interval": "5m", "lookback_bars": 50},
        "notifications": notifications,
    }


def told(database: Connection) -> list[tuple[str, str]]:
    """Kind and state of what the trades told, oldest first."""
    return database.execute(
        "SELECT kind, state FROM trading_notifications WHERE kind LIKE 'position_%' ORDER BY id"
    ).fetchall()


SWITCHES = {"position_opened": True, "position_closed": True}
SILENT = dict.fromkeys(SWITCHES, False)


@pytest.mark.parametrize(
    ("before", "after", "states"),
    [(SILENT, SWITCHES, ["suppressed", "pending"]), (SWITCHES, SILENT, ["pending", "suppressed"])],
    ids=["switched on", "switched off"],
)
def test_a_switch_reaches_a_running_bots_trades(
    database: Connection,
    database_url: str,
    candles: Path,
    before: dict[str, bool],
    after: dict[str, bool],
    states: list[str],
) -> None:
    new_bot(database, config(candles, before), 7)
    change = {"notifications": after}
    assert trade(database, 7, url=database_url, limits={SIGN: change})
    found = told(database)
    assert {kind for kind, _ in found} == set(SWITCHES)
    changes = [state for number, (_, state) in enumerate(found) if number == 0 or state != found[number - 1][1]]
    assert changes == states
    counted = [sum(state == wanted for _, state in found) for wanted in states]
    assert min(counted) > 10


def test_limits_that_come_while_a_bot_loads_are_not_lost(
    database: Connection, database_url: str, candles: Path
) -> None:
    bot = Bot(database, database_url, candles)
    (candles.parent / "site" / "faulty.py").write_text(SLOW_PLUGIN)
    try:
        bot.start()
        bot.wait("the claim", lambda: bot.says("claimed"))
        database.execute("UPDATE trading_runs SET limits = %s", (Jsonb({"risk_management": {"max_daily_trades": 1}}),))
        bot.wait("the last bar", lambda: bot.says("live"))
        assert bot.says("limits_changed")
    finally:
        bot.close()
