"""When failures are too many; the count is a value that survives any kill."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botrunner.engine.budget import STATE_KEY, BudgetLimits, ErrorBudget, load_budget, without_budget

LIMITS = BudgetLimits(in_a_row=3, in_window=5, window_bars=20)
M = 60_000


def after(outcomes: str, budget: ErrorBudget | None = None) -> ErrorBudget:
    """x: failed, o: decided, from minute 0 on."""
    budget = budget or ErrorBudget(version=1)
    for minute, outcome in enumerate(outcomes):
        step = budget.failed if outcome == "x" else budget.decided
        budget = step(minute * M, interval_ms=M, limits=LIMITS)
    return budget


@pytest.mark.parametrize(
    ("outcomes", "spent", "for_good"),
    [
        ("", False, False),
        ("xx", False, False),
        ("xxoxxo", False, False),
        ("xxx", True, False),
        ("xxxx", True, True),
        ("xoxoxoxo", False, False),
        ("xoxoxoxox", True, False),
        ("xoxoxoxoxox", True, True),
        pytest.param("xoxoxoxo" + "o" * 12 + "x", False, False, id="the first has left the window"),
        pytest.param("xxxo", False, False, id="one decision ends the row"),
    ],
)
def test_how_many_are_too_many(outcomes: str, spent: bool, for_good: bool) -> None:
    budget = after(outcomes)
    assert (budget.spent(LIMITS), budget.spent_for_good(LIMITS)) == (spent, for_good)


@given(st.text("xo", max_size=60), st.integers(0, 60))
def test_a_kill_anywhere_changes_no_count(outcomes: str, at: int) -> None:
    whole = ErrorBudget(version=1)
    resumed = ErrorBudget(version=1)
    for minute, outcome in enumerate(outcomes):
        if minute == at:
            resumed = load_budget({STATE_KEY: resumed.dump()} if resumed.at else {}, version=1)
        whole, resumed = (
            (it.failed if outcome == "x" else it.decided)(minute * M, interval_ms=M, limits=LIMITS)
            for it in (whole, resumed)
        )
    assert resumed == whole


@pytest.mark.parametrize(
    "saved",
    [
        None,
        5,
        {},
        {"version": 1},
        {"version": 1, "in_a_row": "3", "at": []},
        {"version": 1, "in_a_row": 3, "at": ["x"]},
    ],
)
def test_what_makes_no_sense_is_a_fresh_budget(saved: Any) -> None:
    assert load_budget({STATE_KEY: saved, "seen": 1}, version=1) == ErrorBudget(version=1)


def test_another_config_begins_anew() -> None:
    state = {"seen": 3, STATE_KEY: after("xxx").dump()}
    assert load_budget(state, version=1).spent(LIMITS)
    assert load_budget(state, version=2) == ErrorBudget(version=2)
    assert without_budget(state) == {"seen": 3}
