from hypothesis import given
from hypothesis import strategies as st

from botrunner.engine.blocks import anchor_ms, block_end_ms

MINUTE = 60_000


@given(st.integers(0, 10**9), st.sampled_from([1, 5, 60]), st.integers(50, 1000))
def test_every_bar_has_between_one_and_two_lookbacks_of_warmup(number: int, minutes: int, lookback: int) -> None:
    interval_ms = minutes * MINUTE
    open_ms = number * interval_ms
    anchor = anchor_ms(open_ms, interval_ms=interval_ms, lookback=lookback)
    bars = (open_ms - anchor) // interval_ms
    assert lookback <= bars < 2 * lookback
    assert anchor % (interval_ms * lookback) == 0


@given(st.integers(0, 10**9), st.integers(50, 1000))
def test_bars_of_a_block_share_their_anchor(number: int, lookback: int) -> None:
    open_ms = number * MINUTE
    end = block_end_ms(open_ms, interval_ms=MINUTE, lookback=lookback)
    anchor = anchor_ms(open_ms, interval_ms=MINUTE, lookback=lookback)
    assert anchor_ms(end - MINUTE, interval_ms=MINUTE, lookback=lookback) == anchor
    assert anchor_ms(end, interval_ms=MINUTE, lookback=lookback) == anchor + MINUTE * lookback
