"""A package of strategies, built and installed for real: listed, validated, traded with; broken ones harm nobody."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.integration.plugin_package import REPOSITORY, offer

EXAMPLE = REPOSITORY / "docs" / "user" / "examples" / "candlekit"
BARS = 800
HISTORY = {
    "trading_orders": "client_order_id, signal_at, leg, side, price, quantity, state, filled_quantity, reason",
    "trading_trades": "direction, entry_time, exit_time, entry_price, exit_price, size, net_pnl, entry_logic_name, "
    "entry_logic_params, exit_logic_name, exit_reason, status",
    "trading_checkpoints": "last_bar_at, bars, balance, broker_state, strategy_state",
}


def environment(*folders: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (REPOSITORY, *folders))), **more}


# starting Python costs more than a command: one process runs several
RUN_ALL = """
import contextlib, io, json, sys
from cli.main import main
done = []
for arguments in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        sys.argv = ["botfleet", *arguments]
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
    done.append((code, out.getvalue(), err.getvalue()))
json.dump(done, sys.stdout)
"""


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def botfleet(*commands: tuple[str | Path, ...], folders: tuple[Path, ...] = ()) -> list[Done]:
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL],
        input=json.dumps([[str(word) for word in command] for command in commands]),
        env=environment(*folders),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return [Done(*one) for one in json.loads(done.stdout)]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example, built to a wheel and installed as in an image."""
    folder = tmp_path_factory.mktemp("site")
    install = ["uv", "pip", "install", "-q", "--no-deps", "--python", sys.executable, "--target", folder, EXAMPLE]
    done = subprocess.run([REPOSITORY / "hack" / "python.sh", *install], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def candles(candle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("candles") / "ETH_BTC-5m.csv"
    with (candle_folder / "ETH_BTC-5m.csv").open() as source:
        path.write_text("".join(islice(source, BARS + 1)))
    return path


def config(name: str, candles: Path) -> dict[str, Any]:
    made: dict[str, Any] = json.loads((EXAMPLE / name).read_text())
    made["data"] |= {"data_source": "file", "file_path": str(candles)}
    return made


# --- the command line ----------------------------------------------------------------------------------------------

NAMES = {"ChannelBreakout": "strategy", "EngulfingEntryMixin": "entry", "ProfitLockExitMixin": "exit"}


def test_the_package_is_listed_explained_and_judged_by_its_models(installed: Path, tmp_path: Path) -> None:
    made = json.loads((EXAMPLE / "patterns.json").read_text())
    made["strategy"]["parameters"]["exit_logic"]["params"] = {"triger": 0.1, "x_keep": 1}
    (tmp_path / "bad.json").write_text(json.dumps(made))
    listed, shown, breakout, patterns, bad = botfleet(
        ("strategies", "list", "-o", "json"),
        ("strategies", "show", "ProfitLockExitMixin"),
        ("config", "validate", EXAMPLE / "breakout.json"),
        ("config", "validate", EXAMPLE / "patterns.json"),
        ("config", "validate", tmp_path / "bad.json", "-o", "json"),
        folders=(installed,),
    )
    mine = {row["name"]: row for row in json.loads(listed.out) if row["name"] in NAMES}
    assert {name: row["kind"] for name, row in mine.items()} == NAMES
    period = mine["ChannelBreakout"]["parameters"]["entry_period"]
    assert period.items() >= {"type": "integer", "default": 20, "minimum": 2, "maximum": 500}.items()

    assert "Exit when a position that was `trigger` in profit" in shown.out
    assert '"name": "ProfitLockExitMixin"' in shown.out

    assert (breakout.code, breakout.out) == (patterns.code, patterns.out) == (0, "valid\n")

    params = "strategy.parameters.exit_logic.params"
    assert bad.code == 1
    assert json.loads(bad.out)["errors"] == [
        {"path": f"{params}.x_keep", "message": "must be less than 1.0, not 1", "hint": ""},
        {"path": f"{params}.triger", "message": "unknown key", "hint": "did you mean trigger?"},
    ]


def test_the_packages_own_tests_pass(installed: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, EXAMPLE / "tests"]
    done = subprocess.run(command, env=environment(installed), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout


def test_broken_packages_harm_nobody_and_say_what_is_wrong(installed: Path, tmp_path: Path) -> None:
    offer(
        tmp_path, "lacks_a_library", "import nowhere_to_be_found\n", entry_mixins="GapEntryMixin = lacks_a_library:Gap"
    )
    offer(tmp_path, "no_strategy", "Some = int\n", strategies="SomeStrategy = no_strategy:Some")
    offer(tmp_path, "ends", "raise SystemExit(0)\n", exit_mixins="EndsExitMixin = ends:Ends")
    offer(tmp_path, "same_name", "", strategies="ChannelBreakout = same_name:Breakout")
    offer(tmp_path, "built_in_name", "", exit_mixins="ATRExitMixin = built_in_name:ATR")

    made = json.loads((EXAMPLE / "patterns.json").read_text())
    made["strategy"]["parameters"]["entry_logic"] = {"name": "GapEntryMixin"}
    (tmp_path / "gap.json").write_text(json.dumps(made))

    listed, patterns, sample, twice, missing = botfleet(
        ("strategies", "list", "-o", "json"),
        ("config", "validate", EXAMPLE / "patterns.json"),
        ("config", "validate", REPOSITORY / "manifests" / "samples" / "rsi-atr-btc.json"),
        ("config", "validate", EXAMPLE / "breakout.json"),
        ("config", "validate", tmp_path / "gap.json"),
        folders=(installed, tmp_path),
    )
    rows = json.loads(listed.out)
    names = {row["name"] for row in rows if "error" not in row}
    assert {"EngulfingEntryMixin", "ATRExitMixin", "OnnxStrategy"} <= names
    left_out = {row["name"]: row["error"] for row in rows if "error" in row}
    assert left_out.keys() == {"GapEntryMixin", "SomeStrategy", "EndsExitMixin", "ChannelBreakout", "ATRExitMixin"}
    assert left_out["EndsExitMixin"].startswith("ends (ends:Ends): SystemExit")
    assert patterns.out == sample.out == "valid\n"

    assert 'strategy.type: strategy "ChannelBreakout" can\'t be used' in twice.out
    assert "candlekit" in twice.out
    assert "same_name" in twice.out
    assert "several packages offer this name" in twice.out

    assert 'entry_logic.name: entry mixin "GapEntryMixin" can\'t be used (lacks_a_library' in missing.out
    assert "No module named 'nowhere_to_be_found'" in missing.out


# --- real bots -----------------------------------------------------------------------------------------------------


@contextmanager
def bot(postgres_url: str, made: Mapping[str, Any]) -> Iterator[tuple[str, psycopg.Connection[Any]]]:
    """A database with one bot, number 7: order ids depend on it."""
    head, name = postgres_url.rpartition("/")[0], f"plugins_{os.getpid()}_{next(NUMBERS)}"
    with psycopg.connect(f"{head}/postgres", autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE botfleet")
        try:
            with psycopg.connect(f"{head}/{name}", autocommit=True) as database:
                database.execute(
                    "INSERT INTO trading_bots (id, name, enabled, config) OVERRIDING SYSTEM VALUE "
                    "VALUES (7, 'bot', true, %s)",
                    (Jsonb(made),),
                )
                yield f"{head}/{name}", database
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


NUMBERS = itertools.count()


def start(database: psycopg.Connection[Any], url: str, *folders: Path) -> subprocess.Popen[bytes]:
    """The bot's next run, after what the controller does when the last one ended."""
    database.execute(
        "UPDATE trading_runs SET ended_at = now(), exit_code = 137, exit_reason = 'failed' WHERE ended_at IS NULL"
    )
    row = database.execute(
        "INSERT INTO trading_runs (bot_id, epoch, config, config_version, controller, runtime, pod_name) "
        "SELECT id, 1 + (SELECT count(*) FROM trading_runs), config, config_version, 'test', 'process', 'test' "
        "FROM trading_bots RETURNING epoch"
    ).fetchone()
    assert row is not None
    return subprocess.Popen(
        [sys.executable, "-m", "botrunner", "--bot-id", "7", "--epoch", str(row[0])],
        env=environment(*folders, BOTFLEET_DATABASE_URL=url, BOTFLEET_LOG_LEVEL="ERROR"),
    )


def wait_for(database: psycopg.Connection[Any], bars: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while True:
        row = database.execute("SELECT bars FROM trading_checkpoints").fetchone()
        if row and row[0] >= bars:
            return
        assert process.poll() is None, f"the bot ended with {process.returncode}"
        assert time.monotonic() < deadline, f"{row} of {bars} bars after 60 s"
        time.sleep(0.005)


def traded(
    postgres_url: str, made: Mapping[str, Any], folder: Path, *, kills: tuple[int, ...] = ()
) -> dict[str, list[Any]]:
    """What the bot has done after all candles, killed after some."""
    with bot(postgres_url, made) as (url, database):
        for bars in kills:
            process = start(database, url, folder)
            wait_for(database, bars, process)
            process.send_signal(signal.SIGKILL)
            process.wait()
        process = start(database, url, folder)
        wait_for(database, BARS, process)
        process.terminate()
        assert process.wait(20) == 0
        return {
            table: sorted(database.execute(f"SELECT {columns} FROM {table}").fetchall(), key=repr)
            for table, columns in HISTORY.items()
        }


@pytest.mark.postgres
@pytest.mark.parametrize(("name", "kills"), [("breakout.json", ()), ("patterns.json", (450,))])
def test_the_package_trades_real_candles_and_survives_kills(
    installed: Path, candles: Path, postgres_url: str, name: str, kills: tuple[int, ...]
) -> None:
    made = config(name, candles)
    whole = traded(postgres_url, made, installed)
    trades = whole["trading_trades"]
    assert {trade[0] for trade in trades} == {"long", "short"}
    assert len(trades) > 10
    assert {trade[7] for trade in trades} <= set(NAMES)
    assert trades[0][8], "the parameters are part of a trade's record"
    if kills:
        assert traded(postgres_url, made, installed, kills=kills) == whole


@pytest.mark.postgres
def test_an_image_without_the_package_says_so(candles: Path, postgres_url: str) -> None:
    with bot(postgres_url, config("patterns.json", candles)) as (url, database):
        assert start(database, url).wait(60) == 2
        run = database.execute("SELECT exit_reason, error_message FROM trading_runs").fetchone()
    assert run is not None
    assert run[0] == "config_error"
    assert 'strategy.parameters.entry_logic.name: unknown entry mixin "EngulfingEntryMixin"' in run[1]
