"""One run of one bot as a process: claim → trade → release, beside it the lease and the signals.

A bot that has not ended within the bound after a signal prints where it hangs and ends with 1; a second signal changes
nothing, as giving the run back, which lets the next one start at once, takes no more than seconds.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from contextvars import copy_context
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg

from botrunner.exchange.shared_rate_limit import SharedRateLimit, venue_of
from botrunner.process import termination_message
from botrunner.process.backoff import DATABASE
from botrunner.process.error_counter import ErrorCounter
from botrunner.process.exit_owner import ExitOwner
from botrunner.process.fence import Fence
from botrunner.process.forked_copies import end_if_copy
from botrunner.process.heartbeat import Lease
from botrunner.process.progress import Progress
from botrunner.process.retry import Retrier
from botrunner.process.signals import next_stop
from botrunner.process.stop import StopRequest, StopSwitch
from botrunner.run_end import RunEnd, end_by_error, end_in_order
from botrunner.settings import EGRESS_NODE, Settings
from fleet.clock import Clock
from fleet.errors import DatabaseAway, FencedError
from fleet.exit_codes import EXIT_OK
from fleet.log import get_logger
from fleet.proc import resident_mb, since_exec_s
from fleet.redaction import safe_text
from fleet.shutdown import end_after
from fleet.states import ExitReason
from fleet.trading_service.db import connect
from fleet.trading_service.error_counts import add_errors
from fleet.trading_service.exchanges import Address
from fleet.trading_service.lease import Claim, RunId, claim, mark_live, release
from fleet.trading_service.ledger import CheckpointConflict

if TYPE_CHECKING:
    from botrunner.assembly import Bot

HEAVY_IMPORTS = ("backtrader", "fleet.config", "botrunner.assembly")
"""In pieces, with a report of progress and a look for a stop request in between."""

CLAIM_WITHIN_S = 30.0
"""How long a fresh process tries to reach the database before it gives up."""

log = get_logger("main")

T = TypeVar("T")


class BotProcess:
    """The process around a StrategyInstance: lease, signals, release.

    On SIGTERM the main thread has `StopSwitch.leave_within_s` to end its work and release the run. If it hangs in an
    import, an exchange's or the database's answer, or a strategy, the thread that heard the signal releases the run
    and ends the process: a successor need not wait for a time-out. Nothing is lost by that, no more than by a SIGKILL.
    """

    def __init__(
        self,
        settings: Settings,
        run: RunId,
        clock: Clock,
        errors: ErrorCounter,
        *,
        stop_signals: int,
        end_process: Callable[[int], Any] = os._exit,
        end_after: Callable[[float], Any] = end_after,
    ) -> None:
        self._settings = settings
        self._run = run
        self._clock = clock
        self._errors = errors
        self._stop = StopSwitch()
        self._progress = Progress(clock)
        self._bot: Bot | None = None
        self._limits: Mapping[str, Any] | None = None
        self._lease: Lease | None = None
        self._stop_signals = stop_signals
        self._end_process = end_process
        self._end_after = end_after
        self._exit = ExitOwner()
        self._rate_limit: SharedRateLimit | None = None

    def run(self) -> int:
        """Claim, trade, release.

        Returns:
            The exit code.

        Raises:
            FencedError: not claimable, or lost meanwhile. DatabaseAway: never reached the database.
        """
        threading.Thread(target=copy_context().run, args=(self._obey_signals,), name="signals", daemon=True).start()
        try:
            return self._run_claimed()
        finally:
            self._take_exit()

    def _run_claimed(self) -> int:
        claimed_at = self._clock.monotonic()
        claimed = self._claim()
        log.info("claimed", name=claimed.name, config_version=claimed.config_version, since_exec_s=since_exec_s())
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
            after_beat=self._after_beat,
        )
        self._lease.start()
        try:
            end = end_in_order(self._trade(claimed, fence))
        except (FencedError, CheckpointConflict):
            raise
        except BaseException as error:
            end = end_by_error(error, asked=self._stop.reason)
            _log_end(end, error)
        return self._release(end)

    def _claim(self) -> Claim:
        deadline = self._clock.monotonic() + CLAIM_WITHIN_S

        def attempt() -> Claim:
            with connect(self._settings.database_url, application=f"bot-{self._run.bot_id} claim") as connection:
                return claim(connection, self._run, node=self._settings.node)

        return self._ask_database(attempt, until=lambda: self._clock.monotonic() > deadline)

    def _ask_database(self, question: Callable[[], T], *, until: Callable[[], bool]) -> T:
        """Ask the database until it answers, a stop is requested, or `until` holds.

        Raises:
            DatabaseAway: it hasn't answered. Whatever else the question raises.
        """
        retrier = Retrier(
            on=DatabaseAway,
            backoff=DATABASE,
            pause=lambda seconds: self._stop.wait(seconds) or until(),
            alive=self._progress.made,
            failed=lambda error, failures, wait_s: log.warning(
                "database_away", error=str(error), failures=failures, retry_in_s=round(wait_s, 1)
            ),
        )
        return retrier.call(question)

    def _obey_signals(self) -> None:
        """Wait for SIGTERM or SIGINT; runs in a thread of its own."""
        number = next_stop(self._stop_signals)
        log.info("stop_signal", signal=number.name, bound_s=self._settings.stop_bound_s)
        self._end_after(self._settings.stop_bound_s)
        self._stop.request(StopRequest(ExitReason.RELEASED, urgent=True))
        if self._exit.wait(self._stop.leave_within_s) or not self._exit.mine():
            return
        log.warning("main_loop_did_not_leave", waited_s=self._stop.leave_within_s)
        if self._lease is not None:
            self._lease.fence.lose()  # whatever the main thread is about to do, no order leaves any more
            if self._bot is not None:
                self._bot.abandon()
            self._lease.stop()
        self._give_back(end_in_order(ExitReason.RELEASED), stuck=True)
        self._end_process(EXIT_OK)

    def _take_exit(self) -> None:
        """Go on only in the thread that ends the process; another one waits for that end."""
        end_if_copy()
        if not self._exit.mine():
            threading.Event().wait()

    def _trade(self, claimed: Claim, fence: Fence) -> ExitReason:
        # Backtrader and ccxt take seconds of CPU to import: the claim doesn't wait for them
        for step, name in enumerate(HEAVY_IMPORTS, start=1):
            self._progress.enter(f"loads its program, {step} of {len(HEAVY_IMPORTS)}")
            import_module(name)
            if self._stop.requested:
                return self._stop.reason
        from botrunner.assembly import Bot

        end_if_copy()
        self._bot = Bot(
            settings=self._settings,
            run=self._run,
            claimed=claimed,
            fence=fence,
            progress=self._progress,
            stop=self._stop,
            clock=self._clock,
            on_live=self._went_live,
            rate_limit_of=self._rate_limit_of,
        )
        if self._limits is not None:
            # they came while the bot was being put together, and no heartbeat brings them again
            self._bot.take_limits(self._limits)
        return self._bot.trade()

    def _rate_limit_of(self, exchange: str) -> SharedRateLimit:
        assert self._lease is not None, "an exchange is asked only after the claim"
        settings = self._settings
        address = Address(
            exchange=exchange,
            venue=venue_of(settings.exchange_urls.get(exchange)),
            origin=(settings.node or "") if settings.egress == EGRESS_NODE else "",
        )
        self._rate_limit = SharedRateLimit(
            run=self._run, address=address, clock=self._clock, send_now=self._lease.send_now
        )
        return self._rate_limit

    def _after_beat(self, connection: psycopg.Connection[Any]) -> None:
        """What is written after a heartbeat, on its connection. Raises DatabaseAway."""
        if self._errors.due():
            self._write_errors(connection)
        if self._rate_limit is not None:
            self._rate_limit.sync(connection)

    def _went_live(self) -> None:
        end_if_copy()

        def attempt() -> None:
            with connect(self._settings.database_url, application=f"bot-{self._run.bot_id} live") as connection:
                mark_live(connection, self._run)

        assert self._lease is not None, "a bot trades only after its claim"
        fence = self._lease.fence
        self._ask_database(attempt, until=lambda: fence.lost)
        self._progress.live()
        self._lease.send_now()
        log.info("live", since_exec_s=since_exec_s(), resident_mb=resident_mb())

    def _take_limits(self, limits: Mapping[str, Any]) -> None:
        self._limits = limits
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
            log.info("errors_unwritten", kinds=len(counts), error=safe_text(error, 300))

    def _release(self, end: RunEnd) -> int:
        self._take_exit()
        if self._lease is not None:
            self._lease.stop()
        self._give_back(end)
        return end.exit_code

    def _give_back(self, end: RunEnd, *, stuck: bool = False) -> None:
        """Release the run. `stuck`: the main thread didn't come to do it."""
        if end.message and end.exit_code != EXIT_OK:
            termination_message.write(end.message)
        try:
            with connect(self._settings.database_url, application=f"bot-{self._run.bot_id} release") as connection:
                release(
                    connection,
                    self._run,
                    exit_code=end.exit_code,
                    reason=end.reason,
                    error_message=end.message,
                    stuck=stuck,
                )
                self._write_errors(connection)
        except DatabaseAway as error:
            # the exit code tells the controller the same, a little later
            log.warning("release_unanswered", error=str(error))
        log.info("ended", exit_code=end.exit_code, reason=end.reason, resident_mb=resident_mb())


def _log_end(end: RunEnd, error: BaseException) -> None:
    if end.exit_code == EXIT_OK:
        log.info(end.event, error=str(error))
    elif end.reason is ExitReason.FAILED:
        log.exception(end.event)
    else:
        log.error(end.event, error=str(error))
