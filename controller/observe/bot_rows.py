"""Watches the rows: LISTEN tells at once, the poll tells the truth.

Notifications are lost whenever the connection is, so every (re)connection and every poll interval looks at all
rows that aren't what they should be. Reports only ids; what is to be done is found out by reading.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from psycopg import Notify

from fleet.errors import DatabaseAway
from fleet.foreign import clean_text
from fleet.ids import parse_id
from fleet.log import get_logger
from fleet.trading_service.db import listen

log = get_logger("rows")

CHANNEL = "botfleet_bots"


@dataclass(slots=True)
class RowWatch:
    """The watch on `trading_bots`.

    Attributes:
        url: libpq URL of a session-mode connection (LISTEN doesn't work through a transaction pooler).
        poll_interval_s: between two polls.
        changed: called with a bot's id for each notification.
        poll: looks at all rows. Whatever it raises is logged, and it is called again.
    """

    url: str
    poll_interval_s: float
    changed: Callable[[int], None]
    poll: Callable[[], Awaitable[None]]

    def work(self) -> dict[str, Coroutine[Any, Any, None]]:
        """What watches, by name, to be run as tasks of their own until cancelled."""
        return {"rows listen": self._listen(), "rows poll": self._poll_regularly()}

    async def _listen(self) -> None:
        await listen(self.url, CHANNEL, application="listen", connected=self._connected, heard=self._report)

    async def _connected(self) -> None:
        log.info("rows_listening", channel=CHANNEL)
        await self.poll()

    async def _poll_regularly(self) -> None:
        while True:
            await asyncio.sleep(self.poll_interval_s)
            try:
                await self.poll()
            except DatabaseAway as error:
                log.warning("rows_poll_failed", error=clean_text(error, 300))
            except Exception as error:
                log.error("rows_poll_failed", error=clean_text(repr(error), 300))

    def _report(self, notice: Notify) -> None:
        """Any role may send any payload."""
        bot_id = parse_id(notice.payload)
        if bot_id is not None:
            self.changed(bot_id)
        else:
            log.warning("rows_notification_unreadable", payload=clean_text(notice.payload, 100, lines=False))
