"""What a bot shares with every other bot of its exchange and address: pauses, and how many they are.

An exchange counts requests by address, not by bot, so a bot that is told to stay away (429, 418) tells the others
through the database, beside its next heartbeat, and learns with each heartbeat what they were told. Who hears of a
pause asks nothing until it is over and its own turn has come. Two threads meet here: the main loop asks and tells,
the heartbeat's thread reads and writes; only the latter, and the main loop's start, touch the database.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import psycopg

from botrunner.exchange.poll_turns import Turn, return_s, turn_of
from fleet.clock import Clock
from fleet.errors import DatabaseAway
from fleet.foreign import clean_text
from fleet.log import get_logger
from fleet.trading_service.exchanges import (
    LONGEST_PAUSE_S,
    Address,
    PauseRow,
    count_sharing,
    note_waiting,
    read_pause,
    tell_pause,
)
from fleet.trading_service.lease import RunId

log = get_logger("address")

COUNT_EVERY_S = 60.0
"""How many share the address changes slowly, and costs a look at all current runs."""


@dataclass(frozen=True, slots=True)
class _Pause:
    """Until when (monotonic), and in words for people, which stay the same as long as it lasts."""

    until: float
    words: str


@dataclass(frozen=True, slots=True)
class _Told:
    """What the exchange told this bot and others don't know yet."""

    until: float
    reason: str


class SharedRateLimit:
    """One bot's part in the rate limit of an exchange and address.

    Args:
        run: whose row says what the bot waits for.
        address: shared with others.
        send_now: asks for a heartbeat at once.
    """

    def __init__(self, *, run: RunId, address: Address, clock: Clock, send_now: Callable[[], None]) -> None:
        self.address = address
        self._run = run
        self._clock = clock
        self._hurry = send_now
        self._lock = threading.Lock()
        self._pause: _Pause | None = None
        self._told: _Told | None = None
        self._noted: str | None = None
        self._sharing = 1
        self._counted_at: float | None = None
        self._failing = False

    # --- main loop -------------------------------------------------------------------------------------------------

    def turn(self, interval_ms: int) -> Turn:
        """When this bot asks for candles."""
        return turn_of(self._run.bot_id, sharing=self._sharing, interval_ms=interval_ms)

    def left_s(self) -> float:
        """Seconds until this bot may ask; 0 when it may."""
        with self._lock:
            pause = self._pause
        return 0.0 if pause is None else max(pause.until - self._clock.monotonic(), 0.0)

    def return_s(self) -> float:
        """How long after a common pause's end it is this bot's turn, seconds."""
        return return_s(self._run.bot_id, sharing=self._sharing)

    def pause(self, seconds: float, reason: str) -> None:
        """The exchange wants no request for so long: ask nothing, and let the others know."""
        with self._lock:
            until = self._clock.monotonic() + min(seconds, LONGEST_PAUSE_S)
            self._told = _Told(until, reason)
            words = f"{self.address.exchange} told this bot to ask nothing for {seconds:.0f} s ({reason[:200]})"
            self._pause = self._longer(_Pause(until + self.return_s(), words))
        self._hurry()

    def begin(self, consult: Callable[[Callable[[psycopg.Connection[Any]], None]], None]) -> None:
        """Learn what others know, before the first request; without an answer the first heartbeat will tell.

        Args:
            consult: asks the database once (`Ledger.consult`).
        """
        try:
            self._guarded(lambda: consult(self._look))
        except DatabaseAway as error:
            log.warning("address_unshared", error=clean_text(error, 300))

    # --- heartbeat's thread ----------------------------------------------------------------------------------------

    def sync(self, connection: psycopg.Connection[Any]) -> None:
        """Tell and learn, on the heartbeat's connection; trouble with it costs the shared facts and nothing else.

        Raises:
            DatabaseAway: no answer.
        """
        self._guarded(lambda: self._sync(connection))

    def _sync(self, connection: psycopg.Connection[Any]) -> None:
        self._tell(connection)
        self._look(connection)
        words = self._waiting_for()
        if words != self._noted:
            note_waiting(connection, self._run, words)
            self._noted = words

    def _tell(self, connection: psycopg.Connection[Any]) -> None:
        with self._lock:
            told = self._told
        if told is None:
            return
        left_s = told.until - self._clock.monotonic()
        if left_s > 0:
            tell_pause(connection, self.address, bot_id=self._run.bot_id, seconds=left_s, reason=told.reason)
        with self._lock:
            if self._told is told:
                self._told = None

    def _look(self, connection: psycopg.Connection[Any]) -> None:
        now = self._clock.monotonic()
        if self._counted_at is None or now - self._counted_at >= COUNT_EVERY_S:
            self._sharing = max(count_sharing(connection, self.address), 1)
            self._counted_at = now
        self._learn(read_pause(connection, self.address))

    def _learn(self, row: PauseRow | None) -> None:
        now = self._clock.monotonic()
        with self._lock:
            if row is None:
                # nobody told the others yet, or a person removed the row: then it is over
                if self._told is None:
                    self._pause = None
                return
            if row.left_s <= 0:
                return
            until = now + min(row.left_s, LONGEST_PAUSE_S) + self.return_s()
            words = (
                f"{self.address.exchange} wants no request from this address until {row.until}; "
                f"told bot {row.told_by}: {row.reason}"
            )
            known = self._pause is not None and self._pause.words == clean_text(words, 500, lines=False)
            self._pause = _Pause(until, clean_text(words, 500, lines=False))
        if not known:
            log.warning("exchange_pause", seconds=round(row.left_s, 1), told_by=row.told_by, reason=row.reason)

    def _longer(self, pause: _Pause) -> _Pause:
        return self._pause if self._pause is not None and self._pause.until > pause.until else pause

    def _waiting_for(self) -> str | None:
        with self._lock:
            pause = self._pause
        return None if pause is None or pause.until <= self._clock.monotonic() else pause.words

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
            self._failing = False
        except psycopg.Error as error:
            # missing rights, a refused row: said once, or every heartbeat would repeat it
            if not self._failing:
                log.warning("address_unshared", error=clean_text(error, 300))
            self._failing = True


class UnsharedRateLimit:
    """Of an address that nobody shares: for a backtest, a comparison, a test."""

    def left_s(self) -> float:
        """Never a pause."""
        return 0.0

    def return_s(self) -> float:
        """Always its turn."""
        return 0.0

    def pause(self, seconds: float, reason: str) -> None:
        """Nobody to tell."""


def venue_of(base_url: str | None) -> str:
    """What names the server behind an exchange's base URL; empty for the public one. Never a password."""
    if not base_url:
        return ""
    try:
        parts = urlsplit(base_url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return clean_text(base_url.rpartition("@")[2], 300, lines=False)
    return clean_text(host if port is None else f"{host}:{port}", 300, lines=False)
