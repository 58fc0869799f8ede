"""The worker's metrics, prefix `botfleet_`."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from fleet.trading_service.notifications import BreachCount
from fleet.trading_service.outbox import Waiting
from fleet.trading_service.performance import Gauges

_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 1800, 7200, 86_400)

_FIGURES = {
    "equity": "Equity at the last close, quote currency",
    "net_pnl": "Realised profit after fees, quote currency",
    "trades": "Closed trades",
    "drawdown_ratio": "Below the highest equity, as a fraction of it",
    "max_drawdown_ratio": "Largest drawdown, as a fraction",
}


class Metrics:
    """All metrics of one worker, in a registry of its own."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self.registry = registry
        self.notifications = Counter(
            "botfleet_notifications",
            "Attempts to send by what came of them: delivered, retried, failed, skipped",
            ["channel", "outcome"],
            registry=registry,
        )
        self.delivery_seconds = Histogram(
            "botfleet_notifications_delivery_seconds",
            "From a message's making to its delivery, quiet hours and groups included",
            ["channel"],
            registry=registry,
            buckets=_SECONDS,
        )
        self.unrouted = Gauge("botfleet_notifications_unrouted", "Notifications without a route", registry=registry)
        self.waiting = Gauge("botfleet_notifications_waiting", "Messages that aren't sent yet", registry=registry)
        self.overdue_seconds = Gauge(
            "botfleet_notifications_overdue_seconds", "How late the oldest message is", registry=registry
        )
        self.job_seconds = Histogram(
            "botfleet_worker_job_seconds", "Time of one turn of a periodic job", ["job"], registry=registry
        )
        self.job_failures = Counter(
            "botfleet_worker_job_failures", "Turns of periodic jobs that failed", ["job"], registry=registry
        )

        self._bots = {
            figure: Gauge(f"botfleet_bot_{figure}", text, ["bot_id", "name", "symbol"], registry=registry)
            for figure, text in _FIGURES.items()
        }
        self._breaches = Gauge(
            "botfleet_risk_breaches",
            "Times that a limit of risk_management or of the tenant came into force",
            ["bot_id", "limit"],
            registry=registry,
        )

    def take_bots(self, bots: Sequence[Gauges], breaches: Sequence[BreachCount]) -> None:
        """Take over the bots' figures; those of bots that are gone disappear."""
        for figure, gauge in self._bots.items():
            gauge.clear()
            for bot in bots:
                gauge.labels(str(bot.bot_id), bot.name, bot.symbol).set(getattr(bot, figure))
        self._breaches.clear()
        for breach in breaches:
            self._breaches.labels(str(breach.bot_id), breach.limit).set(breach.count)

    def note(self, waits: Waiting) -> None:
        """Take over what waits."""
        self.unrouted.set(waits.unrouted)
        self.waiting.set(waits.waiting)
        self.overdue_seconds.set(max(0.0, waits.overdue_s))

    def exposition(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self.registry)
