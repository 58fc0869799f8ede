"""What can go wrong with a question to an exchange, by what the caller may do.

ExchangeAway        no or no usable answer: try again later
├── MarketHalted    it answers, but doesn't trade this market now
└── CircuitOpen     it wasn't asked: the circuit breaker is open
    └── ExchangePaused  it wasn't asked: it wants no request from this address now
ExchangeRefused     understood and refused: trying again would be refused again
└── UnknownSymbol   the exchange doesn't list the market: the config must change

A question changes nothing, so it may be asked again whatever became of it. A request that changes something may not:
what can become of an order (refused, certainly not sent, outcome unknown) has errors of its own where orders are sent,
and a refused order is no fault of the config.
"""

from __future__ import annotations

from fleet.errors import ConfigUnusable, TransientError
from fleet.redaction import safe_text

SAID_LIMIT = 300
"""Characters of what an exchange says that are worth keeping."""


class ExchangeAway(TransientError):
    """Time-out, broken connection, 5xx, rate limit or garbage instead of an answer."""


class MarketHalted(ExchangeAway):
    """The exchange answers, but has halted this market: it may open again."""


class CircuitOpen(ExchangeAway):
    """No request left: the exchange failed too often, or asked to be left alone. `retry_after_s` says how long."""


class ExchangePaused(CircuitOpen):
    """No request left: the address has used up its requests, or the exchange told one of its bots to stay away.

    `retry_after_s` is when to try again, which may be before the pause's end: a person may remove it.
    """


class ExchangeRefused(ConfigUnusable):
    """The exchange understood the question and refused it: the config asks for what it doesn't offer."""


class UnknownSymbol(ExchangeRefused):
    """The exchange doesn't list this market, or doesn't trade it now."""


def said(foreign: object) -> str:
    """What an exchange (or a library on its behalf) said, fit for a log, a row and a message.

    The one door for an exchange's words: a page of HTML, a megabyte, a NUL, a signed address.
    """
    return safe_text(foreign, SAID_LIMIT, lines=False)
