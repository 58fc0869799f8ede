"""`-o json` means one JSON document on stdout, whatever happens: every command that has it, in real processes.

What stands in the way: a database that isn't there, words nobody understands, files that are none, strategies that
print by every means there is, fail, never end, or end the process.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
import typer.main
import yaml
from psycopg.types.json import Jsonb

from botrunner.market.candle import Candle
from cli.main import app
from tests.integration.plugin_package import offer
from tests.integration.worker_process import CONFIG
from tests.paper import write_candles

REPOSITORY = Path(__file__).resolve().parents[2]
D = Decimal

LOUD = """
import atexit, ctypes, logging, os, subprocess, sys, threading, warnings
from botrunner.strategies.base import BaseStrategy, Signal, SignalKind

logging.getLogger().addHandler(logging.StreamHandler(sys.stdout))
keep = sys.stdout


def shout(when):
    print("NOISE print", when, flush=True)
    print("NOISE unflushed", when)
    sys.stdout.write("NOISE sys.stdout\\n")
    sys.__stdout__.write("NOISE sys.__stdout__\\n")
    keep.write("NOISE kept stdout\\n")
    os.write(1, b"NOISE descriptor\\n")
    libc = ctypes.CDLL(None)
    libc.puts(b"NOISE libc")
    libc.fflush(None)
    subprocess.run(["/bin/echo", "NOISE child"])
    os.system("echo NOISE system")
    logging.getLogger("loud").error("NOISE logging")
    warnings.warn("NOISE warning")
    thread = threading.Thread(target=lambda: print("NOISE thread"))
    thread.start()
    thread.join()


shout("import")
atexit.register(shout, "exit")


class Loud(BaseStrategy):
    bars = 0

    def decide(self, position):
        self.bars += 1
        if self.bars in (1, 7):
            shout("decide")
        if position is not None:
            return Signal(SignalKind.EXIT, "out") if position.bars_held >= 2 else None
        return Signal(SignalKind.ENTER, "in")


class Fails(Loud):
    def decide(self, position):
        signal = super().decide(position)
        if self.bars % 4 == 0:
            raise ValueError(f"no value \\x1b[31m password=hunter2hunter2")
        return signal


class FailsAlways(Loud):
    def decide(self, position):
        raise ZeroDivisionError("by zero")


class Dies(Loud):
    def __init__(self):
        raise KeyboardInterrupt("NOISE interrupt")
"""
NAMES = ("Loud", "Fails", "FailsAlways", "Dies")


class Done(NamedTuple):
    """How a process ended."""

    code: int
    out: str
    err: str

    def document(self, form: str = "json") -> Any:
        """What it printed; a ValueError if that isn't exactly one document."""
        return json.loads(self.out) if form == "json" else yaml.safe_load(self.out)


class Place(NamedTuple):
    """Files to run commands on."""

    folder: Path
    candles: Path

    def config(self, strategy: str) -> Path:
        file = self.folder / f"{strategy}.json"
        made = {
            "symbol": "ETHBTC",
            "broker": {"cash": 10},
            "strategy": {"type": strategy, "parameters": {}},
            "data": {"interval": "5m", "lookback_bars": 60},
        }
        file.write_text(json.dumps(made))
        return file

    def backtest(self, strategy: str, *more: str) -> tuple[str, ...]:
        return ("backtest", "-c", str(self.config(strategy)), "--candles", str(self.candles), "--market", "none", *more)

    def run(self, *words: str, url: str | None = None, limit_s: float = 240, **changed: Any) -> Done:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("BOTFLEET")}
        environment["PYTHONPATH"] = os.pathsep.join((str(REPOSITORY), str(self.folder / "site")))
        if url is not None:
            environment["BOTFLEET_DATABASE_URL"] = url
        done = subprocess.run(
            [sys.executable, "-m", "cli", *words],
            env=environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=limit_s,
            **changed,
        )
        return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("cli")
    (folder / "site").mkdir()
    offer(folder / "site", "loud", LOUD, strategies="\n".join(f"{name} = loud:{name}" for name in NAMES))
    rng, price, made = random.Random(5), D("0.1"), []
    for number in range(120):
        opened = price
        price = (price * (1 + D(rng.randint(-40, 40)) / 10_000)).quantize(D("0.000001"))
        high, low = max(opened, price), min(opened, price)
        made.append(Candle(1_515_560_100_000 + number * 300_000, opened, high, low, price, D(5)))
    return Place(folder, write_candles(folder / "ETH_BTC-5m.csv", made))


@pytest.fixture(scope="module")
def database(postgres_url: str) -> Iterator[str]:
    """A database with one bot that never ran."""
    head, name = postgres_url.rpartition("/")[0], f"cli_{os.getpid()}"
    with psycopg.connect(f"{head}/postgres", autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE botfleet")
        with psycopg.connect(f"{head}/{name}", autocommit=True) as connection:
            connection.execute(
                "INSERT INTO trading_bots (id, name, config) OVERRIDING SYSTEM VALUE VALUES (7, 'bot', %s)",
                (Jsonb(CONFIG),),
            )
        yield f"{head}/{name}"
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


COMMANDS: dict[str, tuple[str, ...]] = {
    "backtest": ("-c", "{config}", "--candles", "{candles}", "--market", "none"),
    "bots equity": ("7",),
    "bots errors": ("7",),
    "bots list": (),
    "bots performance": ("7",),
    "bots runs": ("7",),
    "bots trades": (),
    "config validate": ("{config}",),
    "limits list": (),
    "notify history": (),
    "notify list": (),
    "parity": ("7",),
    "strategies list": (),
    "strategies show": ("Loud",),
}
"""Every command with -o, and words that make it work."""

NO_DATABASE = ("backtest", "config", "strategies")
"""First words of those that need none."""


def with_output(command: Any, name: str = "") -> Iterator[str]:
    for word, one in getattr(command, "commands", {}).items():
        yield from with_output(one, f"{name} {word}".strip())
    if any("--output" in parameter.opts for parameter in command.params):
        yield name


def test_no_command_is_forgotten() -> None:
    assert set(with_output(typer.main.get_command(app))) == set(COMMANDS)


def words_of(command: str, place: Place) -> list[str]:
    known = {"config": str(place.config("Loud")), "candles": str(place.candles)}
    return [*command.split(), *(word.format(**known) for word in COMMANDS[command])]


@pytest.mark.postgres
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_prints_one_document_whatever_happens(place: Place, database: str, command: str) -> None:
    words = words_of(command, place)
    done = place.run(*words, "-o", "json", url=database)
    found = done.document()
    if command == "parity":
        # a bot that never ran: nothing to replay
        assert done.code == 1
        assert found["error"]["exit_code"] == 1
    else:
        assert done.code == 0, done.err
        assert "error" not in found
    away = "postgresql://nobody:secret-of-nobody@127.0.0.1:9/none?connect_timeout=2"
    if not command.startswith(NO_DATABASE):
        done = place.run(*words, "--output=yaml", url=away)
        assert done.code == 1
        error = done.document("yaml")["error"]
        assert error["message"] in done.err
        assert "secret-of-nobody" not in done.out + done.err
    done = place.run(*words, "--no-such-option", "-ojson")
    assert done.code == 2
    assert done.document()["error"].items() >= {"kind": "Usage", "exit_code": 2}.items()
    assert "--no-such-option" in done.document()["error"]["message"]
    assert "--no-such-option" in done.err


FILES: dict[str, tuple[bytes | None, str]] = {
    "missing": (None, "No such file"),
    "UTF-16": ("{}".encode("utf-16"), "is UTF-16"),
    "twice": (b'{\n"symbol": "A", "symbol": "B"}', "symbol is there twice, first in line 2"),
    "deep": (b"[" * 100_000, "levels deep"),
}


@pytest.mark.parametrize("case", FILES)
def test_files_that_are_none_at_every_door(place: Place, case: str) -> None:
    raw, why = FILES[case]
    file = place.folder / f"{case}.json"
    if raw is not None:
        file.write_bytes(raw)
    candles, good = ("--candles", str(place.candles), "-o", "json"), str(place.config("Loud"))
    doors = {
        "validate": ("config", "validate", str(file), "-o", "json"),
        "backtest": ("backtest", "-c", str(file), *candles),
        "market": ("backtest", "-c", good, "--market", str(file), *candles),
        "apply": ("bots", "apply", "-f", str(file)),
    }
    for door, words in doors.items():
        done = place.run(*words)
        assert done.code == 1, (door, done)
        assert "Traceback" not in done.err
        said = done.err
        if door == "validate":
            [error] = done.document()["errors"]
            assert error["file"] == str(file)
            said = error["message"]
        elif door != "apply":
            said = done.document()["error"]["message"]
            assert said.startswith(str(file))
        assert why in said, door


def test_a_file_without_end_is_not_read_to_its_end(place: Place) -> None:
    done = place.run("config", "validate", "/dev/zero", "-o", "json")
    assert done.code == 1
    assert "is longer than" in done.document()["errors"][0]["message"]


def test_a_folder_with_files_that_are_none_is_reported_whole(place: Place, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"name": "x", "name": "y"}')
    (tmp_path / "b.yaml").write_text("name: 010")
    for name in ("c.yml", "d.yml"):
        (tmp_path / name).write_text("name: same\nconfig: {}\n")
    done = place.run("bots", "apply", "-f", str(tmp_path))
    assert done.code == 1
    assert done.out == ""
    assert "nothing was applied" in done.err
    assert f"{tmp_path}/a.json:1:15: name is there twice, first in line 1" in done.err
    assert f"{tmp_path}/b.yaml:1:7: name: 010 begins with 0" in done.err
    assert f"{tmp_path}/d.yml: the bot same is in {tmp_path}/c.yml too" in done.err


@pytest.mark.parametrize("form", ["json", "yaml", "table"])
def test_what_a_strategy_prints_is_never_in_the_result(place: Place, form: str) -> None:
    done = place.run(*place.backtest("Loud", "-o", form))
    assert done.code == 0, done.err
    assert "NOISE" not in done.out
    for means in ("print import", "print decide", "print exit", "descriptor", "libc", "child", "system", "sys.stdout"):
        assert f"NOISE {means}" in done.err
    for means in ("kept stdout", "sys.__stdout__", "logging", "warning", "thread", "unflushed exit"):
        assert f"NOISE {means}" in done.err
    if form != "table":
        found = done.document(form)
        assert found["errors"] == []
        assert found["gave_up"] is False
        assert found["entries"]["filled"] == len(found["trades"]) + (found["open_trade"] is not None) > 10


def test_a_strategy_that_fails_is_told_of_everywhere(place: Place, tmp_path: Path) -> None:
    """Before, such a backtest ended with 0 and no word."""
    page = tmp_path / "plot.html"
    done = place.run(*place.backtest("Fails", "-o", "json", "--plot", str(page)))
    assert done.code == 4
    found = done.document()
    [error] = found["errors"]
    assert error["where"] == "decide"
    assert error["type"] == "ValueError"
    assert error["message"].startswith("no value")
    assert 20 < error["count"] <= 30
    assert error["first_at"] == "2018-01-10T05:10:00+00:00"
    assert "hunter2hunter2" not in done.out + done.err + page.read_text()
    assert "\x1b[31m password" not in done.err
    assert f"the strategy failed {error['count']} times" in done.err
    assert "The strategy failed</h2>" in page.read_text()
    table = place.run(*place.backtest("Fails"))
    assert table.code == 4
    assert "strategy errors" in table.out
    assert "ValueError: no value" in table.out


def test_a_strategy_that_always_fails_ends_the_backtest_where_a_bot_would_end(place: Place) -> None:
    done = place.run(*place.backtest("FailsAlways", "-o", "json"))
    assert done.code == 4
    found = done.document()
    assert found["gave_up"] is True
    assert [(one["type"], one["count"]) for one in found["errors"]] == [("ZeroDivisionError", 11)]
    assert found["trades"] == []
    assert "a bot would have given up there" in done.err


def test_a_strategy_that_takes_the_command_down_leaves_a_document(place: Place) -> None:
    done = place.run(*place.backtest("Dies", "-o", "json"))
    assert done.code != 0
    assert done.document()["error"]["exit_code"] == done.code


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_streams_that_are_closed(place: Place, closed: str) -> None:
    sign = ">&-" if closed == "stdout" else "2>&-"
    sample = REPOSITORY / "manifests" / "samples" / "eth-dip-fixed.json"
    words = f"{sys.executable} -m cli config validate {sample} -o json {sign}"
    done = subprocess.run(["/bin/sh", "-c", words], cwd=REPOSITORY, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    if closed == "stderr":
        assert json.loads(done.stdout)["valid"] is True


# --- packages that misbehave where nobody asked for them -----------------------------------------------------------

HANGS = "import time\nprint('NOISE', flush=True)\nwhile True:\n    time.sleep(1)\n"


def misbehaving(folder: Path) -> None:
    offer(folder, "hangs", HANGS, strategies="Hangs = hangs:Hangs", exit_mixins="HangsExit = hangs:Exit")
    offer(folder, "leaves", "import os\nos._exit(0)\n", entry_mixins="LeavesEntry = leaves:Entry")
    offer(folder, "crashes", "import ctypes\nctypes.string_at(0)\n", entry_mixins="CrashesEntry = crashes:Entry")
    offer(folder, "lacks", "import nowhere_to_be_found\n", strategies="Lacks = lacks:Lacks")
    offer(folder, "takes", "", exit_mixins="ATRExitMixin = takes:Exit")


def test_packages_that_hang_or_die_are_listed_with_the_reason_and_hold_up_nobody(place: Place, tmp_path: Path) -> None:
    misbehaving(tmp_path)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (REPOSITORY, place.folder / "site", tmp_path)))}

    def run(*words: str) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "cli", *words], env=environment, capture_output=True, text=True, timeout=280
        )
        return Done(done.returncode, done.stdout, done.stderr)

    started = time.monotonic()
    done = run("strategies", "list", "--timeout", "15", "-o", "json")
    assert time.monotonic() - started < 200
    assert done.code == 0
    rows: Sequence[dict[str, Any]] = done.document()
    left_out = {row["name"]: row["error"] for row in rows if "error" in row}
    assert left_out.keys() == {"Hangs", "HangsExit", "LeavesEntry", "CrashesEntry", "Lacks", "ATRExitMixin"}
    assert left_out["Hangs"] == "hangs: can't be imported within 15 s"
    assert left_out["LeavesEntry"] == "leaves: ended the process that imports it (exit code 0)"
    assert left_out["CrashesEntry"] == "crashes: ended the process that imports it (exit code -11)"
    assert "No module named 'nowhere_to_be_found'" in left_out["Lacks"]
    assert "belongs to a built-in one" in left_out["ATRExitMixin"]
    usable = {row["name"] for row in rows if "error" not in row}
    assert {"CustomStrategy", "ATRExitMixin", "Loud"} <= usable
    assert "can't be used: hangs: can't be imported within 1 s" in run("strategies", "list", "--timeout", "1").out

    # who doesn't name them doesn't meet them
    assert run("config", "validate", str(place.config("Loud"))).out == "valid\n"
    assert run("strategies", "show", "ATRExitMixin").code == 0
    assert run(*place.backtest("Loud", "-o", "json")).code == 0
    shown = run("strategies", "show", "hangsexit", "--timeout", "1", "-o", "json")
    assert shown.code == 1
    assert "hangs: can't be imported within 1 s" in shown.document()["error"]["message"]
    done = run("config", "validate", str(place.config("LeavesEntry")), "-o", "json")
    assert done.code == 1
