"""Programs end within their bound, whatever hangs: real processes, a real PostgreSQL that is locked or frozen."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg
import pytest

from cli.embedded import EmbeddedPostgres, free_port
from controller import runner as controller_runner
from controller.act.runtime.process import ProcessRuntime, StateFolder
from controller.decide.podspec import PodRequest
from controller.metrics import Metrics
from controller.observe.pods import PodStore
from fleet.migrations import upgrade
from fleet.trading_service.db import Pool
from tests.integration.controller_process import FAST, REPOSITORY, Fleet
from tests.integration.worker_process import worker
from worker import runner as worker_runner

pytestmark = pytest.mark.postgres

SLACK_S = 3.0
"""For the exit of the interpreter on a busy machine."""

SLEEPER = json.dumps(["sh", "-c", "sleep 600", "bot"])
"""A bot that costs nothing and never claims."""


def test_the_limits_of_all_steps_fit_into_the_bound() -> None:
    it = controller_runner
    steps = (it.CANCEL_S, it.RUNTIME_CLOSE_S, it.RELEASE_S, it.STORE_CLOSE_S, it.PROBES_STOP_S)
    assert sum(steps) < it.BOUND_S
    him = worker_runner
    assert him.CANCEL_S + him.STOP_S + 1 + 2 * him.CLOSE_S + him.PROBES_STOP_S < him.BOUND_S


async def test_no_instant_drops_a_cancellation_while_a_connection_is_waited_for(database_url: str) -> None:
    """Cancelled `loops` loops of the loop after the pool's only connection became free."""
    went_on: dict[int, bool] = {}
    for loops in range(14):
        pool, freed = Pool(database_url, application="test", connections=1), asyncio.Event()
        await pool.open()

        async def hold(pool: Pool = pool, freed: asyncio.Event = freed) -> None:
            async with pool.connection() as connection:
                await connection.execute("SELECT 1")
                await freed.wait()

        async def wait(pool: Pool = pool) -> None:
            async with pool.connection() as connection:
                await connection.execute("SELECT 1")
            await asyncio.sleep(3600)

        holder = asyncio.create_task(hold())
        while not pool._pool.get_stats().get("requests_num"):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        waiter = asyncio.create_task(wait())
        while not pool._pool.get_stats().get("requests_queued", 0):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        freed.set()
        for _ in range(loops):
            await asyncio.sleep(0)
        waiter.cancel()
        await asyncio.wait([waiter], timeout=2)
        went_on[loops] = not waiter.done()
        for task in (holder, waiter):
            task.cancel()
        await asyncio.wait([holder, waiter])
        await pool.close()
    assert went_on == dict.fromkeys(range(14), False)


@pytest.fixture
def fleet(database_url: str, tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(database_url, tmp_path, BOTFLEET_BOT_COMMAND=SLEEPER, BOTFLEET_CLAIM_DEADLINE_S="1")
    yield fleet
    end_sleepers(fleet)
    fleet.close()


def end_sleepers(fleet: Fleet) -> None:
    for file in (fleet.folder / "state" / "runs").glob("*.json"):
        pid = json.loads(file.read_text())["pid"]
        if psutil.pid_exists(pid) and "sleep 600" in " ".join(psutil.Process(pid).cmdline()):
            os.killpg(pid, signal.SIGKILL)


def asked(process: subprocess.Popen[bytes], *, within_s: float) -> tuple[int, float]:
    """SIGTERM; returns the exit code and how long it took."""
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    return process.wait(within_s), time.monotonic() - began


def answer(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=2) as response:
            return response.status, response.read().decode().strip()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode().strip()
    except OSError as error:
        return 0, repr(error)


@pytest.mark.parametrize("loop", range(3))
def test_sigterm_under_load_with_locked_tables(fleet: Fleet, loop: int) -> None:
    """Many bots want a worker, the workers want connections, and the tables are locked."""
    controller = fleet.start(BOTFLEET_DATABASE_CONNECTIONS="3", BOTFLEET_WORKERS="24")
    fleet.wait(lambda: "rows_listening" in fleet.logs())
    for number in range(80):
        fleet.add_bot(f"bot {number}")
    with psycopg.connect(fleet.url) as person:
        time.sleep(0.2 + 0.15 * loop)
        person.execute("LOCK TABLE trading_bots, trading_runs IN ACCESS EXCLUSIVE MODE")
        time.sleep(1)
        code, took_s = asked(controller, within_s=controller_runner.BOUND_S + SLACK_S)
        person.rollback()
    assert code == 0, fleet.logs()[-4000:]
    assert took_s < controller_runner.CANCEL_S + SLACK_S
    before, said, after = fleet.logs().partition('"stopping"')
    assert said, before[-2000:]
    assert "sync_failed" not in after
    holder = fleet.connection.execute("SELECT holder FROM controller_shards").fetchone()
    assert holder == {"holder": None}


@pytest.fixture
def frozen(tmp_path: Path) -> Iterator[tuple[str, list[psutil.Process]]]:
    """A server of the test's own, and its processes, to be stopped by SIGSTOP: it accepts and never answers."""
    server = EmbeddedPostgres(data=tmp_path / "pg" / "data", port=free_port(), durable=False)
    with server.start() as running:
        upgrade(running.url)
        processes: list[psutil.Process] = []
        yield running.url, processes
        thaw(processes)


@contextmanager
def at_rest(fleet: Fleet) -> Iterator[Fleet]:
    try:
        yield fleet
    finally:
        end_sleepers(fleet)
        fleet.close()


def freeze(url: str, processes: list[psutil.Process]) -> None:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT pg_backend_pid()").fetchone()
    assert row is not None
    port = url.rpartition(":")[2].partition("/")[0]
    found = [p for p in psutil.process_iter(["cmdline"]) if "-p" in (p.info["cmdline"] or []) and port in p.cmdline()]
    assert len(found) == 1
    processes += [found[0], *found[0].children(recursive=True)]
    for process in processes:
        process.suspend()


def thaw(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.resume()


def test_a_database_that_never_answers(frozen: tuple[str, list[psutil.Process]], tmp_path: Path) -> None:
    """The controller lives on without it, and ends within the bound, or at once at a second signal."""
    url, processes = frozen
    with at_rest(Fleet(url, tmp_path, BOTFLEET_BOT_COMMAND=SLEEPER)) as fleet:
        ports = [free_port(), free_port()]
        first = fleet.start(BOTFLEET_HTTP_PORT=str(ports[0]))
        fleet.wait(lambda: answer(ports[0], "readyz")[0] == 200)
        for number in range(30):
            fleet.add_bot(f"bot {number}")
        second = fleet.start(BOTFLEET_HTTP_PORT=str(ports[1]), BOTFLEET_STATE_DIR=str(tmp_path / "other"))
        fleet.wait(lambda: "shard_waiting" in fleet.logs())
        freeze(url, processes)
        # a call's time-out is 13 s, and psycopg asks the server for 10 s more to cancel it
        deadline = time.monotonic() + 30
        while [answer(port, "readyz")[0] for port in ports] != [503, 503]:
            assert time.monotonic() < deadline, fleet.logs()[-4000:]
            time.sleep(0.2)
        assert [answer(port, "healthz") for port in ports] == [(200, "ok"), (200, "ok")]

        second.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert answer(ports[1], "readyz") in [(503, "stopping"), (0, answer(ports[1], "readyz")[1])]
        began = time.monotonic()
        if second.poll() is None:
            second.send_signal(signal.SIGTERM)
        assert second.wait(2) in (128 + signal.SIGTERM, 0, 1)
        assert time.monotonic() - began < 2

        _, took_s = asked(first, within_s=controller_runner.BOUND_S + SLACK_S)
        assert took_s < controller_runner.BOUND_S + SLACK_S
        after = fleet.logs().partition('"stopping"')[2]
        assert "sync_failed" not in after
        thaw(processes)


def test_the_worker_without_an_answer_of_the_database(frozen: tuple[str, list[psutil.Process]], tmp_path: Path) -> None:
    url, processes = frozen
    port = free_port()
    with worker(
        url, tmp_path / "worker.log", {"BOTFLEET_HTTP_HOST": "127.0.0.1", "BOTFLEET_HTTP_PORT": str(port)}
    ) as program:
        deadline = time.monotonic() + 20
        while answer(port, "readyz")[0] != 200 and time.monotonic() < deadline:
            time.sleep(0.1)
        freeze(url, processes)
        time.sleep(3)
        assert answer(port, "healthz") == (200, "ok")
        program.stopped = True
        _, took_s = asked(program.process, within_s=worker_runner.BOUND_S + SLACK_S)
        assert took_s < worker_runner.BOUND_S + SLACK_S
        thaw(processes)


BROKEN = """
import asyncio, sys
import controller.decide.liveness, controller.shards
from controller.main import main

controller.decide.liveness.LEASELESS_S = 1.0

async def stuck(self):
    await asyncio.Event().wait()

controller.shards.ShardKeeper.keep = stuck
sys.exit(main())
"""
"""A controller whose loop that renews the lease hangs, and that is impatient about it."""


def test_a_controller_that_manages_nothing_is_not_alive(database_url: str, tmp_path: Path) -> None:
    port = free_port()
    environment = {
        **os.environ, **FAST, "BOTFLEET_DATABASE_URL": database_url, "BOTFLEET_RUNTIME": "process",
        "BOTFLEET_STATE_DIR": str(tmp_path / "state"), "BOTFLEET_HTTP_HOST": "127.0.0.1",
        "BOTFLEET_HTTP_PORT": str(port), "PYTHONPATH": str(REPOSITORY),
    }  # fmt: skip
    program = subprocess.Popen([sys.executable, "-c", BROKEN], env=environment, cwd=tmp_path)
    try:
        deadline = time.monotonic() + 20
        while answer(port, "readyz")[0] != 200 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert answer(port, "healthz") == (200, "ok")
        while answer(port, "healthz")[0] == 200 and time.monotonic() < deadline:
            time.sleep(0.1)
        status, words = answer(port, "healthz")
        assert (status, "manages nothing" in words) == (503, True)
    finally:
        program.kill()
        program.wait()


HANGS = {
    "its loop is blocked": "async def main(): time.sleep(600)",
    "its loop computes": "async def main():\n while True: pass",
    "a thread never returns": "async def main():\n await asyncio.to_thread(time.sleep, 600)",
    "a task is deaf": "async def main():\n while True:\n  try: await asyncio.sleep(600)\n  except asyncio.CancelledError: pass",
}


@pytest.mark.parametrize("hang", HANGS)
def test_the_bound_holds_whatever_hangs(hang: str) -> None:
    program = f"""
import asyncio, time
from fleet.shutdown import Shutdown, Tasks, run_until_asked
shutdown = Shutdown(1.5)
shutdown.listen()
{HANGS[hang]}
async def run():
    tasks = Tasks()
    tasks.start("main", main())
    print("up", flush=True)
    return await run_until_asked(shutdown, tasks, stop=lambda: None, cancel_s=0.5, steps=[])
asyncio.run(run())
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout
        assert child.stderr
        assert child.stdout.readline() == b"up\n"
        time.sleep(0.3)
        code, took_s = asked(child, within_s=10)
        words = (child.stdout.read() + child.stderr.read()).decode()
    assert code == 1
    assert took_s < 1.5 + SLACK_S
    assert "hangs_at_the_end" in words or "most recent call first" in words


READER = """
import asyncio, sys
import aiohttp

async def main():
    async with aiohttp.ClientSession() as session, session.ws_connect(sys.argv[1]):
        print("open", flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


def test_the_sandbox_exchange_ends_with_streams_open_and_at_once_at_a_second_signal() -> None:
    port = free_port()
    command = [sys.executable, "-m", "sandbox_exchange", "--candles", "synthetic:1", "--port", str(port)]
    for signals in (1, 2):
        with subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE) as program:
            assert program.stderr
            assert b"sandbox_started" in program.stderr.readline()
            url = f"ws://127.0.0.1:{port}/ws/btcusdt@kline_1m"
            reader = subprocess.Popen([sys.executable, "-c", READER, url], stdout=subprocess.PIPE)
            assert reader.stdout
            assert reader.stdout.readline() == b"open\n"
            began = time.monotonic()
            for _ in range(signals):
                program.send_signal(signal.SIGTERM)
                time.sleep(0.05)
            code = program.wait(10)
            took_s = time.monotonic() - began
            reader.kill()
            reader.wait()
        # -SIGTERM: it was past its handlers already
        assert code in ((0,) if signals == 1 else (0, 128 + signal.SIGTERM, -signal.SIGTERM))
        assert took_s < (4 if signals == 1 else 1.5) + SLACK_S


async def test_a_bot_is_asked_to_stop_once_however_often_it_is_deleted(tmp_path: Path) -> None:
    """A second SIGTERM would end it at once, in the middle of its release."""
    asked_file = tmp_path / "asked"
    script = f'trap "echo once >> {asked_file}" TERM; touch {tmp_path}/up; while true; do sleep 0.05; done'
    folder = StateFolder(tmp_path / "state")
    assert folder.lock()
    runtime = ProcessRuntime(
        command=["sh", "-c", script, "bot"],
        environment={},
        folder=folder,
        store=PodStore(lambda _: None),
        grace_s=1.5,
        metrics=Metrics(),
    )
    request = PodRequest(
        bot_id=1, epoch=1, name="bot-1-a-e1", user_id=1, config_version=1, mode="paper"
    )  # fmt: skip
    pod = await runtime.create(request)
    while not (tmp_path / "up").exists():
        await asyncio.sleep(0.02)
    for _ in range(3):
        await runtime.delete(pod)
        await asyncio.sleep(0.3)
    assert asked_file.read_text() == "once\n"
    while runtime.existing():
        await asyncio.sleep(0.05)
    await runtime.close()
