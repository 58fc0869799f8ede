"""Entries that come to nothing again and again for the same reason are counted, so that a person hears of it. Pure.

A bot whose entries expire or are refused one after the other looks healthy: it runs, decides and trades nothing. The
count is part of the account, and so of the checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from botrunner.trading.risk import BREACHES, TENANT_LIMITS, Denial
from fleet.events import Event, EventKind

TOLD_AFTER = 5
"""Lost entries in a row that make a message: few enough to be heard soon, too many for chance."""


class Loss(StrEnum):
    """Why an entry that was sent came to nothing; one that wasn't sent has a Denial."""

    UNAFFORDABLE = "unaffordable"
    """The account couldn't pay for it at the actual price."""
    NOT_FILLED = "not_filled"
    """A limit that wasn't filled in time."""
    REJECTED = "rejected"
    """The exchange refused the order."""


NOT_COUNTED = frozenset({*BREACHES, *TENANT_LIMITS, Denial.COOLDOWN, Denial.STOPPING})
"""Denials that the owner asked for and that are told otherwise (`risk_breach`) or end by themselves."""

ADVICE: Mapping[str, str] = MappingProxyType(
    {
        Loss.UNAFFORDABLE: "The price had risen since the order was sized. Leave room for that: "
        "trading.position_size below 1.",
        Loss.NOT_FILLED: "The price didn't come to the limit, or nobody traded there. See trading.limit_offset_pct "
        "and trading.limit_ttl_bars.",
        Loss.REJECTED: "The exchange refused the orders; the order_rejected events say why.",
        Denial.BELOW_MIN_QUANTITY: "The position would be smaller than the exchange accepts. See the balance, "
        "trading.position_size and the limits of risk_management.",
        Denial.BELOW_MIN_NOTIONAL: "The position would be worth less than the exchange accepts, at its entry or after "
        "the loss that the stop allows. See the balance, trading.position_size and the limits of risk_management.",
        Denial.SHORT_NOT_ALLOWED: "The strategy sells short, and trading.allow_short is off or the market can't.",
        Denial.LATE_CANDLE: "The candles came too late to be traded with real money.",
    }
)
"""What a person can do about each reason."""


@dataclass(frozen=True, slots=True)
class LostEntries:
    """Entries in a row that came to nothing for one reason.

    Attributes:
        reason: of each of them, a Loss or a Denial.
        since: open time of the bar at which the first was lost.
    """

    reason: str
    count: int
    since: datetime

    @property
    def is_news(self) -> bool:
        """Whether a person is to be told now: once, however long it goes on."""
        return self.count == TOLD_AFTER


def after_loss(before: LostEntries | None, reason: Loss | Denial, *, at: datetime) -> LostEntries | None:
    """The count after one more entry was lost at the bar that opened at `at`; another reason begins anew."""
    if reason in NOT_COUNTED:
        return before
    if before is not None and before.reason == reason:
        return replace(before, count=before.count + 1)
    return LostEntries(reason.value, 1, at)


def event_of(lost: LostEntries, *, bot_id: int, symbol: str) -> Event:
    """What the owner is told."""
    return Event(
        kind=EventKind.ENTRIES_LOST,
        title=f"{lost.count} entries in a row came to nothing in {symbol}: {lost.reason}",
        body=f"{ADVICE.get(lost.reason, lost.reason)} It is said once, until a position is opened.",
        facts={"reason": lost.reason, "entries": str(lost.count), "since": lost.since.isoformat()},
        dedupe_key=f"entries_lost:{bot_id}:{lost.reason}:{lost.since.isoformat()}",
    )
