"""When an exchange's silence is worth telling people: once after a while, and once when it is over. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fleet.events import Event, EventKind
from fleet.redaction import safe_text


@dataclass(frozen=True, slots=True)
class _Away:
    since_s: float
    at: datetime
    told: bool


class Outage:
    """Counts from the first of a row of failures.

    Args:
        bot_id, epoch, exchange: name the events.
        after_s: how long it must last to be told.
    """

    def __init__(self, *, bot_id: int, epoch: int, exchange: str, after_s: float) -> None:
        self._bot_id = bot_id
        self._epoch = epoch
        self._exchange = exchange
        self._after_s = after_s
        self._away: _Away | None = None

    def failed(self, now_s: float, *, at: datetime, error: Exception) -> Event | None:
        """A question got no answer; the event when it is time for it.

        Args:
            now_s: monotonic. at: the same moment for people, aware UTC.
        """
        away = self._away = self._away or _Away(now_s, at, told=False)
        lasted_s = now_s - away.since_s
        if away.told or lasted_s < self._after_s:
            return None
        self._away = _Away(away.since_s, away.at, told=True)
        return Event(
            kind=EventKind.EXCHANGE_AWAY,
            title=f"{self._exchange} doesn't answer",
            body=f"No usable answer for {lasted_s:.0f} s; the bot goes on trying and trades nothing meanwhile. "
            f"Last: {safe_text(error, 300)}",
            facts={"exchange": self._exchange, "seconds": str(round(lasted_s)), "error": type(error).__name__},
            dedupe_key=self._key("away", away),
        )

    def answered(self, now_s: float) -> Event | None:
        """A question got an answer; the event when the outage had been told."""
        away, self._away = self._away, None
        if away is None or not away.told:
            return None
        lasted_s = now_s - away.since_s
        return Event(
            kind=EventKind.BOT_RECOVERED,
            title=f"{self._exchange} answers again",
            body=f"It had been away for {lasted_s:.0f} s. Candles that closed meanwhile are worked through in order.",
            facts={"exchange": self._exchange, "seconds": str(round(lasted_s))},
            dedupe_key=self._key("answers", away),
        )

    def _key(self, word: str, away: _Away) -> str:
        return f"{word}:{self._bot_id}:{self._epoch}:{self._exchange}:{away.at.isoformat()}"
