"""When the observer must not believe what it sees."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.classify import suspect_observer
from tests.unit.controller.make import NOW, POLICY, ago


@pytest.mark.parametrize(
    ("claimed", "ages_s", "suspicious"),
    [
        (20, [16.0] * 11, True),
        (20, [16.0] * 10, False),  # exactly half
        (19, [16.0] * 19, False),  # too few bots to tell
        (20, [16 + 0.9 * i for i in range(11)], True),  # within two intervals of 5 s: each was up to one old
        (20, [16 + 1.1 * i for i in range(11)], False),  # one after the other
        (20, [500.0] * 9 + [16.0] * 3, False),
        (20, [500.0] * 11 + [16.0] * 3, True),  # a mass death stays one until it is explained
        (0, [], False),
    ],
)
def test_mass_deaths(claimed: int, ages_s: list[float], suspicious: bool) -> None:
    found = suspect_observer(claimed=claimed, quiet_since=[ago(age) for age in ages_s], now=NOW, policy=POLICY)
    assert found is suspicious


@given(st.lists(st.floats(0, 100), max_size=60), st.integers(0, 60))
def test_agrees_with_the_definition(ages_s: list[float], claimed: int) -> None:
    moments = [ago(age) for age in ages_s]
    span = timedelta(seconds=2 * POLICY.heartbeat_interval_s)
    together = max((sum(first <= m <= first + span for m in moments) for first in moments), default=0)
    expected = claimed >= POLICY.mass_minimum and 2 * together > claimed
    assert suspect_observer(claimed=claimed, quiet_since=moments, now=NOW, policy=POLICY) is expected
