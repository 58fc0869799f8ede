"""Rows as the tables would give them back. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Context, Decimal
from enum import Enum
from typing import Any

Row = Mapping[str, Any]

MONEY_SCALE = 18
SCALES: Mapping[str, int] = {"pnl_percentage": 8}
"""Decimals of a column's NUMERIC where it isn't MONEY_SCALE (`fleet.tables`)."""

_WIDE = Context(prec=60, rounding=ROUND_HALF_UP)
"""PostgreSQL rounds to a column's scale with ties away from zero; 60 digits hold every NUMERIC(38, 18)."""


def as_stored(row: Row) -> dict[str, Any]:
    """The row after a round trip through its table: rounded to the column's scale, times in UTC, enums as texts.

    Decimals come without trailing zeros, so that equal values also print alike.
    """
    return {column: _stored(column, value) for column, value in row.items()}


def _stored(column: str, value: Any) -> Any:
    if isinstance(value, Decimal):
        return _bare(value.quantize(Decimal(1).scaleb(-SCALES.get(column, MONEY_SCALE)), context=_WIDE))
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    return value


def _bare(value: Decimal) -> Decimal:
    if not value:
        return Decimal(0)
    bare = value.normalize(_WIDE)
    exponent = bare.as_tuple().exponent
    return bare.quantize(Decimal(1), context=_WIDE) if isinstance(exponent, int) and exponent > 0 else bare
