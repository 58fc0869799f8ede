"""BrokerManager: brokers by name.

A broker is a class that names its exchange, connects to it, and answers what a bot needs: the market's rules, the
server's time and closed candles. Paper trading needs no more; packages add brokers through the entry point group
`botfleet.brokers` (name → class with the methods of `Broker`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol, runtime_checkable

from botrunner.market.candle import Candle
from botrunner.market.rules import Market
from fleet.errors import ConfigUnusable

GROUP = "botfleet.brokers"


class UnknownBroker(ConfigUnusable):
    """No broker of this name is installed, or its package is broken."""


class Broker(Protocol):
    """What every broker answers. All calls block, for a few seconds at most."""

    name: str

    def market(self, symbol: str) -> Market:
        """The symbol's rules. Raises UnknownSymbol, ExchangeAway, ExchangeRefused."""

    def server_time_ms(self) -> int:
        """The exchange's clock, Unix ms. Raises ExchangeAway."""

    def candles(self, symbol: str, interval: str, *, since_ms: int, limit: int) -> list[Candle]:
        """Candles from `since_ms` on in order, the running one included. Raises ExchangeAway, ExchangeRefused."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What an exchange said of the address's requests.

    Attributes:
        share: used, of what it may in this minute. turns_s: seconds until the count begins anew.
    """

    share: float
    turns_s: float


@runtime_checkable
class Metered(Protocol):
    """What a broker has besides `Broker` whose exchange counts requests in its answers."""

    def usage(self) -> Usage | None:
        """As of the last answer; None when it didn't say."""


class BrokerFactory(Protocol):
    """How a broker is made."""

    def __call__(self, *, base_url: str | None) -> Broker:
        """Args: base_url: talk to this server instead of the exchange's public one."""


class BrokerManager:
    """Finds and makes brokers.

    Args:
        urls: exchange id → base URL that replaces the public one (BOTFLEET_EXCHANGE_URLS).
    """

    def __init__(self, urls: Mapping[str, str]) -> None:
        self._urls = urls
        self._entries: dict[str, EntryPoint] = {entry.name: entry for entry in entry_points(group=GROUP)}

    def names(self) -> list[str]:
        """Names of the installed brokers."""
        return sorted(self._entries)

    def get(self, name: str) -> Broker:
        """Make the broker.

        Raises:
            UnknownBroker: not installed, or its package can't be imported.
        """
        entry = self._entries.get(name)
        if entry is None:
            near = get_close_matches(name, self._entries, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; installed are {', '.join(self.names())}"
            raise UnknownBroker(f"broker.type: there is no broker {name!r}{hint}")
        try:
            factory: BrokerFactory = entry.load()
        except Exception as error:  # a package's own code runs here and may raise anything
            raise UnknownBroker(
                f"broker.type: broker {name!r} can't be loaded from {entry.value}: {type(error).__name__}: {error}"
            ) from error
        return factory(base_url=self._urls.get(name))
