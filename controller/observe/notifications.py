"""What operators are told when silence can't be judged, or when too many bots fall silent at once."""

from __future__ import annotations

from collections.abc import Collection

from fleet.events import EventKind, Severity, severity_of
from fleet.redaction import safe_text
from fleet.trading_service.bots import Notification
from fleet.trading_service.runs import QuietRun, Watch


def watch_fails(why: str, failing_s: float, episode: str) -> Notification:
    """For so long it could not be proved that heartbeats can be written; `episode` makes it one notification."""
    return Notification(
        bot_id=None,
        kind=EventKind.OBSERVER_SUSPICIOUS,
        severity=severity_of(EventKind.OBSERVER_SUSPICIOUS),
        title="Silent bots can't be told from dead ones",
        body=(
            f"For {failing_s:.0f} s the controller could not prove that heartbeats can be written: "
            f"{safe_text(why, 500)}. Bots that run go on; one that falls silent is neither fenced nor started again. "
            "Look for locks, a read-only database or a role that lacks rights; else restart the controller with the "
            "version it had before"
        ),
        key=f"watch_blind/{episode}",
    )


def watch_works_again(episode: str) -> Notification:
    """The end of such an episode."""
    return Notification(
        bot_id=None,
        kind=EventKind.HEALTH,
        severity=Severity.INFO,
        title="Silent bots are found again",
        body="Heartbeats can be written, so silence is judged from now on",
        key=f"watch_sees/{episode}",
    )


def silence_believed_again(watch: Watch, silent: int) -> Notification:
    """The end of a mass silence: those that are still silent are judged from now on."""
    return Notification(
        bot_id=None,
        kind=EventKind.HEALTH,
        severity=Severity.INFO,
        title="Heartbeats are believed again",
        body=f"{silent} of {watch.claimed} claimed runs are silent; those are decided about from now on",
        key=f"observer_trusted/{watch.now:%Y-%m-%dT%H:%M}",
    )


def mass_silence(watch: Watch, silent: Collection[QuietRun]) -> Notification:
    """So many runs fell silent within one heartbeat interval that nobody is fenced for it."""
    last = max(run.beat_at for run in silent)
    return Notification(
        bot_id=None,
        kind=EventKind.OBSERVER_SUSPICIOUS,
        severity=severity_of(EventKind.OBSERVER_SUSPICIOUS),
        title=f"{len(silent)} of {watch.claimed} bots fell silent at once",
        body=(
            f"No heartbeat since {last:%H:%M:%SZ}. The cause may be the database, the network or the controller, so "
            "no bot is fenced or restarted for its silence until heartbeats return or the deaths are confirmed. "
            "Check the database, the nodes and the bots' logs"
        ),
        key=f"observer_suspicious/{last:%Y-%m-%dT%H:%M}",
    )
