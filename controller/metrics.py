"""The controller's metrics, prefix `botfleet_`."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_FAST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """All metrics of one controller, in a registry of its own."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self.registry = registry
        self._heard_at: dict[int, float] = {}
        self.bots = Gauge("botfleet_bots", "Bots by status", ["status"], registry=registry)
        self.runs_started = Counter("botfleet_runs_started", "Runs started", registry=registry)
        self.runs_ended = Counter("botfleet_runs_ended", "Runs ended by the controller", ["reason"], registry=registry)
        self.runs_fenced = Counter("botfleet_runs_fenced", "Runs fenced", ["reason"], registry=registry)
        self.stops_requested = Counter("botfleet_stops_requested", "Runs asked to stop", ["reason"], registry=registry)
        self.pod_operations = Counter(
            "botfleet_pod_operations", "Requests about pods by answer", ["operation", "code"], registry=registry
        )
        self.pod_notes = Counter("botfleet_pod_notes", "Events about pods by answer", ["code"], registry=registry)
        self.watch_down = Gauge(
            "botfleet_watch_down", "1 while the watch on pods is down and pods are listed instead", registry=registry
        )
        self.runs_outdated = Gauge(
            "botfleet_runs_outdated", "Current runs whose pods were made with older settings", registry=registry
        )
        self.queue_depth = Gauge("botfleet_queue_depth", "Bots that wait for a worker", registry=registry)
        self.sync_seconds = Histogram(
            "botfleet_sync_seconds", "Time to handle one bot", registry=registry, buckets=_FAST
        )
        self.reaction_seconds = Histogram(
            "botfleet_reaction_seconds", "From a changed row to the first action", registry=registry, buckets=_FAST
        )
        self.loop_lag_seconds = Gauge(
            "botfleet_loop_lag_seconds", "How late the event loop runs timers", registry=registry
        )
        self.observer_suspicious = Gauge(
            "botfleet_observer_suspicious",
            "1 while so many bots are silent at once that none is fenced",
            registry=registry,
        )
        self.watch_blind_seconds = Gauge(
            "botfleet_watch_blind_seconds",
            "Seconds for which silent runs could not be fenced; 0: they can be",
            registry=registry,
        )
        self.runs_quiet = Gauge("botfleet_runs_quiet", "Claimed runs without heartbeat for T_stop", registry=registry)
        self.runs_locked = Gauge(
            "botfleet_runs_locked",
            "Late runs whose row somebody holds, so that no heartbeat can be written",
            registry=registry,
        )
        self.starts_waiting = Gauge("botfleet_starts_waiting", "Bots that wait to start", registry=registry)
        self.starts_under_way = Gauge("botfleet_starts_under_way", "Runs on their way to live", registry=registry)
        self.starts_limit = Gauge("botfleet_starts_limit", "Starts that may go at a time", registry=registry)
        self.leading = Gauge("botfleet_leading", "1 while this controller holds its shard", registry=registry)

    def changed(self, bot_id: int, now: float) -> None:
        """A row's change was heard of; the clock of its reaction starts."""
        self._heard_at.setdefault(bot_id, now)

    def acted(self, bot_id: int, now: float) -> None:
        """The first action since then was carried out."""
        heard_at = self._heard_at.pop(bot_id, None)
        if heard_at is not None:
            self.reaction_seconds.observe(now - heard_at)

    def settled(self, bot_id: int) -> None:
        """There was nothing to do."""
        self._heard_at.pop(bot_id, None)

    def exposition(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self.registry)
