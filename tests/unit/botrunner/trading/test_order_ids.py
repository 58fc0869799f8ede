import re
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from botrunner.trading.order_ids import Leg, client_order_id

BAR = datetime(2018, 1, 10, 4, 55, tzinfo=UTC)
decisions = st.tuples(st.integers(1, 10**6), st.integers(0, 10**6), st.sampled_from(Leg), st.integers(0, 5))


def _id(decision: tuple[int, int, Leg, int]) -> str:
    bot_id, minute, leg, attempt = decision
    return client_order_id(bot_id=bot_id, signal_at=BAR + timedelta(minutes=minute), leg=leg, attempt=attempt)


@given(decisions, decisions)
def test_equal_exactly_for_the_same_decision(one: tuple[int, int, Leg, int], other: tuple[int, int, Leg, int]) -> None:
    assert (_id(one) == _id(other)) == (one == other)
    assert re.fullmatch("[0-9a-f]{32}", _id(one))


def test_ids_are_the_same_in_every_version() -> None:
    # a changed id would let an old and a new version send the same decision twice
    assert client_order_id(bot_id=7, signal_at=BAR, leg=Leg.ENTRY) == "30efae66570858e68b12bb4be9b51923"
