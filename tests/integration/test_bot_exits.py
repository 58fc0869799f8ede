"""How a real bot's process ends: at once when it is told to, wherever it is; and never as a release on its own."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.integration.faulty_bot import Bot, Connection
from tests.integration.plugin_package import offer

pytestmark = pytest.mark.postgres

BARS = 40
QUICKLY_S = 3.0
"""From SIGTERM to the end: half a second for the main loop, the release, and a machine that does other things too."""


@pytest.fixture
def database(database_url: str) -> Iterator[Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def candles(tmp_path: Path) -> Path:
    path = tmp_path / "ETH_BTC-5m.csv"
    rows = (f"{1_500_000_000_000 + 300_000 * number},10,11,9,10,5" for number in range(BARS))
    path.write_text("\n".join(["timestamp,open,high,low,close,volume", *rows]) + "\n")
    return path


@pytest.fixture
def bot(database: Connection, database_url: str, candles: Path) -> Iterator[Bot]:
    bot = Bot(database, database_url, candles)
    yield bot
    bot.close()


def told_to_stop(process: subprocess.Popen[bytes]) -> float:
    """SIGTERM; returns seconds to the end, which must be exit 0."""
    before = time.monotonic()
    process.terminate()
    assert process.wait(40) == 0
    return time.monotonic() - before


@pytest.mark.parametrize("attempt", range(3))
def test_a_storm_of_signals_ends_a_resting_bot(bot: Bot, attempt: int) -> None:
    process = bot.start()
    bot.wait("the last bar", lambda: bot.says("live"))
    for number in range(10_000):
        process.send_signal(signal.SIGTERM if number % 3 else signal.SIGINT)
    assert process.wait(QUICKLY_S) == 0
    assert bot.end()[:2] == ("released", 0)


def test_a_bot_that_is_importing_releases_at_once(bot: Bot) -> None:
    process = bot.start(AT_START="time.sleep(60)")
    bot.wait("the claim", lambda: bot.says("claimed"))
    assert told_to_stop(process) < QUICKLY_S
    assert bot.end()[:2] == ("released", 0)


@pytest.mark.parametrize("stuck", ["time.sleep(60)", "while True: pass", "threading.Event().wait()"])
def test_a_bot_whose_strategy_hangs_releases_at_once(bot: Bot, stuck: str) -> None:
    process = bot.start(AT_BAR=f"print('stuck', file=sys.stderr, flush=True)\n{stuck}")
    bot.wait("the hang", lambda: "stuck" in bot.log.read_text())
    assert told_to_stop(process) < QUICKLY_S
    assert bot.end()[:2] == ("released", 0)


@pytest.mark.parametrize("where", ["AT_BAR", "AT_START"])
def test_a_run_that_was_called_hung_and_hangs_has_failed(bot: Bot, database: Connection, where: str) -> None:
    process = bot.start(**{where: "print('stuck', file=sys.stderr, flush=True)\nthreading.Event().wait()"})
    bot.wait("the hang", lambda: "stuck" in bot.log.read_text())
    database.execute("UPDATE trading_runs SET stop_requested_at = clock_timestamp(), stop_reason = 'hung'")
    assert told_to_stop(process) < QUICKLY_S
    reason, _, message = bot.end()
    assert reason == "fenced_hung"
    assert message.startswith("its main loop made no progress and did not leave when asked to")
    told = database.execute("SELECT kind, title FROM trading_notifications WHERE dedupe_key = 'ended:1:1'").fetchone()
    assert told == ("bot_error", "Run 1 ended: fenced_hung")


def test_a_run_that_was_called_hung_and_leaves_has_not(bot: Bot, database: Connection) -> None:
    process = bot.start()
    bot.wait("the last bar", lambda: bot.says("live"))
    database.execute("UPDATE trading_runs SET stop_requested_at = clock_timestamp(), stop_reason = 'hung'")
    assert told_to_stop(process) < QUICKLY_S
    assert bot.end()[0] == "released"


def test_a_bot_whose_exchange_does_not_answer_releases_at_once(bot: Bot) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        bot.config["data"] = {"interval": "5m", "lookback_bars": 50}
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        process = bot.start(BOTFLEET_EXCHANGE_URLS=json.dumps({"binance": url}))
        silent.settimeout(60)
        with silent.accept()[0] as request:
            assert request.recv(10)  # it waits for the answer now
            assert told_to_stop(process) < QUICKLY_S
    assert bot.end()[:2] == ("released", 0)


def test_a_bot_that_waits_for_the_database_releases_at_once(bot: Bot, database_url: str) -> None:
    with psycopg.connect(database_url) as person:
        person.execute("LOCK TABLE trading_bars")
        process = bot.start()
        bot.wait("a commit that waits", lambda: bot.says("database_away"))
        assert told_to_stop(process) < QUICKLY_S
    assert bot.end()[:2] == ("released", 0)


@pytest.mark.parametrize(
    "leave",
    ["sys.exit(0)", "sys.exit()", "raise SystemExit", "raise KeyboardInterrupt", "raise GeneratorExit", "exit(3)"],
)
def test_a_strategy_that_tries_to_leave_at_a_bar_has_failed(bot: Bot, leave: str) -> None:
    assert bot.start(AT_BAR=leave).wait(60) == 1
    reason, code, message = bot.end()
    assert (reason, code) == ("failed", 1)
    assert "the strategy failed at 3 bars in a row" in message


@pytest.mark.parametrize("leave", ["sys.exit(0)", "raise KeyboardInterrupt"])
def test_a_strategy_that_tries_to_leave_at_its_start_has_failed(bot: Bot, leave: str) -> None:
    assert bot.start(AT_START=leave).wait(60) == 1
    reason, code, message = bot.end()
    assert (reason, code) == ("failed", 1)
    assert "tried to end the bot" in message


@pytest.mark.parametrize(
    "deed", ["os._exit(0)", "time.sleep(600)", "os.kill(os.getpid(), 9)", "raise KeyboardInterrupt"]
)
def test_a_package_that_is_deadly_to_import_harms_no_bot_that_does_not_use_it(
    bot: Bot, tmp_path: Path, deed: str
) -> None:
    offer(
        tmp_path / "site",
        "deadly",
        f"import os, time\n{deed}",
        strategies="A = deadly:A",
        entry_mixins="B = deadly:B",
        exit_mixins="C = deadly:C",
    )
    process = bot.start()
    bot.wait("the last bar", lambda: bot.says("live"))
    assert told_to_stop(process) < QUICKLY_S
    assert bot.end()[:2] == ("released", 0)


def test_threads_and_exit_handlers_of_a_strategy_neither_keep_the_process_nor_change_its_code(bot: Bot) -> None:
    process = bot.start(
        AT_START="threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "threading.Thread(target=sys.exit).start()\natexit.register(os._exit, 42)"
    )
    bot.wait("the last bar", lambda: bot.says("live"))
    assert told_to_stop(process) < QUICKLY_S
    assert bot.end()[:2] == ("released", 0)


@pytest.mark.parametrize("child", ["", "if not pid: sys.exit(0)", "if not pid: raise ValueError('copy')"])
@pytest.mark.parametrize("where", ["AT_BAR", "AT_START"])
def test_a_copy_that_a_strategy_forks_never_acts_as_the_bot(
    bot: Bot, database: Connection, where: str, child: str
) -> None:
    process = bot.start(**{where: f"pid = os.fork()\n{child}"})
    bot.wait("the last bar", lambda: bot.says("live"))
    query = "SELECT count(*) FROM trading_bars"
    bot.wait("all bars", lambda: database.execute(query).fetchone() == (BARS,))
    told = bot.log.read_text()
    assert "forked_copy_ended" in told
    assert "database_away" not in told  # a copy would have closed or garbled the session
    assert told_to_stop(process) < QUICKLY_S
    assert bot.end()[:2] == ("released", 0)


def test_a_heartbeat_survives_whatever_goes_wrong_in_it(bot: Bot, database: Connection) -> None:
    process = bot.start()
    bot.wait("the last bar", lambda: bot.says("live"))
    database.execute("ALTER TABLE trading_runs RENAME COLUMN progress_at TO progress")
    bot.wait("a heartbeat that fails", lambda: bot.says("heartbeat_failed"))
    database.execute("ALTER TABLE trading_runs RENAME COLUMN progress TO progress_at")
    query = "SELECT clock_timestamp() - heartbeat_at < interval '0.5 s' FROM trading_runs"
    bot.wait("a heartbeat", lambda: (database.execute(query).fetchone() or [False])[0])
    assert told_to_stop(process) < QUICKLY_S
