"""Amounts for people: short, without exponent, and never 0 for what is something. Pure."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Final

SIGNIFICANT: Final = 4
"""Digits that an amount keeps however small it is: 0.00000756 BTC isn't nothing."""

SCALE: Final = 18
"""Decimals of the tables' money; what is smaller is the dust of a division."""

LARGEST_EXPONENT: Final = 60
"""Beyond the tables' money; longer digits help nobody."""

_EXACT = Context(prec=100, rounding=ROUND_HALF_EVEN)


def readable(value: Decimal | int, *, places: int = 8, signed: bool = False) -> str:
    """An amount without trailing zeros.

    Args:
        places: decimals it is rounded to, or as many more as it takes to show SIGNIFICANT digits of it; two places ask
            for two digits.
        signed: with + in front of gains.
    """
    value = Decimal(value)
    if not value.is_finite():
        return str(value)
    if value.adjusted() > LARGEST_EXPONENT:
        return f"{value:{'+' if signed else ''}.{SIGNIFICANT}e}"
    exact = value.quantize(Decimal(1).scaleb(-SCALE), context=_EXACT)
    if not exact:
        return "0"
    kept = max(places, min(SIGNIFICANT, places) - 1 - exact.adjusted())
    rounded = exact.quantize(Decimal(1).scaleb(-min(kept, SCALE)), context=_EXACT)
    text = f"{rounded:{'+' if signed else ''}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
