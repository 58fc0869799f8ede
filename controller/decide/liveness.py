"""Whether a restart of the controller would help: the verdict of /healthz, from plain facts.

An outage of the database or of the API server is never a reason: a restarted controller would meet the same. Nor is
a standby: to wait is its work. What a restart heals is a process that itself no longer does what it should while
everything it needs is there. So each loop's rounds count whether or not they succeeded, and a missing lease counts
only while the database answers without a gap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

LEASELESS_S = 60.0
"""The lease is renewed every few seconds: so long without it, although the database answers, means that nobody asks."""

STUCK_AFTER_S = 120.0
"""Every call that a loop or a worker makes ends sooner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """A loop of the controller.

    Attributes:
        ago_s: since it last came round, successfully or not.
        every_s: how long it sleeps between two rounds.
    """

    ago_s: float
    every_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LivenessFacts:
    """What is known at one moment; all times in seconds.

    Attributes:
        ending_s: since the end began; None while nobody asked for it.
        bound_s: how long an end may take.
        fault: why the runtime can't go on.
        standby: another controller holds the lease, and this one waits for it.
        leaseless_s: since the lease was last valid; None before it was ever held.
        answering_s: since when the database has answered without a failure; None when its last answer was one.
        active: bots that are being handled.
        unhandled_s: since the last one was finished.
        loops: of each loop that runs, by name.
    """

    ending_s: float | None = None
    bound_s: float = 0.0
    fault: str | None = None
    standby: bool = False
    leaseless_s: float | None = None
    answering_s: float | None = None
    active: int = 0
    unhandled_s: float = 0.0
    loops: Mapping[str, Loop] = field(default_factory=dict)


def why_unhealthy(facts: LivenessFacts) -> str | None:
    """What only a restart mends, or None."""
    if facts.ending_s is not None:
        over = facts.ending_s > facts.bound_s
        return f"it should have ended {facts.ending_s - facts.bound_s:.0f} s ago" if over else None
    if facts.fault is not None:
        return facts.fault
    idle_s = min(facts.leaseless_s or 0.0, facts.answering_s or 0.0)
    if not facts.standby and idle_s > LEASELESS_S:
        return f"it has had no lease for {facts.leaseless_s:.0f} s although the database answers: it manages nothing"
    if facts.active and facts.unhandled_s > STUCK_AFTER_S:
        return f"no bot was finished for {facts.unhandled_s:.0f} s"
    for name, loop in facts.loops.items():
        if loop.ago_s > loop.every_s + STUCK_AFTER_S:
            return f"the loop `{name}` has not come round for {loop.ago_s:.0f} s"
    return None
