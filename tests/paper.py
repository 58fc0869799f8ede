"""Paper bots in this process, with everything real but the process: run row, claim, wiring, ledger, PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from botrunner.assembly import Bot
from botrunner.exchange.shared_rate_limit import SharedRateLimit
from botrunner.market.candle import Candle
from botrunner.process.fence import Deadlines, Fence
from botrunner.process.progress import Progress
from botrunner.process.stop import StopRequest, StopSwitch
from botrunner.settings import Settings
from fleet.clock import SystemClock
from fleet.states import ExitReason
from fleet.trading_service.exchanges import Address
from fleet.trading_service.lease import RunId, claim, mark_live, release

_tokens = count(1)


class Killed(BaseException):
    """Stands for SIGKILL: nothing may catch it."""


class StopsWhenIdle(StopSwitch):
    """A stop that comes when the bot has worked through its candles and would wait for more."""

    def wait(self, seconds: float) -> bool:
        self.request(StopRequest(ExitReason.RELEASED, urgent=True))
        return True

    def rest(self, seconds: float) -> None:
        self.wait(seconds)


class Interrupting(Progress):
    """Interrupts a bot, or brings it new limits, at its nth sign of life: there is at least one per bar."""

    def __init__(self, at: int | None, *, kill: bool, stop: StopSwitch) -> None:
        super().__init__(SystemClock())
        self._interrupt_at, self._kill, self._stop = at, kill, stop
        self.signs = 0
        self.limits: Mapping[int, Mapping[str, Any]] = {}
        self.take_limits: Callable[[Mapping[str, Any]], None] = lambda _: None

    def made(self) -> None:
        super().made()
        self.signs += 1
        if self.signs in self.limits:
            self.take_limits(self.limits[self.signs])
        if self.signs == self._interrupt_at and self._kill:
            raise Killed
        if self.signs == self._interrupt_at:
            self._stop.request(StopRequest(ExitReason.STOPPED, urgent=True))


def alone(run: RunId) -> Callable[[str], SharedRateLimit]:
    """The bot's part in an address that tells it nothing, as no heartbeat goes there."""
    return lambda exchange: SharedRateLimit(
        run=run, address=Address(exchange=exchange, venue="", origin=""), clock=SystemClock(), send_now=lambda: None
    )


def new_bot(database: psycopg.Connection[Any], config: Mapping[str, Any], bot_id: int) -> None:
    """A bot with a chosen id: order ids depend on it."""
    database.execute(
        "INSERT INTO trading_bots (id, name, enabled, config) OVERRIDING SYSTEM VALUE VALUES (%s, %s, true, %s)",
        (bot_id, f"paper-{bot_id}", Jsonb(config)),
    )


def next_run(database: psycopg.Connection[Any], bot_id: int) -> int:
    """What the controller does: end a run that was left open, start the next with the config of now."""
    database.execute(
        "UPDATE trading_runs SET ended_at = now(), exit_code = 137, exit_reason = 'failed' "
        "WHERE bot_id = %s AND ended_at IS NULL",
        (bot_id,),
    )
    row = database.execute(
        "INSERT INTO trading_runs (bot_id, epoch, config, config_version, controller, runtime, pod_name) "
        "SELECT id, 1 + (SELECT count(*) FROM trading_runs WHERE bot_id = b.id), config, config_version, 'test', "
        "'process', 'test' FROM trading_bots b WHERE id = %s RETURNING epoch",
        (bot_id,),
    ).fetchone()
    assert row is not None
    epoch: int = row[0]
    return epoch


def trade(
    database: psycopg.Connection[Any],
    bot_id: int,
    *,
    url: str,
    interrupt_at: int | None = None,
    kill: bool = False,
    limits: Mapping[int, Mapping[str, Any]] | None = None,
) -> bool:
    """Run the bot once, until its candles are used up or it is interrupted.

    Args:
        url: of the database.
        interrupt_at: sign of life at which it is stopped or killed.
        limits: sign of life → hot sections that a heartbeat's reply brings then.

    Returns:
        Whether it came to the end of its candles.
    """
    run = RunId(bot_id, next_run(database, bot_id), f"/{next(_tokens)}")
    stop = StopsWhenIdle()
    progress = Interrupting(interrupt_at, kill=kill, stop=stop)
    bot = Bot(
        settings=Settings(
            database_url=url,
            exchange_urls={},
            deadlines=Deadlines(),
            log_level="ERROR",
            log_format="json",
            node=None,
        ),
        run=run,
        claimed=claim(database, run),
        rate_limit_of=alone(run),
        fence=Fence(Deadlines(stop_s=1e9, exit_s=2e9), claimed_at=SystemClock().monotonic()),
        progress=progress,
        stop=stop,
        clock=SystemClock(),
        on_live=lambda: mark_live(database, run),
    )
    progress.limits, progress.take_limits = limits or {}, bot.take_limits
    try:
        reason = bot.trade()
    except Killed:
        return False
    release(database, run, exit_code=0, reason=reason)
    return reason is ExitReason.RELEASED


def write_candles(path: Path, candles: Iterable[Candle]) -> Path:
    """A candle file."""
    lines = [f"{c.open_ms},{c.open},{c.high},{c.low},{c.close},{c.volume}" for c in candles]
    path.write_text("timestamp,open,high,low,close,volume\n" + "\n".join(lines) + "\n")
    return path
