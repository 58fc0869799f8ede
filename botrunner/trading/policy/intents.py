"""What the policy wants done: values that the bot hands to the venue and the book. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import TypeAlias

from botrunner.trading.order_ids import Leg
from botrunner.trading.orders import Order
from fleet.exit_kinds import ExitKind

LEG_KINDS: Mapping[Leg, ExitKind] = MappingProxyType(
    {
        Leg.STOP_LOSS: ExitKind.STOP,
        Leg.TAKE_PROFIT: ExitKind.TARGET,
        Leg.FLATTEN: ExitKind.FLATTEN,
    }
)
"""What an order of a leg closes a position as; of an exit that the strategy asked for, its signal says it."""

DUST = "dust"
"""Reason of a position that is too small to be sold."""


@dataclass(frozen=True, slots=True)
class Submit:
    """Send an order; its leg tells entry, exit and protection apart, its reason says why."""

    order: Order


@dataclass(frozen=True, slots=True)
class Amend:
    """Give an open order another price (quote per base) or quantity (base currency, what was executed included)."""

    order: Order
    price: Decimal | None
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class Cancel:
    """Take back what is left of an open order; don't send a rejected one again."""

    order: Order


@dataclass(frozen=True, slots=True)
class WriteOff:
    """End the position without an order: what is left of it can't be sold. Not while its entry may still add to it, and
    not before the orders that would close it have ended, which it has cancelled.

    Attributes:
        at: when that was seen. reason, kind: why it was to be closed, if no exit has sold any of it.
    """

    at: datetime
    reason: str | None = None
    kind: ExitKind | None = None


Intent: TypeAlias = Submit | Amend | Cancel | WriteOff
