from decimal import Decimal

import pytest

from botrunner.market.candle import Candle, is_sound

D = Decimal


def candle(o: str = "2", h: str = "3", low: str = "1", c: str = "2", v: str = "5") -> Candle:
    return Candle(0, D(o), D(h), D(low), D(c), D(v))


@pytest.mark.parametrize(
    ("made", "sound"),
    [
        (candle(), True),
        (candle(v="0"), True),
        (candle("2", "2", "2", "2"), True),
        (candle(h="1.5"), False),
        (candle(low="2.5"), False),
        (candle(low="0"), False),
        (candle(c="NaN"), False),
        (candle(v="-1"), False),
        (candle(v="Infinity"), False),
    ],
)
def test_is_sound(made: Candle, sound: bool) -> None:
    assert is_sound(made) is sound
