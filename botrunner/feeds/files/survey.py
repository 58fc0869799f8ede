"""What is striking about a series of candles: their distance, what is missing, where the price jumps. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

from botrunner.feeds.files.errors import Unclear
from botrunner.market.candle import Candle
from fleet.config.values import INTERVAL_SECONDS
from fleet.times import from_ms

FIRST = 5
"""Gaps and jumps that are named one by one."""

JUMP = Decimal("1.2")
"""A price that opens so many times higher or lower than the candle before closed is told about: a market that trades
without a break doesn't do that; split, redenominated or spliced candles do."""

SPIKE = Decimal(2)
"""So is a candle whose high is so many times its low."""

DAY_MS, WEEK_MS = 86_400_000, 604_800_000
MONDAY_MS = 4 * DAY_MS
"""1970-01-05; weeks of exchanges begin on a Monday."""

_DAYS = ("Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday")


@dataclass(frozen=True, slots=True)
class Gap:
    """Missing candles: open times (Unix ms) of the last one before and the first one after."""

    before_ms: int
    after_ms: int
    missing: int


@dataclass(frozen=True, slots=True)
class Jump:
    """A candle whose price is far from the one before, or from itself.

    Attributes:
        at_ms: its open. factor: later by earlier price, or high by low of a `spike`.
        missing: candles missing before it.
    """

    at_ms: int
    factor: Decimal
    missing: int
    spike: bool = False


@dataclass(frozen=True, slots=True)
class Survey:
    """Of a series of candles; the first few of each kind, and the largest.

    Attributes:
        candles: how many there are. missing: how many there aren't.
        still: candles without volume.
    """

    candles: int
    first_ms: int
    last_ms: int
    gaps: int
    missing: int
    first_gaps: tuple[Gap, ...]
    longest_gap: Gap | None
    jumps: int
    first_jumps: tuple[Jump, ...]
    largest_jump: Jump | None
    still: int


def survey(candles: Sequence[Candle], *, interval_ms: int) -> Survey:
    """Look at candles in order, of one interval; at least one."""
    gaps: list[Gap] = []
    jumps: list[Jump] = []
    missing_before: dict[int, int] = {}
    for before, after in pairwise(candles):
        missing = (after.open_ms - before.open_ms) // interval_ms - 1
        if missing:
            gaps.append(Gap(before.open_ms, after.open_ms, missing))
            missing_before[after.open_ms] = missing
        if after.open > before.close * JUMP or before.close > after.open * JUMP:
            jumps.append(Jump(after.open_ms, after.open / before.close, missing))
    for candle in candles:
        if candle.high > candle.low * SPIKE:
            missing = missing_before.get(candle.open_ms, 0)
            jumps.append(Jump(candle.open_ms, candle.high / candle.low, missing, spike=True))
    jumps.sort(key=lambda jump: jump.at_ms)
    return Survey(
        candles=len(candles),
        first_ms=candles[0].open_ms,
        last_ms=candles[-1].open_ms,
        gaps=len(gaps),
        missing=sum(gap.missing for gap in gaps),
        first_gaps=tuple(gaps[:FIRST]),
        longest_gap=max(gaps, key=lambda gap: gap.missing, default=None),
        jumps=len(jumps),
        first_jumps=tuple(jumps[:FIRST]),
        largest_jump=max(jumps, key=lambda jump: max(jump.factor, 1 / jump.factor), default=None),
        still=sum(not candle.volume for candle in candles),
    )


# --- interval ------------------------------------------------------------------------------------------------------

NAMED_MS: Mapping[int, str] = {seconds * 1000: name for name, seconds in INTERVAL_SECONDS.items()}


def interval_name(interval_ms: int) -> str:
    """`5m`, or what it is in seconds."""
    return NAMED_MS.get(interval_ms, f"{interval_ms / 1000:g} s")


def spacing(opens: Sequence[int]) -> tuple[int, int]:
    """The most frequent distance of open times in order, and how often it occurs; 0, 0 for less than two."""
    found = Counter(after - before for before, after in pairwise(opens))
    if not found:
        return 0, 0
    # of two that are as frequent the shorter: a gap is longer than an interval
    return min(found.items(), key=lambda item: (-item[1], item[0]))


def check_spacing(opens: Sequence[int], *, interval_ms: int) -> tuple[str, ...]:
    """Whether candles that open then, in order, can be of the interval; gives what people should know.

    Raises:
        Unclear: they are of another one, or between the interval's opens.
    """
    usual, count = spacing(opens)
    distances = len(opens) - 1
    wanted = interval_name(interval_ms)
    if usual and usual != interval_ms and (usual in NAMED_MS or usual < interval_ms) and 2 * count >= distances:
        raise Unclear(
            f"the file has candles of {interval_name(usual)} ({count} of {distances} follow one another at that "
            f"distance), data.interval is {wanted}: give candles of {wanted}, or change data.interval"
        )
    phase = opens[0] % interval_ms
    odd = next((at for at in opens if at % interval_ms != phase), None)
    if odd is not None:
        raise Unclear(
            f"the candle of {_moment(odd)} doesn't open at a whole number of data.interval ({wanted}) after the first "
            f"one ({_moment(opens[0])}): the file has candles of more than one interval, or a damaged time"
        )
    if phase and (interval_ms <= DAY_MS or phase % DAY_MS):
        raise Unclear(
            f"the candle of {_moment(opens[0])} doesn't open at a multiple of data.interval ({wanted}) in UTC, and "
            f"neither do the others, each {phase / 1000:g} s late: are the times of another time zone, or of the "
            "candles' ends?"
        )
    notes = []
    if interval_ms == WEEK_MS and phase != MONDAY_MS:
        notes.append(f"weeks begin on {_DAYS[phase // DAY_MS]}; those of exchanges begin on Monday")
    other = _other_run(opens, interval_ms)
    if other is not None:
        begin, number = other
        distance = interval_name(opens[begin + 1] - opens[begin])
        notes.append(
            f"from {_moment(opens[begin])} on {number} candles follow one another at {distance}: if they are candles "
            f"of {distance}, they don't belong among those of {wanted}"
        )
    if usual != interval_ms and distances:
        notes.append(f"less than two thirds of the candles follow one another at {wanted}: the market seldom trades")
    if not distances:
        notes.append(f"a single candle: nothing but data.interval says that it is one of {wanted}")
    return tuple(notes)


RUN = 10
"""Candles in a row that missing ones hardly leave at one distance, if it is the interval of other candles."""


def _other_run(opens: Sequence[int], interval_ms: int) -> tuple[int, int] | None:
    """The first run of candles at the distance of another interval: index of its first, and how many there are."""
    begin = 0
    for at in range(2, len(opens) + 1):
        distance = opens[begin + 1] - opens[begin]
        if at < len(opens) and opens[at] - opens[at - 1] == distance:
            continue
        if at - begin >= RUN and distance != interval_ms and distance in NAMED_MS:
            return begin, at - begin
        begin = at - 1
    return None


def _moment(at_ms: int) -> str:
    return f"{from_ms(at_ms):%Y-%m-%dT%H:%M:%S}"
