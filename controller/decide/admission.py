"""Who may start now: a limit on starts at a time, and a queue in order of what waiting costs.

A start takes seconds of CPU, a running bot next to none. A hundred starts at once on two cores starve each other and
the bots that trade, so starts take slots: one from the moment a run is committed until the bot is live, the run ends,
or its time is over. How many slots there are is measured: of recent starts it is known how many went on at the same
time and how long they took, so which number finished most of them a second. As long as twice as many finish clearly
more, twice as many are tried. It isn't computed from cores, which a controller in a cluster doesn't know and other
programs share; cores are only where it begins.

The order: bots with an open position (nobody watches it), then restarts of bots that were live, then real money before
paper, then each tenant in turn, then who waits longest. Pure: facts in, answer out; the same facts give the same
answer, whoever asks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from itertools import pairwise
from math import log2
from statistics import median

GAIN = 1.2
"""So many times as many starts a second must twice as many slots give to be worth it: less is the noise of the day,
and each start takes nearly twice as long."""

FEWER = 0.7
"""What is left of the limit while the starts under way take far too long."""

ENOUGH = 4
"""Fewer starts than this say nothing about a number of slots; it counts as tried after as many starts as slots."""

FULL_ROUND = 128
"""So many are enough for any number."""

FIRST_PER_CORE = 2
"""One that computes and one that waits for the exchange or the database."""

FIRST_PER_NODE = 4
"""Two cores, the smallest node that is in use; a larger one is found out by doubling."""

REFRESH_FIRST_S = 10.0
REFRESH_MAX_S = 60.0
REFRESHES_PER_S = 20.0
"""How often the place in a waiting bot's row is brought up to date: each 10 s, but at most 20 rows a second in all."""


class Urgency(IntEnum):
    """What a bot loses by waiting; its pod's PriorityClass knows fewer, see `priority`."""

    HOLDING = 0
    """A position is open, and nobody watches it."""
    RESTART = 1
    """It was live a moment ago, and its tenant counts on it."""
    LIVE = 2
    """It will trade with real money."""
    PAPER = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A bot that is due to start.

    Attributes:
        since: since when it waits: its row's change or its last run's end, by the database's clock.
        live: it trades with real money. holding: it has an open position. restart: its last run was live.
    """

    bot_id: int
    user_id: int
    since: datetime
    holding: bool = False
    restart: bool = False
    live: bool = False

    @property
    def urgency(self) -> Urgency:
        """The most urgent reason that applies."""
        if self.holding:
            return Urgency.HOLDING
        if self.restart:
            return Urgency.RESTART
        return Urgency.LIVE if self.live else Urgency.PAPER


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A run that has begun and isn't live.

    Attributes:
        age_s: since it began.
        holds_slot: it computes now or soon. One that waits for the exchange or for a node doesn't.
        unplaced: its pod waits for a node. priority: of its pod, see `priority`.
    """

    bot_id: int
    user_id: int
    age_s: float = 0.0
    holds_slot: bool = True
    unplaced: bool = False
    priority: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """The answer for everybody at once.

    Attributes:
        limit: starts at a time. starting: slots taken.
        admitted: who may start now, most urgent first.
        order: who waits, those who are admitted left out, most urgent first.
        typical_s: how long a start takes at present; None when it isn't known.
        unplaced: pods that wait for a node, when it is they that keep the first in the queue from starting.
    """

    limit: int
    starting: int
    admitted: tuple[int, ...]
    order: tuple[int, ...]
    typical_s: float | None
    unplaced: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a bot stands: words for its row, and when to look again, seconds."""

    words: str
    look_again_s: float


def priority(*, holding: bool, live: bool) -> int:
    """Who is placed first and preempted last in a cluster: 0 an open position, 1 real money, 2 paper."""
    return 0 if holding else 1 if live else 2


@dataclass(frozen=True, slots=True)
class Span:
    """A start that became live: when it began and when it was live, seconds on any one clock."""

    begin_s: float
    live_s: float


def limit_of(spans: Sequence[Span], under_way: Sequence[float], *, first: int, target_s: float) -> int:
    """How many starts may go at a time.

    Args:
        spans: recent starts, in any order.
        under_way: when those began that aren't live.
        first: where to begin; the limit never falls below half of it.
        target_s: how long a start may take; more at a time than keep to it aren't tried.
    """
    tried = throughput(spans, under_way, first=first)
    doublings = 0
    while doublings in tried and tried[doublings].took_s <= target_s:
        here, below, above = tried[doublings], tried.get(doublings - 1), tried.get(doublings + 1)
        if above is None and (below is None or _gains(below, here)):
            return first << (doublings + 1)
        if above is None or above.took_s > target_s or not _gains(here, above):
            break
        doublings += 1
    slow = doublings in tried and tried[doublings].took_s > 2 * target_s
    return max(1, first // 2) if slow else first << doublings


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of a number of starts at a time: medians."""

    took_s: float
    per_second: float


def throughput(spans: Sequence[Span], under_way: Sequence[float], *, first: int) -> dict[int, Tried]:
    """What was tried: by doublings of `first`, to the nearest; fewer than `first` at a time are negative.

    How many went on at the time of a start is the mean over that start, itself included.
    """
    if len(spans) < ENOUGH:
        return {}
    edges = sorted(
        [(span.begin_s, 1) for span in spans]
        + [(span.live_s, -1) for span in spans]
        + [(at_s, 1) for at_s in under_way]
    )
    times = [at_s for at_s, _ in edges]
    areas, level = [0.0], 0
    for (at_s, step), (next_s, _) in pairwise(edges):
        level += step
        areas.append(areas[-1] + level * (next_s - at_s))
    found: dict[int, list[Tried]] = defaultdict(list)
    for span in spans:
        took_s = max(span.live_s - span.begin_s, 1e-3)
        area = areas[bisect_left(times, span.live_s)] - areas[bisect_left(times, span.begin_s)]
        together = max(area / took_s, 1.0)
        found[round(log2(together / first))].append(Tried(took_s, together / took_s))
    return {
        doublings: Tried(median(each.took_s for each in group), median(each.per_second for each in group))
        for doublings, group in found.items()
        if len(group) >= max(ENOUGH, min(FULL_ROUND, first << max(doublings, 0)))
    }


def _gains(fewer: Tried, more: Tried) -> bool:
    return more.per_second >= GAIN * fewer.per_second


def order_of(waiting: Sequence[Candidate], starting: Mapping[int, int]) -> list[Candidate]:
    """Who comes first.

    Tenants take turns: the more starts of a tenant are under way or ahead in the queue, the later its next bot. So a
    tenant with a thousand bots delays one with a single bot by one start, not by a thousand.

    Args:
        waiting: in any order.
        starting: slots taken by tenant.
    """
    turns: dict[int, Counter[int]] = defaultdict(Counter)
    placed = []
    for each in sorted(waiting, key=lambda each: (each.urgency, each.since, each.bot_id)):
        turn = starting.get(each.user_id, 0) + turns[each.urgency][each.user_id]
        turns[each.urgency][each.user_id] += 1
        placed.append((each.urgency, turn, each.since, each.bot_id, each))
    return [each for *_, each in sorted(placed, key=lambda entry: entry[:-1])]


def decide(
    waiting: Sequence[Candidate],
    starts: Sequence[Start],
    *,
    limit: int,
    target_s: float,
    typical_s: float | None = None,
    expected: int = 0,
) -> Queue:
    """Who may start now, and where everybody else stands.

    Args:
        waiting: all that are due.
        starts: all that have begun and aren't live.
        limit: from `limit_of`.
        target_s: see `limit_of`.
        typical_s: how long starts take at present, when it is known.
        expected: bots with an open position that will ask in a moment: so many slots are kept for them.
    """
    under_way = [start for start in starts if start.holds_slot]
    # what hasn't arrived yet tells more about now than what did
    if under_way and median(start.age_s for start in under_way) > 2 * target_s:
        limit = max(1, int(limit * FEWER))
    free = max(0, limit - len(under_way))
    unplaced = Counter(start.priority for start in starts if start.unplaced)
    admitted: list[int] = []
    blocked = 0
    ordered = order_of(waiting, Counter(start.user_id for start in under_way))
    for each in ordered:
        if len(admitted) + (0 if each.holding else expected) >= free:
            break
        # pods of equal priority would wait for the same room: a few tell the scheduler as much as a thousand
        mine = priority(holding=each.holding, live=each.live)
        ahead = sum(count for other, count in unplaced.items() if other <= mine)
        if ahead and ahead + len(admitted) >= limit:
            blocked = blocked or ahead
            continue
        admitted.append(each.bot_id)
    chosen = set(admitted)
    return Queue(
        limit=limit,
        starting=len(under_way),
        admitted=tuple(admitted),
        order=tuple(each.bot_id for each in ordered if each.bot_id not in chosen),
        typical_s=typical_s,
        unplaced=blocked,
    )


def place_of(bot_id: int, queue: Queue, *, where: str, missing: str = "") -> Place:
    """What a waiting bot's row says.

    Args:
        bot_id: one that waits; one that isn't in the order counts as the last.
        queue: the answer that left it waiting.
        where: `on this machine` or `in this cluster`.
        missing: what the pods that wait for a node lack, in the scheduler's words.
    """
    count = len(queue.order)
    place = queue.order.index(bot_id) + 1 if bot_id in queue.order else count
    look_again_s = min(max(REFRESH_FIRST_S, count / REFRESHES_PER_S), REFRESH_MAX_S)
    head = f"waits to start: place {place} of {count}"
    if queue.unplaced:
        lack = f": {missing.rstrip('. ')}" if missing else ""
        room = "add a node, stop other bots, or lower what a bot requests"
        return Place(f"{head}; {queue.unplaced} pods wait for a node already{lack}; {room}", look_again_s)
    pace = f"{queue.limit} {'start' if queue.limit == 1 else 'starts'} at a time {where}"
    expected = "" if queue.typical_s is None else f", about {_span(-(-place // queue.limit) * queue.typical_s)}"
    return Place(f"{head}{expected}; {pace}, bots with open positions first", look_again_s)


def _span(seconds: float) -> str:
    return f"{max(10, round(seconds, -1)):.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
