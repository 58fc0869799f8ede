"""The simulation's clock and the programs' times: the defaults, some five times faster."""

from __future__ import annotations

from datetime import UTC, datetime

from controller.act.starts import Capacity
from controller.decide.facts import Policy

TICK_S = 0.5
START = datetime(2026, 11, 24, tzinfo=UTC)

POLICY = Policy(
    t_stop_s=3,
    t_dead_s=8,
    heartbeat_interval_s=1,
    contact_gap_s=2.5,
    claim_deadline_s=15,
    start_deadline_s=15,
    hung_after_s=6,
    grace_s=4,
    stop_slack_s=1,
    backoff_first_s=1,
    backoff_max_s=8,
    quick_first_s=0.5,
    quick_max_s=4,
    quick_life_s=5,
    healthy_s=40,
    give_up_failures=6,
    give_up_window_s=120,
)
"""T_stop + two ticks of drift < T_dead, as the settings demand."""

RECONNECT_S = 4.0
"""A bot whose call failed tries again at the latest after this. With the contact gap less than T_dead, as the settings
demand."""

CAPACITY = Capacity(first=4, target_s=5, where="here")
SHARD_TTL_S = 6.0
LEASE_VALID_S = SHARD_TTL_S * 2 / 3
"""After its last renewal a controller decides no longer than this."""
LOOK_S = 1.0
"""Between two looks at all heartbeats, and two renewals of the lease."""
RELIST_S = 10.0
POLL_S = 8.0
