"""Prices as decimal numbers: where a rule compares a price with a ratio of another one, equality must count.

Lines are floats, and so are the indicators. But 100 × (1 + 0.1) is 110.00000000000001 in floats, so that a close of 110
would not have reached a target of 10 %. Whatever is compared with a price times a ratio is therefore made exact first.
"""

from __future__ import annotations

from decimal import Decimal


def exact(value: float) -> Decimal:
    """The decimal number that a float was made from: its shortest text, which is what candle and config said.

    Exact for up to 15 significant digits. NaN stays NaN, with which Decimals can't be compared: ask `isnan` first.
    """
    return Decimal(repr(float(value)))
