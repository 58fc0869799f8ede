"""A bot that gives up with an open position, with real processes: closed once or held, told, and flat when it is back.

The strategy is a plugin whose exit mixin does what the config says at every bar in a position. Kills come where the
database makes a statement wait: before the closing is committed, and between it and the end of the process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from botrunner.backtest.parity import compare, replayed
from botrunner.strategies.registry import forget
from fleet.trading_service.db import connect
from fleet.trading_service.replays import recorded
from tests.integration.controller_process import REPOSITORY, Fleet, command_of
from tests.integration.plugin_package import offer

pytestmark = pytest.mark.postgres

BARS = 40
PLUGIN = """
import os, sys
from botrunner.strategies.mixins import EntryMixin, ExitMixin, enter

class OnceEntryMixin(EntryMixin):
    def signal(self):
        return enter("once")

class DeedExitMixin(ExitMixin):
    def __init__(self, strategy, params):
        super().__init__(strategy, params)
        exec(params.get("at_start", ""))

    def signal(self, position):
        said = {}
        exec(self.params["at_bar"], globals(), said)
        return said.get("answer")
"""
SLOW_AT = """
CREATE OR REPLACE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$;
CREATE TRIGGER slow BEFORE {when} ON {table} FOR EACH ROW WHEN ({which}) EXECUTE FUNCTION slow();
"""
WHILE_CLOSING = {"when": "INSERT", "table": "trading_orders", "which": "NEW.leg = 'flatten'"}
AFTER_CLOSING = {"when": "UPDATE", "table": "trading_runs", "which": "NEW.exit_reason = 'gave_up'"}


class World:
    """One bot with the plugin, its database, and runs of it by hand or by a controller."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self.database = psycopg.connect(url, autocommit=True)
        self.fleet: Fleet | None = None
        offer(
            folder / "site",
            "deeds",
            PLUGIN,
            entry_mixins="Once = deeds:OnceEntryMixin",
            exit_mixins="Deed = deeds:DeedExitMixin",
        )
        rows = (f"{1_500_000_000_000 + 300_000 * n},{10 + n},{11 + n},{9 + n},{10 + n},5" for n in range(BARS))
        self.candles = folder / "ETH_BTC-5m.csv"
        self.candles.write_text("\n".join(["timestamp,open,high,low,close,volume", *rows]) + "\n")

    def config(self, at_bar: str, on_failure: str | None = None, **exit_params: Any) -> dict[str, Any]:
        return {
            "symbol": "ETHBTC",
            "broker": {"type": "binance", "trading_mode": "paper", "cash": 10},
            "strategy": {
                "type": "CustomStrategy",
                "parameters": {
                    "entry_logic": {"name": "Once"},
                    "exit_logic": {"name": "Deed", "params": {"at_bar": at_bar, **exit_params}},
                },
            },
            "data": {"data_source": "file", "file_path": str(self.candles), "interval": "5m", "lookback_bars": 50},
            "trading": {} if on_failure is None else {"on_failure": on_failure},
            # of all switches none silences what is critical
            "notifications": {"position_closed": False, "error_notifications": False, "bot_events": False},
        }

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PYTHONPATH": os.pathsep.join((str(REPOSITORY), str(self.folder / "site"))),
            "BOTFLEET_STRATEGY_ERRORS_IN_A_ROW": "3",
        }

    def add(self, config: dict[str, Any]) -> None:
        self.database.execute(
            "INSERT INTO trading_bots (id, name, enabled, config) OVERRIDING SYSTEM VALUE VALUES (1, 'b', true, %s)",
            (Jsonb(config),),
        )

    @contextmanager
    def run(self, *, closes_out: bool = False) -> Iterator[subprocess.Popen[bytes]]:
        """A run of the bot as a controller would start it."""
        row = self.database.execute(
            "INSERT INTO trading_runs (bot_id, epoch, config, config_version, controller, runtime, pod_name, closes_out) "
            "SELECT id, 1 + (SELECT count(*) FROM trading_runs), config, config_version, 'test', 'process', 'p', %s "
            "FROM trading_bots RETURNING epoch",
            (closes_out,),
        ).fetchone()
        assert row is not None
        with (self.folder / "bot.log").open("ab") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "botrunner", "--bot-id", "1", "--epoch", str(row[0])],
                env={**os.environ, "BOTFLEET_DATABASE_URL": self.url, **self.environment},
                stderr=stderr,
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def ended(self, **how: bool) -> str:
        """Run to the end; why it ended."""
        with self.run(**how) as process:
            process.wait(60)
        return self.reasons()[-1]

    def killed(self, when: dict[str, str], **how: bool) -> None:
        """Run until a statement hangs, then SIGKILL; the run's end is recorded as a controller would."""
        self.slow_at(when)
        with self.run(**how):
            self.until("a statement that hangs", self.hangs)
        self.relieve()
        self.database.execute(
            "UPDATE trading_runs SET ended_at = now(), exit_reason = 'failed', exit_code = 137 WHERE ended_at IS NULL"
        )

    def slow_at(self, when: dict[str, str]) -> None:
        self.database.execute(SLOW_AT.format(**when).encode())

    def hangs(self) -> bool:
        return bool(self.one("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"))

    def relieve(self) -> None:
        self.database.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
        self.database.execute("DROP FUNCTION slow() CASCADE")

    def until(self, what: str, holds: Callable[[], Any], within_s: float = 90) -> None:
        deadline = time.monotonic() + within_s
        while not holds():
            assert time.monotonic() < deadline, f"no {what}: {self.log()[-4000:]}"
            time.sleep(0.05)

    def log(self) -> str:
        bot = self.folder / "bot.log"
        return (bot.read_text() if bot.exists() else "") + (self.fleet.logs() if self.fleet else "")

    def one(self, query: str) -> Any:
        row = self.database.execute(query.encode()).fetchone()
        return None if row is None else row[0]

    def reasons(self) -> list[str]:
        return [row[0] for row in self.database.execute("SELECT exit_reason FROM trading_runs ORDER BY epoch")]

    def trades(self) -> list[tuple[Any, ...]]:
        return self.database.execute("SELECT status, exit_reason FROM trading_trades ORDER BY signal_at").fetchall()

    def alarms(self) -> list[str]:
        """Titles of what is critical, to be delivered."""
        return [
            row[0]
            for row in self.database.execute(
                "SELECT title FROM trading_notifications WHERE severity = 'critical' AND state = 'pending' ORDER BY id"
            )
        ]

    def closed_once(self) -> None:
        assert self.trades() == [("closed", "flatten_on_failure")]
        assert self.one("SELECT count(*) FROM trading_fills") == 2
        assert self.one("SELECT count(*) FROM trading_positions WHERE status = 'open'") == 0
        # the close of the last committed bar: the candle's number plus 10
        last = self.one("SELECT (extract(epoch FROM last_bar_at)::bigint - 1500000000) / 300 FROM trading_checkpoints")
        assert self.one("SELECT exit_price FROM trading_trades") == 10 + last
        assert self.one("SELECT count(*) FROM trading_notifications WHERE title LIKE 'Gave up and closed%'") == 1

    def same_in_a_replay(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.syspath_prepend(str(self.folder / "site"))
        forget()
        with connect(self.url, application="test") as connection:
            record = recorded(connection, 1)
        try:
            assert compare(record, replayed(record)).differences == []
        finally:
            monkeypatch.undo()
            forget()

    def close(self) -> None:
        if self.fleet is not None:
            self.fleet.close()
        self.database.close()


@pytest.fixture
def world(database_url: str, tmp_path: Path) -> Iterator[World]:
    world = World(database_url, tmp_path)
    yield world
    world.close()


# --- a strategy that fails at every bar ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "deed", ["1/0", "answer = float('nan')", "sys.exit()"], ids=["raises", "answers NaN", "leaves"]
)
def test_a_spent_budget_closes_the_position(world: World, deed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world.add(world.config(deed))
    assert [world.ended() for _ in range(3)] == ["failed", "gave_up", "gave_up"]
    world.closed_once()
    assert [title.partition(" 0")[0] for title in world.alarms()] == ["Gave up and closed"]
    world.same_in_a_replay(monkeypatch)


@pytest.mark.parametrize("when", [WHILE_CLOSING, AFTER_CLOSING], ids=["while closing", "after closing"])
def test_killed_around_the_closing_it_is_closed_once(world: World, when: dict[str, str]) -> None:
    world.add(world.config("1/0"))
    assert world.ended() == "failed"
    world.killed(when)
    closed = world.trades()[0][0] == "closed"
    assert closed is (when is AFTER_CLOSING)
    assert world.ended() == "gave_up"
    world.closed_once()


def test_told_to_hold_it_holds(world: World) -> None:
    world.add(world.config("1/0", on_failure="hold"))
    assert [world.ended() for _ in range(2)] == ["failed", "gave_up"]
    assert world.trades() == [("open", None)]
    assert "nobody watches it" in world.one("SELECT error_message FROM trading_runs ORDER BY epoch DESC LIMIT 1")


@pytest.mark.parametrize("when", [None, WHILE_CLOSING, AFTER_CLOSING], ids=["undisturbed", "while closing", "after"])
def test_a_run_that_is_to_close_a_position_touches_no_strategy(world: World, when: dict[str, str] | None) -> None:
    world.add(world.config("os._exit(0)"))
    with world.run() as process:
        assert process.wait(60) == 0
    world.database.execute("UPDATE trading_runs SET ended_at = now(), exit_reason = 'failed'")
    assert world.trades() == [("open", None)]
    # from here on the package can't even be imported without an end of the process
    (world.folder / "site" / "deeds.py").write_text("import os; os._exit(9)")
    if when is not None:
        world.killed(when, closes_out=True)
    assert world.ended(closes_out=True) == "gave_up"
    world.closed_once()


# --- with a controller ---------------------------------------------------------------------------------------------


def controlled(world: World) -> Fleet:
    """A controller with the real bot's program, at a pace that a busy machine keeps."""
    pace = {
        "BOTFLEET_BOT_COMMAND": '["python", "-m", "botrunner"]',
        "BOTFLEET_HEARTBEAT_INTERVAL_S": "1",
        "BOTFLEET_T_STOP_S": "6",
        "BOTFLEET_T_DEAD_S": "25",
        "BOTFLEET_HUNG_AFTER_S": "20",
        "BOTFLEET_CLAIM_DEADLINE_S": "60",
    }
    world.fleet = Fleet(world.url, world.folder, **(world.environment | pace))
    world.fleet.start()
    return world.fleet


def process_of(fleet: Fleet) -> int:
    """The process of the bot's newest run."""
    epoch = str(fleet.runs(1)[-1]["epoch"]).encode()
    pids = [json.loads(file.read_text())["pid"] for file in (fleet.folder / "state" / "runs").glob("*.json")]
    (found,) = [pid for pid in pids if command_of(pid).split(b"\0")[-2:-1] == [epoch]]
    return int(found)


def given_up(world: World) -> None:
    world.until("disabled bot", lambda: world.one("SELECT status FROM trading_bots") == "disabled", within_s=150)


def test_of_a_bot_that_dies_again_and_again_the_last_run_closes_the_position(world: World) -> None:
    """Its strategy ends the process at once: no run can notice that it is the last one, so it is told."""
    world.slow_at(AFTER_CLOSING)
    world.add(world.config("os._exit(0)"))
    fleet = controlled(world)
    world.until("a closing run", world.hangs, within_s=150)
    os.kill(process_of(fleet), 9)  # closed, and not yet ended
    world.relieve()
    given_up(world)
    assert world.reasons()[:6] == ["failed"] * 6
    assert [run["closes_out"] for run in fleet.runs(1)] == [False] * 6 + [True] * (len(fleet.runs(1)) - 6)
    world.closed_once()
    assert [title.partition(" 0")[0] for title in world.alarms()] == [
        "Gave up and closed",
        "Given up after too many failures",
    ]
    assert "A POSITION IS OPEN" not in world.one(
        "SELECT body FROM trading_notifications WHERE kind = 'bot_disabled' ORDER BY id DESC"
    )
    # mended and switched on again it begins flat
    world.database.execute("UPDATE trading_bots SET config = %s", (Jsonb(world.config("pass")),))
    world.until("all bars", lambda: world.one("SELECT bars FROM trading_checkpoints") == BARS)
    assert [status for status, _ in world.trades()] == ["closed", "open"]


def test_a_bot_that_is_told_to_hold_is_given_up_with_its_position_and_the_alarm_says_so(world: World) -> None:
    world.add(world.config("1/0", on_failure="hold"))
    controlled(world)
    given_up(world)
    assert world.reasons() == ["failed", "gave_up"]
    assert world.trades() == [("open", None)]
    assert world.alarms() == ["Given up after too many failures"]
    assert "A POSITION IS OPEN" in world.one("SELECT body FROM trading_notifications WHERE severity = 'critical'")


def test_a_config_that_can_not_be_run_holds_the_position_and_alarms(world: World) -> None:
    """Somebody's edit is mended by another one: nothing is sold because of a typing error."""
    world.add(world.config("pass"))
    fleet = controlled(world)
    world.until("all bars", lambda: world.one("SELECT bars FROM trading_checkpoints") == BARS)
    assert world.trades() == [("open", None)]
    world.database.execute("UPDATE trading_bots SET config = jsonb_set(config, '{symbol}', '7')")
    world.until("the rejection", lambda: world.one("SELECT status FROM trading_bots") == "error")
    assert world.alarms() == [], "the run of the last valid config watches it"
    os.kill(process_of(fleet), 9)
    world.until("the alarm", world.alarms)
    assert world.alarms() == ["The config is rejected and a position is open: nobody watches it"]
    assert world.trades() == [("open", None)]
    world.database.execute("UPDATE trading_bots SET config = %s", (Jsonb(world.config("pass")),))
    world.until("a next run", lambda: fleet.running(1))
    assert world.trades() == [("open", None)]
