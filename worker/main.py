"""The worker as a process: wiring only. Delivers notifications and does what is done on a timer.

Exit codes: 0 asked to stop, 1 something failed that a restart may heal, 2 settings are wrong, 128 + n ended by a second
signal n.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
from datetime import timedelta

from fleet.exit_codes import EXIT_USAGE
from fleet.log import configure_logging, get_logger, say_failure
from fleet.redaction import guard_environment
from fleet.settings import SettingsInvalid
from fleet.shutdown import Shutdown
from fleet.trading_service.db import Pool
from worker.channels.mail import MailSender
from worker.channels.outcome import Channel, Sender
from worker.channels.telegram import TelegramSender
from worker.channels.webhook import WebhookSender
from worker.dispatch import Dispatcher
from worker.health import HealthWatch
from worker.jobs.performance import PerformanceJob
from worker.jobs.retention import RetentionJob
from worker.jobs.summaries import Summaries
from worker.metrics import Metrics
from worker.router import Router
from worker.runner import BOUND_S, Job, WorkerRunner
from worker.settings import Settings, load_settings

SUMMARIES_EVERY_S = 60.0
RETENTION_EVERY_S = 3600.0

log = get_logger("main")


def main() -> int:
    """Run the worker with the settings of the environment."""
    guard_environment(os.environ)
    shutdown = Shutdown(BOUND_S)
    shutdown.listen()
    try:
        settings = load_settings()
        configure_logging(level=settings.log_level, form=settings.log_format)
    except (SettingsInvalid, ValueError) as error:
        say_failure("worker", error)
        return EXIT_USAGE
    gc.freeze()  # what was imported stays for ever
    return asyncio.run(run(settings, shutdown))


async def run(settings: Settings, shutdown: Shutdown) -> int:
    """Wire all parts and run them; returns the exit code."""
    metrics = Metrics()
    pool = Pool(settings.database_url, application="worker", connections=settings.database_connections)
    senders = build_senders(settings)
    for channel, reason in settings.installed.missing.items():
        log.info("channel_not_configured", channel=channel, reason=reason)
    router = Router(pool=pool, installed=settings.installed, operator=settings.operator, max_age_s=settings.max_age_s)
    dispatcher = Dispatcher(
        pool=pool,
        senders=senders,
        installed=settings.installed,
        operator=settings.operator,
        metrics=metrics,
        concurrency=settings.concurrency,
        send_timeout_s=settings.send_timeout_s,
        lease_s=settings.lease_s,
        per_minute=settings.per_minute,
        chance=random.Random(),
    )
    runner = WorkerRunner(
        url=settings.database_url,
        pool=pool,
        router=router,
        dispatcher=dispatcher,
        senders=senders,
        health=HealthWatch(pool=pool, backlog_s=settings.backlog_s),
        jobs=periodic_jobs(settings, pool, metrics),
        metrics=metrics,
        poll_interval_s=settings.poll_interval_s,
        http=(settings.http_host, settings.http_port),
        shutdown=shutdown,
    )
    log.info("starting")
    return await runner.run()


def periodic_jobs(settings: Settings, pool: Pool, metrics: Metrics) -> list[Job]:
    """What is done on a timer beside the outbox; each on its own, one that fails leaves the others alone."""
    performance = PerformanceJob(url=settings.database_url, metrics=metrics)
    retention = RetentionJob(
        url=settings.database_url,
        keep_bars=timedelta(days=settings.keep_bars_days),
        keep_errors=timedelta(days=settings.keep_errors_days),
    )
    return [
        Job("summaries", SUMMARIES_EVERY_S, Summaries(pool=pool, hour=settings.summary_hour).write),
        Job("performance", settings.performance_every_s, performance.turn),
        Job("retention", RETENTION_EVERY_S, retention.turn),
    ]


def build_senders(settings: Settings) -> dict[Channel, Sender]:
    """The channels that are configured."""
    senders: dict[Channel, Sender] = {}
    if settings.telegram:
        senders[Channel.TELEGRAM] = TelegramSender(
            token=settings.telegram, api_url=settings.telegram_api_url, timeout_s=settings.send_timeout_s
        )
    server = settings.mail_server
    if server is not None:
        senders[Channel.EMAIL] = MailSender(server, timeout_s=settings.send_timeout_s)
    if settings.webhook_key:
        senders[Channel.WEBHOOK] = WebhookSender(
            secret=settings.webhook_key,
            allow_private=settings.webhook_allow_private,
            timeout_s=settings.send_timeout_s,
        )
    return senders
