"""What can go wrong with a request that changes something at an exchange, by what the caller may do.

OrderRefused        understood and refused: nothing of it is there or will be, the same again would be refused again
└── StopPassed      it is a stop, and the price is beyond it already: as a market order it would be taken
NotSent             certainly nothing of it is there or will be: the same again may be sent
└── SendingPaused   the exchange wants no request from this address for `retry_after_s`
UnknownOutcome      it may be there, or still arrive: only a look-up tells, never the same again

Questions that change nothing raise `exchange.errors.ExchangeAway` instead, and may be asked again.
"""

from __future__ import annotations

from fleet.errors import BotfleetError, PermanentError, TransientError


class OrderRefused(PermanentError):
    """The exchange understood the request and refused it. The message is the exchange's reason, for people.

    No fault of the config: the next order may be taken.
    """


class StopPassed(OrderRefused):
    """A stop that would be triggered at once, which some exchanges don't take (Binance: "Stop price would trigger
    immediately")."""


class NotSent(TransientError):
    """Nothing was accepted, provably: the connection was refused, or the exchange turned the request away unread (too
    many orders, its time was over)."""


class SendingPaused(NotSent):
    """The address is to be silent for `retry_after_s`; no request left, or it was turned away for that."""


class UnknownOutcome(BotfleetError):
    """A time-out, a 5xx, an answer that nobody can read, or that an order of this id is there already.

    Deliberately no TransientError: whatever repeats those would send an order twice.
    """
