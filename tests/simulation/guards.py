"""What must be true of the rows when a call takes effect: the model's WHERE clauses, each condition with a name.

One table, so that a test can drop any condition: test_database_agrees.py shows that PostgreSQL then answers otherwise,
and so that the model can't be laxer or stricter than the SQL of `fleet.trading_service` in any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from fleet.trading_service.runs import DECISION_VALID_S

if TYPE_CHECKING:
    from fleet.trading_service.bots import RunRecord
    from tests.simulation.database import Bot, Shard


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call at the moment at which it takes effect.

    Attributes:
        now: the database's clock.
        bot: the row that it is about, where there is one; run: likewise, the run of the epoch that it names.
        shard: the row of the controllers' lease.
        given: its arguments.
    """

    now: datetime
    bot: Bot | None
    run: RunRecord | None
    shard: Shard
    given: Mapping[str, Any]

    def older(self, moment: datetime | None, seconds: float) -> bool:
        """Whether that was longer ago; never is not."""
        return moment is not None and moment < self.now - timedelta(seconds=seconds)


Condition = Callable[[Call], bool]


def _run(call: Call) -> RunRecord:
    assert call.run is not None, "looked up before any condition is asked"
    return call.run


def _bot(call: Call) -> Bot:
    assert call.bot is not None, "looked up before any condition is asked"
    return call.bot


def _silent(call: Call) -> bool:
    run = _run(call)
    return call.older(run.heartbeat_at or run.claimed_at or run.created_at, call.given["silent_s"])


def _stalled(call: Call) -> bool:
    run, seconds = _run(call), call.given["stalled_s"]
    return seconds is None or stalled(run, seconds)


def stalled(run: RunRecord, seconds: float) -> bool:
    """Whether its last heartbeat told of no progress for longer."""
    if run.heartbeat_at is None or run.progress_at is None:
        return False
    return run.heartbeat_at - run.progress_at > timedelta(seconds=seconds)


def _leased(call: Call) -> bool:
    lease = call.given["lease"]
    return lease is None or lease.epoch == call.shard.epoch


_MINE: dict[str, Condition] = {
    "claimed by the caller": lambda call: _run(call).claimed_by == call.given["token"],
    "not ended": lambda call: _run(call).ended_at is None,
}
_DECISION: dict[str, Condition] = {
    "not ended": lambda call: _run(call).ended_at is None,
    "leased": _leased,
}
_FENCE: dict[str, Condition] = {
    **_DECISION,
    "decided a moment ago": lambda call: call.now < call.given["decided_at"] + timedelta(seconds=DECISION_VALID_S),
}

GUARDS: dict[str, dict[str, Condition]] = {
    "claim": {
        "nobody else's": lambda call: _run(call).claimed_by in (None, call.given["token"]),
        "not ended": lambda call: _run(call).ended_at is None,
        "not asked to stop": lambda call: _run(call).stop_requested_at is None,
    },
    "heartbeat": {**_MINE},
    "mark_live": {**_MINE, "not live yet": lambda call: _run(call).live_at is None},
    "release": {**_MINE},
    "start_run": {
        "enabled": lambda call: _bot(call).enabled,
        "not archived": lambda call: not _bot(call).archived,
        "of the version that was validated": lambda call: _bot(call).version == call.given["config_version"],
        "no run is current": lambda call: _bot(call).current is None,
        "a new epoch": lambda call: all(run.record.epoch < call.given["epoch"] for run in _bot(call).runs),
        "leased": _leased,
    },
    "record_pod": {**_DECISION},
    "request_stop": {**_DECISION, "not asked before": lambda call: _run(call).stop_requested_at is None},
    "adopt_config": {
        **_DECISION,
        "of an older version": lambda call: _run(call).config_version < call.given["config_version"],
    },
    "end_run": {**_DECISION},
    "explain_end": {
        "ended": lambda call: _run(call).ended_at is not None,
        "as it was seen": lambda call: _run(call).error_message == call.given["seen"],
        "leased": _leased,
    },
    "fence_unclaimed": {**_FENCE, "unclaimed": lambda call: _run(call).claimed_by is None},
    "fence_silent": {**_FENCE, "silent": _silent},
    "fence_stop_overdue": {
        **_FENCE,
        "asked long ago": lambda call: call.older(_run(call).stop_requested_at, call.given["asked_s"]),
        "stalled": _stalled,
    },
    "update_bot_status": {
        "as it was seen": lambda call: _bot(call).status == call.given["seen"],
        "held by nobody": lambda call: not _bot(call).held,
    },
    "acquire_shard": {
        "free, its own, or expired": lambda call: (
            call.shard.holder in (None, call.given["holder"]) or call.older(call.shard.renewed_at, call.given["ttl_s"])
        )
    },
    "renew_shard": {"leased": _leased},
    "prove_heartbeats": {"leased": _leased},
}
"""By function of `fleet.trading_service`. All of a function's conditions must hold, else it changes nothing."""
