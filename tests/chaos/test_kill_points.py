"""Every point between two statements is a point to die at: before each, and after each but before its commit.

The bot in this process is the real one from the claim on, with the real ledger on real PostgreSQL. All that it does to
the world is SQL, so a death anywhere else is a death at one of these points.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from botrunner.assembly import Bot
from botrunner.ledger.ledger import Ledger
from botrunner.process.fence import Deadlines, Fence
from botrunner.process.progress import Progress
from botrunner.process.stop import StopRequest, StopSwitch
from botrunner.settings import Settings
from botrunner.trading.state import BarOutcome
from fleet.states import ExitReason
from fleet.trading_service.db import connect
from fleet.trading_service.lease import RunId, claim
from tests.chaos.crash import HISTORY, shorten
from tests.paper import alone
from tests.support import FakeClock

pytestmark = pytest.mark.postgres

BARS = 8
BOT = 7


class Killed(BaseException):
    """Stands for SIGKILL: nothing may catch it."""


class KillPoint:
    """Counts the points of a run; raises Killed at the chosen one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.passed = 0
        self.at: int | None = None
        execute = psycopg.Cursor.execute

        def watched(cursor: Any, query: Any, *rest: Any, **options: Any) -> Any:
            if not cursor.connection.info.get_parameters().get("application_name", "").startswith("bot-"):
                return execute(cursor, query, *rest, **options)
            self._pass()
            done = execute(cursor, query, *rest, **options)
            self._pass()
            return done

        monkeypatch.setattr(psycopg.Cursor, "execute", watched)

    def _pass(self) -> None:
        self.passed += 1
        if self.passed == self.at:
            raise Killed


def config(candles: Path) -> dict[str, Any]:
    logic = {
        "entry_logic": {"name": "RSIOrBBEntryMixin", "params": {"rsi_period": 3, "bb_period": 3, "rsi_oversold": 60}},
        "exit_logic": {"name": "ATRExitMixin", "params": {"atr_period": 2, "sl_multiplier": 0.3}},
    }
    return {
        "symbol": "ETHBTC",
        "broker": {"cash": 10, "paper_trading_config": {"fill_price": "next_open"}},
        "strategy": {"parameters": logic},
        "data": {
            "data_source": "file",
            "file_path": str(candles / "ETH_BTC-5m.csv"),
            "interval": "5m",
            "lookback_bars": 50,
        },
        "risk_management": {"stop_loss_pct": 0.4, "take_profit_pct": 0.8, "max_daily_trades": 4},
    }


def run_once(url: str, stop: StopSwitch) -> None:
    """What the controller and a fresh process do: end what was, start the next epoch, claim, trade."""
    with psycopg.connect(url, autocommit=True) as database:
        database.execute(
            "UPDATE trading_runs SET ended_at = now(), exit_reason = 'failed' WHERE bot_id = %s AND ended_at IS NULL",
            (BOT,),
        )
        row = database.execute(
            "INSERT INTO trading_runs (bot_id, epoch, config, config_version, controller, runtime, pod_name) "
            "SELECT id, 1 + (SELECT count(*) FROM trading_runs WHERE bot_id = b.id), config, 1, 'test', 'process', 'p' "
            "FROM trading_bots b WHERE id = %s RETURNING epoch",
            (BOT,),
        ).fetchone()
    assert row is not None
    run, clock = RunId(BOT, row[0], f"token-{row[0]}"), FakeClock()
    with connect(url, application="claims") as connection:
        claimed = claim(connection, run)
    settings = Settings(
        database_url=url, exchange_urls={}, deadlines=Deadlines(), log_level="INFO", log_format="json", node=None
    )
    bot = Bot(
        settings=settings, run=run, claimed=claimed, fence=Fence(settings.deadlines, claimed_at=clock.monotonic()),
        progress=Progress(clock), stop=stop, clock=clock, on_live=lambda: None, rate_limit_of=alone(run),
    )  # fmt: skip
    bot.trade()


def history(url: str) -> dict[str, list[str]]:
    tables = {**HISTORY, "trading_notifications": "kind, title, body, facts, dedupe_key"}
    with psycopg.connect(url) as database:
        return {
            table: sorted(repr(row) for row in database.execute(f"SELECT {columns} FROM {table}"))
            for table, columns in tables.items()
        }


def forget(url: str) -> None:
    with psycopg.connect(url) as database:
        for table in (
            "trading_notifications", "trading_fills", "trading_trades", "trading_positions", "trading_orders",
            "trading_bars", "trading_equity",
            "trading_checkpoints", "tenant_reservations", "trading_inputs", "trading_runs",
        ):  # fmt: skip
            database.execute(f"DELETE FROM {table}")


@pytest.fixture
def stop_at_the_end(monkeypatch: pytest.MonkeyPatch) -> Callable[[], StopSwitch]:
    """A switch that is set when the last candle is committed."""
    switch = StopSwitch()
    commit = Ledger.commit

    def committed(ledger: Ledger, outcome: BarOutcome) -> None:
        commit(ledger, outcome)
        if outcome.bars >= BARS:
            switch.request(StopRequest(ExitReason.STOPPED, urgent=True))

    monkeypatch.setattr(Ledger, "commit", committed)
    monkeypatch.setattr("botrunner.engine.strategy_instance.return_free_memory", lambda: None)

    def fresh() -> StopSwitch:
        nonlocal switch
        switch = StopSwitch()
        return switch

    return fresh


def test_death_at_every_statement(
    database_url: str,
    candle_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stop_at_the_end: Callable[[], StopSwitch],
) -> None:
    shorten(candle_folder, tmp_path, BARS)
    with psycopg.connect(database_url) as database:
        database.execute(
            "INSERT INTO trading_bots (id, name, enabled, config) OVERRIDING SYSTEM VALUE VALUES (%s, 'b', true, %s)",
            (BOT, Jsonb(config(tmp_path))),
        )
    point = KillPoint(monkeypatch)
    run_once(database_url, stop_at_the_end())
    expected, points = history(database_url), point.passed
    assert len(expected["trading_trades"]) >= 2
    for at in range(1, points + 1):
        forget(database_url)
        point.passed, point.at = 0, at
        with pytest.raises(Killed):
            run_once(database_url, stop_at_the_end())
        point.at = None
        run_once(database_url, stop_at_the_end())
        assert history(database_url) == expected, f"killed at point {at} of {points}"
    print(f"{points} points")
