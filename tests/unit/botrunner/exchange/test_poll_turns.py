"""Who asks when: the arithmetic that keeps a fleet below an exchange's limit."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botrunner.exchange.poll_turns import (
    ALONE,
    ASKING_PER_S,
    FEW,
    POLL_WEIGHT,
    RETURN_MOST_S,
    WINDOW_MOST_MS,
    WINDOW_SHARE,
    place,
    return_s,
    turn_of,
)

M, H = 60_000, 3_600_000
WEIGHT_LIMIT = 6_000
EXCHANGE_INFO, WARM_UP = 20, 2 * POLL_WEIGHT + 2
"""Of a start: the rules, if they aren't known; time and candles twice (where to begin, the first look), one page of
warm-up. A warm-up of more than a thousand candles costs 2 more for each thousand."""

IDLE_LOOKS = 6
"""A bot asks for the time every 10 s while its candle runs; weight 1."""


@pytest.mark.parametrize("sharing", range(FEW + 1))
@pytest.mark.parametrize("interval_ms", [1000, M, H])
def test_a_few_bots_lose_no_time(sharing: int, interval_ms: int) -> None:
    assert turn_of(17, sharing=sharing, interval_ms=interval_ms) == ALONE


@pytest.mark.parametrize(
    ("sharing", "interval_ms", "window_ms"),
    [
        (20, M, 1_000),
        (100, M, 5_000),
        (100, 24 * H, 5_000),  # the window follows from the number of bots, not from the interval
        (120, M, 6_000),
        (1000, M, 6_000),  # a tenth of the interval
        (1000, H, 20_000),  # never longer
        (1000, 30_000, 0),  # too short to spread anything
    ],
)
def test_windows(sharing: int, interval_ms: int, window_ms: int) -> None:
    found = [turn_of(bot, sharing=sharing, interval_ms=interval_ms).after_ms for bot in range(1, 1001)]
    assert min(found) == pytest.approx(0, abs=0.01 * window_ms)
    assert max(found) == pytest.approx(window_ms, rel=0.01)


def test_a_bots_turn_is_its_own_for_ever() -> None:
    assert [round(place(bot), 3) for bot in (1, 2, 3, 100)] == [0.618, 0.236, 0.854, 0.803]


@given(
    bot=st.integers(1, 10**18),
    sharing=st.integers(0, 100_000),
    interval_ms=st.sampled_from([1000, M, 5 * M, H, 24 * H]),
)
def test_no_turn_costs_more_than_its_share_of_the_interval(bot: int, sharing: int, interval_ms: int) -> None:
    turn = turn_of(bot, sharing=sharing, interval_ms=interval_ms)
    assert 0 <= turn.after_ms <= min(WINDOW_SHARE * interval_ms, WINDOW_MOST_MS)
    assert 0 <= turn.least_ms <= interval_ms
    assert 0 <= place(bot) < 1
    assert 0 <= return_s(bot, sharing=sharing) <= RETURN_MOST_S


@pytest.mark.parametrize("bots", [20, 100, 120])
@pytest.mark.parametrize("chosen", ["consecutive", "even", "random"])
def test_no_second_after_a_close_sees_many_more_than_its_share(bots: int, chosen: str) -> None:
    ids = {
        "consecutive": range(501, 501 + bots),
        "even": range(2, 2 * bots + 2, 2),
        "random": Random(1).sample(range(1, 10**6), bots),
    }[chosen]
    seconds = Counter(turn_of(bot, sharing=bots, interval_ms=M).after_ms // 1000 for bot in ids)
    most = ASKING_PER_S * (2 if chosen == "random" else 1.25)
    assert max(seconds.values()) <= most


@pytest.mark.parametrize(
    ("what", "weight", "most"),
    [
        ("100 bots of one minute, candle after candle", 100 * (POLL_WEIGHT + IDLE_LOOKS), 0.15),
        ("100 bots whose candle is late all the time", 100 * (M / 6_000) * POLL_WEIGHT, 0.5),
        ("100 bots of one market start at once", EXCHANGE_INFO + 100 * (WARM_UP + IDLE_LOOKS), 0.25),
        ("100 bots of 100 markets start at once", 100 * (EXCHANGE_INFO + WARM_UP + IDLE_LOOKS), 0.6),
        ("all of this in one minute", 100 * (EXCHANGE_INFO + WARM_UP + IDLE_LOOKS + POLL_WEIGHT), 0.65),
    ],
)
def test_a_hundred_bots_stay_below_the_limit(what: str, weight: float, most: float) -> None:
    assert turn_of(1, sharing=100, interval_ms=M).least_ms == 6_000
    assert weight / WEIGHT_LIMIT <= most, what


@pytest.mark.parametrize("bots", [6, 50, 100, 500])
def test_an_overdue_candle_never_costs_more_than_half_of_the_limit(bots: int) -> None:
    least_s = turn_of(1, sharing=bots, interval_ms=H).least_ms / 1000
    assert bots * POLL_WEIGHT * 60 / least_s <= 0.5 * WEIGHT_LIMIT
