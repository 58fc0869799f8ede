"""Waits grow, are bounded, and are spread evenly by the draw."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botrunner.process.backoff import DATABASE, EXCHANGE, Backoff

draws = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(
    ("failures", "bound_s"),
    [(0, 0.5), (1, 0.5), (2, 1.0), (3, 2.0), (6, 16.0), (7, 30.0), (60, 30.0), (1_000_000, 30.0)],
)
def test_the_bound_doubles_up_to_the_most(failures: int, bound_s: float) -> None:
    assert EXCHANGE.bound_s(failures) == bound_s
    assert EXCHANGE.wait_s(failures, draw=0.0) == 0.25
    assert EXCHANGE.wait_s(failures, draw=0.5) == (0.25 + bound_s) / 2


def test_a_bar_waits_for_its_commit_two_seconds_at_a_time_at_most() -> None:
    assert (DATABASE.first_s, DATABASE.bound_s(100)) == (0.1, 2.0)


@given(st.floats(0.001, 100), st.floats(1, 100), st.integers(0, 10_000), draws)
def test_no_wait_vanishes_or_exceeds_the_most(first_s: float, times: float, failures: int, draw: float) -> None:
    backoff = Backoff(first_s=first_s, most_s=first_s * times)
    assert first_s / 2 <= backoff.wait_s(failures, draw=draw) <= first_s * times * (1 + 1e-12)


@given(st.integers(0, 100), draws, draws)
def test_waits_grow_with_failures_and_with_the_draw(failures: int, one: float, other: float) -> None:
    assert EXCHANGE.wait_s(failures, draw=one) <= EXCHANGE.wait_s(failures + 1, draw=one)
    low, high = sorted((one, other))
    assert EXCHANGE.wait_s(failures, draw=low) <= EXCHANGE.wait_s(failures, draw=high)
