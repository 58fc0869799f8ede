"""How quickly the worker delivers: event committed → taken by a webhook's receiver, one at a time and as a flood.

    python benchmarks/notifications.py

Everything is real and on this machine: PostgreSQL, the worker's process, an HTTP server. Prints figures, judges none.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli.embedded import EmbeddedPostgres, free_port
from fleet.migrations import upgrade
from tests.integration.receivers import receivers
from tests.integration.worker_process import Outbox, wait_until, worker

SINGLES = 200
FLOOD_BOTS = 100
FLOOD_EACH = 5


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as folder, receivers() as servers:
        server = EmbeddedPostgres(data=Path(folder) / "data", port=free_port(), durable=True)
        with server.start() as running:
            upgrade(running.url)
            outbox = Outbox(running.url)
            outbox.owner(webhook_url=servers.webhook_url)
            environment = {**servers.environment, "BOTFLEET_POLL_INTERVAL_S": "5", "BOTFLEET_LEASE_S": "30"}
            with worker(running.url, Path(folder) / "log", environment) as made:
                measure(outbox, servers.webhook, made.process.pid, servers.webhook_url)
                made.stop()


def measure(outbox: Outbox, receiver: object, pid: int, url: str) -> None:
    taken = receiver.taken  # type: ignore[attr-defined]
    bot = outbox.bot(webhook_enabled=True)
    outbox.event(bot, "warm")
    wait_until(lambda: len(taken) == 1, within_s=20)
    waits = []
    for number in range(SINGLES):
        begin = time.perf_counter()
        outbox.event(bot, f"single {number}", kind=f"kind {number}")
        while len(taken) < number + 2:
            time.sleep(0.0005)
        waits.append((time.perf_counter() - begin) * 1000)
    cuts = statistics.quantiles(waits, n=100)
    print(f"event committed -> taken by the receiver: p50 {cuts[49]:.0f} ms, p99 {cuts[98]:.0f} ms ({SINGLES} events)")
    bots = [outbox.bot(f"b{n}", webhook_enabled=True, webhook_url=f"{url}/{n}") for n in range(FLOOD_BOTS)]
    before, begin = len(taken), time.perf_counter()
    with outbox.connection.transaction():
        for number in range(FLOOD_EACH):
            for bot_id in bots:
                outbox.event(bot_id, f"flood {bot_id} {number}")
    wait_until(lambda: len(taken) - before == FLOOD_BOTS * FLOOD_EACH, within_s=120)
    spent = time.perf_counter() - begin
    count = FLOOD_BOTS * FLOOD_EACH
    print(f"flood of {count} to {FLOOD_BOTS} receivers: {count / spent:.0f} messages a second")
    print(f"worker's resident memory: {psutil.Process(pid).memory_info().rss / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
