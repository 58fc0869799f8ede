"""The circuit breaker as a table of transitions, and what holds of every history."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from botrunner.exchange.circuit_breaker import FAILURES, OPEN, Circuit, CircuitState

CLOSED, HALF_OPEN = CircuitState.CLOSED, CircuitState.HALF_OPEN
NOW = 1000.0
ONE_LESS = Circuit(failures=FAILURES - 1)
OPENED = Circuit(state=CircuitState.OPEN, opened=1, open_until=NOW)
TRYING = Circuit(state=HALF_OPEN, opened=1, open_until=NOW)


def opened(times: int, seconds: float) -> Circuit:
    return Circuit(state=CircuitState.OPEN, opened=times, open_until=NOW + seconds)


@pytest.mark.parametrize(
    ("before", "asked_s", "after"),
    [
        pytest.param(Circuit(), 0.0, Circuit(failures=1), id="the first failure"),
        pytest.param(Circuit(failures=FAILURES - 2), 0.0, ONE_LESS, id="the last that is let pass"),
        pytest.param(ONE_LESS, 0.0, opened(1, 5.0), id="one too many"),
        pytest.param(Circuit(), 3.0, opened(1, 3.0), id="it asks to be left alone"),
        pytest.param(Circuit(), 259_200.0, opened(1, 259_200.0), id="for three days"),
        pytest.param(TRYING, 0.0, opened(2, 5.0), id="the trial failed"),
        pytest.param(TRYING, 7.0, opened(2, 7.0), id="the trial is answered with a ban"),
    ],
)
def test_what_a_failure_does(before: Circuit, asked_s: float, after: Circuit) -> None:
    assert before.failed(NOW, asked_s=asked_s, draw=0.0) == after


@pytest.mark.parametrize(("opened_before", "longest_s"), [(0, 10.0), (1, 20.0), (2, 40.0), (3, 60.0), (1000, 60.0)])
def test_it_stays_open_for_longer_with_each_trial_that_failed(opened_before: int, longest_s: float) -> None:
    trying = Circuit(state=HALF_OPEN, opened=opened_before)
    for draw, open_s in ((0.0, 5.0), (0.5, (5.0 + longest_s) / 2)):
        assert trying.failed(NOW, draw=draw).left_s(NOW) == pytest.approx(open_s)


@pytest.mark.parametrize("before", [Circuit(), ONE_LESS, TRYING])
def test_an_answer_closes_it_and_forgets_all_failures(before: Circuit) -> None:
    assert before.answered() == Circuit()


@pytest.mark.parametrize(("at", "left_s"), [(NOW - 3, 3.0), (NOW, 0.0), (NOW + 1, 0.0)])
def test_no_request_leaves_before_its_time_is_over(at: float, left_s: float) -> None:
    assert OPENED.left_s(at) == left_s
    assert (Circuit().left_s(at), TRYING.left_s(at)) == (0.0, 0.0)


def test_asking_is_a_trial_only_while_it_is_open() -> None:
    assert OPENED.asking() == TRYING
    assert (Circuit().asking(), TRYING.asking()) == (Circuit(), TRYING)


steps = st.lists(
    st.tuples(
        st.floats(0, 120),
        st.sampled_from(["answer", "failure"]),
        st.sampled_from([0.0, 0.0, 30.0]),
        st.floats(0, 1, exclude_max=True),
    ),
    max_size=60,
)


@given(steps)
def test_of_every_history(history: list[tuple[float, str, float, float]]) -> None:
    """Never more than FAILURES requests in a row without an answer, and then one for each time that it was open; an
    answer always closes it; it is never open for longer than the exchange asked for, or OPEN's most."""
    now, circuit, in_a_row = 0.0, Circuit(), 0
    for passed_s, what, asked_s, draw in history:
        now += passed_s
        before: Any = circuit
        if circuit.left_s(now):
            continue  # nothing leaves
        circuit = circuit.asking()
        if what == "answer":
            circuit, in_a_row = circuit.answered(), 0
            assert circuit.left_s(now) == 0
            continue
        circuit = circuit.failed(now, asked_s=asked_s, draw=draw)
        in_a_row += 1
        if before.state is CLOSED and not asked_s:
            assert (circuit.state is CLOSED) == (in_a_row < FAILURES)
        else:
            assert circuit.state is CircuitState.OPEN
        if circuit.state is CircuitState.OPEN:
            assert OPEN.first_s / 2 - 1e-6 <= circuit.left_s(now) <= OPEN.most_s + 1e-6
