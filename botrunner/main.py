"""One run of one bot as a process: claim → markets → resume → warm up → trade → release. Wiring only.

Exit codes: 0 released, 1 failed, 2 the config can't be run, 3 fenced or the run couldn't be claimed.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import structlog

from botrunner.brokers.address import SharedAddress, venue_of
from botrunner.brokers.errors import ExchangeAway
from botrunner.error_book import ErrorBook
from botrunner.fence import EXIT_FENCED, Fence, Lease, Progress, StopRequest, StopSwitch
from botrunner.retry import DATABASE, Patience
from botrunner.settings import EGRESS_NODE, Settings, SettingsInvalid, load_settings
from fleet.clock import Clock, SystemClock
from fleet.errors import ConfigUnusable, DatabaseAway, FencedError
from fleet.log import configure_logging, get_logger, redact
from fleet.states import ExitReason
from fleet.trading_service.connect import connect
from fleet.trading_service.errors import add_errors
from fleet.trading_service.exchanges import Address
from fleet.trading_service.lease import Claim, RunId, claim, mark_live, release
from fleet.trading_service.ledger import CheckpointConflict

if TYPE_CHECKING:
    from botrunner.assembly import Bot

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_CONFIG = 2

CLAIM_PATIENCE_S = 30.0
"""How long a fresh process tries to reach the database before it gives up."""

log = get_logger("main")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the bot named on the command line; returns the exit code."""
    arguments, clock = _arguments(argv), SystemClock()
    try:
        settings = load_settings()
        errors = ErrorBook(clock)
        configure_logging(level=settings.log_level, form=settings.log_format, watch=errors.see)
    except (SettingsInvalid, ValueError) as error:
        print(f"botrunner: {error}", file=sys.stderr)  # noqa: T201 - logs are not set up yet
        return EXIT_CONFIG
    structlog.contextvars.bind_contextvars(
        bot_id=arguments.bot_id, epoch=arguments.epoch, run_id=f"{arguments.bot_id}-{arguments.epoch}-{uuid4().hex[:8]}"
    )
    run = RunId(arguments.bot_id, arguments.epoch, _token())
    try:
        return BotProcess(settings, run, clock, errors).run()
    except FencedError as error:
        log.error("fenced", error=str(error))
        return EXIT_FENCED
    except CheckpointConflict as error:
        log.error("checkpoint_conflict", error=str(error))
        return EXIT_FENCED
    except DatabaseAway as error:
        log.error("database_away", error=str(error))
        return EXIT_FAILED


def _token() -> str:
    """Who claims: the pod's uid, so that the controller knows whose end ends the run, and this process of it."""
    return f"{os.environ.get('BOTFLEET_POD_UID', '')}/{uuid4().hex}"


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="botrunner", description="Run one trading bot. The controller starts this; BOTFLEET_* configure it."
    )
    parser.add_argument("--bot-id", type=int, required=True, help="trading_bots.id")
    parser.add_argument("--epoch", type=int, required=True, help="trading_runs.epoch to claim")
    return parser.parse_args(argv)


class BotProcess:
    """The process around a StrategyInstance: lease, signals, release."""

    def __init__(self, settings: Settings, run: RunId, clock: Clock, errors: ErrorBook) -> None:
        self._settings = settings
        self._run = run
        self._clock = clock
        self._errors = errors
        self._stop = StopSwitch()
        self._progress = Progress(clock)
        self._bot: Bot | None = None
        self._address: SharedAddress | None = None
        self._lease: Lease

    def run(self) -> int:
        """Claim, trade, release.

        Returns:
            The exit code.

        Raises:
            FencedError: not claimable, or lost meanwhile. DatabaseAway: never reached the database.
        """
        claimed_at = self._clock.monotonic()
        claimed = self._claim()
        log.info("claimed", name=claimed.name, config_version=claimed.config_version, since_exec_s=_since_exec_s())
        fence = Fence(self._settings.deadlines, claimed_at=claimed_at)
        self._lease = Lease(
            url=self._settings.database_url,
            run=self._run,
            deadlines=self._settings.deadlines,
            fence=fence,
            progress=self._progress,
            clock=self._clock,
            on_stop=self._stop.request,
            on_limits=self._take_limits,
            beside=self._beside,
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.request(StopRequest(ExitReason.RELEASED, urgent=True)))
        self._lease.start()
        try:
            reason = self._trade(claimed, fence)
        except ConfigUnusable as error:
            log.error("config_error", error=str(error))
            return self._release(EXIT_CONFIG, ExitReason.CONFIG_ERROR, str(error))
        except ExchangeAway as error:
            # only after a stop request during start-up
            log.info("stopped_while_starting", error=str(error))
            return self._release(EXIT_OK, self._stop.reason)
        except (FencedError, CheckpointConflict):
            raise
        except Exception as error:
            log.exception("failed")
            return self._release(EXIT_FAILED, ExitReason.FAILED, f"{type(error).__name__}: {error}")
        return self._release(EXIT_OK, reason)

    def _claim(self) -> Claim:
        deadline = self._clock.monotonic() + CLAIM_PATIENCE_S

        def pause(seconds: float) -> bool:
            self._clock.sleep(seconds)
            return self._clock.monotonic() > deadline

        def attempt() -> Claim:
            with connect(self._settings.database_url, application=f"bot-{self._run.bot_id} claim") as connection:
                return claim(connection, self._run, node=self._settings.node)

        patience = Patience(
            on=DatabaseAway,
            backoff=DATABASE,
            pause=pause,
            alive=self._progress.made,
            failed=lambda error, failures, wait_s: log.warning(
                "database_away", error=str(error), failures=failures, retry_in_s=round(wait_s, 1)
            ),
        )
        return patience.ask(attempt)

    def _trade(self, claimed: Claim, fence: Fence) -> ExitReason:
        # Backtrader and ccxt take a second to import: the claim doesn't wait for them
        from botrunner.assembly import Bot

        self._progress.made()
        self._bot = Bot(
            settings=self._settings,
            run=self._run,
            claimed=claimed,
            fence=fence,
            progress=self._progress,
            stop=self._stop,
            clock=self._clock,
            on_live=self._went_live,
            share=self._share,
        )
        return self._bot.trade()

    def _share(self, exchange: str) -> SharedAddress:
        settings = self._settings
        address = Address(
            exchange=exchange,
            venue=venue_of(settings.exchange_urls.get(exchange)),
            origin=(settings.node or "") if settings.egress == EGRESS_NODE else "",
        )
        self._address = SharedAddress(run=self._run, address=address, clock=self._clock, hurry=self._lease.hurry)
        return self._address

    def _beside(self, connection: psycopg.Connection[Any]) -> None:
        """What is written beside a heartbeat, on its connection. Raises DatabaseAway."""
        if self._errors.due():
            self._write_errors(connection)
        if self._address is not None:
            self._address.exchange(connection)

    def _went_live(self) -> None:
        with connect(self._settings.database_url, application=f"bot-{self._run.bot_id} live") as connection:
            mark_live(connection, self._run)
        self._lease.hurry()
        log.info("live", since_exec_s=_since_exec_s(), resident_mb=_resident_mb())

    def _take_limits(self, limits: Mapping[str, Any]) -> None:
        if self._bot is not None:
            self._bot.take_limits(limits)

    def _write_errors(self, connection: psycopg.Connection[Any]) -> None:
        """Add the counted errors to the table of trends; trouble with it never costs more than the numbers.

        Raises:
            DatabaseAway: no answer; they are kept.
        """
        counts = self._errors.take()
        try:
            if counts:
                add_errors(connection, self._run, counts)
        except DatabaseAway:
            self._errors.give_back(counts)
            raise
        except psycopg.Error as error:
            log.info("errors_unwritten", kinds=len(counts), error=redact(str(error))[:300])

    def _release(self, exit_code: int, reason: ExitReason, error_message: str | None = None) -> int:
        self._lease.stop()
        try:
            with connect(self._settings.database_url, application=f"bot-{self._run.bot_id} release") as connection:
                release(connection, self._run, exit_code=exit_code, reason=reason, error_message=error_message)
                self._write_errors(connection)
        except DatabaseAway as error:
            # the exit code tells the controller the same, a little later
            log.warning("release_unanswered", error=str(error))
        log.info("ended", exit_code=exit_code, reason=reason, resident_mb=_resident_mb())
        return exit_code


def _since_exec_s() -> float:
    """Seconds since this process was started by the kernel's count (Linux)."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0.0
    return round(time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"), 2)


def _resident_mb() -> float:
    """Resident memory of this process, MB (Linux)."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)
