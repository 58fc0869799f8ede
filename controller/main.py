"""The controller as a process: wiring only.

Exit codes: 0 asked to stop, 1 something failed that a restart may heal, 2 settings are wrong, 128 + n ended by a second
signal n.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
import time
from functools import partial

from controller.act.runtime import RunningRuntime
from controller.act.runtime.process import ProcessRuntime, StateFolder
from controller.act.starts import Capacity, Starts
from controller.decide.admission import FIRST_PER_CORE, FIRST_PER_NODE
from controller.manager import StrategyManager
from controller.metrics import Metrics
from controller.observe.heartbeats import HeartbeatWatch
from controller.observe.observer import Contact, Observer
from controller.observe.pods import PodStore
from controller.runner import BOUND_S, Intervals, TradingRunner
from controller.settings import Settings, load_settings
from controller.shards import ShardKeeper
from controller.store import Store
from controller.workqueue import WorkQueue
from fleet import plugins
from fleet.exit_codes import EXIT_USAGE
from fleet.log import configure_logging, get_logger, say_failure
from fleet.redaction import guard_environment
from fleet.settings import SettingsInvalid
from fleet.shutdown import Shutdown

log = get_logger("main")


def main() -> int:
    """Run the controller with the settings of the environment."""
    guard_environment(os.environ)
    life = Shutdown(BOUND_S)
    life.listen()
    try:
        settings = load_settings()
        configure_logging(level=settings.log_level, form=settings.log_format)
    except (SettingsInvalid, ValueError) as error:
        say_failure("controller", error)
        return EXIT_USAGE
    # what was imported stays for ever: keep the collector from walking it again and again
    gc.freeze()
    return asyncio.run(run(settings, life))


async def run(settings: Settings, life: Shutdown) -> int:
    """Wire all parts and run them; returns the exit code."""
    metrics = Metrics()
    folder = StateFolder(settings.state_dir)
    holder = holder_name(settings, folder)

    async def sync(bot_id: int) -> float | None:
        with metrics.sync_seconds.time():
            look_after_s = await manager.sync(bot_id)
        metrics.settled(bot_id)
        return look_after_s

    queue = WorkQueue(sync, settings.workers)
    pods = PodStore(queue.add)
    runtime = build_runtime(settings, pods, folder, metrics)
    store = Store(
        settings.database_url,
        connections=settings.database_connections,
        controller=holder,
        runtime=settings.runtime,
        settings_hash=settings.settings_hash,
        lease=lambda: keeper.current(),
    )
    keeper = ShardKeeper(store=store, holder=holder, ttl_s=settings.shard_ttl_s, clock=time.monotonic)
    starts = Starts(
        store=store,
        pods=runtime.pods,
        policy=settings.policy,
        capacity=partial(capacity, settings, runtime),
        metrics=metrics,
        clock=time.monotonic,
        wake=queue.add,
    )
    observer = Observer(Contact(settings.contact_gap_s))
    manager = StrategyManager(
        store=store,
        runtime=runtime,
        observer=observer,
        policy=settings.policy,
        metrics=metrics,
        starts=starts,
        may_act=lambda: keeper.held,
        acted=lambda bot_id: metrics.acted(bot_id, time.monotonic()),
        extra_names=settings.plugins.extra_names.with_names(plugins.installed().extra_names),
    )
    heartbeats = HeartbeatWatch(
        store=store,
        observer=observer,
        pods=runtime.pods,
        policy=settings.policy,
        metrics=metrics,
        interval_s=settings.watch_interval_s,
        enqueue=queue.add,
        clock=time.monotonic,
    )
    runner = TradingRunner(
        url=settings.database_url,
        store=store,
        runtime=runtime,
        queue=queue,
        heartbeats=heartbeats,
        keeper=keeper,
        starts=starts,
        intervals=Intervals(settings.poll_interval_s, settings.watch_interval_s, settings.relist_interval_s),
        metrics=metrics,
        http=(settings.http_host, settings.http_port),
        prepare=prepare(settings, folder),
        life=life,
    )
    log.info("starting", runtime=settings.runtime, holder=holder)
    return await runner.run()


def build_runtime(settings: Settings, pods: PodStore, folder: StateFolder, metrics: Metrics) -> RunningRuntime:
    """The runtime that the settings name. Only the kubernetes one imports kopf and the Kubernetes client."""
    if settings.runtime == "process":
        return ProcessRuntime(
            command=process_command(settings),
            environment={
                "BOTFLEET_DATABASE_URL": settings.bot_database_url or settings.database_url,
                **settings.bot_environment,
            },
            folder=folder,
            store=pods,
            grace_s=settings.grace_s,
            metrics=metrics,
        )
    from controller.act.runtime.kubernetes import KubernetesRuntime

    return KubernetesRuntime(
        template=settings.pod_template,
        store=pods,
        qps=settings.kube_qps,
        burst=settings.kube_burst,
        metrics=metrics,
        clock=time.monotonic,
    )


def capacity(settings: Settings, runtime: RunningRuntime) -> Capacity:
    """Where starts take place, and how many at a time to begin with.

    A controller in a cluster may not read nodes: the ones it knows are those of its pods.
    """
    if settings.runtime == "process":
        first, where = FIRST_PER_CORE * len(os.sched_getaffinity(0)), "on this machine"
    else:
        nodes = {pod.node for pod in runtime.existing() if pod.node}
        first, where = FIRST_PER_NODE * max(1, len(nodes)), "in this cluster"
    return Capacity(first=settings.starts_at_once or first, target_s=settings.start_target_s, where=where)


def process_command(settings: Settings) -> list[str]:
    """A bot's command; `python` means the interpreter that runs the controller."""
    first, *rest = settings.bot_command
    return [sys.executable if first == "python" else first, *rest]


def holder_name(settings: Settings, folder: StateFolder) -> str:
    """A name that no other living controller has: of the pod, or of the machine and its locked state folder."""
    host = settings.controller_name or socket.gethostname()
    return f"{host}:{folder.path}" if settings.runtime == "process" else host


async def prepare(settings: Settings, folder: StateFolder) -> None:
    """Wait until no other controller uses the state folder."""
    if settings.runtime != "process":
        return
    while not folder.lock():
        log.info("state_folder_in_use", folder=str(folder.path), pid=os.getpid())
        await asyncio.sleep(1)
