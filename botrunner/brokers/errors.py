"""What can go wrong with an exchange, by what the caller may do.

ExchangeAway        no or no usable answer: try again later
├── MarketHalted    it answers, but doesn't trade this market now
└── CircuitOpen     it wasn't asked: the circuit breaker is open
ExchangeRefused     understood and refused: trying again would be refused again
└── UnknownSymbol   the exchange doesn't list the market: the config must change
"""

from __future__ import annotations

from fleet.errors import ConfigUnusable, TransientError


class ExchangeAway(TransientError):
    """Time-out, broken connection, 5xx, rate limit or garbage instead of an answer."""


class MarketHalted(ExchangeAway):
    """The exchange answers, but has halted this market: it may open again."""


class CircuitOpen(ExchangeAway):
    """No request left: the exchange failed too often, or asked to be left alone. `retry_after_s` says how long."""


class ExchangeRefused(ConfigUnusable):
    """The exchange understood and refused."""


class UnknownSymbol(ExchangeRefused):
    """The exchange doesn't list this market, or doesn't trade it now."""
