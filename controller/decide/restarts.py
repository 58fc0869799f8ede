"""When a bot may start again, and when to give up, from nothing but the history of its runs.

Everything derives from `trading_runs`, so a restarted controller decides like the one before it. Failures restart at
once the first time, then after 5, 10, 20 … 300 s; a run that never went live proves that starting doesn't work, so it
waits from the first time on; ends that aren't the bot's fault restart at once unless they come too often. Pure: jitter
is a hash, `now` isn't needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import blake2b
from itertools import takewhile

from controller.decide.facts import Policy, RunEnd
from fleet.backoff import between_s, nominal_s
from fleet.states import COUNTED_FAILURES, ExitReason

JITTER = 0.2
"""Largest part added to a delay, so that bots that failed together don't restart together."""

_FAULTLESS = frozenset({ExitReason.RELEASED, ExitReason.GAVE_UP_DATABASE})


def restart_at(bot_id: int, config_version: int, ends: Sequence[RunEnd], *, policy: Policy) -> datetime | None:
    """The earliest time of the next start; None for at once.

    Args:
        bot_id: seeds the jitter.
        config_version: the row's; a version that never ended starts at once.
        ends: newest first.
        policy: delays.
    """
    if not ends or ends[0].config_version != config_version:
        return None
    last = ends[0]
    if last.reason in COUNTED_FAILURES:
        streak = failure_streak(ends, policy=policy) + (last.live_at is None)
        delay = _delay_s(streak, policy.backoff_first_s, policy.backoff_max_s)
    elif last.reason is ExitReason.NOT_CLAIMED:
        streak = sum(1 for _ in takewhile(lambda end: end.reason is ExitReason.NOT_CLAIMED, ends))
        delay = _delay_s(streak + 1, policy.backoff_first_s, policy.backoff_max_s)
    elif last.reason in _FAULTLESS:
        delay = _delay_s(quick_streak(ends, policy=policy), policy.quick_first_s, policy.quick_max_s)
    else:
        return None
    if not delay:
        return None
    drawn_s = between_s(delay, delay * (1 + JITTER), jitter(bot_id, last.epoch))
    return last.ended_at + timedelta(seconds=drawn_s)


def failure_streak(ends: Sequence[RunEnd], *, policy: Policy) -> int:
    """How many counted failures of the newest version in a row, up to the last healthy run.

    Ends that don't count are skipped: they neither add nor reset.
    """
    streak = 0
    for end in ends:
        if end.config_version != ends[0].config_version:
            break
        if end.reason in COUNTED_FAILURES:
            streak += 1
        if end.lived >= timedelta(seconds=policy.healthy_s):
            break
    return streak


def recent_failures(config_version: int, ends: Sequence[RunEnd], *, until: datetime, policy: Policy) -> list[RunEnd]:
    """Counted failures of the version within the window that ends at `until`, newest first."""
    since = until - timedelta(seconds=policy.give_up_window_s)
    return [
        end
        for end in ends
        if end.config_version == config_version and end.reason in COUNTED_FAILURES and since < end.ended_at <= until
    ]


def gave_up(config_version: int, ends: Sequence[RunEnd], *, policy: Policy) -> bool:
    """Whether this version failed so often, or said so itself, that it must not be started to trade again.

    A bot that was being closed out stays given up, however the closing run ended. The window ends at the newest end,
    not now: the answer doesn't change by waiting.
    """
    if not ends or ends[0].config_version != config_version:
        return False
    if ends[0].reason is ExitReason.GAVE_UP or ends[0].closes_out:
        return True
    if ends[0].reason not in COUNTED_FAILURES:
        return False
    failures = recent_failures(config_version, ends, until=ends[0].ended_at, policy=policy)
    return len(failures) >= policy.give_up_failures


def may_close_out(ends: Sequence[RunEnd], *, policy: Policy) -> bool:
    """Whether another run may try to close what a given up bot holds: its own verdict is the last word, and so many
    failures of such runs in a row are."""
    tried = list(takewhile(lambda end: end.closes_out, ends))
    if ends and ends[0].reason is ExitReason.GAVE_UP:
        return False
    return sum(end.reason in COUNTED_FAILURES for end in tried) < policy.close_out_tries


def quick_streak(ends: Sequence[RunEnd], *, policy: Policy) -> int:
    """How many runs in a row, up to the newest end, ended without fault and too soon."""
    quick = timedelta(seconds=policy.quick_life_s)
    return sum(1 for _ in takewhile(lambda end: end.reason in _FAULTLESS and end.lived < quick, ends))


def jitter(bot_id: int, epoch: int) -> float:
    """A number in [0, 1), always the same for the same run."""
    digest = blake2b(f"{bot_id}/{epoch}".encode(), digest_size=4).digest()
    return int.from_bytes(digest) / 2**32


def _delay_s(repeats: int, first_s: float, longest_s: float) -> float:
    """0 for the first time, then `first_s` doubled each time; its jitter stays below `longest_s` as well."""
    if repeats <= 1:
        return 0
    return nominal_s(repeats - 1, first_s=first_s, most_s=longest_s / (1 + JITTER))
