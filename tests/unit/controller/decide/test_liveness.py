"""When /healthz asks for a restart: each state of the controller, and that an outage of another is never a reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.decide.liveness import LEASELESS_S, STUCK_AFTER_S, LivenessFacts, Loop, why_unhealthy

BOUND_S = 25.0
LONG_S = 86_400.0
FRESH = {"lease": Loop(ago_s=3, every_s=15), "rows poll": Loop(ago_s=59, every_s=60), "runs": Loop(ago_s=2, every_s=2)}


@pytest.mark.parametrize(
    "facts",
    [
        pytest.param(LivenessFacts(), id="just started"),
        pytest.param(
            LivenessFacts(standby=True, answering_s=LONG_S, loops={"lease": Loop(ago_s=1, every_s=15)}), id="standby"
        ),
        pytest.param(
            LivenessFacts(standby=True, leaseless_s=LONG_S, answering_s=LONG_S),
            id="standby that has led in an earlier life",
        ),
        pytest.param(
            LivenessFacts(leaseless_s=0, answering_s=LONG_S, active=3, unhandled_s=30, loops=FRESH), id="leading"
        ),
        pytest.param(LivenessFacts(loops={"lease": Loop(ago_s=9, every_s=15)}), id="starting without a database"),
        pytest.param(
            LivenessFacts(leaseless_s=LONG_S, answering_s=None, active=16, unhandled_s=13, loops=FRESH),
            id="database away for a day",
        ),
        # the lease is renewed every few seconds: right after the return it isn't held yet
        pytest.param(
            LivenessFacts(leaseless_s=LONG_S, answering_s=4, loops=FRESH), id="database just back after a day"
        ),
        pytest.param(
            LivenessFacts(ending_s=BOUND_S - 1, bound_s=BOUND_S, leaseless_s=99, answering_s=99), id="stopping in time"
        ),
        pytest.param(
            LivenessFacts(ending_s=1, bound_s=BOUND_S, active=9, unhandled_s=500, fault="watch"),
            id="stopping decides alone",
        ),
    ],
)
def test_alive(facts: LivenessFacts) -> None:
    assert why_unhealthy(facts) is None


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        pytest.param(
            LivenessFacts(ending_s=BOUND_S + 3, bound_s=BOUND_S), "should have ended 3 s ago", id="stops for ever"
        ),
        pytest.param(LivenessFacts(fault="the watch on pods ended"), "the watch on pods ended", id="blind"),
        pytest.param(LivenessFacts(standby=True, fault="the watch on pods ended"), "watch", id="blind standby"),
        pytest.param(
            LivenessFacts(leaseless_s=LEASELESS_S + 1, answering_s=LONG_S, loops=FRESH),
            "no lease for 61 s",
            id="manages nothing",
        ),
        pytest.param(
            LivenessFacts(leaseless_s=LONG_S, answering_s=LEASELESS_S + 1),
            "manages nothing",
            id="and doesn't after an outage",
        ),
        pytest.param(
            LivenessFacts(active=1, unhandled_s=STUCK_AFTER_S + 1), "no bot was finished for 121 s", id="stuck workers"
        ),
        pytest.param(
            LivenessFacts(loops={**FRESH, "runs": Loop(ago_s=STUCK_AFTER_S + 3, every_s=2)}),
            "loop `runs`",
            id="stuck loop",
        ),
        pytest.param(
            LivenessFacts(standby=True, loops={"lease": Loop(ago_s=STUCK_AFTER_S + 16, every_s=15)}),
            "loop `lease`",
            id="a standby that no longer asks",
        ),
    ],
)
def test_dead(facts: LivenessFacts, words: str) -> None:
    assert words in (why_unhealthy(facts) or "alive")


seconds = st.floats(0, 1e6)


@given(leaseless_s=st.none() | seconds, standby=st.booleans(), active=st.integers(0, 99), every_s=seconds)
def test_no_outage_of_the_database_is_a_reason(
    leaseless_s: float | None, standby: bool, active: int, every_s: float
) -> None:
    """Its loops come round and its calls end, each with a failure: a restarted one would fare the same."""
    facts = LivenessFacts(
        leaseless_s=leaseless_s,
        standby=standby,
        answering_s=None,
        active=active,
        unhandled_s=STUCK_AFTER_S,
        loops={"runs": Loop(ago_s=every_s + STUCK_AFTER_S, every_s=every_s)},
    )
    assert why_unhealthy(facts) is None


@given(
    ending_s=seconds,
    others=st.builds(LivenessFacts, bound_s=st.just(BOUND_S), leaseless_s=seconds, answering_s=seconds),
)
def test_an_end_is_judged_by_its_bound_alone(ending_s: float, others: LivenessFacts) -> None:
    from dataclasses import replace

    verdict = why_unhealthy(replace(others, ending_s=ending_s))
    assert (verdict is not None) == (ending_s > BOUND_S)
