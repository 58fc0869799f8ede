"""Waits before another try: how they grow, where they end, and what chance does to them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.backoff import between_s, nominal_s


@pytest.mark.parametrize(
    ("failures", "wait_s"), [(-1, 5), (0, 5), (1, 5), (2, 10), (3, 20), (6, 160), (7, 300), (8, 300), (10**9, 300)]
)
def test_it_doubles_up_to_the_limit(failures: int, wait_s: float) -> None:
    assert nominal_s(failures, first_s=5, most_s=300) == wait_s


def test_another_factor_and_a_first_wait_beyond_the_limit() -> None:
    assert [nominal_s(failures, first_s=1, most_s=50, factor=3) for failures in (1, 2, 3, 4, 5)] == [1, 3, 9, 27, 50]
    assert nominal_s(1, first_s=10, most_s=2) == 2


@given(st.integers(), st.floats(0.01, 100), st.floats(0.01, 1e4))
def test_it_never_falls_and_is_bounded(failures: int, first_s: float, most_s: float) -> None:
    here = nominal_s(failures, first_s=first_s, most_s=most_s)
    assert min(first_s, most_s) <= here <= most_s
    assert here <= nominal_s(failures + 1, first_s=first_s, most_s=most_s)


@given(st.floats(0, 1e4), st.floats(0, 1e4), st.floats(0, 1, exclude_max=True))
def test_chance_stays_within_the_range(low_s: float, wide_s: float, chance: float) -> None:
    assert low_s <= between_s(low_s, low_s + wide_s, chance) <= low_s + wide_s * (1 + 1e-9) + 1e-9


def test_the_ends_of_the_range() -> None:
    assert (between_s(2, 6, 0.0), between_s(2, 6, 0.5), between_s(3, 3, 0.9)) == (2, 4, 3)
