"""Market rules through the database: one bot asks the exchange, all others read.

Guarantees: of bots that start together one per market asks, whatever comes of it (an answer, a refusal, silence) the
next not before CLAIM_S; a bot never waits longer than WAIT_MOST_S at a time; trouble with the shared rules costs a
request of its own and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import psycopg

from botrunner.exchange.broker import Broker
from botrunner.exchange.errors import ExchangeAway, MarketHalted
from botrunner.exchange.shared_rules import (
    CLAIM_S,
    LOOK_AGAIN_S,
    Step,
    dump_rules,
    is_usable,
    next_step,
    read_rules_document,
)
from botrunner.market.rules import Market
from fleet.clock import Clock
from fleet.errors import DatabaseAway
from fleet.foreign import Unreadable, clean_text
from fleet.log import get_logger
from fleet.trading_service.exchanges import Address, RulesRow, claim_rules, leave_claim, read_rules, store_rules

log = get_logger("rules")

T = TypeVar("T")


class Consult(Protocol):
    """Asks the database, once (`Ledger.consult`)."""

    def __call__(self, question: Callable[[psycopg.Connection[Any]], T]) -> T:
        """The answer. Raises DatabaseAway."""


class MarketRulesCache:
    """The rules of one exchange's markets.

    Args:
        broker: who is asked when the database has none.
        address: of the exchange. bot_id: who asks.
        consult: the database.
        pause: waits so many seconds; True: give up, somebody asked to stop.
        alive: called before each wait.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        address: Address,
        bot_id: int,
        consult: Consult,
        pause: Callable[[float], bool],
        alive: Callable[[], None],
        clock: Clock,
    ) -> None:
        self._broker = broker
        self._address = address
        self._bot_id = bot_id
        self._consult = consult
        self._pause = pause
        self._alive = alive
        self._clock = clock

    def market(self, symbol: str) -> Market:
        """The rules, fresh or, when the exchange is away, not too old.

        Raises:
            UnknownSymbol, ExchangeRefused: see `Broker.market`. ExchangeAway: no rules now; try again.
        """
        try:
            return self._shared(symbol)
        except (DatabaseAway, psycopg.Error) as error:
            # a lock that somebody holds, missing rights, a row that a constraint refuses: an own question is as good
            log.warning("market_rules_unshared", symbol=symbol, error=clean_text(error, 300))
            return self._broker.market(symbol)

    def _shared(self, symbol: str) -> Market:
        began = self._clock.monotonic()
        while True:
            row = self._consult(lambda connection: read_rules(connection, self._address, symbol))
            known = self._known(row, symbol)
            step = next_step(
                self._bot_id,
                readable=known is not None,
                age_s=row.age_s,
                claim_age_s=row.claim_age_s,
                waited_s=self._clock.monotonic() - began,
            )
            if step is Step.USE:
                assert known is not None
                log.info("market_rules", symbol=symbol, source="database", age_s=round(row.age_s or 0.0))
                return known
            if step is Step.ASK and self._claim(symbol, row):
                return self._asked(symbol, known, row)
            if step is Step.GIVE_UP:
                away = ExchangeAway(f"the rules of {symbol} are being asked for by other bots, so far in vain")
                return self._stale(symbol, known, row, away)
            self._alive()
            if self._pause(LOOK_AGAIN_S):
                raise ExchangeAway("asked to stop while other bots ask for the market's rules")

    def _known(self, row: RulesRow, symbol: str) -> Market | None:
        if row.document is None:
            return None
        read = read_rules_document(row.document, symbol)
        if isinstance(read, Unreadable):
            log.warning("market_rules_unreadable", symbol=symbol, reason=read.reason)
            return None
        return read

    def _claim(self, symbol: str, row: RulesRow) -> bool:
        return self._consult(
            lambda connection: claim_rules(
                connection, self._address, symbol, bot_id=self._bot_id, seen=row.fetched_at, claim_s=CLAIM_S
            )
        )

    def _asked(self, symbol: str, known: Market | None, row: RulesRow) -> Market:
        """The exchange's own answer. After a failure the claim stands, so that others don't ask the same at once."""
        try:
            market = self._broker.market(symbol)
        except MarketHalted:
            raise
        except ExchangeAway as error:
            return self._stale(symbol, known, row, error)
        rules = dump_rules(market)
        log.info("market_rules", symbol=symbol, source="exchange", shared=rules is not None)
        self._hand_on(symbol, rules)
        return market

    def _hand_on(self, symbol: str, rules: dict[str, str] | None) -> None:
        """Give others the answer, or at least the right to ask; this bot has what it wanted, whatever comes of that."""
        where, me = self._address, self._bot_id
        try:
            if rules is None:
                self._consult(lambda connection: leave_claim(connection, where, symbol, bot_id=me))
            else:
                self._consult(lambda connection: store_rules(connection, where, symbol, bot_id=me, rules=rules))
        except (DatabaseAway, psycopg.Error) as error:
            log.warning("market_rules_unshared", symbol=symbol, error=clean_text(error, 300))

    def _stale(self, symbol: str, known: Market | None, row: RulesRow, error: ExchangeAway) -> Market:
        """Old rules instead of none.

        Raises:
            ExchangeAway: the error, when there are none or they are too old.
        """
        if known is None or not is_usable(row.age_s):
            raise error
        log.warning("market_rules_stale", symbol=symbol, age_s=round(row.age_s or 0.0), error=str(error))
        return known
